/**
 * A record among a table's sorted runs: bytes that sort as SQLite sorts the terms of its key, then the record as it was read, or
 * only where it is read again.
 */
import type { RecordKind } from "../../../catalog/index.js";
import { ByteWriter } from "../../../codecs/byte-writer.js";
import { StorageError } from "../../../errors.js";
import { writeOrderedText } from "../../../records/ordered-text.js";
import { BatchBuilder } from "../../../records/record-batch.js";
import type { SqlRow, SqlValue } from "../table.js";
import type { RowReader } from "./row-reader.js";

const LEAST_INTEGER = -(2n ** 63n);
const GREATEST_INTEGER = 2n ** 63n - 1n;

/**
 * An entry: the terms of the key, the rowid, whether the record follows (WHOLE) or is to be read again (AGAIN), the lengths of
 * its fields (int32 each), their values, and where the rowid is (uint32).
 */
const WHOLE = 0;
const AGAIN = 1;
const ROWID_BYTES = 8;

/** Where an entry's rowid is. */
function placeOf(entry: Buffer): number {
  return entry.readUInt32BE(entry.length - 4);
}

export function rowidOf(entry: Buffer): bigint {
  return entry.readBigInt64BE(placeOf(entry)) ^ LEAST_INTEGER;
}

/** Whether the row is to be read again. */
export function isAgain(entry: Buffer): boolean {
  return entry[placeOf(entry) + ROWID_BYTES] === AGAIN;
}

/** Appends the record to the builder, whose fields are `written` in this order. */
export function readEntry(entry: Buffer, written: readonly number[], builder: BatchBuilder): void {
  let at = placeOf(entry) + ROWID_BYTES + 1;
  let from = at + written.length * 4;
  const { arena } = builder;
  let start = arena.length;
  arena.copy(entry, from, entry.length - 4);
  for (const field of written) {
    const length = entry.readInt32BE(at);
    at += 4;
    if (length < 0) continue;
    builder.place(field, start, length);
    start += length;
    from += length;
  }
}

/** Makes entries of rows that have the terms of their key behind the reader's columns. */
export class EntryWriter {
  private readonly out = new ByteWriter(4096);
  private readonly record: BatchBuilder;
  private width: number | undefined;

  /** `raw`: per term, the bytes of the text that a row has there. */
  constructor(
    kind: RecordKind,
    private readonly reader: RowReader,
    private readonly raw: readonly ((rowid: bigint) => SqlValue)[],
  ) {
    this.record = new BatchBuilder(kind);
  }

  /** Valid until the next one. */
  entryOf(row: SqlRow): Buffer {
    const { out, raw } = this;
    const rowid = row[0] as bigint;
    this.width ??= row.length - raw.length;
    out.length = 0;
    for (const [i, again] of raw.entries()) writeTerm(row[this.width + i] as SqlValue, () => again(rowid), out);
    const place = out.length;
    out.int64(rowid ^ LEAST_INTEGER);
    this.addRecord(row);
    out.int32(place);
    return out.view();
  }

  private addRecord(row: SqlRow): void {
    const { out, record, reader } = this;
    if (reader.hasLargeValue(row)) {
      out.byte(AGAIN);
      return;
    }
    record.begin();
    try {
      reader.read(row, record);
      out.byte(WHOLE);
      for (const field of reader.written) out.int32(record.lengthOf(field));
      out.copy(record.arena.bytes, 0, record.arena.length);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      // It is told of in its turn.
      out.byte(AGAIN);
    } finally {
      record.rollback();
    }
  }
}

/** The classes of values as SQLite orders them. */
const CLASS = { null: 0, number: 1, text: 2, blob: 3 } as const;

/** Bytes whose order is SQLite's of the values. `raw` gives those of a text whose characters may not be what is stored. */
function writeTerm(value: SqlValue, raw: () => SqlValue, out: ByteWriter): void {
  if (typeof value === "string") {
    out.byte(CLASS.text);
    if (value.includes("\uFFFD")) writeBytes(raw() as Buffer, out);
    else if (value.includes("\0")) writeBytes(Buffer.from(value, "utf8"), out);
    else {
      out.utf8(value);
      out.byte(0);
      out.byte(0);
    }
  } else if (typeof value === "bigint") {
    out.byte(CLASS.number);
    out.int64(value ^ LEAST_INTEGER);
    out.byte(0);
  } else if (value === null) out.byte(CLASS.null);
  else if (typeof value === "number") writeReal(value, out);
  else {
    out.byte(CLASS.blob);
    writeBytes(value, out);
  }
}

function writeBytes(bytes: Buffer, out: ByteWriter): void {
  writeOrderedText(bytes, 0, bytes.length, out);
}

/** Between the integers: the one below it, and the rest. */
function writeReal(value: number, out: ByteWriter): void {
  out.byte(CLASS.number);
  const floor = Math.floor(value);
  const isInside = floor >= -(2 ** 63) && floor < 2 ** 63;
  const whole = isInside ? BigInt(floor) : value < 0 ? LEAST_INTEGER : GREATEST_INTEGER;
  out.int64(whole ^ LEAST_INTEGER);
  const rest = isInside ? value - floor : value > 0 ? 1 : 0;
  if (rest === 0) {
    out.byte(0);
    return;
  }
  out.byte(1);
  out.ensure(8);
  out.length = out.bytes.writeDoubleBE(rest, out.length);
}
