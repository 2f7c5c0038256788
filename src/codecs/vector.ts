/** Vectors: canonical is raw little-endian float32, any bits. */
import type { Field } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { decodeBase64, encodeBase64, stringBody } from "./bytes.js";
import { type Codec, fieldTypeError, sqliteType, tokenType } from "./codec.js";

function dimensionOf(field: Field): number {
  return field.dimension as number;
}

function mismatch(expected: number, found: number): StorageError {
  return new StorageError("E_DIMENSION_MISMATCH", `Dimension mismatch: expected ${expected}, got ${found}`);
}

function unreadable(): StorageError {
  return new StorageError("E_INVALID_EMBEDDING", "the embedding is neither float32 bytes nor a JSON array of numbers");
}

/** The numbers of a JSON array's text, or undefined when it is no array of numbers. */
function parseNumbers(text: string): number[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return Array.isArray(value) && value.every((number) => typeof number === "number") ? value : undefined;
}

function writeNumbers(field: Field, numbers: readonly number[], out: ByteWriter): void {
  const dimension = dimensionOf(field);
  if (numbers.length !== dimension) throw mismatch(dimension, numbers.length);
  out.ensure(dimension * 4);
  for (const number of numbers) {
    if (!Number.isFinite(Math.fround(number)))
      throw new StorageError("E_INVALID_EMBEDDING", "a number of the embedding is out of float32's range");
    out.length = out.bytes.writeFloatLE(number, out.length);
  }
}

/**
 * Appends an embedding from bytes that are raw float32 or the text of a JSON array: what parses as an array of exactly
 * `dimension` numbers is that, otherwise the length decides (raw bytes may begin with '[').
 */
function writeStored(field: Field, bytes: Buffer, out: ByteWriter): void {
  const dimension = dimensionOf(field);
  if (bytes.length === 0) throw new StorageError("E_INVALID_EMBEDDING", "the embedding is empty");
  const numbers = bytes[0] === 0x5b ? parseNumbers(bytes.toString("utf8")) : undefined;
  if (numbers?.length === dimension) writeNumbers(field, numbers, out);
  else if (bytes.length === dimension * 4) out.copy(bytes, 0, bytes.length);
  else if (numbers !== undefined) throw mismatch(dimension, numbers.length);
  else if (bytes.length % 4 === 0) throw mismatch(dimension, bytes.length / 4);
  else throw unreadable();
}

/** float32 is finite unless all exponent bits are set. `start` is the first byte of little-endian data. */
export function requireFinite(source: Buffer, start: number, end: number): void {
  for (let i = start + 3; i < end; i += 4)
    if (((source[i] as number) & 0x7f) === 0x7f && ((source[i - 1] as number) & 0x80) !== 0)
      throw new StorageError("E_NOT_FINITE", "the embedding holds NaN or Infinity");
}

export const vectorCodec: Codec = {
  postgres: { types: ["vector"] },
  sqlite: "embedding",
  lazy: true,
  fromToken(field, source, start, end, out) {
    if (source[start] === 0x5b) {
      const numbers = parseNumbers(source.toString("latin1", start, end));
      if (numbers === undefined) throw unreadable();
      writeNumbers(field, numbers, out);
      return;
    }
    if (source[start] !== 0x22) throw fieldTypeError("base64 or an array of numbers", tokenType(source, start));
    const body = stringBody(source, start, end);
    if (body.bytes[body.start] === 0x5b) {
      writeStored(field, body.bytes.subarray(body.start, body.end), out);
      return;
    }
    const from = out.length;
    decodeBase64(body.bytes, body.start, body.end, out);
    if (out.length - from === dimensionOf(field) * 4 && out.bytes[from] !== 0x5b) return;
    const decoded = Buffer.from(out.bytes.subarray(from, out.length));
    out.length = from;
    writeStored(field, decoded, out);
  },
  toToken(_field, source, start, length, out) {
    out.byte(0x22);
    encodeBase64(source, start, start + length, out);
    out.byte(0x22);
  },
  /** pgvector: uint16 dimension, uint16 zero, big-endian float4 each. */
  fromWire(field, source, start, length, out) {
    const dimension = source.readUInt16BE(start);
    if (dimension !== field.dimension || length !== 4 + dimension * 4) throw mismatch(dimensionOf(field), dimension);
    out.copy(source, start + 4, start + length);
    out.bytes.subarray(out.length - dimension * 4, out.length).swap32();
  },
  toWire(_field, source, start, length, out) {
    requireFinite(source, start, start + length);
    out.int32(length + 4);
    out.ensure(length + 4);
    out.length = out.bytes.writeUInt16BE(length / 4, out.length);
    out.length = out.bytes.writeUInt16BE(0, out.length);
    out.copy(source, start, start + length);
    out.bytes.subarray(out.length - length, out.length).swap32();
  },
  fromSqlite(field, value, out) {
    if (Buffer.isBuffer(value)) writeStored(field, value, out);
    else if (typeof value === "string") writeStored(field, Buffer.from(value, "utf8"), out);
    else throw fieldTypeError("BLOB", sqliteType(value));
  },
  toSqlite(_field, source, start, length) {
    return source.subarray(start, start + length);
  },
  toParam(source, start, length) {
    return source.subarray(start, start + length);
  },
  toValue(source, start, length) {
    const vector = new Float32Array(length / 4);
    // Bit for bit: a NaN keeps its payload.
    const words = new Int32Array(vector.buffer);
    for (let at = 0; at < words.length; at++) words[at] = source.readInt32LE(start + at * 4);
    return vector;
  },
};
