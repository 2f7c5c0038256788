/** Records in the document's form, complete and valid; each test changes what it is about. */

export type Fields = Readonly<Record<string, unknown>>;
/** Records by path. */
export type Sections = Readonly<Record<string, readonly Fields[]>>;

export const MIB = 1048576;

export const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

/** 2026-01-01T00:00:00.000001Z and so on, in Unix microseconds: below the second on purpose. */
export const time = (n: number): number => 1767225600000000 + n;

export const kv = (n: number, more: Fields = {}): Fields => ({
  kv_id: id(n),
  tenant_id: "t",
  key: `k${n}`,
  value: "",
  created_at: time(1),
  updated_at: time(2),
  ...more,
});

export const hook = (n: number, more: Fields = {}): Fields => ({
  execution_id: id(n),
  tenant_id: "t",
  hook_id: "h",
  hook_type: "x",
  correlation_id: id(n),
  hook_context: "",
  result_data: {},
  timestamp: time(1),
  duration_ms: 0,
  triggering_component: "",
  component_id: "",
  modified_operation: false,
  tags: null,
  retention_priority: 0,
  context_size: 0,
  contains_sensitive_data: false,
  metadata: {},
  created_at: time(2),
  ...more,
});

export const session = (n: number, more: Fields = {}): Fields => ({
  tenant_id: "t",
  session_id: id(n),
  session_data: { n },
  status: "active",
  created_at: time(1),
  last_accessed_at: time(2),
  expires_at: null,
  artifact_count: 0,
  updated_at: time(3),
  ...more,
});

export const content = (hash: string, data: Buffer, more: Fields = {}): Fields => ({
  tenant_id: "t",
  content_hash: hash,
  storage_type: data.length < MIB ? "bytea" : "large_object",
  data,
  size_bytes: data.length,
  is_compressed: false,
  original_size_bytes: null,
  reference_count: 1,
  created_at: time(1),
  last_accessed_at: time(2),
  ...more,
});

export const artifact = (n: number, sequence: number, hash: string, more: Fields = {}): Fields => ({
  tenant_id: "t",
  artifact_id: `${id(n)}:${sequence}:${hash}`,
  session_id: id(n),
  sequence,
  content_hash: hash,
  metadata: {},
  name: "a",
  artifact_type: "file",
  mime_type: "text/plain",
  size_bytes: 3,
  created_at: time(1),
  created_by: null,
  version: 1,
  parent_artifact_id: null,
  tags: null,
  stored_at: time(2),
  updated_at: time(3),
  ...more,
});

export const event = (n: number, more: Fields = {}): Fields => ({
  tenant_id: "t",
  event_id: id(n),
  event_type: "e",
  correlation_id: id(n),
  timestamp: time(n),
  sequence: n,
  language: "lua",
  payload: {},
  ...more,
});

export const entity = (n: number, since: number, more: Fields = {}): Fields => ({
  entity_id: id(n),
  tenant_id: "t",
  entity_type: "person",
  name: "",
  properties: {},
  valid_time_start: time(since),
  valid_time_end: "infinity",
  transaction_time_start: time(since),
  transaction_time_end: "infinity",
  created_at: time(0),
  ...more,
});

export const relationship = (n: number, from: number, to: number, more: Fields = {}): Fields => ({
  relationship_id: id(n),
  tenant_id: "t",
  source_entity_id: id(from),
  target_entity_id: id(to),
  relationship_type: "knows",
  properties: {},
  valid_time_start: time(0),
  valid_time_end: "infinity",
  transaction_time_start: time(0),
  transaction_time_end: "infinity",
  created_at: time(0),
  ...more,
});

export const pattern = (n: number, more: Fields = {}): Fields => ({
  pattern_id: id(n),
  tenant_id: "t",
  scope: "s",
  key: "k",
  value: `v${n}`,
  frequency: 1,
  first_seen: time(1),
  last_seen: time(2),
  created_at: time(3),
  updated_at: time(4),
  ...more,
});

export const agent = (n: number, more: Fields = {}): Fields => ({
  state_id: id(n),
  tenant_id: "t",
  agent_id: `agent-${n}`,
  agent_type: "basic",
  state_data: {},
  schema_version: 1,
  data_version: 1,
  checksum: "c".repeat(64),
  created_at: time(1),
  updated_at: time(2),
  ...more,
});

export const workflow = (n: number, more: Fields = {}): Fields => ({
  tenant_id: "t",
  workflow_id: `w${n}`,
  workflow_name: null,
  state_data: {},
  current_step: 0,
  status: "running",
  started_at: null,
  completed_at: null,
  last_updated: time(1),
  created_at: time(2),
  ...more,
});

/** A vector whose first bytes are given; the others are zero. */
export const vector = (n: number, dimension: number, start: Buffer, more: Fields = {}): Fields => ({
  id: id(n),
  tenant_id: "t",
  scope: "s",
  dimension,
  embedding: Buffer.concat([start, Buffer.alloc(dimension * 4 - start.length)]),
  metadata: {},
  created_at: time(1),
  updated_at: time(2),
  ...more,
});

/** The other direction of the same bytes: PostgreSQL's vector_send is big-endian. */
export const float32 = (...bits: number[]): Buffer => {
  const bytes = Buffer.alloc(bits.length * 4);
  for (const [i, value] of bits.entries()) bytes.writeUInt32LE(value, i * 4);
  return bytes;
};
