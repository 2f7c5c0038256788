import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Rejection } from "../../src/records/run-context.js";
import { failureOf } from "../conformance/expectations.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { load, record, sql, Token } from "./postgres-support.js";

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const kv = (n: number, more: Record<string, unknown> = {}) =>
  record("kv_store", { kv_id: id(n), tenant_id: "t", key: `k${n}`, value: "", created_at: 0, updated_at: 0, ...more });
const hook = (n: number, more: Record<string, unknown> = {}) =>
  record("hook_history", {
    execution_id: id(n),
    tenant_id: "t",
    hook_id: "h",
    hook_type: "x",
    correlation_id: id(n),
    hook_context: "",
    result_data: {},
    timestamp: 0,
    duration_ms: 0,
    triggering_component: "",
    component_id: "",
    modified_operation: false,
    retention_priority: 0,
    context_size: 0,
    contains_sensitive_data: false,
    metadata: {},
    created_at: 0,
    ...more,
  });
const vector = (n: number, floats: number[], bits?: (bytes: Buffer) => void) => {
  const bytes = Buffer.alloc(384 * 4);
  floats.forEach((value, at) => {
    bytes.writeFloatLE(value, at * 4);
  });
  bits?.(bytes);
  return record("vector_embeddings.384", {
    id: id(n),
    tenant_id: "t",
    scope: "s",
    embedding: bytes.toString("base64"),
    metadata: {},
    created_at: 0,
    updated_at: 0,
  });
};
const pattern = (n: number, value: string) =>
  record("procedural_memory", {
    pattern_id: id(n),
    tenant_id: "t",
    scope: "s",
    key: "k",
    value,
    frequency: 1,
    first_seen: 0,
    last_seen: 0,
    created_at: 0,
    updated_at: 0,
  });
const session = (n: number, more: Record<string, unknown> = {}) =>
  record("sessions", {
    tenant_id: "t",
    session_id: id(n),
    session_data: {},
    status: "active",
    created_at: 0,
    last_accessed_at: 0,
    artifact_count: 0,
    updated_at: 0,
    ...more,
  });

