/**
 * Batches of canonical records: what flows from sources through transforms into sinks.
 *
 * A batch holds rows × fields of canonical values (catalog/types.ts) as slices of one byte arena, so that nothing is
 * parsed that is only passed on, and no object is made per record or per value.
 */
import type { RecordKind } from "../catalog/index.js";
import { ByteWriter } from "../codecs/byte-writer.js";

/** In `lengths`: SQL NULL. */
export const NULL_VALUE = -1;
/** In `lengths`: the value is the batch's `large`. */
export const LARGE_VALUE = -2;

const NO_BYTES = Buffer.alloc(0);
/** Of a batch's memory that a long record made grow. */
const KEPT_BYTES = 2097152;

/** A value that travels beside its batch, in chunks of at most 1 MiB (an artifact's content of 1 MiB or more). */
export interface LargeValue {
  /** Index in `kind.fields`. */
  readonly field: number;
  /**
   * The bytes, once; a chunk is valid until the next is asked for. Whoever drops the batch without reading must call
   * `discard()`. The next batch of the source is valid only after either.
   */
  chunks(): AsyncIterable<Buffer>;
  discard(): Promise<void>;
}

export class RecordBatch {
  /** A batch with `large` has exactly one row. Batches are valid until the source is asked for the next one. */
  constructor(
    readonly kind: RecordKind,
    readonly rows: number,
    readonly bytes: Buffer,
    /** rows × fields offsets into `bytes`, row by row. */
    readonly starts: Uint32Array,
    /** rows × fields lengths in bytes, or NULL_VALUE, or LARGE_VALUE. */
    readonly lengths: Int32Array,
    readonly large?: LargeValue,
    /**
     * rows × fields: 1 where the record does not hold the field (llmspell's own documents lack some). The value, which may be
     * NULL, is then for a new row; one that is there keeps its own. Undefined: all records hold all fields.
     */
    readonly assumed?: Uint8Array,
    /** Of each row, the line of the document where its record begins; of a document that is read for that only. */
    readonly lines?: readonly number[],
    /** Of an export directory: the name of the file that `lines` are of. */
    readonly file?: string,
    /** Its json is spelled as PostgreSQL's jsonb prints it, so that it mostly means its bytes (verify/meaning.ts). */
    readonly printedByJsonb?: boolean,
  ) {}

  get width(): number {
    return this.kind.fields.length;
  }

  isNull(row: number, field: number): boolean {
    return this.lengths[row * this.width + field] === NULL_VALUE;
  }

  /** Whether the record does not hold the field. */
  isAssumed(row: number, field: number): boolean {
    return this.assumed !== undefined && this.assumed[row * this.width + field] === 1;
  }

  /** The canonical bytes (shared memory); empty for NULL and for a large value. */
  value(row: number, field: number): Buffer {
    const at = row * this.width + field;
    const start = this.starts[at] as number;
    return this.bytes.subarray(start, start + Math.max(0, this.lengths[at] as number));
  }

  /** The rows `[from, to)`, of the same memory. */
  rowsOf(from: number, to: number): RecordBatch {
    const { width } = this;
    const [first, end] = [from * width, to * width];
    return new RecordBatch(
      this.kind,
      to - from,
      this.bytes,
      this.starts.subarray(first, end),
      this.lengths.subarray(first, end),
      this.large,
      this.assumed?.subarray(first, end),
      this.lines?.slice(from, to),
      this.file,
      this.printedByJsonb,
    );
  }

  /** The same record with another large value: its own, seen by somebody on the way. */
  withLarge(large: LargeValue): RecordBatch {
    const { kind, rows, bytes, starts, lengths, assumed, lines, file, printedByJsonb } = this;
    return new RecordBatch(kind, rows, bytes, starts, lengths, large, assumed, lines, file, printedByJsonb);
  }

  /** Bytes of all inline values. */
  get byteLength(): number {
    const { lengths } = this;
    const values = this.rows * this.width;
    let total = 0;
    for (let i = 0; i < values; i++) total += Math.max(0, lengths[i] as number);
    return total;
  }
}

/** When a batch is full: whichever comes first. */
export interface BatchLimits {
  /** Records. Default 4096. */
  readonly batchSize?: number;
  /** Bytes of values. Default 256 KiB. A single record may exceed it. */
  readonly batchBytes?: number;
}

/**
 * Builds batches value by value. A record's fields may come in any order; those not set are NULL.
 *
 * ```
 * builder.begin();
 * const start = builder.arena.length; codec.fromToken(…, builder.arena); builder.set(index, start);
 * builder.commit();            // or rollback(): the record never was
 * if (builder.full) yield builder.take();
 * ```
 */
export class BatchBuilder {
  readonly arena: ByteWriter;
  private readonly width: number;
  private starts: Uint32Array;
  private lengths: Int32Array;
  private rows = 0;
  private rowStart = 0;
  private readonly batchSize: number;
  private readonly batchBytes: number;
  private large: LargeValue | undefined;
  private assumed: Uint8Array | undefined;
  private readonly arenaBytes: number;
  /** The arena of the last batch, and the memory that serves for the next. */
  private taken: Buffer | undefined;
  private spare: { bytes: Buffer; starts: Uint32Array; lengths: Int32Array } | undefined;

