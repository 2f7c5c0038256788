/** Records that a plugin gave back, as canonical bytes: what it did not touch keeps its own. */
import { isDeepStrictEqual } from "node:util";
import { derivedField, type Field, LARGE_VALUE_BYTES, type RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { codecOf } from "../../codecs/index.js";
import { parseJson, printJson } from "../../codecs/json-values.js";
import { StorageError } from "../../errors.js";
import { type BatchBuilder, LARGE_VALUE, type LargeValue, type RecordBatch } from "../../records/record-batch.js";
import { readFieldToken } from "../../records/record-json.js";
import type { PluginRecord } from "./definition.js";
import { LARGE_CONTENT, type Origin, UNREAD } from "./record-view.js";

/** A record whose values are slices of `scratch` of the encoder, or of the batch that it came from. */
export interface EncodedRecord {
  readonly kind: RecordKind;
  readonly values: (Slice | undefined)[];
  /** Fields that the record it came from does not hold, and that are what they were. */
  readonly assumed: number[];
  large?: LargeValue;
}

interface Slice {
  readonly source: "scratch" | "batch";
  readonly start: number;
  readonly length: number;
}

export class RecordEncoder {
  /** Emptied by the caller between records that were copied into a batch. */
  readonly scratch = new ByteWriter(4096);
  private readonly names = new Map<RecordKind, ReadonlySet<string>>();

  /** Throws an error whose message says what is wrong, with the field in its context. */
  encode(kind: RecordKind, record: PluginRecord, origin: Origin | undefined): EncodedRecord {
    const names = this.names.get(kind) ?? new Set(kind.fields.map(({ name }) => name));
    this.names.set(kind, names);
    for (const name of Object.keys(record))
      if (!names.has(name))
        throw new StorageError("E_FIELD_TYPE", `${kind.path} has no field ${name}`, { field: name });
    const same = origin?.batch.kind === kind ? origin : undefined;
    const encoded: EncodedRecord = { kind, values: [], assumed: [] };
    for (const [index, field] of kind.fields.entries()) {
      try {
        const slice = this.encodeField(encoded, index, field, record, same);
        encoded.values.push(slice);
        if (same?.batch.isAssumed(same.row, index) && this.isUnchanged(slice, same, index)) encoded.assumed.push(index);
      } catch (error) {
        const code = error instanceof StorageError ? error.code : "E_FIELD_TYPE";
        throw new StorageError(code, (error as Error).message, { field: field.name }, error);
      }
    }
    this.setDerived(encoded);
    return encoded;
  }

  /** Appends the record; the builder is empty where it has a LargeValue. */
  append({ kind, values, assumed, large }: EncodedRecord, batch: RecordBatch | undefined, builder: BatchBuilder): void {
    builder.begin();
    if (large !== undefined) builder.setLarge(large);
    for (const index of kind.fields.keys()) {
      const slice = values[index];
      if (slice === undefined) continue;
      const from = builder.arena.length;
      const bytes = slice.source === "scratch" ? this.scratch.bytes : (batch as RecordBatch).bytes;
      builder.arena.copy(bytes, slice.start, slice.start + slice.length);
      builder.set(index, from);
    }
    for (const index of assumed) builder.assume(index);
    builder.commit();
  }

  private encodeField(
    encoded: EncodedRecord,
    index: number,
    field: Field,
    record: PluginRecord,
    origin: Origin | undefined,
  ): Slice | undefined {
    const { name } = field;
    if (origin !== undefined && origin.given[index] === UNREAD && origin.record === record && name in record)
      return this.kept(encoded, index, origin);
    const value: unknown = record[name];
    if (origin !== undefined && value === LARGE_CONTENT) return this.kept(encoded, index, origin);
    const codec = codecOf(field);
    if (value === undefined || (value === null && codec.hasNull !== true))
      return this.encodeMissing(field, encoded.kind);
    if (origin !== undefined && value === origin.given[index] && typeof value !== "object")
      return this.kept(encoded, index, origin);
    if (codec.sqlite === "blob") return this.encodeBytes(encoded, index, field, value);
    if (codec.sqlite === "embedding" && value instanceof Float32Array) return this.encodeVector(field, value);
    const original = codec.hasNull ? originalText(origin, index) : undefined;
    // What equals what it was keeps its text, with its blanks and its order of keys.
    if (original !== undefined && isDeepStrictEqual(value, parseJson(original)))
      return this.kept(encoded, index, origin as Origin);
    return this.encodeToken(field, value, original);
  }

  private isUnchanged(slice: Slice | undefined, { batch, row }: Origin, index: number): boolean {
    if (slice === undefined || slice.source === "batch") return slice !== undefined || batch.isNull(row, index);
    const { start, length } = slice;
    return (
      !batch.isNull(row, index) && this.scratch.bytes.subarray(start, start + length).equals(batch.value(row, index))
    );
  }

  private kept(encoded: EncodedRecord, index: number, { batch, row }: Origin): Slice | undefined {
    const at = row * batch.width + index;
    const length = batch.lengths[at] as number;
    if (length === LARGE_VALUE) encoded.large = batch.large as LargeValue;
    return length < 0 ? undefined : { source: "batch", start: batch.starts[at] as number, length };
  }

  private encodeMissing(field: Field, kind: RecordKind): Slice | undefined {
    if (field.constant !== undefined) return this.encodeToken(field, field.constant, undefined);
    if (field.nullable || field.name === kind.postgres.largeObject?.typeField) return undefined;
    throw new StorageError("E_MISSING_FIELD", "the record lacks a field that it must have");
  }

  private encodeBytes(encoded: EncodedRecord, index: number, field: Field, value: unknown): Slice | undefined {
    if (!(value instanceof Uint8Array))
      throw new StorageError("E_FIELD_TYPE", `expected a Buffer or Uint8Array, found ${typeName(value)}`);
    if (field.large && value.length >= LARGE_VALUE_BYTES) {
      encoded.large = largeValueOf(index, value);
      return undefined;
    }
    const start = this.scratch.length;
    this.scratch.copy(value, 0, value.length);
    return this.since(start);
  }

  private encodeVector({ dimension }: Field, value: Float32Array): Slice {
    if (value.length !== dimension)
      throw new StorageError("E_DIMENSION_MISMATCH", `Dimension mismatch: expected ${dimension}, got ${value.length}`);
    const { scratch } = this;
    const start = scratch.length;
    scratch.ensure(value.length * 4);
    for (const word of new Int32Array(value.buffer, value.byteOffset, value.length))
      scratch.length = scratch.bytes.writeInt32LE(word, scratch.length);
    return this.since(start);
  }

  private encodeToken(field: Field, value: unknown, original: string | undefined): Slice | undefined {
    const token = printJson(value, original);
    if (token === undefined) throw new StorageError("E_FIELD_TYPE", `JSON has no form for ${typeName(value)}`);
    const source = Buffer.from(token, "utf8");
    const start = this.scratch.length;
    return readFieldToken(field, source, 0, source.length, this.scratch) ? this.since(start) : undefined;
  }

  /** storage_type says whether the content is a large value. */
  private setDerived(encoded: EncodedRecord): void {
    const index = derivedField(encoded.kind);
    if (index === -1) return;
    const start = this.scratch.length;
    this.scratch.latin1(encoded.large === undefined ? "bytea" : "large_object");
    encoded.values[index] = this.since(start);
  }

  private since(start: number): Slice {
    return { source: "scratch", start, length: this.scratch.length - start };
  }
}

function originalText(origin: Origin | undefined, index: number): string | undefined {
  if (origin === undefined || origin.batch.isNull(origin.row, index)) return undefined;
  return origin.batch.value(origin.row, index).toString("utf8");
}

/** Content from memory, in the chunks in which content travels. */
export function largeValueOf(field: number, content: Uint8Array): LargeValue {
  return {
    field,
    async *chunks() {
      for (let at = 0; at < content.length; at += LARGE_VALUE_BYTES) {
        const chunk = content.subarray(at, at + LARGE_VALUE_BYTES);
        yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
      }
    },
    async discard() {},
  };
}

/** For messages: the type, never the value. */
export function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value !== "object") return value === undefined ? "nothing" : `a ${typeof value}`;
  const name = value.constructor?.name;
  return name === undefined || name === "Object" ? "an object" : `a ${name}`;
}

/** The key of a record that a plugin gave, as far as it has one, to find the one that it was made from. */
export function keyOf(kind: RecordKind, record: PluginRecord): string {
  return JSON.stringify(kind.key.map((name) => String(record[name])));
}
