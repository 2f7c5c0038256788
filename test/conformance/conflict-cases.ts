/**
 * What happens when incoming records meet rows of the target, and each other: one table for every database sink
 * (ARCHITECTURE.md, "Conflicts"). Data only. Records are in the document's form and complete.
 *
 * Rules 3, 4 and 5 ("error") look at one record and the rows from before the run; a record they refuse takes no part in
 * rule 1. Under rule 1 the record that comes first stays, the later one is refused. Hence the same outcome whether a sink
 * works record by record or on the whole set.
 */

/** Records by their kind's path, in the order in which they come. */
export type Records = Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;

export interface Refusal {
  readonly code: "E_CONFLICT" | "E_TENANT_CONFLICT" | "E_KEY_CONFLICT";
  readonly section: string;
  /** The refused record's key, as describeKey gives it. */
  readonly key: string;
  /** Keys that message or detail must name besides: the other record, or both rows. */
  readonly names?: readonly string[];
}

export interface ConflictCase {
  readonly name: string;
  /** Rows of the target before the run. */
  readonly existing: Records;
  readonly incoming: Records;
  readonly onConflict: "update" | "skip" | "error";
  /** Records that are refused under --on-error skip; under "stop" the run ends with one of them, the target unchanged. */
  readonly refused?: readonly Refusal[];
  /** Under --on-error skip: [inserted, updated, skipped] by path. */
  readonly counts: Readonly<Record<string, readonly [inserted: number, updated: number, skipped: number]>>;
  /** All rows of each kind after the run under --on-error skip, in any order. */
  readonly rows: Records;
}

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
/** 2026-01-01T00:00:00Z in Unix microseconds. */
const DAY = 1767225600000000;

const kv = (n: number, key: string, value = "b2xk", tenant_id = "t") => ({
  kv_id: id(n),
  tenant_id,
  key,
  value,
  metadata: { from: value },
  created_at: DAY + n,
  updated_at: DAY + n + 500000,
});
const kvKey = (n: number): string => `kv_id=${id(n)}`;

const pattern = (n: number, value: string, frequency: number, tenant_id = "t") => ({
  pattern_id: id(n),
  tenant_id,
  scope: "global",
  key: "k",
  value,
  frequency,
  first_seen: DAY,
  last_seen: DAY + frequency,
  created_at: DAY,
  updated_at: DAY,
});

const agent = (n: number, agent_id: string, data_version: number, tenant_id = "t") => ({
  state_id: id(n),
  tenant_id,
  agent_id,
  agent_type: "basic",
  state_data: { version: data_version },
  schema_version: 1,
  data_version,
  checksum: String(data_version).repeat(64).slice(0, 64),
  created_at: DAY + 1,
  updated_at: DAY + 2,
});

const workflow = (workflow_id: string, current_step: number, tenant_id = "t") => ({
  tenant_id,
  workflow_id,
  workflow_name: null,
  state_data: null,
  current_step,
  status: "running",
  started_at: DAY,
  completed_at: null,
  last_updated: DAY + current_step,
  created_at: DAY,
});

const session = (n: number, artifact_count = 0, tenant_id = "t") => ({
  tenant_id,
  session_id: id(n),
  session_data: { n: artifact_count },
  status: "active",
  created_at: DAY + 250000,
  last_accessed_at: DAY + 250001,
  expires_at: null,
  artifact_count,
  updated_at: DAY + 3,
});

const content = (content_hash: string, reference_count = 1, data = "AAEC", tenant_id = "t") => ({
  tenant_id,
  content_hash,
  storage_type: "bytea",
  data,
  size_bytes: 3,
  is_compressed: false,
  original_size_bytes: null,
  reference_count,
  created_at: DAY,
  last_accessed_at: DAY + 9,
});

const artifact = (n: number, sequence: number, content_hash: string, name = "a", tenant_id = "t") => ({
  tenant_id,
  artifact_id: `${id(n)}:${sequence}:${content_hash}`,
  session_id: id(n),
  sequence,
  content_hash,
  metadata: { sequence },
  name,
  artifact_type: "file",
  mime_type: "text/plain",
  size_bytes: 3,
  created_at: DAY,
  created_by: null,
  version: 1,
  parent_artifact_id: null,
  tags: ["x", null],
  stored_at: DAY,
  updated_at: DAY,
});
const artifactKey = (n: number, sequence: number, hash: string): string =>
  `tenant_id=t, artifact_id=${id(n)}:${sequence}:${hash}`;

