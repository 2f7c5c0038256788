/** Keys of one length (records/key-digest.ts), one behind the other: sorting them, and going through sorted ones. */
import { KEY_DIGEST_BYTES as WIDTH } from "./key-digest.js";

/** Gets every key that comes more than once. */
interface Repeated {
  add(key: Buffer): void;
}

/** Sorted keys that are gone through once. */
export class Ascent {
  private page: Buffer = Buffer.alloc(0);
  private at = 0;

  constructor(private readonly pages: Iterator<Buffer>) {}

  /** Whether the key is one of them. Each time for a greater one. */
  reaches(keys: Buffer, at: number): boolean {
    for (;;) {
      while (this.at < this.page.length) {
        const difference = compareKeys(this.page, this.at, keys, at);
        if (difference >= 0) return difference === 0;
        this.at += WIDTH;
      }
      const next = this.pages.next();
      if (next.done === true) return false;
      this.page = next.value;
      this.at = 0;
    }
  }
}

/** Keys are so short that loops are faster than calls into native code. */
export function copyKey(from: Buffer, start: number, to: Buffer, at: number): void {
  for (let i = 0; i < WIDTH; i++) to[at + i] = from[start + i] as number;
}

function compareKeys(left: Buffer, leftStart: number, right: Buffer, rightStart: number): number {
  let difference = 0;
  for (let i = 0; i < WIDTH && difference === 0; i++)
    difference = (left[leftStart + i] as number) - (right[rightStart + i] as number);
  return difference;
}

export function compareAt(keys: Buffer, at: number, key: Buffer): number {
  return keys.compare(key, 0, WIDTH, at * WIDTH, (at + 1) * WIDTH);
}

/** The index of the last key that is not greater; -1 where there is none. */
export function lastUpTo(keys: Buffer, key: Buffer): number {
  // Almost always enough, and far faster than comparing buffers.
  const prefix = key.readUIntBE(0, 6);
  let low = 0;
  let high = keys.length / WIDTH;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const other = keys.readUIntBE(middle * WIDTH, 6);
    if (other < prefix || (other === prefix && compareAt(keys, middle, key) <= 0)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Memory for sorting: it would be garbage after each run. */
let sorted = Buffer.alloc(0);
let sortedOrder = new Float64Array(0);

/** Sorted and without duplicates; valid until the next call. */
export function sortKeys(keys: Buffer, repeated?: Repeated): Buffer {
  const count = keys.length / WIDTH;
  if (keys.length > sorted.length) {
    sorted = Buffer.allocUnsafeSlow(keys.length);
    sortedOrder = new Float64Array(count);
  }
  const order = sortedOrder.subarray(0, count);
  // A native sort of numbers: the leading bits of each key, and behind them its index.
  const indexSpan = 2 ** Math.max(5, Math.ceil(Math.log2(Math.max(2, count))));
  for (let i = 0; i < count; i++)
    order[i] = Math.floor(keys.readUIntBE(i * WIDTH, 6) / (indexSpan / 32)) * indexSpan + i;
  order.sort();
  let length = 0;
  let before = -1;
  for (let i = 0; i < count; i++) {
    const entry = order[i] as number;
    const leading = Math.floor(entry / indexSpan);
    const from = (entry - leading * indexSpan) * WIDTH;
    if (leading === before) {
      length = insertKey(keys, from, length, repeated);
    } else {
      before = leading;
      copyKey(keys, from, sorted, length);
      length += WIDTH;
    }
  }
  return sorted.subarray(0, length);
}

/** Puts a key whose leading bits are those of the last of `sorted` into its place, unless it is there; the new length. */
function insertKey(keys: Buffer, from: number, length: number, repeated?: Repeated): number {
  let at = length;
  while (at > 0) {
    const difference = compareKeys(keys, from, sorted, at - WIDTH);
    if (difference === 0) {
      repeated?.add(keys.subarray(from, from + WIDTH));
      return length;
    }
    if (difference > 0) break;
    at -= WIDTH;
  }
  sorted.copyWithin(at + WIDTH, at, length);
  copyKey(keys, from, sorted, at);
  return length + WIDTH;
}
