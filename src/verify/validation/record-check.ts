/** What an import into a backend would refuse of one record, without the backend. */
import { type Field, type RecordKind, storedFields } from "../../catalog/index.js";
import { findByte } from "../../codecs/find-byte.js";
import { located } from "../../codecs/index.js";
import { JSON_MAX_DEPTH, jsonDepth, refuseUnstorableEscapes } from "../../codecs/json-text.js";
import { refuseUnstorableText } from "../../codecs/text.js";
import { idText, isIdText, uuidDigits } from "../../codecs/uuid.js";
import { requireFinite } from "../../codecs/vector.js";
import { StorageError } from "../../errors.js";
import { createConstraintCheck } from "../../records/constraints.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { type IndexedColumns, postgresIndexes, sqliteJsonIndexes } from "./indexed-columns.js";
import { refuseUnstorableJson } from "./jsonb-limits.js";
import { pglzLength } from "./pglz.js";

/** Throws a StorageError with the field in its context. */
export type RowCheck = (batch: RecordBatch, row: number) => void;

/** In the order in which an import comes to them: ids, what the program itself checks, what the server judges. */
export interface RecordChecks {
  readonly ids: RowCheck | undefined;
  readonly values: RowCheck;
  readonly server: RowCheck | undefined;
}

export type Backend = "postgresql" | "sqlite";

/** `backend`: undefined: what every backend refuses. */
export function createRecordChecks(kind: RecordKind, backend: Backend | undefined): RecordChecks {
  const constraints = createConstraintCheck(kind);
  if (backend === undefined) return { ids: undefined, values: constraints, server: undefined };
  if (backend === "sqlite") return { ids: undefined, values: constraints, server: deepJsonCheck(kind) };
  const storable = createStorableCheck(kind);
  return {
    ids: idCheck(kind),
    values: (batch, row) => {
      constraints(batch, row);
      storable(batch, row);
    },
    server: serverCheck(kind),
  };
}

/** The values of the row's fields that are not NULL and stand in the batch, one check for each field of some types. */
function perField(
  fields: readonly (readonly [index: number, field: Field])[],
  check: (field: Field, source: Buffer, start: number, end: number) => void,
): RowCheck {
  return ({ bytes, starts, lengths, width }, row) => {
    for (const [index, field] of fields) {
      const at = row * width + index;
      const length = lengths[at] as number;
      if (length < 0) continue;
      const start = starts[at] as number;
      try {
        check(field, bytes, start, start + length);
      } catch (error) {
        throw located(error, { field: field.name });
      }
    }
  };
}

function fieldsOf(kind: RecordKind, ...types: readonly Field["type"][]): [number, Field][] {
  return storedFields(kind, "postgresql")
    .map((field): [number, Field] => [kind.fields.indexOf(field), field])
    .filter(([, { type }]) => types.includes(type));
}

function idCheck(kind: RecordKind): RowCheck {
  return perField(fieldsOf(kind, "uuid"), (_field, source, start, end) => {
    const length = end - start;
    if (!isIdText(length) || uuidDigits(idText(source, start, length)) !== undefined) return;
    throw new StorageError("E_INVALID_UUID", "the id is not a UUID", {
      hint: "--invalid-uuid derive makes UUIDs of such ids, and --id-map FILE keeps what brings them back.",
    });
  });
}

/** What has no form in PostgreSQL. */
function createStorableCheck(kind: RecordKind): RowCheck {
  return perField(fieldsOf(kind, "text", "json", "vector", "text_array"), (field, source, start, end) => {
    if (field.type === "text") refuseUnstorableText(field, source, start, end);
    else if (field.type === "json") refuseUnstorableEscapes(source, start, end);
    else if (field.type === "vector") requireFinite(source, start, end);
    else if (findByte(source, 0x5c, start, end) !== -1 && tagsOf(source, start, end).some((tag) => tag?.includes("\0")))
      throw new StorageError("E_NUL_CHARACTER", "an element holds U+0000");
  });
}

function tagsOf(source: Buffer, start: number, end: number): readonly (string | null)[] {
  return JSON.parse(source.toString("utf8", start, end)) as (string | null)[];
}