const entity = (n: number, since: number, name: string, tenant_id = "t") => ({
  entity_id: id(n),
  tenant_id,
  entity_type: "person",
  name,
  properties: {},
  valid_time_start: DAY,
  valid_time_end: "infinity",
  transaction_time_start: since,
  transaction_time_end: "infinity",
  created_at: DAY,
});

const event = (n: number, timestamp: number, event_type: string, tenant_id = "t") => ({
  tenant_id,
  event_id: id(n),
  event_type,
  correlation_id: id(900),
  timestamp,
  sequence: 1,
  language: "lua",
  payload: null,
});

const hook = (n: number, hook_id: string, tenant_id = "t") => ({
  execution_id: id(n),
  tenant_id,
  hook_id,
  hook_type: "before",
  correlation_id: id(900),
  hook_context: "",
  result_data: true,
  timestamp: DAY,
  duration_ms: 1,
  triggering_component: "",
  component_id: "",
  modified_operation: false,
  tags: null,
  retention_priority: 0,
  context_size: 0,
  contains_sensitive_data: false,
  metadata: {},
  created_at: DAY,
});

/** `first` is the vector's first component: 1.0 is 0x3f800000, 2.0 is 0x40000000. */
const vector = (n: number, first: 1 | 2, dimension = 384, tenant_id = "t") => {
  const bytes = Buffer.alloc(dimension * 4);
  bytes.writeFloatLE(first, 0);
  return {
    id: id(n),
    tenant_id,
    scope: "s",
    dimension,
    embedding: bytes.toString("base64"),
    metadata: {},
    created_at: DAY,
    updated_at: DAY,
  };
};

const NEW = "bmV3";

