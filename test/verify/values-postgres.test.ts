/** The same smallest steps in PostgreSQL (values.test.ts). */
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { importStore, migrateDatabase } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { expected, prepare, removals, statements, temporaryFolder, verified } from "./changes.js";
import { contentOf, deleteOf, writeDocument } from "./records.js";

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());

const { sections, changes, others } = prepare();
const { removable, lastOf, removed } = removals(others);
const original = folder.file("original.json");
const imported = folder.file("imported.db");

beforeAll(async () => {
  writeDocument(original, sections);
  await importStore({ from: original, to: imported });
});

describePostgres("PostgreSQL", () => {
  let database: TestDatabase;
  let client: pg.Client;

  beforeAll(async () => {
    database = await createTestDatabase();
    await migrateDatabase(database.url);
    await importStore({ from: original, to: database.url });
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query("SET session_replication_role = replica; SET TimeZone = 'UTC'");
    // What is changed by hand is put back from these.
    for (const { postgres } of catalog.kinds)
      await client.query(
        `CREATE TABLE IF NOT EXISTS public.kept_${postgres.table} AS SELECT * FROM llmspell.${postgres.table}`,
      );
  });
  afterAll(async () => {
    await client.end();
    await database.drop();
  });

  afterEach(async () => {
    for (const table of new Set(catalog.kinds.map(({ postgres }) => postgres.table)))
      await client.query(
        `DELETE FROM llmspell.${table}; INSERT INTO llmspell.${table} SELECT * FROM public.kept_${table}`,
      );
  });
  const run = async (sql: readonly string[]): Promise<void> => {
    for (const each of sql)
      expect([each.slice(0, 200), (await client.query(each)).rowCount]).toEqual([each.slice(0, 200), 1]);
  };

  it("is equal by meaning to the document, and to SQLite", async () => {
    for (const options of [
      { a: original, b: database.url },
      { a: imported, b: database.url },
      { a: database.url, b: imported },
    ]) {
      const { result, lines } = await verified(options);
      expect(lines).toEqual([]);
      expect(result).toMatchObject({ equal: true, identical: false, findings: [] });
    }
  });

  it("every changed value", async () => {
    await run(statements(changes, "postgres"));
    expect((await verified({ a: original, b: database.url })).lines).toEqual(expected(changes));
    expect((await verified({ a: imported, b: database.url })).lines).toEqual(expected(changes));
  });

  it("removed and added records", async () => {
    await run(removable.map((kind) => deleteOf(kind, lastOf(kind), "postgres")));
    expect((await verified({ a: original, b: database.url })).lines).toEqual(removed("A"));
    expect((await verified({ a: database.url, b: imported })).lines).toEqual(removed("B"));
  });

  it("one byte of a large object", async () => {
    const oid = "(SELECT large_object_oid FROM llmspell.artifact_content WHERE content_hash = 'hash-0000')";
    const byte = (contentOf(0)[1_048_577] as number) ^ 1;
    await client.query(`SELECT lo_put(${oid}, 1048577, '\\x${byte.toString(16).padStart(2, "0")}')`);
    const { lines } = await verified({ a: original, b: database.url });
    expect(lines).toEqual(["artifacts.content | tenant_id=acme, content_hash=hash-0000 | different | data"]);
    await client.query(`SELECT lo_put(${oid}, 1048577, '\\x${(byte ^ 1).toString(16).padStart(2, "0")}')`);
    // One byte less, and one more.
    await client.query(`SELECT lo_truncate(lo_open(${oid}, 131072), 1048578)`);
    expect((await verified({ a: original, b: database.url })).lines).toEqual(lines);
    await client.query(`SELECT lo_put(${oid}, 1048578, '\\x${contentOf(0).subarray(1_048_578).toString("hex")}00')`);
    expect((await verified({ a: original, b: database.url })).lines).toEqual(lines);
  });
});
