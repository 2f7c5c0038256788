/** A sliding window over a document's bytes: reads ahead, forgets what was consumed, checks UTF-8, digests, counts lines. */
import { isUtf8 } from "node:buffer";
import { createHash, type Hash } from "node:crypto";
import { StorageError } from "../../errors.js";
import type { ByteInput } from "./input.js";
import { JsonScanner, type JsonSyntaxError } from "./json-scanner.js";

const READ_BYTES = 262144;
/** A record beyond this is refused rather than held. */
const MAX_WINDOW_BYTES = 2 ** 30;

/** Line and column, from 1; the column counts bytes. */
export interface Location {
  readonly line: number;
  readonly column: number;
}

export class ByteWindow {
  /** Small at first: most documents of tests, and many of users, need no more. */
  buffer: Buffer = Buffer.allocUnsafeSlow(16384);
  /** Everything before it is consumed; the next `more` forgets it. */
  position = 0;
  /** Bytes up to here are there, and are valid UTF-8. */
  limit = 0;
  /** The input has ended: nothing comes after `limit`. */
  final = false;
  readonly scanner = new JsonScanner();

  /** Bytes read; those from `limit` on are the beginning of a character. */
  private filled = 0;
  /** The last read could have brought more. */
  private wasFull = false;
  private digest: Hash | undefined;
  private digestedTo = 0;
  /** Lines before `buffer[0]`, and the bytes of its line that were forgotten. */
  private lines = 0;
  private forgottenColumns = 0;
  /** What `lineAt` has counted so far: an index of the window, and its line. */
  private countedTo = 0;
  private countedLine = 1;
  /** The first line break from there on; before it: not known. */
  private nextBreak = -1;
  /** Bytes cut out of the window at an index, within one line. */
  private cutAt = 0;
  private cutBytes = 0;

  constructor(private readonly input: ByteInput) {}

  /**
   * Reads more: at least as much again as is waiting, so that scanning a record anew costs no more than twice its
   * length. Forgets what was consumed; indexes into the window are invalid afterwards.
   */
  async more(): Promise<void> {
    this.forget();
    const wanted = this.filled * 2 + 1;
    do {
      const free = this.buffer.length - this.filled;
      if (free === 0 || (this.wasFull && free < READ_BYTES)) this.grow();
      const count = await this.input.read(this.buffer, this.filled);
      this.wasFull = count === this.buffer.length - this.filled;
      this.filled += count;
      this.final = count === 0;
    } while (!this.final && this.filled < wanted);
    this.checkUtf8();
    this.scanner.attach(this.buffer, this.limit, this.final);
  }

  /** Takes the bytes `[from, to)` out of the window, as if they had never been there (their digest is kept). */
  cut(from: number, to: number): void {
    this.digestTo(to);
    this.buffer.copyWithin(from, to, this.filled);
    this.filled -= to - from;
    this.limit -= to - from;
    this.digestedTo = from;
    this.countedTo = Math.min(this.countedTo, from);
    this.nextBreak = -1;
    if (this.cutAt !== from) this.cutBytes = 0;
    this.cutAt = from;
    this.cutBytes += to - from;
    this.scanner.attach(this.buffer, this.limit, this.final);
  }

  /** From `position` on, every byte is digested (SHA-256). */
  beginDigest(): void {
    this.digest = createHash("sha256");
    this.digestedTo = this.position;
  }

  /** The digest of the bytes since beginDigest, up to `position`; in hexadecimal. */
  endDigest(): string {
    this.digestTo(this.position);
    const hex = this.digest?.digest("hex") ?? "";
    this.digest = undefined;
    return hex;
  }

  /** Where the byte at `index` of the window stands in the document. */
  locate(index: number): Location {
    let line = this.lines + 1;
    let lineStart = -this.forgottenColumns;
    let cut = this.cutBytes > 0 && index >= this.cutAt ? this.cutBytes : 0;
    for (let at = this.buffer.indexOf(0x0a); at !== -1 && at < index; at = this.buffer.indexOf(0x0a, at + 1)) {
      line++;
      lineStart = at + 1;
      if (at >= this.cutAt) cut = 0;
    }
    return { line, column: index - lineStart + cut + 1 };
  }

