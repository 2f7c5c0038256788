/** Canonical records into the values of a row: seconds and exact companions, digests, one value per column. */
import { hash } from "node:crypto";
import { columnOf, exactColumnOf, fieldIndex, type RecordKind } from "../../../../catalog/index.js";
import { type Codec, codecOf, type SqliteParam } from "../../../../codecs/index.js";
import { readSafeInt64 } from "../../../../codecs/int64.js";
import { toUnixSeconds } from "../../../../codecs/timestamp.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "../../../../records/record-batch.js";

export type SqlParam = SqliteParam | null;

/** What is known of a column before there is a value. */
interface EncodedField {
  readonly codec: Codec;
  readonly index: number;
  /** Its exact value stands in a column beside it. */
  readonly isTime: boolean;
  readonly isDigest: boolean;
  readonly spelling: UuidSpelling | undefined;
}

export interface RowEncoder {
  /** Not quoted. For vectors those of the metadata table, without the rowid. */
  readonly columns: readonly string[];
  /** Of each column, the index of the field that it holds a value of; -1 for none. */
  readonly fieldOf: readonly number[];
  /** The position in `columns` of the content that may travel beside its batch. */
  readonly largeAt: number | undefined;
  /** Appends one value per column; of a LargeValue null. */
  encode(batch: RecordBatch, row: number, values: SqlParam[]): void;
}

/** The stored spelling of a UUID field's value, where it is another than the canonical one. */
export type UuidSpelling = (batch: RecordBatch, row: number) => string | undefined;

const EPOCH_SECONDS = 946684800;

function pushTime(source: Buffer, start: number, values: SqlParam[]): void {
  const micros = readSafeInt64(source, start);
  if (Number.isNaN(micros)) {
    const exact = source.readBigInt64BE(start);
    values.push(toUnixSeconds(exact), exact);
  } else values.push(Math.floor(micros / 1e6) + EPOCH_SECONDS, micros);
}

/** `spellings`: by field index. */
export function createRowEncoder(kind: RecordKind, spellings: ReadonlyMap<number, UuidSpelling>): RowEncoder {
  const { sqlite } = kind;
  const digest = sqlite.layout === "table" ? sqlite.textDigest : undefined;
  const digestOf = digest === undefined ? -1 : fieldIndex(kind, digest.of);
  const columns: string[] = [];
  const fieldOf: number[] = [];
  let largeAt: number | undefined;
  const fields: EncodedField[] = [];
  for (const [index, field] of kind.fields.entries()) {
    const codec = codecOf(field);
    if (field.sqlite === false || codec.sqlite === "embedding" || field.constant !== undefined) continue;
    if (field.large) largeAt = columns.length;
    const isTime = codec.sqlite === "time";
    const isDigest = field.name === digest?.field;
    fields.push({ codec, index, isTime, isDigest, spelling: spellings.get(index) });
    columns.push(columnOf(field));
    if (isTime) columns.push(exactColumnOf(field));
    if (digest !== undefined && isDigest) columns.push(digest.companion);
    while (fieldOf.length < columns.length) fieldOf.push(index);
  }
  const dimension = sqlite.layout === "vector" ? sqlite.dimension : undefined;
  if (dimension !== undefined) {
    columns.push("dimension");
    fieldOf.push(-1);
  }
  return {
    columns,
    fieldOf,
    largeAt,
    encode(batch, row, values) {
      const { bytes, starts, lengths } = batch;
      const base = row * kind.fields.length;
      for (const { codec, index, isTime, isDigest, spelling } of fields) {
        const length = lengths[base + index] as number;
        const start = starts[base + index] as number;
        if (length === NULL_VALUE || length === LARGE_VALUE) {
          values.push(null);
          if (isTime || isDigest) values.push(null);
        } else if (isTime) pushTime(bytes, start, values);
        else if (isDigest) {
          // llmspell loads a state only when this is the SHA-256 of the text that is stored.
          values.push(hash("sha256", batch.value(row, digestOf)), bytes.toString("utf8", start, start + length));
        } else values.push(spelling?.(batch, row) ?? codec.toParam(bytes, start, length));
      }
      if (dimension !== undefined) values.push(dimension);
    },
  };
}
