/** Where a side of a join is: its batch, the record at hand, and what the other side relies on. */
import type { RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { KeyOrder } from "./key-order.js";
import type { LeastHashes } from "./least-hashes.js";
import type { RecordSpool } from "./record-spool.js";

export type Side = "a" | "b";

/** A side was not in the order that it was said to be in: what was told may be wrong. */
export class OrderError extends Error {}

export interface KindState {
  readonly kind: RecordKind;
  readonly place: number;
  readonly order: KeyOrder;
  readonly keyFields: readonly number[];
  readonly aside: Record<Side, RecordSpool>;
  readonly chosen: Record<Side, LeastHashes>;
}

/** Where a side is. */
export class Cursor {
  batch: RecordBatch | undefined;
  row = 0;
  state: KindState | undefined;
  /** What the other side relies on: no record before it comes any more. */
  bound: { readonly place: number; readonly key: Buffer } | undefined;
  /** The bound is the record at hand. */
  isReliedOn = false;
  private readonly keyBytes = new ByteWriter(256);
  private keyRow = -1;

  constructor(
    readonly side: Side,
    private readonly iterator: AsyncIterator<RecordBatch>,
  ) {}

  /** Undefined at the end. */
  async next(): Promise<RecordBatch | undefined> {
    const { done, value } = await this.iterator.next();
    this.batch = done === true ? undefined : value;
    this.row = 0;
    this.keyRow = -1;
    return this.batch;
  }

  /** The key of the record at hand; valid until the next record's. */
  key(): Buffer {
    if (this.keyRow !== this.row) {
      this.keyBytes.length = 0;
      (this.state as KindState).order.write(this.batch as RecordBatch, this.row, this.keyBytes);
      this.keyRow = this.row;
    }
    return this.keyBytes.view();
  }

  async close(): Promise<void> {
    await this.iterator.return?.();
  }
}

/** The cursor's side is relied on to have nothing before the record at hand any more. */
export function rely(cursor: Cursor): void {
  if (cursor.batch === undefined || cursor.isReliedOn) return;
  cursor.isReliedOn = true;
  cursor.bound = { place: (cursor.state as KindState).place, key: Buffer.from(cursor.key()) };
}

/** Throws OrderError where the record at hand should have come before. */
export function checkOrder(cursor: Cursor): void {
  const { place, key } = cursor.bound as NonNullable<Cursor["bound"]>;
  const { place: current } = cursor.state as KindState;
  cursor.isReliedOn = false;
  if (current < place || (current === place && Buffer.compare(cursor.key(), key) < 0)) throw new OrderError();
}