/** Bytes of an entry of a B-tree and of a GIN index (BTMaxItemSize, GinMaxItemSize), with pages of 8 KiB. */
const LARGEST_ENTRY = { btree: 2704, gin: 2712 } as const;
/** Values beyond are compressed in an index (TOAST_INDEX_TARGET). */
const COMPRESSED_FROM = 510;
const TUPLE_HEADER = 8;
/** Bytes of text that fit whatever stands beside them. */
const SURELY_FITS = 2400;
/** Bytes of a value in an index tuple that is no text, with its padding, at most. */
const FIXED_BYTES = 16;

function serverCheck(kind: RecordKind): RowCheck {
  const json = perField(fieldsOf(kind, "json"), (_field, source, start, end) =>
    refuseUnstorableJson(source, start, end),
  );
  // A GIN index of jsonb hashes what is long.
  const indexes = postgresIndexes(kind).filter(({ method, fields }) =>
    fields.some((index) => (kind.fields[index] as Field).type === (method === "gin" ? "text_array" : "text")),
  );
  const texts = [...new Set(indexes.flatMap(({ fields }) => fields))].filter((index) =>
    ["text", "text_array"].includes((kind.fields[index] as Field).type),
  );
  return (batch, row) => {
    json(batch, row);
    let total = 0;
    for (const index of texts) total += batch.lengths[row * batch.width + index] as number;
    // Nearly always: all of them together would fit.
    if (total < SURELY_FITS) return;
    for (const index of indexes) refuseLargeEntry(kind, index, batch, row);
  };
}

function refuseLargeEntry(kind: RecordKind, { method, fields }: IndexedColumns, batch: RecordBatch, row: number): void {
  const most = LARGEST_ENTRY[method];
  const length = (index: number): number => Math.max(0, batch.lengths[row * batch.width + index] as number);
  let longest = fields[0] as number;
  let plain = TUPLE_HEADER;
  for (const index of fields) {
    plain += (kind.fields[index] as Field).type === "text" ? length(index) + 8 : FIXED_BYTES;
    if (length(index) > length(longest)) longest = index;
  }
  const isLarge =
    method === "gin"
      ? length(longest) > most - 16 &&
        !batch.isNull(row, longest) &&
        tagsOf(batch.value(row, longest), 0, length(longest)).some((tag) => entryBytes([tag ?? ""]) > most)
      : plain > most &&
        entryBytes(
          fields.map((index) =>
            (kind.fields[index] as Field).type === "text" ? batch.value(row, index) : length(index),
          ),
        ) > most;
  if (!isLarge) return;
  throw new StorageError("E_TARGET_LIMIT", "a limit of PostgreSQL is exceeded", {
    field: (kind.fields[longest] as Field).name,
    detail: `an entry of an index takes at most ${most} bytes`,
  });
}

/** Of an index tuple; a number stands for a value of so many bytes that is no text. */
function entryBytes(values: readonly (Buffer | string | number)[]): number {
  let at = TUPLE_HEADER;
  for (const value of values) {
    if (typeof value === "number") {
      at = aligned(at, value % 8 === 0 ? 8 : 4) + value;
      continue;
    }
    const text = Buffer.from(value);
    const { length } = text;
    const compressed = length + 4 > COMPRESSED_FROM ? pglzLength(text) : undefined;
    // Compressed: a header of 8 bytes; short: of one, and not aligned.
    if (compressed !== undefined && compressed + 8 < length + 4 - 2) at = aligned(at, 4) + compressed + 8;
    else if (length + 1 <= 127) at += length + 1;
    else at = aligned(at, 4) + length + 4;
  }
  return aligned(at, 8);
}

function aligned(at: number, to: number): number {
  return Math.ceil(at / to) * to;
}

function deepJsonCheck(kind: RecordKind): RowCheck | undefined {
  const indexed = sqliteJsonIndexes(kind);
  if (indexed.size === 0) return undefined;
  const json = [...kind.fields.entries()].filter(([, { type }]) => type === "json");
  return (batch, row) => {
    const isDeep = (index: number): boolean =>
      (batch.lengths[row * batch.width + index] as number) > 2 * JSON_MAX_DEPTH &&
      jsonDepth(batch.value(row, index)) > JSON_MAX_DEPTH;
    if (![...indexed].some(isDeep)) return;
    const field = json.find(([index]) => isDeep(index))?.[1].name as string;
    const message = `the json is nested deeper than SQLite's json_extract indexes take (${JSON_MAX_DEPTH} levels)`;
    throw new StorageError("E_TARGET_LIMIT", message, { field });
  };
}
