/** Export directories that were damaged, and runs that did not come to their end: what is wrong is named, nothing is loaded, the older export stays. */
import { createHash, randomInt } from "node:crypto";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createDirectorySource,
  createSqliteSource,
  exportStore,
  importStore,
  type Source,
  type StorageError,
  storeInfo,
  validateDocument,
  verifyStores,
} from "../../src/index.js";
import { failureOf } from "../conformance/expectations.js";
import { temporaryFolder } from "../conformance/store.js";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { scaled } from "../helpers/scale.js";
import { canMount, command, mountSmall, type SmallDisk } from "../helpers/small-disk.js";

import { postgresTarget, sqliteTarget, type TargetFactory } from "./targets.js";

const SEED = Number(process.env["SEED"] ?? randomInt(1e9));
/** Of each form. */
const FLIPS = scaled(40, 500);
const KILLS = scaled(3, 20);

const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string): string => join(folder, name);
const small = path("small.db");
const large = path("large.db");

beforeAll(async () => {
  writeFileSync(
    path("small.json"),
    documentText({
      kv_store: [1, 2, 3, 4, 5].map((n) => records.kv(n)),
      sessions: [1, 2, 3].map((n) => records.session(n)),
      event_log: [1, 2, 3, 4].map((n) => records.event(n)),
    }),
  );
  await importStore({ from: path("small.json"), to: small });
  createLlmspellSqlite(large);
  fillSqlite(large, { records: 150, contentSizes: [3 * 1048576, 5] });
});

/** A fresh directory of the small store. */
async function directory(name: string, more: object = {}): Promise<string> {
  rmSync(path(name), { recursive: true, force: true });
  await exportStore({ from: small, to: `${path(name)}/`, partBytes: 100, ...more });
  return path(name);
}

/** Of the seed: whole numbers below the one given. */
function numbers(): (below: number) => number {
  let random = SEED;
  return (below) => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    return Math.floor((random / 2 ** 32) * below);
  };
}

const partsOf = (of: string): string[] => readdirSync(of).filter((name) => name.startsWith("part-"));
type Entry = Record<string, unknown> & { name: string };
type Manifest = Record<string, unknown> & { files: Entry[]; run: string };
const manifestOf = (of: string): Manifest => JSON.parse(readFileSync(join(of, "manifest.json"), "utf8"));
const writeManifest = (of: string, manifest: object): void =>
  writeFileSync(join(of, "manifest.json"), JSON.stringify(manifest));

/** The failure of an import, which leaves no target. */
async function refusal(of: string, more: object = {}): Promise<StorageError> {
  const target = path("target.db");
  const error = await failureOf(importStore({ from: of, to: target, ...more }));
  expect(existsSync(target)).toBe(false);
  return error;
}

const isWhole = async (of: string, store: string): Promise<boolean> => (await verifyStores({ a: of, b: store })).equal;

