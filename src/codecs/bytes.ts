import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { type Codec, fieldTypeError, parseStringToken, sqliteType, tokenType } from "./codec.js";
import { findByte } from "./find-byte.js";

export function invalidBase64(): StorageError {
  return new StorageError("E_INVALID_BASE64", "the value is not base64 (RFC 4648, padded)");
}

const ALPHABET = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "latin1");

/** The value of each character of the alphabet; 255 for other bytes. */
const SEXTET = new Uint8Array(256).fill(255);
for (const [value, byte] of ALPHABET.entries()) SEXTET[byte] = value;

/** Up to here a loop is faster than a call into native code. Characters. */
const SHORT = 128;

/** base64 goes through strings of so many characters: longer ones are slower, and garbage that is collected late. */
const PIECE = 32768;

/** decodeBase64 for short texts; the length is a multiple of four, `padding` the number of `=` at the end. */
function decodeShort(source: Buffer, start: number, end: number, padding: number, out: ByteWriter): void {
  const length = ((end - start) / 4) * 3;
  out.ensure(length);
  const target = out.bytes;
  let at = out.length;
  let invalid = 0;
  for (let i = start; i < end; i += 4) {
    const isLast = i + 4 === end;
    const a = SEXTET[source[i] as number] as number;
    const b = SEXTET[source[i + 1] as number] as number;
    const c = isLast && padding > 1 ? 0 : (SEXTET[source[i + 2] as number] as number);
    const d = isLast && padding > 0 ? 0 : (SEXTET[source[i + 3] as number] as number);
    invalid |= a | b | c | d;
    target[at] = (a << 2) | (b >> 4);
    target[at + 1] = (b << 4) | (c >> 2);
    target[at + 2] = (c << 6) | d;
    at += 3;
  }
  if (invalid > 63) throw invalidBase64();
  out.length += length - padding;
}

/** Appends the bytes of the base64 text `source[start, end)` (padded, no line breaks). */
export function decodeBase64(source: Buffer, start: number, end: number, out: ByteWriter): void {
  const length = end - start;
  if (length === 0) return;
  if (length % 4 !== 0) throw invalidBase64();
  const padding = source[end - 1] !== 0x3d ? 0 : source[end - 2] !== 0x3d ? 1 : 2;
  if (length <= SHORT) {
    decodeShort(source, start, end, padding, out);
    return;
  }
  const expected = (length / 4) * 3 - padding;
  // Node also takes the URL-safe alphabet, and stops at or skips whatever else it does not know.
  if (findByte(source, 0x2d, start, end) !== -1 || findByte(source, 0x5f, start, end) !== -1) throw invalidBase64();
  out.ensure(expected + 3);
  const from = out.length;
  for (let at = start; at < end; at += PIECE) {
    const piece = source.toString("latin1", at, Math.min(end, at + PIECE));
    out.length += out.bytes.write(piece, out.length, "base64");
  }
  if (out.length - from !== expected) throw invalidBase64();
}

/** Appends `source[start, end)` as base64, without quotation marks. */
export function encodeBase64(source: Buffer, start: number, end: number, out: ByteWriter): void {
  out.ensure(Math.ceil((end - start) / 3) * 4);
  const step = (PIECE / 4) * 3;
  for (let at = start; at < end; at += step) out.latin1(source.toString("base64", at, Math.min(end, at + step)));
}

/** The body of a string token as bytes: in place, or a new buffer where the token has escapes (`\/`). */
export function stringBody(source: Buffer, start: number, end: number): { bytes: Buffer; start: number; end: number } {
  if (source[start] !== 0x22) throw fieldTypeError("a string", tokenType(source, start));
  if (findByte(source, 0x5c, start, end) === -1) return { bytes: source, start: start + 1, end: end - 1 };
  const bytes = Buffer.from(parseStringToken(source, start, end), "utf8");
  return { bytes, start: 0, end: bytes.length };
}

export const bytesCodec: Codec = {
  postgres: { types: ["bytea"] },
  sqlite: "blob",
  lazy: true,
  fromToken(_field, source, start, end, out) {
    const body = stringBody(source, start, end);
    decodeBase64(body.bytes, body.start, body.end, out);
  },
  toToken(_field, source, start, length, out) {
    out.byte(0x22);
    encodeBase64(source, start, start + length, out);
    out.byte(0x22);
  },
  fromWire(_field, source, start, length, out) {
    out.copy(source, start, start + length);
  },
  toWire(_field, source, start, length, out) {
    out.int32(length);
    out.copy(source, start, start + length);
  },
  fromSqlite(_field, value, out) {
    if (!Buffer.isBuffer(value)) throw fieldTypeError("BLOB", sqliteType(value));
    out.copy(value, 0, value.length);
  },
  toSqlite(_field, source, start, length) {
    return source.subarray(start, start + length);
  },
  toParam(source, start, length) {
    return source.subarray(start, start + length);
  },
  toValue(source, start, length) {
    return Buffer.from(source.subarray(start, start + length));
  },
};
