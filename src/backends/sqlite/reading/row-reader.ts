/**
 * Rows of SQLite into canonical records: storage classes checked, companions and both embedding shapes understood.
 * Over 300 lines: the loop over columns stays in one function, so that nothing is looked up per value.
 */

import { constants, isUtf8 } from "node:buffer";
import { hash } from "node:crypto";
import type { Statement } from "better-sqlite3";
import {
  columnOf,
  exactColumnOf,
  type Field,
  fieldIndex,
  LARGE_VALUE_BYTES,
  type RecordKind,
} from "../../../catalog/index.js";
import { ByteWriter } from "../../../codecs/byte-writer.js";
import { type Codec, fieldTypeError, sqliteType } from "../../../codecs/codec.js";
import { codecOf } from "../../../codecs/index.js";
import { fromSqliteTime, INFINITY, MINUS_INFINITY, SQLITE_INFINITY, toUnixSeconds } from "../../../codecs/timestamp.js";
import { StorageError } from "../../../errors.js";
import type { BatchBuilder } from "../../../records/record-batch.js";
import { describeKey } from "../../../records/record-key.js";
import type { Database } from "../open.js";
import {
  columnsOf,
  lacksRowids,
  mainTable,
  neededColumns,
  quoted,
  release,
  requireRowids,
  rowidOf,
  type SqlRow,
  type SqlValue,
} from "../table.js";
import { createLargeContentReader, type LargeContentReader } from "./large-content.js";
import { hasPlainNumbers } from "./plain-numbers.js";

export interface RowReader<Row = SqlRow> {
  /** The select list over the alias `t` (the main table) and `e` (embeddings). The first value is the rowid. */
  readonly select: string;
  /** The same where the driver refuses a row for the length of a value: without it, and with its field's name behind. */
  readonly shortSelect: string;
  /** Its rows have INTEGERs as Numbers, but for those of whoever asks for BigInts all the same. */
  readonly hasNumbers: boolean;
  /** The fields in the order in which `read` gives their values to the builder, but for those of a content that is large. */
  readonly written: readonly number[];
  /** Whether the row's content travels beside its batch: it must be the first of one. */
  hasLargeValue(row: Row): boolean;
  /**
   * Between begin() and commit() of the builder. Throws a StorageError with section, key and field; else the row's BLOBs
   * are gone.
   */
  read(row: Row, builder: BatchBuilder): void;
  /** The row's values under their field names, as far as they are known, for a reject. */
  fields(row: Row): Iterable<readonly [Field, SqlValue]>;
  /** Names the record, also where its key is not valid. */
  keyOf(row: Row): string;
}

interface Column {
  readonly field: Field;
  readonly index: number;
  readonly codec: Codec;
  readonly isEmbedding: boolean;
  /** It may hold bytes that are no text. */
  readonly hasText: boolean;
  readonly at: number;
  /** Where the companion is. */
  readonly exactAt?: number;
  /** Of a text that cannot be read again by a rowid, where its bytes are. */
  readonly bytesAt?: number;
}

/** Neither the driver nor a text of JavaScript holds more. */
const MAX_VALUE_BYTES = constants.MAX_STRING_LENGTH;
const SAFE = 2n ** 53n;
const EPOCH_SECONDS = 946684800;

/**
 * Appends the time that seconds and companion say, where that can be told of Numbers: the seconds are a safe integer, the companion
 * may be rounded.
 */
function isExactTimeWritten(seconds: number, exact: number, out: ByteWriter): boolean {
  if (Number.isSafeInteger(exact)) {
    if (Math.floor(exact / 1e6) + EPOCH_SECONDS !== seconds) return false;
    out.safeInt64(exact);
    return true;
  }
  // No companion of a time that ends is as far away.
  if (Math.abs(exact) < 2 ** 62 || BigInt(Math.abs(seconds)) !== SQLITE_INFINITY || seconds > 0 !== exact > 0)
    return false;
  out.int64(seconds > 0 ? INFINITY : MINUS_INFINITY);
  return true;
}