describe("a directory whose files are not what was written", () => {
  const changes: Record<string, (of: string, parts: readonly string[]) => { file: string | undefined; code?: string }> =
    {
      "a file is missing": (of, parts) => {
        rmSync(join(of, parts[2] as string));
        return { file: parts[2] };
      },
      "a file is cut": (of, parts) => {
        const at = join(of, parts[3] as string);
        writeFileSync(at, readFileSync(at).subarray(0, -1));
        return { file: parts[3] };
      },
      "a file is empty": (of, parts) => {
        writeFileSync(join(of, parts.at(-1) as string), "");
        return { file: parts.at(-1) };
      },
      "two files are exchanged": (of, parts) => {
        const [one, other] = [join(of, parts[0] as string), join(of, parts[1] as string)];
        renameSync(one, path("between"));
        renameSync(other, one);
        renameSync(path("between"), other);
        return { file: parts[0] };
      },
      "a file is there twice, by another name": (of, parts) => {
        cpSync(join(of, parts[0] as string), join(of, "part copy.json"));
        return { file: "part copy.json" };
      },
      "a file of the run is there that the manifest does not name": (of, parts) => {
        const name = `part-${manifestOf(of).run}-0099.json`;
        cpSync(join(of, parts[0] as string), join(of, name));
        return { file: name };
      },
      "a file is a folder": (of, parts) => {
        rmSync(join(of, parts[1] as string));
        mkdirSync(join(of, parts[1] as string));
        return { file: parts[1] };
      },
      "a file is a FIFO": (of, parts) => {
        rmSync(join(of, parts[1] as string));
        expect(command("mkfifo", join(of, parts[1] as string))).toBe(true);
        return { file: parts[1] };
      },
      "the manifest names a file twice": (of, parts) => {
        const manifest = manifestOf(of);
        writeManifest(of, { ...manifest, files: [...manifest.files, manifest.files[0]] });
        return { file: parts[0] };
      },
      "the manifest lacks a file": (of) => {
        const manifest = manifestOf(of);
        writeManifest(of, { ...manifest, files: manifest.files.slice(1) });
        return { file: "manifest.json" };
      },
      "the manifest lacks a file, and its counts agree": (of, parts) => {
        const { files, sections, totals, ...rest } = manifestOf(of);
        const counts = sections as Record<string, { records: number }>;
        const sums = totals as { bytes: number; records: number };
        const [gone, ...kept] = files as [Entry, ...Entry[]];
        for (const [section, { records: count }] of Object.entries(gone["sections"] as typeof counts)) {
          const left = counts[section] as { records: number };
          left.records -= count;
          sums.records -= count;
        }
        sums.bytes -= gone["bytes"] as number;
        writeManifest(of, { ...rest, files: kept, sections: counts, totals: { ...sums, files: kept.length } });
        return { file: parts[0] };
      },
      "the manifest counts other records": (of) => {
        const manifest = manifestOf(of);
        const [{ sections, ...first }, ...others] = manifest.files as [Entry, ...Entry[]];
        const more = Object.entries(sections as object).map(([name, entry]) => [name, { ...entry, records: 77 }]);
        writeManifest(of, { ...manifest, files: [{ ...first, sections: Object.fromEntries(more) }, ...others] });
        return { file: "manifest.json" };
      },
      "the manifest has another head": (of, parts) => {
        const manifest = manifestOf(of);
        const document = { ...(manifest["document"] as object), source_backend: "postgresql" };
        writeManifest(of, { ...manifest, document });
        return { file: parts[0] };
      },
      "the manifest is cut": (of) => {
        const text = readFileSync(join(of, "manifest.json"), "utf8");
        writeFileSync(join(of, "manifest.json"), text.slice(0, text.length / 2));
        return { file: "manifest.json", code: "E_DOCUMENT_PARSE" };
      },
      "the manifest is of a later version": (of) => {
        writeManifest(of, { ...manifestOf(of), version: "2.0" });
        return { file: "manifest.json", code: "E_DOCUMENT_VERSION" };
      },
      "the manifest is of something else": (of) => {
        writeManifest(of, { name: "an app" });
        return { file: "manifest.json", code: "E_DOCUMENT_SHAPE" };
      },
      "the manifest is a folder": (of) => {
        rmSync(join(of, "manifest.json"));
        mkdirSync(join(of, "manifest.json"));
        return { file: "manifest.json" };
      },
    };

  it.each(Object.keys(changes))("is named, and nothing is loaded: %s", async (name) => {
    const of = await directory("changed");
    const { file, code } = (changes[name] as (typeof changes)[string])(of, partsOf(of));
    const error = await refusal(of);
    expect([error.code, error.context.file]).toEqual([code ?? "E_DOCUMENT_MANIFEST", file]);
    expect(error.exitStatus).toBe(4);
  });

  it.each(["../small.json", "/etc/passwd", "a/b.json", "..", ".hidden", "manifest.json", "", "x\0y"])(
    "has no file outside of it, or hidden: %j",
    async (name) => {
      const of = await directory("outside");
      const manifest = manifestOf(of);
      writeManifest(of, { ...manifest, files: [{ ...manifest.files[0], name }, ...manifest.files.slice(1)] });
      expect((await refusal(of)).code).toBe("E_DOCUMENT_SHAPE");
    },
  );

  it("is a file of another export in the place of one", async () => {
    const of = await directory("mixed");
    const other = await directory("other");
    const [name, foreign] = [partsOf(of)[1] as string, partsOf(other)[1] as string];
    cpSync(join(other, foreign), join(of, name));
    const error = await refusal(of);
    expect([error.code, error.context.file]).toEqual(["E_DOCUMENT_MANIFEST", name]);
    // And both exports in one folder.
    const both = await directory("both");
    cpSync(join(other, foreign), join(both, foreign));
    expect((await refusal(both)).context.file).toBe(foreign);
  });

  it.each(["none", "gzip", "zstd"])(
    `is found by any byte of any file, changed at ${FLIPS} places (%s), seed ${SEED}`,
    async (compress) => {
      const of = await directory("flipped", { compress });
      const parts = partsOf(of);
      const next = numbers();
      for (let flip = 0; flip < FLIPS; flip++) {
        const name = parts[next(parts.length)] as string;
        const bytes = readFileSync(join(of, name));
        const changed = Buffer.from(bytes);
        const at = next(bytes.length);
        changed[at] = (changed[at] as number) ^ (1 << next(8));
        writeFileSync(join(of, name), changed);
        const error = await failureOf(storeInfo(of));
        expect([flip, at, error.exitStatus, error.context.file]).toEqual([flip, at, 4, name]);
        writeFileSync(join(of, name), bytes);
      }
      expect(await isWhole(of, small)).toBe(true);
    },
  );

  it(`is refused, or read as it was, with any byte of its manifest changed (${FLIPS * 3} places, seed ${SEED})`, async () => {
    const of = await directory("flipped-manifest");
    const bytes = readFileSync(join(of, "manifest.json"));
    const next = numbers();
    let refused = 0;
    for (let flip = 0; flip < FLIPS * 3; flip++) {
      const changed = Buffer.from(bytes);
      const at = next(bytes.length);
      changed[at] = (changed[at] as number) ^ (1 << next(8));
      writeFileSync(join(of, "manifest.json"), changed);
      const info = await storeInfo(of).catch((error: StorageError) => error);
      if (!(info instanceof Error)) expect([flip, at, info.records, info.rejected]).toEqual([flip, at, 12, 0]);
      else {
        refused++;
        expect([flip, at, info.exitStatus]).toEqual([flip, at, 4]);
      }
    }
    expect(refused).toBeGreaterThan(FLIPS);
  });

  it("warns of records of kinds that nobody knows, as a document does", async () => {
    const of = await directory("newer");
    const manifest = manifestOf(of);
    const files = manifest.files.map((file) => {
      const before = readFileSync(join(of, file.name), "utf8");
      if (!before.includes('"event_log"')) return file;
      const text = before.replaceAll('"event_log"', '"event_logs"');
      writeFileSync(join(of, file.name), text);
      const { event_log: events } = file["sections"] as Record<string, object>;
      const sha256 = createHash("sha256").update(text).digest("hex");
      return { ...file, bytes: Buffer.byteLength(text), sha256, sections: { event_logs: events } };
    });
    const { event_log: events, ...sections } = manifest["sections"] as Record<string, object>;
    const bytes = files.reduce((sum, file) => sum + ((file as Entry)["bytes"] as number), 0);
    const totals = { ...(manifest["totals"] as object), bytes };
    writeManifest(of, { ...manifest, files, sections: { ...sections, event_logs: events }, totals });
    const warnings: string[] = [];
    for (const more of [{}, { include: ["sessions"] }]) {
      const onWarning = (message: string): void => void warnings.push(message);
      await importStore({ from: of, to: path("newer.db"), onWarning, ...more });
      expect(warnings.splice(0)).toEqual(['the section "event_logs" is not known and was ignored']);
    }
  });

  it("is read all the same with --no-verify-manifest, but for files that are not there", async () => {
    const of = await directory("edited");
    const [first, second] = partsOf(of) as [string, string];
    const text = readFileSync(join(of, first), "utf8");
    writeFileSync(join(of, first), text.replace('"frequency"', ' "frequency"').replace("\n]", "\n ]"));
    expect((await refusal(of)).context.file).toBe(first);
    const result = await importStore({ from: of, to: path("edited.db"), verifyManifest: false });
    expect(result.totals.inserted).toBe(12);
    rmSync(join(of, second));
    expect((await refusal(of, { verifyManifest: false })).context.file).toBe(second);
  });

  it("are findings of validate, with their files and lines", async () => {
    const of = await directory("validated");
    const parts = partsOf(of);
    const sessions = parts.find((name) => readFileSync(join(of, name), "utf8").includes('"sessions"')) as string;
    const text = readFileSync(join(of, sessions), "utf8");
    writeFileSync(join(of, sessions), text.replace('"status":"active"', '"status":"nobody"'.slice(0, 17)));
    const result = await validateDocument(of);
    expect(result.complete).toBe(true);
    const found = result.groups.map(({ code, first: { file, line } }) => [code, file, line]);
    expect(found).toContainEqual(["E_DOCUMENT_MANIFEST", sessions, undefined]);
    rmSync(join(of, parts[0] as string));
    const missing = await validateDocument(of);
    expect([missing.complete, missing.first?.code, missing.first?.file]).toEqual([
      false,
      "E_DOCUMENT_MANIFEST",
      parts[0],
    ]);
  });

  it("may be linked from elsewhere", async () => {
    const of = await directory("linked");
    const [name] = partsOf(of) as [string];
    renameSync(join(of, name), path("elsewhere.json"));
    symlinkSync(path("elsewhere.json"), join(of, name));
    expect(await isWhole(of, small)).toBe(true);
  });
});

