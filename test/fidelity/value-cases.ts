/** Records at the edges of their types, and what each database stores of them. Each case has a tenant of its own. */
import { createHash } from "node:crypto";
import * as records from "./records.js";
import { float32, id, MIB, type Sections, time } from "./records.js";
import { Json } from "./support.js";

const INT64_MAX = 9223372036854775807n;
const INT64_MIN = -9223372036854775808n;
/** Canonical microseconds of Unix ones. */
const exact = (unixMicroseconds: bigint): bigint => unixMicroseconds - 946684800000000n;
export const sha = (bytes: Buffer | string): string => createHash("sha256").update(bytes).digest("hex");
const bytesOf = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));
const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

export interface Case {
  readonly name: string;
  /** Records of a tenant of the case's own. */
  readonly tenant: string;
  readonly sections: Sections;
  /** `viaPostgres`: the rows once PostgreSQL has held them, where they are others. */
  readonly sqlite: { sql: string; rows: readonly unknown[][]; viaPostgres?: readonly unknown[][] };
  readonly postgres: { sql: string; rows: readonly unknown[][] };
}

/** Unix microseconds, PostgreSQL's text, SQLite's visible seconds. */
const TIMES: [bigint, string, bigint][] = [
  [1234567890123456n, "2009-02-13 23:31:30.123456+00", 1234567890n],
  [0n, "1970-01-01 00:00:00+00", 0n],
  [1n, "1970-01-01 00:00:00.000001+00", 0n],
  [-1n, "1969-12-31 23:59:59.999999+00", -1n],
  [-1500000n, "1969-12-31 23:59:58.5+00", -2n],
  [9007199254740993n, "2255-06-05 23:47:34.740993+00", 9007199254n],
  [9999999999000000n, "2286-11-20 17:46:39+00", 9999999999n],
  [9999999999999999n, "2286-11-20 17:46:39.999999+00", 9999999999n],
  [-9999999999000000n, "1653-02-10 06:13:21+00", -9999999999n],
];
const FAR_TIMES: typeof TIMES = [
  [253402300800000000n, "10000-01-01 00:00:00+00", 253402300800n],
  [-62135596800000001n, "0001-12-31 23:59:59.999999+00 BC", -62135596801n],
  [-210866803200000000n, "4714-11-24 00:00:00+00 BC", -210866803200n],
  [9224318015999999999n, "294276-12-31 23:59:59.999999+00", 9224318015999n],
];
const timeCase = (name: string, tenant: string, from: number, times: typeof TIMES): Case => ({
  name,
  tenant,
  sections: { kv_store: times.map(([created_at], n) => records.kv(from + n, { created_at })) },
  sqlite: {
    sql: "SELECT created_at, created_at_us, typeof(created_at_us) FROM kv_store WHERE tenant_id = $tenant ORDER BY kv_id",
    rows: times.map(([micros, , seconds]) => [seconds, exact(micros), "integer"]),
  },
  postgres: {
    sql: "SELECT created_at FROM llmspell.kv_store WHERE tenant_id = $tenant ORDER BY kv_id",
    rows: times.map(([, text]) => [text]),
  },
});

/** The token, and how jsonb prints it. */
const JSON_TOKENS: [string, string][] = [
  ["1.10", "1.10"],
  ["1e400", `1${"0".repeat(400)}`],
  ["-0", "0"],
  ["0.1000000000000000055", "0.1000000000000000055"],
  ["12345678901234567890", "12345678901234567890"],
  ["[9007199254740993,-9223372036854775808, 1e2]", "[9007199254740993, -9223372036854775808, 100]"],
  ['{"long":1,"b":2,"a":{"é":"\\u00e9\\n\\/"},"b":[3]}', '{"a": {"é": "é\\n/"}, "b": [3], "long": 1}'],
  ['"null"', '"null"'],
  ['""', '""'],
  ["[ ]", "[]"],
];

const TAGS: (null | (string | null)[])[] = [
  null,
  [],
  [null],
  ["NULL", null, "null", ""],
  ["a,b", 'say "hi"', "back\\slash", "{}", "{a}", " x "],
  ["é", "𝄞", "a\nb", "\u2028"],
];