function writeTime(seconds: bigint, exact: bigint | undefined, out: ByteWriter): void {
  const isNear = exact !== undefined && exact < SAFE && exact > -SAFE;
  if (!isNear || !isExactTimeWritten(Number(seconds), Number(exact), out)) out.int64(fromSqliteTime(seconds, exact));
}

/**
 * The reader of a kind's rows; undefined when its table is not there. Companion columns may be missing (a database
 * without our migrations). E_SCHEMA when another column is.
 */
export function createRowReader(
  database: Database,
  kind: RecordKind,
  options: {
    /** Embeddings by rowid, where they are not to be joined; undefined for a rowid that has several. */
    embeddings?: ((rowid: bigint) => SqlValue | undefined) | undefined;
  } = {},
): RowReader | undefined {
  const table = mainTable(kind);
  const present = columnsOf(database, table);
  if (present === undefined) return undefined;
  requireRowids(database, table, lacksRowids(kind));
  for (const column of neededColumns(kind).plain)
    if (!present.has(column)) throw new StorageError("E_SCHEMA", `the table ${table} has no column ${column}`);

  const embeddingTable = kind.sqlite.layout === "vector" ? kind.sqlite.embeddingTable : undefined;
  const joined =
    embeddingTable !== undefined &&
    options.embeddings === undefined &&
    columnsOf(database, embeddingTable) !== undefined;
  const rowid = lacksRowids(kind) ? undefined : rowidOf(database, table);
  const identity = rowid === undefined ? "NULL" : `t.${rowid}`;
  const expressions = [identity];
  const shortExpressions = [identity];
  const tooLong: string[] = [];
  const isTooLong = (column: string): string => `octet_length(${column}) > ${MAX_VALUE_BYTES}`;
  const add = (expression: string, of?: readonly [column: string, field: Field]): number => {
    const [column, field] = of ?? [];
    if (field !== undefined) tooLong.push(`WHEN ${isTooLong(`${column}`)} THEN '${field.name}'`);
    const short = `CASE WHEN ${isTooLong(`${column}`)} THEN NULL ELSE ${expression} END`;
    shortExpressions.push(field === undefined ? expression : short);
    return expressions.push(expression) - 1;
  };
  // Embeddings go by what is called `rowid`, be it the table's own or a column.
  const embeddingAt = rowid !== "rowid" && options.embeddings !== undefined ? add("t.rowid") : 0;
  const columns: Column[] = [];
  const constants: { index: number; value: number }[] = [];
  let large: { index: number; lengthAt: number; field: Field; read: LargeContentReader } | undefined;
  let typeIndex: number | undefined;
  for (const [index, field] of kind.fields.entries()) {
    const name = `t.${quoted(columnOf(field))}`;
    const codec = codecOf(field);
    const isEmbedding = codec.sqlite === "embedding";
    const hasText = codec.sqlite === "text" || codec.sqlite === "id";
    const column = { field, index, codec, isEmbedding, hasText };
    if (field.constant !== undefined) constants.push({ index, value: field.constant });
    else if (field.sqlite === false) typeIndex = index;
    else if (field.large && rowid !== undefined) {
      const isLarge = `typeof(${name}) = 'blob' AND length(${name}) >= ${LARGE_VALUE_BYTES}`;
      const at = add(`CASE WHEN ${isLarge} THEN NULL ELSE ${name} END`, [name, field]);
      const lengthAt = add(`CASE WHEN ${isLarge} THEN length(${name}) END`);
      large = { index, lengthAt, field, read: createLargeContentReader(database, table, rowid, field) };
      columns.push({ ...column, at });
    } else if (isEmbedding) {
      columns.push({ ...column, at: add(joined ? "e.embedding" : "NULL") });
    } else {
      const at = add(name, [name, field]);
      const exact = exactColumnOf(field);
      const hasExact = codec.sqlite === "time" && present.has(exact);
      const again = rowid === undefined && hasText;
      columns.push({
        ...column,
        at,
        ...(again ? { bytesAt: add(`CAST(${name} AS BLOB)`, [name, field]) } : {}),
        ...(hasExact ? { exactAt: add(`t.${quoted(exact)}`) } : {}),
      });
    }
  }
  const digest = digestColumns(kind, present, columns, add);
  const storedType = kind.postgres.largeObject?.typeField;
  if (typeIndex !== undefined && kind.fields[typeIndex]?.name !== storedType)
    throw new Error(`${kind.path}: a field that is not in SQLite and not derived`);
  const list = (of: readonly string[]): string => of.map((expression, i) => `${expression} AS c${i}`).join(", ");
  const tooLongAt = shortExpressions.push(`CASE ${tooLong.join(" ")} END`) - 1;
  const [encoding] = database.prepare("PRAGMA encoding").raw().get() as [string];
  const readAgain =
    rowid === undefined
      ? undefined
      : valueReader(database, table, rowid, (column) => `CAST(${quoted(column)} AS BLOB)`);
  const mayBeInvalid =
    encoding === "UTF-8"
      ? (text: string): boolean => text.includes("\uFFFD")
      : (text: string): boolean => Buffer.byteLength(text) > text.length;
  const { embeddings } = options;
  const hasNumbers = rowid !== undefined && embeddings === undefined && hasPlainNumbers(database, kind, rowid, present);
  const exactly = rowid === undefined ? undefined : valueReader(database, table, rowid, quoted);
  /** As BigInts have it: what is no safe integer may have been rounded. */
  const stored = (row: SqlRow, value: SqlValue, column: string): SqlValue => {
    if (!hasNumbers || typeof value !== "number" || !present.has(column)) return value;
    return Number.isSafeInteger(value) ? BigInt(value) : (exactly?.(row[0], column) ?? null);
  };
  const valueAt = ({ isEmbedding, at }: Column, row: SqlRow): SqlValue | undefined =>
    isEmbedding && embeddings !== undefined ? embeddings(row[embeddingAt] as bigint) : row[at];

  const writeValue = (column: Column, row: SqlRow, value: SqlValue, out: ByteWriter): void => {
    const { field, hasText, exactAt, bytesAt } = column;
    if (value === null) throw missing(field);
    if (typeof value === "string" && hasText && mayBeInvalid(value))
      requireValid(bytesAt === undefined ? readAgain?.(row[0], columnOf(field)) : row[bytesAt], encoding);
    if (typeof value === "number" && hasNumbers) {
      writeNumber(column, row, value, out);
      return;
    }
    writeStored(column, value, exactAt === undefined ? null : (row[exactAt] ?? null), out);
  };

  /** An INTEGER that came as a Number, or a REAL. */
  const writeNumber = (column: Column, row: SqlRow, value: number, out: ByteWriter): void => {
    const { field, codec, exactAt } = column;
    const exact = exactAt === undefined ? null : (row[exactAt] ?? null);
    if (exact === null && codec.fromInteger !== undefined && Number.isSafeInteger(value)) {
      codec.fromInteger(value, out);
      return;
    }
    if (Number.isSafeInteger(value) && typeof exact === "number" && isExactTimeWritten(value, exact, out)) return;
    writeStored(column, stored(row, value, columnOf(field)), stored(row, exact, exactColumnOf(field)), out);
  };

  const writeStored = (
    { field, codec, exactAt }: Column,
    value: SqlValue,
    companion: SqlValue,
    out: ByteWriter,
  ): void => {
    if (value === null) throw missing(field);
    if (exactAt === undefined || typeof value !== "bigint") {
      codec.fromSqlite(field, value, out);
      return;
    }
    const exact = companion ?? undefined;
    if (exact !== undefined && typeof exact !== "bigint")
      throw fieldTypeError(`INTEGER in ${exactColumnOf(field)}`, sqliteType(exact));
    writeTime(value, exact, out);
  };

  const canonicalOf = (column: Column, row: SqlRow): Buffer | undefined => {
    const out = new ByteWriter(256);
    try {
      writeValue(column, row, row[column.at] as SqlValue, out);
      return out.view();
    } catch {
      return undefined;
    }
  };

  const keyOf = (row: SqlRow): string =>
    kind.key
      .map((name) => {
        const column = columns.find(({ field }) => field.name === name) as Column;
        const value = row[column.at];
        const canonical = canonicalOf(column, row);
        if (canonical === undefined && typeof value === "string") return `${name}=${shortened(value)}`;
        return describeKey({ ...kind, key: [name] }, () => canonical);
      })
      .join(", ");

  const refuseTooLong = (row: SqlRow): void => {
    const length = large === undefined ? null : (row[large.lengthAt] ?? null);
    const field = length !== null && (length as bigint) > MAX_VALUE_BYTES ? large?.field.name : row[tooLongAt];
    if (typeof field !== "string") return;
    throw new StorageError("E_TARGET_LIMIT", "the value is larger than can be read (512 MiB)", {
      ...{ section: kind.path, key: keyOf(row), field },
    });
  };

  return {
    select: list(expressions),
    shortSelect: list(shortExpressions),
    hasNumbers,
    written: [...constants, ...columns, ...(typeIndex === undefined ? [] : [{ index: typeIndex }])].map(
      ({ index }) => index,
    ),
    hasLargeValue: (row) => large !== undefined && row[large.lengthAt] !== null,
    keyOf,
    read(row, builder) {
      refuseTooLong(row);
      const out = builder.arena;
      const isLarge = large !== undefined && row[large.lengthAt] !== null;
      for (const { index, value } of constants) {
        const start = out.length;
        out.int32(value);
        builder.set(index, start);
      }
      for (const column of columns) {
        const { field, index } = column;
        const value = valueAt(column, row);
        if (value === null && (field.nullable || (isLarge && field.large))) continue;
        const start = out.length;
        try {
          if (value === undefined) throw new StorageError("E_INVALID_EMBEDDING", "the record has two embeddings");
          if (column === digest?.column) writeDigest(digest, row, value, out);
          else writeValue(column, row, value, out);
        } catch (error) {
          if (!(error instanceof StorageError)) throw error;
          const context = { section: kind.path, key: keyOf(row), field: field.name };
          throw new StorageError(error.code, error.message, { ...error.context, ...context }, error.cause);
        }
        builder.set(index, start);
        // A staged embedding can be read again.
        if (value !== row[column.at]) release(value);
      }
      if (typeIndex !== undefined) {
        const start = out.length;
        out.latin1(isLarge ? "large_object" : "bytea");
        builder.set(typeIndex, start);
      }
      if (isLarge && large !== undefined) {
        const { index, lengthAt, read } = large;
        const [at, length] = [row[0], row[lengthAt]] as [bigint | number, bigint | number];
        const chunks = () => read(BigInt(at), BigInt(length));
        builder.setLarge({ field: index, chunks, discard: async () => {} });
      }
      for (const value of row) release(value);
    },
    *fields(row) {
      for (const column of columns) {
        const { field } = column;
        if (
          field === large?.field &&
          row[large.lengthAt] !== null &&
          (row[large.lengthAt] as bigint) <= MAX_VALUE_BYTES
        )
          yield [field, readWhole(database, table, rowid as string, field, BigInt(row[0] as bigint | number))];
        else yield [field, stored(row, valueAt(column, row) ?? null, columnOf(field))];
      }
    },
  };

  function writeDigest(found: DigestColumns, row: SqlRow, value: SqlValue, out: ByteWriter): void {
    const exported = found.companionAt === undefined ? null : row[found.companionAt];
    const text = row[found.textAt];
    const counts =
      typeof exported === "string" &&
      exported !== value &&
      !wasTouched(found.touched, row, stored) &&
      typeof text === "string" &&
      hash("sha256", text) === value;
    writeValue(found.column, row, counts ? exported : value, out);
  }
}

