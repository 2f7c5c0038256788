/** Sorts short strings of bytes in bounded memory: runs in a temporary file, which are merged. */
import { Spool } from "../../document/files/spool.js";

/** A run is sorted in memory. Bytes. */
const RUN_BYTES = 2097152;
/** What is read of a run at once. Bytes. */
const READ_BYTES = 32768;
const LENGTH_BYTES = 4;

interface Run {
  readonly start: number;
  readonly end: number;
}

export class EntrySorter {
  /** Entries that were added. */
  count = 0;
  private arena = Buffer.allocUnsafeSlow(1024);
  private length = 0;
  /** Where the entries of the arena begin; each has its length before it. */
  private starts: number[] = [];
  private readonly runs: Run[] = [];
  private spool: Promise<Spool> | undefined;

  constructor(private readonly runBytes = RUN_BYTES) {}

  /** Whether `settle` is to be called before the next entry. */
  get full(): boolean {
    return this.length >= this.runBytes;
  }

  /** The entry is copied. */
  add(entry: Buffer): void {
    const needed = this.length + LENGTH_BYTES + entry.length;
    if (needed > this.arena.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.arena.length * 2));
      this.arena.copy(grown, 0, 0, this.length);
      this.arena = grown;
    }
    this.starts.push(this.length);
    this.arena.writeUInt32LE(entry.length, this.length);
    entry.copy(this.arena, this.length + LENGTH_BYTES);
    this.length = needed;
    this.count++;
  }

  /** Moves what is in memory to the temporary file. E_DISK_FULL, E_IO. */
  async settle(): Promise<void> {
    if (this.starts.length === 0) return;
    this.spool ??= Spool.create();
    const spool = await this.spool;
    const start = spool.length;
    const sorted = Buffer.allocUnsafeSlow(this.length);
    let at = 0;
    for (const from of this.order()) at += this.arena.copy(sorted, at, from, this.endOf(from));
    spool.appendNow(sorted);
    this.runs.push({ start, end: spool.length });
    this.arena = Buffer.allocUnsafeSlow(1024);
    this.length = 0;
    this.starts = [];
  }

  /** All entries in the order of their bytes; each is valid until the next is asked for. */
  async *sorted(): AsyncGenerator<Buffer, void, undefined> {
    if (this.spool === undefined) {
      for (const from of this.order()) yield this.arena.subarray(from + LENGTH_BYTES, this.endOf(from));
      return;
    }
    await this.settle();
    const spool = await this.spool;
    const heap = new RunHeap();
    for (const run of this.runs) heap.push(new RunReader(spool, run));
    for (let reader = heap.first(); reader !== undefined; reader = heap.first()) {
      yield reader.entry;
      heap.advance();
    }
  }

  /** Idempotent; never throws. */
  async close(): Promise<void> {
    await (await this.spool?.catch(() => undefined))?.close();
    this.spool = undefined;
    this.starts = [];
  }

  private order(): number[] {
    const { arena } = this;
    return this.starts.sort((a, b) =>
      arena.compare(arena, b + LENGTH_BYTES, this.endOf(b), a + LENGTH_BYTES, this.endOf(a)),
    );
  }

  private endOf(start: number): number {
    return start + LENGTH_BYTES + this.arena.readUInt32LE(start);
  }
}

/** The entries of a run one by one. */
class RunReader {
  entry: Buffer = Buffer.alloc(0);
  private buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  private from = 0;
  private to = 0;
  private position: number;

  constructor(
    private readonly spool: Spool,
    private readonly run: Run,
  ) {
    this.position = run.start;
    this.next();
  }

  /** False at the end. */
  next(): boolean {
    if (!this.fill(LENGTH_BYTES)) return false;
    const length = LENGTH_BYTES + this.buffer.readUInt32LE(this.from);
    this.fill(length);
    this.entry = this.buffer.subarray(this.from + LENGTH_BYTES, this.from + length);
    this.from += length;
    return true;
  }

  /** Has the next bytes in the buffer; false where the run ends before them. */
  private fill(length: number): boolean {
    if (this.to - this.from >= length) return true;
    const rest = this.to - this.from;
    const size = Math.max(READ_BYTES, length);
    // A new buffer where the entry that was given last is still in the old one.
    const target = size > this.buffer.length ? Buffer.allocUnsafeSlow(size) : this.buffer;
    this.buffer.copy(target, 0, this.from, this.to);
    const count = Math.min(target.length - rest, this.run.end - this.position);
    this.spool.readNow(target.subarray(rest, rest + count), this.position);
    this.position += count;
    this.buffer = target;
    this.from = 0;
    this.to = rest + count;
    return this.to >= length;
  }
}

/** A binary heap: the reader with the least entry is first. */
class RunHeap {
  private readonly readers: RunReader[] = [];

  first(): RunReader | undefined {
    return this.readers[0];
  }

  push(reader: RunReader): void {
    this.readers.push(reader);
    for (let at = this.readers.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (this.compare(parent, at) <= 0) return;
      this.swap(parent, at);
      at = parent;
    }
  }

  /** The first reader goes on to its next entry. */
  advance(): void {
    const { readers } = this;
    if (readers[0]?.next() !== true) {
      const last = readers.pop();
      if (last === undefined || readers.length === 0) return;
      readers[0] = last;
    }
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [at * 2 + 1, at * 2 + 2])
        if (child < readers.length && this.compare(child, least) < 0) least = child;
      if (least === at) return;
      this.swap(at, least);
      at = least;
    }
  }

  private compare(one: number, other: number): number {
    return Buffer.compare((this.readers[one] as RunReader).entry, (this.readers[other] as RunReader).entry);
  }

  private swap(one: number, other: number): void {
    const { readers } = this;
    [readers[one], readers[other]] = [readers[other] as RunReader, readers[one] as RunReader];
  }
}
