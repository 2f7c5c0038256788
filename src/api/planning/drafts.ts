/** What a plan learns of the records: by a full pass of the source, or by its own estimate and a sample. */
import { StorageError, toStorageError } from "../../errors.js";
import { catalog as llmspellCatalog } from "../../llmspell/catalog/index.js";
import type { RunContext } from "../../records/run-context.js";
import type { Source } from "../../sources/source.js";
import { selectPaths, transfer } from "../run.js";
import { addObstacle, type Obstacle } from "../store-info.js";
import type { PlannedCounts } from "./plan-sink.js";
import type { PlanOptions } from "./results.js";
import type { Planning, Target } from "./targets.js";

/** Of each section so many records are read for an estimate of their bytes. */
const SAMPLE_RECORDS = 200;
/** What is known of the records. */
export interface Draft {
  readonly records: ReadonlyMap<string, Pick<PlannedCounts, "records" | "bytes"> & { readonly estimated: boolean }>;
  /** By path. */
  readonly planned: ReadonlyMap<string, PlannedCounts>;
  readonly paths: ReadonlySet<string>;
  readonly reading: string | undefined;
  readonly obstacles: readonly Obstacle[];
  readonly refusals: readonly StorageError[];
  readonly leftOut: readonly string[];
}

/** A full pass of the source. */
export async function exactDraft(source: Source, target: Target, options: Planning): Promise<Draft> {
  const catalog = options.catalog ?? llmspellCatalog;
  const paths = selectPaths(catalog, options.include, options.exclude);
  const obstacles = new Map<string, Obstacle>();
  const errors: StorageError[] = [];
  const refusals: StorageError[] = [];
  await target.learn(paths, silent(options.signal));
  let result: Awaited<ReturnType<typeof transfer>> | undefined;
  try {
    result = await transfer(
      source,
      target.sink,
      {
        ...options,
        digester: undefined,
        onReject(rejection) {
          if (!obstacles.has(rejection.kind.path)) errors.push(rejection.error);
          addObstacle(obstacles, rejection);
        },
      },
      true,
    );
  } catch (error) {
    // What ends the run as a whole: the source, a transform, a document that is not whole.
    const failure = toStorageError(error);
    if (failure.exitStatus >= 128) throw failure;
    refusals.push(failure);
  }
  for (const { kind, error, count } of target.orphans) {
    errors.push(error);
    obstacles.set(`${kind.path} ${error.context.field} ${error.code}`, {
      code: error.code,
      section: kind.path,
      field: error.context.field,
      firstKey: error.context.key,
      count,
    });
  }
  const [first] = errors;
  if (first !== undefined) {
    const total = [...obstacles.values()].reduce((sum, { count }) => sum + count, 0);
    refusals.push(
      options.onReject === undefined ? first : new StorageError("E_REJECTED", `${total} records would be rejected`),
    );
  }
  if (target.document !== undefined && refusals.length === 0 && result?.totals.read === 0)
    await target.document.requireRecords(options.signal ?? new AbortController().signal).catch((error) => {
      refusals.push(toStorageError(error));
    });
  const planned = target.planSink?.counts ?? new Map();
  const records = new Map(
    target.planSink === undefined
      ? (result?.kinds ?? []).map(({ path, read, valueBytes }) => [
          path,
          { records: read, bytes: valueBytes, estimated: false },
        ])
      : [...planned].map(([path, counts]) => [
          path,
          { records: counts.records, bytes: counts.bytes, estimated: false },
        ]),
  );
  return {
    records,
    planned,
    paths,
    reading: source.method,
    obstacles: [...obstacles.values()],
    refusals,
    leftOut: result?.leftOut ?? [],
  };
}

/** Estimates: the source's own, and a sample for the bytes. */
export async function quickDraft(source: Source, options: PlanOptions): Promise<Draft> {
  const catalog = options.catalog ?? llmspellCatalog;
  const paths = selectPaths(catalog, options.include, options.exclude);
  const selection = { paths, ...(options.tenants === undefined ? {} : { tenants: options.tenants }) };
  const context = silent(options.signal);
  await source.open(context, selection);
  const estimate = await source.estimate(selection);
  const records = new Map<string, { records: number; bytes: number; estimated: boolean }>();
  for (const [path, count] of estimate ?? []) {
    let sampled = 0;
    let bytes = 0;
    const wanted = { ...selection, paths: new Set([path]), limit: SAMPLE_RECORDS, peek: true } as const;
    if (count > 0)
      for await (const batch of source.read(wanted, context)) {
        sampled += batch.rows;
        bytes += batch.byteLength;
        for await (const chunk of batch.large?.chunks() ?? []) bytes += chunk.length;
        await batch.large?.discard();
      }
    // A source whose sample is all of it has been counted.
    const all = sampled < SAMPLE_RECORDS;
    const limited = Math.min(all ? sampled : count, options.limit ?? Number.POSITIVE_INFINITY);
    records.set(path, {
      records: limited,
      bytes: sampled === 0 ? 0 : Math.round((bytes / sampled) * limited),
      estimated: !all || (options.transforms?.length ?? 0) > 0,
    });
  }
  return { records, planned: new Map(), paths, reading: source.method, obstacles: [], refusals: [], leftOut: [] };
}

/** Of a look whose bad records are told by the run, or by `exact`. */
export function silent(signal: AbortSignal | undefined): RunContext {
  return {
    signal: signal ?? new AbortController().signal,
    reject: async () => {},
    isRejected: () => false,
    warn: () => {},
    leftOut: () => {},
  };
}