/** Whether the application has set the time since we wrote it. */
function wasTouched(
  { field, at, exactAt }: Column,
  row: SqlRow,
  stored: (row: SqlRow, value: SqlValue, column: string) => SqlValue,
): boolean {
  const exact = exactAt === undefined ? null : stored(row, row[exactAt] ?? null, exactColumnOf(field));
  return typeof exact === "bigint" && stored(row, row[at] ?? null, columnOf(field)) !== toUnixSeconds(exact);
}

interface DigestColumns {
  readonly column: Column;
  readonly touched: Column;
  readonly textAt: number;
  readonly companionAt: number | undefined;
}

function digestColumns(
  kind: RecordKind,
  present: ReadonlySet<string>,
  columns: readonly Column[],
  add: (expression: string) => number,
): DigestColumns | undefined {
  const digest = kind.sqlite.layout === "table" ? kind.sqlite.textDigest : undefined;
  if (digest === undefined) return undefined;
  const find = (name: string): Column => columns.find(({ index }) => index === fieldIndex(kind, name)) as Column;
  const companionAt = present.has(digest.companion) ? add(`t.${quoted(digest.companion)}`) : undefined;
  return { column: find(digest.field), touched: find(digest.touched), textAt: find(digest.of).at, companionAt };
}

function missing(field: Field): StorageError {
  if (codecOf(field).sqlite === "embedding")
    return new StorageError("E_INVALID_EMBEDDING", "the record has no embedding");
  return new StorageError("E_MISSING_FIELD", `${field.name} is NULL`);
}

