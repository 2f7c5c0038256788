/** Rows in wire form to batches of canonical records; what cannot be read is rejected by key and field. */
import { isUtf8 } from "node:buffer";
import { type Field, fieldIndex, LARGE_VALUE_BYTES, type RecordKind } from "../../../catalog/index.js";
import type { Codec } from "../../../codecs/codec.js";
import { codecOf, located } from "../../../codecs/index.js";
import { recordChunks } from "../../../document/writing/record-writer.js";
import { StorageError } from "../../../errors.js";
import { BatchBuilder, type BatchLimits, type LargeValue, type RecordBatch } from "../../../records/record-batch.js";
import { describeKey } from "../../../records/record-key.js";
import type { RunContext } from "../../../records/run-context.js";
import { fromPostgresError, unreadable } from "../session/errors.js";
import type { RowReader } from "./row-stream.js";
import { CONTENT_COLUMNS, CONTENT_STATUS, type Columns, columnsOf } from "./select.js";

export interface RecordReaderOptions extends BatchLimits {
  /** The server does not know its text's encoding (SQL_ASCII), so every text is checked. */
  readonly checkUtf8?: boolean;
  /** The server prints jsonb as PostgreSQL does (RecordBatch.printedByJsonb). */
  readonly printsJsonb?: boolean;
  /** Where the records that come are counted, whatever becomes of them. */
  readonly tally?: RowTally;
  /** Why columns, by their number, could not be read: the statement gives NULL for them. */
  readonly faults?: ReadonlyMap<number, StorageError>;
}

/** Which rows came: how many, and the sum of their places' hashes in 32 bits, so that each is there once. */
export interface RowTally {
  records: number;
  sum: number;
}

/** What a field's value could not be read for. */
interface Fault {
  readonly field: string;
  readonly error: unknown;
}

export class RecordReader {
  private readonly columns: Columns;
  private readonly columnCodecs: readonly Codec[];
  private readonly builder: BatchBuilder;
  /** Fields with the same value in every record. */
  private readonly constants: readonly { readonly index: number; readonly value: number }[];
  private readonly content: ContentFields | undefined;

  constructor(
    private readonly kind: RecordKind,
    private readonly rows: RowReader,
    private readonly context: RunContext,
    private readonly options: RecordReaderOptions = {},
  ) {
    this.columns = columnsOf(kind);
    this.columnCodecs = this.columns.fields.map(codecOf);
    this.builder = new BatchBuilder(kind, options, options.printsJsonb);
    this.constants = kind.fields.flatMap(({ constant }, index) =>
      constant === undefined ? [] : [{ index, value: constant }],
    );
    const { largeObject } = kind.postgres;
    if (largeObject !== undefined)
      this.content = {
        data: fieldIndex(kind, largeObject.field),
        type: fieldIndex(kind, largeObject.typeField),
        column: this.columns.fields.length,
      };
  }

  async *batches(): AsyncGenerator<RecordBatch> {
    const { rows, builder, content } = this;
    for (;;) {
      try {
        if (!rows.next() && !(await rows.fill())) break;
      } catch (error) {
        // Who reads on behind a row that cannot be read has those before it.
        if (builder.length > 0) yield builder.take();
        throw error;
      }
      this.count();
      if (content !== undefined && this.contentLength(content) >= LARGE_VALUE_BYTES) {
        if (builder.length > 0) yield* this.taken();
        yield* this.largeRecord(content);
        continue;
      }
      builder.begin();
      const fault = this.readFields(builder) ?? this.readContent(builder);
      if (fault === undefined) builder.commit();
      else {
        builder.rollback();
        await this.reject(fault);
      }
      if (builder.full) yield* this.taken();
    }
    if (builder.length > 0) yield builder.take();
  }

  private *taken(): Generator<RecordBatch> {
    const batch = this.builder.take();
    yield batch;
    this.builder.recycle(batch);
  }

  private count(): void {
    const { tally } = this.options;
    if (tally === undefined) return;
    const { bytes, starts } = this.rows.row;
    tally.records++;
    tally.sum = (tally.sum + bytes.readInt32BE(starts[this.columns.place])) | 0;
  }

  /** Sets the fields of the row at hand in `builder`; those that cannot be read stay NULL. Gives the first fault. */
  private readFields(builder: BatchBuilder): Fault | undefined {
    const { fields, indexes } = this.columns;
    const { bytes, starts, lengths } = this.rows.row;
    const { arena } = builder;
    let fault: Fault | undefined;
    for (const { index, value } of this.constants) {
      const start = arena.length;
      arena.int32(value);
      builder.set(index, start);
    }
    for (let column = 0; column < fields.length; column++) {
      const length = lengths[column] as number;
      const field = fields[column] as (typeof fields)[number];
      if (length === -1) {
        const unread = this.options.faults?.get(column);
        if (unread !== undefined) fault ??= { field: field.name, error: unread };
        if (field.nullable !== true) fault ??= { field: field.name, error: missingValue() };
        continue;
      }
      const start = arena.length;
      try {
        (this.columnCodecs[column] as Codec).fromWire(field, bytes, starts[column] as number, length, arena);
        if (this.options.checkUtf8 === true) requireUtf8(field, arena.bytes.subarray(start, arena.length));
        builder.set(indexes[column] as number, start);
      } catch (error) {
        arena.length = start;
        fault ??= { field: field.name, error };
      }
    }
    return fault;
  }

  private contentLength({ column }: ContentFields): number {
    const { bytes, starts } = this.rows.row;
    return Number(bytes.readBigInt64BE(starts[column + CONTENT_COLUMNS.length]));
  }

