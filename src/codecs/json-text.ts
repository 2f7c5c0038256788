/** The json field type. It is carried as text: never parsed into JavaScript numbers and printed again. */
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { type Codec, fieldTypeError, sqliteType } from "./codec.js";
import { findByte } from "./find-byte.js";
import { scanJson } from "./json/json-scan.js";
import { parseJson } from "./json-values.js";
import { writeUtf8 } from "./sqlite-text.js";

/** Appends valid JSON text without its line breaks: raw ones stand only between tokens. */
export function copyWithoutLineBreaks(source: Buffer, start: number, end: number, out: ByteWriter): void {
  // For short texts the loop below is faster than two searches and a copy.
  const isLong = end - start > 256;
  if (isLong && findByte(source, 0x0a, start, end) === -1 && findByte(source, 0x0d, start, end) === -1) {
    out.copy(source, start, end);
    return;
  }
  out.ensure(end - start);
  const target = out.bytes;
  let at = out.length;
  for (let i = start; i < end; i++) {
    const byte = source[i] as number;
    if (byte !== 0x0a && byte !== 0x0d) target[at++] = byte;
  }
  out.length = at;
}

/**
 * Throws E_NUL_CHARACTER or E_LONE_SURROGATE when a string in the valid JSON text escapes one: PostgreSQL's jsonb holds
 * neither.
 */
export function refuseUnstorableEscapes(source: Buffer, start: number, end: number): void {
  let high = -1; // end of a high surrogate's escape that still waits for its low one
  for (let i = findByte(source, 0x5c, start, end); i !== -1; i = findByte(source, 0x5c, i, end)) {
    if (source[i + 1] !== 0x75) {
      i += 2;
      continue;
    }
    if (high !== -1 && i !== high) throw loneSurrogate();
    const unit = Number.parseInt(source.toString("latin1", i + 2, i + 6), 16);
    i += 6;
    const isLow = unit >= 0xdc00 && unit <= 0xdfff;
    if (unit === 0) throw new StorageError("E_NUL_CHARACTER", "the json holds \\u0000");
    if (isLow !== (high !== -1)) throw loneSurrogate();
    high = unit >= 0xd800 && unit <= 0xdbff ? i : -1;
  }
  if (high !== -1) throw loneSurrogate();
}

function loneSurrogate(): StorageError {
  return new StorageError("E_LONE_SURROGATE", "the json holds the escape of a lone surrogate");
}

/** SQLite's JSON functions, and so the indexes on json_extract, refuse deeper text (JSON_MAX_DEPTH in src/json.c). */
export const JSON_MAX_DEPTH = 1000;

/** Levels of arrays and objects in valid JSON text. */
export function jsonDepth(text: Buffer): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const byte = text[i];
    if (inString) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x5b || byte === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return deepest;
}

function requireJson(text: string): void {
  try {
    JSON.parse(text);
  } catch {
    // The parser's own message quotes the value.
    throw invalidJson();
  }
}

function invalidJson(): StorageError {
  return new StorageError("E_INVALID_JSON", "the text is not valid JSON");
}

/** The jsonb wire format's version byte. */
const JSONB_VERSION = 1;

export const jsonCodec: Codec = {
  postgres: { types: ["jsonb"], text: "jsonb" },
  sqlite: "text",
  hasNull: true,
  lazy: true,
  fromToken(_field, source, start, end, out) {
    copyWithoutLineBreaks(source, start, end, out);
  },
  toToken(_field, source, start, length, out) {
    copyWithoutLineBreaks(source, start, start + length, out);
  },
  fromWire(_field, source, start, length, out) {
    if (source[start] !== JSONB_VERSION) throw fieldTypeError("jsonb of version 1", `version ${source[start]}`);
    out.copy(source, start + 1, start + length);
  },
  toWire(_field, source, start, length, out) {
    refuseUnstorableEscapes(source, start, start + length);
    out.int32(length + 1);
    out.byte(JSONB_VERSION);
    out.copy(source, start, start + length);
  },
  fromSqlite(_field, value, out) {
    if (typeof value !== "string") throw fieldTypeError("TEXT", sqliteType(value));
    if (!value.isWellFormed()) {
      requireJson(value);
      throw new StorageError("E_INVALID_UTF8", "the text is not valid UTF-8");
    }
    const start = out.length;
    writeUtf8(value, out);
    const scanned = scanJson(out.bytes, start, out.length);
    if (scanned === "json") return;
    if (scanned === undefined) {
      out.length = start;
      throw invalidJson();
    }
    const bytes = Buffer.from(out.bytes.subarray(start, out.length));
    out.length = start;
    copyWithoutLineBreaks(bytes, 0, bytes.length, out);
  },
  toSqlite(_field, source, start, length) {
    return source.toString("utf8", start, start + length);
  },
  toParam(source, start, length) {
    return source.toString("utf8", start, start + length);
  },
  toValue(source, start, length) {
    return parseJson(source.toString("utf8", start, start + length));
  },
};
