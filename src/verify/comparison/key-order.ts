/**
 * The values of some of a record's fields (its key, or what a foreign key refers to) as bytes whose order is the order of
 * documents: text by its UTF-8 bytes, an id by its text, integers and times by value. No encoding begins another one.
 */
import { type Field, fieldIndex, type RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { idText, writeId } from "../../codecs/uuid.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { describeKey } from "../../records/record-key.js";

/** Bytes of types whose values all have one length; their first bit is the sign. */
const SIGNED: Readonly<Partial<Record<Field["type"], number>>> = { int4: 4, int8: 8, timestamp: 8 };

export class KeyOrder {
  private readonly fields: readonly (readonly [index: number, field: Field])[];

  constructor(
    private readonly kind: RecordKind,
    names: readonly string[] = kind.key,
  ) {
    this.fields = names.map((name) => {
      const index = fieldIndex(kind, name);
      return [index, kind.fields[index] as Field];
    });
  }

  /** Appends the values of a row. False, and nothing is appended, where one of them is NULL. */
  write(batch: RecordBatch, row: number, out: ByteWriter): boolean {
    const { bytes, starts, lengths } = batch;
    const from = out.length;
    for (const [index, field] of this.fields) {
      const at = row * this.kind.fields.length + index;
      const start = starts[at] as number;
      const length = lengths[at] as number;
      if (length < 0) {
        out.length = from;
        return false;
      }
      if (SIGNED[field.type] !== undefined) {
        const sign = out.length;
        out.copy(bytes, start, start + length);
        out.bytes[sign] = (out.bytes[sign] as number) ^ 0x80;
      } else if (field.type === "uuid") {
        const text = Buffer.from(idText(bytes, start, length), "utf8");
        writeText(text, 0, text.length, out);
      } else writeText(bytes, start, start + length, out);
    }
    return true;
  }

  /** Where the values of these fields end, whose encoding the bytes begin with. */
  endOf(bytes: Buffer): number {
    let at = 0;
    for (const [, field] of this.fields) {
      const length = SIGNED[field.type];
      if (length !== undefined) at += length;
      else {
        at = bytes.indexOf(0, at);
        while (bytes[at + 1] === 0xff) at = bytes.indexOf(0, at + 2);
        at += 2;
      }
    }
    return at;
  }

  /** As `recordKey` names the record. */
  describe(key: Buffer): string {
    const values = new Map<number, Buffer>();
    let at = 0;
    for (const [index, field] of this.fields) {
      const out = new ByteWriter(64);
      const length = SIGNED[field.type];
      if (length !== undefined) {
        out.copy(key, at, at + length);
        out.bytes[0] = (out.bytes[0] as number) ^ 0x80;
        at += length;
      } else {
        at = readText(key, at, out);
        if (field.type === "uuid") {
          const text = out.view().toString("utf8");
          out.length = 0;
          writeId(field, text, out);
        }
      }
      values.set(index, out.view());
    }
    return describeKey(this.kind, (index) => values.get(index));
  }
}

/** A zero byte is followed by 255, and the text by two zeros: so a text sorts before those that it begins. */
function writeText(source: Buffer, start: number, end: number, out: ByteWriter): void {
  let from = start;
  for (let at = start; at < end; at++)
    if (source[at] === 0) {
      out.copy(source, from, at + 1);
      out.byte(0xff);
      from = at + 1;
    }
  out.copy(source, from, end);
  out.byte(0);
  out.byte(0);
}

/** Gives where the text's encoding ends. */
function readText(source: Buffer, start: number, out: ByteWriter): number {
  let from = start;
  for (;;) {
    const zero = source.indexOf(0, from);
    if (source[zero + 1] !== 0xff) {
      out.copy(source, from, zero);
      return zero + 2;
    }
    out.copy(source, from, zero + 1);
    from = zero + 2;
  }
}
