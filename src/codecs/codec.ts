/**
 * The contract of the codecs: one per field type, between the canonical bytes (catalog/types.ts) and the three outside
 * forms: the document's JSON token, PostgreSQL's binary wire form, SQLite's value. SQL NULL never reaches a codec.
 *
 * A codec throws a StorageError without context; the caller adds section, key and field (`located`).
 */
import type { Field } from "../catalog/index.js";
import type { ErrorContext } from "../errors.js";
import { StorageError } from "../errors.js";
import type { ByteWriter } from "./byte-writer.js";
import { findByte } from "./find-byte.js";

/** A non-NULL SQLite value, read with safe integers: INTEGER is bigint, REAL is number, TEXT is string, BLOB is Buffer. */
export type SqliteValue = bigint | number | string | Buffer;

/** A value to bind. Numbers are bound as REAL; INTEGER affinity makes integers of them. */
export type SqliteParam = bigint | number | string | Buffer;

/**
 * How SQLite, which has few types, stores one. "id": text, in which a UUID may have several spellings. "time": seconds, and the
 * exact time in a column beside it. "embedding": a BLOB in a table of its own.
 */
export type SqliteForm = "number" | "text" | "id" | "time" | "blob" | "embedding";

/** What a type is in PostgreSQL. */
export interface PostgresType {
  /** The types that a column may have: those whose binary form the codec reads and writes. The first one is the usual one. */
  readonly types: readonly string[];
  /** Of a type whose values hold text: its name in SQL. Only the server can judge them: their encoding, and jsonb's limits. */
  readonly text?: string;
  /** Values sort by the server's collation unless told otherwise. */
  readonly collated?: true;
  /** What a literal has to be cast to, to be compared with. */
  readonly cast?: string;
}

/** How a document is to be read. */
export interface TokenDialect {
  /** Written by llmspell itself: a few more forms are accepted. */
  readonly legacy: boolean;
  /** The unit of its times. Default: seconds in legacy documents, microseconds in others. */
  readonly times?: "us" | "s";
}

export interface Codec {
  readonly postgres: PostgresType;
  readonly sqlite: SqliteForm;
  /** null is one of the type's values: SQL NULL is the key's absence from a document, and undefined in a program. */
  readonly hasNull?: true;
  /** A program's value is made when it is asked for: parsing and copying it would cost more than all the rest. */
  readonly lazy?: true;
  /** `source[start, end)` is one valid JSON token (or array/object) in valid UTF-8. Appends canonical bytes to `out`. */
  fromToken(field: Field, source: Buffer, start: number, end: number, out: ByteWriter, dialect: TokenDialect): void;
  /** Appends the JSON token of the canonical `source[start, start + length)`. */
  toToken(field: Field, source: Buffer, start: number, length: number, out: ByteWriter): void;
  /** `source[start, start + length)` is a value in PostgreSQL's binary form. Appends canonical bytes. */
  fromWire(field: Field, source: Buffer, start: number, length: number, out: ByteWriter): void;
  /** Appends int32 length and the value in PostgreSQL's binary form; throws for what PostgreSQL cannot hold. */
  toWire(field: Field, source: Buffer, start: number, length: number, out: ByteWriter): void;
  /** Appends canonical bytes. A timestamp's companion column is the caller's business (codecs/timestamp.ts). */
  fromSqlite(field: Field, value: SqliteValue, out: ByteWriter): void;
  /** The same of an INTEGER that is a Number; there where the type is kept as INTEGER. */
  fromInteger?(value: number, out: ByteWriter): void;
  /** What reading it gives back (of a time the seconds). */
  toSqlite(field: Field, source: Buffer, start: number, length: number): SqliteValue;
  /** The value to bind, the cheapest one that is stored as that. */
  toParam(source: Buffer, start: number, length: number): SqliteParam;
  /** What a program sees (catalog/index.ts, FieldValues). */
  toValue(source: Buffer, start: number, length: number): unknown;
  /** The same as toToken's, as a value of JSON; undefined where it is to be made from the token. */
  toJson?(source: Buffer, start: number, length: number): string | number | boolean | undefined;
  /** For bounds. */
  toNumber?(source: Buffer, start: number): number | bigint;
  /** As plain text, by which SQL finds it. */
  toName?(source: Buffer, start: number, length: number): string;
  /** Throws for a canonical value that no database holds. */
  check?(source: Buffer, start: number): void;
}

/** The same error with more context; context that it already has wins. */
export function located(error: unknown, context: ErrorContext): unknown {
  if (!(error instanceof StorageError)) return error;
  return new StorageError(error.code, error.message, { ...context, ...error.context }, error.cause);
}

/** E_FIELD_TYPE: `expected` names the type that the field should have, `found` the type (never the value) it has. */
export function fieldTypeError(expected: string, found: string): StorageError {
  return new StorageError("E_FIELD_TYPE", `expected ${expected}, found ${found}`);
}

/** The JSON type of the token at `start`, for messages. */
export function tokenType(source: Buffer, start: number): string {
  switch (source[start]) {
    case 0x22:
      return "a string";
    case 0x7b:
      return "an object";
    case 0x5b:
      return "an array";
    case 0x74:
    case 0x66:
      return "a boolean";
    case 0x6e:
      return "null";
    default:
      return "a number";
  }
}

/** The type of an SQLite value, for messages. */
export function sqliteType(value: SqliteValue): string {
  if (typeof value === "string") return "TEXT";
  if (typeof value === "bigint") return "INTEGER";
  return typeof value === "number" ? "REAL" : "BLOB";
}

/** The string of a JSON string token, which must be well-formed Unicode. */
export function parseStringToken(source: Buffer, start: number, end: number): string {
  if (source[start] !== 0x22) throw fieldTypeError("a string", tokenType(source, start));
  if (findByte(source, 0x5c, start, end) === -1) return source.toString("utf8", start + 1, end - 1);
  const text = JSON.parse(source.toString("utf8", start, end)) as string;
  if (!text.isWellFormed()) throw new StorageError("E_INVALID_UTF8", "the text holds a lone surrogate");
  return text;
}
