/** What an SQLite database holds and an export leaves out: told and counted, and an error under --strict. */
import { existsSync } from "node:fs";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { exportStore } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";

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
});
