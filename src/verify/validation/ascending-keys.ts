/** Whether keys come in the order of our own documents, each greater than the one before: then none occurs twice. */
import { type FieldType, fieldIndex, type RecordKind } from "../../catalog/index.js";
import { idText, isIdText } from "../../codecs/uuid.js";
import type { RecordBatch } from "../../records/record-batch.js";

interface KeyField {
  readonly index: number;
  readonly type: FieldType;
}

/** Types whose canonical form is a big-endian number with a sign. */
const SIGNED: ReadonlySet<FieldType> = new Set(["int4", "int8", "timestamp"]);

export class AscendingKeys {
  private readonly fields: readonly KeyField[];
  /** The last row of the batch at hand, and of the batches before: its values, one after the other. */
  private row = -1;
  private readonly last: Buffer[] = [];

  constructor(kind: RecordKind, names: readonly string[]) {
    this.fields = names.map((name) => {
      const index = fieldIndex(kind, name);
      return { index, type: kind.fields[index]?.type as FieldType };
    });
  }

  /** Whether the key is greater than the one before. One with a NULL is no key, and passed over. */
  follows(batch: RecordBatch, row: number): boolean {
    const { fields } = this;
    const { lengths, width } = batch;
    for (const { index } of fields) if ((lengths[row * width + index] as number) < 0) return true;
    const before = this.row;
    this.row = row;
    if (before === -1 && this.last.length === 0) return true;
    return this.isGreater(batch, row, before);
  }

  private isGreater({ bytes, starts, lengths, width }: RecordBatch, row: number, before: number): boolean {
    for (let at = 0; at < this.fields.length; at++) {
      const { index, type } = this.fields[at] as KeyField;
      const cell = row * width + index;
      const other = before * width + index;
      const kept = before === -1 ? (this.last[at] as Buffer) : bytes;
      const start = before === -1 ? 0 : (starts[other] as number);
      const length = before === -1 ? kept.length : (lengths[other] as number);
      const order = compare(type, bytes, starts[cell] as number, lengths[cell] as number, kept, start, length);
      if (order !== 0) return order > 0;
    }
    return false;
  }

  /** The batch's memory will serve for another. */
  keep(batch: RecordBatch): void {
    if (this.row === -1) return;
    for (const [at, { index }] of this.fields.entries()) this.last[at] = Buffer.from(batch.value(this.row, index));
    this.row = -1;
  }
}

/** Keys are short, and differ early or not at all. */
function compare(
  type: FieldType,
  left: Buffer,
  leftStart: number,
  leftLength: number,
  right: Buffer,
  rightStart: number,
  rightLength: number,
): number {
  if (type === "uuid" && isIdText(leftLength) !== isIdText(rightLength)) {
    const one = Buffer.from(idText(left, leftStart, leftLength), "utf8");
    return one.compare(Buffer.from(idText(right, rightStart, rightLength), "utf8"));
  }
  if (SIGNED.has(type)) {
    const difference = left.readInt32BE(leftStart) - right.readInt32BE(rightStart);
    if (difference !== 0) return difference;
  }
  const length = Math.min(leftLength, rightLength);
  for (let i = 0; i < length; i++) {
    const difference = (left[leftStart + i] as number) - (right[rightStart + i] as number);
    if (difference !== 0) return difference;
  }
  return leftLength - rightLength;
}
