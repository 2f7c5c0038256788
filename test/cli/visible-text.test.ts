/** What comes from data, file names and servers is seen as what it is: it moves no cursor and begins no line. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";

const FORGED = "✅ Exported 999 total records";
const HOSTILE = `x\r\n${FORGED}\n\u001b[2J\u001b]0;title\u0007\u009b31m\u0085\u2028\u202e\u2066\u007f`;
// biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
const RAW = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
  const database = workspace.path("hostile.db");
  createLlmspellSqlite(database);
  fillSqlite(database, { records: 2 });
  const opened = new Database(database);
  opened.pragma("foreign_keys = OFF");
  opened.prepare("UPDATE sessions SET session_id = ? WHERE rowid = (SELECT min(rowid) FROM sessions)").run(HOSTILE);
  opened
    .prepare("UPDATE kv_store SET kv_id = ?, metadata = ? WHERE rowid = (SELECT min(rowid) FROM kv_store)")
    .run(HOSTILE, "{");
  opened.close();
});
afterAll(() => workspace[Symbol.dispose]());

/** Nothing raw, and no line that data began. */
function expectVisible(text: string): void {
  expect(text).not.toMatch(RAW);
  expect(text.split("\n").filter((line) => line.startsWith(FORGED))).toEqual([]);
}

describe("keys of an SQLite database", () => {
  it.each([
    ["an error", ["storage", "export", "--output", "a.json"]],
    ["an error with its stack", ["storage", "export", "--output", "a.json", "--verbose"]],
    ["the first of rejected records", ["storage", "export", "--output", "b.json", "--on-error", "skip"]],
    ["warnings", ["storage", "export", "--output", "c.json", "--invalid-uuid", "derive", "--on-error", "skip"]],
    ["info", ["storage", "info"]],
    ["an expression's error", ["storage", "export", "--output", "d.json", "--jq", "sessions: .session_id.x"]],
  ])("in %s", async (_what, words) => {
    const run = await workspace.run([...words, "--database", "hostile.db"]);
    const shown = run.stdout + run.stderr;
    expect(shown).toContain(`\\u001b[2J`);
    expectVisible(shown);
    for (const form of ["--json", "--log-format=json"]) {
      const logged = await workspace.run([...words, "--database", "hostile.db", form]);
      expectVisible(logged.stdout + logged.stderr);
      const lines = (form === "--json" ? logged.stdout : logged.stderr).split("\n").filter((line) => line !== "");
      // `info` logs nothing.
      if (lines.length === 0) continue;
      const values = lines.map((line) => JSON.parse(line) as unknown);
      expect(JSON.stringify(values)).toContain("\\u001b[2J");
    }
  });
});

it("names of files, options, sections and configured steps", async () => {
  const name = HOSTILE.replaceAll("/", "");
  mkdirSync(workspace.path("odd"));
  writeFileSync(workspace.path(`odd/${name}.json`), "{");
  for (const words of [
    ["storage", "info", `odd/${name}.json`],
    ["storage", "import", "--input", `odd/${name}.json`, "--database", "x.db"],
    ["storage", "info", `odd/${name}.db`],
    ["storage", "export", "--database", "hostile.db", "--output", "y.json", "--include", HOSTILE],
    ["storage", "export", "--database", "hostile.db", "--output", "y.json", "--plugin", `./${name}`],
    ["storage", "export", "--database", "hostile.db", "--output", "y.json", "--mask", HOSTILE],
    ["storage", "export", "--database", "hostile.db", "--output", "y.json", "--jq", `sessions: ${HOSTILE}`],
    ["storage", HOSTILE],
    ["storage", "export", `--${HOSTILE}`],
    ["database", "health", "--database", HOSTILE],
  ]) {
    const run = await workspace.run(words);
    expect(run.status).not.toBe(0);
    expectVisible(run.stdout + run.stderr);
  }
});

it("fields and keys of a document", async () => {
  const key = JSON.stringify(HOSTILE);
  writeFileSync(
    workspace.path("document.json"),
    `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":[${key}],${key}:1,"data":{${key}:[{}]}}`,
  );
  const run = await workspace.run(["storage", "import", "--input", "document.json", "--database", "new.db"]);
  expect(run.stderr).toContain("is not known");
  expectVisible(run.stdout + run.stderr);
  expectVisible((await workspace.run(["storage", "info", "document.json"])).stdout);
});

async function queryPostgres(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query(sql).finally(() => client.end());
}

describePostgres("a server's messages", () => {
  it("stay in their line", async () => {
    await using database = await createDatabase("migrated");
    const name = HOSTILE.slice(0, 60).replaceAll('"', "");
    await queryPostgres(
      database.url,
      `ALTER TABLE llmspell.sessions ADD CONSTRAINT "${name}" CHECK (status = 'never')`,
    );
    const run = await workspace.run([
      "storage",
      "migrate",
      "--from",
      "hostile.db",
      "--to",
      database.url,
      "--on-error",
      "skip",
    ]);
    expectVisible(run.stdout + run.stderr);
  });
});

it("a terminal's progress is a line of its own", () => {
  // script(1) gives the command a terminal.
  const command = `${JSON.stringify(process.execPath)} ${JSON.stringify(new URL("../../dist/cli.js", import.meta.url).pathname)} storage export --database hostile.db --output t.json`;
  const { stdout } = spawnSync("script", ["-qec", command, "/dev/null"], { cwd: workspace.folder, encoding: "utf8" });
  expect(stdout.split(/[\r\n]+/).filter((line) => line.startsWith(FORGED))).toEqual([]);
});
