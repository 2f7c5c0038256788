import { createHash } from "node:crypto";
import { PassThrough, Readable } from "node:stream";
import { text as textOf } from "node:stream/consumers";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RecordKind } from "../../src/catalog/index.js";
import { parseJson } from "../../src/codecs/json-values.js";
import type { StorageError } from "../../src/errors.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import {
  type CanonicalRecord,
  type DataSet,
  dataSetArbitrary,
  recordArbitrary,
  recordTokens,
} from "../helpers/arbitraries.js";
import { readDocument, writeDocument } from "../helpers/documents.js";

/** The data of a document as JSON.parse would see it, were it right about keys with escapes (json-values.ts). */
function expectedData(data: DataSet): unknown {
  const object = (kind: RecordKind, record: CanonicalRecord) =>
    Object.fromEntries(recordTokens(kind, record).map(([name, token]) => [name, parseJson(token)]));
  const result: Record<string, unknown> = {};
  for (const kind of catalog.kinds) {
    const [section, name] = kind.path.split(".") as [string, string?];
    const records = data.get(kind.path) ?? [];
    const objects = records.map((record) => object(kind, record));
    if (name === undefined) {
      if (records.length > 0) result[section] = objects;
      continue;
    }
    const siblings = catalog.kinds.filter(({ path }) => path.startsWith(`${section}.`));
    const wanted = section === "vector_embeddings" ? [kind] : siblings;
    if (wanted.some(({ path }) => (data.get(path) ?? []).length > 0))
      result[section] = { ...(result[section] as object | undefined), [name]: objects };
  }
  return result;
}

/** Hexadecimal, because the matcher compares buffers element by element. */
function normalised(data: DataSet): [path: string, records: unknown[]][] {
  return [...data]
    .filter(([, records]) => records.length > 0)
    .map(([path, records]) => [path, records.map((record) => record.map((value) => value?.toString("hex") ?? null))]);
}

/** One data set with three records of each kind, or of the kinds that are named. */
function sample(seed: number, paths = catalog.kinds.map(({ path }) => path)): DataSet {
  return new Map(
    catalog.kinds
      .filter(({ path }) => paths.includes(path))
      .map((kind) => [kind.path, fc.sample(recordArbitrary(kind, { idTexts: true }), { seed, numRuns: 3 })]),
  );
}

