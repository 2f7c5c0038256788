/** Sorts strings of bytes in bounded memory: runs in a temporary file, which are merged. */
import { ENTRY_HEAD_BYTES, SortedRuns } from "./sorted-runs.js";

/** A run is sorted in memory. Bytes. */
const RUN_BYTES = 2097152;
/** Up to here the memory doubles. Bytes. */
const FEW_BYTES = 65536;
/** What is written at once. Bytes. */
const WRITE_BYTES = 262144;
/** Entries are first compared as numbers of so many bytes. */
const PREFIX_BYTES = 6;

export class EntrySorter {
  /** Entries that were added. */
  count = 0;
  private arena = Buffer.allocUnsafeSlow(1024);
  private length = 0;
  /** Where the entries of the arena begin; each has its length before it. */
  private starts: number[] = [];
  private readonly runs = new SortedRuns();

  constructor(private readonly runBytes = RUN_BYTES) {}

  /** Whether `settle` is to be called before the next entry. */
  get full(): boolean {
    return this.length >= this.runBytes;
  }

  /** The entry is copied. */
  add(entry: Buffer): void {
    const needed = this.length + ENTRY_HEAD_BYTES + entry.length;
    if (needed > this.arena.length) {
      // Few entries need little; where there are many, what was outgrown would stay until it is collected.
      const size = this.arena.length < FEW_BYTES ? this.arena.length * 2 : this.runBytes + this.runBytes / 8;
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, size));
      this.arena.copy(grown, 0, 0, this.length);
      this.arena = grown;
    }
    this.starts.push(this.length);
    this.arena.writeUInt32LE(entry.length, this.length);
    entry.copy(this.arena, this.length + ENTRY_HEAD_BYTES);
    this.length = needed;
    this.count++;
  }

  /** Moves what is in memory to the temporary file. E_DISK_FULL, E_IO. */
  async settle(): Promise<void> {
    if (this.starts.length === 0) return;
    const piece = Buffer.allocUnsafeSlow(Math.min(this.length, WRITE_BYTES));
    let at = 0;
    for (const from of this.order()) {
      const to = this.endOf(from);
      if (at + to - from > piece.length) {
        await this.runs.write(piece.subarray(0, at));
        at = 0;
      }
      if (to - from > piece.length) await this.runs.write(this.arena.subarray(from, to));
      else at += this.arena.copy(piece, at, from, to);
    }
    await this.runs.write(piece.subarray(0, at));
    this.runs.endRun();
    // What one long entry made grow is given back.
    if (this.arena.length > 2 * this.runBytes) this.arena = Buffer.allocUnsafeSlow(1024);
    this.length = 0;
    this.starts = [];
  }

  /** All entries in the order of their bytes; each is valid until the next is asked for. E_DISK_FULL, E_IO. */
  async *sorted(): AsyncGenerator<Buffer, void, undefined> {
    yield* await this.sortedNow();
  }

  /** The same for callers that cannot wait for each; `turn` is called now and then before the first. */
  async sortedNow(turn: () => void = () => {}): Promise<Iterable<Buffer>> {
    if (this.runs.count === 0) return this.inMemory();
    await this.settle();
    this.arena = Buffer.alloc(0);
    await this.runs.compact(turn);
    return this.runs.merged();
  }

  private *inMemory(): Generator<Buffer, void, undefined> {
    for (const from of this.order()) yield this.arena.subarray(from + ENTRY_HEAD_BYTES, this.endOf(from));
  }

  /** Idempotent; never throws. */
  async close(): Promise<void> {
    await this.runs.close();
    this.arena = Buffer.alloc(0);
    this.length = 0;
    this.starts = [];
  }

  private order(): number[] {
    const { arena, starts } = this;
    const prefixes = new Float64Array(starts.length);
    for (const [i, start] of starts.entries()) prefixes[i] = this.prefixOf(start);
    const order = Uint32Array.from(starts.keys()).sort((a, b) => {
      const difference = (prefixes[a] as number) - (prefixes[b] as number);
      if (difference !== 0) return difference;
      const [one, other] = [starts[a] as number, starts[b] as number];
      return arena.compare(arena, other + ENTRY_HEAD_BYTES, this.endOf(other), one + ENTRY_HEAD_BYTES, this.endOf(one));
    });
    return Array.from(order, (i) => starts[i] as number);
  }

  /** The first bytes as a number; of a shorter entry as if zeros followed, which its own comparison tells from others. */
  private prefixOf(start: number): number {
    const from = start + ENTRY_HEAD_BYTES;
    const end = this.endOf(start);
    if (end - from >= PREFIX_BYTES) return this.arena.readUIntBE(from, PREFIX_BYTES);
    let prefix = 0;
    for (let at = from; at < from + PREFIX_BYTES; at++)
      prefix = prefix * 256 + (at < end ? (this.arena[at] as number) : 0);
    return prefix;
  }

  private endOf(start: number): number {
    return start + ENTRY_HEAD_BYTES + this.arena.readUInt32LE(start);
  }
}
