/**
 * What SQLite's dynamic typing lets in, in a database of llmspell's own: no run casts it, drops it or goes on without a
 * word. Into a document, into SQLite and into PostgreSQL, stopping and skipping.
 */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { id } from "./records.js";
import { createPostgresStore, createSqliteStore, load, type TestStore, unload } from "./support.js";

const KV = (n: number, more: Record<string, string> = {}): string => {
  const columns = { kv_id: `'${id(n)}'`, tenant_id: "'t'", key: `'k${n}'`, value: "x'00'", created_at: "1", ...more };
  return `INSERT INTO kv_store (${Object.keys(columns).join(", ")}) VALUES (${Object.values(columns).join(", ")});`;
};
const HOOK = (n: number, more: Record<string, string> = {}): string => {
  const columns = {
    ...{ execution_id: `'${id(n)}'`, tenant_id: "'t'", hook_id: "'h'", hook_type: "'x'", correlation_id: `'${id(n)}'` },
    ...{ hook_context: "x''", result_data: "'{}'", timestamp: "1", duration_ms: "1", triggering_component: "''" },
    ...{ component_id: "''", context_size: "0" },
    ...more,
  };
  return `INSERT INTO hook_history (${Object.keys(columns).join(", ")}) VALUES (${Object.values(columns).join(", ")});`;
};
const VECTOR = (n: number, embedding: string | undefined): string =>
  `INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at) VALUES (${n}, '${id(n)}', 't', 's', 384, 1, 1);
   CREATE TABLE IF NOT EXISTS vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB);
   ${embedding === undefined ? "" : `INSERT INTO vec_embeddings_384 VALUES (${n}, ${embedding});`}`;

/** Name, statements, code, section, field. */
const CASES: [string, string, string, string, string][] = [
  ["text in an INTEGER column", KV(5, { created_at: "'yesterday'" }), "E_FIELD_TYPE", "kv_store", "created_at"],
  ["a real in a seconds column", KV(5, { created_at: "1.5" }), "E_FIELD_TYPE", "kv_store", "created_at"],
  ["a blob where text belongs", KV(5, { key: "x'6b35'" }), "E_FIELD_TYPE", "kv_store", "key"],
  ["text where a blob belongs", KV(5, { value: "'text'" }), "E_FIELD_TYPE", "kv_store", "value"],
  [
    "seconds that no calendar has",
    KV(5, { created_at: "9223372036854775807" }),
    "E_OUT_OF_RANGE",
    "kv_store",
    "created_at",
  ],
  ["invalid JSON", KV(5, { metadata: `'{"a":'` }), "E_INVALID_JSON", "kv_store", "metadata"],
  ["JSON5, which SQLite takes", KV(5, { metadata: "'{a:1,}'" }), "E_INVALID_JSON", "kv_store", "metadata"],
  ["invalid UTF-8 in text", KV(5, { key: "CAST(x'61ff62' AS TEXT)" }), "E_INVALID_UTF8", "kv_store", "key"],
  ["a lone surrogate in text", KV(5, { key: "CAST(x'61eda080' AS TEXT)" }), "E_INVALID_UTF8", "kv_store", "key"],
  ["a key that is NULL", KV(5, { kv_id: "NULL" }), "E_MISSING_FIELD", "kv_store", "kv_id"],
  [
    "a boolean other than 0 and 1",
    HOOK(5, { modified_operation: "2" }),
    "E_OUT_OF_RANGE",
    "hook_history",
    "modified_operation",
  ],
  ["an integer over 32 bits", HOOK(5, { duration_ms: "2147483648" }), "E_OUT_OF_RANGE", "hook_history", "duration_ms"],
  ["tags that are no flat list", HOOK(5, { tags: `'[["a"]]'` }), "E_FIELD_TYPE", "hook_history", "tags"],
  ["metadata without an embedding", VECTOR(5, undefined), "E_INVALID_EMBEDDING", "vector_embeddings.384", "embedding"],
  [
    "an embedding of another dimension",
    VECTOR(5, "zeroblob(3072)"),
    "E_DIMENSION_MISMATCH",
    "vector_embeddings.384",
    "embedding",
  ],
];

describePostgres("a bad row of SQLite", () => {
  let source: TestStore;
  const targets: TestStore[] = [];
  beforeAll(async () => {
    source = createSqliteStore();
    targets.push(createSqliteStore(), await createPostgresStore());
  });
  beforeEach(async () => {
    for (const store of [source, ...targets]) await store.clear();
    await source.run(`${KV(1)} ${HOOK(1)} ${VECTOR(1, "zeroblob(1536)")}`);
  });
  afterAll(async () => {
    for (const store of [source, ...targets]) await store.drop();
  });

  const counts = async (target: TestStore): Promise<unknown> => {
    const prefix = target.backend === "sqlite" ? "" : "llmspell.";
    const vectors = target.backend === "sqlite" ? "vector_metadata" : "llmspell.vector_embeddings_384";
    const count = (table: string): string => `(SELECT count(*) FROM ${table})`;
    const query = `SELECT ${count(`${prefix}kv_store`)}, ${count(`${prefix}hook_history`)}, ${count(vectors)}`;
    return (await target.rows(query))[0];
  };

  for (const [name, statements, code, section, field] of CASES)
    it(`${name} is a coded error that names it, or is left out alone`, async () => {
      await source.run(statements);
      const place = [code, section, field];
      const key = field === "kv_id" ? "kv_id=?" : expect.stringContaining(id(5));
      for (const target of targets) {
        const error = await failureOf(load(source, target));
        expect([error.code, error.context.section, error.context.field, error.context.key]).toEqual([...place, key]);
        expect(await counts(target)).toEqual([0n, 0n, 0n]);
        const { rejected, result } = await load(source, target, { skip: true });
        expect(rejected.map((each) => [each.error.code, each.error.context.section, each.error.context.field])).toEqual(
          [place],
        );
        expect(result.totals).toMatchObject({ inserted: 3, rejected: 1 });
        expect(await counts(target)).toEqual([1n, 1n, 1n]);
        expect(JSON.parse(rejected[0]?.record as string)).toMatchObject({ tenant_id: "t" });
      }
      expect((await failureOf(unload(source))).code).toBe(code);
    });

  it("embeddings without metadata are counted in a warning", async () => {
    await source.run("INSERT INTO vec_embeddings_384 VALUES (77, zeroblob(1536)), (78, zeroblob(1536))");
    const { warnings, result } = await unload(source);
    expect(warnings).toEqual(["2 embeddings in vec_embeddings_384 have no metadata; they are no records"]);
    expect(result.totals).toMatchObject({ read: 3, rejected: 0 });
  });
});
