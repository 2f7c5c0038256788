/** Sorts short strings of bytes in bounded memory: runs in a temporary file, which are merged. */
import { ENTRY_HEAD_BYTES, SortedRuns } from "../../document/files/sorted-runs.js";

/** A run is sorted in memory. Bytes. */
const RUN_BYTES = 2097152;

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
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.arena.length * 2));
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
    const sorted = Buffer.allocUnsafeSlow(this.length);
    let at = 0;
    for (const from of this.order()) at += this.arena.copy(sorted, at, from, this.endOf(from));
    await this.runs.write(sorted);
    this.runs.endRun();
    this.arena = Buffer.allocUnsafeSlow(1024);
    this.length = 0;
    this.starts = [];
  }

  /** All entries in the order of their bytes; each is valid until the next is asked for. */
  async *sorted(): AsyncGenerator<Buffer, void, undefined> {
    if (this.runs.count === 0) {
      for (const from of this.order()) yield this.arena.subarray(from + ENTRY_HEAD_BYTES, this.endOf(from));
      return;
    }
    await this.settle();
    yield* this.runs.merged();
  }

  /** Idempotent; never throws. */
  async close(): Promise<void> {
    await this.runs.close();
    this.starts = [];
  }

  private order(): number[] {
    const { arena } = this;
    return this.starts.sort((a, b) =>
      arena.compare(arena, b + ENTRY_HEAD_BYTES, this.endOf(b), a + ENTRY_HEAD_BYTES, this.endOf(a)),
    );
  }

  private endOf(start: number): number {
    return start + ENTRY_HEAD_BYTES + this.arena.readUInt32LE(start);
  }
}
