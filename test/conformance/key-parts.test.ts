/**
 * Parts that workers load: ranges of keys with fixed ends, planned of one snapshot. They hold each row once, then and of whatever the
 * database has later, for a run may be resumed. PROPERTY_RUNS and PROPERTY_SEED choose another number of databases and repeat a run.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readRanges } from "../../src/backends/postgres/reading/parts/key-ranges.js";
import type { RecordKind } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Part, PartTally } from "../../src/records/parts.js";
import type { BatchLimits } from "../../src/records/record-batch.js";
import type { RunContext, Selection } from "../../src/records/run-context.js";
import type { PartedSource } from "../../src/sources/source.js";
import { type DataSet, dataSetArbitrary } from "../helpers/arbitraries.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import { lines, load, read } from "./expectations.js";
import { everything, type MemoryRecord, recordsOf } from "./memory-store.js";
import { postgresStore } from "./postgres-store.js";
import type { TestStore } from "./store.js";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? scaled(2, 60));
const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);

/** As it stands in the ledger, and comes out of it. */
function throughLedger({ path, rows }: Part): Part {
  if (rows === undefined) return { path };
  const found = readRanges(catalog.byPath.get(path) as RecordKind, JSON.stringify(rows));
  expect(found).toBeDefined();
  return { path, rows: found as object };
}

describePostgres("parts that are ranges of keys", () => {
  let store: TestStore;
  beforeAll(async () => {
    store = await postgresStore.open();
  });
  afterAll(() => store.close());

  /** Plans the parts (`planned` undefined) or takes those that there are, and reads them. What came is held against the tables. */
  async function readByKeys(selection: Selection, partBytes: number, planned?: readonly Part[]) {
    let tally: PartTally | undefined;
    const context: RunContext = {
      signal: new AbortController().signal,
      async reject({ error }) {
        throw error;
      },
      isRejected: () => false,
      warn: () => {},
      leftOut: () => {},
      cameOfPart: (came) => {
        tally = came;
      },
    };
    const source = store.source();
    let other = store.source();
    try {
      await source.open(context, selection);
      const inParts = source.inParts as PartedSource;
      await inParts.share(async (snapshot) => {
        other = store.source({ snapshot } as BatchLimits);
        await other.open(context, selection);
      }, context);
      const parts: Part[] = [...(planned ?? [])];
      if (planned === undefined)
        for await (const part of inParts.planKeys?.(selection, context, partBytes) ?? [])
          parts.push(throughLedger(part));
      else await inParts.adopt?.(selection, context);
      const records: MemoryRecord[] = [];
      const tallies = new Map<string, { records: number; sum: number }>();
      for (const part of parts) {
        tally = undefined;
        for await (const batch of other.read({ ...selection, part }, context))
          records.push(...(await recordsOf(batch)));
        const { records: met = 0, sum = 0 } = (tally as PartTally | undefined) ?? {};
        const all = tallies.get(part.path) ?? { records: 0, sum: 0 };
        if (part.rows !== undefined) tallies.set(part.path, { records: all.records + met, sum: (all.sum + sum) | 0 });
      }
      for (const [path, came] of tallies) await inParts.requireAll?.(path, came, selection);
      return { parts, records };
    } finally {
      await other.close();
      await source.close();
    }
  }

  const sorted = (records: readonly MemoryRecord[]): string[] => lines(records).sort();

  it(`hold each record once, then and later (seed ${SEED})`, async () => {
    const databases = dataSetArbitrary(catalog, { recordsPerKind: 8, storable: true, idTexts: false });
    const fill = async (data: DataSet): Promise<MemoryRecord[]> => {
      await store.clear();
      const records = catalog.kinds.flatMap((kind) => (data.get(kind.path) ?? []).map((values) => ({ kind, values })));
      await load(store, records, { onOrphan: "drop", rejections: [] });
      return read(store.source());
    };
    await fc.assert(
      fc.asyncProperty(databases, databases, fc.constantFrom(1, 200, 3000), async (first, later, partBytes) => {
        const whole = await fill(first);
        const { parts, records } = await readByKeys(everything(), partBytes);
        expect(sorted(records)).toEqual(sorted(whole));
        const other = await fill(later);
        expect(sorted((await readByKeys(everything(), partBytes, parts)).records)).toEqual(sorted(other));
      }),
      { numRuns: RUNS, seed: SEED },
    );
  });
});
