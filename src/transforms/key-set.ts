/**
 * Sets of many keys (records/key-digest.ts) in bounded memory: collected first, then looked up. Beyond a limit they are in
 * a temporary file.
 */
import { Spool } from "../document/files/spool.js";
import { KEY_DIGEST_BYTES as WIDTH } from "../records/key-digest.js";
import { Ascent, compareAt, copyKey, lastUpTo, sortKeys } from "../records/sorted-keys.js";

/** So many keys are held while they are collected: 2 MiB. */
const KEYS_IN_MEMORY = 131072;
/** A finished set of up to so many times as many keys is in memory (16 MiB), for looking up in a file takes microseconds. */
const FINISHED_FACTOR = 8;
/** The unit of looking up in a file: 4 KiB. */
const PAGE_KEYS = 256;
/** By a key's first byte. Digests are spread evenly, so a partition of 100 million keys is 6 MB. */
const PARTITIONS = 256;

/** Sorted keys in the spool: where they begin, and where the partitions end, in keys. */
interface Run {
  readonly start: number;
  readonly ends: Uint32Array;
}

/** Collects keys, in any order, also more than once. */
export class KeyCollector {
  private keys = Buffer.allocUnsafeSlow(64 * WIDTH);
  private count = 0;
  private readonly runs: Run[] = [];
  private spool: Spool | undefined;

  /** `repeated`: gets every key that comes more than once. */
  constructor(
    private readonly keysInMemory: number = KEYS_IN_MEMORY,
    private readonly repeated?: KeyCollector,
  ) {}

  /** After some of these (a batch's) comes `settle`. */
  add(key: Buffer): void {
    const at = this.count * WIDTH;
    if (at === this.keys.length) {
      const grown = Buffer.allocUnsafeSlow(at * 2);
      this.keys.copy(grown);
      this.keys = grown;
    }
    copyKey(key, 0, this.keys, at);
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
        set.append(this.sorted());
        return set;
      }
      await this.spill();
      const total = this.runs.reduce((sum, { ends }) => sum + (ends[PARTITIONS - 1] as number), 0);
      if (total > this.keysInMemory * FINISHED_FACTOR) await set.moveToFile();
      else set.reserve(total);
      let partitionKeys = Buffer.alloc(0);
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const count = this.runs.reduce((sum, run) => sum + countOf(run, partition), 0);
        if (count * WIDTH > partitionKeys.length) partitionKeys = Buffer.allocUnsafeSlow(count * WIDTH * 2);
        set.append(sortKeys(this.readPartition(this.spool, partition, partitionKeys), this.repeated));
        await this.repeated?.settle();
      }
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
    return sortKeys(this.keys.subarray(0, this.count * WIDTH), this.repeated);
  }

  private async spill(): Promise<void> {
    this.spool ??= await Spool.create();
    const keys = this.sorted();
    const ends = new Uint32Array(PARTITIONS);
    for (let at = 0; at < keys.length; at += WIDTH) ends[keys[at] as number] = at / WIDTH + 1;
    for (let partition = 1; partition < PARTITIONS; partition++)
      ends[partition] = Math.max(ends[partition] as number, ends[partition - 1] as number);
    this.runs.push({ start: this.spool.length, ends });
    this.spool.appendNow(keys);
    this.count = 0;
  }

  /** The partition's keys of all runs, in the memory given. */
  private readPartition(spool: Spool, partition: number, memory: Buffer): Buffer {
    let length = 0;
    for (const run of this.runs) {
      const from = partition === 0 ? 0 : (run.ends[partition - 1] as number);
      const part = memory.subarray(length, length + countOf(run, partition) * WIDTH);
      spool.readNow(part, run.start + from * WIDTH);
      length += part.length;
    }
    return memory.subarray(0, length);
  }
}

function countOf({ ends }: Run, partition: number): number {
  return (ends[partition] as number) - (partition === 0 ? 0 : (ends[partition - 1] as number));
}

