/**
 * A kind's rows by their key, where the table is larger than memory: along an index each row would be a page from somewhere on
 * the disk. So the table is read once from its beginning to its end, a run of rows after the other; SQLite sorts the keys of a
 * run, whose pages are at hand, and the records go to a temporary file. Then the runs are merged. A row with a large value, or
 * one that cannot be read, goes there by its rowid, and is read again when its turn comes.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { RecordKind } from "../../../catalog/index.js";
import { SortedRuns } from "../../../document/files/sorted-runs.js";
import type { Database } from "../open.js";
import { mainTable, quoted, rowidOf, type SqlRow, type SqlValue, tenantsFor } from "../table.js";
import { orderTerms } from "./order-terms.js";
import { allRows, joinedEmbeddings, type OrderedRows, type RowSelection, selectedRows } from "./ordered-rows.js";
import { RowidTally, requireRowsOfIndex, rowMissing, rowsOutOfOrder } from "./row-check.js";
import type { RowReader } from "./row-reader.js";
import { EntryWriter, isAgain, readEntry, rowidOf as rowidOfEntry, WRITE_BYTES } from "./run-entries.js";

/** What a run's records should come to. Bytes. */
const RUN_BYTES = 16777216;
/** The first run has so many rows, and each later one at most so many times the one before. */
const FIRST_ROWS = 1000;
const GROWTH = 8;
/** A run's rows between two visits of the event loop. */
const ROWS_PER_TURN = 4096;
const LEAST_ROWID = -(2n ** 63n);
const GREATEST_ROWID = 2n ** 63n - 1n;

export interface SortedRows extends OrderedRows<Buffer> {
  /** Before the rows: reads the table and sorts it. E_DISK_FULL, E_IO, whatever the signal aborts with. */
  sort(signal: AbortSignal): Promise<void>;
  /** Frees the temporary file; idempotent; never throws. */
  close(): Promise<void>;
}

/** Rows of kinds with a key and with rowids, all that the tenants have. */
export function sortedRows(
  database: Database,
  kind: RecordKind,
  reader: RowReader,
  selection: RowSelection,
): SortedRows {
  const name = mainTable(kind);
  const rowid = rowidOf(database, name);
  const tenants = tenantsFor(kind, selection.tenants);
  const where = selectedRows(kind, tenants);
  const runs = new SortedRuns();
  const came = new RowidTally();
  const readAgain = rereader(database, kind, reader, rowid);
  let merged: Iterable<Buffer> = [];
  let last: bigint | undefined;
  /** The row of the entry at hand, where it was read again. */
  let again: SqlRow | undefined;

  return {
    async sort(signal) {
      const values = tenants === undefined ? [] : [JSON.stringify(tenants)];
      await writeRuns(database, kind, reader, { name, rowid, where, values, idOrder: selection.idOrder }, runs, signal);
      await runs.compact(() => signal.throwIfAborted());
      merged = await runs.mergedNow();
    },
    async requireAllAhead() {},
    rows: () => merged,
    saw(entry) {
      const at = rowidOfEntry(entry);
      // A page that the table has twice: its rows stand one behind the other.
      if (at === last) throw rowsOutOfOrder(name);
      last = at;
      came.add(at);
      again = isAgain(entry) ? readAgain(at) : undefined;
    },
    hasLargeValue: () => again !== undefined && reader.hasLargeValue(again),
    read(entry, builder) {
      if (again === undefined) readEntry(entry, reader.written, builder);
      else reader.read(again, builder);
    },
    // Only what cannot be read is asked for.
    fields: () => reader.fields(again as SqlRow),
    requireAll: (signal) => requireRowsOfIndex(database, { name, rowid, came, isWhole: where === undefined }, signal),
    close: () => runs.close(),
  };
}

interface Walk {
  readonly name: string;
  readonly rowid: string;
  readonly where: string | undefined;
  readonly values: readonly string[];
  readonly idOrder: RowSelection["idOrder"];
}

