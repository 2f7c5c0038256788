/** Writes one record as the document's JSON object: compact, on one line, without a line break at its end. */
import type { Field, RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { encodeBase64 } from "../../codecs/bytes.js";
import type { Codec } from "../../codecs/codec.js";
import { codecOf } from "../../codecs/index.js";
import { writeVectorNumbers } from "../../codecs/vector-numbers.js";
import { LARGE_VALUE, NULL_VALUE, type RecordBatch } from "../../records/record-batch.js";

interface FieldWriter {
  readonly field: Field;
  readonly codec: Codec;
  /** `"name":` */
  readonly name: Buffer;
  /** SQL NULL in a json field is the key's absence. */
  readonly absentWhenNull: boolean;
  readonly isEmbedding: boolean;
}

const writersOf = new WeakMap<RecordKind, readonly FieldWriter[]>();

function fieldWriters(kind: RecordKind): readonly FieldWriter[] {
  let writers = writersOf.get(kind);
  if (writers === undefined) {
    writers = kind.fields.map((field) => ({
      field,
      codec: codecOf(field),
      name: Buffer.from(`${JSON.stringify(field.name)}:`, "utf8"),
      absentWhenNull: codecOf(field).hasNull === true && field.nullable === true,
      isEmbedding: codecOf(field).sqlite === "embedding",
    }));
    writersOf.set(kind, writers);
  }
  return writers;
}

/** Appends `{` or `,` and the fields `[from, to)`. */
function writeFields(
  batch: RecordBatch,
  row: number,
  from: number,
  to: number,
  out: ByteWriter,
  vectors: "base64" | "json" = "base64",
): void {
  const writers = fieldWriters(batch.kind);
  const { bytes, starts, lengths } = batch;
  let at = row * writers.length + from;
  for (let index = from; index < to; index++, at++) {
    const writer = writers[index] as FieldWriter;
    const length = lengths[at] as number;
    if (length === NULL_VALUE && writer.absentWhenNull) continue;
    separate(out);
    out.copy(writer.name, 0, writer.name.length);
    if (length === NULL_VALUE) out.latin1("null");
    else if (
      vectors === "base64" ||
      !writer.isEmbedding ||
      !writeVectorNumbers(bytes, starts[at] as number, length, out)
    )
      writer.codec.toToken(writer.field, bytes, starts[at] as number, length, out);
  }
}

function separate(out: ByteWriter): void {
  if (out.bytes[out.length - 1] !== 0x7b || out.length === 0) out.byte(0x2c);
}

/** Appends record `row` of `batch`, which must not have a LargeValue (see recordChunks). */
export function writeRecord(
  batch: RecordBatch,
  row: number,
  out: ByteWriter,
  vectors: "base64" | "json" = "base64",
): void {
  if (batch.large !== undefined) throw new Error("a record with a large value is written in chunks");
  out.byte(0x7b);
  writeFields(batch, row, 0, batch.kind.fields.length, out, vectors);
  out.byte(0x7d);
}

/** The record's bytes in chunks, the receiver's to keep; reads the LargeValue, where there is one, to its end. */
export async function* recordChunks(batch: RecordBatch, row: number): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of recordPieces(batch, row)) yield Uint8Array.from(piece);
}

/** The same, each piece valid until the next is asked for. */
export async function* recordPieces(batch: RecordBatch, row: number): AsyncGenerator<Uint8Array, void, undefined> {
  const out = new ByteWriter(4096);
  const { large, lengths } = batch;
  const width = batch.kind.fields.length;
  if (large === undefined || lengths[row * width + large.field] !== LARGE_VALUE) {
    out.byte(0x7b);
    writeFields(batch, row, 0, width, out);
    out.byte(0x7d);
    yield out.view();
    return;
  }
  const writer = fieldWriters(batch.kind)[large.field] as FieldWriter;
  out.byte(0x7b);
  writeFields(batch, row, 0, large.field, out);
  separate(out);
  out.copy(writer.name, 0, writer.name.length);
  out.byte(0x22);
  yield out.view();
  yield* base64Chunks(large.chunks());
  const rest = new ByteWriter(4096);
  rest.byte(0x22);
  writeFields(batch, row, large.field + 1, width, rest);
  rest.byte(0x7d);
  yield rest.view();
}

/** Bytes that are encoded at a time: a multiple of three. */
const BASE64_STEP = 196608;

/** base64 text of the concatenated chunks; each piece is valid until the next is asked for. */
async function* base64Chunks(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  const out = new ByteWriter((BASE64_STEP / 3) * 4 + 4);
  /** Bytes that wait for others to make three. */
  const rest = Buffer.alloc(3);
  let waiting = 0;
  for await (const chunk of chunks) {
    let at = 0;
    out.length = 0;
    if (waiting > 0) {
      at = chunk.copy(rest, waiting, 0, 3 - waiting);
      waiting += at;
      if (waiting < 3) continue;
      encodeBase64(rest, 0, 3, out);
    }
    const whole = chunk.length - ((chunk.length - at) % 3);
    while (at < whole) {
      const end = Math.min(whole, at + BASE64_STEP);
      encodeBase64(chunk, at, end, out);
      at = end;
      yield out.view();
      out.length = 0;
    }
    if (out.length > 0) yield out.view();
    waiting = chunk.copy(rest, 0, whole);
  }
  out.length = 0;
  encodeBase64(rest, 0, waiting, out);
  if (waiting > 0) yield out.view();
}
