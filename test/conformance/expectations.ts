/** Runs and comparisons that the conformance suites share. */
import { expect } from "vitest";
import { StorageError } from "../../src/errors.js";
import { type PipelineResult, runPipeline } from "../../src/index.js";
import type { BatchLimits } from "../../src/records/record-batch.js";
import type { Rejection } from "../../src/records/run-context.js";
import type { Source } from "../../src/sources/source.js";
import { createMemorySink, createMemorySource, everything, type MemoryRecord, tokensOf } from "./memory-store.js";
import type { LoadOptions, TestStore } from "./store.js";

/** What a store holds, in the order in which its source gives it. */
export async function contentOf(store: TestStore, limits?: BatchLimits): Promise<MemoryRecord[]> {
  return read(store.source(limits));
}

export async function read(
  source: Source,
  selection: { paths: ReadonlySet<string>; tenants?: readonly string[] } = everything(),
): Promise<MemoryRecord[]> {
  const sink = createMemorySink();
  await runPipeline({ source, sink, selection });
  return sink.records;
}

/** Loads records into a store, in the order given; rejected ones are collected where `rejections` is given. */
export async function load(
  store: TestStore,
  records: Iterable<MemoryRecord>,
  options: LoadOptions & { limits?: BatchLimits; rejections?: Rejection[] } = {},
): Promise<PipelineResult> {
  const { limits, rejections, ...loadOptions } = options;
  return runPipeline({
    source: createMemorySource(records, limits),
    sink: store.sink(loadOptions),
    selection: everything(),
    ...(loadOptions.prune === undefined ? {} : { prune: { keysStay: true } }),
    ...(rejections === undefined ? {} : { onReject: (rejection: Rejection) => void rejections.push(rejection) }),
  });
}

/** Records as lines of `path {field: token…}`: a difference shows the field. */
export function lines(records: Iterable<MemoryRecord>): string[] {
  return [...records].map((record) => `${record.kind.path} ${JSON.stringify(shortened(tokensOf(record)))}`);
}

/** Contents of megabytes are shown by their length and ends. */
function shortened(tokens: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(tokens).map(([name, token]) => [
      name,
      token.length > 20000 ? `${token.slice(0, 20)}…${token.length}…${token.slice(-20)}` : token,
    ]),
  );
}

/** Equal, byte for byte, in the same order. */
export function expectSameRecords(actual: readonly MemoryRecord[], expected: readonly MemoryRecord[]): void {
  expect(lines(actual)).toEqual(lines(expected));
  const different = actual.filter(
    (record, i) => !record.values.every((value, field) => sameValue(value, expected[i]?.values[field])),
  );
  expect(different).toEqual([]);
}

export function sameValue(a: Buffer | null | undefined, b: Buffer | null | undefined): boolean {
  if (a === null || b === null || a === undefined || b === undefined) return a === b;
  return a.equals(b);
}

/** The StorageError that the run ends with. */
export async function failureOf(run: Promise<unknown>): Promise<StorageError> {
  const error = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof StorageError))
    throw new Error(`expected a StorageError, got ${String(error)}`, { cause: error });
  return error;
}
