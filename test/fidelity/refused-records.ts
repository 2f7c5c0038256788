/** Records that one backend or both refuse, and how. */
import { randomBytes } from "node:crypto";
import * as records from "./records.js";
import { type Fields, float32, type Sections } from "./records.js";
import { Json } from "./support.js";

/** What became of the record with id 5: a code, or the stored value. */
export type Fate = { readonly code: string } | { readonly sql: string; readonly value: unknown };
const refused = (code: string): Fate => ({ code });
const stored = (sql: string, value: unknown): Fate => ({ sql, value });

export interface Refusal {
  readonly name: string;
  readonly path: string;
  readonly field: string;
  readonly record: Fields;
  readonly sqlite: Fate;
  readonly postgres: Fate;
}

const kv = (more: Fields) => records.kv(5, more);
const nested = (depth: number) => new Json("[".repeat(depth) + "]".repeat(depth));
/** Text that no index can compress below its limit. */
const large = randomBytes(4500).toString("hex");
const NAN_BITS = [0x7fc00000, 0x7f800001, 0xffffffff, 0x7f800000, 0xff800000];
const both = (code: string) => ({ sqlite: refused(code), postgres: refused(code) });

export const REFUSALS: Refusal[] = [
  {
    name: "U+0000 in text",
    path: "kv_store",
    field: "key",
    record: kv({ key: "a\0b" }),
    sqlite: stored("SELECT hex(key) FROM kv_store", "610062"),
    postgres: refused("E_NUL_CHARACTER"),
  },
  {
    name: "U+0000 in json",
    path: "kv_store",
    field: "metadata",
    record: kv({ metadata: new Json('{"a":["\\u0000"]}') }),
    sqlite: stored("SELECT metadata FROM kv_store", '{"a":["\\u0000"]}'),
    postgres: refused("E_NUL_CHARACTER"),
  },
  {
    name: "U+0000 in a tag",
    path: "hook_history",
    field: "tags",
    record: records.hook(5, { tags: ["a\0b"] }),
    sqlite: stored("SELECT tags FROM hook_history", '["a\\u0000b"]'),
    postgres: refused("E_NUL_CHARACTER"),
  },
  {
    name: "a lone surrogate in json",
    path: "kv_store",
    field: "metadata",
    record: kv({ metadata: new Json('"\\ud834"') }),
    sqlite: stored("SELECT metadata FROM kv_store", '"\\ud834"'),
    postgres: refused("E_LONE_SURROGATE"),
  },
  {
    name: "a lone surrogate in text",
    path: "kv_store",
    field: "key",
    record: kv({ key: new Json('"a\\ud834"') }),
    ...both("E_INVALID_UTF8"),
  },
  {
    name: "NaN with its payload, and the infinities, in a vector",
    path: "vector_embeddings.384",
    field: "embedding",
    record: records.vector(5, 384, float32(...NAN_BITS)),
    sqlite: stored(
      "SELECT hex(substr(embedding, 1, 20)) FROM vec_embeddings_384",
      float32(...NAN_BITS)
        .toString("hex")
        .toUpperCase(),
    ),
    postgres: refused("E_NOT_FINITE"),
  },
  {
    name: "a vector of another dimension",
    path: "vector_embeddings.768",
    field: "embedding",
    record: { ...records.vector(5, 384, float32(1)), dimension: 768 },
    ...both("E_DIMENSION_MISMATCH"),
  },
  {
    name: "text over VARCHAR(n), by code points",
    path: "kv_store",
    field: "key",
    record: kv({ key: "𝄞".repeat(501) }),
    sqlite: stored("SELECT length(key) FROM kv_store", 501n),
    postgres: refused("E_TOO_LONG"),
  },
  {
    name: "blanks over VARCHAR(n), which PostgreSQL would cut",
    path: "kv_store",
    field: "key",
    record: kv({ key: "é".repeat(500).concat("  ") }),
    sqlite: stored("SELECT length(key) FROM kv_store", 502n),
    postgres: refused("E_TOO_LONG"),
  },
  {
    name: "an integer over 32 bits",
    path: "hook_history",
    field: "duration_ms",
    record: records.hook(5, { duration_ms: 2147483648 }),
    ...both("E_OUT_OF_RANGE"),
  },
  {
    name: "an integer over 64 bits",
    path: "event_log",
    field: "sequence",
    record: records.event(5, { sequence: 9223372036854775808n }),
    ...both("E_OUT_OF_RANGE"),
  },
  {
    name: "a boolean that is none",
    path: "hook_history",
    field: "modified_operation",
    record: records.hook(5, { modified_operation: 2 }),
    ...both("E_FIELD_TYPE"),
  },
  {
    name: "a time outside 4713 BC to 294276 AD",
    path: "kv_store",
    field: "created_at",
    record: kv({ created_at: 9224318016000000000n }),
    ...both("E_OUT_OF_RANGE"),
  },
  {
    name: "a number beyond numeric in json",
    path: "kv_store",
    field: "metadata",
    record: kv({ metadata: new Json("[1e400000]") }),
    sqlite: stored("SELECT metadata FROM kv_store", "[1e400000]"),
    postgres: refused("E_OUT_OF_RANGE"),
  },
  {
    name: "text that is too large for a unique index",
    path: "procedural_memory",
    field: "value",
    record: records.pattern(5, { value: large }),
    sqlite: stored("SELECT value FROM procedural_patterns WHERE length(value) > 100", large),
    postgres: refused("E_TARGET_LIMIT"),
  },
  {
    name: "a tag that is too large for a GIN index",
    path: "hook_history",
    field: "tags",
    record: records.hook(5, { tags: [large] }),
    sqlite: stored("SELECT tags FROM hook_history", JSON.stringify([large])),
    postgres: refused("E_TARGET_LIMIT"),
  },
  {
    name: "json nested deeper than SQLite's json_extract indexes take",
    path: "sessions",
    field: "session_data",
    record: records.session(5, { session_data: nested(1001) }),
    sqlite: refused("E_TARGET_LIMIT"),
    postgres: stored("SELECT length(session_data::text)::int FROM llmspell.sessions", 2002n),
  },
  {
    name: "json nested deeper than PostgreSQL's stack",
    path: "kv_store",
    field: "metadata",
    record: kv({ metadata: nested(20000) }),
    sqlite: stored("SELECT length(metadata) FROM kv_store", 40000n),
    postgres: refused("E_TARGET_LIMIT"),
  },
  {
    name: "tags that are no flat list",
    path: "hook_history",
    field: "tags",
    record: records.hook(5, { tags: [["a"]] }),
    ...both("E_FIELD_TYPE"),
  },
  {
    name: "tags that are numbers",
    path: "hook_history",
    field: "tags",
    record: records.hook(5, { tags: [1] }),
    ...both("E_FIELD_TYPE"),
  },
  {
    name: "a status that there is not",
    path: "sessions",
    field: "status",
    record: records.session(5, { status: "gone" }),
    ...both("E_CHECK"),
  },
  {
    name: "a count below its least",
    path: "procedural_memory",
    field: "frequency",
    record: records.pattern(5, { frequency: 0 }),
    ...both("E_CHECK"),
  },
  {
    name: "an interval that ends when it begins",
    path: "knowledge_graph.entities",
    field: "valid_time_end",
    record: records.entity(5, 0, { valid_time_start: 7, valid_time_end: 7 }),
    ...both("E_CHECK"),
  },
  {
    name: "null where a value must be",
    path: "kv_store",
    field: "value",
    record: kv({ value: null }),
    ...both("E_FIELD_TYPE"),
  },
  {
    name: "no field where one must be",
    path: "kv_store",
    field: "value",
    record: kv({ value: undefined }),
    ...both("E_MISSING_FIELD"),
  },
  {
    name: "free text in a UUID field",
    path: "kv_store",
    field: "kv_id",
    record: kv({ kv_id: "doc1" }),
    sqlite: stored("SELECT kv_id FROM kv_store", "doc1"),
    postgres: refused("E_INVALID_UUID"),
  },
  {
    name: "bytes that are no base64",
    path: "kv_store",
    field: "value",
    record: kv({ value: "====" }),
    ...both("E_INVALID_BASE64"),
  },
];

/** Good records of the same kind before and after the bad one. */
export function around({ path, record }: Refusal): Sections {
  const good = (n: number): Fields => {
    switch (path) {
      case "hook_history":
        return records.hook(n);
      case "event_log":
        return records.event(n);
      case "sessions":
        return records.session(n);
      case "procedural_memory":
        return records.pattern(n);
      case "knowledge_graph.entities":
        return records.entity(n, 0);
      case "kv_store":
        return records.kv(n);
      default:
        return records.vector(n, Number(path.split(".")[1]), float32(0x3f800000));
    }
  };
  return { [path]: [good(1), good(2), record, good(3)] };
}
