/**
 * Turns one record of a document, found by the record scanner, into a row of a batch.
 * Over 300 lines: the loop over a record's fields keeps its state in one object.
 */
import { type Field, fieldIndex, type RecordKind, tenantIndex } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { parseStringToken } from "../../codecs/codec.js";
import { codecOf, located } from "../../codecs/index.js";
import { copyWithoutLineBreaks } from "../../codecs/json-text.js";
import { StorageError } from "../../errors.js";
import { BatchBuilder, type BatchLimits, type LargeValue } from "../../records/record-batch.js";
import { describeKey } from "../../records/record-key.js";
import type { DocumentDialect } from "../dialect.js";
import { QUOTE } from "./json-scanner.js";
import { NAMES } from "./limits.js";
import { type RecordScanner, TOKEN_WIDTH } from "./record-scanner.js";

export interface RecordReaderOptions {
  readonly dialect: DocumentDialect;
  /** In our writer's layout, where blanks around a json value can only be the value's own. */
  readonly ownLayout: boolean;
  /** Only these tenants' records; undefined = all. */
  readonly tenants: ReadonlySet<string> | undefined;
  /** The records after so many (bad ones count) are skipped; undefined = none. */
  readonly recordLimit: number | undefined;
  readonly limits: BatchLimits;
  /** Batches tell the lines of their records. */
  readonly lines: boolean;
  /** Called for each field that the kind has not, once per name. */
  readonly onUnknownField: (name: string) => void;
}

/** A value that was taken out of the record's text. */
export type TakenValue = LargeValue | Buffer | StorageError;

const NULL_TOKEN = 0x6e;

export class RecordReader {
  readonly builder: BatchBuilder;
  /** Index of the field that may be a LargeValue, and its name as bytes. */
  readonly largeField: number;
  private readonly names: readonly Buffer[];
  private readonly indexOf = new Map<string, number>();
  private readonly tenantField: number;
  private readonly typeField: number;
  /** The field that stood at each place in the record before: records mostly have one order. */
  private readonly order = new Int32Array(256).fill(-1);
  /** Of each field of the current record, its value token; -1 where it is missing. */
  private readonly starts: Int32Array;
  private readonly ends: Int32Array;
  private readonly unknown = new Set<string>();
  /** Names in the current record that the kind has not; undefined = none. */
  private strangers: Set<string> | undefined;
  /** Tokens of the current record's tenants but for the last; undefined = none. */
  private otherTenants: [start: number, end: number][] | undefined;
  /** Whose the current record is cannot be told, although only some tenants' are wanted: it must not be shown. */
  isAnybodys = false;
  private readonly intervalEnds: ReadonlySet<string>;
  /** By field. */
  private readonly writers: readonly TokenWriter[];

  constructor(
    readonly kind: RecordKind,
    private readonly options: RecordReaderOptions,
  ) {
    this.builder = new BatchBuilder(kind, options.limits);
    this.names = kind.fields.map((field) => Buffer.from(field.name, "utf8"));
    for (const [index, field] of kind.fields.entries()) this.indexOf.set(field.name, index);
    this.largeField = kind.fields.findIndex((field) => field.large);
    this.tenantField = tenantIndex(kind);
    const typeField = kind.postgres.largeObject?.typeField;
    this.typeField = typeField === undefined ? -1 : fieldIndex(kind, typeField);
    this.starts = new Int32Array(kind.fields.length);
    this.ends = new Int32Array(kind.fields.length);
    this.intervalEnds = new Set(kind.intervals?.map(([, end]) => end));
    this.writers = kind.fields.map((field) => createTokenWriter(field, options));
  }

  /** The field whose key token is `[start, end)`; -1 for none. */
  fieldOf(buffer: Buffer, start: number, end: number, place: number): number {
    const guess = place < this.order.length ? (this.order[place] as number) : -1;
    if (guess !== -1 && sameBytes(buffer, start + 1, end - 1, this.names[guess] as Buffer)) return guess;
    const name = JSON.parse(buffer.toString("utf8", start, end)) as string;
    const index = this.indexOf.get(name) ?? -1;
    if (index !== -1 && place < this.order.length) this.order[place] = index;
    return index;
  }

  /**
   * Adds the scanned record to the builder; false when it is another tenant's. `taken` is the content of the large field
   * where that was taken out of the text; for a LargeValue the builder must be empty. Throws a located StorageError.
   */
  read(buffer: Buffer, record: RecordScanner, taken?: TakenValue): boolean {
    let field = -1;
    let begun = false;
    try {
      const duplicate = this.findFields(buffer, record);
      // Before anything else about it is told.
      if (this.isForeign(buffer)) return false;
      this.reportStrangers();
      if (duplicate !== undefined)
        throw new StorageError("E_DOCUMENT_DUPLICATE", "a key stands twice in one record", { field: duplicate });
      this.builder.begin();
      begun = true;
      for (field = 0; field < this.starts.length; field++)
        if (this.starts[field] !== -1) this.readField(buffer, field, taken);
      for (field = 0; field < this.starts.length; field++) if (this.starts[field] === -1) this.readMissing(field);
      field = this.typeField;
      if (field !== -1) this.setStorageType(field, taken);
      this.builder.commit();
      return true;
    } catch (error) {
      if (begun) this.builder.rollback();
      const name = this.kind.fields[field]?.name;
      throw located(error, {
        section: this.kind.path,
        key: describeKey(this.kind, (index) => this.keyValue(buffer, index)),
        ...(name === undefined ? {} : { field: name }),
        ...(this.isAnybodys ? { detail: "whose it is cannot be told, so its values are not shown" } : {}),
      });
    }
  }