function registerDamagedImport(factory: TargetFactory): void {
  it(`changes nothing in ${factory.name} where the last file was changed, or is missing`, async () => {
    using workspace = createWorkspace();
    const target = await factory.open(workspace);
    try {
      const of = path("of-large");
      await exportStore({ from: large, to: `${of}/`, partBytes: 500_000, compress: "zstd" });
      await importStore({ from: small, to: target.store });
      const [before, leftovers] = [await target.digest(), await target.leftovers()];
      const last = partsOf(of).at(-1) as string;
      const bytes = readFileSync(join(of, last));
      bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
      writeFileSync(join(of, last), bytes);
      const changed = await failureOf(importStore({ from: of, to: target.store }));
      expect([changed.exitStatus, changed.context.file]).toEqual([4, last]);
      rmSync(join(of, last));
      const missing = await failureOf(importStore({ from: of, to: target.store }));
      expect([missing.code, missing.context.file]).toEqual(["E_DOCUMENT_MANIFEST", last]);
      expect(await target.digest()).toBe(before);
      expect(await target.leftovers()).toEqual(leftovers);
    } finally {
      await target.close();
    }
  });
}

describe("an import of a damaged directory", () => {
  registerDamagedImport(sqliteTarget);
  describePostgres("on a server", () => registerDamagedImport(postgresTarget));
});

