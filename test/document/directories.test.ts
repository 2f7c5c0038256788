/** Arbitrary records through export directories: every value comes back, wherever the files are cut, and in several shares. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, it } from "vitest";
import { catalog, createDirectorySink, createDirectorySource, runPipeline } from "../../src/index.js";
import { expectSameRecords } from "../conformance/expectations.js";
import { createMemorySink, createMemorySource, everything, type MemoryRecord } from "../conformance/memory-store.js";
import { dataSetArbitrary, sortByKey } from "../helpers/arbitraries.js";
import { scaled } from "../helpers/scale.js";

const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);
const folder = mkdtempSync(join(tmpdir(), "llmspell-directories-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function read(path: string, files?: readonly string[]): Promise<readonly MemoryRecord[]> {
  const sink = createMemorySink();
  const source = createDirectorySource({ path, ...(files === undefined ? {} : { files }) });
  await runPipeline({ source, sink, selection: everything() });
  return sink.records;
}

it(`gives back all records, from all files and from shares of them (seed ${SEED})`, async () => {
  const runs = fc.record({
    data: dataSetArbitrary(catalog, { recordsPerKind: 5 }),
    partBytes: fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.constant(64_000_000)),
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
  await fc.assert(property, { numRuns: scaled(40, 400), seed: SEED, endOnFailure: true });
});
