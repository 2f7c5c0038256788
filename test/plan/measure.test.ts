/** A plan that measures writes some of the records beside the target, leaves nothing of them, and tells how long a run would take. */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exportStore, migrateDatabase, planTransfer, type StorageError, type TransferPlan } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { createTestDatabase, createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { sql } from "../sinks/postgres-support.js";

const workspace = createWorkspace();
afterAll(() => workspace[Symbol.dispose]());
const source = workspace.path("source.db");
const folder = workspace.path("target");
beforeAll(() => {
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 20, counts: { kv_store: 6000 }, contentSizes: [0, 5, 1_500_000] });
  mkdirSync(folder);
});

/** What was measured of the source: of each kind so many records at most. */
function expectMeasured({ measured, seconds, refused, notes }: TransferPlan, into: string): void {
  expect([refused, notes.filter((note) => note.includes("measured"))]).toEqual([undefined, []]);
  expect(measured).toMatchObject({ into });
  // At least a batch of each section, however slow the machine is.
  expect(measured?.records).toBeGreaterThan(200);
  expect(measured?.bytes).toBeGreaterThan(1_500_000);
  const { least = 0, most = 0 } = seconds ?? {};
  expect(least).toBeLessThan(measured?.seconds ?? 0);
  expect(most).toBeGreaterThan(measured?.seconds ?? 0);
}

it("of an SQLite file writes to a folder beside it, which is gone", async () => {
  const to = `${folder}/new.db`;
  const options = { from: source, to, measure: true } as const;
  expectMeasured(await planTransfer(options), "a temporary file beside the target");
  expect(readdirSync(folder)).toEqual([]);
  // A sample need not have what a mask names.
  const steps = [{ type: "mask", rule: "sessions.session_data.nothing=redact" }] as const;
  expectMeasured(await planTransfer({ ...options, transforms: steps }), "a temporary file beside the target");
  await workspace.must(["storage", "migrate", "--from", source, "--to", to]);
  const before = readFileSync(to);
  expectMeasured(await planTransfer(options), "a temporary file beside the target");
  expect(readFileSync(to).equals(before)).toBe(true);
  expect(readdirSync(folder)).toEqual(["new.db"]);
  const { stdout, status } = await workspace.run([
    "storage",
    "migrate",
    "--from",
    source,
    "--to",
    to,
    "--plan",
    "--measure",
  ]);
  expect(status).toBe(0);
  expect(stdout).toMatch(
    /\nMeasured: [\d,]+ records, [\d.]+ MB, written to a temporary file beside the target in [\d.]+ s, and removed\n/,
  );
  expect(stdout).toMatch(/\nTime: [\d.]+ to [\d.]+ s, by what was measured, with the indexes\n/);
  const interrupted = planTransfer({ ...options, signal: AbortSignal.abort() });
  await expect(interrupted).rejects.toMatchObject({ code: "E_INTERRUPTED" });
  expect(readdirSync(folder)).toEqual(["new.db"]);
});

it("of a document needs a full pass, and a document is no target", async () => {
  const document = workspace.path("source.json");
  await exportStore({ from: source, to: document });
  const usage = (options: Parameters<typeof planTransfer>[0]): Promise<string> =>
    planTransfer({ ...options, measure: true }).then(
      () => "none",
      ({ code, message }: StorageError) => `${code} ${message}`,
    );
  const to = `${folder}/other.db`;
  expect(await usage({ from: document, to })).toMatch(/^E_USAGE --measure .* needs --exact/);
  expect(await usage({ from: source, to: `${folder}/x.json` })).toMatch(/^E_USAGE --measure .* is for databases/);
  expectMeasured(
    await planTransfer({ from: document, to, exact: true, measure: true }),
    "a temporary file beside the target",
  );
  const { status, stderr } = await workspace.run([
    "storage",
    "export",
    "--database",
    source,
    "--output",
    "x.json",
    "--measure",
  ]);
  expect([status, stderr]).toEqual([2, expect.stringContaining("--measure needs --plan")]);
});

describePostgres("with PostgreSQL", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
    await migrateDatabase(database.url);
  });
  afterAll(() => database.drop());

  it("writes to temporary tables, which are gone: no row, no large object, no file of an index", async () => {
    const state = `SELECT (SELECT count(*) FROM pg_largeobject_metadata)::int AS objects,
      (SELECT count(*) FROM pg_class WHERE relname LIKE 'llmspell_measure%')::int AS tables,
      (SELECT string_agg(relname || ' ' || coalesce(pg_relation_filenode(oid), 0) || ' ' || pg_relation_size(oid), ',' ORDER BY relname)
       FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'i')) AS files`;
    const before = await sql(database.url, state);
    expectMeasured(
      await planTransfer({ from: source, to: database.url, measure: true }),
      "temporary tables of the server",
    );
    expect(await sql(database.url, state)).toEqual(before);
  });

  it("says why nothing could be measured", async () => {
    const role = await createTestRole(database);
    try {
      const url = new URL(database.url);
      await sql(database.url, `REVOKE TEMPORARY ON DATABASE "${url.pathname.slice(1)}" FROM PUBLIC`);
      await sql(database.url, `GRANT USAGE ON SCHEMA llmspell TO ${role.name}`);
      await sql(database.url, `GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA llmspell TO ${role.name}`);
      const plan = await planTransfer({ from: source, to: role.url, measure: true });
      expect(plan.measured).toBeUndefined();
      expect(plan.notes.filter((note) => note.startsWith("nothing could be measured: "))).toHaveLength(1);
    } finally {
      await role.drop();
    }
  });
});
