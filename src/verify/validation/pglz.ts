/**
 * The length that PostgreSQL's own compression (pglz, src/common/pg_lzcompress.c, default strategy) gives a value: whether a
 * long text still fits an index depends on it. Only the length is made, not the bytes.
 */
const HISTORY = 4096;
const LONGEST_MATCH = 273;
const FARTHEST = 0x0fff;
const GOOD_MATCH = 128;
const GOOD_DROP = 10;
const NEED_RATE = 25;
const FIRST_SUCCESS_BY = 1024;
const SHORTEST_INPUT = 32;
/** No entry of the history. */
const NONE = 0;

function hashSize(length: number): number {
  if (length < 128) return 512;
  if (length < 256) return 1024;
  if (length < 512) return 2048;
  return length < 1024 ? 4096 : 8192;
}

/** The entries of the last 4096 positions, chained by their hashes; entry 0 is none. */
class History {
  private readonly starts: Int16Array;
  private readonly next = new Int16Array(HISTORY + 1);
  private readonly previous = new Int16Array(HISTORY + 1);
  private readonly slots = new Int16Array(HISTORY + 1);
  private readonly positions = new Int32Array(HISTORY + 1);
  private readonly mask: number;
  private free = 1;
  private recycles = false;
  length = 0;
  offset = 0;

  /** `source`: signed, as a char is to most compilers, by whose arithmetic the hash is made. */
  constructor(private readonly source: Int8Array) {
    const size = hashSize(source.length);
    this.starts = new Int16Array(size);
    this.mask = size - 1;
  }

  private slotOf(at: number): number {
    const { source } = this;
    const first = source[at] as number;
    if (source.length - at < 4) return first & this.mask;
    const [second, third, fourth] = [source[at + 1] as number, source[at + 2] as number, source[at + 3] as number];
    return ((first << 6) ^ (second << 4) ^ (third << 2) ^ fourth) & this.mask;
  }

  add(at: number): void {
    const { starts, next, previous, slots, positions, free } = this;
    if (this.recycles) {
      if (previous[free] === NONE) starts[slots[free] as number] = next[free] as number;
      else next[previous[free] as number] = next[free] as number;
      if (next[free] !== NONE) previous[next[free] as number] = previous[free] as number;
    }
    const slot = this.slotOf(at);
    const first = starts[slot] as number;
    next[free] = first;
    previous[free] = NONE;
    slots[free] = slot;
    positions[free] = at;
    if (first !== NONE) previous[first] = free;
    starts[slot] = free;
    this.free = free + 1;
    if (this.free < HISTORY + 1) return;
    this.free = 1;
    this.recycles = true;
  }

  /** Whether there is a match at the position that is worth a tag: its `length` and `offset`. */
  find(at: number): boolean {
    const { source, next, positions } = this;
    let good = GOOD_MATCH;
    this.length = 0;
    let entry = this.starts[this.slotOf(at)] as number;
    while (entry !== NONE) {
      const position = positions[entry] as number;
      const offset = at - position;
      if (offset >= FARTHEST) break;
      const longest = Math.min(LONGEST_MATCH, source.length - at);
      let length = 0;
      while (length < longest && source[at + length] === source[position + length]) length++;
      if (length > this.length) {
        this.length = length;
        this.offset = offset;
      }
      entry = next[entry] as number;
      if (entry === NONE) break;
      if (this.length >= good) break;
      good -= Math.trunc((good * GOOD_DROP) / 100);
    }
    return this.length > 2;
  }
}

/** Bytes of `value` compressed, without any header; undefined where PostgreSQL leaves it as it is. */
export function pglzLength(value: Buffer): number | undefined {
  const { length } = value;
  if (length < SHORTEST_INPUT) return undefined;
  const source = new Int8Array(value.buffer, value.byteOffset, length);
  const history = new History(source);
  const most = Math.trunc((length * (100 - NEED_RATE)) / 100);
  let out = 0;
  /** Items under the current control byte. */
  let items = 8;
  let found = false;
  for (let at = 0; at < length; ) {
    if (out >= most || (!found && out >= FIRST_SUCCESS_BY)) return undefined;
    const matches = history.find(at);
    if (items === 8) {
      out++;
      items = 0;
    }
    items++;
    if (!matches) {
      out++;
      history.add(at++);
      continue;
    }
    out += history.length > 17 ? 3 : 2;
    found = true;
    for (let left = history.length; left > 0; left--) history.add(at++);
  }
  return out < most ? out : undefined;
}
