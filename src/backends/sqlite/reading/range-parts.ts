/**
 * A kind's rows as ranges of its key. Their ends are the keys of some rows, taken all over the table, so that nobody walks all keys before
 * the first part is read: whoever reads a part walks its stretch of the key's index. The ranges are half-open and meet, and the first and the
 * last have no end: each row is in one, whatever the ends are, as long as it has a key.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { RecordKind } from "../../../catalog/index.js";
import { PART_BYTES } from "../../../records/parts.js";
import type { Database } from "../open.js";
import { mainTable, quoted, rowidOf, type SqlRow, type SqlValue } from "../table.js";
import { allRows, joinedEmbeddings, type OrderedRows } from "./ordered-rows.js";
import { RowidTally, rowMissing, type Tally } from "./row-check.js";
import type { RowReader } from "./row-reader.js";

/** Part.rows of this backend, where they are a range: values, no SQL. */
export interface KeyRange {
  /** The columns in whose order the rows come. */
  readonly columns: readonly string[];
  /** Values of the columns: behind them; upTo: and up to them. */
  readonly above?: readonly SqlValue[];
  readonly upTo?: readonly SqlValue[];
}

export interface RangeOptions {
  /** The order of the rows, as SQL (orderTerms). */
  readonly terms: readonly string[];
  readonly partBytes?: number | undefined;
  /** Rows from which on a table is cut so: the list of a smaller one is soon made. */
  readonly leastRows?: number | undefined;
  /** SQL for a row's bytes, of the table `t`. */
  readonly bytes: string;
  readonly signal: AbortSignal;
}

const LEAST_ROWS = 4096;
/** Rows by whose keys a table is cut: so many at least, one of so many rows, and so many at most. */
const [LEAST_SAMPLES, ROWS_PER_SAMPLE, MOST_SAMPLES] = [1024, 1024, 16384];
/** Places at which is looked whether rowids lie close together. */
const PROBES = 64;
/** Rows between two visits of the event loop. */
const ROWS_PER_TURN = 1024;

/** The ranges of all rows of the table; undefined where it has no index of that order, a row without a key, or rowids that are far apart. */
export async function cutRanges(
  database: Database,
  kind: RecordKind,
  { terms, partBytes = PART_BYTES, leastRows = LEAST_ROWS, bytes, signal }: RangeOptions,
): Promise<KeyRange[] | undefined> {
  const name = mainTable(kind);
  const columns = columnsOfTerms(database, name, terms);
  if (columns === undefined || !isWalked(database, name, terms) || hasNulls(database, name, columns)) return undefined;
  const { rows, rowids } = await sampleRowids(database, name, leastRows, signal);
  if (rowids.length === 0) return undefined;
  const keys = terms.map((term, i) => `t.${term} AS k${i}`).join(", ");
  const order = terms.map((_, i) => `k${i}`).join(", ");
  const sorted = database
    .prepare(
      `WITH sampled AS MATERIALIZED (
         SELECT t.${rowidOf(database, name)} AS r, ${bytes} AS bytes, ${keys}
         FROM json_each(?) AS j CROSS JOIN ${quoted(name)} AS t ON t.${rowidOf(database, name)} = j.value)
       SELECT bytes, ${order} FROM sampled ORDER BY ${order}, r`,
    )
    .raw()
    .safeIntegers()
    .all(`[${rowids.join()}]`) as [bigint, ...SqlValue[]][];
  const ranges: KeyRange[] = [];
  let above: readonly SqlValue[] | undefined;
  let filled = 0;
  for (const [size, ...key] of sorted) {
    filled += (Number(size) * rows) / sorted.length;
    if (filled < partBytes) continue;
    ranges.push({ columns, ...(above && { above }), upTo: key });
    [above, filled] = [key, 0];
  }
  ranges.push({ columns, ...(above && { above }) });
  return ranges;
}

/** The terms as columns; undefined where one is more than that. */
function columnsOfTerms(database: Database, table: string, terms: readonly string[]): string[] | undefined {
  const names = database.prepare("SELECT name FROM pragma_table_info(?)").pluck().all(table) as string[];
  const columns = terms.map((term) => names.find((name) => quoted(name) === term));
  return columns.every((column) => column !== undefined) ? columns : undefined;
}

