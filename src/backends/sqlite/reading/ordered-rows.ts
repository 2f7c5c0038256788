/** Reading a kind's rows in the order of its key with bounded memory. */
import { columnOf, type Field, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import type { IdOrder } from "../../../records/ids/derived-uuids.js";
import type { WantedRecords } from "../../../records/run-context.js";
import { isTooBig } from "../errors.js";
import type { Database } from "../open.js";
import {
  columnsOf,
  isOfTenants,
  isUuidSql,
  kindCondition,
  lacksRowids,
  mainTable,
  quoted,
  requireRowids,
  rowidOf,
  type SqlRow,
  tenantsFor,
  usualSpellingSql,
} from "../table.js";
import { orderTerms } from "./order-terms.js";
import {
  RowidTally,
  requireRowsOfIndex,
  requireSameRows,
  rowMissing,
  rowsOutOfOrder,
  type Tally,
  tallyOfQuery,
  tallyOfTable,
} from "./row-check.js";
import type { RowReader } from "./row-reader.js";

export interface RowSelection {
  readonly tenants?: readonly string[] | undefined;
  readonly idOrder: IdOrder;
  /** "table": as the table has them, so that each page of it is read once, one after the other. Default: by key. */
  readonly order?: "key" | "table" | undefined;
  /** The first so many only, and those that are wanted. */
  readonly limit?: number | undefined;
  readonly wanted?: WantedRecords | undefined;
  /** The order of the key, where it is known (orderTerms): to find it is a walk. */
  readonly terms?: readonly string[] | undefined;
}

/** The rows, and whether they are all of them (row-check.ts). Before them `requireAllAhead` is called, behind them `requireAll`. */
export interface OrderedRows<Row = SqlRow> extends Pick<RowReader<Row>, "hasLargeValue" | "read" | "fields"> {
  rows(): Iterable<Row>;
  /** Instead of the rows: their rowids, each of which counts as seen. There where the table has such. */
  rowids?(): Iterable<bigint | number>;
  /** To be called with each row. E_SOURCE_DAMAGED when it is not there. */
  saw(row: Row): void;
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
  const order =
    kind.keyless || selection.order === "table"
      ? "r"
      : [...(selection.terms ?? orderTerms(database, kind, selection.idOrder)), "r"].join(", ");
  const embeddings = joinedEmbeddings(kind, reader);
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
      .safeIntegers(!reader.hasNumbers)
      .iterate(...values) as IterableIterator<SqlRow>;
  const came = new RowidTally();
  const there = (signal: AbortSignal): Promise<Tally> => tallyOfTable(database, name, rowid, where, walked, signal);
  const byTable = selection.order === "table" && !kind.keyless && limit === undefined;
  let last: bigint | number | undefined;
  return {
    ...reader,
    rows: () => allRows(reader, iterate),
    *rowids() {
      for (const found of database
        .prepare(rowids)
        .pluck()
        .safeIntegers(!reader.hasNumbers)
        .iterate(...values)) {
        came.add(found as bigint | number);
        yield found as bigint | number;
      }
    },
    saw(row) {
      if (row[0] === null) throw rowMissing(name);
      const at = row[0] as bigint | number;
      if (byTable && last !== undefined && at <= last) throw rowsOutOfOrder(name);
      last = at;
      came.add(at);
    },
    async requireAllAhead(signal) {
      if (limit === undefined) return;
      requireSameRows(name, tallyOfQuery(database, `${all} -1`, walked), await there(signal));
    },
    async requireAll(signal) {
      if (byTable) await requireRowsOfIndex(database, { name, rowid, came, isWhole: where === undefined }, signal);
      else if (limit === undefined) requireSameRows(name, came, await there(signal));
    },
  };
}

/** The join that brings ordinary embeddings, where the reader wants them so. */
export function joinedEmbeddings({ sqlite }: RecordKind, { select }: RowReader): string {
  return sqlite.layout === "vector" && select.includes("e.embedding")
    ? `LEFT JOIN (SELECT rowid, embedding FROM ${quoted(sqlite.embeddingTable)}) AS e ON e.rowid = t.rowid`
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
    ...reader,
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
export function selectedRows(kind: RecordKind, tenants: readonly string[] | undefined): string | undefined {
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
