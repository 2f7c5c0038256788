/** Export directories: what is written, by whom it is read, and which folders are taken. */
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  catalog,
  exportStore,
  importStore,
  planTransfer,
  rewriteDocument,
  storeInfo,
  verifyStores,
} from "../../src/index.js";
import { failureOf } from "../conformance/expectations.js";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

let workspace: Workspace;
let source: string;
beforeAll(async () => {
  workspace = createWorkspace();
  source = workspace.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 20, contentSizes: [1048577, 5, 40_000] });
  await exportStore({ from: source, to: workspace.path("single.json") });
});
afterAll(() => workspace[Symbol.dispose]());

interface Manifest {
  readonly run: string;
  readonly partial: readonly string[];
  readonly document: Readonly<Record<string, unknown>>;
  readonly files: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly sha256: string;
    readonly sections: Readonly<Record<string, { readonly records: number; readonly sha256: string }>>;
  }[];
  readonly sections: Readonly<Record<string, { readonly records: number; readonly digest?: string }>>;
  readonly totals: { readonly files: number; readonly bytes: number; readonly records: number };
}
const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
const exporting = (output: string, ...more: string[]): string[] => [
  ..."storage export --database source.db --output".split(" "),
  output,
  ...more,
];

const write = (name: string, more: object = {}) => exportStore({ from: source, to: workspace.path(name), ...more });

function textOf(path: string): string {
  const bytes = readFileSync(path);
  if (path.endsWith(".gz")) return gunzipSync(bytes).toString("utf8");
  return (path.endsWith(".zst") ? zstdDecompressSync(bytes) : bytes).toString("utf8");
}

