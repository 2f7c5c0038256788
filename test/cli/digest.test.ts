import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digestStore, importStore } from "../../src/index.js";
import { session } from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

const LONG = session(1, { session_data: { text: "é\n".repeat(500000), b: [1, 2], a: {} } });
const LINE = /^(\S+) +([\d,]+) {2}(1:[0-9a-f]{64})$/;

let workspace: Workspace;
beforeAll(async () => {
  workspace = createWorkspace();
  createLlmspellSqlite(workspace.path("source.db"));
  fillSqlite(workspace.path("source.db"), { records: 5 });
  await workspace.must(["storage", "export", "--database", "source.db", "--output", "plain.json"]);
});
afterAll(() => workspace[Symbol.dispose]());

/** The lines of a run, each as [section, records, digest]. */
async function digest(...args: string[]): Promise<string[][]> {
  const { stdout } = await workspace.must(["storage", "digest", ...args]);
  const lines = stdout.trimEnd().split("\n");
  return lines.map((line) => LINE.exec(line)?.slice(1) ?? [line]);
}

describe("storage digest", () => {
  it("prints a line per section and one of all, the same for a database and its documents", async () => {
    const lines = await digest("source.db");
    expect(lines.map((line) => line.length)).toEqual(Array.from({ length: 16 }, () => 3));
    expect(lines.at(-1)?.slice(0, 2)).toEqual(["total", "75"]);
    const { stdout } = await workspace.must(["storage", "digest", "--database", "source.db"]);
    await workspace.must(["storage", "export", "--database", "source.db", "--output", "copy.json.gz"]);
    expect((await workspace.must(["storage", "digest", "copy.json.gz"])).stdout).toBe(stdout);
    const document = readFileSync(workspace.path("plain.json"));
    expect((await workspace.must(["storage", "digest", "-"], { stdin: document })).stdout).toBe(stdout);
    await workspace.bash(
      "diff <(llmspell storage digest source.db) <(gunzip -c copy.json.gz | llmspell storage digest -)",
    );
  });

  it("is one JSON object with --json, and nothing with --quiet", async () => {
    const lines = await digest("source.db");
    const { stdout } = await workspace.must(["storage", "digest", "source.db", "--json"]);
    const told = JSON.parse(stdout);
    const entry = ([, records, of]: string[]) => ({ records: Number(records), digest: of });
    expect(told).toEqual({
      store: expect.stringContaining("source.db"),
      sourceBackend: "sqlite",
      sections: Object.fromEntries(lines.slice(0, -1).map((line) => [line[0], entry(line)])),
      total: entry(lines.at(-1) as string[]),
      warnings: expect.any(Array),
      leftOut: [],
      notes: [],
      seconds: expect.any(Number),
    });
    expect((await workspace.must(["storage", "digest", "source.db", "--quiet"])).stdout).toBe("");
  });

  it("takes sections, tenants and transforms", async () => {
    const lines = await digest("source.db");
    const part = await digest(
      "source.db",
      "--include",
      "artifacts",
      "--include",
      "sessions",
      "--exclude",
      "artifacts.content",
    );
    expect(part.slice(0, -1)).toEqual(lines.filter(([path]) => path === "sessions" || path === "artifacts.artifacts"));
    const masking = ["--include", "hook_history", "--mask", "hook_history.triggering_component=redact"];
    const masked = await digest("source.db", ...masking);
    expect(masked[0]).not.toEqual(lines.find(([path]) => path === "hook_history"));
    await workspace.must(["storage", "export", "--database", "source.db", "--output", "masked.json", ...masking]);
    expect(await digest("masked.json")).toEqual(masked);
    const optional = ["--include", "hook_history", "--mask-optional", "hook_history.triggering_component=redact"];
    expect(await digest("source.db", ...optional)).toEqual(masked);
    const { status, stderr } = await workspace.run(["storage", "digest", "source.db", "--tenant", "nobody"]);
    expect([status, stderr]).toEqual([
      2,
      expect.stringContaining('the store has no record of the tenant "nobody" [E_NO_EFFECT]'),
    ]);
  });

  it("refuses what it cannot read or does not understand", async () => {
    const refused: [number, string, ...string[]][] = [
      [2, "E_USAGE", "source.db", "--backend", "sqlite"],
      [2, "E_USAGE", "source.db", "--include", "nothing"],
      [3, "E_STORE_NOT_FOUND", "missing.db"],
    ];
    for (const [status, code, ...args] of refused) {
      const outcome = await workspace.run(["storage", "digest", ...args]);
      expect([outcome.status, outcome.stdout], outcome.stderr).toEqual([status, ""]);
      expect(outcome.stderr).toContain(code);
    }
    writeFileSync(workspace.path("cut.json"), readFileSync(workspace.path("plain.json")).subarray(0, -1000));
    const cut = await workspace.run(["storage", "digest", "cut.json"]);
    expect([cut.status, cut.stdout]).toEqual([4, ""]);
    copyFileSync(workspace.path("source.db"), workspace.path("bad.db"));
    const database = new Database(workspace.path("bad.db"));
    database.exec("UPDATE hook_history SET duration_ms = 'long'");
    database.close();
    const bad = await workspace.run(["storage", "digest", "bad.db"]);
    expect([bad.status, bad.stdout]).toEqual([4, ""]);
    expect(bad.stderr).toContain("Hint: `llmspell storage info` lists such records");
  });
});

