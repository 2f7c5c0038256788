/** Arbitrary records through export directories: every value comes back, wherever the files are cut, and in several shares. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, it } from "vitest";
import { DirectoryWriter } from "../../src/document/directory/directory-writer.js";
import { sectionsOfFiles } from "../../src/document/directory/manifest.js";
import { PartWriter } from "../../src/document/directory/part-writer.js";
import type { DocumentHeader } from "../../src/document/header.js";
import { catalog, createDirectorySink, createDirectorySource, runPipeline } from "../../src/index.js";
import type { RecordBatch } from "../../src/records/record-batch.js";
import { expectSameRecords } from "../conformance/expectations.js";
import { createMemorySink, createMemorySource, everything, type MemoryRecord } from "../conformance/memory-store.js";
import { sampleMemoryRecords } from "../conformance/sample-memory.js";
import { temporaryFolder } from "../conformance/store.js";
import { dataSetArbitrary, sortByKey } from "../helpers/arbitraries.js";
import { collectingContext } from "../helpers/documents.js";
import { scaled } from "../helpers/scale.js";

const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);
const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function read(path: string, files?: readonly string[]): Promise<readonly MemoryRecord[]> {
  const sink = createMemorySink();
  const source = createDirectorySource({ path, ...(files === undefined ? {} : { files }) });
  await runPipeline({ source, sink, selection: everything() });
  return sink.records;
}

it("is written by several who know nothing of each other, and published by one", async () => {
  const path = join(folder, "shared");
  const directory = await DirectoryWriter.open(path);
  const header: DocumentHeader = {
    version: "1.0",
    exportedAt: "2026-11-22T10:30:00.123000Z",
    sourceBackend: "sqlite",
    producer: "llmspell-storage/test",
    migrations: ["V1"],
  };
  const records = sampleMemoryRecords({ records: 30, contentSizes: [1048577, 3] });
  const batches: RecordBatch[] = [];
  const parts = await Promise.all(
    ["event_log", "sessions", "kv_store", "artifacts.content"].map(async (section) => {
      const part = await PartWriter.create(directory.nextPart("zstd"), { catalog, header });
      const own = records.filter(({ kind }) => kind.path === section);
      const context = collectingContext(false);
      for await (const batch of createMemorySource(own, { batchSize: 7 }).read(everything(), context)) {
        batches.push(batch);
        await part.write(batch);
      }
      return (await part.finish()).entry;
    }),
  );
  expect(batches.length).toBeGreaterThan(15);
  const files = parts.toReversed();
  expect(await directory.publish({ header, partial: [], files, sections: sectionsOfFiles(files) })).toEqual([]);
  const wanted = files.flatMap(({ sections }) =>
    records.filter(({ kind }) => (sections.get(kind.path)?.records ?? 0) > 0),
  );
  expectSameRecords(await read(path), wanted);
});

it(`gives back all records, from all files and from shares of them (seed ${SEED})`, async () => {
  const runs = fc.record({
    data: dataSetArbitrary(catalog, { recordsPerKind: 5 }),
    partBytes: fc.oneof(fc.integer({ min: 50, max: 4000 }), fc.constant(64_000_000)),
    compress: fc.constantFrom("none" as const, "gzip" as const, "zstd" as const),
    batchSize: fc.integer({ min: 1, max: 6 }),
  });
  // One directory, replaced again and again.
  const path = join(folder, "data");
  const property = fc.asyncProperty(runs, async ({ data, partBytes, compress, batchSize }) => {
    const records = catalog.kinds.flatMap((kind) =>
      sortByKey(kind, data.get(kind.path) ?? []).map((values) => ({ kind, values })),
    );
    await runPipeline({
      source: createMemorySource(records, { batchSize }),
      sink: createDirectorySink({ path, partBytes, compress, allowEmpty: true, producer: "llmspell-storage/test" }),
      selection: everything(),
    });
    expectSameRecords(await read(path), records);
    const files = readdirSync(path).filter((name) => name.startsWith("part-"));
    const shares = [0, 1, 2].map((n) => files.filter((_, i) => i % 3 === n));
    const found = await Promise.all(shares.map((share) => read(path, share)));
    const byKind = (all: readonly MemoryRecord[]) =>
      catalog.kinds.map(({ path: kind }) => all.filter((each) => each.kind.path === kind).length);
    expect(byKind(found.flat())).toEqual(byKind(records));
  });
  await fc.assert(property, { numRuns: scaled(15, 400), seed: SEED, endOnFailure: true });
});
