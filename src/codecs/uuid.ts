/**
 * Ids. Canonical form: the 16 bytes of a UUID, or, where the id is kept as text, TEXT_AT zeros and the text in UTF-8, which
 * is longer whatever the text. A UUID in its usual spelling (lower case, hyphens) has the first form always, and no other
 * spelling of a field that applications choose (Field.chosen) has: so equal bytes are equal ids in SQLite and in documents.
 */
import { createHash } from "node:crypto";
import type { Field } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { type Codec, fieldTypeError, parseStringToken, sqliteType } from "./codec.js";
import { writeUtf8 } from "./sqlite-text.js";
import { writeStringToken } from "./text.js";

const HYPHENATED = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const BARE = /^[0-9a-f]{32}$/i;

/** The 32 hex digits of a UUID in one of the spellings that are read (hyphenated or bare, any case), else undefined. */
export function uuidDigits(text: string): string | undefined {
  if (text.length === 36 && HYPHENATED.test(text)) return text.replaceAll("-", "");
  return text.length === 32 && BARE.test(text) ? text : undefined;
}

function requireUuid(text: string): string {
  const digits = uuidDigits(text);
  if (digits === undefined) throw new StorageError("E_INVALID_UUID", "the value is not a UUID");
  return digits;
}

/** Lower-case and hyphenated, of the 16 bytes at `start`. */
export function formatUuid(source: Buffer, start: number): string {
  const hex = source.toString("hex", start, start + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The namespace of derived UUIDs: 8c6a2b1e-5d3f-4a7c-9e10-6b5f0d2c4a38. Fixed for ever. */
const DERIVED_NAMESPACE = Buffer.from("8c6a2b1e5d3f4a7c9e106b5f0d2c4a38", "hex");

/**
 * The 16 bytes that stand for free text in a UUID field (`--invalid-uuid derive`): UUIDv5 (RFC 9562, section 5.5) of the
 * text's UTF-8 bytes in a namespace of our own, so the same text gives the same UUID wherever it stands.
 */
export function deriveUuid(text: string): Buffer {
  const bytes = createHash("sha1").update(DERIVED_NAMESPACE).update(text, "utf8").digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x50;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  return bytes;
}

/** `{id}:{sequence}:{content_hash}` (Field.beginsWith) with another id; undefined where the text has not that form, or `change` gives none. */
export function withLeadingId(text: string, change: (id: string) => string | undefined): string | undefined {
  const [, id, rest] = /^(.*)(:\d+:[^:]*)$/s.exec(text) ?? [];
  const changed = id === undefined ? undefined : change(id);
  return changed === undefined ? undefined : changed + rest;
}

/** Bytes of a UUID in canonical form. */
const UUID_BYTES = 16;
/** Where the text of an id that is kept as text begins. */
const TEXT_AT = UUID_BYTES + 1;

/** Whether the canonical value is an id that is kept as text: free text, or another spelling of a UUID than the usual one. */
export function isIdText(length: number): boolean {
  return length > UUID_BYTES;
}

/** The canonical id as SQLite and documents have it. */
export function idText(source: Buffer, start: number, length: number): string {
  if (!isIdText(length)) return formatUuid(source, start);
  return source.toString("utf8", start + TEXT_AT, start + length);
}

/** Appends the canonical bytes of an id in whatever spelling. */
export function writeId(field: Field, text: string, out: ByteWriter): void {
  if (text.length === 36 && writeHyphenatedText(text, out, field.chosen ? LOWER_DIGIT : DIGIT)) return;
  const digits = field.chosen ? undefined : uuidDigits(text);
  if (digits !== undefined) {
    out.ensure(UUID_BYTES);
    out.length += out.bytes.write(digits, out.length, UUID_BYTES, "hex");
    return;
  }
  out.ensure(TEXT_AT);
  out.bytes.fill(0, out.length, out.length + TEXT_AT);
  out.length += TEXT_AT;
  writeUtf8(text, out);
}

const HEX = Buffer.from("0123456789abcdef", "latin1");

/** The value of each hex digit; 255 for other bytes. */
const LOWER_DIGIT = new Uint8Array(256).fill(255);
for (let i = 0; i < 16; i++) LOWER_DIGIT[HEX[i] as number] = i;
/** The same, capitals too. */
const DIGIT = Uint8Array.from(LOWER_DIGIT);
for (let i = 10; i < 16; i++) DIGIT[i.toString(16).toUpperCase().charCodeAt(0)] = i;

/** Appends the UUID whose hyphenated spelling begins at `start`; false (and nothing is appended) when it does not. */
function writeHyphenated(source: Buffer, start: number, out: ByteWriter, values: Uint8Array): boolean {
  out.ensure(16);
  const target = out.bytes;
  let at = out.length;
  let i = start;
  for (let byte = 0; byte < 16; byte++) {
    if (byte === 4 || byte === 6 || byte === 8 || byte === 10) if (source[i++] !== 0x2d) return false;
    const high = values[source[i++] as number] as number;
    const low = values[source[i++] as number] as number;
    if ((high | low) > 15) return false;
    target[at++] = (high << 4) | low;
  }
  out.length = at;
  return true;
}

/** The same of a string. */
function writeHyphenatedText(text: string, out: ByteWriter, values: Uint8Array): boolean {
  out.ensure(16);
  const target = out.bytes;
  let at = out.length;
  let i = 0;
  for (let byte = 0; byte < 16; byte++) {
    if (byte === 4 || byte === 6 || byte === 8 || byte === 10) if (text.charCodeAt(i++) !== 0x2d) return false;
    const high = values[text.charCodeAt(i++)] ?? 255;
    const low = values[text.charCodeAt(i++)] ?? 255;
    if ((high | low) > 15) return false;
    target[at++] = (high << 4) | low;
  }
  out.length = at;
  return true;
}

export const uuidCodec: Codec = {
  postgres: { types: ["uuid"], cast: "uuid" },
  sqlite: "id",
  fromToken(field, source, start, end, out) {
    const values = field.chosen ? LOWER_DIGIT : DIGIT;
    if (end - start === 38 && source[start] === 0x22 && writeHyphenated(source, start + 1, out, values)) return;
    writeId(field, parseStringToken(source, start, end), out);
  },
  toToken(_field, source, start, length, out) {
    if (isIdText(length)) {
      writeStringToken(source, start + TEXT_AT, start + length, out);
      return;
    }
    out.ensure(38);
    const target = out.bytes;
    let at = out.length;
    target[at++] = 0x22;
    for (let i = 0; i < 16; i++) {
      if (i === 4 || i === 6 || i === 8 || i === 10) target[at++] = 0x2d;
      const byte = source[start + i] as number;
      target[at++] = HEX[byte >> 4] as number;
      target[at++] = HEX[byte & 15] as number;
    }
    target[at++] = 0x22;
    out.length = at;
  },
  fromWire(_field, source, start, length, out) {
    if (length !== 16) throw fieldTypeError("uuid", `a value of ${length} bytes`);
    out.copy(source, start, start + 16);
  },
  toWire(_field, source, start, length, out) {
    if (!isIdText(length)) {
      out.int32(UUID_BYTES);
      out.copy(source, start, start + UUID_BYTES);
      return;
    }
    const digits = requireUuid(idText(source, start, length));
    out.int32(UUID_BYTES);
    out.ensure(UUID_BYTES);
    out.length += out.bytes.write(digits, out.length, UUID_BYTES, "hex");
  },
  fromSqlite(field, value, out) {
    if (typeof value !== "string") throw fieldTypeError("TEXT", sqliteType(value));
    writeId(field, value, out);
  },
  toSqlite(_field, source, start, length) {
    return idText(source, start, length);
  },
  toParam: idText,
  toValue: idText,
  toName: idText,
};
