/** What a thread puts into the ring (source-worker.ts), as batches again: large values chunk by chunk, long batches put together. */
import { catalog } from "../../llmspell/catalog/index.js";
import type { RingReader } from "../../records/batch-ring.js";
import { type LargeValue, RecordBatch } from "../../records/record-batch.js";
import { CHUNK, LONG_BATCH, type LongBatch } from "./source-protocol.js";

export class RingBatches {
  /** `hasMore` waits for the next slot; false: there will be none. */
  constructor(
    private readonly ring: RingReader,
    private readonly hasMore: () => Promise<boolean>,
  ) {}

  /** The batch that is next; valid until the reader asks for another. */
  async *next(): AsyncGenerator<RecordBatch> {
    const { ring } = this;
    if (ring.type === LONG_BATCH) {
      yield* this.withLarge(await this.longBatch());
      return;
    }
    const kind = catalog.kinds[ring.kind];
    if (kind === undefined) throw new Error("a batch of no kind");
    let field: number | undefined;
    const batch = ring.batch(kind, (one) => {
      field = one;
      return undefined;
    });
    if (field === undefined) {
      yield batch;
      ring.release();
      return;
    }
    // One row, which has to last until its content is read.
    const { rows, bytes, starts, lengths, assumed, printedByJsonb } = batch;
    const copy = new RecordBatch(
      kind,
      rows,
      Buffer.from(bytes),
      starts.slice(),
      lengths.slice(),
      undefined,
      assumed?.slice(),
      undefined,
      undefined,
      printedByJsonb,
    );
    ring.release();
    yield* this.withLarge({ batch: copy, field });
  }

  private async *withLarge({
    batch,
    field,
  }: {
    batch: RecordBatch;
    field: number | undefined;
  }): AsyncGenerator<RecordBatch> {
    if (field === undefined) {
      yield batch;
      return;
    }
    const content = new Content(this.ring, () => this.arrival(), field);
    const { kind, rows, bytes, starts, lengths, assumed } = batch;
    yield new RecordBatch(kind, rows, bytes, starts, lengths, content, assumed);
    await content.discard();
  }

  /** A batch that came in pieces. */
  private async longBatch(): Promise<{ batch: RecordBatch; field: number | undefined }> {
    const { ring } = this;
    const { rows, bytes, largeField, hasAssumed, kind: number }: LongBatch = JSON.parse(ring.content().toString());
    ring.release();
    const kind = catalog.kinds[number];
    if (kind === undefined) throw new Error("a batch of no kind");
    const values = rows * kind.fields.length;
    const starts = new Uint32Array(values);
    const lengths = new Int32Array(values);
    const assumed = hasAssumed ? new Uint8Array(values) : undefined;
    const content = Buffer.allocUnsafeSlow(bytes);
    for (const part of [new Uint8Array(starts.buffer), new Uint8Array(lengths.buffer), assumed, content])
      for (let at = 0; part !== undefined && at < part.length; ) {
        await this.arrival();
        const piece = ring.content();
        part.set(piece, at);
        at += piece.length;
        ring.release();
      }
    return { batch: new RecordBatch(kind, rows, content, starts, lengths, undefined, assumed), field: largeField };
  }

  /** Waits for the next slot of what has begun. */
  private async arrival(): Promise<void> {
    if (!(await this.hasMore())) throw new Error("the thread's reading ended in the middle of a batch");
  }
}

/** A LargeValue whose chunks follow its batch. */
class Content implements LargeValue {
  private isRead = false;

  constructor(
    private readonly ring: RingReader,
    private readonly arrival: () => Promise<void>,
    readonly field: number,
  ) {}

  async *chunks(): AsyncGenerator<Buffer> {
    const { ring } = this;
    for (;;) {
      await this.arrival();
      if (ring.type !== CHUNK) break;
      yield ring.content();
      ring.release();
    }
    this.isRead = true;
    ring.release();
  }

  async discard(): Promise<void> {
    if (!this.isRead) for await (const _ of this.chunks());
  }
}
