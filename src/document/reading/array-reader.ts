/** Reads one array of records: batches out, bad records to `context.reject`. */

import { LARGE_VALUE_BYTES, type RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { copyWithoutLineBreaks } from "../../codecs/json-text.js";
import { StorageError } from "../../errors.js";
import { RecordBatch } from "../../records/record-batch.js";
import type { RunContext } from "../../records/run-context.js";
import type { Spool } from "../files/spool.js";
import { LARGE_TOKEN_BYTES, SpooledBase64, SpooledBase64Memory } from "../files/spooled-base64.js";
import type { ByteWindow } from "./byte-window.js";
import { CLOSE_ARRAY, COMMA, JsonSyntaxError, MORE, OPEN_OBJECT } from "./json-scanner.js";
import type { JsonWalker } from "./json-walker.js";
import { RecordReader, type RecordReaderOptions, type TakenValue } from "./record-reader.js";
import { RecordScanner, TOKEN_WIDTH } from "./record-scanner.js";

/** Why the synchronous loop stopped. */
type Pause = "more" | "full" | "end" | "rejected" | "large" | "no object" | "enough";

export class ArrayReader {
  /** Elements of the array so far. */
  elements = 0;
  /** Records that may still come. */
  private left: number;
  private readonly tenants: ReadonlySet<string> | undefined;
  private readonly window: ByteWindow;
  private readonly scanner: RecordScanner;
  private readonly reader: RecordReader;
  /** A comma or the end comes next. */
  private afterRecord = false;
  /** Start of the token that is to be taken out of the record at `position`. */
  private largeStart = -1;
  /** What was taken out of it, the index where it stood behind the record's start, and its value for the batch. */
  private spooled: SpooledBase64 | undefined;
  private spooledAt = 0;
  private memory: SpooledBase64Memory | undefined;
  private taken: TakenValue | undefined;
  /** Of each record in the builder, where they are wanted. */
  private lines: number[] | undefined;
  private rejection: { error: StorageError; start: number; end: number } | undefined;

  constructor(
    private readonly walker: JsonWalker,
    private readonly kind: RecordKind,
    options: RecordReaderOptions,
    /** The source's one spool, made when first needed. */
    private readonly openSpool: () => Promise<Spool>,
  ) {
    this.window = walker.window;
    this.scanner = new RecordScanner(walker.window.scanner);
    this.reader = new RecordReader(kind, options);
    this.left = options.recordLimit ?? Number.POSITIVE_INFINITY;
    this.tenants = options.tenants;
    if (options.lines) this.lines = [];
  }

  /** The position is at `[`; afterwards behind `]`. */
  async *read(context: RunContext): AsyncGenerator<RecordBatch, void, undefined> {
    const { window, walker, reader } = this;
    const { builder } = reader;
    window.position++;
    for (;;) {
      switch (this.run()) {
        case "more":
          await walker.more();
          break;
        case "full": {
          const batch = this.take();
          yield batch;
          builder.recycle(batch);
          break;
        }
        case "large":
          await this.spoolLarge();
          break;
        case "no object":
          await this.rejectValue(context);
          break;
        case "rejected":
          await this.reject(context);
          break;
        case "enough":
          this.elements += await walker.skipRestOfArray();
          if (builder.length > 0) yield this.take();
          return;
        case "end":
          if (builder.length > 0) yield this.take();
          return;
      }
    }
  }

  private take(): RecordBatch {
    const batch = this.reader.builder.take();
    if (this.lines === undefined) return batch;
    const { kind, rows, bytes, starts, lengths, large, assumed } = batch;
    const { lines } = this;
    this.lines = [];
    return new RecordBatch(kind, rows, bytes, starts, lengths, large, assumed, lines);
  }

  /** Reads records until something must be waited for. */
  private run(): Pause {
    const { window, reader } = this;
    const { scanner, limit } = window;
    const { buffer } = window;
    for (;;) {
      if (reader.builder.full) return "full";
      if (this.left === 0) return "enough";
      const i = scanner.skipSpace(window.position);
      window.position = i;
      if (i >= limit) return "more";
      const byte = buffer[i];
      if (byte === CLOSE_ARRAY && (this.afterRecord || this.elements === 0)) {
        window.position = i + 1;
        return "end";
      }
      if (this.afterRecord) {
        if (byte !== COMMA) throw new JsonSyntaxError(i, "expected `,` or `]`");
        this.afterRecord = false;
        window.position = i + 1;
        continue;
      }
      if (byte !== OPEN_OBJECT) return "no object";
      const end = this.scanner.scan(i);
      if (this.spooled === undefined && reader.largeField !== -1) {
        this.largeStart = this.findLarge(end);
        if (this.largeStart !== -1) return "large";
      }
      if (end === MORE) return "more";
      if (this.spooled !== undefined && reader.builder.length > 0) return "full";
      const pause = this.readRecord(i, end);
      if (pause !== undefined) return pause;
    }
  }

  private readRecord(start: number, end: number): Pause | undefined {
    this.elements++;
    this.afterRecord = true;
    this.window.position = end;
    try {
      const kept = this.reader.read(this.window.buffer, this.scanner, this.taken);
      // A value of another tenant's record stays in the spool until the next one is spooled.
      if (this.spooled !== undefined) this.endLarge();
      if (kept) {
        this.left--;
        this.lines?.push(this.window.lineAt(start));
      }
      return kept && this.reader.builder.full ? "full" : undefined;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.left--;
      this.rejection = { error, start, end };
      return "rejected";
    }
  }

  private endLarge(): void {
    this.spooled = undefined;
    this.taken = undefined;
  }

  /** The start of a large field's string that is (or may become) too long to be held; -1 where there is none. */
  private findLarge(end: number): number {
    const { scanner, reader, window } = this;
    const { tokens, count, openString } = scanner;
    const places = end === MORE && openString !== -1 ? count + 1 : count;
    for (let place = 0; place < places; place++) {
      const at = place * TOKEN_WIDTH;
      const start = tokens[at + 2] as number;
      const tokenEnd = place === count ? window.limit : (tokens[at + 3] as number);
      if (tokenEnd - start < LARGE_TOKEN_BYTES || window.buffer[start] !== 0x22) continue;
      const index = reader.fieldOf(window.buffer, tokens[at] as number, tokens[at + 1] as number, place);
      if (index === reader.largeField) return start;
    }
    return -1;
  }

  /** Moves the string's body from the window to the spool; the record then has an empty string in its place. */
  private async spoolLarge(): Promise<void> {
    const { window, walker } = this;
    const spool = await this.openSpool();
    await spool.clear();
    this.memory ??= new SpooledBase64Memory();
    const spooled = new SpooledBase64(spool, this.memory);
    this.spooledAt = this.largeStart + 1 - window.position;
    for (let done = false; !done; ) {
      const start = window.position + this.spooledAt;
      const end = window.scanner.scanString(start);
      done = end !== MORE;
      const stop = done ? end - 1 : window.scanner.resumeAt;
      await spooled.append(window.buffer.subarray(start, stop));
      window.cut(start, stop);
      if (!done) await walker.more();
    }
    spooled.end();
    this.spooled = spooled;
    this.taken = spooled.error ?? (await this.valueOf(spooled));
  }

  private async valueOf(spooled: SpooledBase64): Promise<TakenValue> {
    if (spooled.length >= LARGE_VALUE_BYTES) return spooled.asLargeValue(this.reader.largeField);
    // Escapes made the text longer than its value.
    const parts: Buffer[] = [];
    for await (const chunk of spooled.chunks()) parts.push(Buffer.from(chunk));
    return Buffer.concat(parts);
  }

  private async reject(context: RunContext): Promise<void> {
    const { rejection, spooled } = this;
    if (rejection === undefined) return;
    this.rejection = undefined;
    const { buffer } = this.window;
    const { start, end, error } = rejection;
    error.context.line = this.window.locate(start).line;
    const record =
      spooled === undefined
        ? [withoutLineBreaks(buffer, start, end)]
        : aroundSpooled(buffer, start, start + this.spooledAt, end, spooled);
    this.endLarge();
    await context.reject({ kind: this.kind, error, ...(this.reader.isAnybodys ? {} : { record }) });
  }

  /** An element that is no object. */
  private async rejectValue(context: RunContext): Promise<void> {
    const { window } = this;
    const end = await this.walker.valueEnd();
    const start = window.position;
    const { line, column } = window.locate(start);
    this.elements++;
    this.left--;
    this.afterRecord = true;
    window.position = end;
    const error = new StorageError("E_DOCUMENT_SHAPE", "a record is no object", {
      section: this.kind.path,
      key: "?",
      detail: `at line ${line} column ${column}`,
      line,
    });
    const record = [withoutLineBreaks(window.buffer, start, end)];
    // Nobody can tell whose it is.
    await context.reject({ kind: this.kind, error, ...(this.tenants === undefined ? { record } : {}) });
  }
}

function withoutLineBreaks(buffer: Buffer, start: number, end: number): Buffer {
  const out = new ByteWriter(end - start);
  copyWithoutLineBreaks(buffer, start, end, out);
  return out.view();
}

/** The record's text with the spooled string body back in its place. */
async function* aroundSpooled(
  buffer: Buffer,
  start: number,
  at: number,
  end: number,
  spooled: SpooledBase64,
): AsyncGenerator<Buffer, void, undefined> {
  yield withoutLineBreaks(buffer, start, at);
  for await (const chunk of spooled.rawChunks()) yield Buffer.from(chunk);
  yield withoutLineBreaks(buffer, at, end);
}
