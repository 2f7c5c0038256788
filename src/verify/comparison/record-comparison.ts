/** Two records with one key: whether they are identical (canonical bytes), mean the same, or differ, and in which fields. */
import type { Field, RecordKind } from "../../catalog/index.js";
import { LARGE_VALUE, type LargeValue, NULL_VALUE, type RecordBatch } from "../../records/record-batch.js";
import { isMeant, sameMeaning } from "../meaning.js";

export interface Comparison {
  /** Field indexes; valid until the next comparison. */
  readonly different: readonly number[];
  /** Other bytes, and the same meaning. */
  readonly byMeaning: readonly number[];
  /** Fields that one of the records does not hold (RecordBatch.assumed): nothing is said of them. */
  readonly unheld: readonly number[];
}

const NO_BYTES: Buffer = Buffer.alloc(0);

/** Nothing but identical values. */
const IDENTICAL: Comparison = { different: [], byMeaning: [], unheld: [] };

export class RecordComparison {
  private readonly meant: readonly boolean[];
  private readonly result = { different: [] as number[], byMeaning: [] as number[], unheld: [] as number[] };

  constructor(private readonly kind: RecordKind) {
    this.meant = kind.fields.map((_, index) => isMeant(kind, index));
  }

  /** Of records of which neither has a LargeValue. */
  compare(a: RecordBatch, aRow: number, b: RecordBatch, bRow: number): Comparison {
    const { fields } = this.kind;
    if (isSameBlock(a, aRow, b, bRow, fields.length)) return IDENTICAL;
    return this.compareFields(a, aRow, b, bRow);
  }

  /** The same of any records; LargeValues are read, or discarded where one is enough to know. */
  async compareLarge(a: RecordBatch, aRow: number, b: RecordBatch, bRow: number): Promise<Comparison> {
    const { large } = a;
    const same = large !== undefined && b.large?.field === large.field && (await isSameContent(large, b.large));
    await a.large?.discard();
    await b.large?.discard();
    const result = this.compareFields(a, aRow, b, bRow);
    for (const index of new Set([large?.field, b.large?.field]))
      if (index !== undefined && !same) this.result.different.push(index);
    return result;
  }

  private compareFields(a: RecordBatch, aRow: number, b: RecordBatch, bRow: number): Comparison {
    const { result, meant } = this;
    const { fields } = this.kind;
    const printed = { a: a.printedByJsonb === true, b: b.printedByJsonb === true };
    result.different.length = 0;
    result.byMeaning.length = 0;
    result.unheld.length = 0;
    for (let field = 0; field < fields.length; field++) {
      if (!meant[field]) continue;
      if (a.isAssumed(aRow, field) || b.isAssumed(bRow, field)) {
        result.unheld.push(field);
        continue;
      }
      const [aLength, bLength] = [lengthOf(a, aRow, field), lengthOf(b, bRow, field)];
      // A LargeValue is the caller's business.
      if (aLength === LARGE_VALUE || bLength === LARGE_VALUE) continue;
      if (aLength === NULL_VALUE && bLength === NULL_VALUE) continue;
      if (aLength === bLength && isSameValue(a, aRow, b, bRow, field, aLength)) continue;
      const isSame =
        aLength !== NULL_VALUE &&
        bLength !== NULL_VALUE &&
        sameMeaning(fields[field] as Field, a.value(aRow, field), b.value(bRow, field), printed);
      (isSame ? result.byMeaning : result.different).push(field);
    }
    return result;
  }
}

function lengthOf(batch: RecordBatch, row: number, field: number): number {
  return batch.lengths[row * batch.width + field] as number;
}

function isSameValue(
  a: RecordBatch,
  aRow: number,
  b: RecordBatch,
  bRow: number,
  field: number,
  length: number,
): boolean {
  const aStart = a.starts[aRow * a.width + field] as number;
  const bStart = b.starts[bRow * b.width + field] as number;
  return a.bytes.compare(b.bytes, bStart, bStart + length, aStart, aStart + length) === 0;
}

/** Whether both rows are one block of the same bytes, cut into fields in the same way: the quick answer for most records. */
function isSameBlock(a: RecordBatch, aRow: number, b: RecordBatch, bRow: number, width: number): boolean {
  if (a.assumed !== undefined || b.assumed !== undefined) return false;
  const [aFrom, bFrom] = [aRow * width, bRow * width];
  const shift = (b.starts[bFrom] as number) - (a.starts[aFrom] as number);
  let first = Number.POSITIVE_INFINITY;
  let end = 0;
  let total = 0;
  for (let field = 0; field < width; field++) {
    const length = a.lengths[aFrom + field] as number;
    if (length !== b.lengths[bFrom + field]) return false;
    if (length <= 0) continue;
    const start = a.starts[aFrom + field] as number;
    if ((b.starts[bFrom + field] as number) - start !== shift) return false;
    if (start < first) first = start;
    if (start + length > end) end = start + length;
    total += length;
  }
  if (total === 0) return true;
  // An edited batch has a value elsewhere: a block would hold others' bytes.
  if (end - first !== total) return false;
  return a.bytes.compare(b.bytes, first + shift, end + shift, first, end) === 0;
}

/** Reads both as far as they are the same. */
async function isSameContent(a: LargeValue, b: LargeValue): Promise<boolean> {
  const [left, right] = [a.chunks()[Symbol.asyncIterator](), b.chunks()[Symbol.asyncIterator]()];
  try {
    let [one, other] = [NO_BYTES, NO_BYTES];
    for (;;) {
      if (one.length === 0) one = await nextChunk(left);
      if (other.length === 0) other = await nextChunk(right);
      if (one.length === 0 || other.length === 0) return one.length === other.length;
      const length = Math.min(one.length, other.length);
      if (one.compare(other, 0, length, 0, length) !== 0) return false;
      one = one.subarray(length);
      other = other.subarray(length);
    }
  } finally {
    await left.return?.();
    await right.return?.();
  }
}

/** Empty at the end. */
async function nextChunk(chunks: AsyncIterator<Buffer>): Promise<Buffer> {
  for (;;) {
    const { done, value } = await chunks.next();
    if (done === true) return NO_BYTES;
    if (value.length > 0) return value;
  }
}