/** Whether a range is a stretch of an index, whose order it has. */
function isWalked(database: Database, table: string, terms: readonly string[]): boolean {
  const values = terms.map(() => "?").join(", ");
  const key = terms.join(", ");
  const rowid = rowidOf(database, table);
  const walk = `SELECT ${rowid} AS r FROM ${quoted(table)} WHERE (${key}) > (${values}) AND (${key}) <= (${values}) ORDER BY ${key}, r LIMIT -1`;
  const nulls = [...terms, ...terms].map(() => null);
  const plan = database.prepare(`EXPLAIN QUERY PLAN ${walk}`).all(nulls) as { detail: string }[];
  return plan.length === 1 && /^SEARCH .* USING COVERING INDEX /.test(plan[0]?.detail ?? "");
}

/** Nothing is above or below NULL. */
function hasNulls(database: Database, table: string, columns: readonly string[]): boolean {
  const required = database.prepare(`SELECT name FROM pragma_table_info(?) WHERE "notnull"`).pluck().all(table);
  return columns.some(
    (column) =>
      !required.includes(column) &&
      database.prepare(`SELECT 1 FROM ${quoted(table)} WHERE ${quoted(column)} IS NULL LIMIT 1`).get() !== undefined,
  );
}

/** About how many rows there are, and the rowids of some, at even distances: none of a small table, or where they tell nothing. */
async function sampleRowids(
  database: Database,
  name: string,
  leastRows: number,
  signal: AbortSignal,
): Promise<{ readonly rows: number; readonly rowids: readonly bigint[] }> {
  const none = { rows: 0, rowids: [] };
  const [table, rowid] = [quoted(name), rowidOf(database, name)];
  const [least, most] = database
    .prepare(`SELECT (SELECT min(${rowid}) FROM ${table}), (SELECT max(${rowid}) FROM ${table})`)
    .raw()
    .safeIntegers()
    .get() as [bigint | null, bigint | null];
  if (least === null || most === null) return none;
  const span = Number(most - least) + 1;
  if (span < leastRows) return none;
  const next = database
    .prepare(`SELECT ${rowid} FROM ${table} WHERE ${rowid} >= ? ORDER BY ${rowid} LIMIT 1`)
    .pluck()
    .safeIntegers();
  const placeOf = (i: number, of: number): bigint => least + ((most - least) * BigInt(i)) / BigInt(of);
  let taken = 0;
  for (let i = 0; i < PROBES; i++) if (next.get(placeOf(i, PROBES)) === placeOf(i, PROBES)) taken++;
  // Where rowids are like hashes, their ends tell nothing of how many rows there are, and parts by them would be dust.
  const rows = taken * 2 >= PROBES ? span : (database.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number);
  if (rows < leastRows) return none;
  const wanted = Math.min(rows, Math.max(LEAST_SAMPLES, Math.min(MOST_SAMPLES, Math.floor(rows / ROWS_PER_SAMPLE))));
  const rowids = new Set<bigint>();
  for (let i = 0; i < wanted; i++) {
    if (i % ROWS_PER_TURN === ROWS_PER_TURN - 1) await nextTick();
    signal.throwIfAborted();
    rowids.add(next.get(placeOf(i, wanted)) as bigint);
  }
  // Where many places have the same row, the others are crowded somewhere, and would be one part.
  return rowids.size * 2 < wanted ? none : { rows, rowids: [...rowids] };
}

/** The rows of the range, in their order; what came of them. */
export function rowsOfRange(
  database: Database,
  kind: RecordKind,
  reader: RowReader,
  { columns, above, upTo }: KeyRange,
): OrderedRows & { readonly came: Tally } {
  const name = mainTable(kind);
  const rowid = rowidOf(database, name);
  const key = columns.map(quoted).join(", ");
  const values = columns.map(() => "?").join(", ");
  const conditions = [above && `(${key}) > (${values})`, upTo && `(${key}) <= (${values})`].filter(
    (condition) => condition !== undefined,
  );
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  // As orderedRows has it.
  const rowids = `SELECT ${rowid} AS r FROM ${quoted(name)} ${where} ORDER BY ${key}, r LIMIT -1`;
  const sql = (select: string): string =>
    `SELECT ${select} FROM (${rowids}) AS s LEFT JOIN ${quoted(name)} AS t ON t.${rowid} = s.r ${joinedEmbeddings(kind, reader)}`;
  const iterate = (select: string): IterableIterator<SqlRow> =>
    database
      .prepare(sql(select))
      .raw()
      .safeIntegers(!reader.hasNumbers)
      .iterate(...(above ?? []), ...(upTo ?? [])) as IterableIterator<SqlRow>;
  const came = new RowidTally();
  return {
    ...reader,
    came,
    rows: () => allRows(reader, iterate),
    saw(row) {
      if (row[0] === null) throw rowMissing(name);
      came.add(row[0] as bigint | number);
    },
    // Whoever planned the parts holds what came of all against the table.
    async requireAllAhead() {},
    async requireAll() {},
  };
}
