/**
 * Rebuilding an SQLite table, because SQLite cannot change a table's keys (https://sqlite.org/lang_altertable.html, "Making
 * Other Kinds Of Table Schema Changes"). The caller holds the transaction, with foreign_keys off.
 *
 * A migration that rebuilds says so in its first lines: `-- rebuild: <table>`, and `-- unique: <columns>`, the unique key
 * by which a rebuilt table is known. It creates <table>_rebuilt; what follows the line `-- after the swap` runs at the end.
 */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { type Database, openScratch } from "../../../backends/sqlite/open.js";
import { ROWID_NAMES, rowidOf } from "../../../backends/sqlite/table.js";
import { StorageError } from "../../../errors.js";

/** Rows between two looks at the signal. */
const CHUNK_ROWS = 20_000;

interface Column {
  readonly name: string;
  readonly type: string;
  readonly dflt_value: string | null;
  /** 0 ordinary; 2 and 3 generated. */
  readonly hidden: number;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A table's columns by name, in order; empty where there is no such table. */
export function columnsOf(database: Database, table: string): Map<string, Column> {
  const rows = database
    .prepare("SELECT name, type, dflt_value, hidden FROM pragma_table_xinfo(?)")
    .all(table) as Column[];
  return new Map(rows.map((column) => [column.name, { ...column, hidden: Number(column.hidden) }]));
}

/** The table that a migration rebuilds. */
export function rebuiltTable(sql: string): string | undefined {
  return /^-- rebuild: (\w+)$/m.exec(sql)?.[1];
}

/** Whether the table already has the unique key that the migration gives it. */
export function isRebuilt(database: Database, sql: string): boolean {
  const table = rebuiltTable(sql) as string;
  const key = /^-- unique: (.+)$/m.exec(sql)?.[1]?.replaceAll(" ", "");
  const rows = database
    .prepare(
      `SELECT (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)) AS key
       FROM pragma_index_list(?) AS l WHERE l."unique" = 1 AND l.partial = 0`,
    )
    .all(table) as { key: string | null }[];
  return rows.some((row) => row.key === key);
}

/**
 * Rebuilds the table: rows (rowids too), indexes and triggers stay. Of a table that has its keys already, only what is made
 * after the swap. @throws {StorageError} E_SCHEMA when a row would change
 */
export async function rebuildTable(database: Database, sql: string, signal: AbortSignal | undefined): Promise<void> {
  const table = rebuiltTable(sql) as string;
  const [create, afterwards] = partsOf(sql);
  if (!isRebuilt(database, sql)) {
    database.exec(create);
    const rebuilt = `${table}_rebuilt`;
    const columns = [...columnsOf(database, table).values()];
    addForeignColumns(database, table, rebuilt, columns);
    const names = columns.map(({ name }) => name);
    await copyRows(database, table, rebuilt, names, signal);
    const before = await tableDigest(database, table, names, signal);
    const after = await tableDigest(database, rebuilt, names, signal);
    if (before.rows !== after.rows || before.sha256 !== after.sha256)
      throw new StorageError("E_SCHEMA", `the rebuilt table ${table} does not have the rows of the old one`);
    swap(database, table, rebuilt);
  }
  database.exec(afterwards);
}

/** The same of a table that has no rows. */
export function rebuildEmptyTable(database: Database, sql: string): void {
  const table = rebuiltTable(sql) as string;
  const [create, afterwards] = partsOf(sql);
  database.exec(create);
  swap(database, table, `${table}_rebuilt`);
  database.exec(afterwards);
}

/** Where the table keeps its keys: the columns that the rebuilt one would have. */
export function addRebuiltColumns(database: Database, sql: string): void {
  const table = rebuiltTable(sql) as string;
  const present = columnsOf(database, table);
  const columns = inScratch(sql, (scratch, rebuilt) => [...columnsOf(scratch, rebuilt).values()]);
  for (const { name, type } of columns)
    if (!present.has(name)) database.exec(`ALTER TABLE ${quoted(table)} ADD COLUMN ${quoted(name)} ${type}`);
}

/** The keys of the rebuilt table: the names of each one's columns, in alphabetical order, with commas between. */
export function rebuiltKeys(sql: string): string[] {
  return inScratch(sql, (scratch, rebuilt) => {
    const primary = scratch
      .prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0")
      .pluck()
      .all(rebuilt) as string[];
    const indexes = scratch.prepare('SELECT name FROM pragma_index_list(?) WHERE "unique" = 1').pluck().all(rebuilt);
    const info = scratch.prepare("SELECT name FROM pragma_index_info(?)").pluck();
    return [primary, ...indexes.map((index) => info.all(index) as string[])].map((names) => names.sort().join());
  });
}

function inScratch<Result>(sql: string, work: (scratch: Database, rebuilt: string) => Result): Result {
  const scratch = openScratch();
  try {
    scratch.exec(partsOf(sql)[0]);
    return work(scratch, `${rebuiltTable(sql)}_rebuilt`);
  } finally {
    scratch.close();
  }
}

function partsOf(sql: string): [create: string, afterwards: string] {
  const [create = "", afterwards = ""] = sql.split(/^-- after the swap$/m);
  return [create, afterwards];
}

/** Puts the rebuilt table in the place of the old one, with the old one's indexes and triggers. */
function swap(database: Database, table: string, rebuilt: string): void {
  const kept = database
    .prepare(
      "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY rowid",
    )
    .raw()
    .all(table) as [string][];
  database.exec(`DROP TABLE ${quoted(table)}`);
  // The old way of renaming looks at this table alone, not at views and triggers that name the dropped one.
  database.pragma("legacy_alter_table = ON");
  try {
    database.exec(`ALTER TABLE ${quoted(rebuilt)} RENAME TO ${quoted(table)}`);
  } finally {
    database.pragma("legacy_alter_table = OFF");
  }
  for (const [statement] of kept) database.exec(statement);
}

/** Columns that neither llmspell nor we know are kept, with their type and their default. */
function addForeignColumns(database: Database, table: string, rebuilt: string, columns: readonly Column[]): void {
  const known = columnsOf(database, rebuilt);
  for (const { name, type, dflt_value, hidden } of columns) {
    if (hidden !== 0) throw new StorageError("E_SCHEMA", `cannot rebuild a table with the generated column ${name}`);
    if (known.has(name)) continue;
    if (ROWID_NAMES.includes(name.toLowerCase()))
      throw new StorageError("E_SCHEMA", `cannot rebuild ${table}: its column ${name} hides the rowid`, {
        hint: `Give it another name: ALTER TABLE ${table} RENAME COLUMN ${name} TO …`,
      });
    const fallback = dflt_value === null ? "" : ` DEFAULT ${dflt_value}`;
    database.exec(`ALTER TABLE ${quoted(rebuilt)} ADD COLUMN ${quoted(name)} ${type}${fallback}`);
  }
}

/** Ranges of rowids with at most CHUNK_ROWS rows each. */
async function* rowidRanges(
  database: Database,
  table: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly [from: bigint, to: bigint]> {
  const rowid = rowidOf(database, table);
  const last = database
    .prepare(
      `SELECT min(r), max(r) FROM (SELECT ${rowid} AS r FROM ${quoted(table)} WHERE ${rowid} >= ? ORDER BY ${rowid} LIMIT ${CHUNK_ROWS})`,
    )
    .safeIntegers()
    .raw();
  for (let from = -(2n ** 63n); ; ) {
    const [first, to] = last.get(from) as [bigint | null, bigint | null];
    if (first === null || to === null) return;
    yield [first, to];
    if (to === 2n ** 63n - 1n) return;
    from = to + 1n;
    await setImmediate();
    signal?.throwIfAborted();
  }
}

async function copyRows(
  database: Database,
  from: string,
  to: string,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const rowid = rowidOf(database, from);
  const columns = [...new Set([rowid, ...names])].map(quoted).join(", ");
  const copy = database.prepare(
    `INSERT INTO ${quoted(to)} (${columns}) SELECT ${columns} FROM ${quoted(from)} WHERE ${rowid} BETWEEN ? AND ? ORDER BY ${rowid}`,
  );
  for await (const [first, last] of rowidRanges(database, from, signal)) copy.run(first, last);
}

/** The number of rows and the SHA-256 of every value with its storage class, in the order of the rowids. */
async function tableDigest(
  database: Database,
  table: string,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<{ rows: number; sha256: string }> {
  const cells = names.map((name) => `typeof(${quoted(name)}), CAST(${quoted(name)} AS BLOB)`).join(", ");
  const rowid = rowidOf(database, table);
  const read = database
    .prepare(`SELECT ${rowid}, ${cells} FROM ${quoted(table)} WHERE ${rowid} BETWEEN ? AND ? ORDER BY ${rowid}`)
    .safeIntegers()
    .raw();
  const hash = createHash("sha256");
  let rows = 0;
  for await (const [first, last] of rowidRanges(database, table, signal)) {
    for (const [at, ...values] of read.iterate(first, last) as Iterable<[bigint, ...(string | Buffer | null)[]]>) {
      const lengths = values.map((value) => (typeof value === "string" ? value : (value?.length ?? -1)));
      hash.update(`${at} ${lengths.join(" ")}\n`);
      for (const value of values) if (value instanceof Uint8Array) hash.update(value);
      rows += 1;
    }
  }
  return { rows, sha256: hash.digest("hex") };
}
