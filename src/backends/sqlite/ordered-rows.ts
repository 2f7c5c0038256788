/** Reading a kind's rows in the order of its key with bounded memory. */
import { columnOf, exactColumnOf, type Field, fieldIndex, type RecordKind } from "../../catalog/index.js";
import { deriveUuid, formatUuid, uuidDigits } from "../../codecs/uuid.js";
import type { WantedRecords } from "../../records/run-context.js";
import { isTooBig } from "./errors.js";
import type { Database } from "./open.js";
import { RowidTally, requireSameRows, rowMissing, type Tally, tallyOfQuery, tallyOfTable } from "./row-check.js";
import type { RowReader } from "./row-reader.js";
import {
  columnsOf,
  exactTimeSql,
  kindCondition,
  mainTable,
  quoted,
  requireRowids,
  rowidOf,
  type SqlRow,
  secondsOfSql,
  uuidDigitsSql,
  uuidOrDerivedSql,
} from "./table.js";

/** SQL functions of ours: `llmspell_utf8`, `llmspell_uuid` (canonical, derived where it is free text), `llmspell_is_uuid`. Before the first query. */
export function defineFunctions(database: Database): void {
  const options = { deterministic: true };
  database.function("llmspell_utf8", options, (text: unknown) =>
    typeof text === "string" ? Buffer.from(text, "utf8") : text,
  );
  database.function("llmspell_uuid", options, (text: unknown) => {
    if (typeof text !== "string") return text;
    return uuidDigits(text)?.toLowerCase() ?? formatUuid(deriveUuid(text), 0).replaceAll("-", "");
  });
  database.function("llmspell_is_uuid", options, (text: unknown) =>
    typeof text === "string" && uuidDigits(text) === undefined ? 0 : 1,
  );
}

/**
 * Sort terms over the main table whose order is the canonical one: plain columns, so that an index can serve, where all
 * values are spelled alike, expressions otherwise.
 */
function orderTerms(database: Database, kind: RecordKind, deriveUuids: boolean): string[] {
  const table = mainTable(kind);
  const present = columnsOf(database, table) ?? new Set();
  const [encoding] = database.prepare("PRAGMA encoding").raw().get() as [string];
  return kind.key.flatMap((name) => {
    const field = kind.fields[fieldIndex(kind, name)] as Field;
    const column = quoted(columnOf(field));
    if (field.type === "uuid") {
      if (deriveUuids) return [`llmspell_uuid(${column})`];
      return [isUniformlySpelled(database, table, column) ? column : uuidDigitsSql(column)];
    }
    if (field.type === "timestamp") {
      const exact = present.has(exactColumnOf(field)) ? quoted(exactColumnOf(field)) : undefined;
      return timeTerms(database, table, column, exact);
    }
    return [field.type === "text" && encoding !== "UTF-8" ? `llmspell_utf8(${column})` : column];
  });
}

/** All lower case and of one length: then the texts sort as the UUIDs do. */
function isUniformlySpelled(database: Database, table: string, column: string): boolean {
  const query = `SELECT min(length(${column})), max(length(${column})), max(${column} <> lower(${column}) COLLATE BINARY) FROM ${quoted(table)}`;
  const [shortest, longest, capitals] = database.prepare(query).raw().get() as (number | null)[];
  return shortest === longest && capitals !== 1;
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
  /** Free text in UUID fields is replaced by derived UUIDs, and sorts as they do. */
  readonly deriveUuids: boolean;
  /** The first so many only, and those that are wanted. */
  readonly limit?: number | undefined;
  readonly wanted?: WantedRecords | undefined;
}

/** The rows, and whether they are all of them (row-check.ts). */
export interface OrderedRows {
  rows(): Iterable<SqlRow>;
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
  const name = mainTable(kind);
  const table = quoted(name);
  const rowid = rowidOf(database, name);
  const { tenants, limit, wanted } = selection;
  const conditions: string[] = [];
  const condition = kindCondition(kind);
  if (condition !== undefined) conditions.push(condition);
  if (tenants !== undefined) conditions.push("tenant_id IN (SELECT value FROM json_each(?))");
  const where = conditions.length === 0 ? undefined : conditions.join(" AND ");
  const order = orderTerms(database, kind, selection.deriveUuids).join(", ");
  const embeddings =
    kind.sqlite.layout === "vector" && reader.select.includes("e.embedding")
      ? `LEFT JOIN ${quoted(kind.sqlite.embeddingTable)} AS e ON e.rowid = t.rowid`
      : "";
  const values: string[] = tenants === undefined ? [] : [JSON.stringify(tenants)];
  // LIMIT keeps SQLite from dropping the inner ORDER BY.
  const all = `SELECT ${rowid} AS r FROM ${table} ${where === undefined ? "" : `WHERE ${where}`} ORDER BY ${order} LIMIT`;
  let rowids = `${all} ${limit ?? -1}`;
  const walked = [...values];
  if (wanted !== undefined) {
    // The tenants' condition stands for the wanted ones as well: they are their children's.
    const named = wantedRows(database, kind, rowid, wanted, selection.deriveUuids);
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
    *rows() {
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

/** The statement for the rowids of wanted records, whose values are its parameter, as JSON. */
function wantedRows(
  database: Database,
  kind: RecordKind,
  rowid: string,
  { fields }: WantedRecords,
  deriveUuids: boolean,
): string {
  const table = mainTable(kind);
  const columns: string[] = [];
  const values: string[] = [];
  for (const [i, name] of fields.entries()) {
    const field = kind.fields[fieldIndex(kind, name)] as Field;
    const column = quoted(columnOf(field));
    const value = `json_extract(value, '$[${i}]')`;
    // Where all are spelled as usual, they are compared as they are.
    const isUsual = field.type !== "uuid" || (!deriveUuids && isUsuallySpelled(database, table, column));
    columns.push(isUsual ? column : uuidOrDerivedSql(column));
    values.push(isUsual ? value : uuidDigitsSql(value));
  }
  // By a walk through the table: a damaged index would not find them all.
  return `SELECT ${rowid} FROM ${quoted(table)} NOT INDEXED WHERE (${columns.join(", ")}) IN (SELECT ${values.join(", ")} FROM json_each(?))`;
}

function isUsuallySpelled(database: Database, table: string, column: string): boolean {
  const query = `SELECT 1 FROM ${quoted(table)} WHERE length(${column}) <> 36 OR ${column} GLOB '*[A-Z]*' LIMIT 1`;
  return database.prepare(query).raw().get() === undefined;
}

/** How many values of the kind's UUID columns are texts that are no UUIDs. */
export function countInvalidUuids(database: Database, kind: RecordKind): number {
  const sums = kind.fields
    .filter(({ type }) => type === "uuid")
    .map((field) => `total(NOT llmspell_is_uuid(${quoted(columnOf(field))}))`);
  const condition = kindCondition(kind);
  const where = condition === undefined ? "" : `WHERE ${condition}`;
  const query = `SELECT ${sums.join(" + ")} FROM ${quoted(mainTable(kind))} ${where}`;
  return (database.prepare(query).raw().get() as [number])[0];
}

/** About how many rows the kind has, from the ends of its rowids: no scan. */
export function estimateRows(database: Database, kind: RecordKind): number {
  const table = mainTable(kind);
  if (columnsOf(database, table) === undefined) return 0;
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
