/** Which SQLite database and which configuration file a command takes: llmspell 0.14's keys and places beside the guide's. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Outcome, type Workspace } from "../helpers/llmspell.js";

let workspace: Workspace;
beforeEach(() => {
  // Its folder is the home folder and the working directory.
  workspace = createWorkspace();
});
afterEach(() => workspace[Symbol.dispose]());

function file(name: string, text: string): string {
  mkdirSync(dirname(workspace.path(name)), { recursive: true });
  writeFileSync(workspace.path(name), text);
  return workspace.path(name);
}

function database(name: string): string {
  mkdirSync(dirname(workspace.path(name)), { recursive: true });
  createLlmspellSqlite(workspace.path(name));
  return workspace.path(name);
}

const health = (env: Record<string, string> = {}, words: string[] = []): Promise<Outcome> =>
  workspace.run(["database", "health", "--backend", "sqlite", ...words], { env });

/** The database that a command takes, and why. */
async function chosen(env: Record<string, string> = {}, words: string[] = []): Promise<[string, string]> {
  const { stdout, stderr } = await health(env, words);
  const [, path = stdout + stderr, because = stderr] = /^Database: sqlite:(.*?) \((.*)\)$/m.exec(stdout) ?? [];
  // Once, and not on stderr as well.
  expect(stderr).not.toMatch(/^(Store|Database): /m);
  return [path, because];
}

describe("the SQLite database", () => {
  it("is the guide's by default, or llmspell's where that one is there", async () => {
    expect(await chosen()).toEqual([workspace.path(".local/share/llmspell/llmspell.db"), "nothing else is configured"]);
    const own = database(".llmspell/data/llmspell.db");
    expect(await chosen()).toEqual([own, "nothing else is configured"]);
  });

  it("is that of llmspell's storage command where it is the one that is there", async () => {
    const path = database("storage/llmspell.db");
    expect((await chosen())[0]).toBe(path);
  });

  const keys = [
    ["[storage.sqlite]\npath = 'a.db'", "a.db", "[storage.sqlite] path"],
    ["[storage.sqlite]\ndatabase_path = 'a.db'", "a.db", "[storage.sqlite] database_path"],
    ["[storage]\ndatabase_path = '~/a.db'", "a.db", "[storage] database_path"],
    ["[storage]\nbase_dir = '~/base'", "base/data/llmspell.db", "[storage] base_dir"],
    ["[rag.vector_storage]\npersistence_path = 'v/x.db'", "v/x.db", "[rag.vector_storage] persistence_path"],
    ["[rag.vector_storage]\npersistence_path = 'v'", "v/vectors.db", "[rag.vector_storage] persistence_path"],
  ] as const;

  it.each(keys)("is named by %s", async (text, name, key) => {
    const config = file("llmspell.toml", text);
    expect(await chosen()).toEqual([workspace.path(name), `${key} is set in ${config}`]);
  });

  it.each([
    ["LLMSPELL_SQLITE_PATH", "e.db", "e.db"],
    ["LLMSPELL_STORAGE_DATABASE_PATH", "e.db", "e.db"],
    ["LLMSPELL_STORAGE_BASE_DIR", "base", "base/data/llmspell.db"],
  ])("is named by %s before any file", async (name, value, path) => {
    database("a.db");
    database("b.db");
    file("config.toml", "[storage]\ndatabase_path = 'a.db'\n[rag.vector_storage]\npersistence_path = 'b.db'");
    expect(await chosen({ [name]: value })).toEqual([workspace.path(path), `${name} is set`]);
  });

  it.each([
    ["", [".local/share/llmspell/llmspell.db", ".llmspell/data/llmspell.db"]],
    ["", [".llmspell/data/llmspell.db", "storage/llmspell.db"]],
    ["[rag.vector_storage]\npersistence_path = 'v.db'", ["v.db", ".llmspell/data/llmspell.db"]],
    ["[storage]\ndatabase_path = 'a.db'\n[rag.vector_storage]\npersistence_path = 'v.db'", ["a.db", "v.db"]],
    ["[storage]\ndatabase_path = 'a.db'\n[storage.sqlite]\ndatabase_path = 'b.db'", ["b.db", "a.db"]],
  ])("is refused where two are there and neither is chosen: %s %j", async (text, names) => {
    file("llmspell.toml", text);
    const paths = names.map(database);
    for (const command of [
      "storage export --output x.json --backend sqlite",
      "database health",
      "storage info sqlite",
    ]) {
      const { status, stderr } = await workspace.run(command.split(" "));
      expect(status).toBe(2);
      expect(stderr).toContain("more than one SQLite database is there, and nothing says which is meant [E_CONFIG]");
      for (const path of paths) expect(stderr).toContain(path);
      expect(stderr).toContain("Hint: Name one with --database, LLMSPELL_SQLITE_PATH, or [storage.sqlite] path.");
    }
    expect((await workspace.run(["database", "health", "--database", paths[1] as string])).stdout).toContain(paths[1]);
    expect((await chosen({ LLMSPELL_SQLITE_PATH: paths[0] as string }))[0]).toBe(paths[0]);
    file("config.toml", `[storage.sqlite]\npath = '${paths[1]}'`);
    expect((await chosen())[0]).toBe(paths[1]);
  });

  it("is one where two names lead to it", async () => {
    const path = database(".llmspell/data/llmspell.db");
    mkdirSync(workspace.path("storage"));
    symlinkSync(path, workspace.path("storage/llmspell.db"));
    expect((await chosen())[0]).toBe(path);
  });
});

