/** What an SQLite database holds and an export leaves out: told and counted, and an error under --strict. */
import { existsSync } from "node:fs";
import Database from "better-sqlite3";
import * as sqliteVec from "sqlite-vec";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ExportOptions, exportStore } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace, withoutTimes } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

let workspace: Workspace;
let store: string;
beforeEach(() => {
  workspace = createWorkspace();
  store = workspace.path("llmspell.db");
  createLlmspellSqlite(store);
});
afterEach(() => workspace[Symbol.dispose]());

function change(sql: string): void {
  const database = new Database(store);
  database.exec(sql);
  database.close();
}

const STRAY = `CREATE TABLE IF NOT EXISTS vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB);
  INSERT INTO vec_embeddings_384 VALUES (5555, zeroblob(1536)), (5556, zeroblob(1536))`;
const STRAY_LINE = "2 embeddings in vec_embeddings_384 have no metadata; they are no records";

describe("what an export leaves out", () => {
  it("is warned of, and status 0; under --strict an error, and the old document stays", async () => {
    await workspace.must(["storage", "export", "--database", store, "--output", "a.json"]);
    change(STRAY);
    const lenient = await workspace.must(["storage", "export", "--database", store, "--output", "b.json"]);
    expect(lenient.stderr).toContain(`Warning: ${STRAY_LINE}`);
    const strict = await workspace.run(["storage", "export", "--database", store, "--output", "c.json", "--strict"]);
    expect(strict.status).toBe(4);
    expect(strict.stderr).toContain("E_LEFT_OUT");
    expect(strict.stderr).toContain(`Caused by: ${STRAY_LINE}`);
    expect(existsSync(workspace.path("c.json"))).toBe(false);
    const migrated = await workspace.run(["storage", "migrate", "--from", store, "--to", "new.db", "--strict"]);
    expect(migrated.status).toBe(4);
    expect(existsSync(workspace.path("new.db"))).toBe(false);
  });

  it("is said by `storage info`, whose status it is under --strict", async () => {
    const before = await workspace.must(["storage", "info", store, "--strict"]);
    expect(before.stdout).toContain("An export would take every record.");
    change(STRAY);
    const lenient = await workspace.must(["storage", "info", store]);
    expect(lenient.stdout).toContain(`An export would leave out (or, with --strict, stop at):\n  ${STRAY_LINE}\n`);
    expect(lenient.stdout).not.toContain("every record");
    const strict = await workspace.run(["storage", "info", store, "--strict", "--json"]);
    expect(strict.status).toBe(4);
    expect(JSON.parse(strict.stdout)).toMatchObject({ leftOut: [STRAY_LINE], error: { code: "E_LEFT_OUT" } });
  });

  it("is in the library's result, and E_LEFT_OUT with strict", async () => {
    change(STRAY);
    const options = { from: store, to: { type: "document", path: workspace.path("d.json") } } as const;
    await expect(exportStore({ ...options, strict: true })).rejects.toMatchObject({ code: "E_LEFT_OUT" });
    const warnings: string[] = [];
    const { leftOut } = await exportStore({ ...options, onWarning: (line) => warnings.push(line) });
    expect(leftOut).toEqual([STRAY_LINE]);
    expect(warnings).toEqual(leftOut);
  });

  it("is nothing of a database that llmspell and we made, in every shape", async () => {
    fillSqlite(store, { records: 20, vectorShapes: { 384: "vec0", 768: "raw", 1536: "mixed", 3072: "vec0" } });
    const leftOut = async () =>
      (await exportStore({ from: store, to: { type: "document", path: workspace.path("e.json") } })).leftOut;
    expect(await leftOut()).toEqual([]);
    await workspace.must(["database", "migrate", "--database", store]);
    expect(await leftOut()).toEqual([]);
  });

  it("is counted: tables, dimensions and columns that no section has", async () => {
    fillSqlite(store, { records: 20, vectorShapes: { 384: "vec0", 768: "raw" } });
    const database = new Database(store);
    sqliteVec.load(database);
    database.pragma("ignore_check_constraints = ON");
    const insert =
      "INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at) VALUES";
    database.exec(`
      ALTER TABLE sessions ADD COLUMN notes TEXT; UPDATE sessions SET notes = 'precious' WHERE rowid <= 2;
      ALTER TABLE sessions ADD COLUMN twice GENERATED ALWAYS AS (status || status); ALTER TABLE kv_store ADD COLUMN unused TEXT;
      ALTER TABLE vec_embeddings_768 ADD COLUMN model TEXT; UPDATE vec_embeddings_768 SET model = 'm';
      CREATE TABLE agent_memory (a); INSERT INTO agent_memory VALUES (1), (2), (3); CREATE TABLE agent_dreams (a);
      CREATE TABLE vec_embeddings_1024 (rowid INTEGER PRIMARY KEY, embedding BLOB); INSERT INTO vec_embeddings_1024 VALUES (90001, zeroblob(4096));
      CREATE VIRTUAL TABLE vec_embeddings_8 USING vec0(embedding float[8]); INSERT INTO vec_embeddings_8 VALUES (90002, zeroblob(32));
      CREATE TRIGGER a AFTER INSERT ON agent_memory BEGIN SELECT 1; END;
      ${insert} (90001, '00000000-0000-4000-8000-000000000001', 'acme', 's', 1024, 1, 1), (90002, '00000000-0000-4000-8000-000000000002', 'acme', 's', 8, 1, 1);`);
    const models = database.prepare("SELECT count(*) FROM vec_embeddings_768").pluck().get();
    database.close();
    const lines = async (options: Partial<ExportOptions> = {}) => {
      const to = { type: "document", path: workspace.path("f.json") } as const;
      return (await exportStore({ from: store, to, force: true, allowEmpty: true, ...options })).leftOut;
    };
    const columns = `2 values in the column notes of sessions, which no field has`;
    const metadata = "2 rows of vector_metadata have a dimension that no section has";
    expect(await lines()).toEqual([
      `${models} values in the column model of vec_embeddings_768, which no field has`,
      columns,
      metadata,
      "3 rows of the table agent_memory, which no section has",
      "1 row of the table vec_embeddings_1024, which no section has",
      "1 row of the table vec_embeddings_8, which no section has",
    ]);
    expect(await lines({ include: ["sessions"] })).toEqual([columns]);
    expect(await lines({ tenants: ["acme"], include: ["vector_embeddings"] })).toEqual([metadata]);
    expect(await lines({ tenants: ["nobody"] })).toEqual([]);
    const strict = await workspace.run(["storage", "export", "--database", store, "--output", "g.json", "--strict"]);
    expect([strict.status, withoutTimes(strict.stderr).match(/^Warning: /gm)?.length]).toEqual([4, 6]);
    expect(existsSync(workspace.path("g.json"))).toBe(false);
  });
});
