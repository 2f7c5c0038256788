/** int4, int8 and bool: fixed-width values, big-endian in canonical and wire form. */
import type { Field } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { type Codec, fieldTypeError, sqliteType, tokenType } from "./codec.js";

export const INT64_MIN = -(2n ** 63n);
export const INT64_MAX = 2n ** 63n - 1n;
const INT4_MIN = -(2 ** 31);
const INT4_MAX = 2 ** 31 - 1;

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/**
 * The exact integer of a JSON number token; jq writes large ones as 9.2e+18. E_FIELD_TYPE when it is no number or no
 * integer, E_OUT_OF_RANGE when it has more than 40 digits.
 */
export function parseIntegerToken(source: Buffer, start: number, end: number): bigint {
  const first = source[start] as number;
  if (first !== 0x2d && (first < 0x30 || first > 0x39)) throw fieldTypeError("an integer", tokenType(source, start));
  const match = NUMBER.exec(source.toString("latin1", start, end));
  if (match === null) throw fieldTypeError("an integer", "a number");
  const [, sign, whole = "", fraction = "", exponent] = match;
  if (fraction === "" && exponent === undefined && whole.length < 41) return BigInt(sign + whole);
  const digits = (whole + fraction).replace(/^0+/, "");
  if (digits === "") return 0n;
  const scale = Number(exponent ?? "0") - fraction.length;
  if (digits.length + scale > 40) throw new StorageError("E_OUT_OF_RANGE", "the number is out of range");
  const dropped = scale < 0 ? -scale : 0;
  if (!/^0*$/.test(digits.slice(Math.max(0, digits.length - dropped))) || dropped >= digits.length)
    throw fieldTypeError("an integer", "a fraction");
  const kept = digits.slice(0, digits.length - dropped) + "0".repeat(Math.max(0, scale));
  return BigInt(sign + kept);
}

/** An integer token on bytes, when it is short and within ±2^53; else NaN (parseIntegerToken reads the others). */
export function parseSmallInteger(source: Buffer, start: number, end: number): number {
  const negative = source[start] === 0x2d;
  const from = negative ? start + 1 : start;
  if (end - from > 16 || end === from) return Number.NaN;
  let value = 0;
  for (let i = from; i < end; i++) {
    const digit = (source[i] as number) - 0x30;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  if (value > Number.MAX_SAFE_INTEGER) return Number.NaN;
  return negative ? 0 - value : value;
}

function checkInt4(value: number | bigint): number {
  if (value < INT4_MIN || value > INT4_MAX)
    throw new StorageError("E_OUT_OF_RANGE", "the number is outside int4's range");
  return Number(value);
}

function checkInt8(value: bigint): bigint {
  if (value < INT64_MIN || value > INT64_MAX)
    throw new StorageError("E_OUT_OF_RANGE", "the number is outside int8's range");
  return value;
}

function copyFixed(width: number, type: string) {
  return (_field: Field, source: Buffer, start: number, length: number, out: ByteWriter): void => {
    if (length !== width) throw fieldTypeError(type, `a value of ${length} bytes`);
    out.copy(source, start, start + length);
  };
}

function copyWithLength(_field: Field, source: Buffer, start: number, length: number, out: ByteWriter): void {
  out.int32(length);
  out.copy(source, start, start + length);
}

function requireInteger(value: unknown, found: () => string): bigint {
  if (typeof value !== "bigint") throw fieldTypeError("INTEGER", found());
  return value;
}

/** Appends a Number that is a safe integer as int64. */
export function writeSafeInt64(value: number, out: ByteWriter): void {
  out.safeInt64(value);
}

/** Buffer.readInt32BE without its checks. */
function readInt32(source: Buffer, start: number): number {
  return (
    ((source[start] as number) << 24) |
    ((source[start + 1] as number) << 16) |
    ((source[start + 2] as number) << 8) |
    (source[start + 3] as number)
  );
}

/** The int64 at `start` as a Number, or NaN when it is beyond ±2^53. */
export function readSafeInt64(source: Buffer, start: number): number {
  const value = readInt32(source, start) * 4294967296 + (readInt32(source, start + 4) >>> 0);
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

function readInt4(source: Buffer, start: number): number {
  return source.readInt32BE(start);
}

/** A number where it is a safe integer. */
function readInt8(source: Buffer, start: number): number | bigint {
  const small = readSafeInt64(source, start);
  return Number.isNaN(small) ? source.readBigInt64BE(start) : small;
}

function writeFlag(flag: number, out: ByteWriter): void {
  if (flag !== 0 && flag !== 1) throw new StorageError("E_OUT_OF_RANGE", "a boolean is 0 or 1");
  out.byte(flag);
}

function isTrue(source: Buffer, start: number): boolean {
  return source[start] === 1;
}

export const int4Codec: Codec = {
  postgres: { types: ["int4"] },
  sqlite: "number",
  fromToken(_field, source, start, end, out) {
    const small = parseSmallInteger(source, start, end);
    out.int32(checkInt4(Number.isNaN(small) ? parseIntegerToken(source, start, end) : small));
  },
  toToken(_field, source, start, _length, out) {
    out.decimal(readInt32(source, start));
  },
  fromWire: copyFixed(4, "int4"),
  toWire: copyWithLength,
  fromSqlite(_field, value, out) {
    // A Number rounds what is outside of int4 only, and leaves it there.
    out.int32(checkInt4(Number(requireInteger(value, () => sqliteType(value)))));
  },
  fromInteger(value, out) {
    out.int32(checkInt4(value));
  },
  toSqlite(_field, source, start) {
    return BigInt(source.readInt32BE(start));
  },
  toParam: readInt4,
  toValue: readInt4,
  toJson: readInt4,
  toNumber: readInt4,
};

export const int8Codec: Codec = {
  postgres: { types: ["int8"] },
  sqlite: "number",
  fromToken(_field, source, start, end, out) {
    const small = parseSmallInteger(source, start, end);
    if (Number.isNaN(small)) out.int64(checkInt8(parseIntegerToken(source, start, end)));
    else out.safeInt64(small);
  },
  toToken(_field, source, start, _length, out) {
    const small = readSafeInt64(source, start);
    if (Number.isNaN(small)) out.latin1(source.readBigInt64BE(start).toString());
    else out.decimal(small);
  },
  fromWire: copyFixed(8, "int8"),
  toWire: copyWithLength,
  fromSqlite(_field, value, out) {
    out.int64(requireInteger(value, () => sqliteType(value)));
  },
  fromInteger(value, out) {
    out.safeInt64(value);
  },
  toSqlite(_field, source, start) {
    return source.readBigInt64BE(start);
  },
  toParam: readInt8,
  toValue: readInt8,
  toNumber: readInt8,
};

export const boolCodec: Codec = {
  postgres: { types: ["bool"] },
  sqlite: "number",
  fromToken(_field, source, start, _end, out) {
    if (source[start] === 0x74) out.byte(1);
    else if (source[start] === 0x66) out.byte(0);
    else throw fieldTypeError("a boolean", tokenType(source, start));
  },
  toToken(_field, source, start, _length, out) {
    out.latin1(source[start] === 1 ? "true" : "false");
  },
  fromWire: copyFixed(1, "boolean"),
  toWire: copyWithLength,
  fromSqlite(_field, value, out) {
    writeFlag(Number(requireInteger(value, () => sqliteType(value))), out);
  },
  fromInteger: writeFlag,
  toSqlite(_field, source, start) {
    return BigInt(source[start] as number);
  },
  toParam(source, start) {
    return BigInt(source[start] as number);
  },
  toValue: isTrue,
  toJson: isTrue,
};
