/** vec0 tables whose shadow tables are damaged: sqlite-vec would end the process, or give other vectors. */
import { copyFileSync, rmSync } from "node:fs";
import Database from "better-sqlite3";
import * as sqliteVec from "sqlite-vec";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { exportStore, importStore } from "../../src/index.js";
import { failureOf } from "../conformance/expectations.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

let workspace: Workspace;
let store: string;
let whole: string;
beforeAll(() => {
  workspace = createWorkspace();
  store = workspace.path("llmspell.db");
  whole = workspace.path("whole.db");
  createLlmspellSqlite(whole);
  fillSqlite(whole, { records: 30, counts: { vector_embeddings_384: 1100 }, vectorShapes: { 384: "vec0" } });
  new Database(whole).pragma("wal_checkpoint(TRUNCATE)");
});
afterAll(() => workspace[Symbol.dispose]());
beforeEach(() => {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(store + suffix, { force: true });
  copyFileSync(whole, store);
});

function change(sql: string): void {
  const database = new Database(store);
  sqliteVec.load(database);
  database.unsafeMode(true);
  database.exec(sql);
  database.close();
}

const TABLE = "vec_embeddings_384";
const DAMAGE = [
  `DROP TABLE ${TABLE}_chunks`,
  `DROP TABLE ${TABLE}_vector_chunks00`,
  `DELETE FROM ${TABLE}_chunks WHERE chunk_id = 2`,
  `DELETE FROM ${TABLE}_vector_chunks00 WHERE rowid = 1`,
  `DELETE FROM ${TABLE}_rowids WHERE rowid IN (SELECT rowid FROM ${TABLE}_rowids LIMIT 1)`,
  `UPDATE ${TABLE}_chunks SET validity = x'ff'`,
  `UPDATE ${TABLE}_chunks SET validity = zeroblob(128)`,
  `UPDATE ${TABLE}_chunks SET rowids = 'text'`,
  `UPDATE ${TABLE}_chunks SET rowids = zeroblob(8192)`,
  `UPDATE ${TABLE}_chunks SET size = 4`,
  `UPDATE ${TABLE}_vector_chunks00 SET vectors = x'00' WHERE rowid = 2`,
  `UPDATE ${TABLE}_vector_chunks00 SET vectors = 7`,
  `UPDATE ${TABLE}_rowids SET chunk_id = NULL`,
  `UPDATE ${TABLE}_rowids SET chunk_id = 77 WHERE chunk_id = 2`,
  `UPDATE ${TABLE}_rowids SET chunk_offset = NULL`,
  `UPDATE ${TABLE}_rowids SET chunk_offset = chunk_offset + 1`,
  `UPDATE ${TABLE}_rowids SET chunk_offset = -1`,
  `UPDATE ${TABLE}_rowids SET chunk_offset = 'x'`,
];

describe("a damaged vec0 table", () => {
  const exported = (more = {}) =>
    exportStore({
      ...{ from: store, to: { type: "document", path: workspace.path("a.json") }, allowEmpty: true },
      ...more,
    });

  it.each(DAMAGE)("%s: an error that names it, read and written", async (sql) => {
    const to = { type: "document", path: workspace.path("whole.json") } as const;
    await exportStore({ from: store, to, include: ["vector_embeddings.384"] });
    change(sql);
    for (const options of [{}, { limit: 3 }]) {
      const error = await failureOf(exported(options));
      expect([error.code, error.message]).toEqual(["E_SOURCE_DAMAGED", `the vec0 table ${TABLE} is damaged`]);
    }
    expect((await exported({ include: ["sessions"] })).totals.read).toBeGreaterThan(0);
    const error = await failureOf(importStore({ from: workspace.path("whole.json"), to: store }));
    expect([error.code, error.context.detail]).toEqual(["E_NOT_A_DATABASE", expect.stringContaining(TABLE)]);
  });

  it("without its rowids ends no process", async () => {
    await exportStore({ from: store, to: { type: "document", path: workspace.path("whole.json") } });
    change(`DROP TABLE ${TABLE}_rowids`);
    for (const command of [
      ["storage", "export", "--database", store, "--output", "b.json"],
      ["storage", "export", "--database", store, "--output", "b.json", "--limit", "2"],
      ["storage", "info", store],
      ["storage", "import", "--database", store, "--input", workspace.path("whole.json")],
    ]) {
      const { status, stderr } = await workspace.run(command);
      expect([status, stderr]).toEqual([
        command[1] === "import" ? 3 : 4,
        expect.stringMatching(/E_SOURCE_DAMAGED|E_NOT_A_DATABASE/),
      ]);
    }
  });

  it("is not one from which vectors were deleted, all or some, or that has chunks of another size", async () => {
    const rows = "SELECT rowid FROM vector_metadata WHERE dimension = 384";
    change(
      `DELETE FROM ${TABLE} WHERE rowid IN (${rows} LIMIT 1050); DELETE FROM vector_metadata WHERE rowid IN (${rows} LIMIT 1050)`,
    );
    expect((await exported({ include: ["vector_embeddings.384"] })).totals.read).toBe(50);
    change(`CREATE TABLE saved AS SELECT rowid AS r, embedding FROM ${TABLE}; DROP TABLE ${TABLE};
      CREATE VIRTUAL TABLE ${TABLE} USING vec0(embedding float[384], note text, chunk_size=16);
      INSERT INTO ${TABLE} (rowid, embedding, note) SELECT r, embedding, 'n' FROM saved; DROP TABLE saved;`);
    expect((await exported({ include: ["vector_embeddings.384"] })).totals.read).toBe(50);
    change(`DELETE FROM ${TABLE}; DELETE FROM vector_metadata WHERE dimension = 384`);
    expect((await exported({ include: ["vector_embeddings.384"] })).totals.read).toBe(0);
  });
});
