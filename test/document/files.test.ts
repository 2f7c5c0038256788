import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fieldIndex, type RecordKind } from "../../src/catalog/index.js";
import { createDocumentSink, createDocumentSource, type DocumentSinkOptions } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { batchOf, type CanonicalRecord, recordArbitrary } from "../helpers/arbitraries.js";
import { collectingContext, readDocument, writeDocument } from "../helpers/documents.js";

const kv = catalog.byPath.get("kv_store") as RecordKind;
const records = fc.sample(recordArbitrary(kv), { seed: 1, numRuns: 20 });
const data = new Map([["kv_store", records]]);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "document-files-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function exportTo(
  output: DocumentSinkOptions["output"],
  options: Partial<DocumentSinkOptions> = {},
): Promise<void> {
  const sink = createDocumentSink({
    output,
    producer: "test/1",
    exportedAt: new Date("2026-11-22T10:30:00.123Z"),
    ...options,
  });
  try {
    await sink.open({ backend: "sqlite", migrations: ["V3"] }, collectingContext(false));
    await sink.write(batchOf(kv, records));
    await sink.finish();
  } finally {
    await sink.abort();
  }
}

describe("an output file", () => {
  it("appears under its name only when it is complete, readable by its owner alone", async () => {
    const path = join(folder, "out.json");
    const sink = createDocumentSink({ output: { path }, producer: "test/1" });
    await sink.open({ backend: "sqlite", migrations: ["V1"] }, collectingContext(false));
    await sink.write(batchOf(kv, records));
    const [temporary, ...others] = await readdir(folder);
    expect(others).toEqual([]);
    expect(temporary).not.toBe("out.json");
    expect((await stat(join(folder, temporary as string))).mode & 0o777).toBe(0o600);
    const report = await sink.finish();
    await sink.abort();
    expect(await readdir(folder)).toEqual(["out.json"]);
    expect(report.bytes).toBe((await stat(path)).size);
    expect(report.counts.get("kv_store")).toEqual({ inserted: 20, updated: 0, skipped: 0, dropped: 0 });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("leaves nothing when the run fails", async () => {
    for (const name of ["out.json", "out.json.gz", "out.json.zst"]) {
      const sink = createDocumentSink({ output: { path: join(folder, name) }, producer: "test/1" });
      await sink.open({ backend: "sqlite", migrations: ["V1"] }, collectingContext(false));
      await sink.write(batchOf(kv, records));
      await sink.abort();
      await sink.abort();
      expect(await readdir(folder)).toEqual([]);
    }
  });

  it("replaces an export document and an empty file, in any compression", async () => {
    const plain = await writeDocument(data);
    const legacy = await readFile(new URL("../golden/legacy-0.14.json", import.meta.url));
    const reprinted = Buffer.from(JSON.stringify(JSON.parse(plain.toString("utf8")), null, 2));
    const before = [plain, gzipSync(plain), zstdCompressSync(plain), legacy, reprinted, Buffer.alloc(0)];
    for (const bytes of before) {
      const path = join(folder, "out.json");
      await writeFile(path, bytes);
      await exportTo({ path });
      expect((await readDocument(path)).data.get("kv_store")).toHaveLength(20);
    }
  });

  it.each([
    ["a text", "dear diary"],
    ["other JSON", '{"data":{"version":"1.0"}}'],
    ["damaged gzip", Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3])],
    ["a database", "SQLite format 3\0"],
  ])("is not replaced when it is %s, but with force", async (_what, bytes) => {
    const path = join(folder, "out.json");
    await writeFile(path, bytes);
    await expect(exportTo({ path })).rejects.toMatchObject({ code: "E_OUTPUT_EXISTS", exitStatus: 2 });
    expect((await readFile(path)).equals(Buffer.from(bytes))).toBe(true);
    expect(await readdir(folder)).toEqual(["out.json"]);
    await exportTo({ path, force: true });
    expect((await readDocument(path)).data.get("kv_store")).toHaveLength(20);
  });

  it("names a folder in its place, a folder that is missing, and one that cannot be written", async () => {
    await mkdir(join(folder, "out.json"));
    await expect(exportTo({ path: join(folder, "out.json") })).rejects.toMatchObject({ code: "E_OUTPUT_EXISTS" });
    await expect(exportTo({ path: join(folder, "missing", "out.json") })).rejects.toMatchObject({ code: "E_USAGE" });
    await expect(exportTo({ path: "/proc/out.json" })).rejects.toMatchObject({ name: "StorageError" });
  });

  it("keeps a symlink and replaces what it leads to, also when that is not there yet", async () => {
    await mkdir(join(folder, "real"));
    for (const [link, target] of [
      ["a.json", "real/a.json"],
      ["b.json", "a.json"],
    ] as const)
      await symlink(target, join(folder, link));
    for (const name of ["b.json", "b.json"]) {
      await exportTo({ path: join(folder, name) });
      expect(await readlink(join(folder, "b.json"))).toBe("a.json");
      expect((await lstat(join(folder, "a.json"))).isSymbolicLink()).toBe(true);
      expect(await readdir(join(folder, "real"))).toEqual(["a.json"]);
      expect((await readDocument(join(folder, name))).data.get("kv_store")).toHaveLength(20);
    }
  });

  it("writes to a FIFO and to a device", async () => {
    const path = join(folder, "fifo");
    execFileSync("mkfifo", [path]);
    const [, bytes] = await Promise.all([exportTo({ path }), readFile(path)]);
    expect((await readDocument(bytes)).data.get("kv_store")).toHaveLength(20);
    expect((await lstat(path)).isFIFO()).toBe(true);
    await exportTo({ path: "/dev/null" });
    expect((await lstat("/dev/null")).isCharacterDevice()).toBe(true);
  });

  it("that is a FIFO which nobody reads does not hold an aborted run", async () => {
    const path = join(folder, "fifo");
    execFileSync("mkfifo", [path]);
    const abort = new AbortController();
    const sink = createDocumentSink({ output: { path }, producer: "test/1" });
    const context = { ...collectingContext(false), signal: abort.signal };
    const opening = sink.open({ backend: "sqlite", migrations: ["V3"] }, context);
    setTimeout(() => abort.abort(new Error("enough")), 20);
    await expect(opening).rejects.toThrow("enough");
    await sink.abort();
  });

  it.skipIf(process.platform !== "linux")("says that the disk is full", async () => {
    for (const compress of ["none", "gzip", "zstd"] as const)
      await expect(exportTo({ path: "/dev/full" }, { compress })).rejects.toMatchObject({
        code: "E_DISK_FULL",
        message: "Ran out of disk space writing export file",
      });
  });

  it("is compressed by its name, or as asked", async () => {
    const cases = [
      ["a.json.gz", undefined, "gzip"],
      ["a.json.ZST", undefined, "zstd"],
      ["b.json", "gzip", "gzip"],
      ["b.json.gz", "none", "json"],
    ] as const;
    for (const [name, compress, expected] of cases) {
      const path = join(folder, name);
      await exportTo({ path }, compress === undefined ? {} : { compress });
      const [first] = await readFile(path);
      expect(first).toBe({ gzip: 0x1f, zstd: 0x28, json: 0x7b }[expected]);
      expect((await readDocument(path)).data.get("kv_store")).toHaveLength(20);
    }
    // Programs of others read them.
    const unzipped = execFileSync("gzip", ["-dc", join(folder, "a.json.gz")]);
    expect(unzipped.equals(await writeDocument(data))).toBe(true);
  });
});

