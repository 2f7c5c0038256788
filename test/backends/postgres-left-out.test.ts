/** What a database holds that no section has: counted in warnings, and an error under `strict`. */
import { expect, it } from "vitest";
import type { TransferResult } from "../../src/api/results.js";
import { exportStore } from "../../src/api/transfer.js";
import type { StorageError } from "../../src/errors.js";
import { llmspellPostgres } from "../../src/llmspell/postgres/application.js";
import { collectDocument } from "../helpers/collect-document.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { fillPostgres } from "../helpers/sample-data.js";

async function fresh(...statements: string[]): Promise<TestDatabase> {
  const database = await createDatabase("llmspell");
  await withClient(database.url, async (client) => {
    for (const statement of statements) await client.query(statement);
  });
  return database;
}

function exported(url: string, options: object = {}): Promise<TransferResult> {
  return exportStore({ from: url, to: collectDocument().stream, ...options });
}

const sessions = (...tenants: string[]): string[] =>
  tenants.map(
    (tenant, n) => `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data, notes)
      VALUES ('${tenant}', '00000000-0000-4000-8000-00000000000${n}', '{}', ${n === 0 ? "NULL" : "'precious'"})`,
  );

describePostgres("what an export of PostgreSQL leaves out", () => {
  it("is nothing in llmspell's own database", async () => {
    await using other = await fresh();
    await fillPostgres(other.url, { records: 30 });
    expect((await exported(other.url, { strict: true })).leftOut).toEqual([]);
  });

  it("is nothing of a run's ledger, which no run copies", async () => {
    await using other = await createDatabase("migrated");
    const tables = await withClient(other.url, async (client) => {
      await client.query(
        "SET session_replication_role = replica; INSERT INTO llmspell.storage_plan_sums VALUES (1, 1, 0, '', '{}')",
      );
      return client.query("SELECT relname::text AS name FROM pg_class WHERE relname ~ '^storage_' AND relkind = 'r'");
    });
    expect((await exported(other.url, { strict: true })).leftOut).toEqual([]);
    expect(tables.rows.map(({ name }) => name).filter((name) => !llmspellPostgres.otherTables?.has(name))).toEqual([]);
  });

  it("is counted: rows of tables and values of columns that no section has", async () => {
    await using other = await fresh(
      "CREATE TABLE llmspell.vector_embeddings_1024 (LIKE llmspell.vector_embeddings_768 INCLUDING DEFAULTS)",
      "ALTER TABLE llmspell.vector_embeddings_1024 ALTER embedding TYPE vector(1024)",
      `INSERT INTO llmspell.vector_embeddings_1024 (id, tenant_id, scope, embedding)
       SELECT gen_random_uuid(), 't', 's', array_fill(0.1, ARRAY[1024])::vector FROM generate_series(1, 3)`,
      `CREATE TABLE llmspell."Mine ""too""" (n int)`,
      `INSERT INTO llmspell."Mine ""too""" VALUES (1)`,
      "CREATE TABLE llmspell.empty (n int)",
      "ALTER TABLE llmspell.sessions ADD COLUMN notes text, ADD COLUMN nothing text, ADD COLUMN made int GENERATED ALWAYS AS (1) STORED",
      ...sessions("a", "b", "b"),
    );
    const columns = "values in the column notes of llmspell.sessions, which no field has";
    const lines = [
      `2 ${columns}`,
      '1 row of the table llmspell.Mine "too", which no section has',
      "3 rows of the table llmspell.vector_embeddings_1024, which no section has",
    ];
    const warnings: string[] = [];
    const result = await exported(other.url, { onWarning: (line: string) => void warnings.push(line) });
    expect(result.leftOut).toEqual(lines);
    expect(warnings).toEqual(lines);
    const refused = await exported(other.url, { strict: true }).catch((error: StorageError) => error);
    expect(refused).toMatchObject({ code: "E_LEFT_OUT" });
    expect((await exported(other.url, { tenants: ["b"] })).leftOut).toEqual([`2 ${columns}`]);
    expect((await exported(other.url, { tenants: ["a"], strict: true })).leftOut).toEqual([]);
    expect((await exported(other.url, { include: ["kv_store"], strict: true })).leftOut).toEqual([]);
    expect((await exported(other.url, { limit: 1 })).leftOut).toEqual(lines);
  });

  it("is said of tables that the role may not read, or that are locked", async () => {
    await using other = await fresh(
      "CREATE TABLE llmspell.theirs AS SELECT 1 AS n FROM generate_series(1, 7)",
      "ANALYZE llmspell.theirs",
    );
    await using role = await createTestRole(other, { attributes: "BYPASSRLS" });
    await withClient(other.url, (client) =>
      client.query(`GRANT USAGE ON SCHEMA llmspell TO ${role.name}; GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO ${role.name};
        REVOKE SELECT ON llmspell.theirs FROM ${role.name}`),
    );
    expect((await exported(role.url)).leftOut).toEqual([
      "about 7 rows of the table llmspell.theirs, which no section has, and which this role may not read",
    ]);
    await withClient(other.url, async (client) => {
      await client.query("BEGIN; LOCK TABLE llmspell.theirs IN ACCESS EXCLUSIVE MODE");
      expect((await exported(other.url)).leftOut).toEqual([
        "rows of the table llmspell.theirs, which no section has, and which cannot be counted",
      ]);
      await client.query("ROLLBACK");
    });
  });
});
