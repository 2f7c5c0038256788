import { isUtf8 } from "node:buffer";
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { type Codec, fieldTypeError, sqliteType, tokenType } from "./codec.js";

type Elements = readonly (string | null)[];

const TEXT_OID = 25;

/** A flat list of strings and nulls from JSON text; undefined for any other JSON. */
function parseElements(json: string): Elements | undefined {
  const value: unknown = JSON.parse(json);
  if (!Array.isArray(value)) return undefined;
  return value.every((element) => element === null || typeof element === "string") ? value : undefined;
}

function notFlat(): StorageError {
  return fieldTypeError("a flat array of strings and nulls", "something else");
}

function writeElements(elements: Elements, out: ByteWriter): void {
  if (elements.some((element) => element !== null && !element.isWellFormed()))
    throw new StorageError("E_INVALID_UTF8", "an element holds a lone surrogate");
  out.utf8(JSON.stringify(elements));
}

export const textArrayCodec: Codec = {
  postgres: { types: ["_text", "_varchar"], text: "text[]" },
  sqlite: "text",
  lazy: true,
  fromToken(_field, source, start, end, out) {
    if (source[start] !== 0x5b) throw fieldTypeError("an array", tokenType(source, start));
    const elements = parseElements(source.toString("utf8", start, end));
    if (elements === undefined) throw notFlat();
    writeElements(elements, out);
  },
  toToken(_field, source, start, length, out) {
    out.copy(source, start, start + length);
  },
  /** int32 ndim, flags, element oid, then per dimension (length, lower bound), then per element int32 length + bytes. */
  fromWire(_field, source, start, _length, out) {
    const dimensions = source.readInt32BE(start);
    if (dimensions === 0) {
      out.latin1("[]");
      return;
    }
    if (dimensions !== 1) throw fieldTypeError("a one-dimensional array", `${dimensions} dimensions`);
    if (source.readInt32BE(start + 16) !== 1) throw fieldTypeError("an array that begins at 1", "a shifted array");
    const elements: (string | null)[] = [];
    let at = start + 20;
    for (let left = source.readInt32BE(start + 12); left > 0; left--) {
      const length = source.readInt32BE(at);
      at += 4;
      const element = length === -1 ? null : source.toString("utf8", at, at + length);
      // A server whose encoding is SQL_ASCII does not know what it holds.
      if (element?.includes("\ufffd") === true && !isUtf8(source.subarray(at, at + length)))
        throw new StorageError("E_INVALID_UTF8", "an element is not valid UTF-8");
      elements.push(element);
      if (length > 0) at += length;
    }
    out.utf8(JSON.stringify(elements));
  },
  toWire(_field, source, start, length, out) {
    const elements = JSON.parse(source.toString("utf8", start, start + length)) as Elements;
    const lengthAt = out.length;
    out.int32(0);
    out.int32(elements.length === 0 ? 0 : 1);
    out.int32(elements.includes(null) ? 1 : 0);
    out.int32(TEXT_OID);
    if (elements.length > 0) {
      out.int32(elements.length);
      out.int32(1);
    }
    for (const element of elements) {
      if (element === null) {
        out.int32(-1);
        continue;
      }
      if (element.includes("\0")) throw new StorageError("E_NUL_CHARACTER", "an element holds U+0000");
      const at = out.length;
      out.int32(0);
      out.utf8(element);
      out.bytes.writeInt32BE(out.length - at - 4, at);
    }
    out.bytes.writeInt32BE(out.length - lengthAt - 4, lengthAt);
  },
  fromSqlite(_field, value, out) {
    if (typeof value !== "string") throw fieldTypeError("TEXT", sqliteType(value));
    let elements: Elements | undefined;
    try {
      elements = parseElements(value);
    } catch {
      throw new StorageError("E_INVALID_JSON", "the text is not valid JSON");
    }
    if (elements === undefined) throw notFlat();
    writeElements(elements, out);
  },
  toSqlite(_field, source, start, length) {
    return source.toString("utf8", start, start + length);
  },
  toParam(source, start, length) {
    return source.toString("utf8", start, start + length);
  },
  toValue(source, start, length) {
    return JSON.parse(source.toString("utf8", start, start + length));
  },
};