describe("an output stream", () => {
  it("gets the document at the pace of its reader", async () => {
    let pending = 0;
    let most = 0;
    const parts: Buffer[] = [];
    const slow = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _encoding, done) {
        pending += chunk.length;
        most = Math.max(most, pending);
        parts.push(Buffer.from(chunk));
        setTimeout(() => {
          pending -= chunk.length;
          done();
        }, 1);
      },
    });
    const sink = createDocumentSink({ output: { stream: slow }, producer: "test/1" });
    await sink.open({ backend: "sqlite", migrations: ["V1"] }, collectingContext(false));
    const record = (records[0] as CanonicalRecord).with(fieldIndex(kv, "value"), Buffer.alloc(100_000, 7));
    for (let i = 0; i < 40; i++) await sink.write(batchOf(kv, [record]));
    await sink.finish();
    await sink.abort();
    expect(Buffer.concat(parts).length).toBeGreaterThan(5_000_000);
    // Never more than one write of the sink in the stream, and one in its hands.
    expect(most).toBeLessThan(600_000);
    expect((await readDocument(Buffer.concat(parts))).data.get("kv_store")).toHaveLength(40);
  });

  it("that is closed ends the export with E_CLOSED_PIPE", async () => {
    for (const compress of ["none", "gzip", "zstd"] as const) {
      const child = spawn("head", ["-c", "1"], { stdio: ["pipe", "ignore", "ignore"] });
      const exited = once(child, "exit");
      const sink = createDocumentSink({ output: { stream: child.stdin }, producer: "test/1", compress });
      const run = async () => {
        await sink.open({ backend: "sqlite", migrations: ["V1"] }, collectingContext(false));
        for (let i = 0; i < 200_000; i++) await sink.write(batchOf(kv, records));
        await sink.finish();
      };
      await expect(run()).rejects.toMatchObject({ code: "E_CLOSED_PIPE", exitStatus: 141 });
      await sink.abort();
      await exited;
    }
  });

  it("that nobody reads does not hold an aborted run", async () => {
    const abort = new AbortController();
    const stuck = new Writable({ highWaterMark: 1, write() {} });
    const sink = createDocumentSink({ output: { stream: stuck }, producer: "test/1" });
    await sink.open({ backend: "sqlite", migrations: ["V1"] }, { ...collectingContext(false), signal: abort.signal });
    const run = (async () => {
      for (let i = 0; i < 200_000; i++) await sink.write(batchOf(kv, records));
    })();
    setTimeout(() => abort.abort(), 50);
    await expect(run).rejects.toBeDefined();
    await sink.abort();
    expect(stuck.destroyed).toBe(true);
  });
});

