/** What every target demands of a record, checked before it is sent: the catalog's nullability, CHECKs and ranges. */
import { type Field, fieldIndex, type RecordKind } from "../catalog/index.js";
import { codecOf, located } from "../codecs/index.js";
import { StorageError } from "../errors.js";
import { NULL_VALUE, type RecordBatch } from "./record-batch.js";

/** Throws for a value that is not NULL. `start` is its offset in `bytes`. */
type ValueCheck = (bytes: Buffer, start: number, length: number) => void;

/**
 * Builds the check of one record (the batch's row). It throws a StorageError with the field in its context:
 * E_MISSING_FIELD (NULL where the column is NOT NULL), E_CHECK (min, max, oneOf, interval), E_OUT_OF_RANGE (a time no
 * database holds), E_DIMENSION_MISMATCH (a constant that is another). Section and key are the caller's to add.
 */
export function createConstraintCheck(kind: RecordKind): (batch: RecordBatch, row: number) => void {
  const width = kind.fields.length;
  const required = kind.fields.map((field) => field.nullable !== true && field.constant === undefined);
  const valueChecks = kind.fields.map(createValueCheck);
  const intervals = (kind.intervals ?? []).map(([start, end]) => ({
    start: fieldIndex(kind, start),
    end: fieldIndex(kind, end),
    names: [start, end] as const,
  }));
  return (batch, row) => {
    const { bytes, starts, lengths } = batch;
    const base = row * width;
    for (let index = 0; index < width; index++) {
      const length = lengths[base + index] as number;
      if (length === NULL_VALUE) {
        if (required[index]) throw missing((kind.fields[index] as Field).name);
      } else if (length >= 0) valueChecks[index]?.(bytes, starts[base + index] as number, length);
    }
    for (const { start, end, names } of intervals) {
      if (lengths[base + start] === NULL_VALUE || lengths[base + end] === NULL_VALUE) continue;
      if (compareInt64(bytes, starts[base + start] as number, starts[base + end] as number) >= 0)
        throw new StorageError("E_CHECK", `${names[0]} must be before ${names[1]}`, { field: names[1] });
    }
  };
}

function missing(field: string): StorageError {
  return new StorageError("E_MISSING_FIELD", `${field} is missing or null`, { field });
}

function createValueCheck(field: Field): ValueCheck | undefined {
  const { name, constant } = field;
  const { check } = codecOf(field);
  if (check !== undefined)
    return (bytes, start) => {
      try {
        check(bytes, start);
      } catch (error) {
        throw located(error, { field: name });
      }
    };
  if (constant !== undefined)
    return (bytes, start) => {
      const found = bytes.readInt32BE(start);
      if (found !== constant)
        throw new StorageError("E_DIMENSION_MISMATCH", `Dimension mismatch: expected ${constant}, got ${found}`, {
          field: name,
        });
    };
  if (field.oneOf !== undefined) return oneOfCheck(name, field.oneOf);
  if (field.min !== undefined || field.max !== undefined) return boundsCheck(field);
  return undefined;
}

function oneOfCheck(field: string, values: readonly string[]): ValueCheck {
  const permitted = values.map((value) => Buffer.from(value, "utf8"));
  return (bytes, start, length) => {
    for (const value of permitted)
      if (value.length === length && value.compare(bytes, start, start + length) === 0) return;
    throw new StorageError("E_CHECK", `${field} must be one of ${values.join(", ")}`, { field });
  };
}

function boundsCheck(field: Field): ValueCheck {
  const { name, min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = field;
  const { toNumber } = codecOf(field);
  if (toNumber === undefined) throw new Error(`${name} has bounds, and is no number`);
  const bounds = [
    ...(Number.isFinite(min) ? [`at least ${min}`] : []),
    ...(Number.isFinite(max) ? [`at most ${max}`] : []),
  ];
  return (bytes, start) => {
    const value = toNumber(bytes, start);
    if (value < min || value > max)
      throw new StorageError("E_CHECK", `${name} must be ${bounds.join(" and ")}`, { field: name });
  };
}

/** Compares two big-endian signed int64 in `bytes`: negative, 0 or positive. */
function compareInt64(bytes: Buffer, left: number, right: number): number {
  return (
    bytes.readInt32BE(left) - bytes.readInt32BE(right) || bytes.readUInt32BE(left + 4) - bytes.readUInt32BE(right + 4)
  );
}