describe("the configuration file", () => {
  const names = [
    "config.toml",
    ".llmspell/config.toml",
    "llmspell.toml",
    ".llmspell.toml",
    "config/llmspell.toml",
    ".config/llmspell.toml",
    ".config/llmspell/config.toml",
  ];

  it("is looked for where llmspell looks, in its order, after the guide's", async () => {
    for (const name of [...names].reverse()) {
      const path = file(name, `[storage.sqlite]\npath = '/data/${names.indexOf(name)}.db'`);
      expect(await chosen()).toEqual([`/data/${names.indexOf(name)}.db`, `[storage.sqlite] path is set in ${path}`]);
    }
  });

  it.each([["-c"], ["--config"]])("is the one of %s, before the command and behind it", async (flag) => {
    for (const name of names) file(name, "[storage.sqlite]\npath = '/data/other.db'");
    const path = file("mine.toml", "[storage.sqlite]\npath = '/data/mine.db'");
    const because = `[storage.sqlite] path is set in ${path}`;
    expect(await chosen({ LLMSPELL_CONFIG: "config.toml" }, [flag, "mine.toml"])).toEqual(["/data/mine.db", because]);
    for (const words of [
      [flag, "mine.toml", "database", "health", "--backend", "sqlite"],
      ["database", flag, "mine.toml", "health", "--backend", "SQLite"],
    ])
      expect((await workspace.run(words)).stdout).toContain(`Database: sqlite:/data/mine.db (${because})`);
    const { status, stderr } = await health({}, [flag, "none.toml"]);
    expect([status, stderr]).toEqual([2, expect.stringContaining("the file that --config names does not exist")]);
  });

  it("names the keys of [storage] that are not known, and no others", async () => {
    database("a.db");
    const text = `[storage]\nvector_path = "x"\nsessions_dir = "s"\n[storage.sqlite]\npath = "a.db"\njournal_mode = "WAL"\npool = 3
      [engines.lua]\nx = 1\n[rag.vector_storage]\ndimensions = 384
      [stroage]\nbackend = "postgres"\n[store.prod]\nurl = "x.db"`;
    const path = file("llmspell.toml", text);
    const { stderr } = await health();
    expect(stderr).toContain(`Warning: ${path}: [storage] vector_path is not known here, and ignored\n`);
    expect(stderr).toContain(`Warning: ${path}: [storage.sqlite] pool is not known here, and ignored\n`);
    // They say where a store is to be, and are taken for none.
    for (const table of ["stroage", "store"])
      expect(stderr).toContain(
        `Warning: ${path}: [${table}] is not known here, and ignored; [storage] and [stores.NAME] are\n`,
      );
    expect(stderr.match(/Warning/g)).toHaveLength(4);
  });
});

describe("the store that was resolved", () => {
  it("is said on stderr after the first line, and is a field of the JSON; not where the command line names it", async () => {
    const path = database(".local/share/llmspell/llmspell.db");
    const words = ["storage", "export", "--backend", "sqlite", "--output", "x.json"];
    const line = `Store: sqlite:${path} (nothing else is configured)\n`;
    expect((await workspace.must(words)).stderr).toContain(line);
    expect((await workspace.must([...words, "--quiet"])).stderr).toBe("");
    const { stdout, stderr } = await workspace.must([...words, "--json"]);
    expect(stderr).not.toContain("Store:");
    expect(JSON.parse(stdout)).toMatchObject({
      stores: [{ name: `sqlite:${path}`, because: "nothing else is configured" }],
    });
    expect((await workspace.must([...words, "--database", path])).stderr).not.toContain("Store:");
    const copy = ["storage", "migrate", "--from", "sqlite", "--to", "copy.db"];
    expect((await workspace.must(copy)).stderr).toContain(line);
  });
});
