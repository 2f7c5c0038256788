/** What jsonb cannot hold of valid JSON, beside the escapes (codecs/json-text.ts). */
import { jsonDepth } from "../../codecs/json-text.js";
import { StorageError } from "../../errors.js";

/** Levels that the server's parser takes with max_stack_depth as it is installed (2 MB); some 14,000 of arrays alone. */
export const POSTGRES_JSON_DEPTH = 13000;
/** numeric: digits before the point, and behind it. */
const INTEGER_DIGITS = 131072;
const SCALE = 16383;
/** An exponent from here on is refused whatever it stands behind. */
const EXPONENT = 1073741823;
/** A string of jsonb, or all that is in one container. Bytes. */
const CONTAINER_BYTES = 0x0fffffff;
/** Fewer digits than these are within numeric, with an exponent of up to three digits. */
const PLAIN_DIGITS = 15000;

/** E_OUT_OF_RANGE: a number that numeric cannot hold. E_TARGET_LIMIT: nested too deep, or too long. */
export function refuseUnstorableJson(source: Buffer, start: number, end: number): void {
  const length = end - start;
  if (length > CONTAINER_BYTES) throw new StorageError("E_TARGET_LIMIT", "a limit of PostgreSQL is exceeded");
  if (length > 2 * POSTGRES_JSON_DEPTH && jsonDepth(source.subarray(start, end)) > POSTGRES_JSON_DEPTH)
    throw new StorageError("E_TARGET_LIMIT", "the value is nested too deep for PostgreSQL");
  if (length > PLAIN_DIGITS || hasLongExponent(source, start, end)) refuseNumbers(source, start, end);
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/** A digit, `e`, perhaps a sign, and four digits: in a string, too. */
function hasLongExponent(source: Buffer, start: number, end: number): boolean {
  for (let i = start + 1; i < end - 4; i++) {
    if (((source[i] as number) | 0x20) !== 0x65 || !isDigit(source[i - 1])) continue;
    const from = source[i + 1] === 0x2b || source[i + 1] === 0x2d ? i + 2 : i + 1;
    if (isDigit(source[from]) && isDigit(source[from + 1]) && isDigit(source[from + 2]) && isDigit(source[from + 3]))
      return true;
  }
  return false;
}

function refuseNumbers(source: Buffer, start: number, end: number): void {
  for (let i = start; i < end; i++) {
    const byte = source[i] as number;
    if (byte === 0x22) {
      for (i++; source[i] !== 0x22; i++) if (source[i] === 0x5c) i++;
    } else if (byte === 0x2d || isDigit(byte)) {
      const from = i;
      while (i < end && isOfNumber(source[i] as number)) i++;
      if (!isNumeric(source, from, i)) throw new StorageError("E_OUT_OF_RANGE", "the number is out of range");
      i--;
    }
  }
}

/** A digit, a sign, a point, `e` or `E`. */
function isOfNumber(byte: number): boolean {
  return isDigit(byte) || byte === 0x2e || byte === 0x2d || byte === 0x2b || (byte | 0x20) === 0x65;
}

/** As numeric_in has it: leading zeros do not count, those behind the point do, and of 0 no digits before it. */
function isNumeric(source: Buffer, start: number, end: number): boolean {
  let exponentAt = start;
  while (exponentAt < end && ((source[exponentAt] as number) | 0x20) !== 0x65) exponentAt++;
  let point = exponentAt;
  let first = -1;
  for (let i = start; i < exponentAt; i++) {
    const byte = source[i] as number;
    if (byte === 0x2e) point = i;
    else if (first === -1 && byte > 0x30 && byte <= 0x39) first = i;
  }
  const exponent = exponentAt < end ? Number(source.toString("latin1", exponentAt + 1, end)) : 0;
  if (Math.abs(exponent) >= EXPONENT) return false;
  const scale = (point < exponentAt ? exponentAt - point - 1 : 0) - exponent;
  if (scale > SCALE) return false;
  if (first === -1) return true;
  // Digits of the number as written out, before its point.
  const digits = first < point ? point - first : point - first + 1;
  return digits + exponent <= INTEGER_DIGITS;
}
