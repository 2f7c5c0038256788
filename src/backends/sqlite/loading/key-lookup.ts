/** Finding the rows that a record meets: by its key and its natural keys, whatever the stored spelling. */
import {
  columnOf,
  exactColumnOf,
  type Field,
  fieldIndex,
  type RecordKind,
  uniqueKeysOf,
} from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { toUnixSeconds } from "../../../codecs/timestamp.js";
import { deriveUuid, formatUuid, idText, isIdText } from "../../../codecs/uuid.js";
import { NULL_VALUE, type RecordBatch } from "../../../records/record-batch.js";
import type { Database } from "../open.js";
import { requireSoundIndexes } from "../reading/row-check.js";
import {
  exactTimeSql,
  kindCondition,
  mainTable,
  quoted,
  rowidOf,
  secondsOfSql,
  uniqueIndexes,
  uuidOrDerivedSql,
} from "../table.js";
import type { SqlParam } from "./rows/row-encoder.js";

/** UUID columns of the kind's table that hold other spellings than lower-case and hyphenated; field indexes. */
export function spelledFields(database: Database, kind: RecordKind): ReadonlySet<number> {
  const uuids = [...kind.fields.entries()].filter(([, field]) => codecOf(field).sqlite === "id");
  if (uuids.length === 0) return new Set();
  const others = uuids.map(([, field]) => {
    const column = quoted(columnOf(field));
    return `max(length(${column}) <> 36 OR ${column} GLOB '*[^0-9a-f-]*')`;
  });
  const condition = kindCondition(kind);
  const where = condition === undefined ? "" : `WHERE ${condition}`;
  const query = `SELECT ${others.join(", ")} FROM ${quoted(mainTable(kind))} ${where}`;
  const row = database.prepare(query).raw().get() as (number | null)[];
  return new Set(uuids.filter((_, i) => row[i] === 1).map(([index]) => index));
}

/** Fields of a unique key, by index; the kind's key, if it has one, first. */
export function keySets(kind: RecordKind): readonly (readonly number[])[] {
  return uniqueKeysOf(kind).map((names) => names.map((name) => fieldIndex(kind, name)));
}

/** The canonical bytes of the fields, told apart by their lengths; undefined when one is NULL (it matches nothing). */
export function canonicalKey(batch: RecordBatch, row: number, fields: readonly number[]): Buffer | undefined {
  const parts: Buffer[] = [];
  for (const field of fields) {
    if (batch.lengths[row * batch.width + field] === NULL_VALUE) return undefined;
    const value = batch.value(row, field);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(value.length);
    parts.push(length, value);
  }
  return Buffer.concat(parts);
}

/** How a table's key columns are compared. */
export interface KeyLookup {
  /**
   * Rowids of the rows that have the record's value of key set `set`. Ids that applications choose are compared as texts;
   * where no row has that of a record, which is a UUID in its usual spelling, those rows are it from before the run that
   * spell the same UUID otherwise, or hold the free text that it was derived from.
   */
  find(set: number, batch: RecordBatch, row: number): bigint[];
}

/** The 32 hex digits of an id; of free text those of the UUID that is derived from it. */
export function idDigits({ bytes, starts, lengths, width }: RecordBatch, row: number, index: number): string {
  const at = row * width + index;
  const [start, length] = [starts[at] as number, lengths[at] as number];
  const uuid = isIdText(length) ? formatUuid(deriveUuid(idText(bytes, start, length)), 0) : formatUuid(bytes, start);
  return uuid.replaceAll("-", "");
}

interface Comparison {
  /** Conjunctions, of which one must hold: each a condition per field. */
  readonly alternatives: readonly string[][];
  /** What an index must begin with to serve the lookup. */
  readonly indexed: readonly string[];
  bind(batch: RecordBatch, row: number): SqlParam[];
}

/** `byDigits`: also an id that applications choose is the UUID that it spells. */
function compareField(
  database: Database,
  kind: RecordKind,
  index: number,
  spelled: ReadonlySet<number>,
  byDigits: boolean,
): { alternatives: readonly string[]; indexed: readonly string[]; bind(batch: RecordBatch, row: number): SqlParam[] } {
  const field = kind.fields[index] as Field;
  const column = quoted(columnOf(field));
  const start = (batch: RecordBatch, row: number): number => batch.starts[row * batch.width + index] as number;
  const codec = codecOf(field);
  if (codec.sqlite === "id" && spelled.has(index) && (byDigits || !field.chosen)) {
    const digits = uuidOrDerivedSql(column);
    const bind = (batch: RecordBatch, row: number): SqlParam[] => [idDigits(batch, row, index)];
    return { alternatives: [`${digits} = ?`], indexed: [digits], bind };
  }
  if (codec.sqlite !== "time") {
    const bind = (batch: RecordBatch, row: number): SqlParam[] => [
      codec.toParam(batch.bytes, start(batch, row), batch.lengths[row * batch.width + index] as number),
    ];
    return { alternatives: [`${column} = ?`], indexed: [column], bind };
  }
  const exact = quoted(exactColumnOf(field));
  const bind = (batch: RecordBatch, row: number): SqlParam[] => {
    const value = batch.bytes.readBigInt64BE(start(batch, row));
    return [toUnixSeconds(value), value];
  };
  const query = `SELECT max(${exact} IS NULL), max(${secondsOfSql(exact)} <> ${column}) FROM ${quoted(mainTable(kind))}`;
  const [without, edited] = database.prepare(query).raw().get() as (number | null)[];
  const seconds = `${column} = ?`;
  if (edited === 1)
    return { alternatives: [`${seconds} AND ${exactTimeSql(column, exact)} = ?`], indexed: [column], bind };
  const alternatives = [`${seconds} AND ${exact} = ?`];
  if (without === 1) alternatives.push(`${seconds} AND ${exact} IS NULL AND ${exactTimeSql(column, undefined)} = ?`);
  return { alternatives, indexed: [column, exact], bind };
}