describe("writing and reading", () => {
  it("gives back every record of every kind, bit by bit", async () => {
    let records = 0;
    await fc.assert(
      fc.asyncProperty(
        dataSetArbitrary(catalog, { idTexts: true }),
        fc.integer({ min: 1, max: 3 }),
        async (data, batchSize) => {
          const bytes = await writeDocument(data, { batchSize });
          const { data: read, header, warnings } = await readDocument(bytes, { batchSize });
          expect(normalised(read)).toEqual(normalised(data));
          expect(header).toEqual({ backend: "sqlite", migrations: ["V1", "V3"] });
          expect(warnings).toEqual([]);
          expect((parseJson(bytes.toString("utf8")) as { data: unknown }).data).toEqual(expectedData(data));
          for (const list of data.values()) records += list.length;
          // Again: the same bytes.
          expect((await writeDocument(read, { batchSize: 7 })).equals(bytes)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
    expect(records).toBeGreaterThan(400);
  });

  it("reads keys in any order at every level, with any white space, and only warns that digests are not checked", async () => {
    await fc.assert(
      fc.asyncProperty(
        dataSetArbitrary(catalog, { idTexts: true }),
        fc.nat(),
        fc.integer({ min: 0, max: 2 }),
        async (data, seed, indent) => {
          const bytes = await writeDocument(data);
          const shuffled = printShuffled(parseTokens(data, bytes), seed, indent === 0 ? "" : " ".repeat(indent));
          const result = await readDocument(Buffer.from(shuffled, "utf8"));
          expect(normalisedByPath(result.data)).toEqual(normalisedByPath(data));
          expect(result.warnings.filter((line) => !line.includes("re-serialised"))).toEqual([]);
          expect(result.warnings).toHaveLength(1);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("refuses a document that is cut anywhere", async () => {
    const bytes = await writeDocument(sample(7, ["knowledge_graph.relationships", "kv_store"]));
    const outcomes = new Set<string>();
    for (let end = 0; end < bytes.length - 2; end++)
      await readDocument(bytes.subarray(0, end)).then(
        () => outcomes.add(`read whole at ${end}`),
        (error: StorageError) => outcomes.add(`${error.message} [${error.code}]`),
      );
    expect([...outcomes]).toEqual(["Failed to parse export JSON [E_DOCUMENT_TRUNCATED]"]);
    await expect(readDocument(bytes.subarray(0, bytes.length - 1))).resolves.toBeDefined();
  });

  it("never reads a changed byte silently", async () => {
    const data = sample(3, ["knowledge_graph.entities", "kv_store", "sessions", "event_log", "hook_history"]);
    const bytes = await writeDocument(data);
    const start = bytes.indexOf('"data":{') + 8;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: start, max: bytes.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, change) => {
          const changed = Buffer.from(bytes);
          changed[at] = (changed[at] as number) ^ change;
          const result = await readDocument(changed).catch((error: { code?: string }) => error.code);
          if (typeof result === "string") refused++;
          else if (result === undefined) throw new Error("an error without a code");
          // White space between tokens outside the arrays, or a hex digit's case, change nothing.
          else expect(normalised(result.data)).toEqual(normalised(data));
        },
      ),
      { numRuns: 1000 },
    );
    expect(refused).toBeGreaterThan(850);
  });

  it("compresses, and reads what it and others compressed", async () => {
    const data = sample(11);
    const plain = await writeDocument(data);
    const gzip = await writeDocument(data, { compress: "gzip" });
    const zstd = await writeDocument(data, { compress: "zstd" });
    expect(gunzipSync(gzip).equals(plain)).toBe(true);
    expect(zstdDecompressSync(zstd).equals(plain)).toBe(true);
    for (const bytes of [gzip, zstd, gzipSync(plain), zstdCompressSync(plain)])
      expect(normalised((await readDocument(bytes)).data)).toEqual(normalised(data));
    for (const bytes of [gzip, zstd])
      await expect(readDocument(bytes.subarray(0, bytes.length - 5))).rejects.toMatchObject({
        code: "E_DOCUMENT_TRUNCATED",
      });
  });

  it("digests each array from bracket to bracket, as the manifest says", async () => {
    const data = sample(5);
    const document = (await writeDocument(data)).toString("latin1");
    const { manifest } = JSON.parse(document) as { manifest: Record<string, { records: number; sha256: string }> };
    const start = document.indexOf('"procedural_memory":[') + '"procedural_memory":'.length;
    const array = document.slice(start, document.indexOf("\n]", start) + 2);
    const records = array.split("\n").length - 2;
    expect(records).toBeGreaterThan(0);
    expect(manifest["procedural_memory"]).toEqual({
      records,
      sha256: createHash("sha256").update(array, "latin1").digest("hex"),
    });
    expect(await textOf(Readable.from([document]).pipe(new PassThrough()))).toBe(document);
  });
});

type Tree = { [key: string]: Tree } | string | Tree[];

/** The document as a tree of tokens, so that printing it anew keeps numbers as they are spelled. */
function parseTokens(data: DataSet, bytes: Buffer): Tree {
  const { data: _data, ...top } = JSON.parse(bytes.toString("utf8")) as Record<string, unknown>;
  const sections: Record<string, Tree> = {};
  for (const [path, records] of data) {
    const kind = catalog.byPath.get(path) as RecordKind;
    const array = records.map((record) => Object.fromEntries(recordTokens(kind, record)) as Tree);
    const [section, name] = path.split(".") as [string, string?];
    if (name === undefined) sections[section] = array;
    else sections[section] = { ...(sections[section] as { [key: string]: Tree } | undefined), [name]: array };
  }
  const tree: Record<string, Tree> = { data: sections };
  for (const [key, value] of Object.entries(top)) tree[key] = JSON.stringify(value);
  return tree;
}

function printShuffled(tree: Tree, seed: number, indent: string): string {
  let state = seed | 1;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) | 0;
    return (state >>> 8) / 2 ** 24;
  };
  const gap = () => (indent === "" ? "" : random() < 0.5 ? `\n${indent}` : indent);
  const print = (value: Tree): string => {
    if (typeof value === "string") return value;
    if (Array.isArray(value)) return `[${gap()}${value.map(print).join(`${gap()},${gap()}`)}${gap()}]`;
    const entries = Object.entries(value)
      .map((entry) => ({ entry, place: random() }))
      .sort((a, b) => a.place - b.place);
    return `{${entries.map(({ entry: [key, item] }) => `${gap()}${JSON.stringify(key)}${gap()}:${gap()}${print(item)}`).join(",")}${gap()}}`;
  };
  return print(tree);
}

function normalisedByPath(data: DataSet): unknown {
  return normalised(data).sort(([a], [b]) => (a < b ? -1 : 1));
}