const TEXTS = [
  "",
  " ",
  "NULL",
  "null",
  "\\N",
  "a,b;c\td\r\ne",
  "quotes \" ' ` \\",
  "e\u0301 שלום \u202e 😀🧑‍🚀",
  "\u0001\u001f\u007f\u0085\u2028\ufeff\ufffd\uffff\u{10ffff}",
  "  spaces kept  ",
  "𝄞".repeat(500),
];

export const VECTORS: { dimension: number; bits: number[] }[] = [384, 768, 1536, 3072].map((dimension) => ({
  dimension,
  // -0, 0.1, the smallest denormals, the largest numbers, and bytes that begin like the text of an array: "[1,2".
  bits: [0x80000000, 0x3dcccccd, 1, 0x80000001, 0x007fffff, 0x7f7fffff, 0xff7fffff, 0x3f800001],
}));

export const STATES = ['{"b": 1, "a": 1.10}', '{"a":1}'];

const CONTENTS = [0, 1, 256, MIB - 1, MIB, MIB + 1, 3 * MIB + 17].map((length) => bytesOf(length));

export const CASES: Case[] = [
  timeCase("times to the microsecond, before and after 1970, beside SQLite's seconds", "times", 100, TIMES),
  timeCase(
    "times that no JavaScript Date holds: year 10000 and later, BC, both ends of PostgreSQL",
    "far",
    150,
    FAR_TIMES,
  ),
  {
    name: "infinity and -infinity, in keys too",
    tenant: "infinities",
    sections: {
      kv_store: [records.kv(200, { created_at: "-infinity", updated_at: "infinity" })],
      "knowledge_graph.entities": [
        records.entity(200, 0, { valid_time_start: "-infinity", transaction_time_start: "-infinity" }),
      ],
      event_log: ["-infinity", "infinity"].map((timestamp, n) => records.event(200 + n, { timestamp })),
    },
    sqlite: {
      sql: `SELECT created_at, created_at_us, updated_at, updated_at_us FROM kv_store WHERE tenant_id = $tenant UNION ALL
            SELECT valid_time_start, valid_time_start_us, valid_time_end, valid_time_end_us FROM entities WHERE tenant_id = $tenant UNION ALL
            SELECT min(timestamp), min(timestamp_us), max(timestamp), max(timestamp_us) FROM event_log WHERE tenant_id = $tenant`,
      rows: Array.from({ length: 3 }, () => [-9999999999n, INT64_MIN, 9999999999n, INT64_MAX]),
    },
    postgres: {
      sql: `SELECT created_at, updated_at FROM llmspell.kv_store WHERE tenant_id = $tenant UNION ALL
            SELECT transaction_time_start, transaction_time_end FROM llmspell.entities WHERE tenant_id = $tenant UNION ALL
            SELECT min(timestamp), max(timestamp) FROM llmspell.event_log WHERE tenant_id = $tenant`,
      rows: Array.from({ length: 3 }, () => ["-infinity", "infinity"]),
    },
  },
  {
    name: "integers of 64 and 32 bits at their ends, and beyond 2^53",
    tenant: "integers",
    sections: {
      event_log: [INT64_MAX, INT64_MIN, 9007199254740993n].map((sequence, n) => records.event(300 + n, { sequence })),
      hook_history: [2147483647, -2147483648].map((duration_ms, n) => records.hook(300 + n, { duration_ms })),
    },
    sqlite: {
      sql: `SELECT sequence, typeof(sequence) FROM event_log WHERE tenant_id = $tenant UNION ALL
            SELECT duration_ms, typeof(duration_ms) FROM hook_history WHERE tenant_id = $tenant ORDER BY 1`,
      rows: [INT64_MIN, -2147483648n, 2147483647n, 9007199254740993n, INT64_MAX].map((n) => [n, "integer"]),
    },
    postgres: {
      sql: `SELECT sequence FROM llmspell.event_log WHERE tenant_id = $tenant UNION ALL
            SELECT duration_ms FROM llmspell.hook_history WHERE tenant_id = $tenant ORDER BY 1`,
      rows: [INT64_MIN, -2147483648n, 2147483647n, 9007199254740993n, INT64_MAX].map((n) => [n]),
    },
  },
  {
    name: "json as its text in SQLite, as jsonb prints it in PostgreSQL, never rounded",
    tenant: "json",
    sections: { kv_store: JSON_TOKENS.map(([text], n) => records.kv(400 + n, { metadata: new Json(text) })) },
    sqlite: {
      sql: "SELECT metadata, typeof(metadata) FROM kv_store WHERE tenant_id = $tenant ORDER BY kv_id",
      rows: JSON_TOKENS.map(([text]) => [text, "text"]),
      viaPostgres: JSON_TOKENS.map(([, text]) => [text, "text"]),
    },
    postgres: {
      sql: "SELECT metadata FROM llmspell.kv_store WHERE tenant_id = $tenant ORDER BY kv_id",
      rows: JSON_TOKENS.map(([, text]) => [text]),
    },
  },
  {
    name: "SQL NULL, JSON null, the empty text and the word null, told apart",
    tenant: "nulls",
    sections: {
      kv_store: [undefined, null, "null"].map((metadata, n) => records.kv(500 + n, { metadata })),
      workflow_states: [null, "", "null"].map((workflow_name, n) =>
        records.workflow(500 + n, { workflow_name, state_data: null }),
      ),
    },
    sqlite: {
      sql: `SELECT metadata IS NULL, metadata FROM kv_store WHERE tenant_id = $tenant UNION ALL
            SELECT workflow_name IS NULL, workflow_name FROM workflow_states WHERE tenant_id = $tenant UNION ALL
            SELECT DISTINCT state_data IS NULL, state_data FROM workflow_states WHERE tenant_id = $tenant ORDER BY 1, 2`,
      rows: [
        ...["", '"null"', "null", "null", "null"].map((text) => [0n, text]),
        ...[null, null].map((text) => [1n, text]),
      ],
    },
    postgres: {
      sql: `SELECT (metadata IS NULL)::int, metadata::text COLLATE "C" FROM llmspell.kv_store WHERE tenant_id = $tenant UNION ALL
            SELECT (workflow_name IS NULL)::int, workflow_name FROM llmspell.workflow_states WHERE tenant_id = $tenant UNION ALL
            SELECT DISTINCT (state_data IS NULL)::int, state_data::text FROM llmspell.workflow_states WHERE tenant_id = $tenant
            ORDER BY 1, 2`,
      rows: [
        ...["", '"null"', "null", "null", "null"].map((text) => [0n, text]),
        ...[null, null].map((text) => [1n, text]),
      ],
    },
  },
  {
    name: "lists of tags: commas, quotes, backslashes, NULL and the word, empty and none",
    tenant: "tags",
    sections: { hook_history: TAGS.map((tags, n) => records.hook(600 + n, { tags })) },
    sqlite: {
      sql: "SELECT tags FROM hook_history WHERE tenant_id = $tenant ORDER BY execution_id",
      rows: TAGS.map((tags) => [tags === null ? null : JSON.stringify(tags)]),
    },
    postgres: {
      sql: `SELECT CASE WHEN tags IS NULL THEN 'none' ELSE array_ndims(tags) || ':' || cardinality(tags) || ':' || to_json(tags)::text END
            FROM llmspell.hook_history WHERE tenant_id = $tenant AND tags <> '{}' OR tenant_id = $tenant AND tags IS NULL
            ORDER BY execution_id`,
      rows: TAGS.filter((tags) => tags === null || tags.length > 0).map((tags) => [
        tags === null ? "none" : `1:${tags.length}:${JSON.stringify(tags)}`,
      ]),
    },
  },
  {
    name: "text of every sort, up to the last of 500 characters of four bytes",
    tenant: "texts",
    sections: { "knowledge_graph.entities": TEXTS.map((name, n) => records.entity(700 + n, 0, { name })) },
    sqlite: {
      sql: "SELECT name, typeof(name) FROM entities WHERE tenant_id = $tenant ORDER BY entity_id",
      rows: TEXTS.map((text) => [text, "text"]),
    },
    postgres: {
      sql: "SELECT name FROM llmspell.entities WHERE tenant_id = $tenant ORDER BY entity_id",
      rows: TEXTS.map((text) => [text]),
    },
  },
  {
    name: "bytes: none, every value, and hashes of contents on both sides of 1 MiB",
    tenant: "bytes",
    sections: {
      kv_store: [Buffer.alloc(0), ALL_BYTES].map((value, n) => records.kv(800 + n, { value })),
      "artifacts.content": CONTENTS.map((data, n) => records.content(`h${n}`, data)),
    },
    sqlite: {
      sql: `SELECT value, typeof(value), 'value', length(value) FROM kv_store WHERE tenant_id = $tenant UNION ALL
            SELECT data, typeof(data), 'data', length(data) FROM artifact_content WHERE tenant_id = $tenant ORDER BY 3 DESC, 4`,
      rows: [Buffer.alloc(0), ALL_BYTES, ...CONTENTS].map((bytes, n) => [
        bytes,
        "blob",
        n < 2 ? "value" : "data",
        BigInt(bytes.length),
      ]),
    },
    postgres: {
      sql: `SELECT length(value), encode(sha256(value), 'hex'), 'value' FROM llmspell.kv_store WHERE tenant_id = $tenant UNION ALL
            SELECT length(coalesce(data, lo_get(large_object_oid))), encode(sha256(coalesce(data, lo_get(large_object_oid))), 'hex'), storage_type
            FROM llmspell.artifact_content WHERE tenant_id = $tenant ORDER BY 3 DESC, 1`,
      rows: [
        ...[Buffer.alloc(0), ALL_BYTES].map((bytes) => [bytes, "value"] as const),
        ...CONTENTS.filter(({ length }) => length >= MIB).map((bytes) => [bytes, "large_object"] as const),
        ...CONTENTS.filter(({ length }) => length < MIB).map((bytes) => [bytes, "bytea"] as const),
      ].map(([bytes, type]) => [BigInt(bytes.length), sha(bytes), type]),
    },
  },
  {
    name: "vectors to the bit, in every dimension",
    tenant: "vectors",
    sections: Object.fromEntries(
      VECTORS.map(({ dimension, bits }) => [
        `vector_embeddings.${dimension}`,
        [
          records.vector(900, dimension, float32(...bits)),
          records.vector(901, dimension, Buffer.from("[1.0,2.0,3.0]   ")),
        ],
      ]),
    ),
    sqlite: {
      sql: VECTORS.map(
        ({ dimension }) =>
          // What begins with '[' is text, whose bits PostgreSQL shows.
          `SELECT dimension, iif(json_valid(CAST(embedding AS TEXT)), json_array_length(CAST(embedding AS TEXT)), length(embedding)),
             hex(substr(embedding, 1, iif(json_valid(CAST(embedding AS TEXT)), 1, 32))) FROM vector_metadata
           JOIN vec_embeddings_${dimension} USING (rowid) WHERE tenant_id = $tenant`,
      )
        .join(" UNION ALL ")
        .concat(" ORDER BY 1, 3"),
      rows: VECTORS.flatMap(({ dimension, bits }) => [
        [
          BigInt(dimension),
          BigInt(dimension * 4),
          float32(...bits)
            .toString("hex")
            .toUpperCase(),
        ],
        [BigInt(dimension), BigInt(dimension), "5B"],
      ]),
    },
    postgres: {
      sql: VECTORS.map(
        ({ dimension }) =>
          `SELECT ${dimension}, length(vector_send(embedding)) - 4, encode(substr(vector_send(embedding), 5, 32), 'hex'), id
           FROM llmspell.vector_embeddings_${dimension} WHERE tenant_id = $tenant`,
      )
        .join(" UNION ALL ")
        .concat(" ORDER BY 1, 4"),
      rows: VECTORS.flatMap(({ dimension, bits }) =>
        [float32(...bits), Buffer.concat([Buffer.from("[1.0,2.0,3.0]   "), Buffer.alloc(16)])].map((bytes, n) => [
          BigInt(dimension),
          BigInt(dimension * 4),
          bytes.swap32().toString("hex"),
          id(900 + n),
        ]),
      ),
    },
  },
  {
    name: "versions of one entity and of one relationship, two within a second",
    tenant: "versions",
    sections: {
      "knowledge_graph.entities": [0, 1, 999999, 5000000].map((since) =>
        records.entity(1000, since, { name: `${since}` }),
      ),
      "knowledge_graph.relationships": [0, 7].map((since) =>
        // Both ends are gone: relationships without their entities are legal.
        records.relationship(1000, 4711, 4712, { transaction_time_start: time(since) }),
      ),
    },
    sqlite: {
      sql: `SELECT name, transaction_time_start, transaction_time_start_us FROM entities WHERE tenant_id = $tenant UNION ALL
            SELECT from_entity, transaction_time_start, transaction_time_start_us FROM relationships WHERE tenant_id = $tenant ORDER BY 3, 1 DESC`,
      rows: [
        ["0", 0],
        [id(4711), 0],
        ["1", 1],
        [id(4711), 7],
        ["999999", 999999],
        ["5000000", 5000000],
      ]
        .map(([name, since]) => [
          name,
          BigInt(Math.floor(time(since as number) / 1e6)),
          exact(BigInt(time(since as number))),
        ])
        .sort((a, b) => Number((a[2] as bigint) - (b[2] as bigint)) || (String(a[0]) < String(b[0]) ? 1 : -1)),
    },
    postgres: {
      sql: `SELECT name FROM (SELECT name, transaction_time_start FROM llmspell.entities WHERE tenant_id = $tenant UNION ALL
              SELECT to_entity::text, transaction_time_start FROM llmspell.relationships WHERE tenant_id = $tenant) t
            ORDER BY transaction_time_start, name COLLATE "C"`,
      rows: [["0"], [id(4712)], ["1"], [id(4712)], ["999999"], ["5000000"]],
    },
  },
  {
    name: "the checksum of an agent's state: llmspell's own in SQLite, the document's beside it",
    tenant: "checksums",
    sections: {
      agent_state: STATES.map((state, n) =>
        records.agent(1100 + n, { state_data: new Json(state), checksum: n === 0 ? "0".repeat(64) : sha(state) }),
      ),
    },
    sqlite: {
      sql: "SELECT state_data, checksum, checksum_exported FROM agent_states WHERE tenant_id = $tenant ORDER BY state_id",
      rows: STATES.map((state, n) => [state, sha(state), n === 0 ? "0".repeat(64) : sha(state)]),
      viaPostgres: ['{"a": 1.10, "b": 1}', '{"a": 1}'].map((state, n) => [
        state,
        sha(state),
        n === 0 ? "0".repeat(64) : sha(STATES[n] as string),
      ]),
    },
    postgres: {
      sql: "SELECT checksum FROM llmspell.agent_states WHERE tenant_id = $tenant ORDER BY state_id",
      rows: [["0".repeat(64)], [sha(STATES[1] as string)]],
    },
  },
  {
    name: "booleans and UUIDs in any spelling",
    tenant: "spellings",
    sections: {
      hook_history: [
        records.hook(1200, {
          execution_id: "ABCDEF00-0000-4000-8000-00000000000A",
          correlation_id: "abcdef000000400080000000000000ff",
          modified_operation: true,
        }),
      ],
    },
    sqlite: {
      sql: "SELECT execution_id, correlation_id, modified_operation, contains_sensitive_data FROM hook_history WHERE tenant_id = $tenant",
      rows: [["ABCDEF00-0000-4000-8000-00000000000A", "abcdef000000400080000000000000ff", 1n, 0n]],
      viaPostgres: [["abcdef00-0000-4000-8000-00000000000a", "abcdef00-0000-4000-8000-0000000000ff", 1n, 0n]],
    },
    postgres: {
      sql: "SELECT execution_id, correlation_id, modified_operation::int, contains_sensitive_data::int FROM llmspell.hook_history WHERE tenant_id = $tenant",
      rows: [["abcdef00-0000-4000-8000-00000000000a", "abcdef00-0000-4000-8000-0000000000ff", 1n, 0n]],
    },
  },
];
