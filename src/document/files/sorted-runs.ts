/** Entries of bytes in a temporary file, in runs that are sorted each, and their merge: every run is written and read once, in one go. */
import { setImmediate as nextTick } from "node:timers/promises";
import { Spool } from "./spool.js";

/** An entry has its length before it, little-endian. Bytes. */
export const ENTRY_HEAD_BYTES = 4;
/** What is read of all runs at once, and the bounds of what is read of each. Bytes. */
const READ_BYTES = 8388608;
const LEAST_READ_BYTES = 8192;
const MOST_READ_BYTES = 131072;
/** More runs are merged to longer ones first. */
const MOST_RUNS = READ_BYTES / LEAST_READ_BYTES;
/** What is written at once. Bytes. */
const WRITE_BYTES = 262144;
/** Entries between two visits of the event loop. */
const ENTRIES_PER_TURN = 10_000;

interface Run {
  readonly start: number;
  readonly end: number;
}

export class SortedRuns {
  private runs: Run[] = [];
  private spool: Spool | undefined;
  /** Where the run that is being written begins and ends. */
  private start = 0;
  private end = 0;

  constructor(private readonly mostRuns = MOST_RUNS) {}

  get count(): number {
    return this.runs.length;
  }

  /** Appends to the run: bytes of entries, each with its length before it. E_DISK_FULL, E_IO. */
  async write(bytes: Buffer): Promise<void> {
    this.spool ??= await Spool.create();
    this.spool.appendNow(bytes);
    this.end += bytes.length;
  }

  /** What was written since the last run was ended is one, in the order of its entries' bytes. */
  endRun(): void {
    if (this.end > this.start) this.runs.push({ start: this.start, end: this.end });
    this.start = this.end;
  }

  /** Merges runs until they are few enough for `merged`. E_DISK_FULL, E_IO; whatever `turn` throws, which is called now and then. */
  async compact(turn: () => void = () => {}): Promise<void> {
    while (this.spool !== undefined && this.runs.length > this.mostRuns) {
      const { spool: source, runs } = this;
      this.spool = await Spool.create();
      this.runs = [];
      this.start = 0;
      this.end = 0;
      try {
        for (let first = 0; first < runs.length; first += this.mostRuns) {
          await this.mergeInto(source, runs.slice(first, first + this.mostRuns), turn);
          this.endRun();
        }
      } finally {
        await source.close();
      }
    }
  }

  private async mergeInto(source: Spool, runs: readonly Run[], turn: () => void): Promise<void> {
    const out = Buffer.allocUnsafeSlow(WRITE_BYTES);
    let length = 0;
    let count = 0;
    for (const entry of mergeRuns(source, runs)) {
      if (++count % ENTRIES_PER_TURN === 0) {
        await nextTick();
        turn();
      }
      if (length + ENTRY_HEAD_BYTES + entry.length > out.length) {
        await this.write(out.subarray(0, length));
        length = 0;
      }
      if (ENTRY_HEAD_BYTES + entry.length > out.length) {
        const head = Buffer.allocUnsafe(ENTRY_HEAD_BYTES);
        head.writeUInt32LE(entry.length);
        await this.write(head);
        await this.write(entry);
        continue;
      }
      length = out.writeUInt32LE(entry.length, length);
      length += entry.copy(out, length);
    }
    await this.write(out.subarray(0, length));
  }

  /** All entries in the order of their bytes, after `compact`; each is valid until the next is asked for. E_IO. */
  *merged(): Generator<Buffer, void, undefined> {
    if (this.spool !== undefined) yield* mergeRuns(this.spool, this.runs);
  }

  /** Idempotent; never throws. */
  async close(): Promise<void> {
    await this.spool?.close();
    this.spool = undefined;
    this.runs = [];
  }
}

function* mergeRuns(spool: Spool, runs: readonly Run[]): Generator<Buffer, void, undefined> {
  const bytes = Math.max(
    LEAST_READ_BYTES,
    Math.min(MOST_READ_BYTES, Math.floor(READ_BYTES / Math.max(1, runs.length))),
  );
  const heap = new RunHeap();
  for (const run of runs) heap.push(new RunReader(spool, run, bytes));
  for (let reader = heap.first(); reader !== undefined; reader = heap.first()) {
    yield reader.entry;
    heap.advance();
  }
}

/** The entries of a run one by one. */
class RunReader {
  entry: Buffer = Buffer.alloc(0);
  private buffer: Buffer;
  private from = 0;
  private to = 0;
  private position: number;

  constructor(
    private readonly spool: Spool,
    private readonly run: Run,
    private readonly readBytes: number,
  ) {
    this.buffer = Buffer.allocUnsafeSlow(readBytes);
    this.position = run.start;
    this.next();
  }

  /** False at the end. */
  next(): boolean {
    if (!this.fill(ENTRY_HEAD_BYTES)) return false;
    const length = ENTRY_HEAD_BYTES + this.buffer.readUInt32LE(this.from);
    this.fill(length);
    this.entry = this.buffer.subarray(this.from + ENTRY_HEAD_BYTES, this.from + length);
    this.from += length;
    return true;
  }

  /** Has the next bytes in the buffer; false where the run ends before them. */
  private fill(length: number): boolean {
    if (this.to - this.from >= length) return true;
    const rest = this.to - this.from;
    const size = Math.max(this.readBytes, length);
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
