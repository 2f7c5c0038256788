/** With `--tenant`, nothing about another tenant's record is told, written or in the way: whatever is wrong with it. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { errorLines, reportError } from "../../src/commands/shown/error-report.js";
import type { StorageError } from "../../src/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import * as records from "./records.js";
import { type Fields, id, MIB } from "./records.js";
import { createSqliteStore, documentText, load } from "./support.js";

const SECRET = "SECRET";
const own = records.kv(1, { tenant_id: "A" });
const theirs = (more: Fields = {}): string =>
  JSON.stringify(records.kv(2, { tenant_id: "B", key: SECRET, metadata: { a: SECRET }, ...more }));
/** A record with members more, in front or behind. */
const behind = (record: string, members: string): string => `${record.slice(0, -1)},${members}}`;
const before = (record: string, members: string): string => `{${members},${record.slice(1)}`;

/** Records of tenant B. */
const THEIRS: Readonly<Record<string, string>> = {
  "that has a key twice": behind(theirs(), `"key":"${SECRET}"`),
  "that has an unknown key twice": behind(theirs(), `"${SECRET}":1,"${SECRET}":2`),
  "with an unknown key": behind(theirs(), `"${SECRET}":1`),
  "that names B twice": before(theirs(), `"tenant_id":"B"`),
  "whose key is no UUID": theirs({ kv_id: SECRET }),
  "that lacks fields": JSON.stringify({ tenant_id: "B", key: SECRET }),
  "with a wrong type": theirs({ created_at: SECRET }),
  "with invalid base64": theirs({ value: `${SECRET}*` }),
};

/** Records of which nobody can tell whose they are. */
const ANYBODYS: Readonly<Record<string, string>> = {
  "without a tenant": theirs({ tenant_id: undefined }),
  "whose tenant is a number": theirs({ tenant_id: 7 }),
  "whose tenant is null": theirs({ tenant_id: null }),
  "that names A, then B": before(theirs(), `"tenant_id":"A"`),
  "that names B, then A": behind(theirs(), `"tenant_id":"A"`),
  "that is no object": `["B","${SECRET}"]`,
};

function documentWith(record: string): string {
  return documentText({ kv_store: [own] }).replace('"kv_store":[', `"kv_store":[${record},`);
}

describe("an import of tenant A", () => {
  let workspace: Workspace;
  let target: ReturnType<typeof createSqliteStore>;
  beforeAll(() => {
    workspace = createWorkspace();
    target = createSqliteStore();
  });
  afterAll(async () => {
    workspace[Symbol.dispose]();
    await target.drop();
  });

  async function run(document: string, ...words: string[]) {
    await target.clear();
    rmSync(workspace.path("rejects"), { force: true });
    writeFileSync(workspace.path("a.json"), document);
    const outcome = await workspace.run([
      ...["storage", "import", "--database", target.store, "--input", "a.json", "--tenant", "A", ...words],
    ]);
    expect(outcome.stdout + outcome.stderr).not.toContain(SECRET);
    return { ...outcome, keys: await target.rows("SELECT tenant_id, key FROM kv_store") };
  }

  /** The same in a program, which stops at the first bad record. */
  async function stop(document: string) {
    await target.clear();
    const said: string[] = [];
    const status = await load(document, target, { tenants: ["A"], onWarning: (line) => void said.push(line) }).then(
      () => 0,
      (error: StorageError) => {
        said.push(...errorLines(reportError(error)));
        return error.exitStatus;
      },
    );
    expect(said.join("\n")).not.toContain(SECRET);
    return { status, keys: await target.rows("SELECT tenant_id, key FROM kv_store") };
  }

  const rejects = (): string => readFileSync(workspace.path("rejects"), "utf8");

  it.each(Object.entries(THEIRS))("passes by a record of B %s", async (_what, record) => {
    const stopping = await stop(documentWith(record));
    expect([stopping.status, stopping.keys]).toEqual([0, [["A", "k1"]]]);
    const skipping = await run(documentWith(record), "--on-error", "skip", "--rejects", "rejects");
    expect([skipping.status, skipping.keys, rejects()]).toEqual([0, [["A", "k1"]], ""]);
  });

  it.each(Object.entries(ANYBODYS))("tells of a record %s, and shows nothing of it", async (_what, record) => {
    const stopping = await stop(documentWith(record));
    expect([stopping.status, stopping.keys]).toEqual([4, []]);
    const skipping = await run(documentWith(record), "--on-error", "skip", "--rejects", "rejects");
    expect([skipping.status, skipping.keys]).toEqual([6, [["A", "k1"]]]);
    expect(JSON.parse(rejects())).toMatchObject({ section: "kv_store", record: null });
    expect(rejects()).not.toContain(SECRET);
  });

  it("shows A's own record that names A twice, and the whole of it", async () => {
    const record = before(JSON.stringify(records.kv(3, { tenant_id: "A" })), `"tenant_id":"A"`);
    const { status } = await run(documentWith(record), "--on-error", "skip", "--rejects", "rejects");
    expect([status, JSON.parse(rejects())]).toMatchObject([6, { code: "E_DOCUMENT_DUPLICATE", record: { key: "k3" } }]);
  });

  it("passes by B's contents of megabytes, bad or twice, wherever the tenant stands", async () => {
    const large = Buffer.alloc(MIB + 5, SECRET).toString("base64");
    const { tenant_id, ...rest } = records.content("h", Buffer.from("x"), { tenant_id: "B" });
    const bodies = [`"data":"${large}"`, `"data":"${large}*"`, `"data":"${large}","data":"${large}"`];
    for (const body of bodies)
      for (const [first, last] of [
        [`"tenant_id":"B",`, ""],
        ["", `,"tenant_id":"${tenant_id}"`],
      ]) {
        const members = JSON.stringify({ ...rest, data: undefined }).slice(1, -1);
        const content = `{${first}${body},${members}${last}}`;
        const document = documentText({ kv_store: [own], "artifacts.content": [] }).replace(
          '"content":[',
          `"content":[${content}`,
        );
        const { status, keys } = await run(document, "--on-error", "skip", "--rejects", "rejects");
        expect([status, keys, rejects()]).toEqual([0, [["A", "k1"]], ""]);
      }
  });

  it("passes by bad rows of B's in SQLite, and does not count them", async () => {
    const source = createSqliteStore();
    try {
      const insert = (key: string, tenant: string, name: string): string =>
        `INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES ('${key}', '${tenant}', '${name}', x'', 1, 1);`;
      await source.run(insert(SECRET, "B", SECRET) + insert(id(1), "A", "k1"));
      const words = ["storage", "export", "--database", source.store, "--output", "-", "--tenant", "A"];
      const { status, stdout, stderr } = await workspace.run(words);
      expect([status, (stdout + stderr).includes(SECRET)]).toEqual([0, false]);
      await source.run(`${insert(id(2), "A", "k2")} UPDATE kv_store SET created_at = 'x'`);
      const bad = await workspace.run(words);
      expect([bad.status, bad.stderr.includes(SECRET)]).toEqual([4, false]);
    } finally {
      await source.drop();
    }
  });
});
