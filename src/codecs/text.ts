import type { Field } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { type Codec, fieldTypeError, parseStringToken, sqliteType, tokenType } from "./codec.js";
import { findByte } from "./find-byte.js";
import { writeUtf8 } from "./sqlite-text.js";

/** 1 for bytes that JSON escapes: controls, quotation mark, backslash. */
const ESCAPED = new Uint8Array(256);
ESCAPED.fill(1, 0, 0x20);
ESCAPED[0x22] = 1;
ESCAPED[0x5c] = 1;

const SHORT_ESCAPE: Readonly<Record<number, string>> = {
  8: "\\b",
  9: "\\t",
  10: "\\n",
  12: "\\f",
  13: "\\r",
  34: '\\"',
  92: "\\\\",
};

/** Appends `source[start, end)` (valid UTF-8) as a JSON string token. */
export function writeStringToken(source: Buffer, start: number, end: number, out: ByteWriter): void {
  out.byte(0x22);
  let from = start;
  for (let i = start; i < end; i++) {
    const byte = source[i] as number;
    if (ESCAPED[byte] === 0) continue;
    out.copy(source, from, i);
    out.latin1(SHORT_ESCAPE[byte] ?? `\\u${byte.toString(16).padStart(4, "0")}`);
    from = i + 1;
  }
  out.copy(source, from, end);
  out.byte(0x22);
}

/** Code points in `source[start, end)`: bytes that do not continue a sequence. */
export function codePoints(source: Buffer, start: number, end: number): number {
  let count = 0;
  for (let i = start; i < end; i++) if (((source[i] as number) & 0xc0) !== 0x80) count++;
  return count;
}

/** E_NUL_CHARACTER, E_TOO_LONG: what PostgreSQL cannot hold, or would cut. */
export function refuseUnstorableText(field: Field, source: Buffer, start: number, end: number): void {
  if (findByte(source, 0, start, end) !== -1) throw new StorageError("E_NUL_CHARACTER", "the text holds U+0000");
  const { maxLength } = field;
  if (maxLength !== undefined && end - start > maxLength && codePoints(source, start, end) > maxLength)
    throw new StorageError("E_TOO_LONG", `the text is longer than ${maxLength} characters`);
}

function utf8(source: Buffer, start: number, length: number): string {
  return source.toString("utf8", start, start + length);
}

export const textCodec: Codec = {
  postgres: { types: ["varchar", "text"], text: "text", collated: true },
  sqlite: "text",
  fromToken(_field, source, start, end, out) {
    if (source[start] !== 0x22) throw fieldTypeError("a string", tokenType(source, start));
    if (findByte(source, 0x5c, start, end) === -1) out.copy(source, start + 1, end - 1);
    else out.utf8(parseStringToken(source, start, end));
  },
  toToken(_field, source, start, length, out) {
    writeStringToken(source, start, start + length, out);
  },
  fromWire(_field, source, start, length, out) {
    out.copy(source, start, start + length);
  },
  toWire(field, source, start, length, out) {
    refuseUnstorableText(field, source, start, start + length);
    out.int32(length);
    out.copy(source, start, start + length);
  },
  fromSqlite(_field, value, out) {
    if (typeof value !== "string") throw fieldTypeError("TEXT", sqliteType(value));
    writeUtf8(value, out);
  },
  toSqlite(_field, source, start, length) {
    return source.toString("utf8", start, start + length);
  },
  toParam: utf8,
  toValue: utf8,
  toJson: utf8,
  toName: utf8,
};
