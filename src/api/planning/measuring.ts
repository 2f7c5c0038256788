/** A plan's time, by some of the records: they are read, changed and written as the run would, to something that goes away. */
import { setImmediate as pause } from "node:timers/promises";
import type { Catalog, RecordKind } from "../../catalog/index.js";
import type { LoadMeasure } from "../../records/loads/load-plan.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { RunContext, Selection } from "../../records/run-context.js";
import type { Source } from "../../sources/source.js";
import type { Transform } from "../../transforms/transform.js";
import type { Draft } from "./drafts.js";
import type { MeasuredRates } from "./results.js";

/** Of each kind at most. */
const RECORDS = 5000;
const BYTES = 8388608;
const SECONDS = 1.5;

export interface MeasureOptions {
  readonly source: Source;
  /** A kind's records can be had without those before it. */
  readonly byKind: boolean;
  readonly measure: LoadMeasure;
  readonly catalog: Catalog;
  readonly draft: Draft;
  readonly transforms: readonly Transform[];
  readonly tenants: readonly string[] | undefined;
  readonly context: RunContext;
}

interface Sample {
  rows: number;
  bytes: number;
  seconds: number;
}

export async function measureRates(options: MeasureOptions): Promise<MeasuredRates> {
  const { source, byKind, measure, catalog, draft, tenants, context } = options;
  const started = performance.now();
  const kinds = catalog.kinds.filter(({ path }) => (draft.records.get(path)?.records ?? 0) > 0);
  const samples = new Map<string, Sample>();
  const base = { peek: true, limit: RECORDS, ...(tenants === undefined ? {} : { tenants }) } as const;
  await source.open(context, { paths: new Set(kinds.map(({ path }) => path)) });
  if (byKind) for (const kind of kinds) await sample(options, { ...base, paths: new Set([kind.path]) }, samples);
  else await sample(options, { ...base, paths: new Set(kinds.map(({ path }) => path)) }, samples);
  let seconds = 0;
  let measuredBytes = 0;
  let wholeBytes = 0;
  for (const kind of kinds) {
    const { records, bytes } = draft.records.get(kind.path) ?? { records: 0, bytes: 0 };
    const one = samples.get(kind.path);
    wholeBytes += bytes;
    if (one === undefined || one.rows === 0) continue;
    measuredBytes += one.bytes;
    seconds += await wholeSeconds(measure, kind, records, one);
  }
  const times = measuredBytes === 0 ? 1 : wholeBytes / measuredBytes;
  seconds += await measure.finish(Math.max(1, times));
  const records = [...samples.values()].reduce((sum, { rows }) => sum + rows, 0);
  return { seconds, records, bytes: measuredBytes, into: measure.into, took: (performance.now() - started) / 1000 };
}

async function wholeSeconds(measure: LoadMeasure, kind: RecordKind, records: number, one: Sample): Promise<number> {
  const { rows, seconds } = one;
  return seconds * Math.max(1, records / rows) + (await measure.secondsAtEnd(kind, records));
}

/** Reads and writes some of each kind of the selection. */
async function sample(
  { source, byKind, measure, transforms, context }: MeasureOptions,
  selection: Selection,
  samples: Map<string, Sample>,
): Promise<void> {
  let batches: AsyncIterable<RecordBatch> = source.read(selection, context);
  for (const transform of transforms) batches = transform.apply(batches, context);
  let last: string | undefined;
  const settle = async (): Promise<void> => {
    const one = last === undefined ? undefined : samples.get(last);
    const from = performance.now();
    await measure.settle();
    if (one !== undefined) one.seconds += (performance.now() - from) / 1000;
  };
  let asked = performance.now();
  for await (const batch of batches) {
    const { path } = batch.kind;
    if (path !== last) await settle();
    last = path;
    const one = samples.get(path) ?? { rows: 0, bytes: 0, seconds: 0 };
    samples.set(path, one);
    if (one.rows >= RECORDS || one.bytes >= BYTES || one.seconds >= SECONDS) {
      await batch.large?.discard();
      if (byKind) break;
    } else {
      const { rows } = batch;
      one.bytes += batch.byteLength + (await write(measure, batch));
      one.rows += rows;
      one.seconds += (performance.now() - asked) / 1000;
    }
    // Signals are heard, however fast it goes.
    await pause();
    asked = performance.now();
  }
  await settle();
}

/** Gives the bytes of a LargeValue. */
async function write(measure: LoadMeasure, batch: RecordBatch): Promise<number> {
  const { large } = batch;
  if (large === undefined) {
    await measure.write(batch);
    return 0;
  }
  let bytes = 0;
  const counted = {
    field: large.field,
    async *chunks() {
      for await (const chunk of large.chunks()) {
        bytes += chunk.length;
        yield chunk;
      }
    },
    discard: () => large.discard(),
  };
  await measure.write(Object.assign(Object.create(batch), { large: counted }) as RecordBatch);
  return bytes;
}
