/**
 * The values of some of a record's fields (its key, or what a foreign key refers to) as bytes whose order is the order of
 * documents: text by its UTF-8 bytes, an id by its text, integers and times by value. No encoding begins another one.
 */
import { type Field, fieldIndex, type RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { idText, writeId } from "../../codecs/uuid.js";
import { readOrderedText, writeOrderedText } from "../../records/ordered-text.js";
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
        writeOrderedText(text, 0, text.length, out);
      } else writeOrderedText(bytes, start, start + length, out);
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
        at = readOrderedText(key, at, out);
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