  /** Gives a name that stands twice. */
  private findFields(buffer: Buffer, record: RecordScanner): string | undefined {
    const { starts, ends } = this;
    const { tokens, count } = record;
    starts.fill(-1);
    this.strangers = undefined;
    this.otherTenants = undefined;
    let duplicate: string | undefined;
    for (let place = 0; place < count; place++) {
      const at = place * TOKEN_WIDTH;
      const index = this.fieldOf(buffer, tokens[at] as number, tokens[at + 1] as number, place);
      if (index === -1) {
        const name = JSON.parse(buffer.toString("utf8", tokens[at], tokens[at + 1])) as string;
        this.strangers ??= new Set();
        if (this.strangers.has(name)) duplicate ??= name;
        this.strangers.add(name);
        continue;
      }
      if (starts[index] !== -1) {
        duplicate ??= this.kind.fields[index]?.name;
        if (index === this.tenantField) {
          this.otherTenants ??= [];
          this.otherTenants.push([starts[index] as number, ends[index] as number]);
        }
      }
      starts[index] = tokens[at + 2] as number;
      ends[index] = tokens[at + 3] as number;
    }
    return duplicate;
  }

  private reportStrangers(): void {
    for (const name of this.strangers ?? []) {
      if (this.unknown.has(name)) continue;
      // Beyond, a name may be told more than once.
      if (this.unknown.size < NAMES) this.unknown.add(name);
      const { sqlite } = this.kind;
      const isSurrogate = sqlite.layout === "table" && sqlite.surrogateKey === name;
      if (!(this.options.dialect.legacy && isSurrogate)) this.options.onUnknownField(name);
    }
  }

  private isForeign(buffer: Buffer): boolean {
    const { tenants } = this.options;
    if (tenants === undefined || this.tenantField === -1) return false;
    const last = this.isWanted(buffer, this.starts[this.tenantField] as number, this.ends[this.tenantField] as number);
    const others = this.otherTenants?.map(([start, end]) => this.isWanted(buffer, start, end)) ?? [];
    this.isAnybodys = last === undefined || others.some((wanted) => wanted !== last);
    return last === false && !this.isAnybodys;
  }

  /** Whether the token names a tenant that is wanted; undefined where it names none. */
  private isWanted(buffer: Buffer, start: number, end: number): boolean | undefined {
    if (start === -1 || buffer[start] !== QUOTE) return undefined;
    return this.options.tenants?.has(JSON.parse(buffer.toString("utf8", start, end)) as string);
  }

  private readField(buffer: Buffer, index: number, taken: TakenValue | undefined): void {
    const { builder } = this;
    const field = this.kind.fields[index] as Field;
    const from = this.starts[index] as number;
    const start = builder.arena.length;
    if (index === this.largeField && taken !== undefined) {
      if (taken instanceof StorageError) throw taken;
      if (!Buffer.isBuffer(taken)) {
        builder.setLarge(taken);
        return;
      }
      builder.arena.copy(taken, 0, taken.length);
    } else if (buffer[from] === NULL_TOKEN) {
      if (!this.writeNull(buffer, index, field)) return;
    } else {
      this.writeToken(buffer, from, this.ends[index] as number, index, builder.arena);
    }
    builder.set(index, start);
    if (field.constant !== undefined) this.checkConstant(field, builder.valueOf(index).readInt32BE(0));
  }

  /** False when the value is SQL NULL (and so not to be set). */
  private writeNull(buffer: Buffer, index: number, field: Field): boolean {
    const { legacy } = this.options.dialect;
    if (field.large)
      throw new StorageError("E_LARGE_OBJECT_MISSING", `the ${this.kind.noun} was exported without its content`);
    if (legacy && this.intervalEnds.has(field.name)) {
      this.writeInfinity(index);
      return true;
    }
    const { sqlite, hasNull } = codecOf(field);
    if (sqlite === "embedding") throw new StorageError("E_INVALID_EMBEDDING", "the embedding is missing");
    if (field.nullable && (legacy || hasNull !== true)) return false;
    const { arena } = this.builder;
    this.writeToken(buffer, this.starts[index] as number, this.ends[index] as number, index, arena);
    return true;
  }

  private writeInfinity(index: number): void {
    const token = Buffer.from('"infinity"', "latin1");
    this.writeToken(token, 0, token.length, index, this.builder.arena);
  }

  private writeToken(buffer: Buffer, start: number, end: number, index: number, out: ByteWriter): void {
    (this.writers[index] as TokenWriter)(buffer, start, end, out);
  }

