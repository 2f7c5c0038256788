/** Records as tuples of PostgreSQL's binary COPY format. */
import { type Field, fieldIndex, LARGE_VALUE_BYTES, type RecordKind, storedFields } from "../../../catalog/index.js";
import { ByteWriter } from "../../../codecs/byte-writer.js";
import { type Codec, codecOf, located } from "../../../codecs/index.js";
import { createConstraintCheck } from "../../../records/constraints.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "../../../records/record-batch.js";

/** Signature, flags, length of the header's extension. */
const HEADER = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");
const TRAILER = Buffer.from([0xff, 0xff]);

/** What a tuple has that its record has not. */
export interface TupleExtras {
  /** The first column, for a staging table: the record's number within its kind. */
  readonly ordinal?: bigint;
  /** The last column: the columns (as storedFields has them, from bit 0) that the record does not hold. */
  readonly assumed?: bigint;
  /** The large object that holds the content: it goes in the content's place. */
  readonly largeObject?: number;
}

/** Whether the content of a record belongs into a large object. */
export function needsLargeObject(kind: RecordKind, batch: RecordBatch, row: number): boolean {
  const { largeObject } = kind.postgres;
  if (largeObject === undefined) return false;
  const length = batch.lengths[row * batch.width + fieldIndex(kind, largeObject.field)] as number;
  return length === LARGE_VALUE || length >= LARGE_VALUE_BYTES;
}

interface EncodedColumn {
  readonly index: number;
  readonly field: Field;
  readonly codec: Codec;
}

/** Encodes records of one kind, one after the other, into one COPY's data. */
export class CopyEncoder {
  private readonly columns: readonly EncodedColumn[];
  private readonly check: (batch: RecordBatch, row: number) => void;
  private readonly contentIndex: number;
  private readonly typeIndex: number;
  /** Where each tuple begins, and where the last one ends. */
  private readonly offsets: number[] = [];

  /** @param out grows to what a batch takes; most kinds of a small store need little */
  constructor(
    readonly kind: RecordKind,
    private readonly out = new ByteWriter((262144 + 65536) >> 4),
  ) {
    const { largeObject } = kind.postgres;
    this.columns = storedFields(kind, "postgresql").map((field) => ({
      index: kind.fields.indexOf(field),
      field,
      codec: codecOf(field),
    }));
    this.check = createConstraintCheck(kind);
    this.contentIndex = largeObject === undefined ? -1 : fieldIndex(kind, largeObject.field);
    this.typeIndex = largeObject === undefined ? -1 : fieldIndex(kind, largeObject.typeField);
    this.reset();
  }

  /** Tuples since the last reset. */
  get length(): number {
    return this.offsets.length - 1;
  }

  reset(): void {
    this.out.length = 0;
    this.out.copy(HEADER, 0, HEADER.length);
    this.offsets.length = 0;
    this.offsets.push(HEADER.length);
  }

  /** One of another kind, in the same memory. This one is of no more use. */
  turnedTo(kind: RecordKind): CopyEncoder {
    return new CopyEncoder(kind, this.out);
  }

  /** Takes the last tuple away again. */
  pop(): void {
    this.offsets.pop();
    this.out.length = this.offsets[this.offsets.length - 1] as number;
  }

  /**
   * Appends a tuple.
   * @throws {StorageError} for what the target cannot hold, with the field in its context; nothing is appended then
   */
  push(batch: RecordBatch, row: number, extras: TupleExtras): void {
    const start = this.out.length;
    try {
      this.check(batch, row);
      this.encode(batch, row, extras);
    } catch (error) {
      this.out.length = start;
      throw error;
    }
    this.offsets.push(this.out.length);
  }

  private encode(batch: RecordBatch, row: number, { ordinal, assumed, largeObject }: TupleExtras): void {
    const { out, columns } = this;
    const { bytes, starts, lengths } = batch;
    const base = row * batch.width;
    const hasOid = this.contentIndex >= 0;
    out.ensure(2);
    out.length = out.bytes.writeInt16BE(
      columns.length + (ordinal === undefined ? 0 : 1) + (hasOid ? 1 : 0) + (assumed === undefined ? 0 : 1),
      out.length,
    );
    if (ordinal !== undefined) {
      out.int32(8);
      out.int64(ordinal);
    }
    for (const { index, field, codec } of columns) {
      if (hasOid && index === this.typeIndex) {
        writeText(largeObject === undefined ? "bytea" : "large_object", out);
        continue;
      }
      const length = lengths[base + index] as number;
      if (length === NULL_VALUE || (index === this.contentIndex && largeObject !== undefined)) {
        out.int32(-1);
        continue;
      }
      try {
        codec.toWire(field, bytes, starts[base + index] as number, length, out);
      } catch (error) {
        throw located(error, { field: field.name });
      }
    }
    if (hasOid && largeObject === undefined) out.int32(-1);
    else if (hasOid) {
      out.int32(4);
      out.ensure(4);
      out.length = out.bytes.writeUInt32BE(largeObject as number, out.length);
    }
    if (assumed === undefined) return;
    out.int32(8);
    out.int64(assumed);
  }

  /** The data of one COPY of the tuples `[from, to)`; shares memory with the encoder. */
  data(from: number, to: number): Buffer {
    const start = this.offsets[from] as number;
    const end = this.offsets[to] as number;
    if (from > 0 || to < this.length) return Buffer.concat([HEADER, this.out.bytes.subarray(start, end), TRAILER]);
    this.out.copy(TRAILER, 0, TRAILER.length);
    const whole = this.out.view();
    this.out.length = end;
    return whole;
  }

  /** How many bytes the tuples from that one on have. */
  bytesFrom(tuple: number): number {
    return this.out.length - (this.offsets[tuple] as number);
  }

  /** The bytes of the tuples `[from, to)`; shares memory with the encoder. */
  tuples(from: number, to: number): Buffer {
    return this.out.bytes.subarray(this.offsets[from] as number, this.offsets[to] as number);
  }

  /** The values of a tuple in binary form, as parameters of a statement. */
  values(tuple: number): (Buffer | null)[] {
    const values: (Buffer | null)[] = [];
    const end = this.offsets[tuple + 1] as number;
    for (let at = (this.offsets[tuple] as number) + 2; at < end; ) {
      const length = this.out.bytes.readInt32BE(at);
      at += 4;
      values.push(length === -1 ? null : this.out.bytes.subarray(at, at + length));
      if (length > 0) at += length;
    }
    return values;
  }
}

function writeText(text: string, out: ByteWriter): void {
  out.int32(text.length);
  out.latin1(text);
}
