/** What is wrong in a PostgreSQL database besides its records, and what is not. */
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { importStore, migrateDatabase, type StoreFinding } from "../../src/index.js";
import { createTestDatabase, createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { temporaryFolder, verified } from "./changes.js";
import { MIB, makeSections, writeDocument } from "./records.js";

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());

describePostgres("findings in PostgreSQL", () => {
  const original = folder.file("original.json");
  let database: TestDatabase;
  let client: pg.Client;

  beforeAll(async () => {
    writeDocument(
      original,
      makeSections(() => 2),
    );
    database = await createTestDatabase();
    await migrateDatabase(database.url);
    await importStore({ from: original, to: database.url });
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query("SET session_replication_role = replica; SET TimeZone = 'UTC'");
  });
  afterAll(async () => {
    await client.end();
    await database.drop();
  });

  const findings = async (strict = false): Promise<readonly StoreFinding[]> => {
    const { result, lines } = await verified({ a: original, b: database.url, ...(strict ? { strict } : {}) });
    if (!strict) {
      expect(lines).toEqual([]);
      expect(result.equal).toBe(result.findings.every(({ counts }) => !counts));
    }
    return result.findings;
  };
  const value = async (sql: string): Promise<string> =>
    (await client.query<{ value: string }>(sql)).rows[0]?.value ?? "";

  it("a large object of llmspell's that no row names", async () => {
    expect(await findings()).toEqual([]);
    const old = await value(
      "SELECT large_object_oid::text AS value FROM llmspell.artifact_content WHERE storage_type = 'large_object'",
    );
    await client.query(
      "UPDATE llmspell.artifact_content SET large_object_oid = lo_from_bytea(0, lo_get(large_object_oid)) WHERE storage_type = 'large_object'",
    );
    expect(await findings()).toEqual([
      {
        store: "b",
        check: "large-objects",
        object: "artifacts.content",
        count: 1,
        message: `1 large object of llmspell's that no row names, first: ${old}`,
        counts: true,
      },
    ]);
    // A database that has one, too, is as good as the first; not so where strictness is asked for.
    const { result } = await verified({ a: database.url, b: original });
    expect(result).toMatchObject({ equal: true, findings: [{ store: "a", check: "large-objects", counts: false }] });
    expect((await verified({ a: database.url, b: original, strict: true })).result.equal).toBe(false);
    await client.query(`SELECT lo_unlink(${old})`);
    expect(await findings()).toEqual([]);
  });

  it("others' large objects in the database are none", async () => {
    await using other = await createTestRole(database);
    await client.query(`CREATE TABLE public.documents (content oid)`);
    await client.query(
      `INSERT INTO public.documents VALUES (lo_from_bytea(0, decode(repeat('00', ${2 * MIB}), 'hex')))`,
    );
    await client.query("SELECT lo_from_bytea(0, 'a short one of the superuser')");
    // Programs keep the number in columns of other types, too.
    await client.query(
      `CREATE DOMAIN public.number AS int8; CREATE TABLE public.files (content bigint, other public.number, name varchar, body text)`,
    );
    for (const [column, type] of [
      ["content", "int8"],
      ["other", "int8"],
      ["name", "text"],
      ["body", "text"],
    ])
      await client.query(
        `INSERT INTO public.files (${column}) VALUES (lo_from_bytea(0, decode(repeat('00', ${2 * MIB}), 'hex'))::${type})`,
      );
    const otherClient = new pg.Client({ connectionString: other.url });
    await otherClient.connect();
    await otherClient.query(`SELECT lo_from_bytea(0, decode(repeat('00', ${2 * MIB}), 'hex'))`);
    await otherClient.end();
    expect(await findings()).toEqual([]);
  });

  it("indexes that are not valid, or gone", async () => {
    await client.query(
      "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'llmspell.idx_sessions_status'::regclass",
    );
    const definition = await value(`SELECT indexdef AS value FROM pg_indexes WHERE indexname = 'idx_artifacts_name'`);
    await client.query("DROP INDEX llmspell.idx_artifacts_name");
    expect(await findings()).toMatchObject([
      { store: "b", check: "schema", object: "index artifacts.idx_artifacts_name", counts: true },
      { store: "b", check: "schema", object: "index sessions.idx_sessions_status", counts: true },
    ]);
    await client.query(
      "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'llmspell.idx_sessions_status'::regclass",
    );
    await client.query(definition);
    expect(await findings()).toEqual([]);
  });

  it("a month of the event log that has a hole", async () => {
    await client.query(
      "CREATE TABLE llmspell.event_log_2040_05 PARTITION OF llmspell.event_log FOR VALUES FROM ('2040-05-02') TO ('2040-06-01')",
    );
    expect(await findings()).toMatchObject([{ store: "b", check: "partitions", object: "event_log", counts: true }]);
    await client.query("DROP TABLE llmspell.event_log_2040_05");
  });

  it("orphans and counters", async () => {
    await client.query("UPDATE llmspell.sessions SET artifact_count = 3");
    const { result, lines } = await verified({ a: original, b: database.url });
    expect(lines.length).toBe(2);
    expect(result.findings).toMatchObject([
      { store: "b", check: "counters", object: "sessions.artifact_count", count: 2, counts: true },
    ]);
    await client.query("UPDATE llmspell.sessions SET artifact_count = 1");
    await client.query("DELETE FROM llmspell.artifact_content WHERE storage_type = 'bytea'");
    const orphaned = await verified({ a: original, b: database.url });
    expect(orphaned.lines.length).toBe(1);
    expect(orphaned.result.findings).toMatchObject([
      { store: "b", check: "orphans", object: "artifacts.artifacts -> artifacts.content", count: 1, counts: true },
    ]);
  });
});