  private checkConstant(field: Field, found: number): void {
    if (found === field.constant) return;
    const message = `mismatch: expected ${field.constant}, got ${found}`;
    if (field.name === "dimension") throw new StorageError("E_DIMENSION_MISMATCH", `Dimension ${message}`);
    throw new StorageError("E_FIELD_TYPE", message);
  }

  private readMissing(index: number): void {
    const { builder } = this;
    const field = this.kind.fields[index] as Field;
    const { legacy } = this.options.dialect;
    const given = legacy ? field.legacyDefault : undefined;
    // What llmspell's own document lacks is for new rows only; in ours a field that may be NULL and lacks is NULL.
    if (legacy && field.constant === undefined && index !== this.typeField) builder.assume(index);
    const start = builder.arena.length;
    if (given !== undefined && "json" in given) {
      const token = Buffer.from(given.json, "utf8");
      this.writeToken(token, 0, token.length, index, builder.arena);
    } else if (given !== undefined && "field" in given) {
      const value = builder.valueOf(fieldIndex(this.kind, given.field));
      builder.arena.copy(value, 0, value.length);
    } else if (given !== undefined) {
      builder.arena.int32(builder.lengthOf(fieldIndex(this.kind, given.lengthOf)));
    } else if (legacy && this.intervalEnds.has(field.name)) {
      this.writeInfinity(index);
    } else if (field.nullable) {
      return;
    } else {
      throw new StorageError("E_MISSING_FIELD", "the record lacks a field that it must have");
    }
    builder.set(index, start);
  }

  /** What the document says is only checked: the content's length decides. */
  private setStorageType(index: number, taken: TakenValue | undefined): void {
    const { builder } = this;
    const said = builder.valueOf(index).toString("utf8");
    const isKnown = said === "bytea" || said === "large_object" || (this.options.dialect.legacy && said === "blob");
    if (!isKnown) throw new StorageError("E_FIELD_TYPE", 'expected "bytea" or "large_object", found another string');
    const start = builder.arena.length;
    const isLarge = taken !== undefined && !Buffer.isBuffer(taken);
    builder.arena.latin1(isLarge ? "large_object" : "bytea");
    builder.set(index, start);
  }

  /** A key field's canonical bytes for a message; where they cannot be read, its string as it stands in the document. */
  private keyValue(buffer: Buffer, index: number): Buffer | string | undefined {
    const start = this.starts[index] as number;
    if (start === -1) return undefined;
    const out = new ByteWriter(64);
    try {
      this.writeToken(buffer, start, this.ends[index] as number, index, out);
      return out.view();
    } catch {
      return buffer[start] === QUOTE ? buffer.toString("utf8", start + 1, (this.ends[index] as number) - 1) : undefined;
    }
  }
}

/** Appends the canonical bytes of the token `[start, end)`, which is not that of SQL NULL. */
type TokenWriter = (buffer: Buffer, start: number, end: number, out: ByteWriter) => void;

function createTokenWriter(field: Field, { dialect, ownLayout }: RecordReaderOptions): TokenWriter {
  const codec = codecOf(field);
  const { sqlite, hasNull } = codec;
  const plain: TokenWriter = (buffer, start, end, out) => codec.fromToken(field, buffer, start, end, out, dialect);
  if (sqlite === "embedding")
    return (buffer, start, end, out) => {
      if (end - start === 2 && buffer[start] === QUOTE) throw emptyEmbedding();
      plain(buffer, start, end, out);
    };
  if (hasNull !== true) return plain;
  const write = ownLayout ? copyWithBlanks : plain;
  if (!dialect.legacy || field.nullable !== true) return write;
  return (buffer, start, end, out) => {
    if (buffer[start] === QUOTE) writeEmbeddedJson(parseStringToken(buffer, start, end), out);
    else write(buffer, start, end, out);
  };
}

/** A json token between `:` and what ends it, with the blanks around it: SQLite holds them. */
function copyWithBlanks(buffer: Buffer, start: number, end: number, out: ByteWriter): void {
  let from = start;
  let to = end;
  while (isBlank(buffer[from - 1])) from--;
  while (isBlank(buffer[to])) to++;
  copyWithoutLineBreaks(buffer, from, to, out);
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09;
}

function emptyEmbedding(): StorageError {
  return new StorageError("E_INVALID_EMBEDDING", "the embedding is empty", {
    hint: "llmspell's own exporter loses vectors: export its .db file with this tool, or go without: --exclude vector_embeddings.",
  });
}

/** JSON that llmspell wrote as a string that holds its text. */
function writeEmbeddedJson(text: string, out: ByteWriter): void {
  try {
    JSON.parse(text);
  } catch {
    throw new StorageError("E_INVALID_JSON", "the string does not hold valid JSON");
  }
  const bytes = Buffer.from(text, "utf8");
  copyWithoutLineBreaks(bytes, 0, bytes.length, out);
}

function sameBytes(buffer: Buffer, start: number, end: number, expected: Buffer): boolean {
  if (end - start !== expected.length) return false;
  for (let i = 0; i < expected.length; i++) if (buffer[start + i] !== expected[i]) return false;
  return true;
}