  /** `printedByJsonb`: as the batches have it. */
  constructor(
    readonly kind: RecordKind,
    limits: BatchLimits = {},
    private readonly printedByJsonb = false,
  ) {
    this.batchSize = limits.batchSize ?? 4096;
    this.batchBytes = limits.batchBytes ?? 262144;
    this.width = kind.fields.length;
    this.arenaBytes = this.batchBytes + (this.batchBytes >> 2);
    // Most kinds of a small store have few records: a whole arena each would keep the garbage collector busy.
    this.arena = new ByteWriter(this.arenaBytes >> 4);
    this.starts = new Uint32Array(256 * this.width);
    this.lengths = new Int32Array(256 * this.width);
  }

  /** Completed records since the last take(). */
  get length(): number {
    return this.rows;
  }

  get full(): boolean {
    return this.rows >= this.batchSize || this.arena.length >= this.batchBytes || this.large !== undefined;
  }

  begin(): void {
    if (this.rows === 0 && this.arena.bytes === NO_BYTES) this.renew();
    this.rowStart = this.arena.length;
    const from = this.rows * this.width;
    if (from + this.width > this.starts.length) this.grow();
    this.lengths.fill(NULL_VALUE, from, from + this.width);
    this.assumed?.fill(0, from, from + this.width);
  }

  /** The field's value is what was written to the arena from `start` on. */
  set(field: number, start: number): void {
    const at = this.rows * this.width + field;
    this.starts[at] = start;
    this.lengths[at] = this.arena.length - start;
  }

  /** The field's value is those bytes of the arena. */
  place(field: number, start: number, length: number): void {
    const at = this.rows * this.width + field;
    this.starts[at] = start;
    this.lengths[at] = length;
  }

  /** Length of a value set in the current record, or NULL_VALUE / LARGE_VALUE. */
  lengthOf(field: number): number {
    return this.lengths[this.rows * this.width + field] as number;
  }

  /** Canonical bytes of a value set in the current record (shared memory, valid until the next write). */
  valueOf(field: number): Buffer {
    const start = this.starts[this.rows * this.width + field] as number;
    return this.arena.bytes.subarray(start, start + Math.max(0, this.lengthOf(field)));
  }

  setNull(field: number): void {
    this.lengths[this.rows * this.width + field] = NULL_VALUE;
  }

  /** The current record does not hold the field; what was set, or NULL, is for a new row. */
  assume(field: number): void {
    this.assumed ??= new Uint8Array(this.starts.length);
    this.assumed[this.rows * this.width + field] = 1;
  }

  /** Only as the first record of a batch (take() before); the batch is full then. */
  setLarge(value: LargeValue): void {
    if (this.rows > 0) throw new Error("a large value needs a batch of its own");
    this.large = value;
    this.lengths[value.field] = LARGE_VALUE;
  }

  commit(): void {
    this.rows++;
  }

  rollback(): void {
    this.arena.length = this.rowStart;
    this.large = undefined;
  }

  /** The batch so far; the builder starts anew with other memory, so the batch stays valid until it is recycled. */
  take(): RecordBatch {
    const { kind, rows, starts, lengths, large, assumed, printedByJsonb: printed } = this;
    const bytes = this.arena.view();
    const batch = new RecordBatch(kind, rows, bytes, starts, lengths, large, assumed, undefined, undefined, printed);
    this.assumed = undefined;
    this.taken = this.arena.bytes;
    this.arena.bytes = NO_BYTES;
    this.arena.length = 0;
    this.rows = 0;
    this.large = undefined;
    return batch;
  }

  /** Memory for the batch after one that was taken; not before it has a record. */
  private renew(): void {
    const { spare } = this;
    this.spare = undefined;
    this.arena.bytes = spare?.bytes ?? Buffer.allocUnsafeSlow(this.arenaBytes);
    this.starts = spare?.starts ?? new Uint32Array(this.starts.length);
    this.lengths = spare?.lengths ?? new Int32Array(this.lengths.length);
  }

  /**
   * The last batch is of no more use (the source was asked for the next): its memory serves again. Without this the
   * garbage collector lags behind by tens of megabytes.
   */
  recycle(batch: RecordBatch): void {
    const bytes = this.taken;
    this.taken = undefined;
    if (bytes === undefined || bytes.buffer !== batch.bytes.buffer) return;
    // Memory that one long record made grow is given back, but for what contents below a LargeValue need: one after the other.
    if (bytes.length === this.arenaBytes || (bytes.length > this.arenaBytes && bytes.length <= KEPT_BYTES))
      this.spare = { bytes, starts: batch.starts, lengths: batch.lengths };
  }

  private grow(): void {
    const starts = new Uint32Array(this.starts.length * 2);
    starts.set(this.starts);
    this.starts = starts;
    const lengths = new Int32Array(this.lengths.length * 2);
    lengths.set(this.lengths);
    this.lengths = lengths;
    if (this.assumed === undefined) return;
    const assumed = new Uint8Array(starts.length);
    assumed.set(this.assumed);
    this.assumed = assumed;
  }
}
