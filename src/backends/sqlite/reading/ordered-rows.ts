/**
 * Reading a kind's rows in the order of its key with bounded memory.
 * Over 300 lines: one order for tables with rowids and without, for all, some and wanted rows.
 */
import { columnOf, exactColumnOf, type Field, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { deriveUuid, formatUuid, uuidDigits, withLeadingId } from "../../../codecs/uuid.js";
import type { IdOrder } from "../../../records/derived-uuids.js";
import type { WantedRecords } from "../../../records/run-context.js";
import { isTooBig } from "../errors.js";
import type { Database } from "../open.js";
import {
  columnsOf,
  exactTimeSql,
  isOfTenants,
  isUuidSql,
  kindCondition,
  lacksRowids,
  mainTable,
  quoted,
  requireRowids,
  rowidOf,
  type SqlRow,
  secondsOfSql,
  tenantsFor,
  usualSpellingSql,
  uuidDigitsSql,
} from "../table.js";
import { RowidTally, requireSameRows, rowMissing, type Tally, tallyOfQuery, tallyOfTable } from "./row-check.js";
import type { RowReader } from "./row-reader.js";

/**
 * SQL functions of ours, before the first query: `llmspell_utf8`; `llmspell_uuid`, a UUID's digits, of free text those of the
 * UUID that is derived from it; `llmspell_follow`, a text whose leading id became a UUID (Field.beginsWith).
 */
export function defineFunctions(database: Database): void {
  const options = { deterministic: true };
  database.function("llmspell_utf8", options, (text: unknown) =>
    typeof text === "string" ? Buffer.from(text, "utf8") : text,
  );
  database.function("llmspell_uuid", options, (text: unknown) => {
    if (typeof text !== "string") return text;
    return toDigits(text);
  });
  database.function("llmspell_follow", options, (text: unknown) =>
    typeof text === "string"
      ? (withLeadingId(text, (id) => formatUuid(Buffer.from(toDigits(id), "hex"), 0)) ?? text)
      : text,
  );
}

function toDigits(text: string): string {
  return uuidDigits(text)?.toLowerCase() ?? deriveUuid(text).toString("hex");
}

/**
 * Sort terms over the main table whose order is the canonical one: plain columns, so that an index can serve, where all
 * values are spelled alike, expressions otherwise.
 */
function orderTerms(database: Database, kind: RecordKind, idOrder: IdOrder): string[] {
  const table = mainTable(kind);
  const present = columnsOf(database, table) ?? new Set();
  const [encoding] = database.prepare("PRAGMA encoding").raw().get() as [string];
  return kind.key.flatMap((name) => {
    const field = kind.fields[fieldIndex(kind, name)] as Field;
    const column = quoted(columnOf(field));
    const text = (expression: string): string => (encoding === "UTF-8" ? expression : `llmspell_utf8(${expression})`);
    const { sqlite } = codecOf(field);
    if (sqlite === "id") {
      if (idOrder === "derived") return [`llmspell_uuid(${column})`];
      if (idOrder === "text" && field.chosen) return [text(column)];
      if (isUniformlySpelled(database, table, column)) return [column];
      return [idOrder === "uuid" ? uuidDigitsSql(column) : text(usualSpellingSql(column))];
    }
    if (sqlite === "time") {
      const exact = present.has(exactColumnOf(field)) ? quoted(exactColumnOf(field)) : undefined;
      return timeTerms(database, table, column, exact);
    }
    const follows = idOrder === "derived" && field.beginsWith !== undefined;
    return [sqlite === "text" ? text(follows ? `llmspell_follow(${column})` : column) : column];
  });
}

/** All lower case and of one length, without free text among bare digits: then the texts sort as the UUIDs do. */
function isUniformlySpelled(database: Database, table: string, column: string): boolean {
  const query = `SELECT min(length(${column})), max(length(${column})), max(${column} <> lower(${column}) COLLATE BINARY), max(length(unhex(${column})) IS NOT 16) FROM ${quoted(table)}`;
  const [shortest, longest, capitals, others] = database.prepare(query).raw().get() as (number | null)[];
  return shortest === longest && capitals !== 1 && (shortest !== 32 || others !== 1);
}

/** Seconds and companion sort as the exact times do when the companions are all there and agree, or none is there. */
function timeTerms(database: Database, table: string, column: string, exact: string | undefined): string[] {
  const companion = exact ?? "NULL";
  const agrees = exact === undefined ? "0" : `${secondsOfSql(exact)} = ${column}`;
  const [without, agreeing, all, least, most] = database
    .prepare(
      `SELECT sum(${companion} IS NULL), sum(${agrees}), count(*), min(${column}), max(${column}) FROM ${quoted(table)}`,
    )
    .raw()
    .get() as (number | null)[];
  const inside = (least ?? 0) >= -9999999999 && (most ?? 0) <= 9999999999;
  if (inside && (without ?? 0) === all) return [column];
  if (inside && exact !== undefined && agreeing === all) return [column, exact];
  return [exactTimeSql(column, exact)];
}

export interface RowSelection {
  readonly tenants?: readonly string[] | undefined;
  readonly idOrder: IdOrder;
  /** The first so many only, and those that are wanted. */
  readonly limit?: number | undefined;
  readonly wanted?: WantedRecords | undefined;
}

/** The rows, and whether they are all of them (row-check.ts). */
export interface OrderedRows {
  rows(): Iterable<SqlRow>;
  /** Instead of the rows: their rowids, each of which counts as seen. There where the table has such. */
  rowids?(): Iterable<bigint>;
  /** To be called with each row. E_SOURCE_DAMAGED when it is not there. */
  saw(row: SqlRow): void;
  /** Before the rows: where only the first ones come, whether they are the first of all. E_SOURCE_DAMAGED. */
  requireAllAhead(signal: AbortSignal): Promise<void>;
  /** After the last row: whether all have come, each once. E_SOURCE_DAMAGED. */
  requireAll(signal: AbortSignal): Promise<void>;
}

/**
 * The kind's rows, ordered by its key. Keys and rowids are sorted (or an index is walked), and the rows fetched by rowid:
 * a sort of wide rows would cost more than the reading.
 */
export function orderedRows(
  database: Database,
  kind: RecordKind,
  reader: RowReader,
  selection: RowSelection,
): OrderedRows {
  if (lacksRowids(kind)) return rowsByKey(database, kind, reader, selection);
  const name = mainTable(kind);
  const table = quoted(name);
  const rowid = rowidOf(database, name);
  const { limit, wanted } = selection;
  const tenants = tenantsFor(kind, selection.tenants);
  const where = selectedRows(kind, tenants);
  // Records without a key come in the table's own order.
  const order = kind.keyless ? "r" : orderTerms(database, kind, selection.idOrder).join(", ");
  const embeddings = embeddingsJoin(kind, reader);
  const values: string[] = tenants === undefined ? [] : [JSON.stringify(tenants)];
  // LIMIT keeps SQLite from dropping the inner ORDER BY.
  const all = `SELECT ${rowid} AS r FROM ${table} ${where === undefined ? "" : `WHERE ${where}`} ORDER BY ${order} LIMIT`;
  let rowids = `${all} ${limit ?? -1}`;
  const walked = [...values];
  if (wanted !== undefined) {
    // The tenants' condition stands for the wanted ones as well: they are their children's.
    const named = wantedRows(database, kind, rowid, wanted);
    rowids = `SELECT n.r FROM (SELECT r FROM (${rowids}) UNION ${named}) AS n LEFT JOIN ${table} AS o ON o.${rowid} = n.r ORDER BY ${order} LIMIT -1`;
    values.push(JSON.stringify(wanted.keys));
  }
  // A row that the index names and the table does not have comes as NULLs.
  const sql = (select: string): string =>
    `SELECT ${select} FROM (${rowids}) AS s LEFT JOIN ${table} AS t ON t.${rowid} = s.r ${embeddings}`;
  const iterate = (select: string) =>
    database
      .prepare(sql(select))
      .raw()
      .safeIntegers()
      .iterate(...values) as IterableIterator<SqlRow>;
  const came = new RowidTally();
  const there = (signal: AbortSignal): Promise<Tally> => tallyOfTable(database, name, rowid, where, walked, signal);
  return {
    rows: () => allRows(reader, iterate),
    *rowids() {
      for (const found of database
        .prepare(rowids)
        .pluck()
        .safeIntegers()
        .iterate(...values)) {
        came.add(found as bigint);
        yield found as bigint;
      }
    },
    saw(row) {
      if (row[0] === null) throw rowMissing(name);
      came.add(row[0] as bigint);
    },
    async requireAllAhead(signal) {
      if (limit === undefined) return;
      requireSameRows(name, tallyOfQuery(database, `${all} -1`, walked), await there(signal));
    },
    async requireAll(signal) {
      if (limit === undefined) requireSameRows(name, came, await there(signal));
    },
  };
}

/** For the embeddings of the rows `t`, where the reader wants them joined. */
export function embeddingsJoin({ sqlite }: RecordKind, reader: RowReader): string {
  return sqlite.layout === "vector" && reader.select.includes("e.embedding")
    ? `LEFT JOIN ${quoted(sqlite.embeddingTable)} AS e ON e.rowid = t.rowid`
    : "";
}

/** The rows of a statement, of which one may have a value that the driver does not give. */
export function* allRows(reader: RowReader, iterate: (select: string) => IterableIterator<SqlRow>): Generator<SqlRow> {
  let seen = 0;
  try {
    for (const row of iterate(reader.select)) {
      seen++;
      yield row;
    }
    return;
  } catch (error) {
    if (!isTooBig(error)) throw error;
  }
  // A value that the driver does not give ends a statement: from there on, rows come without such values.
  for (const row of iterate(reader.shortSelect))
    if (seen > 0) seen--;
    else yield row;
}

/** The rows of a table WITHOUT ROWID, which is the tree of its key itself: there is no index to hold against it. */
function rowsByKey(database: Database, kind: RecordKind, reader: RowReader, selection: RowSelection): OrderedRows {
  const table = quoted(mainTable(kind));
  const { limit, wanted } = selection;
  const tenants = tenantsFor(kind, selection.tenants);
  const where = selectedRows(kind, tenants);
  const values: string[] = tenants === undefined ? [] : [JSON.stringify(tenants)];
  const order = orderTerms(database, kind, selection.idOrder).join(", ");
  const selected = where === undefined ? "" : `WHERE ${where}`;
  let rest = `${selected} ORDER BY ${order} LIMIT ${limit ?? -1}`;
  if (wanted !== undefined) {
    const key = kind.key.map((name) => quoted(columnOf(kind.fields[fieldIndex(kind, name)] as Field))).join(", ");
    rest = `WHERE (${key}) IN (SELECT ${key} FROM ${table} ${rest}) OR ${areWanted(database, kind, wanted)} ORDER BY ${order}`;
    values.push(JSON.stringify(wanted.keys));
  }
  const iterate = (select: string): IterableIterator<SqlRow> =>
    database
      .prepare(`SELECT ${select} FROM ${table} AS t ${rest}`)
      .raw()
      .safeIntegers()
      .iterate(...values) as IterableIterator<SqlRow>;
  return {
    rows: () => allRows(reader, iterate),
    saw() {},
    async requireAllAhead() {},
    async requireAll() {},
  };
}

/** The statement for the rowids of wanted records, whose values are its parameter, as JSON. */
function wantedRows(database: Database, kind: RecordKind, rowid: string, wanted: WantedRecords): string {
  // By a walk through the table: a damaged index would not find them all.
  return `SELECT ${rowid} FROM ${quoted(mainTable(kind))} NOT INDEXED WHERE ${areWanted(database, kind, wanted)}`;
}

/** The condition that a row is wanted, by values that are its parameter, as JSON. */
function areWanted(database: Database, kind: RecordKind, { fields }: WantedRecords): string {
  const table = mainTable(kind);
  const columns: string[] = [];
  const values: string[] = [];
  for (const [i, name] of fields.entries()) {
    const field = kind.fields[fieldIndex(kind, name)] as Field;
    const column = quoted(columnOf(field));
    const value = `json_extract(value, '$[${i}]')`;
    // Where all are spelled as usual, they are compared as they are.
    const isUsual = codecOf(field).sqlite !== "id" || field.chosen || isUsuallySpelled(database, table, column);
    columns.push(isUsual ? column : usualSpellingSql(column));
    values.push(value);
  }
  return `(${columns.join(", ")}) IN (SELECT ${values.join(", ")} FROM json_each(?))`;
}

function isUsuallySpelled(database: Database, table: string, column: string): boolean {
  const query = `SELECT 1 FROM ${quoted(table)} WHERE length(${column}) <> 36 OR ${column} GLOB '*[A-Z]*' LIMIT 1`;
  return database.prepare(query).raw().get() === undefined;
}

/** How many values of the kind's id columns are texts that are no UUIDs, as far as they are the tenants'. */
export function countInvalidUuids(database: Database, kind: RecordKind, asked: readonly string[] | undefined): number {
  const tenants = tenantsFor(kind, asked);
  const present = columnsOf(database, mainTable(kind));
  const columns = kind.fields.filter((field) => codecOf(field).sqlite === "id" && present?.has(columnOf(field)));
  if (columns.length === 0) return 0;
  const sums = columns.map((field) => {
    const column = quoted(columnOf(field));
    return `total(typeof(${column}) = 'text' AND ${isUuidSql(column)} IS NOT 1)`;
  });
  const where = selectedRows(kind, tenants);
  const query = `SELECT ${sums.join(" + ")} FROM ${quoted(mainTable(kind))} ${where === undefined ? "" : `WHERE ${where}`}`;
  const values = tenants === undefined ? [] : [JSON.stringify(tenants)];
  return (database.prepare(query).raw().get(values) as [number])[0];
}

/** The condition for the kind's rows of some tenants, undefined for all of a table; their names are its parameter, as JSON. */
function selectedRows(kind: RecordKind, tenants: readonly string[] | undefined): string | undefined {
  const conditions: string[] = [];
  const condition = kindCondition(kind);
  if (condition !== undefined) conditions.push(condition);
  if (tenants !== undefined) conditions.push(isOfTenants(kind));
  return conditions.length === 0 ? undefined : conditions.join(" AND ");
}

/** About how many rows the kind has, from the ends of its rowids: no scan; undefined where there are none. */
export function estimateRows(database: Database, kind: RecordKind): number | undefined {
  const table = mainTable(kind);
  if (columnsOf(database, table) === undefined) return 0;
  if (lacksRowids(kind)) return undefined;
  requireRowids(database, table);
  const condition = kindCondition(kind);
  const where = condition === undefined ? "" : `WHERE ${condition}`;
  const rowid = rowidOf(database, table);
  const end = (name: string): string => `(SELECT ${name}(${rowid}) FROM ${quoted(table)} ${where})`;
  const [rows] = database
    .prepare(`SELECT ${end("max")} - ${end("min")} + 1`)
    .raw()
    .get() as [number | null];
  return rows ?? 0;
}
