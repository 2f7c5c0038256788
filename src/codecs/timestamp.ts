/** Timestamps to and from JSON and both databases: canonical is PostgreSQL's own form, microseconds since 2000-01-01 UTC. */
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { type Codec, fieldTypeError, parseStringToken, sqliteType } from "./codec.js";
import { INT64_MAX, INT64_MIN, parseIntegerToken, parseSmallInteger, readSafeInt64 } from "./int64.js";

export const INFINITY = INT64_MAX;
export const MINUS_INFINITY = INT64_MIN;
/** llmspell's SQLite writes infinity as this many Unix seconds (2286-11-20T17:46:39Z). */
export const SQLITE_INFINITY = 9999999999n;

/** Microseconds from 1970-01-01 to 2000-01-01. */
export const UNIX_EPOCH_MICROSECONDS = 946684800000000n;
const EPOCH_SECONDS = 946684800n;
/** PostgreSQL's range: 4713-11-24 BC to 294276-12-31 (src/include/datatype/timestamp.h), exclusive end. */
const FIRST = -211813488000000000n;
const END = 9223371331200000000n;
const FIRST_HIGH = Number(FIRST >> 32n);
const END_HIGH = Number(END >> 32n);

/** Canonical microseconds of a count since the Unix epoch; E_OUT_OF_RANGE beyond PostgreSQL's range. */
function inRange(canonical: bigint): bigint {
  if (canonical < FIRST || canonical >= END)
    throw new StorageError("E_OUT_OF_RANGE", "the time is outside 4713 BC to 294276 AD");
  return canonical;
}

/** Whether the canonical int64 at `start` is a time that PostgreSQL holds: in its range, or an infinity. */
export function isTimestamp(source: Buffer, start: number): boolean {
  const high = source.readInt32BE(start);
  // The range's ends lie in these two words; all between is inside.
  if (high > FIRST_HIGH && high < END_HIGH) return true;
  const canonical = source.readBigInt64BE(start);
  return (canonical >= FIRST && canonical < END) || canonical === INFINITY || canonical === MINUS_INFINITY;
}

export function fromUnixMicroseconds(micros: bigint): bigint {
  return inRange(micros - UNIX_EPOCH_MICROSECONDS);
}

export function fromUnixSeconds(seconds: bigint): bigint {
  return inRange((seconds - EPOCH_SECONDS) * 1000000n);
}

/** The Unix seconds, floored, that SQLite's own column holds for a canonical time. */
export function toUnixSeconds(canonical: bigint): bigint {
  if (canonical === INFINITY) return SQLITE_INFINITY;
  if (canonical === MINUS_INFINITY) return -SQLITE_INFINITY;
  const quotient = canonical / 1000000n;
  return (canonical < 0n && quotient * 1000000n !== canonical ? quotient - 1n : quotient) + EPOCH_SECONDS;
}

/**
 * The canonical time of SQLite's visible seconds and the exact companion (undefined where there is none). The
 * companion counts while it still agrees with the seconds: an application's later edit wins.
 */
export function fromSqliteTime(seconds: bigint, exact: bigint | undefined): bigint {
  if (exact !== undefined && toUnixSeconds(exact) === seconds) return exact;
  if (seconds === SQLITE_INFINITY) return INFINITY;
  if (seconds === -SQLITE_INFINITY) return MINUS_INFINITY;
  return fromUnixSeconds(seconds);
}

/** A legacy document's seconds: 9999999999 and int64's maximum (also as jq rounds it to a double) mean infinity. */
function fromLegacySeconds(seconds: bigint): bigint {
  return seconds === SQLITE_INFINITY || Number(seconds) === 2 ** 63 ? INFINITY : fromUnixSeconds(seconds);
}

/** A legacy document's microseconds: the ends of int64 (also as jq rounds them) are the infinities. */
function fromLegacyMicroseconds(micros: bigint): bigint {
  if (Number(micros) === 2 ** 63) return INFINITY;
  return Number(micros) === -(2 ** 63) ? MINUS_INFINITY : fromUnixMicroseconds(micros);
}