/** A source that waits behind so many batches until it is told to go on. */
function waiting(store: string, batches: number): { source: Source; waits: Promise<void>; goOn(): void } {
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const inner = createSqliteSource({ path: store, batchSize: 1 });
  const source: Source = {
    ...inner,
    async *read(selection, context) {
      let count = 0;
      for await (const batch of inner.read(selection, context)) {
        yield batch;
        if (++count !== batches) continue;
        reached.resolve();
        await released.promise;
      }
    },
  };
  return { source, waits: reached.promise, goOn: () => released.resolve() };
}

/** Nothing but the files of the manifest. */
function expectClean(of: string): void {
  const names = manifestOf(of).files.map(({ name }) => name);
  expect(readdirSync(of).sort()).toEqual(["manifest.json", ...names].sort());
}

describe("a run that does not come to its end", () => {
  it.each([1, 4, 9, 12])(
    "leaves the older export readable at every moment, and its own files to the next run (%i records)",
    async (batches) => {
      const of = await directory("older", { limit: 2 });
      const before = readdirSync(of);
      const { source, waits, goOn } = waiting(small, batches);
      const run = exportStore({ from: source, to: `${of}/`, partBytes: 100 });
      await waits;
      // What a SIGKILL at this moment leaves.
      const killed = path("killed");
      rmSync(killed, { recursive: true, force: true });
      cpSync(of, killed, { recursive: true });
      expect(readdirSync(killed).length).toBeGreaterThan(before.length);
      for (const each of [of, killed]) expect((await storeInfo(each)).records).toBe(6);
      goOn();
      await run;
      expectClean(of);
      expect(await isWhole(of, small)).toBe(true);
      await exportStore({ from: small, to: `${killed}/`, partBytes: 500 });
      expectClean(killed);
      expect(await isWhole(killed, small)).toBe(true);
    },
  );

  it("is not read where there is no older export, and the next run begins anew", async () => {
    const { source, waits, goOn } = waiting(small, 6);
    const run = exportStore({ from: source, to: path("first/"), partBytes: 100 });
    await waits;
    cpSync(path("first"), path("killed-first"), { recursive: true });
    const error = await refusal(path("killed-first"));
    expect([error.code, error.message]).toEqual([
      "E_DOCUMENT_MANIFEST",
      expect.stringContaining("has not come to its end"),
    ]);
    expect(error.context.hint).toContain("export again");
    goOn();
    await run;
    // Killed while it was to replace an export whose manifest then got lost: that one's files stay.
    const of = await directory("robbed");
    cpSync(path("killed-first/.exporting"), join(of, ".exporting"), { recursive: true });
    writeFileSync(join(of, ".exporting/replaced.json"), JSON.stringify(partsOf(of)));
    rmSync(join(of, "manifest.json"));
    const left = partsOf(of);
    expect((await failureOf(exportStore({ from: small, to: `${of}/` }))).code).toBe("E_OUTPUT_EXISTS");
    expect(partsOf(of)).toEqual(left);
    await exportStore({ from: small, to: path("killed-first/") });
    expectClean(path("killed-first"));
    // A manifest that got lost is no interrupted export: whoever has the files may have nothing else.
    rmSync(path("first/manifest.json"));
    expect((await refusal(path("first"))).message).toContain("has no manifest.json");
    const parts = readdirSync(path("first"));
    expect((await failureOf(exportStore({ from: small, to: path("first/") }))).code).toBe("E_OUTPUT_EXISTS");
    expect(readdirSync(path("first"))).toEqual(parts);
  });

  it("has replaced the older export once its manifest is there, though the older files are still there", async () => {
    const older = await directory("replaced", { limit: 1 });
    const names = manifestOf(older).files.map(({ name }) => name);
    const of = await directory("replacing");
    for (const name of names) cpSync(join(older, name), join(of, name));
    mkdirSync(join(of, ".exporting"));
    writeFileSync(join(of, ".exporting/lock"), "");
    writeFileSync(join(of, `.exporting/run-${manifestOf(of).run}`), "");
    writeFileSync(join(of, ".exporting/replaced.json"), JSON.stringify(names));
    expect(await isWhole(of, small)).toBe(true);
    const parts = partsOf(of).length;
    expect((await failureOf(exportStore({ from: small, to: `${of}/`, tenants: ["nobody"] }))).code).toBe(
      "E_NO_RECORDS",
    );
    expectClean(of);
    expect(parts).toBe(partsOf(of).length + names.length);
    expect(await isWhole(of, small)).toBe(true);
  });

  it("keeps saying which files are nobody's, where they cannot be removed", async ({ skip }) => {
    const of = join(mkdtempSync(join(tmpdir(), "llmspell-immutable-")), "backup");
    try {
      await exportStore({ from: small, to: `${of}/`, partBytes: 100 });
      const [name] = partsOf(of) as [string];
      // It takes root, and a file system that has such files.
      if (!command("chattr", "+i", join(of, name))) skip();
      const warnings: string[] = [];
      const onWarning = (message: string): void => void warnings.push(message);
      await exportStore({ from: small, to: `${of}/`, onWarning });
      expect(warnings).toEqual([expect.stringContaining(`${name} of the export before could not be removed`)]);
      expect(await isWhole(of, small)).toBe(true);
      expect((await failureOf(exportStore({ from: small, to: `${of}/` }))).code).toBe("E_READ_ONLY");
      expect(await isWhole(of, small)).toBe(true);
      command("chattr", "-i", join(of, name));
      await exportStore({ from: small, to: `${of}/` });
      expectClean(of);
    } finally {
      for (const name of partsOf(of)) command("chattr", "-i", join(of, name));
      rmSync(join(of, ".."), { recursive: true, force: true });
    }
  });

  it("leaves nothing where it fails or is interrupted, nor the folder that it made", async () => {
    for (const name of ["new", "old"]) {
      if (name === "old") await directory("old");
      const before = existsSync(path(name)) ? readdirSync(path(name)) : undefined;
      const controller = new AbortController();
      const { source, waits, goOn } = waiting(small, 5);
      const run = failureOf(
        exportStore({ from: source, to: `${path(name)}/`, partBytes: 100, signal: controller.signal }),
      );
      await waits;
      controller.abort();
      goOn();
      expect((await run).code).toBe("E_INTERRUPTED");
      expect(existsSync(path(name)) ? readdirSync(path(name)) : undefined).toEqual(before);
    }
  });

  it("keeps others out, in its process and in others, and does not lose its lock by them", async () => {
    using workspace = createWorkspace();
    const of = await directory("busy", { limit: 1 });
    const { source, waits, goOn } = waiting(small, 5);
    const run = exportStore({ from: source, to: `${of}/`, partBytes: 100 });
    await waits;
    for (let attempt = 0; attempt < 2; attempt++) {
      expect((await failureOf(exportStore({ from: small, to: `${of}/` }))).code).toBe("E_LOCKED");
      const other = await workspace.run(["storage", "export", "--database", small, "--output", `${of}/`]);
      expect([other.status, other.stderr]).toEqual([3, expect.stringContaining("[E_LOCKED]")]);
    }
    goOn();
    await run;
    expectClean(of);
    expect(await isWhole(of, small)).toBe(true);
  });

  it("does not mix with a reader of the older export", async () => {
    const of = await directory("read");
    const inner = createDirectorySource({ path: of });
    let replaced: Promise<unknown> | undefined;
    const source: Source = {
      ...inner,
      async *read(selection, context) {
        for await (const batch of inner.read(selection, context)) {
          yield batch;
          replaced ??= exportStore({ from: small, to: `${of}/`, partBytes: 300 });
          await replaced;
        }
      },
    };
    const error = await failureOf(importStore({ from: source, to: path("target.db") }));
    expect([error.code, error.context.file]).toEqual(["E_DOCUMENT_MANIFEST", expect.stringMatching(/^part-/)]);
    expect(existsSync(path("target.db"))).toBe(false);
  });
});