/** A set of keys, sorted: in memory, or in pages of a temporary file of which the first key of each is in memory. */
export class KeySet {
  /** Distinct keys. */
  size = 0;
  /** Without a spool: all keys. Else the first key of each page. */
  private index = Buffer.alloc(0);
  private memory = Buffer.alloc(0);
  private spool: Spool | undefined;
  private readonly page = Buffer.allocUnsafe(PAGE_KEYS * WIDTH);
  private pageNumber = -1;

  /** What is appended from now on goes to a file. Of an empty set. */
  async moveToFile(): Promise<void> {
    this.spool = await Spool.create();
  }

  /** So many keys will come, or fewer. */
  reserve(count: number): void {
    if (count * WIDTH > this.memory.length) {
      const grown = Buffer.allocUnsafeSlow(count * WIDTH);
      this.index.copy(grown);
      this.memory = grown;
    }
  }

  /** Adds sorted keys that come after all that are there; they are copied. E_DISK_FULL, E_IO. */
  append(keys: Buffer): void {
    if (this.spool === undefined) {
      this.remember(keys);
    } else {
      this.spool.appendNow(keys);
      const ahead = (PAGE_KEYS - (this.size % PAGE_KEYS)) % PAGE_KEYS;
      for (let at = ahead * WIDTH; at < keys.length; at += PAGE_KEYS * WIDTH)
        this.remember(keys.subarray(at, at + WIDTH));
    }
    this.size += keys.length / WIDTH;
  }

  private remember(keys: Buffer): void {
    const { length } = this.index;
    if (length + keys.length > this.memory.length) this.reserve(Math.ceil(((length + keys.length) * 2) / WIDTH));
    keys.copy(this.memory, length);
    this.index = this.memory.subarray(0, length + keys.length);
  }

  has(key: Buffer): boolean {
    return this.indexOf(key) !== -1;
  }

  /** The key's place among all keys, from 0; -1 where it is none of them. */
  indexOf(key: Buffer): number {
    const at = lastUpTo(this.index, key);
    if (at === -1) return -1;
    if (this.spool === undefined) return compareAt(this.index, at, key) === 0 ? at : -1;
    const page = this.readPage(this.spool, at);
    const found = lastUpTo(page, key);
    return found !== -1 && compareAt(page, found, key) === 0 ? at * PAGE_KEYS + found : -1;
  }

  /** The keys of this set that are not in the other one: both are sorted. */
  async without(other: KeySet): Promise<KeySet> {
    const rest = new KeySet();
    try {
      if (this.spool !== undefined) await rest.moveToFile();
      const others = new Ascent(other.pages());
      let kept = Buffer.alloc(0);
      for (const page of this.pages()) {
        let length = 0;
        if (page.length > kept.length) kept = Buffer.allocUnsafeSlow(page.length);
        for (let at = 0; at < page.length; at += WIDTH) {
          if (others.reaches(page, at)) continue;
          copyKey(page, at, kept, length);
          length += WIDTH;
        }
        rest.append(kept.subarray(0, length));
      }
      return rest;
    } catch (error) {
      await rest.close();
      throw error;
    }
  }

  /** Adds all keys to the collector. E_DISK_FULL, E_IO. */
  async addTo(collector: KeyCollector): Promise<void> {
    for (const page of this.pages()) {
      for (let at = 0; at < page.length; at += WIDTH) {
        collector.add(page.subarray(at, at + WIDTH));
        if (at % (KEYS_IN_MEMORY * WIDTH) === 0) await collector.settle();
      }
      await collector.settle();
    }
  }

  /** All keys in their order; each page is valid until the next. */
  private *pages(): Generator<Buffer> {
    const { spool } = this;
    if (spool === undefined) yield this.index;
    else for (let number = 0; number < this.index.length / WIDTH; number++) yield this.readPage(spool, number);
  }

  async close(): Promise<void> {
    await this.spool?.close();
    this.spool = undefined;
    this.index = Buffer.alloc(0);
    this.memory = Buffer.alloc(0);
  }

  private readPage(spool: Spool, number: number): Buffer {
    const keys = Math.min(PAGE_KEYS, this.size - number * PAGE_KEYS);
    const page = this.page.subarray(0, keys * WIDTH);
    if (number !== this.pageNumber) spool.readNow(page, number * PAGE_KEYS * WIDTH);
    this.pageNumber = number;
    return page;
  }
}
