/** `--keep N`: which documents go, and when none does; and lines of a log that tell the time. */
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import { gunzipSync, gzipSync } from "node:zlib";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { exportStore, importStore } from "../../src/index.js";
import { failureOf } from "../conformance/expectations.js";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";

let workspace: Workspace;
let own: string;
beforeEach(async () => {
  workspace = createWorkspace();
  const [source, to] = [workspace.path("source.db"), workspace.path("own.json")];
  await importStore({ from: Readable.from([documentText({ kv_store: [records.kv(1)] })]), to: source });
  await exportStore({ from: source, to });
  own = readFileSync(workspace.path("own.json"), "utf8");
});
afterEach(() => workspace[Symbol.dispose]());

const OUTPUT = "daily-%Y-%m-%d.json.gz";
const today = (): string => `daily-${new Date().toISOString().slice(0, 10)}.json.gz`;
const exporting = (...more: string[]): string[] => ["storage", "export", "--database", "source.db", ...more];
const documents = (): string[] =>
  readdirSync(workspace.folder)
    .filter((name) => name.startsWith("daily-"))
    .sort();

describe("--keep", () => {
  it("goes with --digests: the document that is read back has them", async () => {
    writeFileSync(workspace.path("daily-2024-01-01.json.gz"), gzipSync(own));
    const { stdout } = await workspace.must(exporting("--output", OUTPUT, "--keep", "1", "--digests", "--json"));
    const { digests, removed } = JSON.parse(stdout);
    expect(removed).toEqual([workspace.path("daily-2024-01-01.json.gz")]);
    expect(documents()).toEqual([today()]);
    const { manifest } = JSON.parse(gunzipSync(readFileSync(workspace.path(today()))).toString("utf8"));
    expect(manifest.kv_store.digest).toBe(digests.sections.kv_store.digest);
    const digested = await workspace.must(["storage", "digest", "source.db", "--json"]);
    expect(JSON.parse(digested.stdout).total).toEqual(digests.total);
  });

  it("removes the oldest documents of the name's form, and nothing else", async () => {
    for (const day of ["2024-01-01", "2024-02-01", "2023-12-31", "2024-01-31"])
      writeFileSync(workspace.path(`daily-${day}.json.gz`), gzipSync(own));
    const others = {
      "daily-2020-01-01.json": own,
      "daily-2020-01.json.gz": gzipSync(own),
      "xdaily-2020-01-01.json.gz": gzipSync(own),
      // Of the form, and no documents of ours.
      "daily-2020-01-02.json.gz": "not gzip",
      "daily-2020-01-03.json.gz": gzipSync("{}"),
      "daily-2020-01-04.json.gz": gzipSync(documentText({ kv_store: [records.kv(1)] })),
      "daily-2020-01-05.json.gz": gzipSync(JSON.stringify(JSON.parse(own))),
    };
    for (const [name, content] of Object.entries(others)) writeFileSync(workspace.path(name), content);
    symlinkSync("own.json", workspace.path("daily-2020-01-06.json.gz"));
    const { stdout } = await workspace.must(exporting("--output", OUTPUT, "--keep", "3", "--json"));
    expect(JSON.parse(stdout).removed.toSorted()).toEqual(
      ["daily-2023-12-31.json.gz", "daily-2024-01-01.json.gz"].map((name) => workspace.path(name)),
    );
    expect(documents()).toEqual(
      [
        ...Object.keys(others).filter((name) => name.startsWith("daily")),
        ...["daily-2020-01-06.json.gz", "daily-2024-01-31.json.gz", "daily-2024-02-01.json.gz", today()],
      ].sort(),
    );
    const again = await workspace.must(exporting("--output", OUTPUT, "--keep", "1"));
    const [newest, older, oldest] = [today(), "daily-2024-02-01.json.gz", "daily-2024-01-31.json.gz"].map(
      workspace.path,
    );
    expect(again.stdout).toContain(`Document: ${newest}\nRemoved: ${older}\nRemoved: ${oldest}\n`);
  });

  it("keeps the new document even where others are from the future", async () => {
    writeFileSync(workspace.path("daily-9998-01-01.json.gz"), gzipSync(own));
    await workspace.must(exporting("--output", OUTPUT, "--keep", "1"));
    expect(documents()).toEqual([today()]);
  });

  it("removes nothing for a document without records, or with rejected ones, or when the export fails", async () => {
    writeFileSync(workspace.path("daily-2024-01-01.json.gz"), gzipSync(own));
    const keep = ["--output", OUTPUT, "--keep", "1"];
    const empty = await workspace.must(exporting(...keep, "--tenant", "nobody"));
    expect(empty.stderr).toContain("no older ones were removed");
    const database = new Database(workspace.path("source.db"));
    database.exec("UPDATE kv_store SET metadata = 'no json'");
    const rejecting = await workspace.run(exporting(...keep, "--on-error", "skip", "--allow-empty"));
    expect([rejecting.status, rejecting.stderr]).toEqual([
      6,
      expect.stringContaining("no older documents were removed"),
    ]);
    database.close();
    expect((await workspace.run(exporting(...keep))).status).toBe(4);
    expect(documents()).toContain("daily-2024-01-01.json.gz");
  });

  it.each([
    ["backup.json", "a name that tells the time"],
    ["backup-%d.json", "a name that tells the time"],
    ["backup-%Y-%d.json", "a name that tells the time"],
    ["backup-%Y-%m-%d-%q.json", "a name that tells the time"],
    ["%Y/backup-%Y.json", "not in its folder's"],
    ["-", "the output is none"],
  ])("refuses the name %s", async (name, message) => {
    const { status, stderr } = await workspace.run(exporting("--output", name, "--keep", "2"));
    expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
  });

  it("leaves percent signs of other names alone", async () => {
    await workspace.must(exporting("--output", "a-%Y.json"));
    expect(readdirSync(workspace.folder)).toContain("a-%Y.json");
    await workspace.must(exporting("--output", "100%%-%Y.json", "--keep", "1"));
    expect(readdirSync(workspace.folder)).toContain(`100%-${new Date().getUTCFullYear()}.json`);
  });

  it("is the library's, too", async () => {
    const from = workspace.path("source.db");
    writeFileSync(workspace.path("daily-2024-01-01.json.gz"), gzipSync(own));
    const result = await exportStore({ from, to: workspace.path(OUTPUT), keep: 1 });
    expect(result.target).toBe(workspace.path(today()));
    expect(result.removed).toEqual([workspace.path("daily-2024-01-01.json.gz")]);
    expect((await failureOf(exportStore({ from, to: workspace.path(OUTPUT), keep: 0 }))).code).toBe("E_USAGE");
  });
});

