/** A limit on the bytes of records that a run moves in a second. */
import { setTimeout as sleep } from "node:timers/promises";
import { formatBytes } from "../byte-size.js";
import { StorageError } from "../errors.js";
import type { LargeValue, RecordBatch } from "./record-batch.js";

/** What was not used is there for so long: what comes is smoothed, and nothing comes all at once after a wait. */
const BURST_SECONDS = 0.25;
/** A timer's longest wait: 2^31 - 1 milliseconds. */
const LONGEST_MILLISECONDS = 2_147_483_647;

export class ByteRate {
  /** When all that was taken is used up, by performance.now(). */
  private free = 0;
  private waitedMilliseconds = 0;

  /** E_USAGE for a number that is no rate. */
  constructor(
    private readonly bytesPerSecond: number,
    private readonly signal: AbortSignal,
  ) {
    if (!(Number.isFinite(bytesPerSecond) && bytesPerSecond >= 1))
      throw new StorageError("E_USAGE", "the rate is no number of bytes per second, from 1 on");
  }

  /** For the user: how long the run was held back, where that is worth a line. */
  get note(): string | undefined {
    const seconds = Math.round(this.waitedMilliseconds / 1000);
    return seconds === 0 ? undefined : `Held to ${formatBytes(this.bytesPerSecond)} a second: ${seconds} s of waiting`;
  }

  /** Waits until so many bytes may go on; throws the signal's reason at once when it is aborted. */
  async take(bytes: number): Promise<void> {
    const now = performance.now();
    const from = Math.max(this.free, now - BURST_SECONDS * 1000);
    this.free = from + (bytes / this.bytesPerSecond) * 1000;
    const wait = this.free - now;
    if (wait < 1) return;
    this.waitedMilliseconds += wait;
    await sleep(Math.min(wait, LONGEST_MILLISECONDS), undefined, { signal: this.signal });
  }

  /** The batches, and their large values as they are read, no faster than that. */
  async *limited(batches: AsyncIterable<RecordBatch>): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      await this.take(batch.byteLength);
      yield eachChunk(batch, (bytes) => this.take(bytes));
    }
  }
}

/** The batch, whose large value waits for `before` with the bytes of each chunk. */
export function eachChunk(batch: RecordBatch, before: (bytes: number) => Promise<void>): RecordBatch {
  const { large } = batch;
  if (large === undefined) return batch;
  const chunks = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of large.chunks()) {
      await before(chunk.length);
      yield chunk;
    }
  };
  const waiting: LargeValue = { field: large.field, chunks, discard: () => large.discard() };
  return batch.withLarge(waiting);
}
