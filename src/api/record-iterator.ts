/** A store's records one by one, for a program that only wants to look at them. */
import type { RecordBatch } from "../records/record-batch.js";
import type { Sink, SinkReport } from "../sinks/sink.js";
import type { PluginRecord } from "../transforms/plugin/definition.js";
import { RecordViews } from "../transforms/plugin/record-view.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { ExportOptions, TransferOptions } from "./options.js";
import { exportStore } from "./transfer.js";

export type ReadRecordsOptions = Omit<TransferOptions, "invalidUuid" | "idMap"> &
  Pick<ExportOptions, "sourceMode" | "sourceCheck" | "asOwner">;

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
  return iterate(from, options);
}

async function* iterate(
  from: ExportOptions["from"],
  options: ReadRecordsOptions,
): AsyncGenerator<StoredRecord, void, undefined> {
  const leaving = new AbortController();
  const signal = AbortSignal.any([leaving.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const handover = new Handover();
  let failure: { readonly error: unknown } | undefined;
  const run = exportStore({ ...options, from, to: handover, signal })
    .catch((error: unknown) => {
      failure = { error };
    })
    .finally(() => handover.end());
  try {
    for (let batch = await handover.next(); batch !== undefined; batch = await handover.next()) yield* recordsOf(batch);
  } finally {
    // Before the end of the run this is a `break`, whose interruption is nobody's error.
    leaving.abort();
    handover.end();
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

/** A sink whose batches somebody else takes: it takes none before the last one was looked at. */
class Handover implements Sink {
  readonly name = "readRecords";
  private batch: RecordBatch | undefined;
  private ended = false;
  private wakeReader: () => void = () => {};
  private wakeWriter: () => void = () => {};
  private readonly records = new Map<string, number>();

  /** Gives the last batch back, and waits for another; undefined at the end. */
  async next(): Promise<RecordBatch | undefined> {
    this.batch = undefined;
    this.wakeWriter();
    while (this.batch === undefined && !this.ended)
      await new Promise<void>((resolve) => {
        this.wakeReader = resolve;
      });
    return this.batch;
  }

  /** No batch will come, or be taken. */
  end(): void {
    this.ended = true;
    this.wakeReader();
    this.wakeWriter();
  }

  async open(): Promise<void> {}

  async write(batch: RecordBatch): Promise<void> {
    const { path } = batch.kind;
    this.records.set(path, (this.records.get(path) ?? 0) + batch.rows);
    if (this.ended) return;
    await new Promise<void>((resolve) => {
      this.wakeWriter = resolve;
      this.batch = batch;
      this.wakeReader();
    });
  }

  async finish(): Promise<SinkReport> {
    const counts = [...this.records].map(
      ([path, inserted]) => [path, { inserted, updated: 0, skipped: 0, dropped: 0 }] as const,
    );
    return { counts: new Map(counts), notes: [] };
  }

  async abort(): Promise<void> {}
}
