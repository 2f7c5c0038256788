/** Canonical records into the values of a row: seconds and exact companions, digests, one value per column. */
import { hash } from "node:crypto";
import { columnOf, exactColumnOf, type Field, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { codecs } from "../../../codecs/index.js";
import { readSafeInt64 } from "../../../codecs/int64.js";
import { toUnixSeconds } from "../../../codecs/timestamp.js";
import { idText } from "../../../codecs/uuid.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "../../../records/record-batch.js";

/** A value to bind. Numbers are bound as REAL; INTEGER affinity makes integers of them. */
export type SqlParam = bigint | number | string | Buffer | null;

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

/** The value of one field as it is bound. */
export function sqlValue(field: Field, source: Buffer, start: number, length: number): SqlParam {
  switch (field.type) {
    case "uuid":
      return idText(source, start, length);
    case "text":
    case "json":
    case "text_array":
      return source.toString("utf8", start, start + length);
    case "int4":
      return source.readInt32BE(start);
    case "int8": {
      const small = readSafeInt64(source, start);
      return Number.isNaN(small) ? source.readBigInt64BE(start) : small;
    }
    default:
      return codecs[field.type].toSqlite(field, source, start, length);
  }
}

/** `spellings`: by field index. */
export function createRowEncoder(kind: RecordKind, spellings: ReadonlyMap<number, UuidSpelling>): RowEncoder {
  const { sqlite } = kind;
  const digest = sqlite.layout === "table" ? sqlite.textDigest : undefined;
  const digestOf = digest === undefined ? -1 : fieldIndex(kind, digest.of);
  const columns: string[] = [];
  const fieldOf: number[] = [];
  let largeAt: number | undefined;
  const fields: { field: Field; index: number; spelling: UuidSpelling | undefined }[] = [];
  for (const [index, field] of kind.fields.entries()) {
    if (field.sqlite === false || field.type === "vector" || field.constant !== undefined) continue;
    if (field.large) largeAt = columns.length;
    fields.push({ field, index, spelling: spellings.get(index) });
    columns.push(columnOf(field));
    if (field.type === "timestamp") columns.push(exactColumnOf(field));
    if (field.name === digest?.field) columns.push(digest.companion);
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
      for (const { field, index, spelling } of fields) {
        const length = lengths[base + index] as number;
        const start = starts[base + index] as number;
        if (length === NULL_VALUE || length === LARGE_VALUE) {
          values.push(null);
          if (field.type === "timestamp" || field.name === digest?.field) values.push(null);
        } else if (field.type === "timestamp") pushTime(bytes, start, values);
        else if (field.name === digest?.field) {
          // llmspell loads a state only when this is the SHA-256 of the text that is stored.
          values.push(hash("sha256", batch.value(row, digestOf)), bytes.toString("utf8", start, start + length));
        } else values.push(spelling?.(batch, row) ?? sqlValue(field, bytes, start, length));
      }
      if (dimension !== undefined) values.push(dimension);
    },
  };
}