/** Longer texts are cut here in messages. */
const SHOWN_CHARACTERS = 200;

function shortened(text: string): string {
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}

/**
 * Reads a value again by its rowid: an INTEGER that came rounded, and a text as bytes. The driver makes U+FFFD of bytes that are no
 * UTF-8, and SQLite other characters of a surrogate that is alone in UTF-16: E_INVALID_UTF8 when they are not valid.
 */
function valueReader(
  database: Database,
  table: string,
  rowid: string,
  expression: (column: string) => string,
): (at: SqlValue | undefined, column: string) => SqlValue {
  const statements = new Map<string, Statement>();
  return (at, column) => {
    let statement = statements.get(column);
    if (statement === undefined) {
      const sql = `SELECT ${expression(column)} FROM ${quoted(table)} WHERE ${rowid} = ?`;
      statement = database.prepare(sql).pluck().safeIntegers();
      statements.set(column, statement);
    }
    return statement.get(BigInt(at as bigint | number)) as SqlValue;
  };
}

function requireValid(bytes: SqlValue | undefined, encoding: string): void {
  if (!Buffer.isBuffer(bytes) || !(encoding === "UTF-8" ? isUtf8(bytes) : isUtf16(bytes, encoding)))
    throw new StorageError("E_INVALID_UTF8", `the text is not valid ${encoding}`);
}

function isUtf16(bytes: Buffer, encoding: string): boolean {
  if (bytes.length % 2 !== 0) return false;
  const little = encoding === "UTF-16le" ? bytes : Buffer.from(bytes).swap16();
  return little.toString("utf16le").isWellFormed();
}

function readWhole(database: Database, table: string, rowid: string, field: Field, at: bigint): Buffer {
  const query = `SELECT ${quoted(columnOf(field))} FROM ${quoted(table)} WHERE ${rowid} = ?`;
  const [bytes] = database.prepare(query).raw().get(at) as [Buffer];
  return bytes;
}
