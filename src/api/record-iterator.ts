/** A store's records one by one, for a program that only wants to look at them. */
import type { RecordBatch } from "../records/record-batch.js";
import type { PluginRecord } from "../transforms/plugin/definition.js";
import { RecordViews } from "../transforms/plugin/record-view.js";
import { BatchStream } from "./batch-stream.js";
import { refuseUnknownOptions, requireStore } from "./option-names.js";
import type { ExportOptions, TransferOptions } from "./options.js";
import { exportStore } from "./transfer.js";

export type ReadRecordsOptions = Omit<TransferOptions, "invalidUuid" | "idMap" | "digests"> &
  Pick<ExportOptions, "sourceMode" | "sourceCheck" | "asOwner" | "order" | "orderBy">;

export interface StoredRecord {
  /** The path of its kind, e.g. "artifacts.content". */
  readonly section: string;
  /** As a plugin sees it (docs/plugins.md), whole: artifact content of any length is a Buffer. */
  readonly record: PluginRecord;
}

/**
 * The records of a store (as `exportStore` takes it) in the order of a document, one at a time: the source waits. Leaving
 * the loop ends the reading. Without `onReject` the first bad record ends it with its StorageError.
 */
export function readRecords(
  from: ExportOptions["from"],
  options: ReadRecordsOptions = {},
): AsyncGenerator<StoredRecord, void, undefined> {
  refuseUnknownOptions("readRecords", options);
  requireStore("readRecords", from);
  return iterate(from, options);
}

async function* iterate(
  from: ExportOptions["from"],
  options: ReadRecordsOptions,
): AsyncGenerator<StoredRecord, void, undefined> {
  const leaving = new AbortController();
  const signal = AbortSignal.any([leaving.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const stream = new BatchStream("readRecords");
  let failure: { readonly error: unknown } | undefined;
  const run = exportStore({ ...options, from, to: stream, signal })
    .catch((error: unknown) => {
      failure = { error };
    })
    .finally(() => stream.end());
  try {
    for (let batch = await stream.next(); batch !== undefined; batch = await stream.next()) yield* recordsOf(batch);
  } finally {
    // Before the end of the run this is a `break`, whose interruption is nobody's error.
    leaving.abort();
    stream.end();
    await run;
  }
  if (failure !== undefined) throw failure.error;
}

async function* recordsOf(batch: RecordBatch): AsyncGenerator<StoredRecord, void, undefined> {
  const chunks: Buffer[] = [];
  for await (const chunk of batch.large?.chunks() ?? []) chunks.push(Buffer.from(chunk));
  const content = batch.large === undefined ? undefined : Buffer.concat(chunks);
  const views = new RecordViews();
  // Spread, because a batch's memory serves for the next one, and a record may be kept.
  for (let row = 0; row < batch.rows; row++)
    yield { section: batch.kind.path, record: { ...views.view(batch, row, content) } };
}
