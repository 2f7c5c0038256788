/** The end of a run whose records a program of ours takes batch by batch. */
import type { RecordBatch } from "../records/record-batch.js";
import type { Sink, SinkReport } from "../sinks/sink.js";

/** A sink whose batches somebody else takes: it takes none before the last one was looked at. */
export class BatchStream implements Sink {
  private batch: RecordBatch | undefined;
  private ended = false;
  private wakeReader: () => void = () => {};
  private wakeWriter: () => void = () => {};
  private readonly records = new Map<string, number>();

  /** `checksReferences` as a sink's. */
  constructor(
    readonly name: string,
    readonly checksReferences = false,
  ) {}

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