describe("an input file", () => {
  it("of ours tells how many records it has, compressed or re-serialised it does not", async () => {
    const plain = await writeDocument(data);
    const cases = [
      ["a.json", plain, new Map([["kv_store", 20]])],
      ["b.json", Buffer.from(JSON.stringify(JSON.parse(plain.toString("utf8")))), undefined],
      ["c.json.gz", gzipSync(plain), undefined],
    ] as const;
    for (const [name, bytes, expected] of cases) {
      const path = join(folder, name);
      await writeFile(path, bytes);
      const source = createDocumentSource({ input: { path } });
      await source.open(collectingContext(false));
      expect(await source.estimate({ paths: new Set(["kv_store", "sessions"]) })).toEqual(expected);
      expect(await source.estimate({ paths: new Set(["sessions"]) })).toEqual(expected && new Map());
      await source.close();
    }
  });

  it("is scanned no further when the run is aborted", async () => {
    const path = join(folder, "long.json");
    await writeFile(
      path,
      `{"data":{"kv_store":[${"1,".repeat(2_000_000)}1]},"version":"1.0","source_backend":"sqlite"}`,
    );
    const abort = new AbortController();
    const source = createDocumentSource({ input: { path } });
    const opening = source.open({ ...collectingContext(false), signal: abort.signal });
    abort.abort(new Error("enough"));
    await expect(opening).rejects.toThrow("enough");
    await source.close();
  });
});

describe("an input FIFO", () => {
  it("that nobody writes to does not hold an aborted run", async () => {
    const path = join(folder, "fifo");
    execFileSync("mkfifo", [path]);
    const abort = new AbortController();
    const source = createDocumentSource({ input: { path } });
    const opening = source.open({ ...collectingContext(false), signal: abort.signal });
    setTimeout(() => abort.abort(), 20);
    await expect(opening).rejects.toMatchObject({ code: "E_INTERRUPTED" });
    await source.close();
  });

  it("is opened once, so that its writer may be gone when its records are estimated", async () => {
    const path = join(folder, "fifo");
    execFileSync("mkfifo", [path]);
    const writer = writeFile(path, await writeDocument(data));
    const source = createDocumentSource({ input: { path } });
    await source.open(collectingContext(false));
    await writer;
    expect(await source.estimate({ paths: new Set(["kv_store"]) })).toBeUndefined();
    await source.close();
  });
});

describe("an input stream", () => {
  it("that brings nothing more does not hold an aborted run", async () => {
    const abort = new AbortController();
    const stuck = new PassThrough();
    stuck.write('{"version":');
    const source = createDocumentSource({ input: { stream: stuck } });
    const opening = source.open({ ...collectingContext(false), signal: abort.signal });
    setTimeout(() => abort.abort(), 50);
    await expect(opening).rejects.toMatchObject({ code: "E_INTERRUPTED" });
    await source.close();
  });

  it("of sorted keys leaves no temporary file behind", async () => {
    const sorted = `{"data":{"kv_store":[]},"migrations":["V1"],"version":"1.0","source_backend":"sqlite"}${" ".repeat(3_000_000)}`;
    const own = join(folder, "tmp");
    await mkdir(own);
    const before = process.env["TMPDIR"];
    process.env["TMPDIR"] = own;
    try {
      const { data: read } = await readDocument(Buffer.from(sorted), { pieceBytes: 65536 });
      expect(read.size).toBe(0);
      await expect(readDocument(Buffer.from(`${sorted}x`), { pieceBytes: 65536 })).rejects.toBeDefined();
      expect(await readdir(own)).toEqual([]);
      process.env["TMPDIR"] = join(own, "missing");
      await expect(readDocument(Buffer.from(sorted))).rejects.toMatchObject({ code: "E_IO" });
    } finally {
      if (before === undefined) delete process.env["TMPDIR"];
      else process.env["TMPDIR"] = before;
    }
  });
});