describe("lines of a log", () => {
  it("tell the time where they go to a file", async () => {
    const { stderr } = await workspace.must(exporting("--output", "-", "--tenant", "nobody", "--no-progress"));
    const lines = stderr.trimEnd().split("\n");
    // What a command says as its result stays as it is, wherever it goes.
    const log = lines.filter((line) => !/^(Exporting|✅|From:|To:|Time:)/.test(line));
    expect([log.length, lines.length]).toEqual([1, 6]);
    expect(log[0]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z Warning: no record/);
    expect(Date.now() - Date.parse(log[0]?.split(" ")[0] as string)).toBeLessThan(3_600_000);
  });

  it("do not on a terminal, nor twice in JSON", async () => {
    const command = "llmspell storage export --database source.db --output x.json --tenant nobody --no-progress";
    const { stdout } = await workspace.bash(`script -qec "${command}" /dev/null </dev/null`);
    expect(stdout).toContain("Warning: ");
    expect(stdout).not.toMatch(/(^|K)\d{4}-\d\d-\d\dT/m);
    const json = await workspace.must([...command.split(" ").slice(1), "--log-format", "json"]);
    expect(JSON.parse(json.stderr.split("\n")[0] as string)).toEqual({
      time: expect.any(String),
      level: "warning",
      message: expect.not.stringMatching(/^\d{4}/),
    });
  });
});
