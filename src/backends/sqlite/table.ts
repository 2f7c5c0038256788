/** What an SQLite table is, by introspection: the catalog's mapping held against the file. */
import { columnOf, exactColumnOf, type RecordKind, storedFields, tenantFieldOf } from "../../catalog/index.js";
import { codecOf } from "../../codecs/index.js";
import { StorageError } from "../../errors.js";
import type { Database } from "./open.js";

/** A value of a row, read with safe integers: INTEGER is bigint, REAL number, TEXT string, BLOB Buffer. */
export type SqlValue = bigint | number | string | Buffer | null;
export type SqlRow = readonly SqlValue[];

/** Shorter BLOBs are left to the garbage collector. Bytes. */
const RELEASED_BYTES = 512;

/**
 * Ends the driver's own copy of a BLOB: its memory is free at once. Garbage collection would come tens of megabytes
 * later, because to the engine a row is a small thing.
 */
export function release(value: SqlValue): void {
  if (!Buffer.isBuffer(value) || value.length < RELEASED_BYTES || value.length !== value.buffer.byteLength) return;
  (value.buffer as ArrayBuffer).transfer(0);
}

/** An SQL identifier, quoted. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** The table that holds the kind's key: for vectors the metadata. */
export function mainTable(kind: RecordKind): string {
  return kind.sqlite.layout === "vector" ? kind.sqlite.metadataTable : kind.sqlite.table;
}

/** The SQL condition that picks the kind's rows of its main table; undefined where all of them are. */
export function kindCondition(kind: RecordKind, alias = ""): string | undefined {
  return kind.sqlite.layout === "vector" ? `${alias}dimension = ${kind.sqlite.dimension}` : undefined;
}

/** The condition that a row of the kind is one of some tenants', whose names are its parameter, as JSON. */
export function isOfTenants(kind: RecordKind): string {
  const field = tenantFieldOf(kind);
  if (field === undefined) throw new Error(`${kind.path} has no tenants`);
  return `${quoted(columnOf(field))} IN (SELECT value FROM json_each(?))`;
}

/** The tenants that the kind's rows are to be of; undefined where all are wanted: those of a kind without tenants are everybody's. */
export function tenantsFor(kind: RecordKind, tenants: readonly string[] | undefined): readonly string[] | undefined {
  return tenantFieldOf(kind) === undefined ? undefined : tenants;
}

/** Whether the kind's table is one WITHOUT ROWID, as the catalog says. */
export function lacksRowids({ sqlite }: RecordKind): boolean {
  return sqlite.layout === "table" && sqlite.withoutRowid === true;
}

/** The table's column names, or undefined when there is no such table. */
export function columnsOf(database: Database, table: string): ReadonlySet<string> | undefined {
  const rows = database.prepare("SELECT name FROM pragma_table_info(?)").raw().all(table) as [string][];
  return rows.length === 0 ? undefined : new Set(rows.map(([name]) => name));
}

/** The names of SQLite's own rowid, of which a column hides the one that it is called. */
export const ROWID_NAMES: readonly string[] = ["rowid", "_rowid_", "oid"];

/**
 * The name by which the table's own rowid is had: `rowid`, unless that is a column that holds something else. E_SCHEMA
 * where columns have taken all names.
 */
export function rowidOf(database: Database, table: string): string {
  const columns = database.prepare("SELECT lower(name) FROM pragma_table_xinfo(?)").pluck().all(table) as string[];
  const own = ownRowid(database, table);
  const hidden = new Set(columns.filter((name) => name !== own));
  const free = ROWID_NAMES.find((name) => !hidden.has(name));
  if (free !== undefined) return free;
  throw new StorageError("E_SCHEMA", `the columns of ${table} hide its rowid under each of its names`, {
    detail: `its columns ${ROWID_NAMES.join(", ")} are not the rowid`,
    hint: `Rename one of them: ALTER TABLE ${table} RENAME COLUMN oid TO oid_.`,
  });
}

/** The column that is the table's rowid under its own name (INTEGER PRIMARY KEY), in lower case. */
function ownRowid(database: Database, table: string): string | undefined {
  const keys = database
    .prepare("SELECT lower(name), upper(type) FROM pragma_table_xinfo(?) WHERE pk > 0")
    .raw()
    .all(table) as [string, string][];
  // A DESC one is not, and has an index.
  return keys.length === 1 && keys[0]?.[1] === "INTEGER" && !hasKeyIndex(database, table) ? keys[0][0] : undefined;
}

/** Whether the rowid of the kind's table is a field of its records: then it says nothing of when a row came. */
export function hasRowidField(database: Database, kind: RecordKind): boolean {
  const own = ownRowid(database, mainTable(kind));
  return storedFields(kind, "sqlite").some((field) => columnOf(field).toLowerCase() === own);
}

function hasKeyIndex(database: Database, table: string): boolean {
  return database.prepare("SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'").raw().get(table) !== undefined;
}

