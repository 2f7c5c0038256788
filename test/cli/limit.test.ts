/** --limit and --no-cascade, and what goes with dropped sessions, from the store to the import. */
import { readFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exportStore, type TransferResult } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { dropper } from "../transforms/referential.js";

const RECORDS = 30;
const ORPHANS = `SELECT count(*) FROM artifacts a
  WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.tenant_id = a.tenant_id AND s.session_id = a.session_id)
     OR NOT EXISTS (SELECT 1 FROM artifact_content c WHERE c.tenant_id = a.tenant_id AND c.content_hash = a.content_hash)`;

let workspace: Workspace;
let source: string;
let document: string;
let names = 0;
const fresh = (suffix: string): string => workspace.path(`${++names}${suffix}`);
const one = (path: string, query: string): unknown => {
  const database = new Database(path, { readonly: true });
  try {
    return database.prepare(query).pluck().get();
  } finally {
    database.close();
  }
};
const sectionsOf = (stdout: string): Record<string, { inserted: number }> =>
  (JSON.parse(stdout) as { sections: Record<string, { inserted: number }> }).sections;
const dropSome = dropper("sessions", (key) => /[0-9]$/.test(key));

beforeAll(async () => {
  workspace = createWorkspace();
  source = workspace.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: RECORDS, contentSizes: [0, 1_500_000] });
  document = workspace.path("document.json");
  await workspace.must(["storage", "export", "--database", source, "--output", document]);
});
afterAll(() => workspace[Symbol.dispose]());

describe("--limit", () => {
  it("exports at most N records of each section, from the first on, which import without orphans", async () => {
    const [limited, target] = [fresh(".json"), fresh(".db")];
    const exported = await workspace.must([
      "storage",
      "export",
      "--database",
      source,
      "--output",
      limited,
      "--limit",
      "5",
      "--json",
    ]);
    const counts = Object.values(sectionsOf(exported.stdout)).map(({ inserted }) => inserted);
    expect(counts).toEqual(Array.from({ length: 15 }, () => 5));
    const imported = await workspace.must(["storage", "import", "--database", target, "--input", limited]);
    expect(imported.stdout).toContain("Imported 75 total records:\n  - Vectors: 20\n");
    expect(one(target, ORPHANS)).toBe(0);
    type Data = { kv_store: unknown[]; sessions: unknown[] };
    const dataOf = (path: string): Data => (JSON.parse(readFileSync(path, "utf8")) as { data: Data }).data;
    expect(dataOf(limited).kv_store).toEqual(dataOf(document).kv_store.slice(0, 5));
  });

  it("imports as many of a document, of a file and of a pipe, and migrates them", async () => {
    const targets = [fresh(".db"), fresh(".db"), fresh(".db")] as const;
    await workspace.must(["storage", "import", "--database", targets[0], "--input", document, "--limit", "4"]);
    await workspace.bash(`gzip -c ${document} | llmspell storage import --database ${targets[1]} --input - --limit 4`);
    await workspace.must(["storage", "migrate", "--from", source, "--to", targets[2], "--limit", "4"]);
    const contents: string[] = [];
    for (const target of targets) {
      expect(one(target, ORPHANS)).toBe(0);
      const again = fresh(".json");
      await workspace.must(["storage", "export", "--database", target, "--output", again]);
      contents.push(JSON.stringify((JSON.parse(readFileSync(again, "utf8")) as { data: unknown }).data));
    }
    expect(one(targets[0], "SELECT count(*) FROM artifacts")).toBe(4);
    expect(contents[1]).toBe(contents[0]);
    expect(contents[2]).toBe(contents[0]);
  });

  it("goes together with the selection", async () => {
    const { stdout } = await workspace.must(
      ["storage", "export", "--database", source, "--output", fresh(".json"), "--json", "--limit", "2"].concat([
        "--exclude",
        "vector_embeddings",
        "--exclude",
        "sessions",
        "--tenant",
        "tenant-a",
      ]),
    );
    const sections = sectionsOf(stdout);
    expect(Object.keys(sections)).toHaveLength(10);
    expect(Object.values(sections).map(({ inserted }) => inserted)).toEqual(Array.from({ length: 10 }, () => 2));
  });

  it.each(["0", "-1", "1.5", "five", "", "99999999999999999999"])("refuses %j", async (limit) => {
    const { status, stderr } = await workspace.run([
      "storage",
      "export",
      "--database",
      source,
      "--output",
      fresh(".json"),
      `--limit=${limit}`,
    ]);
    expect(status).toBe(2);
    expect(stderr).toContain("--limit");
  });
});

describe("cascading", () => {
  const exported = (options: { cascade?: boolean }): Promise<[string, TransferResult]> => {
    const path = fresh(".json");
    return exportStore({ from: source, to: path, transforms: [dropSome], ...options }).then((result) => [path, result]);
  };

  it("leaves no orphan, and counts what went", async () => {
    const [path, result] = await exported({});
    const [target] = [fresh(".db")];
    await workspace.must(["storage", "import", "--database", target, "--input", path]);
    expect(one(target, ORPHANS)).toBe(0);
    const cascaded = new Map(result.kinds.map((kind) => [kind.path, kind.cascaded]));
    const left = one(target, "SELECT count(*) FROM artifacts") as number;
    expect(left).toBeGreaterThan(0);
    expect(cascaded.get("artifacts.artifacts")).toBe(RECORDS - left);
    const contents = one(target, "SELECT count(*) FROM artifact_content") as number;
    expect(cascaded.get("artifacts.content")).toBe(RECORDS - contents);
    expect(result.totals.cascaded).toBe(2 * RECORDS - left - contents);
  });

  it("can be left out: then the orphans end the import with status 5", async () => {
    const [path, result] = await exported({ cascade: false });
    expect(result.totals.cascaded).toBe(0);
    const { status, stderr } = await workspace.run(["storage", "import", "--database", fresh(".db"), "--input", path]);
    expect([status, stderr]).toEqual([5, expect.stringContaining("[E_ORPHAN]")]);
  });

  it("is an option of every command that moves records", async () => {
    for (const flag of ["--cascade", "--no-cascade"])
      await workspace.must(["storage", "export", "--database", source, "--output", fresh(".json"), flag]);
  });
});