export const conflictCases: readonly ConflictCase[] = [
  // Rule 2: nothing matches
  {
    name: "inserts beside rows that do not match",
    existing: { kv_store: [kv(1, "a")] },
    incoming: { kv_store: [kv(2, "b", NEW)] },
    onConflict: "error",
    counts: { kv_store: [1, 0, 0] },
    rows: { kv_store: [kv(1, "a"), kv(2, "b", NEW)] },
  },
  {
    name: "the same natural key in another tenant is another record",
    existing: { kv_store: [kv(1, "a")], workflow_states: [workflow("w", 1)] },
    incoming: { kv_store: [kv(2, "a", NEW, "u")], workflow_states: [workflow("w", 2, "u")] },
    onConflict: "update",
    counts: { kv_store: [1, 0, 0], workflow_states: [1, 0, 0] },
    rows: {
      kv_store: [kv(1, "a"), kv(2, "a", NEW, "u")],
      workflow_states: [workflow("w", 1), workflow("w", 2, "u")],
    },
  },
  {
    name: "another version of an entity is another record, also within one second",
    existing: { "knowledge_graph.entities": [entity(1, DAY, "first")] },
    incoming: { "knowledge_graph.entities": [entity(1, DAY + 1, "second"), entity(1, DAY + 2, "third")] },
    onConflict: "error",
    counts: { "knowledge_graph.entities": [2, 0, 0] },
    rows: {
      "knowledge_graph.entities": [entity(1, DAY, "first"), entity(1, DAY + 1, "second"), entity(1, DAY + 2, "third")],
    },
  },
  {
    name: "an event's id at another time, and an event's sequence, are no keys",
    existing: { event_log: [event(1, DAY, "first")] },
    incoming: { event_log: [event(1, DAY + 1, "second"), event(2, DAY, "third")] },
    onConflict: "error",
    counts: { event_log: [2, 0, 0] },
    rows: { event_log: [event(1, DAY, "first"), event(1, DAY + 1, "second"), event(2, DAY, "third")] },
  },
  {
    name: "the same vector id in another dimension is another record",
    existing: { "vector_embeddings.384": [vector(1, 1)] },
    incoming: { "vector_embeddings.768": [vector(1, 2, 768)] },
    onConflict: "error",
    counts: { "vector_embeddings.768": [1, 0, 0] },
    rows: { "vector_embeddings.384": [vector(1, 1)], "vector_embeddings.768": [vector(1, 2, 768)] },
  },

  // Rule 5: update
  {
    name: "update finds the row by primary key and replaces every column",
    existing: { kv_store: [kv(1, "a"), kv(2, "b")] },
    incoming: { kv_store: [{ ...kv(1, "c", NEW), metadata: undefined, created_at: 7 }] },
    onConflict: "update",
    counts: { kv_store: [0, 1, 0] },
    rows: { kv_store: [{ ...kv(1, "c", NEW), metadata: undefined, created_at: 7 }, kv(2, "b")] },
  },
  {
    name: "update finds the row by natural key and replaces its primary key",
    existing: { kv_store: [kv(1, "a")], agent_state: [agent(1, "x", 1)] },
    incoming: { kv_store: [kv(2, "a", NEW)], agent_state: [agent(2, "x", 7)] },
    onConflict: "update",
    counts: { kv_store: [0, 1, 0], agent_state: [0, 1, 0] },
    rows: { kv_store: [kv(2, "a", NEW)], agent_state: [agent(2, "x", 7)] },
  },
  {
    name: "update by a natural key of four columns",
    existing: { procedural_memory: [pattern(1, "v", 1), pattern(2, "w", 1)] },
    incoming: { procedural_memory: [pattern(3, "v", 5), pattern(2, "w", 6), pattern(4, "", 7)] },
    onConflict: "update",
    counts: { procedural_memory: [1, 2, 0] },
    rows: { procedural_memory: [pattern(3, "v", 5), pattern(2, "w", 6), pattern(4, "", 7)] },
  },
  {
    name: "update of a session leaves its artifacts where they are",
    existing: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h")],
      "artifacts.artifacts": [artifact(1, 0, "h")],
    },
    incoming: {
      sessions: [{ ...session(1, 1), status: "archived" }],
      "artifacts.content": [content("h")],
      "artifacts.artifacts": [artifact(1, 0, "h", "renamed")],
    },
    onConflict: "update",
    counts: { sessions: [0, 1, 0], "artifacts.content": [0, 1, 0], "artifacts.artifacts": [0, 1, 0] },
    rows: {
      sessions: [{ ...session(1, 1), status: "archived" }],
      "artifacts.content": [content("h")],
      "artifacts.artifacts": [artifact(1, 0, "h", "renamed")],
    },
  },
  {
    name: "update of an artifact found by its session and sequence replaces its id",
    existing: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h"), content("i")],
      "artifacts.artifacts": [artifact(1, 0, "h")],
    },
    incoming: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h"), content("i")],
      "artifacts.artifacts": [artifact(1, 0, "i")],
    },
    onConflict: "update",
    counts: { sessions: [0, 1, 0], "artifacts.content": [0, 2, 0], "artifacts.artifacts": [0, 1, 0] },
    rows: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h"), content("i")],
      "artifacts.artifacts": [artifact(1, 0, "i")],
    },
  },
  {
    name: "update of kinds with a primary key only",
    existing: {
      "vector_embeddings.384": [vector(1, 1)],
      workflow_states: [workflow("w", 1)],
      event_log: [event(1, DAY, "old")],
      hook_history: [hook(1, "old")],
      "knowledge_graph.entities": [entity(1, DAY + 1, "old"), entity(1, DAY + 2, "other")],
    },
    incoming: {
      "vector_embeddings.384": [vector(1, 2)],
      workflow_states: [workflow("w", 2)],
      event_log: [event(1, DAY, "new")],
      hook_history: [hook(1, "new")],
      "knowledge_graph.entities": [entity(1, DAY + 1, "new")],
    },
    onConflict: "update",
    counts: {
      "vector_embeddings.384": [0, 1, 0],
      workflow_states: [0, 1, 0],
      event_log: [0, 1, 0],
      hook_history: [0, 1, 0],
      "knowledge_graph.entities": [0, 1, 0],
    },
    rows: {
      "vector_embeddings.384": [vector(1, 2)],
      workflow_states: [workflow("w", 2)],
      event_log: [event(1, DAY, "new")],
      hook_history: [hook(1, "new")],
      "knowledge_graph.entities": [entity(1, DAY + 1, "new"), entity(1, DAY + 2, "other")],
    },
  },
  {
    name: "the same records again change nothing and count as updated",
    existing: { kv_store: [kv(1, "a"), kv(2, "b")], agent_state: [agent(1, "x", 3)], sessions: [session(1, 4)] },
    incoming: { kv_store: [kv(1, "a"), kv(2, "b")], agent_state: [agent(1, "x", 3)], sessions: [session(1, 4)] },
    onConflict: "update",
    counts: { kv_store: [0, 2, 0], agent_state: [0, 1, 0], sessions: [0, 1, 0] },
    rows: { kv_store: [kv(1, "a"), kv(2, "b")], agent_state: [agent(1, "x", 3)], sessions: [session(1, 4)] },
  },

  // Rule 5: skip
  {
    name: "skip leaves rows found by either key, and inserts the rest",
    existing: { kv_store: [kv(1, "a"), kv(2, "b")] },
    incoming: { kv_store: [kv(1, "c", NEW), kv(3, "b", NEW), kv(4, "d", NEW)] },
    onConflict: "skip",
    counts: { kv_store: [1, 0, 2] },
    rows: { kv_store: [kv(1, "a"), kv(2, "b"), kv(4, "d", NEW)] },
  },
  {
    name: "skip leaves a session, a content and an event",
    existing: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h", 1)],
      "artifacts.artifacts": [artifact(1, 0, "h")],
      event_log: [event(1, DAY, "old")],
    },
    incoming: {
      sessions: [session(1, 7)],
      "artifacts.content": [content("h", 9, "////")],
      event_log: [event(1, DAY, "new")],
    },
    onConflict: "skip",
    counts: { sessions: [0, 0, 1], "artifacts.content": [0, 0, 1], event_log: [0, 0, 1] },
    rows: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h", 1)],
      "artifacts.artifacts": [artifact(1, 0, "h")],
      event_log: [event(1, DAY, "old")],
    },
  },

  // Rule 5: error
  {
    name: "error refuses a record found by primary key",
    existing: { kv_store: [kv(1, "a")] },
    incoming: { kv_store: [kv(1, "b", NEW), kv(2, "c", NEW)] },
    onConflict: "error",
    refused: [{ code: "E_CONFLICT", section: "kv_store", key: kvKey(1) }],
    counts: { kv_store: [1, 0, 0] },
    rows: { kv_store: [kv(1, "a"), kv(2, "c", NEW)] },
  },
  {
    name: "error refuses a record found by natural key",
    existing: { kv_store: [kv(1, "a")] },
    incoming: { kv_store: [kv(2, "a", NEW)] },
    onConflict: "error",
    refused: [{ code: "E_CONFLICT", section: "kv_store", key: kvKey(2) }],
    counts: { kv_store: [0, 0, 0] },
    rows: { kv_store: [kv(1, "a")] },
  },

  // Rule 4: another tenant
  ...(["update", "skip", "error"] as const).map(
    (onConflict): ConflictCase => ({
      name: `a row of another tenant is never touched (${onConflict})`,
      existing: { kv_store: [kv(1, "a")], hook_history: [hook(1, "old")] },
      incoming: { kv_store: [kv(1, "z", NEW, "u"), kv(2, "y", NEW)], hook_history: [hook(1, "new", "u")] },
      onConflict,
      refused: [
        { code: "E_TENANT_CONFLICT", section: "kv_store", key: kvKey(1) },
        { code: "E_TENANT_CONFLICT", section: "hook_history", key: `execution_id=${id(1)}` },
      ],
      counts: { kv_store: [1, 0, 0], hook_history: [0, 0, 0] },
      rows: { kv_store: [kv(1, "a"), kv(2, "y", NEW)], hook_history: [hook(1, "old")] },
    }),
  ),

  // Rule 3: two rows
  ...(["update", "skip", "error"] as const).map(
    (onConflict): ConflictCase => ({
      name: `a record that matches two rows is refused (${onConflict})`,
      existing: { kv_store: [kv(1, "a"), kv(2, "b")] },
      incoming: { kv_store: [kv(1, "b", NEW)] },
      onConflict,
      refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(1), names: [kvKey(1), kvKey(2)] }],
      counts: { kv_store: [0, 0, 0] },
      rows: { kv_store: [kv(1, "a"), kv(2, "b")] },
    }),
  ),

  // Rule 1: two records
  {
    name: "two records with one primary key, into an empty table",
    existing: {},
    incoming: { kv_store: [kv(1, "a"), kv(2, "b"), kv(1, "c", NEW)] },
    onConflict: "update",
    refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(1), names: [kvKey(1)] }],
    counts: { kv_store: [2, 0, 0] },
    rows: { kv_store: [kv(1, "a"), kv(2, "b")] },
  },
  {
    name: "two records with one natural key, into an empty table",
    existing: {},
    incoming: { kv_store: [kv(1, "a"), kv(2, "b"), kv(3, "a", NEW)], procedural_memory: [pattern(1, "v", 1)] },
    onConflict: "skip",
    refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(3), names: [kvKey(1)] }],
    counts: { kv_store: [2, 0, 0], procedural_memory: [1, 0, 0] },
    rows: { kv_store: [kv(1, "a"), kv(2, "b")], procedural_memory: [pattern(1, "v", 1)] },
  },
  {
    name: "two records with one natural key, beside other rows",
    existing: { kv_store: [kv(9, "z")] },
    incoming: { kv_store: [kv(1, "a"), kv(2, "b"), kv(3, "a", NEW)] },
    onConflict: "update",
    refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(3), names: [kvKey(1)] }],
    counts: { kv_store: [2, 0, 0] },
    rows: { kv_store: [kv(9, "z"), kv(1, "a"), kv(2, "b")] },
  },
  ...(["update", "skip"] as const).map(
    (onConflict): ConflictCase => ({
      name: `two records with one primary key that match a row (${onConflict})`,
      existing: { kv_store: [kv(1, "a")] },
      incoming: { kv_store: [kv(1, "b", NEW), kv(1, "c", NEW)] },
      onConflict,
      refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(1), names: [kvKey(1)] }],
      counts: { kv_store: onConflict === "update" ? [0, 1, 0] : [0, 0, 1] },
      rows: { kv_store: [onConflict === "update" ? kv(1, "b", NEW) : kv(1, "a")] },
    }),
  ),
  ...(["update", "skip"] as const).map(
    (onConflict): ConflictCase => ({
      name: `two records that match one row by different keys (${onConflict})`,
      existing: { kv_store: [kv(1, "a")] },
      incoming: { kv_store: [kv(1, "b", NEW), kv(2, "a", NEW)] },
      onConflict,
      refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(2), names: [kvKey(1)] }],
      counts: { kv_store: onConflict === "update" ? [0, 1, 0] : [0, 0, 1] },
      rows: { kv_store: [onConflict === "update" ? kv(1, "b", NEW) : kv(1, "a")] },
    }),
  ),
  {
    name: "two records of two tenants with one primary key",
    existing: {},
    incoming: { kv_store: [kv(1, "a"), kv(1, "a", NEW, "u")] },
    onConflict: "update",
    refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(1), names: [kvKey(1)] }],
    counts: { kv_store: [1, 0, 0] },
    rows: { kv_store: [kv(1, "a")] },
  },
  {
    name: "two artifacts with one session and sequence",
    existing: { sessions: [session(9)] },
    incoming: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h"), content("i")],
      "artifacts.artifacts": [artifact(1, 0, "h"), artifact(1, 0, "i")],
    },
    onConflict: "update",
    refused: [
      {
        code: "E_KEY_CONFLICT",
        section: "artifacts.artifacts",
        key: artifactKey(1, 0, "i"),
        names: [artifactKey(1, 0, "h")],
      },
    ],
    counts: { sessions: [1, 0, 0], "artifacts.content": [2, 0, 0], "artifacts.artifacts": [1, 0, 0] },
    rows: {
      sessions: [session(9), session(1, 1)],
      "artifacts.content": [content("h"), content("i")],
      "artifacts.artifacts": [artifact(1, 0, "h")],
    },
  },

  // Refused records take no part in rule 1
  {
    name: "a record refused for matching two rows leaves its rows to others",
    existing: { kv_store: [kv(1, "a"), kv(2, "b")] },
    incoming: { kv_store: [kv(1, "b", NEW), kv(2, "b", NEW)] },
    onConflict: "update",
    refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(1), names: [kvKey(1), kvKey(2)] }],
    counts: { kv_store: [0, 1, 0] },
    rows: { kv_store: [kv(1, "a"), kv(2, "b", NEW)] },
  },
  {
    name: "a record refused for its tenant leaves its natural key to others",
    existing: { kv_store: [kv(1, "a")] },
    incoming: { kv_store: [kv(1, "z", NEW, "u"), kv(2, "z", NEW, "u")] },
    onConflict: "update",
    refused: [{ code: "E_TENANT_CONFLICT", section: "kv_store", key: kvKey(1) }],
    counts: { kv_store: [1, 0, 0] },
    rows: { kv_store: [kv(1, "a"), kv(2, "z", NEW, "u")] },
  },
  {
    name: "a record refused under rule 1 leaves its other key to a third",
    existing: { kv_store: [kv(9, "z")] },
    incoming: { kv_store: [kv(1, "a"), kv(2, "a", NEW), kv(2, "b", NEW)] },
    onConflict: "update",
    refused: [{ code: "E_KEY_CONFLICT", section: "kv_store", key: kvKey(2), names: [kvKey(1)] }],
    counts: { kv_store: [2, 0, 0] },
    rows: { kv_store: [kv(9, "z"), kv(1, "a"), kv(2, "b", NEW)] },
  },

  // Counters of parents (ForeignKey.counter)
  {
    name: "update raises a parent's counters by the target's artifacts that the run lacks",
    existing: {
      sessions: [session(1, 1), session(2, 1)],
      "artifacts.content": [content("h", 2), content("i", 7)],
      "artifacts.artifacts": [artifact(1, 0, "h"), artifact(2, 0, "h")],
    },
    incoming: {
      sessions: [session(1, 1), session(3, 5)],
      "artifacts.content": [content("h", 1), content("j", 5)],
      "artifacts.artifacts": [artifact(1, 1, "h"), artifact(3, 0, "j")],
    },
    onConflict: "update",
    counts: { sessions: [1, 1, 0], "artifacts.content": [1, 1, 0], "artifacts.artifacts": [2, 0, 0] },
    rows: {
      sessions: [{ ...session(1, 1), artifact_count: 2 }, session(2, 1), session(3, 5)],
      "artifacts.content": [content("h", 3), content("i", 7), content("j", 5)],
      "artifacts.artifacts": [artifact(1, 0, "h"), artifact(2, 0, "h"), artifact(1, 1, "h"), artifact(3, 0, "j")],
    },
  },
  {
    name: "the target's artifacts that the run brings again raise nothing",
    existing: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h", 4)],
      "artifacts.artifacts": [artifact(1, 0, "h")],
    },
    incoming: {
      sessions: [session(1, 3)],
      "artifacts.content": [content("h", 2)],
      "artifacts.artifacts": [artifact(1, 0, "h", "again")],
    },
    onConflict: "update",
    counts: { sessions: [0, 1, 0], "artifacts.content": [0, 1, 0], "artifacts.artifacts": [0, 1, 0] },
    rows: {
      sessions: [session(1, 3)],
      "artifacts.content": [content("h", 2)],
      "artifacts.artifacts": [artifact(1, 0, "h", "again")],
    },
  },
  {
    name: "a parent that stays as it was (skip) is raised by the artifacts that come new",
    existing: {
      sessions: [session(1, 1)],
      "artifacts.content": [content("h", 4)],
      "artifacts.artifacts": [artifact(1, 0, "h")],
    },
    incoming: {
      sessions: [session(1, 9)],
      "artifacts.content": [content("h", 9)],
      "artifacts.artifacts": [artifact(1, 0, "h", "again"), artifact(1, 1, "h")],
    },
    onConflict: "skip",
    counts: { sessions: [0, 0, 1], "artifacts.content": [0, 0, 1], "artifacts.artifacts": [1, 0, 1] },
    rows: {
      sessions: [{ ...session(1, 1), artifact_count: 2 }],
      "artifacts.content": [content("h", 5)],
      "artifacts.artifacts": [artifact(1, 0, "h"), artifact(1, 1, "h")],
    },
  },
];