describe("the digest of a larger store", () => {
  it("is that of its records one by one, whichever thread made it", async () => {
    const document = workspace.path("large.json");
    // Beyond what is digested before a thread is there; and json that is not copied to it.
    createLlmspellSqlite(workspace.path("large.db"));
    fillSqlite(workspace.path("large.db"), { records: 5, padding: 6000, counts: { kv_store: 5000 } });
    await importStore({ from: Readable.from([documentText({ sessions: [LONG] })]), to: workspace.path("large.db") });
    const exported = await workspace.must([
      ...["storage", "export", "--database", "large.db", "--output", "large.json", "--digests", "--json"],
    ]);
    // Under the test runner all is done in one thread.
    const { sections, total } = await digestStore(document);
    const text = readFileSync(document, "latin1");
    for (const { digest: of } of sections) expect(text).toContain(`"digest":"${of}"`);
    expect(JSON.parse(exported.stdout).digests.total).toEqual(total);
    for (const store of ["large.db", "large.json"]) expect((await digest(store)).at(-1)?.[2]).toBe(total.digest);
    const imported = await workspace.must([
      "storage",
      "import",
      "--input",
      "large.json",
      "--database",
      "copy.db",
      "--digests",
    ]);
    expect(imported.stdout).toContain(total.digest);
  });

  it("is not told by a run that is interrupted", async () => {
    const child = workspace.start(["storage", "digest", "-"], { stdin: "" });
    const outcome = outcomeOf(child);
    // Once it has read nearly all of that, which has no end.
    const beginning = readFileSync(workspace.path("large.json")).subarray(0, 8388608);
    child.stdin?.write(beginning, () => child.kill("SIGINT"));
    const { status, stdout } = await outcome;
    expect([status, stdout]).toEqual([130, ""]);
  });
});

describe("--digests", () => {
  it("tells what came to the target, in text, JSON and the manifest", async () => {
    const expected = await digest("source.db");
    const { stdout } = await workspace.must([
      ...["storage", "export", "--database", "source.db", "--output", "told.json", "--digests"],
    ]);
    const told = stdout.slice(stdout.indexOf("Digests:\n") + 9, stdout.indexOf("From: ")).trimEnd();
    expect(told.split("\n").map((line) => LINE.exec(line.trim())?.slice(1))).toEqual(expected);
    const { manifest } = JSON.parse(readFileSync(workspace.path("told.json"), "utf8"));
    for (const [path, , of] of expected.slice(0, -1)) expect(manifest[path as string].digest).toBe(of);
    const plain = JSON.parse(readFileSync(workspace.path("plain.json"), "utf8")).manifest;
    for (const entry of Object.values(manifest))
      if (typeof entry === "object") delete (entry as { digest?: string }).digest;
    expect(manifest).toEqual(plain);

    const loads = [
      ["import", "--input", "told.json", "--database", "imported.db"],
      ["migrate", "--from", "source.db", "--to", "migrated.db"],
    ];
    for (const args of loads) {
      const run = await workspace.must(["storage", ...args, "--digests", "--json"]);
      const { digests } = JSON.parse(run.stdout);
      expect(digests.total).toEqual({ records: 75, digest: expected.at(-1)?.[2] });
      expect(Object.keys(digests.sections)).toEqual(expected.slice(0, -1).map(([path]) => path));
      expect(await digest(args.at(-1) as string)).toEqual(expected);
    }
    const silent = await workspace.must([
      "storage",
      "import",
      "--input",
      "told.json",
      "--database",
      "other.db",
      "--json",
    ]);
    expect(JSON.parse(silent.stdout).digests).toBeUndefined();
  });
});
