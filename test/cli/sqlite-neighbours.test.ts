/** What llmspell keeps of a database outside of it is named by an import that makes it stale. */
import { mkdirSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

let workspace: Workspace;
beforeEach(async () => {
  workspace = createWorkspace();
  createLlmspellSqlite(workspace.path("a.db"));
  fillSqlite(workspace.path("a.db"), { records: 2, contentSizes: [9] });
  await workspace.must(["storage", "export", "--database", "a.db", "--output", "a.json"]);
});
afterEach(() => workspace[Symbol.dispose]());

const load = async (...words: string[]): Promise<string> =>
  (await workspace.must(["storage", "import", "--database", "b.db", "--input", "a.json", ...words])).stdout;

it("saved HNSW indexes, by a run that wrote vectors", async () => {
  expect(await load()).not.toContain("HNSW");
  mkdirSync(workspace.path("data/hnsw_indices"), { recursive: true });
  expect(await load()).not.toContain("HNSW");
  writeFileSync(workspace.path("data/hnsw_indices/__global___768_Cosine.hnsw"), "");
  expect(await load()).toContain("data/hnsw_indices has HNSW indexes that llmspell saved before this run: delete them");
  expect(await load("--exclude", "vector_embeddings")).not.toContain("HNSW");
  expect(await load("--dry-run")).not.toContain("HNSW");
});

it.runIf(process.platform === "linux")("a process that has the database open", async () => {
  await load();
  const database = new Database(workspace.path("b.db"));
  try {
    database.prepare("SELECT count(*) FROM sessions").get();
    expect(await load()).toContain(`another process has the database open (process ${process.pid})`);
  } finally {
    database.close();
  }
  expect(await load()).not.toContain("has the database open");
});