  /** The line of the byte at `index`, which is not before that of the last call: a call for each record costs little. */
  lineAt(index: number): number {
    if (this.nextBreak < this.countedTo) this.nextBreak = this.breakFrom(this.countedTo);
    while (this.nextBreak < index) {
      this.countedLine++;
      this.nextBreak = this.breakFrom(this.nextBreak + 1);
    }
    this.countedTo = index;
    return this.nextBreak >= this.limit ? this.unknownBreak() : this.countedLine;
  }

  /** The next line break that is there; `limit` where there is none yet. */
  private breakFrom(index: number): number {
    const at = this.buffer.indexOf(0x0a, index);
    return at === -1 || at > this.limit ? this.limit : at;
  }

  /** It is to be looked for again when there is more. */
  private unknownBreak(): number {
    this.nextBreak = -1;
    return this.countedLine;
  }

  /** E_DOCUMENT_PARSE for a syntax error in the window. */
  parseError(error: JsonSyntaxError): StorageError {
    const { line, column } = this.locate(error.offset);
    return new StorageError("E_DOCUMENT_PARSE", "Failed to parse export JSON", {
      detail: `${error.expectation} at line ${line} column ${column}`,
      line,
    });
  }

  /** E_DOCUMENT_TRUNCATED at the window's end. */
  truncated(): StorageError {
    const { line, column } = this.locate(this.limit);
    return new StorageError("E_DOCUMENT_TRUNCATED", "Failed to parse export JSON", {
      detail: `the document ends at line ${line} column ${column}, before its closing brace`,
      line,
      hint: "The file was cut short; export again, or copy it again.",
    });
  }

  private forget(): void {
    const { position } = this;
    if (position === 0) return;
    this.digestTo(position);
    for (let at = this.buffer.indexOf(0x0a); at !== -1 && at < position; at = this.buffer.indexOf(0x0a, at + 1)) {
      this.lines++;
      this.forgottenColumns = -at - 1;
      if (at >= this.cutAt) this.cutBytes = 0;
    }
    this.forgottenColumns += position;
    if (this.cutAt < position) {
      this.forgottenColumns += this.cutBytes;
      this.cutBytes = 0;
    }
    this.cutAt = Math.max(0, this.cutAt - position);
    if (this.countedTo < position) this.lineAt(position);
    this.buffer.copyWithin(0, position, this.filled);
    this.filled -= position;
    this.limit -= position;
    this.digestedTo = Math.max(0, this.digestedTo - position);
    this.countedTo -= position;
    this.nextBreak = -1;
    this.position = 0;
  }

  private digestTo(index: number): void {
    if (this.digest === undefined || index <= this.digestedTo) return;
    this.digest.update(this.buffer.subarray(this.digestedTo, index));
    this.digestedTo = index;
  }

  private grow(): void {
    if (this.buffer.length >= MAX_WINDOW_BYTES)
      throw new StorageError("E_DOCUMENT_SHAPE", `a record is larger than ${MAX_WINDOW_BYTES / 2 ** 20} MiB`);
    const grown = Buffer.allocUnsafeSlow(this.buffer.length * 2);
    this.buffer.copy(grown, 0, 0, this.filled);
    this.buffer = grown;
  }

  private checkUtf8(): void {
    const tail = incompleteTail(this.buffer, this.filled);
    const end = this.filled - tail;
    if (isUtf8(this.buffer.subarray(this.limit, end))) {
      this.limit = end;
      if (this.final && tail > 0) throw this.truncated();
      return;
    }
    const { line, column } = this.locate(firstInvalid(this.buffer, this.limit, end));
    throw new StorageError("E_INVALID_UTF8", "Failed to parse export JSON", {
      detail: `invalid UTF-8 at line ${line} column ${column}`,
      line,
    });
  }
}

/** How many bytes at the end begin a sequence that is not complete yet: 0 to 3. */
function incompleteTail(buffer: Buffer, limit: number): number {
  for (let back = 1; back <= Math.min(3, limit); back++) {
    const byte = buffer[limit - back] as number;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? back : 0;
  }
  return 0;
}

/** The index of the first byte that makes `[from, end)` invalid, to within its sequence. */
function firstInvalid(buffer: Buffer, from: number, end: number): number {
  let good = from;
  let bad = end;
  while (bad - good > 4) {
    let middle = (good + bad) >> 1;
    middle -= incompleteTail(buffer.subarray(0, middle), middle);
    if (middle <= good) break;
    if (isUtf8(buffer.subarray(good, middle))) good = middle;
    else bad = middle;
  }
  while (good < bad && (buffer[good] as number) < 0x80) good++;
  return good;
}
