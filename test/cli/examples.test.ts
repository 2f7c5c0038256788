/** The examples are run as they stand, through the package's own name. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

const examples = fileURLToPath(new URL("../../examples/", import.meta.url));
let workspace: Workspace;
let source: string;

beforeAll(() => {
  workspace = createWorkspace();
  source = workspace.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 6 });
});
afterAll(() => workspace[Symbol.dispose]());

function run(example: string, ...words: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [examples + example, ...words], { cwd: workspace.folder, encoding: "utf8" });
}

function tenantsOf(path: string): Map<string, number> {
  const database = new Database(path, { readonly: true });
  try {
    const query =
      "SELECT tenant_id, count(*), sum(length(data)) FROM artifact_content GROUP BY tenant_id ORDER BY tenant_id";
    return new Map(
      (database.prepare(query).raw().all() as [string, number, number][]).map(([tenant, , bytes]) => [tenant, bytes]),
    );
  } finally {
    database.close();
  }
}

it("copy-database.mjs copies a database by way of a document", () => {
  const { status, stdout, stderr } = run("copy-database.mjs", "source.db", "copy.json.gz", "copy.db");
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toContain(`90 records written to ${workspace.path("copy.json.gz")}\n`);
  expect(stdout).toContain("artifacts.content: 6 new, 0 updated\n");
  expect(tenantsOf(workspace.path("copy.db"))).toEqual(tenantsOf(source));
});

it("copy-database.mjs reports what goes wrong by its code", () => {
  const { status, stderr } = run("copy-database.mjs", "missing.db", "missing.json", "copy.db");
  expect([status, stderr]).toEqual([3, expect.stringContaining("[E_STORE_NOT_FOUND]")]);
});

it("rename-tenant.mjs changes one tenant's name and nothing else", () => {
  const { status, stdout, stderr } = run("rename-tenant.mjs", "source.db", "renamed.db", "tenant-a", "tenant-z");
  expect([status, stdout, stderr]).toEqual([0, "90 records\n", ""]);
  const before = tenantsOf(source);
  const after = tenantsOf(workspace.path("renamed.db"));
  expect(before.get("tenant-a")).toBeGreaterThan(0);
  expect(after.get("tenant-z")).toBe(before.get("tenant-a"));
  expect([...after.values()].sort()).toEqual([...before.values()].sort());
  expect(after.has("tenant-a")).toBe(false);
});