/** The records' lines of each array, by path: the document's own layout, read by hand. */
function linesOf(text: string): Map<string, string[]> {
  const lines = new Map<string, string[]>();
  let section = "";
  let array: string[] | undefined;
  for (const line of text.split("\n").slice(6)) {
    const opened = /^(?:"(\w+)":\{)?"?([\w.]+)":\[$/.exec(line);
    if (opened !== null && array === undefined) {
      section = opened[1] ?? section;
      const name = opened[2] as string;
      const path = catalog.byPath.has(name) && opened[1] === undefined ? name : `${section}.${name}`;
      array = [];
      lines.set(path, array);
    } else if (/^\]/.test(line)) array = undefined;
    else if (array !== undefined) array.push(line.replace(/,$/, ""));
    const begun = /^"(\w+)":\{/.exec(line);
    if (array === undefined && begun !== null) section = begun[1] as string;
  }
  return lines;
}

describe("the files of a directory", () => {
  it.each(["none", "gzip", "zstd"])(
    "have the single document's records, byte for byte, each valid by itself (%s)",
    async (compress) => {
      const folder = workspace.path(`bytes-${compress}`);
      const { stdout } = await workspace.must(exporting(`${folder}/`, "--compress", compress, "--part-size", "20kB"));
      const { files, run, totals, sections, partial, document } = manifestOf(folder);
      expect(stdout).toContain(`Files: ${files.length}\n`);
      expect(files.length).toBeGreaterThan(20);
      expect(partial).toEqual([]);
      const ending = { none: "", gzip: ".gz", zstd: ".zst" }[compress];
      expect(files.map(({ name }) => name)).toEqual(
        files.map((_, i) => `part-${run}-${String(i + 1).padStart(4, "0")}.json${ending}`),
      );
      expect(readdirSync(folder).sort()).toEqual(["manifest.json", ...files.map(({ name }) => name)]);
      const joined = new Map<string, string[]>();
      for (const { name, bytes, sha256, sections: arrays } of files) {
        const path = join(folder, name);
        expect(statSync(path).mode & 0o777).toBe(0o600);
        expect(statSync(path).size).toBe(bytes);
        expect(createHash("sha256").update(readFileSync(path)).digest("hex")).toBe(sha256);
        const text = textOf(path);
        const { manifest, data: _data, partial: own, ...head } = JSON.parse(text);
        expect(head).toEqual(document);
        expect(own).toEqual(["part"]);
        const { total: _total, ...entries } = manifest;
        expect(entries).toEqual(arrays);
        const filled = [...linesOf(text)].filter(([, lines]) => lines.length > 0);
        expect(filled.length).toBe(1);
        for (const [section, lines] of filled) joined.set(section, [...(joined.get(section) ?? []), ...lines]);
      }
      const whole = new Map(
        [...linesOf(readFileSync(workspace.path("single.json"), "utf8"))].filter(([, { length }]) => length > 0),
      );
      expect([...joined]).toEqual([...whole]);
      const counts = [...whole].map(([section, { length }]) => [section, { records: length }]);
      expect(Object.entries(sections).filter(([, { records: count }]) => count > 0)).toEqual(counts);
      const byName = files.reduce((sum, { bytes }) => sum + bytes, 0);
      expect(totals).toEqual({ files: files.length, bytes: byName, records: [...whole.values()].flat().length });
    },
  );

  it("are cut by bytes of values, whatever the batches, and a record lies in one", async () => {
    const folder = workspace.path("cut");
    await exportStore({ from: source, to: `${folder}/`, partBytes: 1 });
    expect(manifestOf(folder).totals.files).toBe(manifestOf(folder).totals.records);
    await exportStore({ from: source, to: `${folder}/` });
    const kinds = Object.values(manifestOf(folder).sections).filter(({ records: count }) => count > 0);
    expect(manifestOf(folder).totals.files).toBe(kinds.length);
    expect(readdirSync(folder).length).toBe(kinds.length + 1);
  });

  it("are none for a store without records", async () => {
    await workspace.must(["database", "migrate", "--database", "empty.db"]);
    const folder = workspace.path("of-nothing");
    await exportStore({ from: workspace.path("empty.db"), to: `${folder}/` });
    expect(manifestOf(folder).totals).toEqual({ files: 0, bytes: 0, records: 0 });
    expect((await importStore({ from: folder, to: workspace.path("empty-2.db") })).totals.read).toBe(0);
  });

  it("say what the records mean, with --digests, as the document does", async () => {
    await workspace.must(exporting("digests/", "--digests", "--part-size", "20kB"));
    const { stdout } = await workspace.must(["storage", "digest", "single.json", "--json"]);
    const wanted = JSON.parse(stdout).sections as Record<string, { digest: string }>;
    const { sections } = manifestOf(workspace.path("digests"));
    for (const [path, { digest }] of Object.entries(wanted)) expect(sections[path]?.digest).toBe(digest);
    const again = await workspace.must(["storage", "digest", "digests/", "--json"]);
    expect(JSON.parse(again.stdout).sections).toEqual(wanted);
  });
});

describe("a directory in a document's place", () => {
  beforeAll(() => workspace.must(exporting("backup/", "--compress", "zstd", "--part-size", "30kB")));

  it("is imported, verified, digested, described, validated and migrated from", async () => {
    await workspace.must(["storage", "import", "--database", "copy.db", "--input", "backup"]);
    const verified = await workspace.must(["storage", "verify", "source.db", "copy.db"]);
    expect(verified.stdout).toContain("identical");
    await workspace.must(["storage", "verify", "backup", "source.db"]);
    await workspace.must(["storage", "verify", "single.json", "./backup/", "--quiet"]);
    await workspace.must(["storage", "migrate", "--from", "backup/", "--to", "copy-2.db"]);
    await workspace.must(["storage", "verify", "copy.db", "copy-2.db", "--quiet"]);
    const { stdout } = await workspace.must(["storage", "info", "backup", "--json"]);
    const { totals } = manifestOf(workspace.path("backup"));
    expect(JSON.parse(stdout)).toMatchObject({
      bytes: totals.bytes,
      files: totals.files,
      records: totals.records,
      sourceBackend: "sqlite",
    });
    const validated = await workspace.must(["storage", "validate", "backup/"]);
    expect(validated.stdout).toContain("No findings");
    const planned = await workspace.must(["storage", "plan", "--input", "backup/", "--database", "copy.db", "--json"]);
    expect(JSON.parse(planned.stdout).sections.length).toBeGreaterThan(10);
  });

  it("is rewritten from and to, with the document's bytes", async () => {
    const rewrite = (...words: string[]) => workspace.must(["storage", "rewrite", ...words]);
    await rewrite("--input", "backup", "--output", "again.json");
    expect(readFileSync(workspace.path("again.json"), "utf8")).toBe(
      readFileSync(workspace.path("single.json"), "utf8").replace(
        /"exported_at":"[^"]*"/,
        `"exported_at":"${manifestOf(workspace.path("backup")).document["exported_at"]}"`,
      ),
    );
    await rewrite("--input", "single.json", "--output", "rewritten/", "--part-size", "30kB");
    await workspace.must(["storage", "verify", "rewritten/", "single.json", "--quiet"]);
    const over = await failureOf(rewriteDocument({ from: workspace.path("backup"), to: workspace.path("backup/") }));
    expect(over.code).toBe("E_USAGE");
  });

  it("is rewritten in the sections' order, whatever the order of its files", async () => {
    await exportStore({ from: source, to: workspace.path("ordered/"), partBytes: 3000 });
    const { files, ...rest } = manifestOf(workspace.path("ordered"));
    const kindOf = (file: Manifest["files"][number]) =>
      Object.keys(file.sections).find((path) => file.sections[path]?.records !== 0);
    const parts = Map.groupBy(files, kindOf);
    const orders = {
      backwards: [...parts.values()].toReversed().flat(),
      // A section goes on when others have come.
      interleaved: [
        ...[...parts.values()].map(([first]) => first),
        ...[...parts.values()].flatMap((all) => all.slice(1)),
      ],
    };
    const records = linesOf(readFileSync(workspace.path("single.json"), "utf8"));
    for (const [name, order] of Object.entries(orders)) {
      cpSync(workspace.path("ordered"), workspace.path(name), { recursive: true });
      writeFileSync(join(workspace.path(name), "manifest.json"), JSON.stringify({ ...rest, files: order }));
      await workspace.must(["storage", "rewrite", "--input", `${name}/`, "--output", `${name}.json`]);
      expect(linesOf(readFileSync(workspace.path(`${name}.json`), "utf8"))).toEqual(records);
    }
    // One file of many sections, as another program prints it.
    const { data, manifest, ...head } = JSON.parse(readFileSync(workspace.path("single.json"), "utf8"));
    const text = Buffer.from(JSON.stringify({ ...head, data: { sessions: data.sessions, kv_store: data.kv_store } }));
    const { total: _total, ...arrays } = manifest;
    const sections = { kv_store: arrays.kv_store, sessions: arrays.sessions };
    const sha256 = createHash("sha256").update(text).digest("hex");
    const count = data.sessions.length + data.kv_store.length;
    mkdirSync(workspace.path("printed"));
    writeFileSync(join(workspace.path("printed"), "all.json"), text);
    writeFileSync(
      join(workspace.path("printed"), "manifest.json"),
      JSON.stringify({
        ...rest,
        document: head,
        files: [{ name: "all.json", bytes: text.length, sha256, sections }],
        sections: { kv_store: { records: data.kv_store.length }, sessions: { records: data.sessions.length } },
        totals: { files: 1, bytes: text.length, records: count },
      }),
    );
    await workspace.must(["storage", "rewrite", "--input", "printed/", "--output", "printed.json"]);
    const found = linesOf(readFileSync(workspace.path("printed.json"), "utf8"));
    expect([found.get("kv_store")?.length, found.get("sessions")?.length]).toEqual([20, 20]);
  });

  it("is not replaced by what one of its own files holds, by whatever name", async () => {
    const folder = workspace.path("own");
    await exportStore({ from: source, to: `${folder}/` });
    const before = readdirSync(folder);
    const [name] = manifestOf(folder).files.map((file) => file.name) as [string];
    symlinkSync("own", workspace.path("own-link"));
    symlinkSync(join(folder, name), workspace.path("own-part.json"));
    for (const input of [`own/${name}`, `own-link/${name}`, "own-part.json"])
      for (const output of ["own/", "own-link/"]) {
        const command = ["storage", "rewrite", "--input", input, "--output", output];
        const { status, stderr } = await workspace.run(command);
        expect([status, stderr]).toEqual([2, expect.stringContaining("written over itself")]);
      }
    expect(readdirSync(folder)).toEqual(before);
  });

  it("gives some sections, tenants and first records, as a document does", async () => {
    const path = workspace.path("backup");
    const read = (more: object) =>
      importStore({ from: path, to: workspace.path(`some-${Object.keys(more)}.db`), onOrphan: "drop", ...more });
    const document = (more: object) =>
      importStore({
        from: workspace.path("single.json"),
        to: workspace.path(`one-${Object.keys(more)}.db`),
        onOrphan: "drop",
        ...more,
      });
    for (const more of [
      { include: ["artifacts"] },
      { tenants: ["O'Brien & Söhne"] },
      { limit: 3 },
      { exclude: ["sessions"] },
    ]) {
      const [one, other] = [await read(more), await document(more)];
      expect(one.kinds.map(({ path: section, read: count }) => [section, count])).toEqual(
        other.kinds.map(({ path: section, read: count }) => [section, count]),
      );
      expect(one.totals.read).toBeGreaterThan(0);
    }
  });

  it("is planned as a target: its size, and why it would be refused", async () => {
    const folder = workspace.path("planned");
    const plan = await planTransfer({ from: source, to: `${folder}/`, exact: true });
    expect(plan.targetSpace.wanted).toBe(statSync(workspace.path("single.json")).size);
    expect(existsSync(folder)).toBe(false);
    writeFileSync(workspace.path("occupied-file"), "x");
    mkdirSync(workspace.path("occupied"));
    writeFileSync(workspace.path("occupied/note.txt"), "x");
    const codes = async (to: string) =>
      (await planTransfer({ from: source, to })).refusals.map(({ code, context }) => [code, context.file]);
    expect(await codes(workspace.path("occupied/"))).toEqual([["E_OUTPUT_EXISTS", "note.txt"]]);
    expect(await codes(workspace.path("no/such/"))).toEqual([["E_USAGE", undefined]]);
    expect(await codes(workspace.path("backup/"))).toEqual([]);
  });

  it("prunes where its manifest says that it is whole, and one of its files by itself never", async () => {
    const target = workspace.path("pruned.db");
    await importStore({ from: workspace.path("backup"), to: target });
    writeFileSync(workspace.path("more.json"), documentText({ kv_store: [records.kv(991)] }));
    await importStore({ from: workspace.path("more.json"), to: target });
    const [first] = manifestOf(workspace.path("backup")).files;
    const part = join(workspace.path("backup"), first?.name as string);
    const alone = await failureOf(importStore({ from: part, to: target, prune: true }));
    expect([alone.code, alone.context.detail]).toEqual([
      "E_USAGE",
      expect.stringContaining('without all records ("part")'),
    ]);
    await exportStore({ from: source, to: workspace.path("partial/"), tenants: ["O'Brien & Söhne"], digests: true });
    expect(manifestOf(workspace.path("partial")).partial).toEqual(["tenants"]);
    const partial = await failureOf(importStore({ from: workspace.path("partial"), to: target, prune: true }));
    expect([partial.code, partial.context.detail]).toEqual([
      "E_USAGE",
      expect.stringContaining('without all records ("tenants")'),
    ]);
    const { partial: _whole, ...unsaid } = manifestOf(workspace.path("backup"));
    cpSync(workspace.path("backup"), workspace.path("unsaid"), { recursive: true });
    writeFileSync(workspace.path("unsaid/manifest.json"), JSON.stringify(unsaid));
    expect((await failureOf(importStore({ from: workspace.path("unsaid"), to: target, prune: true }))).code).toBe(
      "E_USAGE",
    );
    const { totals } = await importStore({ from: workspace.path("backup"), to: target, prune: true });
    expect(totals.pruned).toBe(1);
    expect((await verifyStores({ a: source, b: target })).equal).toBe(true);
  });

  it("is kept and removed by --keep", async () => {
    const form = "daily-%Y-%m-%d";
    for (const day of ["2024-01-01", "2024-01-02", "2024-01-03"])
      cpSync(workspace.path("backup"), workspace.path(`daily-${day}`), { recursive: true });
    // Of the form, and no directories of ours; and a file.
    mkdirSync(workspace.path("daily-2023-01-01"));
    mkdirSync(workspace.path("daily-2023-01-02"));
    writeFileSync(workspace.path("daily-2023-01-02/manifest.json"), "{}");
    writeFileSync(workspace.path("daily-2023-01-03"), "a file");
    symlinkSync("backup", workspace.path("daily-2023-01-04"));
    writeFileSync(workspace.path("daily-2024-01-02/note.txt"), "not ours");
    const { stdout, stderr } = await workspace.must(exporting(`${form}/`, "--keep", "2", "--json"));
    const removed = ["daily-2024-01-01"].map(workspace.path);
    expect(JSON.parse(stdout).removed).toEqual(removed);
    expect(stderr).toContain("daily-2024-01-02 could not be removed: ENOTEMPTY");
    const today = `daily-${new Date().toISOString().slice(0, 10)}`;
    expect(readdirSync(workspace.folder).filter((name) => name.startsWith("daily-"))).toEqual([
      "daily-2023-01-01",
      "daily-2023-01-02",
      "daily-2023-01-03",
      "daily-2023-01-04",
      "daily-2024-01-02",
      "daily-2024-01-03",
      today,
    ]);
    expect(readdirSync(workspace.path("daily-2024-01-02"))).toEqual(["note.txt"]);
    expect(existsSync(workspace.path("backup/manifest.json"))).toBe(true);
  });

  it("is in a run's report", async () => {
    await workspace.must(exporting("reported/", "--report", "report.json"));
    expect(readFileSync(workspace.path("report.json"), "utf8")).toContain("reported/");
  });
});

describe("the folder", () => {
  it("may have an odd name, be there, be a symlink's, and hold an older export, whose files go", async () => {
    const odd = `a "b" 'c' \u{1f600} #?%41.json`;
    mkdirSync(workspace.path("there"));
    symlinkSync("there", workspace.path("link"));
    for (const name of [`${odd}/`, "there/", "link/"]) await write(name);
    for (const name of ["there", "link"]) await workspace.must(exporting(name));
    expect(statSync(workspace.path(odd)).mode & 0o777).toBe(0o700);
    expect(existsSync(workspace.path("link/manifest.json"))).toBe(true);
    expect(readdirSync(workspace.path("there")).length).toBe(manifestOf(workspace.path("there")).totals.files + 1);
    expect((await storeInfo(workspace.path(odd))).records).toBe(manifestOf(workspace.path(odd)).totals.records);
    // What is no document's stays, whatever its name.
    writeFileSync(workspace.path("there/README"), "mine");
    writeFileSync(workspace.path("there/report.json"), '{"report":"of a run"}');
    await write("there/", { compress: "gzip" });
    expect(readFileSync(workspace.path("there/README"), "utf8")).toBe("mine");
    expect((await verifyStores({ a: workspace.path("there/"), b: source })).equal).toBe(true);
  });

  it("is refused where it holds anything else, and nothing in it changes", async () => {
    await write("mine/");
    mkdirSync(workspace.path("others"));
    writeFileSync(workspace.path("others/note.txt"), "x");
    mkdirSync(workspace.path("hidden"));
    writeFileSync(workspace.path("hidden/.note"), "x");
    mkdirSync(workspace.path("foreign"));
    writeFileSync(workspace.path("foreign/manifest.json"), '{"name":"a web app"}');
    cpSync(workspace.path("mine"), workspace.path("lost"), { recursive: true });
    renameSync(workspace.path("lost/manifest.json"), workspace.path("manifest.lost"));
    cpSync(workspace.path("mine"), workspace.path("crowded"), { recursive: true });
    cpSync(workspace.path("single.json"), workspace.path("crowded/single.json"));
    for (const name of ["others", "hidden", "foreign", "lost", "crowded"]) {
      const before = readdirSync(workspace.path(name));
      for (const force of [false, true])
        expect([name, (await failureOf(write(`${name}/`, { force }))).code]).toEqual([name, "E_OUTPUT_EXISTS"]);
      expect(readdirSync(workspace.path(name))).toEqual(before);
    }
  });

  it("of an export takes no document by itself, neither a new one nor in the place of a file of its own", async () => {
    await write("closed/");
    const before = readdirSync(workspace.path("closed"));
    for (const name of ["new.json", "new.json.gz", before[1] as string, "manifest.json"]) {
      const error = await failureOf(write(`closed/${name}`, { force: true }));
      expect([error.code, error.message]).toEqual([
        "E_OUTPUT_EXISTS",
        expect.stringContaining("is an export directory"),
      ]);
      const plan = await planTransfer({ from: source, to: workspace.path(`closed/${name}`), force: true });
      expect(plan.refused?.code).toBe("E_OUTPUT_EXISTS");
    }
    expect(readdirSync(workspace.path("closed"))).toEqual(before);
  });

  it("is refused where it cannot be one", async () => {
    writeFileSync(workspace.path("plain"), "");
    symlinkSync("nowhere", workspace.path("dangling"));
    await workspace.bash("mkfifo pipe");
    const cases: [string, string][] = [
      ["plain/", "E_OUTPUT_EXISTS"],
      ["pipe/", "E_OUTPUT_EXISTS"],
      ["no/such/folder/", "E_USAGE"],
      ["plain/under/", "E_USAGE"],
      ["dangling/", "E_USAGE"],
      [`${"x".repeat(300)}/`, "E_USAGE"],
    ];
    for (const [name, code] of cases) {
      expect([name, (await failureOf(write(name))).code]).toEqual([name, code]);
    }
  });

  it("keeps its records from a run that has none", async () => {
    await write("good/");
    const before = readdirSync(workspace.path("good"));
    const { status, stderr } = await workspace.run(exporting("good/", "--tenant", "nobody"));
    expect([status, stderr]).toEqual([4, expect.stringContaining("[E_NO_RECORDS]")]);
    expect(readdirSync(workspace.path("good"))).toEqual(before);
    await write("good/", { tenants: ["nobody"], allowEmpty: true });
    expect(readdirSync(workspace.path("good"))).toEqual(["manifest.json"]);
  });

  it("is what --part-size is for", async () => {
    const { status, stderr } = await workspace.run(exporting("x.json", "--part-size", "1MB"));
    expect([status, stderr]).toEqual([2, expect.stringContaining("--part-size (partBytes) is for directories")]);
    for (const size of ["0", "1PB"]) expect((await workspace.run(exporting("y/", "--part-size", size))).status).toBe(2);
    expect(existsSync(workspace.path("y"))).toBe(false);
    await workspace.must(exporting("y/", "--part-size", "1.5 MB"));
  });

  it("is no store where it is no export's", async () => {
    const reading = (name: string) =>
      failureOf(importStore({ from: workspace.path(name), to: workspace.path("none.db") }));
    mkdirSync(workspace.path("bare"));
    expect(await reading("bare/")).toMatchObject({ code: "E_INPUT_NOT_FOUND" });
    expect(await reading("bare")).toMatchObject({ code: "E_INPUT_NOT_FOUND" });
    expect(await reading("absent/")).toMatchObject({ code: "E_INPUT_NOT_FOUND" });
    expect(await reading("single.json/")).toMatchObject({ code: "E_INPUT_NOT_FOUND" });
    for (const name of ["bare", "absent/", "single.json/"])
      expect((await failureOf(storeInfo(workspace.path(name)))).code).toBe("E_INPUT_NOT_FOUND");
    expect(existsSync(workspace.path("none.db"))).toBe(false);
  });
});