/** The same as a Number; all that fits is within PostgreSQL's range. */
const SAFE_EPOCH = 946684800000000;

/** Inside of these neither SQLite's infinities nor what is no safe integer are found. */
const SAFE_SECONDS = 8e9;

function writeSeconds(seconds: number, out: ByteWriter): void {
  if (seconds > -SAFE_SECONDS && seconds < SAFE_SECONDS) out.safeInt64((seconds - SAFE_EPOCH / 1e6) * 1e6);
  else out.int64(fromSqliteTime(BigInt(seconds), undefined));
}

export const timestampCodec: Codec = {
  postgres: { types: ["timestamptz"] },
  sqlite: "time",
  fromToken(_field, source, start, end, out, dialect) {
    if (source[start] === 0x22) {
      const word = parseStringToken(source, start, end);
      if (word === "infinity") out.int64(INFINITY);
      else if (word === "-infinity") out.int64(MINUS_INFINITY);
      else throw fieldTypeError('an integer of microseconds, "infinity" or "-infinity"', "another string");
      return;
    }
    const small = parseSmallInteger(source, start, end) - SAFE_EPOCH;
    const { legacy, times = legacy ? "s" : "us" } = dialect;
    if (times === "us" && Number.isSafeInteger(small)) {
      out.safeInt64(small);
      return;
    }
    const value = parseIntegerToken(source, start, end);
    if (times === "s") out.int64(fromLegacySeconds(value));
    else out.int64(legacy ? fromLegacyMicroseconds(value) : fromUnixMicroseconds(value));
  },
  toToken(_field, source, start, _length, out) {
    const small = readSafeInt64(source, start) + SAFE_EPOCH;
    if (Number.isSafeInteger(small)) {
      out.decimal(small);
      return;
    }
    const canonical = source.readBigInt64BE(start);
    if (canonical === INFINITY) out.latin1('"infinity"');
    else if (canonical === MINUS_INFINITY) out.latin1('"-infinity"');
    else out.latin1((canonical + UNIX_EPOCH_MICROSECONDS).toString());
  },
  fromWire(_field, source, start, length, out) {
    if (length !== 8) throw fieldTypeError("timestamptz", `a value of ${length} bytes`);
    out.copy(source, start, start + 8);
  },
  toWire(_field, source, start, length, out) {
    out.int32(length);
    out.copy(source, start, start + length);
  },
  /** The seconds alone; with a companion see fromSqliteTime. */
  fromSqlite(_field, value, out) {
    if (typeof value !== "bigint") throw fieldTypeError("INTEGER", sqliteType(value));
    const seconds = Number(value);
    if (Number.isSafeInteger(seconds)) writeSeconds(seconds, out);
    else out.int64(fromSqliteTime(value, undefined));
  },
  fromInteger: writeSeconds,
  /** The seconds alone; the companion is the canonical int64 itself. */
  toSqlite(_field, source, start) {
    return toUnixSeconds(source.readBigInt64BE(start));
  },
  /** The seconds alone. */
  toParam(source, start) {
    return toUnixSeconds(source.readBigInt64BE(start));
  },
  toValue(source, start) {
    const canonical = source.readBigInt64BE(start);
    if (canonical === INFINITY) return "infinity";
    return canonical === MINUS_INFINITY ? "-infinity" : canonical + UNIX_EPOCH_MICROSECONDS;
  },
  toJson(source, start) {
    const micros = readSafeInt64(source, start) + SAFE_EPOCH;
    return Number.isSafeInteger(micros) ? micros : undefined;
  },
  check(source, start) {
    if (!isTimestamp(source, start))
      throw new StorageError("E_OUT_OF_RANGE", "the time is outside 4713 BC to 294276 AD");
  },
};
