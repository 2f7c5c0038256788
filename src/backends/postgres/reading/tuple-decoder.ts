/**
 * Rows in PostgreSQL's binary form, as positions in the bytes that came: nothing is copied that need not be.
 * COPY: https://www.postgresql.org/docs/current/sql-copy.html ("Binary Format"). A DataRow message has its tuples' form.
 */
import { StorageError } from "../../../errors.js";

/** Steps through rows. `bytes`, `starts` and `lengths` describe the row at hand until the next `push` or `next`. */
export interface TupleDecoder {
  readonly bytes: Buffer;
  /** Per column: where its value begins in `bytes`. */
  readonly starts: Uint32Array;
  /** Per column: the value's length, or -1 for NULL. */
  readonly lengths: Int32Array;
  /** Takes more input, valid until `keep` or the next; only after `next` gave false. */
  push(chunk: Buffer): void;
  /** Copies what is left of the last input: its memory may then be filled anew. */
  keep(): void;
  /** Goes to the next row; false when more input is needed (or none will come). */
  next(): boolean;
  /** To be called after the last input. Throws E_CONNECTION_LOST when it stopped before its end. */
  end(): void;
}

const SIGNATURE = Buffer.from("PGCOPY\n\xff\r\n\0", "latin1");
/** Signature, int32 flags, int32 length of the extension that follows. */
const HEADER_BYTES = 19;
const LEAST_CAPACITY = 65536;
/** A buffer that one huge row needed is given back after it. */
const MOST_KEPT = 4194304;

function malformed(what: string): StorageError {
  return new StorageError("E_UNEXPECTED", `the server's data is malformed: ${what}`);
}

/** Decodes the output of `COPY … TO STDOUT (FORMAT binary)`, or the bodies of DataRow messages ("rows"), cut anywhere. */
export class CopyDecoder implements TupleDecoder {
  bytes: Buffer = Buffer.alloc(0);
  readonly starts: Uint32Array;
  readonly lengths: Int32Array;
  private start = 0;
  private stop = 0;
  /** Where rows are put together that came in several chunks. */
  private own = Buffer.alloc(0);
  private headerRead: boolean;
  private trailerRead = false;

  constructor(
    private readonly columns: number,
    private readonly form: "copy" | "rows" = "copy",
  ) {
    this.headerRead = form === "rows";
    this.starts = new Uint32Array(columns);
    this.lengths = new Int32Array(columns);
  }

  push(chunk: Buffer): void {
    if (this.stop === this.start) {
      if (this.own.length > MOST_KEPT) this.own = Buffer.alloc(0);
      this.bytes = chunk;
      this.start = 0;
      this.stop = chunk.length;
      return;
    }
    if (this.bytes !== this.own || this.stop + chunk.length > this.own.length) this.gather(chunk.length);
    chunk.copy(this.bytes, this.stop);
    this.stop += chunk.length;
  }

  keep(): void {
    if (this.stop > this.start && this.bytes !== this.own) this.gather(this.bytes.length);
  }

  /** What is left at the beginning of memory of our own, with room for so many bytes behind it. */
  private gather(more: number): void {
    const left = this.stop - this.start;
    const needed = left + more;
    // Twice what is there, so that a row of many chunks is not copied once per chunk; kept, so that little is garbage.
    const target = needed <= this.own.length ? this.own : Buffer.allocUnsafeSlow(Math.max(LEAST_CAPACITY, needed * 2));
    this.bytes.copy(target, 0, this.start, this.stop);
    this.own = target;
    this.bytes = target;
    this.start = 0;
    this.stop = left;
  }

  next(): boolean {
    if (!this.headerRead && !this.readHeader()) return false;
    const { bytes, starts, lengths, columns, stop } = this;
    let at = this.start;
    if (stop - at < 2) return false;
    if (this.trailerRead) throw malformed("it goes on after the trailer");
    const count = bytes.readInt16BE(at);
    at += 2;
    if (count === -1) {
      this.trailerRead = true;
      this.start = at;
      if (at < stop) throw malformed("it goes on after the trailer");
      return false;
    }
    if (count !== columns) throw malformed(`a row of ${count} columns instead of ${columns}`);
    for (let column = 0; column < columns; column++) {
      if (stop - at < 4) return false;
      const length = bytes.readInt32BE(at);
      at += 4;
      starts[column] = at;
      lengths[column] = length;
      if (length > 0) at += length;
      if (at > stop) return false;
    }
    this.start = at;
    return true;
  }

  end(): void {
    const isWhole = this.form === "rows" ? this.start === this.stop : this.trailerRead;
    if (!isWhole) throw new StorageError("E_CONNECTION_LOST", "the server's data stopped before its end");
  }

  private readHeader(): boolean {
    if (this.stop - this.start < HEADER_BYTES) return false;
    const header = this.bytes.subarray(this.start, this.start + HEADER_BYTES);
    if (!header.subarray(0, SIGNATURE.length).equals(SIGNATURE)) throw malformed("no COPY signature");
    const length = HEADER_BYTES + header.readInt32BE(HEADER_BYTES - 4);
    if (this.stop - this.start < length) return false;
    this.start += length;
    this.headerRead = true;
    return true;
  }
}