  /** Content that is held in the batch: less than LARGE_VALUE_BYTES, wherever the database has it. */
  private readContent(builder: BatchBuilder): Fault | undefined {
    const { content, kind } = this;
    if (content === undefined) return undefined;
    const { bytes, starts, lengths } = this.rows.row;
    const field = (kind.fields[content.data] as { name: string }).name;
    const status = bytes.readInt32BE(starts[content.column + CONTENT_COLUMNS.status]);
    if (status === CONTENT_STATUS.missing) return { field, error: contentMissing() };
    if (status === CONTENT_STATUS.forbidden) return { field, error: contentForbidden() };
    const chunk = content.column + CONTENT_COLUMNS.chunk;
    if (status === CONTENT_STATUS.unread) return { field, error: this.options.faults?.get(chunk) };
    const from = starts[chunk] as number;
    const start = builder.arena.length;
    builder.arena.copy(bytes, from, from + Math.max(0, lengths[chunk] as number));
    builder.set(content.data, start);
    setText(builder, content.type, "bytea");
    return undefined;
  }

  private setLarge(builder: BatchBuilder, large: LargeContent): void {
    setText(builder, large.content.type, "large_object");
    builder.setLarge(large);
  }

  /** A batch of one record whose content follows in further rows; skips what of it the consumer did not read. */
  private async *largeRecord(content: ContentFields): AsyncGenerator<RecordBatch> {
    const { builder } = this;
    builder.begin();
    const fault = this.readFields(builder);
    const key = describeKey(this.kind, (index) => (builder.lengthOf(index) < 0 ? undefined : builder.valueOf(index)));
    const field = (this.kind.fields[content.data] as { name: string }).name;
    const large = new LargeContent(this.rows, content, this.contentLength(content), (error) =>
      unreadable(error, { section: this.kind.path, key, field }),
    );
    if (fault === undefined) {
      this.setLarge(builder, large);
      builder.commit();
      yield* this.taken();
    } else {
      builder.rollback();
      await this.reject(fault, large);
    }
    await large.discard();
  }

  private async reject({ field, error }: Fault, large?: LargeContent): Promise<void> {
    const { kind } = this;
    const readable = new BatchBuilder(kind);
    readable.begin();
    this.readFields(readable);
    const key = describeKey(kind, (index) => (readable.lengthOf(index) < 0 ? undefined : readable.valueOf(index)));
    if (large === undefined) this.readContent(readable);
    else this.setLarge(readable, large);
    readable.commit();
    const context = { section: kind.path, key, field };
    const named = located(error, context);
    const told = named instanceof StorageError ? named : fromPostgresError(named, context);
    await this.context.reject({ kind, error: told, record: recordChunks(readable.take(), 0) });
  }
}

/** Where the content's fields are: indexes in `kind.fields`, and the column after the fields' own. */
interface ContentFields {
  readonly data: number;
  readonly type: number;
  readonly column: number;
}

/** Content whose chunks are the row at hand and those after it. */
class LargeContent implements LargeValue {
  readonly field: number;
  private state: "unread" | "reading" | "done" = "unread";
  /** Of the chunk in the row at hand. */
  private number = 0;

  constructor(
    private readonly rows: RowReader,
    readonly content: ContentFields,
    private readonly length: number,
    private readonly located: (error: unknown) => unknown,
  ) {
    this.field = content.data;
  }

  async *chunks(): AsyncGenerator<Buffer> {
    if (this.state !== "unread") throw new Error("a large value is read once");
    this.state = "reading";
    do yield this.chunk();
    while (await this.step());
  }

  async discard(): Promise<void> {
    while (this.state !== "done" && (await this.step()));
  }

  /** The row's memory, which is used again for the next one. */
  private chunk(): Buffer {
    const { bytes, starts, lengths } = this.rows.row;
    const column = this.content.column + CONTENT_COLUMNS.chunk;
    const start = starts[column] as number;
    const length = lengths[column] as number;
    const left = this.length - this.number * LARGE_VALUE_BYTES;
    if (length !== Math.min(left, LARGE_VALUE_BYTES)) throw brokenContent();
    return bytes.subarray(start, start + length);
  }

  /** Goes to the row of the next chunk; false when there is none. */
  private async step(): Promise<boolean> {
    if ((this.number + 1) * LARGE_VALUE_BYTES >= this.length) {
      this.state = "done";
      return false;
    }
    this.number++;
    try {
      if (!this.rows.next() && !(await this.rows.fill())) throw brokenContent();
    } catch (error) {
      throw this.located(error);
    }
    const { bytes, starts } = this.rows.row;
    if (bytes.readInt32BE(starts[this.content.column + CONTENT_COLUMNS.number]) !== this.number) throw brokenContent();
    return true;
  }
}

function setText(builder: BatchBuilder, field: number, text: string): void {
  const start = builder.arena.length;
  builder.arena.latin1(text);
  builder.set(field, start);
}

function requireUtf8(field: Field, bytes: Buffer): void {
  if (codecOf(field).postgres.text !== undefined && !isUtf8(bytes))
    throw new StorageError("E_INVALID_UTF8", "the text is not valid UTF-8");
}

function missingValue(): StorageError {
  return new StorageError("E_MISSING_FIELD", "the value is NULL");
}

function contentMissing(): StorageError {
  return new StorageError("E_LARGE_OBJECT_MISSING", "the artifact's content is gone: its large object does not exist");
}

function contentForbidden(): StorageError {
  return new StorageError("E_PERMISSION", "the artifact's content is in a large object that this role may not read", {
    hint: "As a superuser: GRANT SELECT ON LARGE OBJECT … TO the role, or let it own the large objects.",
  });
}

function brokenContent(): StorageError {
  return new StorageError("E_UNEXPECTED", "the chunks of a large object did not come in order");
}
