/** The planner's statistics after a load. */
import { expect, it } from "vitest";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { load, record, rowsOf, sql } from "./postgres-support.js";

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const kv = (n: number, value = "") =>
  record("kv_store", { kv_id: id(n), tenant_id: "t", key: `k${n}`, value, created_at: 0, updated_at: 0 });
const event = (n: number) =>
  record("event_log", {
    tenant_id: "t",
    event_id: id(n),
    event_type: `type ${n % 3}`,
    correlation_id: id(n),
    timestamp: n * 86400_000_000,
    sequence: n,
    language: "lua",
    payload: {},
  });
const kvs = (from: number, to: number, value = "") => Array.from({ length: to - from }, (_, n) => kv(from + n, value));

async function fresh(): Promise<TestDatabase> {
  const database = await createDatabase("llmspell");
  // Its own analyzing must not be taken for ours.
  await sql(database.url, "ALTER TABLE llmspell.kv_store SET (autovacuum_enabled = off)");
  return database;
}

/** The tables that have statistics, with the number of distinct keys. */
async function analyzed(database: TestDatabase): Promise<Record<string, unknown>> {
  const rows = await sql<{ name: string; rows: number }>(
    database.url,
    `SELECT c.relname AS name, c.reltuples::int AS rows FROM pg_class c
     WHERE c.relnamespace = 'llmspell'::regnamespace AND NOT c.relispartition AND c.relkind IN ('r', 'p')
       AND EXISTS (SELECT FROM pg_statistic WHERE starelid = c.oid) ORDER BY 1`,
  );
  return Object.fromEntries(rows.map(({ name, rows: count }) => [name, count]));
}

describePostgres("after a load", () => {
  it("the tables that it filled have statistics, the partitioned one too, and no others", async () => {
    await using database = await fresh();
    const { report } = await load(database.url, [...kvs(0, 30), ...Array.from({ length: 90 }, (_, n) => event(n))]);
    expect(report.notes).toEqual([]);
    expect(await analyzed(database)).toEqual({ event_log: 90, kv_store: 30 });
  });

  it("those that it changed much have new ones; a small change, or none, is left to the server", async () => {
    await using database = await fresh();
    await load(database.url, kvs(0, 30));
    await load(database.url, kvs(30, 60));
    await load(database.url, kvs(0, 60));
    expect(await analyzed(database)).toEqual({ kv_store: 30 });
    await load(database.url, kvs(60, 200));
    expect(await analyzed(database)).toEqual({ kv_store: 200 });
  });

  it("a trial leaves none", async () => {
    await using database = await fresh();
    await load(database.url, kvs(0, 30), { dryRun: true });
    expect(await analyzed(database)).toEqual({});
  });

  it("a role that may not make them says so, and its records are there", async () => {
    await using database = await fresh();
    await using role = await createTestRole(database, { attributes: "NOSUPERUSER BYPASSRLS" });
    await sql(
      database.url,
      `GRANT USAGE ON SCHEMA llmspell TO ${role.name}; GRANT ALL ON ALL TABLES IN SCHEMA llmspell TO ${role.name};
       GRANT SET ON PARAMETER session_replication_role TO ${role.name}`,
    );
    const { report } = await load(role.url, kvs(0, 30));
    expect(report.notes).toEqual([expect.stringMatching(/^the statistics of kv_store .*only their owner may/)]);
    expect(await rowsOf(database.url, "kv_store")).toHaveLength(30);
    expect(await analyzed(database)).toEqual({});
  });

  it("a failure is a note, and the records are there", async () => {
    await using database = await fresh();
    await sql(
      database.url,
      `CREATE FUNCTION llmspell.moody(text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog AS
         $$ BEGIN IF current_query() ILIKE 'analyze%' THEN RAISE 'not today'; END IF; RETURN $1; END $$;
       CREATE INDEX moody ON llmspell.kv_store (llmspell.moody(key))`,
    );
    const { report } = await load(database.url, kvs(0, 30));
    expect(report.notes).toEqual([expect.stringContaining("the statistics of kv_store")]);
    expect(await rowsOf(database.url, "kv_store")).toHaveLength(30);
  });
});