/** Whether the table can hold a rowid (`rowid`, as column or not) only once. */
export function hasUniqueRowids(database: Database, table: string): boolean {
  const query = "SELECT 1 FROM pragma_table_xinfo(?) WHERE lower(name) = 'rowid'";
  return rowidOf(database, table) === "rowid" || database.prepare(query).raw().get(table) === undefined;
}

/** E_SCHEMA for what has no rowids, by which rows are fetched and changed: a view, a table WITHOUT ROWID (unless `lacking`). */
export function requireRowids(database: Database, table: string, lacking = false): void {
  const query = "SELECT type, wr FROM pragma_table_list(?) WHERE schema = 'main'";
  const row = database.prepare(query).raw().get(table) as [string, number | bigint] | undefined;
  if (row === undefined || (row[0] !== "view" && (lacking || Number(row[1]) === 0))) return;
  throw new StorageError("E_SCHEMA", `${table} is ${row[0] === "view" ? "a view" : "a table WITHOUT ROWID"}`, {
    hint: "llmspell makes it as an ordinary table: create that, copy the rows into it, and give it the name.",
  });
}

/** The columns that the kind needs in its main table: `exact` those of our own migrations (companions). */
export function neededColumns(kind: RecordKind): { readonly plain: string[]; readonly exact: string[] } {
  const plain: string[] = [];
  const exact: string[] = [];
  for (const field of storedFields(kind, "sqlite")) {
    const { sqlite } = codecOf(field);
    if (sqlite === "embedding") continue;
    plain.push(columnOf(field));
    if (sqlite === "time") exact.push(exactColumnOf(field));
  }
  if (kind.sqlite.layout === "vector") plain.push("dimension");
  else if (kind.sqlite.textDigest !== undefined) exact.push(kind.sqlite.textDigest.companion);
  return { plain, exact };
}

/** The columns of each unique index of the table that covers all its rows (expressions are left out). */
export function uniqueIndexes(database: Database, table: string): readonly ReadonlySet<string>[] {
  const indexes = database
    .prepare('SELECT name FROM pragma_index_list(?) WHERE "unique" = 1 AND partial = 0')
    .raw()
    .all(table) as [string][];
  const columns = database.prepare("SELECT name FROM pragma_index_info(?)").raw();
  return indexes.map(([name]) => new Set((columns.all(name) as [string | null][]).map(([column]) => column ?? "")));
}

/** The canonical time of the seconds and the companion, in SQL (codecs/timestamp.ts, fromSqliteTime). */
export function exactTimeSql(seconds: string, exact: string | undefined): string {
  const plain = `WHEN ${seconds} = 9999999999 THEN 9223372036854775807 WHEN ${seconds} = -9999999999 THEN -9223372036854775807 - 1 ELSE (${seconds} - 946684800) * 1000000`;
  if (exact === undefined) return `CASE ${plain} END`;
  return `CASE WHEN ${exact} IS NOT NULL AND ${secondsOfSql(exact)} = ${seconds} THEN ${exact} ${plain} END`;
}

/** The Unix seconds, floored, of a canonical time, in SQL (codecs/timestamp.ts, toUnixSeconds). */
export function secondsOfSql(exact: string): string {
  return `CASE ${exact} WHEN 9223372036854775807 THEN 9999999999 WHEN -9223372036854775807 - 1 THEN -9999999999 ELSE ${exact} / 1000000 - (${exact} % 1000000 < 0) + 946684800 END`;
}

/** The 32 lower-case hex digits of a UUID in any spelling, in SQL. */
export function uuidDigitsSql(column: string): string {
  return `lower(replace(${column}, '-', ''))`;
}

/** Whether the text is a UUID, bare or hyphenated, in either case (codecs/uuid.ts, uuidDigits); 0, 1 or NULL. */
export function isUuidSql(column: string): string {
  // 32 hex digits and nothing else but hyphens: then the length says how many of these. GLOB takes five times as long.
  const digits = `length(unhex(${column}, '-')) = 16`;
  const hyphens = [9, 14, 19, 24].map((at) => `substr(${column}, ${at}, 1) = '-'`).join(" AND ");
  // To unhex and length a text ends at U+0000.
  return `(${digits} AND instr(${column}, char(0)) = 0 AND (length(${column}) = 32 OR (length(${column}) = 36 AND ${hyphens})))`;
}

/** The digits also of free text, which stands for the UUID that is derived from it. Needs `defineFunctions`. */
export function uuidOrDerivedSql(column: string): string {
  return `CASE WHEN ${isUuidSql(column)} THEN ${uuidDigitsSql(column)} ELSE llmspell_uuid(${column}) END`;
}

/** A UUID in its usual spelling; free text as it is. */
export function usualSpellingSql(column: string): string {
  const digits = uuidDigitsSql(column);
  const parts = ["1, 8", "9, 4", "13, 4", "17, 4", "21"].map((range) => `substr(${digits}, ${range})`);
  return `CASE WHEN ${isUuidSql(column)} THEN ${parts.join(" || '-' || ")} ELSE ${column} END`;
}
