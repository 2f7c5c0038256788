/**
 * Rewrites rows of a batch without touching the rest: what is not set keeps its bytes, which are copied as one block, and
 * only when something changed.
 *
 * ```
 * editor.begin(batch);
 * const start = editor.arena.length; codec.fromToken(…, editor.arena); editor.set(row, field, start);
 * editor.drop(otherRow);
 * const edited = editor.finish();   // valid until the next begin(), as batches are until the next is asked for
 * ```
 */
import { ByteWriter } from "../codecs/byte-writer.js";
import { LARGE_VALUE, type LargeValue, NULL_VALUE, RecordBatch } from "./record-batch.js";

/** Memory that one long record made grow beyond this is given back. Bytes. */
const KEPT_BYTES = 1048576;

export class BatchEditor {
  /** New values are appended here; offsets below those of `begin` are the batch's. */
  arena = new ByteWriter(0);
  private batch!: RecordBatch;
  private width = 0;
  /** Rows in the tables below: the batch's, and the copies behind them. */
  private rows = 0;
  /** The tables hold the batch's slices (from the first change on). */
  private isChanged = false;
  private hasNewBytes = false;
  private starts = new Uint32Array(0);
  private lengths = new Int32Array(0);
  private dropped = new Uint8Array(0);
  /** Of the batch that is worked on, once it changed (RecordBatch.assumed). */
  private assumed: Uint8Array | undefined;
  /** Of each copy, the row that it stands behind. */
  private readonly copied: number[] = [];
  private large: LargeValue | undefined;

  begin(batch: RecordBatch): void {
    this.batch = batch;
    this.width = batch.width;
    this.rows = batch.rows;
    this.isChanged = false;
    this.hasNewBytes = false;
    this.copied.length = 0;
    this.assumed = undefined;
    this.large = batch.large;
    const { arena } = this;
    if (arena.bytes.length > KEPT_BYTES && arena.bytes.length > 2 * batch.bytes.length) this.arena = new ByteWriter(0);
    // The batch's own bytes go into this hole when it turns out that there are new ones.
    this.arena.length = 0;
    this.arena.ensure(batch.bytes.length);
    this.arena.length = batch.bytes.length;
  }

  /** The field's value is what was written to the arena from `start` on. */
  set(row: number, field: number, start: number): void {
    this.setSlice(row, field, start, this.arena.length - start);
  }

  /** The field's value is a slice of the arena; rows may share one. */
  setSlice(row: number, field: number, start: number, length: number): void {
    this.change();
    this.hasNewBytes = true;
    this.replace(row, field, start, length);
  }

  setNull(row: number, field: number): void {
    this.change();
    this.replace(row, field, 0, NULL_VALUE);
  }

  /** The value of `value.field`, in a batch of one row. */
  setLarge(value: LargeValue): void {
    if (this.rows !== 1) throw new Error("a large value needs a batch of its own");
    this.change();
    this.replace(0, value.field, 0, LARGE_VALUE);
    this.large = value;
  }

  drop(row: number): void {
    this.change();
    this.dropped[row] = 1;
  }

  /** A copy of the row as it came in, behind the row and its copies; not of a record with a LargeValue. Gives its number. */
  duplicate(row: number): number {
    if (this.batch.large !== undefined) throw new Error("a record with a large value cannot be copied");
    this.change();
    const { batch, width } = this;
    const copy = this.rows++;
    this.reserve(this.rows);
    const from = row * width;
    this.starts.set(batch.starts.subarray(from, from + width), copy * width);
    this.lengths.set(batch.lengths.subarray(from, from + width), copy * width);
    if (batch.assumed !== undefined) this.assumed?.set(batch.assumed.subarray(from, from + width), copy * width);
    this.dropped[copy] = 0;
    this.copied.push(row);
    return copy;
  }

