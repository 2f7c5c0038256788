/** Sources without records: a wrong file, a wrong tenant. None of them costs a document that has some. */
import { readFileSync, writeFileSync } from "node:fs";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { exportStore } from "../../src/index.js";
import { failureOf } from "../conformance/expectations.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";

let workspace: Workspace;
let store: string;
beforeEach(async () => {
  workspace = createWorkspace();
  store = workspace.path("llmspell.db");
  createLlmspellSqlite(store);
  change(
    "INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES ('00000000-0000-4000-8000-000000000001', 'acme', 'k', x'00', 1, 1)",
  );
});
afterEach(() => workspace[Symbol.dispose]());

function change(sql: string, path = store): void {
  const database = new Database(path);
  database.exec(sql);
  database.close();
}

const exporting = (database: string, output: string, ...more: string[]): string[] => [
  "storage",
  "export",
  "--database",
  database,
  "--output",
  output,
  ...more,
];

describe("a file that is not llmspell's", () => {
  const foreign: [string, (path: string) => void, string][] = [
    ["an empty file", (path) => writeFileSync(path, ""), "an empty database"],
    ["a database without tables", (path) => change("PRAGMA user_version = 1", path), "an empty database"],
    [
      "another program's database",
      (path) => change("CREATE TABLE bookmarks (url TEXT); CREATE TABLE _migrations (id INTEGER, done INTEGER)", path),
      "another program's database",
    ],
  ];

  it.each(foreign)("%s is E_NOT_MIGRATED, and the backup stays", async (_name, make, what) => {
    await workspace.must(exporting(store, "backup.json"));
    const before = readFileSync(workspace.path("backup.json"));
    make(workspace.path("wrong.db"));
    const commands = [
      exporting("wrong.db", "backup.json"),
      ["storage", "info", "wrong.db"],
      ["storage", "migrate", "--from", "wrong.db", "--to", "new.db"],
    ];
    for (const command of commands) {
      const { status, stderr } = await workspace.run(command);
      expect([status, stderr]).toEqual([
        5,
        expect.stringContaining(`is ${what}: it has no table of llmspell [E_NOT_MIGRATED]`),
      ]);
    }
    expect(readFileSync(workspace.path("backup.json")).equals(before)).toBe(true);
  });

  it("as a target: an empty one becomes llmspell's, another program's only through `database migrate`", async () => {
    await workspace.must(exporting(store, "a.json"));
    writeFileSync(workspace.path("empty.db"), "");
    await workspace.must(["storage", "import", "--database", "empty.db", "--input", "a.json"]);
    change("CREATE TABLE bookmarks (url TEXT)", workspace.path("other.db"));
    const importing = ["storage", "import", "--database", "other.db", "--input", "a.json"];
    for (const command of [importing, [...importing, "--dry-run"]]) {
      const { status, stderr } = await workspace.run(command);
      expect([status, stderr]).toEqual([5, expect.stringContaining("another program's")]);
    }
    const database = new Database(workspace.path("other.db"), { readonly: true });
    expect(database.prepare("SELECT name FROM sqlite_master").pluck().all()).toEqual(["bookmarks"]);
    database.close();
    await workspace.must(["database", "migrate", "--database", "other.db"]);
    await workspace.must(importing);
  });
});

describe("a tenant", () => {
  it("that is empty is a usage error, in a program too", async () => {
    const { status, stderr } = await workspace.run(exporting(store, "a.json", "--tenant", ""));
    expect([status, stderr]).toEqual([2, expect.stringContaining("E_USAGE")]);
    for (const tenants of [[""], []]) {
      const to = { type: "document", path: workspace.path("a.json") } as const;
      expect((await failureOf(exportStore({ from: store, to, tenants }))).code).toBe("E_USAGE");
    }
  });

  it("that has no records is warned of", async () => {
    const { stderr } = await workspace.must(exporting(store, "a.json", "--tenant", "acme", "--tenant", "acne"));
    expect(stderr).toContain('Warning: no record of the tenant "acne" was found');
    expect(stderr).not.toContain("acme");
    const imported = await workspace.must([
      ...["storage", "import", "--database", "new.db", "--input", "a.json", "--tenant", "acne"],
    ]);
    expect(imported.stderr).toContain('no record of the tenant "acne" was found');
  });
});

describe("a document without records", () => {
  const read: Record<string, (bytes: Buffer) => Buffer> = {
    json: (bytes) => bytes,
    "json.gz": gunzipSync,
    "json.zst": zstdDecompressSync,
  };

  it.each(Object.keys(read))("replaces a .%s that has some with --allow-empty only", async (ending) => {
    const output = `backup.${ending}`;
    await workspace.must(exporting(store, output));
    const before = readFileSync(workspace.path(output));
    const empty = exporting(store, output, "--tenant", "nobody");
    const { status, stderr } = await workspace.run(empty);
    expect([status, stderr]).toEqual([4, expect.stringContaining("E_NO_RECORDS")]);
    expect(stderr).toContain("--allow-empty");
    expect(readFileSync(workspace.path(output)).equals(before)).toBe(true);
    await workspace.must([...empty, "--allow-empty"]);
    const document = (read[ending] as (bytes: Buffer) => Buffer)(readFileSync(workspace.path(output)));
    expect(JSON.parse(document.toString("utf8")).manifest.total).toBe(0);
    // Nothing is lost with one that has none itself.
    await workspace.must(empty);
  });

  it("does not replace one that cannot be read to its end", async () => {
    await workspace.must(exporting(store, "a.json"));
    await workspace.must(exporting(store, "none.json", "--tenant", "nobody"));
    const none = readFileSync(workspace.path("none.json"));
    writeFileSync(workspace.path("cut.json"), none.subarray(0, none.length - 40));
    const { status } = await workspace.run(exporting(store, "cut.json", "--tenant", "nobody"));
    expect(status).toBe(4);
  });

  it("is written where there was no document, and with the library's allowEmpty", async () => {
    change("DELETE FROM kv_store");
    const path = workspace.path("a.json");
    const options = { from: store, to: { type: "document", path } } as const;
    await exportStore(options);
    // A record that cannot be read is one.
    const head = '"version":"1.0","exported_at":"","source_backend":"sqlite","migrations":["V1"]';
    writeFileSync(path, `{${head},"data":{"kv_store":[{"kv_id":"x"}]}}`);
    expect((await failureOf(exportStore(options))).code).toBe("E_NO_RECORDS");
    await exportStore({ ...options, allowEmpty: true });
  });
});
