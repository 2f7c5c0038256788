/**
 * Sets of many keys (records/key-digest.ts) in bounded memory: collected first, then looked up. Beyond a limit they are in
 * a temporary file.
 */
import { Spool } from "../document/spool.js";
import { KEY_DIGEST_BYTES as WIDTH } from "../records/key-digest.js";

/** So many keys are held while they are collected: 2 MiB. */
const KEYS_IN_MEMORY = 131072;
/** A finished set of up to so many times as many keys is in memory (16 MiB), for looking up in a file takes microseconds. */
const FINISHED_FACTOR = 8;
/** The unit of looking up in a file: 4 KiB. */
const PAGE_KEYS = 256;
/** By a key's first byte. Digests are spread evenly, so a partition of 100 million keys is 6 MB. */
const PARTITIONS = 256;

/** Collects keys, in any order, also more than once. */
export class KeyCollector {
  private keys = Buffer.allocUnsafeSlow(64 * WIDTH);
  private count = 0;
  /** Sorted runs: where each begins in the spool, and where its partitions end, in keys. */
  private readonly runs: { readonly start: number; readonly ends: Uint32Array }[] = [];
  private spool: Spool | undefined;

  constructor(private readonly keysInMemory: number = KEYS_IN_MEMORY) {}

  /** After some of these (a batch's) comes `settle`. */
  add(key: Buffer): void {
    const at = this.count * WIDTH;
    if (at === this.keys.length) {
      const grown = Buffer.allocUnsafeSlow(at * 2);
      this.keys.copy(grown);
      this.keys = grown;
    }
    key.copy(this.keys, at, 0, WIDTH);
    this.count++;
  }

  /** Moves the keys to a temporary file when they are too many. E_DISK_FULL, E_IO. */
  async settle(): Promise<void> {
    if (this.count >= this.keysInMemory) await this.spill();
  }

  /** The set of all keys. This collector is closed then. */
  async finish(): Promise<KeySet> {
    const set = new KeySet();
    try {
      if (this.spool === undefined) {
        await set.append(this.sorted(), false);
        return set;
      }
      await this.spill();
      const total = this.runs.reduce((sum, { ends }) => sum + (ends[PARTITIONS - 1] as number), 0);
      const toFile = total > this.keysInMemory * FINISHED_FACTOR;
      const parts: Buffer[] = [];
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const keys = sortKeys(this.readPartition(this.spool, partition));
        if (toFile) await set.append(keys, true);
        else parts.push(keys);
      }
      if (!toFile) await set.append(Buffer.concat(parts), false);
      return set;
    } catch (error) {
      await set.close();
      throw error;
    } finally {
      await this.close();
    }
  }

  async close(): Promise<void> {
    await this.spool?.close();
    this.spool = undefined;
    this.runs.length = 0;
    this.count = 0;
    this.keys = Buffer.allocUnsafeSlow(64 * WIDTH);
  }

  private sorted(): Buffer {
    return sortKeys(this.keys.subarray(0, this.count * WIDTH));
  }

  private async spill(): Promise<void> {
    this.spool ??= await Spool.create();
    const keys = this.sorted();
    const ends = new Uint32Array(PARTITIONS);
    for (let at = 0; at < keys.length; at += WIDTH) ends[keys[at] as number] = at / WIDTH + 1;
    for (let partition = 1; partition < PARTITIONS; partition++)
      ends[partition] = Math.max(ends[partition] as number, ends[partition - 1] as number);
    this.runs.push({ start: this.spool.length, ends });
    await this.spool.append(keys);
    this.count = 0;
  }

  private readPartition(spool: Spool, partition: number): Buffer {
    const parts = this.runs.map(({ start, ends }) => {
      const from = partition === 0 ? 0 : (ends[partition - 1] as number);
      const part = Buffer.allocUnsafe(((ends[partition] as number) - from) * WIDTH);
      spool.readNow(part, start + from * WIDTH);
      return part;
    });
    return Buffer.concat(parts);
  }
}