describe("an export into a directory on the command line", () => {
  let workspace: Workspace;
  beforeAll(() => {
    workspace = createWorkspace();
  });
  afterAll(() => workspace[Symbol.dispose]());
  const exporting = (store: string, output: string): string[] => [
    ..."storage export --no-progress --compress zstd --part-size 100kB --database".split(" "),
    store,
    "--output",
    output,
  ];

  it(`is killed ${KILLS} times at any moment: what is there is whole, and the next run cleans up`, async () => {
    const of = await directory("hit");
    const output = `${of}/`;
    const began = performance.now();
    await workspace.must(exporting(large, `${path("timed")}/`));
    const took = performance.now() - began;
    for (let kill = 0; kill < KILLS; kill++) {
      const child = workspace.start(exporting(large, output));
      const closed = once(child, "close");
      child.stdout?.resume();
      child.stderr?.resume();
      await sleep(randomInt(Math.ceil(took * 0.2), Math.ceil(took * 1.1)));
      child.kill("SIGKILL");
      await closed;
      const { records: count } = await storeInfo(of);
      expect(await isWhole(of, count === 12 ? small : large)).toBe(true);
    }
    await workspace.must(exporting(large, output));
    expectClean(of);
    expect(await isWhole(of, large)).toBe(true);
  });

  it("ends with its status at Ctrl-C, and leaves nothing", async () => {
    // Held back, or it might be over before the signal.
    const child = workspace.start([...exporting(large, `${path("stopped")}/`), "--rate", "0.1"]);
    const outcome = outcomeOf(child);
    while (!existsSync(path("stopped")) && child.exitCode === null) await sleep(5);
    child.kill("SIGINT");
    expect((await outcome).status).toBe(130);
    expect(existsSync(path("stopped"))).toBe(false);
  });

  it.runIf(canMount)("ends with its code on a full disk, and leaves the older export as it was", async () => {
    using disk = mountSmall(3) as SmallDisk;
    const of = join(disk.folder, "backup");
    await exportStore({ from: small, to: `${of}/` });
    const before = readdirSync(of);
    for (const output of [`${of}/`, `${join(disk.folder, "new")}/`]) {
      const { status, stderr } = await workspace.run([...exporting(large, output), "--compress", "none"]);
      expect([status, stderr]).toEqual([1, expect.stringContaining("[E_DISK_FULL]")]);
    }
    expect(readdirSync(of)).toEqual(before);
    expect(readdirSync(disk.folder)).toEqual(["backup"]);
    expect(await isWhole(of, small)).toBe(true);
    disk.fill(0);
    expect((await failureOf(exportStore({ from: small, to: `${of}/` }))).code).toBe("E_DISK_FULL");
    expect(readdirSync(of)).toEqual(before);
  });

  it.runIf(canMount)("ends with its code where nothing may be written, and can be read there", async () => {
    using disk = mountSmall(3) as SmallDisk;
    const of = join(disk.folder, "backup");
    await exportStore({ from: small, to: `${of}/` });
    disk.readOnly();
    for (const output of [`${of}/`, `${join(disk.folder, "new")}/`])
      expect((await failureOf(exportStore({ from: small, to: output }))).code).toBe("E_READ_ONLY");
    expect(await isWhole(of, small)).toBe(true);
  });
});
