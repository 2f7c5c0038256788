/** The smallest steps from one value to another, of every type: [section, field, before, after], as tokens of a document. */
import { uuid, vectorOf } from "./records.js";

export interface ValueCase {
  readonly section: string;
  readonly field: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** Where llmspell's own rules make another field follow, in SQLite. */
  readonly sqliteFields?: readonly string[];
}

/** A vector's token with some bits of one of its numbers changed. */
function vector(dimension: number, n: number, index: number, change: (bytes: Buffer, at: number) => void): string {
  const bytes = vectorOf(dimension, n);
  change(bytes, index * 4);
  return JSON.stringify(bytes.toString("base64"));
}

const same = (): void => {};
const lowestBit = (bytes: Buffer, at: number): void => {
  bytes[at] = (bytes[at] as number) ^ 1;
};
const zero = (bytes: Buffer, at: number): void => {
  bytes.writeFloatLE(0, at);
};
const negativeZero = (bytes: Buffer, at: number): void => {
  bytes.writeFloatLE(-0, at);
};
const subnormal = (bytes: Buffer, at: number): void => {
  bytes.writeUInt32LE(1, at);
};

const base64 = (...bytes: number[]): string => JSON.stringify(Buffer.from(bytes).toString("base64"));

const ROWS: readonly (readonly [
  section: string,
  field: string,
  before: string | undefined,
  after: string | undefined,
])[] = [
  // text
  ["artifacts.artifacts", "created_by", '""', "null"],
  ["artifacts.artifacts", "created_by", '"NULL"', "null"],
  ["artifacts.artifacts", "parent_artifact_id", "null", '""'],
  ["artifacts.artifacts", "name", '"report"', '"report "'],
  ["artifacts.artifacts", "mime_type", '"text/plain"', '"text/Plain"'],
  ["workflow_states", "workflow_name", "null", '"null"'],
  ["artifacts.artifacts", "artifact_type", '"log"', '"lo\u0261"'],
  ["procedural_memory", "value", '"caf\u00e9"', '"cafe\u0301"'],
  ["procedural_memory", "scope", '"a\\\\b"', '"a\\\\\\\\b"'],
  ["procedural_memory", "value", '"tab\\t"', '"tab "'],
  ["procedural_memory", "value", '"\u{1f600}"', '"\u{1f601}"'],
  ["event_log", "language", '"lua"', '"Lua"'],
  ["knowledge_graph.entities", "name", '"a\\nb"', '"a\\r\\nb"'],
  ["agent_state", "checksum", `"${"a".repeat(64)}"`, `"${"a".repeat(63)}b"`],
  // uuid
  ["event_log", "correlation_id", '"11111111-1111-4111-8111-111111111111"', '"11111111-1111-4111-8111-111111111112"'],
  [
    "knowledge_graph.relationships",
    "source_entity_id",
    JSON.stringify(uuid("knowledge_graph.entities", 1)),
    JSON.stringify(uuid("knowledge_graph.entities", 2)),
  ],
  // int4, int8
  ["agent_state", "data_version", "2147483646", "2147483647"],
  ["procedural_memory", "frequency", "1", "2"],
  ["hook_history", "retention_priority", "0", "-1"],
  ["event_log", "sequence", "9007199254740992", "9007199254740993"],
  ["event_log", "sequence", "9223372036854775806", "9223372036854775807"],
  ["artifacts.content", "original_size_bytes", "0", "null"],
  ["artifacts.content", "original_size_bytes", "3", "4"],
  // bool
  ["artifacts.content", "is_compressed", "false", "true"],
  ["hook_history", "contains_sensitive_data", "true", "false"],
  // timestamp
  ["sessions", "created_at", "1700000000000001", "1700000000000002"],
  ["sessions", "last_accessed_at", "1700000000000000", "1699999999999999"],
  ["sessions", "expires_at", "1700000000000000", "null"],
  ["sessions", "expires_at", '"infinity"', "253402300799999999"],
  ["kv_store", "created_at", "-1", "-2"],
  ["kv_store", "updated_at", '"-infinity"', "-62135596800000000"],
  ["workflow_states", "started_at", "null", "0"],
  ["knowledge_graph.entities", "valid_time_end", '"infinity"', "9223371331199999999"],
  ["vector_embeddings.384", "updated_at", "1700000000999999", "1700000001000000"],
  // json
  ["sessions", "session_data", "12345678901234567890", "12345678901234567891"],
  ["sessions", "session_data", "1.10", "1.1"],
  ["sessions", "session_data", "[1,2,3]", "[1,3,2]"],
  ["sessions", "session_data", "0.1", "0.10000000000000000001"],
  ["workflow_states", "state_data", '{"a":1}', '{"a":"1"}'],
  ["workflow_states", "state_data", "{}", "[]"],
  ["workflow_states", "state_data", '{"a":null}', "{}"],
  ["workflow_states", "state_data", '"null"', "null"],
  ["workflow_states", "state_data", '{"a":{"b":[true]}}', '{"a":{"b":[false]}}'],
  ["event_log", "payload", '""', "null"],
  ["event_log", "payload", "1e20", "100000000000000000001"],
  ["event_log", "payload", '{"\u00e9":1}', '{"e\u0301":1}'],
  ["event_log", "payload", '" "', '"  "'],
  ["kv_store", "metadata", undefined, "null"],
  ["kv_store", "metadata", "{}", undefined],
  ["hook_history", "result_data", "[[]]", "[[],[]]"],
  ["hook_history", "metadata", '{"a":1,"b":2}', '{"a":1,"c":2}'],
  ["knowledge_graph.entities", "properties", "0.0", "0"],
  ["knowledge_graph.relationships", "properties", '"a\\u0001"', '"a\\u0002"'],
  ["vector_embeddings.768", "metadata", '{"a":[0]}', '{"a":[0,0]}'],
  ["artifacts.artifacts", "metadata", "true", "false"],
  // bytes
  ["kv_store", "value", base64(), base64(0)],
  ["kv_store", "value", base64(0, 1, 254), base64(0, 1, 255)],
  ["kv_store", "value", base64(97, 98), base64(97, 98, 0)],
  ["hook_history", "hook_context", base64(10), base64(13, 10)],
  ["artifacts.content", "data", base64(128), base64(129)],
  // vector: one bit, whatever it is worth
  ["vector_embeddings.384", "embedding", vector(384, 0, 0, same), vector(384, 0, 0, lowestBit)],
  ["vector_embeddings.384", "embedding", vector(384, 0, 5, zero), vector(384, 0, 5, negativeZero)],
  ["vector_embeddings.768", "embedding", vector(768, 0, 767, zero), vector(768, 0, 767, subnormal)],
  ["vector_embeddings.1536", "embedding", vector(1536, 0, 700, same), vector(1536, 0, 700, lowestBit)],
  ["vector_embeddings.3072", "embedding", vector(3072, 0, 3071, same), vector(3072, 0, 3071, lowestBit)],
  // text_array
  ["artifacts.artifacts", "tags", '["a","b"]', '["b","a"]'],
  ["artifacts.artifacts", "tags", '["NULL"]', "[null]"],
  ["artifacts.artifacts", "tags", "[]", "null"],
  ["hook_history", "tags", '["a,b"]', '["a","b"]'],
  ["hook_history", "tags", '["a","a"]', '["a"]'],
  ["hook_history", "tags", '[""]', "[]"],
];

export const VALUE_CASES: readonly ValueCase[] = [
  ...ROWS.map(([section, field, before, after]) => ({ section, field, before, after })),
  // SQLite's triggers do their work when somebody changes a row, and the text's digest stays what it was.
  {
    section: "workflow_states",
    field: "status",
    before: '"running"',
    after: '"failed"',
    sqliteFields: ["status", "last_updated"],
  },
  {
    section: "agent_state",
    field: "state_data",
    before: '{"k":[1,2]}',
    after: '{"k":[2,1]}',
    sqliteFields: ["state_data", "data_version", "checksum", "updated_at"],
  },
];
