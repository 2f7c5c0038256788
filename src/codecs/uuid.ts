import { createHash } from "node:crypto";
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { type Codec, fieldTypeError, parseStringToken, sqliteType } from "./codec.js";

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

const HEX = Buffer.from("0123456789abcdef", "latin1");

/** The value of each hex digit; 255 for other bytes. */
const DIGIT = new Uint8Array(256).fill(255);
for (let i = 0; i < 16; i++) {
  DIGIT[HEX[i] as number] = i;
  DIGIT[i.toString(16).toUpperCase().charCodeAt(0)] = i;
}

/** Appends the UUID whose hyphenated spelling begins at `start`; false (and nothing is appended) when it does not. */
function writeHyphenated(source: Buffer, start: number, out: ByteWriter): boolean {
  out.ensure(16);
  const target = out.bytes;
  let at = out.length;
  let i = start;
  for (let byte = 0; byte < 16; byte++) {
    if (byte === 4 || byte === 6 || byte === 8 || byte === 10) if (source[i++] !== 0x2d) return false;
    const high = DIGIT[source[i++] as number] as number;
    const low = DIGIT[source[i++] as number] as number;
    if ((high | low) > 15) return false;
    target[at++] = (high << 4) | low;
  }
  out.length = at;
  return true;
}

/** The same of a string. */
function writeHyphenatedText(text: string, out: ByteWriter): boolean {
  out.ensure(16);
  const target = out.bytes;
  let at = out.length;
  let i = 0;
  for (let byte = 0; byte < 16; byte++) {
    if (byte === 4 || byte === 6 || byte === 8 || byte === 10) if (text.charCodeAt(i++) !== 0x2d) return false;
    const high = DIGIT[text.charCodeAt(i++)] ?? 255;
    const low = DIGIT[text.charCodeAt(i++)] ?? 255;
    if ((high | low) > 15) return false;
    target[at++] = (high << 4) | low;
  }
  out.length = at;
  return true;
}

export const uuidCodec: Codec = {
  fromToken(_field, source, start, end, out) {
    if (end - start === 38 && source[start] === 0x22 && writeHyphenated(source, start + 1, out)) return;
    const digits = requireUuid(parseStringToken(source, start, end));
    out.ensure(16);
    out.length += out.bytes.write(digits, out.length, 16, "hex");
  },
  toToken(_field, source, start, _length, out) {
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
    out.int32(length);
    out.copy(source, start, start + length);
  },
  fromSqlite(_field, value, out) {
    if (typeof value !== "string") throw fieldTypeError("TEXT", sqliteType(value));
    if (value.length === 36 && writeHyphenatedText(value, out)) return;
    const digits = requireUuid(value);
    out.ensure(16);
    out.length += out.bytes.write(digits, out.length, 16, "hex");
  },
  toSqlite(_field, source, start) {
    return formatUuid(source, start);
  },
};
