/**
 * A kind's rows by their key, where the table is larger than memory: along an index each row would be a page from somewhere on
 * the disk. So the table is read once from its beginning to its end, its records are sorted in runs in a temporary file, and the
 * runs are merged. A row with a large value, or one that cannot be read, goes there by its rowid, and is read again when its turn
 * comes.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { RecordKind } from "../../../catalog/index.js";
import { EntrySorter } from "../../../document/files/entry-sorter.js";
import type { Database } from "../open.js";
import { mainTable, quoted, rowidOf, type SqlRow, type SqlValue, tenantsFor } from "../table.js";
import { orderTerms } from "./order-terms.js";
import { allRows, joinedEmbeddings, type OrderedRows, type RowSelection, selectedRows } from "./ordered-rows.js";
import { RowidTally, requireRowsOfIndex, rowMissing, rowsOutOfOrder } from "./row-check.js";
import type { RowReader } from "./row-reader.js";
import { EntryWriter, isAgain, readEntry, rowidOf as rowidOfEntry } from "./run-entries.js";

/** What is sorted in memory. Bytes. */
const RUN_BYTES = 8388608;
/** Rows between two visits of the event loop. */
const ROWS_PER_TURN = 1024;

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
  const sorter = new EntrySorter(RUN_BYTES);
  const came = new RowidTally();
  const readAgain = rereader(database, kind, reader, rowid);
  let merged: Iterable<Buffer> = [];
  /** The row of the entry at hand, where it was read again. */
  let again: SqlRow | undefined;

  return {
    async sort(signal) {
      const values = tenants === undefined ? [] : [JSON.stringify(tenants)];
      await addRows(database, kind, reader, { name, rowid, where, values, idOrder: selection.idOrder }, sorter, signal);
      merged = await sorter.sortedNow(() => signal.throwIfAborted());
    },
    async requireAllAhead() {},
    rows: () => merged,
    saw(entry) {
      const at = rowidOfEntry(entry);
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
    close: () => sorter.close(),
  };
}

interface Walk {
  readonly name: string;
  readonly rowid: string;
  readonly where: string | undefined;
  readonly values: readonly string[];
  readonly idOrder: RowSelection["idOrder"];
}

/** The whole table in the order of its rowids. E_SOURCE_DAMAGED where they are in none. */
async function addRows(
  database: Database,
  kind: RecordKind,
  reader: RowReader,
  { name, rowid, where, values, idOrder }: Walk,
  sorter: EntrySorter,
  signal: AbortSignal,
): Promise<void> {
  const table = quoted(name);
  const terms = orderTerms(database, kind, idOrder);
  const rest = `${terms.join(", ")} FROM ${table} AS t NOT INDEXED ${joinedEmbeddings(kind, reader)}
    ${where === undefined ? "" : `WHERE ${where}`} ORDER BY t.${rowid}`;
  // Behind its columns the reader looks for what only the short ones have.
  const iterate = (select: string) =>
    database
      .prepare(`SELECT ${select}, ${select === reader.select ? "NULL, " : ""}${rest}`)
      .raw()
      .safeIntegers()
      .iterate(...values) as IterableIterator<SqlRow>;
  const writer = new EntryWriter(kind, reader, rawTerms(database, table, rowid, terms));
  let last: bigint | undefined;
  let count = 0;
  for (const row of allRows(reader, iterate)) {
    const at = row[0] as bigint;
    // A page that the table has twice, or in another's place.
    if (last !== undefined && at <= last) throw rowsOutOfOrder(name);
    last = at;
    sorter.add(writer.entryOf(row));
    if (sorter.full) await sorter.settle();
    if (++count % ROWS_PER_TURN !== 0) continue;
    await nextTick();
    signal.throwIfAborted();
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