/** A set of keys, sorted: in memory, or in pages of a temporary file of which the first key of each is in memory. */
export class KeySet {
  /** Distinct keys. */
  size = 0;
  /** Without a spool: all keys. Else the first key of each page. */
  private index = Buffer.alloc(0);
  private spool: Spool | undefined;
  private readonly page = Buffer.allocUnsafe(PAGE_KEYS * WIDTH);
  private pageNumber = -1;

  /** Adds sorted keys that come after all that are there. */
  async append(keys: Buffer, toFile: boolean): Promise<void> {
    if (!toFile) {
      this.index = Buffer.concat([this.index, keys]);
    } else {
      this.spool ??= await Spool.create();
      await this.spool.append(keys);
      const firsts: Buffer[] = [this.index];
      const ahead = (PAGE_KEYS - (this.size % PAGE_KEYS)) % PAGE_KEYS;
      for (let at = ahead * WIDTH; at < keys.length; at += PAGE_KEYS * WIDTH)
        firsts.push(keys.subarray(at, at + WIDTH));
      this.index = Buffer.concat(firsts);
    }
    this.size += keys.length / WIDTH;
  }

  has(key: Buffer): boolean {
    const at = lastUpTo(this.index, key);
    if (at === -1) return false;
    if (this.spool === undefined) return compareAt(this.index, at, key) === 0;
    const page = this.readPage(this.spool, at);
    const found = lastUpTo(page, key);
    return found !== -1 && compareAt(page, found, key) === 0;
  }

  /** The keys of this set that are not in the other one. */
  async without(other: KeySet): Promise<KeySet> {
    const rest = new KeySet();
    try {
      const pages = this.spool === undefined ? 1 : this.index.length / WIDTH;
      for (let number = 0; number < pages; number++) {
        const page = this.spool === undefined ? this.index : this.readPage(this.spool, number);
        const kept: Buffer[] = [];
        for (let at = 0; at < page.length; at += WIDTH) {
          const key = page.subarray(at, at + WIDTH);
          if (!other.has(key)) kept.push(key);
        }
        await rest.append(Buffer.concat(kept), this.spool !== undefined);
      }
      return rest;
    } catch (error) {
      await rest.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.spool?.close();
    this.spool = undefined;
    this.index = Buffer.alloc(0);
  }

  private readPage(spool: Spool, number: number): Buffer {
    const keys = Math.min(PAGE_KEYS, this.size - number * PAGE_KEYS);
    const page = this.page.subarray(0, keys * WIDTH);
    if (number !== this.pageNumber) spool.readNow(page, number * PAGE_KEYS * WIDTH);
    this.pageNumber = number;
    return page;
  }
}

function compareAt(keys: Buffer, at: number, key: Buffer): number {
  return keys.compare(key, 0, WIDTH, at * WIDTH, (at + 1) * WIDTH);
}

/** The index of the last key that is not greater; -1 where there is none. */
function lastUpTo(keys: Buffer, key: Buffer): number {
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

/** Sorted and without duplicates, in new memory. */
function sortKeys(keys: Buffer): Buffer {
  const count = keys.length / WIDTH;
  const sorted = Buffer.allocUnsafeSlow(keys.length);
  // A native sort of numbers: the leading bits of each key, and behind them its index.
  const indexSpan = 2 ** Math.max(5, Math.ceil(Math.log2(Math.max(2, count))));
  const order = new Float64Array(count);
  for (let i = 0; i < count; i++)
    order[i] = Math.floor(keys.readUIntBE(i * WIDTH, 6) / (indexSpan / 32)) * indexSpan + i;
  order.sort();
  let length = 0;
  for (const entry of order) {
    const from = (entry % indexSpan) * WIDTH;
    // Keys whose leading bits are the same stand in any order yet.
    let at = length;
    let difference = 1;
    while (at > 0) {
      difference = keys.compare(sorted, at - WIDTH, at, from, from + WIDTH);
      if (difference >= 0) break;
      at -= WIDTH;
    }
    if (at > 0 && difference === 0) continue;
    sorted.copyWithin(at + WIDTH, at, length);
    keys.copy(sorted, at, from, from + WIDTH);
    length += WIDTH;
  }
  return sorted.subarray(0, length);
}
