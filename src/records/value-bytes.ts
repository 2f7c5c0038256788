/** Bytes of the values that a run moves, by section; those of large values as they are read. */
import type { LargeValue, RecordBatch } from "./record-batch.js";

export class ValueBytes {
  private readonly counts = new Map<string, number>();

  /** By path, so far. */
  get byPath(): ReadonlyMap<string, number> {
    return this.counts;
  }

  /** Counts the batch. What is given back is to be written in its place. */
  counted(batch: RecordBatch): RecordBatch {
    const { kind, large } = batch;
    this.add(kind.path, batch.byteLength);
    if (large === undefined) return batch;
    const counted: LargeValue = {
      field: large.field,
      chunks: () => this.countedChunks(kind.path, large),
      discard: () => large.discard(),
    };
    return batch.withLarge(counted);
  }

  private async *countedChunks(path: string, large: LargeValue): AsyncGenerator<Buffer> {
    for await (const chunk of large.chunks()) {
      this.add(path, chunk.length);
      yield chunk;
    }
  }

  add(path: string, bytes: number): void {
    this.counts.set(path, (this.counts.get(path) ?? 0) + bytes);
  }
}