/** The whole table in the order of its rowids, as runs that are sorted each. */
async function writeRuns(
  database: Database,
  kind: RecordKind,
  reader: RowReader,
  { name, rowid, where, values, idOrder }: Walk,
  runs: SortedRuns,
  signal: AbortSignal,
): Promise<void> {
  const table = quoted(name);
  const terms = orderTerms(database, kind, idOrder);
  const keys = terms.map((_, i) => `k${i}`);
  const selected = terms.map((term, i) => `${term} AS k${i}`).join(", ");
  // LIMIT keeps SQLite from dropping the inner ORDER BY.
  const rowids = `SELECT ${rowid} AS r, ${selected} FROM ${table} NOT INDEXED WHERE ${rowid} BETWEEN ? AND ?
    ${where === undefined ? "" : `AND ${where}`} ORDER BY ${keys.join(", ")}, r LIMIT -1`;
  const rest = `FROM (${rowids}) AS s LEFT JOIN ${table} AS t ON t.${rowid} = s.r ${joinedEmbeddings(kind, reader)}`;
  const statement = (select: string) =>
    database
      .prepare(`SELECT ${select}, ${keys.map((key) => `s.${key}`).join(", ")} ${rest}`)
      .raw()
      .safeIntegers();
  // Behind its columns the reader looks for what only the short ones have.
  const [usual, short] = [statement(`${reader.select}, NULL`), statement(reader.shortSelect)];
  const nextFrom = database
    .prepare(`SELECT ${rowid} FROM ${table} NOT INDEXED WHERE ${rowid} >= ? ORDER BY ${rowid} LIMIT 1 OFFSET ?`)
    .pluck()
    .safeIntegers();
  const writer = new EntryWriter(kind, reader, rawTerms(database, table, rowid, terms));
  let count = FIRST_ROWS;
  for (let from = LEAST_ROWID; ; ) {
    const next = nextFrom.get(from, BigInt(count)) as bigint | undefined;
    const to = next === undefined ? GREATEST_ROWID : next - 1n;
    const iterate = (select: string) =>
      (select === reader.select ? usual : short).iterate(from, to, ...values) as IterableIterator<SqlRow>;
    let bytes = 0;
    let turn = 0;
    for (const row of allRows(reader, iterate)) {
      writer.add(row);
      if (writer.length >= WRITE_BYTES) {
        bytes += writer.length;
        await runs.write(writer.take());
      }
      if (++turn % ROWS_PER_TURN !== 0) continue;
      await nextTick();
      signal.throwIfAborted();
    }
    bytes += writer.length;
    await runs.write(writer.take());
    runs.endRun();
    await nextTick();
    signal.throwIfAborted();
    if (next === undefined) return;
    from = next;
    // As many rows as would come to a run, judged by these.
    count = Math.max(FIRST_ROWS, Math.min(count * GROWTH, Math.floor((count * RUN_BYTES) / Math.max(1, bytes))));
  }
}

/** Per term of the key, what its text is in bytes. */
function rawTerms(
  database: Database,
  table: string,
  rowid: string,
  terms: readonly string[],
): ((rowid: bigint) => SqlValue)[] {
  return terms.map((term) => {
    const statement = database.prepare(`SELECT CAST(${term} AS BLOB) FROM ${table} WHERE ${rowid} = ?`).pluck();
    return (at) => statement.get(at) as SqlValue;
  });
}

/** Reads a row by its rowid. E_SOURCE_DAMAGED. */
function rereader(database: Database, kind: RecordKind, reader: RowReader, rowid: string): (at: bigint) => SqlRow {
  const name = mainTable(kind);
  const rest = `FROM ${quoted(name)} AS t ${joinedEmbeddings(kind, reader)} WHERE t.${rowid} = ?`;
  return (at) => {
    const iterate = (select: string) =>
      database.prepare(`SELECT ${select} ${rest}`).raw().safeIntegers().iterate(at) as IterableIterator<SqlRow>;
    for (const row of allRows(reader, iterate)) return row;
    throw rowMissing(name);
  };
}