function compareSet(
  database: Database,
  kind: RecordKind,
  fields: readonly number[],
  spelled: ReadonlySet<number>,
  byDigits: boolean,
): Comparison {
  const parts = fields.map((index) => compareField(database, kind, index, spelled, byDigits));
  const combinations = parts.reduce<string[][]>(
    (sets, part) => sets.flatMap((set) => part.alternatives.map((alternative) => [...set, alternative])),
    [[]],
  );
  return {
    alternatives: combinations,
    indexed: parts.flatMap((part) => part.indexed),
    bind: (batch, row) => {
      const once = parts.flatMap((part) => part.bind(batch, row));
      return combinations.flatMap(() => once);
    },
  };
}

/** The leading columns of each index that covers all rows. */
function leadingColumns(database: Database, table: string): string[][] {
  const names = database.prepare("SELECT name FROM pragma_index_list(?) WHERE partial = 0").raw().all(table) as [
    string,
  ][];
  const columns = database.prepare("SELECT name FROM pragma_index_info(?) ORDER BY seqno").raw();
  return names.map(([name]) => (columns.all(name) as [string | null][]).map(([column]) => quoted(column ?? "")));
}

/**
 * Prepares the lookups. Where no index serves one, `createIndex` is asked for it, with the columns (or expressions) it
 * must have; `unique` when the table is empty and nothing else would keep two records of the run from having one key.
 */
export function createKeyLookup(
  database: Database,
  kind: RecordKind,
  { spelled, empty, isOld }: { spelled: ReadonlySet<number>; empty: boolean; isOld: (rowid: bigint) => boolean },
  createIndex: (expressions: readonly string[], unique: boolean) => void,
): KeyLookup {
  const table = mainTable(kind);
  const rowid = rowidOf(database, table);
  const condition = kindCondition(kind);
  const extra = condition === undefined ? [] : ["dimension"];
  const prepare = (fields: readonly number[], byDigits: boolean) => {
    const comparison = compareSet(database, kind, fields, spelled, byDigits);
    const wanted = new Set([...comparison.indexed]);
    const served = leadingColumns(database, table).some((columns) => {
      const leading = new Set(columns.slice(0, wanted.size));
      return leading.size === wanted.size && [...wanted].every((column) => leading.has(column));
    });
    const enforced = uniqueIndexes(database, table).some(
      (columns) =>
        columns.size === wanted.size + extra.length &&
        [...columns].every((column) => wanted.has(quoted(column)) || extra.includes(column)),
    );
    if (empty && !enforced) createIndex([...wanted, ...extra], true);
    else if (!served) createIndex([...wanted, ...extra], false);
    const sql = comparison.alternatives
      .map((conditions) => [...conditions, ...(condition === undefined ? [] : [condition])].join(" AND "))
      .map((where) => `SELECT ${rowid} FROM ${quoted(table)} WHERE ${where}`)
      .join(" UNION ");
    if (!empty) requireSoundIndexes(database, table, rowid, sql);
    const statement = database.prepare(sql).safeIntegers().pluck();
    return (batch: RecordBatch, row: number) => statement.all(comparison.bind(batch, row)) as bigint[];
  };
  const lookups = keySets(kind).map((fields) => {
    const chosen = fields.filter((index) => spelled.has(index) && kind.fields[index]?.chosen);
    return {
      fields,
      chosen,
      exact: prepare(fields, false),
      byDigits: undefined as ReturnType<typeof prepare> | undefined,
    };
  });
  return {
    find(set, batch, row) {
      const lookup = lookups[set] as (typeof lookups)[number];
      const { fields, chosen } = lookup;
      const base = row * batch.width;
      for (const field of fields) if (batch.lengths[base + field] === NULL_VALUE) return [];
      const found = lookup.exact(batch, row);
      const isUsual = (field: number): boolean => !isIdText(batch.lengths[base + field] as number);
      if (found.length > 0 || chosen.length === 0 || !chosen.every(isUsual)) return found;
      // Records whose ids are texts need no such index: it is made when the first one asks.
      lookup.byDigits ??= prepare(fields, true);
      return lookup.byDigits(batch, row).filter(isOld);
    },
  };
}