describePostgres("values in PostgreSQL", () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createDatabase("llmspell");
  });
  afterAll(() => database.drop());
  beforeEach(() =>
    sql(
      database.url,
      `TRUNCATE llmspell.kv_store, llmspell.hook_history, llmspell.vector_embeddings_384, llmspell.procedural_patterns,
         llmspell.sessions, llmspell.artifacts, llmspell.artifact_content, llmspell.event_log`,
    ),
  );

  // The staged way is taken when the table has a row already.
  describe.each([
    ["copied into an empty table", { method: "copy" }, false],
    ["inserted into an empty table", { method: "insert" }, false],
    ["copied and merged", { method: "copy" }, true],
    ["inserted and merged", { method: "insert" }, true],
  ] as const)("%s", (_, options, filled) => {
    const url = (): string => database.url;

    beforeEach(async () => {
      if (filled) await load(url(), [kv(99), hook(99), vector(99, [1]), session(99), pattern(99, "")]);
    });

    it("times arrive exactly: microseconds, infinities, BC, year 294276", async () => {
      const times: [unknown, string][] = [
        [1234567890123456, "2009-02-13 23:31:30.123456+00"],
        [-1, "1969-12-31 23:59:59.999999+00"],
        ["infinity", "infinity"],
        ["-infinity", "-infinity"],
        [new Token("-210866803200000000"), "4714-11-24 00:00:00+00 BC"],
        [new Token("9224318015999999999"), "294276-12-31 23:59:59.999999+00"],
      ];
      await load(
        url(),
        times.map(([time], n) => kv(n, { created_at: time })),
        options,
      );
      for (const [n, [, text]] of times.entries())
        expect(
          await sql(url(), "SELECT created_at::text AS time FROM llmspell.kv_store WHERE kv_id = $1", [id(n)]),
        ).toEqual([{ time: text }]);
    });

    it("bytes, arrays and text arrive exactly", async () => {
      const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
      const arrays: unknown[] = [null, [], ["a,b", 'q"\\', "NULL", null, "", " x ", "{}", "😀"]];
      const text = 'a,"b"\\\r\n\t\u0001\u202e😀e\u0301 ';
      await load(
        url(),
        [
          kv(1, { value: "" }),
          kv(2, { value: all.toString("base64"), key: text }),
          ...arrays.map((tags, n) => hook(n + 1, { tags })),
        ],
        options,
      );
      expect(
        await sql(url(), "SELECT value, key FROM llmspell.kv_store WHERE kv_id <> $1 ORDER BY 1", [id(99)]),
      ).toEqual([
        { value: Buffer.alloc(0), key: "k1" },
        { value: all, key: text },
      ]);
      const rows = await sql(
        url(),
        "SELECT to_json(tags)::text AS tags FROM llmspell.hook_history WHERE execution_id <> $1 ORDER BY execution_id",
        [id(99)],
      );
      expect(rows.map((row) => (row["tags"] === null ? null : JSON.parse(row["tags"] as string)))).toEqual(arrays);
    });

    it("json keeps its numbers, and null is told from SQL NULL", async () => {
      const cases: [unknown, string | null][] = [
        [undefined, null],
        [null, "null"],
        [new Token("12345678901234567890"), "12345678901234567890"],
        [new Token("[1.10,0.1000000000000000055,1e2]"), "[1.10, 0.1000000000000000055, 100]"],
        [new Token('{"b":1,"a":"\\ud83d\\ude00"}'), '{"a": "😀", "b": 1}'],
      ];
      await load(
        url(),
        cases.map(([metadata], n) => kv(n, { metadata })),
        options,
      );
      const rows = await sql(url(), "SELECT metadata::text FROM llmspell.kv_store WHERE kv_id <> $1 ORDER BY kv_id", [
        id(99),
      ]);
      expect(rows.map((row) => row["metadata"])).toEqual(cases.map(([, text]) => text));
    });

    it("vectors are bit-identical", async () => {
      const denormal = 1.401298464324817e-45;
      await load(url(), [vector(1, [-0, 0.1, denormal, 3.4028234663852886e38, -1.5])], options);
      const [row] = await sql(
        url(),
        "SELECT encode(substring(vector_send(embedding) FROM 5 FOR 24), 'hex') AS bits FROM llmspell.vector_embeddings_384 WHERE id = $1",
        [id(1)],
      );
      expect(row?.["bits"]).toBe("800000003dcccccd000000017f7fffffbfc0000000000000");
    });

    it.each<[string, () => ReturnType<typeof kv>, string, string]>([
      ["NUL in text", () => kv(5, { key: "a\0b" }), "E_NUL_CHARACTER", "key"],
      ["NUL in json", () => kv(5, { metadata: "\0" }), "E_NUL_CHARACTER", "metadata"],
      ["a lone surrogate in json", () => kv(5, { metadata: new Token('"\\ud800"') }), "E_LONE_SURROGATE", "metadata"],
      ["a text that is too long", () => kv(5, { key: "é".repeat(501) }), "E_TOO_LONG", "key"],
      ["trailing blanks over the length", () => kv(5, { key: "é".repeat(500).concat(" ") }), "E_TOO_LONG", "key"],
      ["NaN in a vector", () => vector(5, [Number.NaN]), "E_NOT_FINITE", "embedding"],
      [
        "a number beyond numeric in json",
        () => kv(5, { metadata: new Token("1e400000") }),
        "E_OUT_OF_RANGE",
        "metadata",
      ],
      [
        "json that is nested too deep",
        () => kv(5, { metadata: new Token("[".repeat(20000) + "]".repeat(20000)) }),
        "E_TARGET_LIMIT",
        "metadata",
      ],
      ["NULL where none may be", () => session(5, { status: undefined }), "E_MISSING_FIELD", "status"],
      ["a status that does not exist", () => session(5, { status: "gone" }), "E_CHECK", "status"],
    ])("%s is refused, naming section, key and field", async (_, bad, code, field) => {
      const wrong = bad();
      const rejections: Rejection[] = [];
      const good = Array.from({ length: 9 }, (_, n) => kv(n + 10));
      await load(url(), [...good.slice(0, 4), wrong, ...good.slice(4)], { ...options, rejections });
      const [rejection] = rejections;
      expect(rejections).toHaveLength(1);
      expect(rejection?.error.code).toBe(code);
      expect(rejection?.error.context).toMatchObject({ section: wrong.kind.path, field });
      expect(rejection?.error.context.key).toContain(id(5));
      expect(await sql(url(), "SELECT kv_id FROM llmspell.kv_store WHERE kv_id < $1", [id(99)])).toHaveLength(9);
      await sql(url(), "TRUNCATE llmspell.kv_store");
      const error = await failureOf(load(url(), [...good, wrong], options));
      expect([error.code, error.context.field]).toEqual([code, field]);
      expect(await sql(url(), "SELECT FROM llmspell.kv_store")).toHaveLength(0);
    });

    it.each([2000, 9000])(
      "a value of %i characters that is too large for an index is refused alone",
      async (length) => {
        const rejections: Rejection[] = [];
        // Random text, for the index compresses.
        const large = Array.from({ length }, () => String.fromCharCode(0x4e00 + Math.random() * 20000)).join("");
        const records = [1, 2, 3, 4, 5, 6, 7].map((n) => pattern(n, n === 5 ? large : `v${n}`));
        await load(url(), records, { ...options, rejections });
        expect(
          rejections.map(({ error }) => [error.code, error.context.section, error.context.key, error.context.field]),
        ).toEqual([["E_TARGET_LIMIT", "procedural_memory", `pattern_id=${id(5)}`, "value"]]);
        expect(rejections[0]?.error.context.detail).not.toContain(large.slice(0, 10));
        const rows = await sql(
          url(),
          "SELECT value FROM llmspell.procedural_patterns WHERE value <> '' ORDER BY value",
        );
        expect(rows.map((row) => row["value"])).toEqual(["v1", "v2", "v3", "v4", "v6", "v7"]);
      },
    );

    it("triggers do not fire", async () => {
      const content = record("artifacts.content", {
        tenant_id: "t",
        content_hash: "h",
        storage_type: "bytea",
        data: "AAAA",
        size_bytes: 3,
        is_compressed: false,
        reference_count: 7,
        created_at: 1,
        last_accessed_at: 2,
      });
      const artifact = record("artifacts.artifacts", {
        tenant_id: "t",
        artifact_id: "a",
        session_id: id(1),
        sequence: 0,
        content_hash: "h",
        metadata: {},
        name: "n",
        artifact_type: "x",
        mime_type: "y",
        size_bytes: 3,
        created_at: 3,
        version: 1,
        stored_at: 4,
        updated_at: 5,
      });
      const records = [artifact, content, session(1, { updated_at: 6, last_accessed_at: 7 }), kv(1, { updated_at: 8 })];
      for (let run = 0; run < 2; run++) {
        await load(url(), records, options);
        expect(
          await sql(
            url(),
            `SELECT c.reference_count, extract(epoch FROM c.last_accessed_at)::text AS accessed,
               extract(epoch FROM a.updated_at)::text AS artifact, extract(epoch FROM s.updated_at)::text AS session,
               extract(epoch FROM s.last_accessed_at)::text AS last, extract(epoch FROM k.updated_at)::text AS kv
             FROM llmspell.artifact_content c JOIN llmspell.artifacts a USING (tenant_id, content_hash)
               JOIN llmspell.sessions s USING (tenant_id, session_id) JOIN llmspell.kv_store k ON k.kv_id = s.session_id`,
          ),
        ).toEqual([
          {
            reference_count: 7,
            accessed: "0.000002",
            artifact: "0.000005",
            session: "0.000006",
            last: "0.000007",
            kv: "0.000008",
          },
        ]);
      }
    });
  });

  it("a rejected record's chunks are the record itself", async () => {
    const rejected: string[] = [];
    const bad = [kv(1), kv(2, { key: "k1", metadata: null, created_at: "infinity" })];
    await load(database.url, bad, { rejections: [], rejected });
    expect(rejected).toHaveLength(1);
    expect(JSON.parse(rejected[0] as string)).toEqual({
      kv_id: id(2),
      tenant_id: "t",
      key: "k1",
      value: "",
      metadata: null,
      created_at: "infinity",
      updated_at: 0,
    });
  });
});