  /**
   * The batch itself when nothing changed; undefined when no row is left. Where the result's `large` is not the batch's,
   * the caller discards that.
   */
  finish(): RecordBatch | undefined {
    const { batch } = this;
    if (!this.isChanged) return batch;
    if (this.copied.length > 0) this.order();
    const rows = this.compact();
    if (rows === 0) return undefined;
    if (this.hasNewBytes) batch.bytes.copy(this.arena.bytes, 0);
    const bytes = this.hasNewBytes ? this.arena.view() : batch.bytes;
    return new RecordBatch(batch.kind, rows, bytes, this.starts, this.lengths, this.large, this.assumed);
  }

  private change(): void {
    if (this.isChanged) return;
    this.isChanged = true;
    const { batch, rows, width } = this;
    this.reserve(rows);
    this.starts.set(batch.starts.subarray(0, rows * width));
    this.lengths.set(batch.lengths.subarray(0, rows * width));
    if (batch.assumed !== undefined) {
      this.assumed = new Uint8Array(this.starts.length);
      this.assumed.set(batch.assumed.subarray(0, rows * width));
    }
    this.dropped.fill(0, 0, rows);
  }

  private replace(row: number, field: number, start: number, length: number): void {
    const at = row * this.width + field;
    if (this.lengths[at] === LARGE_VALUE) this.large = undefined;
    this.starts[at] = start;
    this.lengths[at] = length;
    if (this.assumed !== undefined) this.assumed[at] = 0;
  }

  private reserve(rows: number): void {
    const needed = rows * this.width;
    if (needed > this.starts.length) {
      const starts = new Uint32Array(Math.max(needed, this.starts.length * 2));
      starts.set(this.starts);
      this.starts = starts;
      const lengths = new Int32Array(starts.length);
      lengths.set(this.lengths);
      this.lengths = lengths;
      if (this.assumed !== undefined) {
        const assumed = new Uint8Array(starts.length);
        assumed.set(this.assumed);
        this.assumed = assumed;
      }
    }
    if (rows > this.dropped.length) {
      const dropped = new Uint8Array(Math.max(rows, this.dropped.length * 2));
      dropped.set(this.dropped);
      this.dropped = dropped;
    }
  }

  /** Puts each copy behind the row that it is a copy of. */
  private order(): void {
    const { width, rows } = this;
    const owners = this.copied;
    const order = Array.from({ length: rows }, (_, row) => row);
    const placeOf = (row: number): number => (row < this.batch.rows ? row : (owners[row - this.batch.rows] as number));
    // Array.sort is stable: copies keep the order in which they were made.
    order.sort((left, right) => placeOf(left) - placeOf(right));
    const starts = new Uint32Array(rows * width);
    const lengths = new Int32Array(rows * width);
    const dropped = new Uint8Array(rows);
    const { assumed } = this;
    if (assumed !== undefined) {
      this.assumed = new Uint8Array(rows * width);
      for (const [to, from] of order.entries())
        this.assumed.set(assumed.subarray(from * width, (from + 1) * width), to * width);
    }
    for (const [to, from] of order.entries()) {
      starts.set(this.starts.subarray(from * width, (from + 1) * width), to * width);
      lengths.set(this.lengths.subarray(from * width, (from + 1) * width), to * width);
      dropped[to] = this.dropped[from] as number;
    }
    this.starts = starts;
    this.lengths = lengths;
    this.dropped = dropped;
  }

  /** Closes the gaps of dropped rows; gives the number of rows that are left. */
  private compact(): number {
    const { width, rows, starts, lengths, dropped, assumed } = this;
    let kept = 0;
    for (let row = 0; row < rows; row++) {
      if (dropped[row] === 1) continue;
      if (kept !== row) {
        starts.copyWithin(kept * width, row * width, (row + 1) * width);
        lengths.copyWithin(kept * width, row * width, (row + 1) * width);
        assumed?.copyWithin(kept * width, row * width, (row + 1) * width);
      }
      kept++;
    }
    return kept;
  }
}
