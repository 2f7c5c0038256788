/** The objects of an SQLite schema: those of a file, and those that the migrations of this release make. */
import { type Database, openScratch } from "../../../backends/sqlite/open.js";
import { loadMigrations } from "../migration.js";
import { rebuildEmptyTable, rebuiltTable } from "./rebuild.js";

/**
 * By name: `table sessions`, `column sessions.status`, `constraint sessions.(tenant_id, session_id)`, which is a unique key,
 * `index sessions.idx_sessions_status`, `trigger entities.storage_entities_last`; with what makes it what it is.
 */
export type SqliteObjects = ReadonlyMap<string, string>;

export interface ExpectedObject {
  readonly object: string;
  readonly table: string;
  readonly definition: string;
  /** The version of the migration that makes it. */
  readonly version: number;
}

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly notnull: number;
  readonly dflt_value: string | null;
  readonly pk: number;
}

type Describe = (table: string, objects: Map<string, string>) => void;

/** Adds the objects of a table, in lower case. */
function describer(database: Database): Describe {
  const columnsOf = database.prepare('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?)');
  const indexesOf = database
    .prepare(
      `SELECT l.name, l."unique" = 1 AND l.partial = 0, m.sql,
         (SELECT group_concat(coalesce(name, ''), ', ') FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno))
       FROM pragma_index_list(?) AS l LEFT JOIN sqlite_master AS m ON m.type = 'index' AND m.name = l.name`,
    )
    .raw();
  const triggersOf = database
    .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?)")
    .pluck();
  return (table, objects) => {
    const add = (kind: string, name: string, definition: string): void =>
      void objects.set(`${kind} ${table.toLowerCase()}.${name.toLowerCase()}`, definition);
    objects.set(`table ${table.toLowerCase()}`, "");
    for (const { name, type, notnull, dflt_value, pk } of columnsOf.all(table) as ColumnRow[]) {
      const fallback =
        dflt_value === null ? "" : ` DEFAULT ${dflt_value.startsWith("strftime") ? `(${dflt_value})` : dflt_value}`;
      add("column", name, `${pk > 0 ? "key " : ""}${type}${Number(notnull) === 1 ? " NOT NULL" : ""}${fallback}`);
    }
    for (const [name, unique, sql, key] of indexesOf.all(table) as [string, number, string | null, string][]) {
      if (Number(unique) === 1) add("constraint", `(${key})`, key.toLowerCase());
      if (sql !== null) add("index", name, indexDefinition(sql));
    }
    for (const name of triggersOf.all(table) as string[]) add("trigger", name, "");
  };
}

/** What an index holds, however its statement is written: everything behind the table's name. */
function indexDefinition(sql: string): string {
  const unique = /^\s*CREATE\s+UNIQUE\b/i.test(sql) ? "unique" : "";
  const [, rest = sql] = /\bON\b[^(]*(\([\s\S]*)$/i.exec(sql) ?? [];
  return unique + rest.replace(/["`[\]\s]/g, "").toLowerCase();
}

/** The objects of the tables, as far as they are there. */
export function describeSchema(database: Database, tables: ReadonlySet<string>): SqliteObjects {
  const objects = new Map<string, string>();
  const names = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
  const describe = describer(database);
  for (const name of names) if (tables.has(name.toLowerCase())) describe(name, objects);
  return objects;
}

let expected: readonly ExpectedObject[] | undefined;

/** What all migrations together make, each object with the first one that makes it. */
export function expectedObjects(): readonly ExpectedObject[] {
  expected ??= makeExpected();
  return expected;
}

function makeExpected(): ExpectedObject[] {
  const scratch = openScratch();
  try {
    const versions = new Map<string, number>();
    const describe = describer(scratch);
    /** By table, with all that the file says of it: most migrations change few of them. */
    let tables = new Map<string, { readonly sql: string; readonly objects: SqliteObjects }>();
    for (const { version, sql } of loadMigrations("sqlite")) {
      if (rebuiltTable(sql) === undefined) scratch.exec(sql);
      else rebuildEmptyTable(scratch, sql);
      const described = new Map(tables);
      tables = new Map();
      for (const [table, text] of statementsByTable(scratch)) {
        const same = described.get(table);
        if (same?.sql === text) tables.set(table, same);
        else {
          const objects = new Map<string, string>();
          describe(table, objects);
          for (const object of objects.keys()) if (!versions.has(object)) versions.set(object, version);
          tables.set(table, { sql: text, objects });
        }
      }
    }
    const objects = [...tables.values()].flatMap((table) => [...table.objects]);
    return objects.map(([object, definition]) => ({
      object,
      table: /^\w+ (\w+)/.exec(object)?.[1] as string,
      definition,
      version: versions.get(object) as number,
    }));
  } finally {
    scratch.close();
  }
}

/** Of each table in the file's order, the statements of it and of its indexes and triggers. */
function statementsByTable(database: Database): Map<string, string> {
  const rows = database.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master").raw().all() as [
    string,
    string,
    string,
    string,
  ][];
  const statements = new Map<string, string>();
  for (const [type, name] of rows) if (type === "table") statements.set(name, "");
  for (const [type, name, table, sql] of rows) {
    const text = statements.get(table);
    if (text !== undefined) statements.set(table, `${text}${type} ${name} ${sql}\0`);
  }
  return statements;
}

/** A foreign key of any table of the file. */
export interface DeclaredKey {
  readonly child: string;
  readonly columns: readonly string[];
  readonly parent: string;
  /** Empty where it names the parent's primary key without its columns. */
  readonly referenced: readonly string[];
}

export function declaredKeys(database: Database): DeclaredKey[] {
  const tables = database
    .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%REFERENCES%'")
    .pluck()
    .all() as string[];
  return tables.flatMap((child) => {
    const rows = database
      .prepare('SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq')
      .raw()
      .all(child) as [number | bigint, string, string, string | null][];
    const keys = new Map<number, { parent: string; columns: string[]; referenced: string[] }>();
    for (const [id, parent, from, to] of rows) {
      const key = keys.get(Number(id)) ?? { parent, columns: [], referenced: [] };
      key.columns.push(from);
      if (to !== null) key.referenced.push(to);
      keys.set(Number(id), key);
    }
    return [...keys.values()].map((key) => ({ child, ...key }));
  });
}

/** Whether the columns are a key of the table, to which foreign keys may refer. */
export function isKey(database: Database, table: string, columns: readonly string[]): boolean {
  const same = (names: readonly string[]): boolean =>
    names.length > 0 &&
    [...names]
      .map((name) => name.toLowerCase())
      .sort()
      .join() ===
      [...columns]
        .map((name) => name.toLowerCase())
        .sort()
        .join();
  const primary = primaryKey(database, table);
  if (columns.length === 0 ? primary.length > 0 : same(primary)) return true;
  const unique = database
    .prepare('SELECT name FROM pragma_index_list(?) WHERE "unique" = 1 AND partial = 0')
    .pluck()
    .all(table) as string[];
  const info = database.prepare("SELECT name FROM pragma_index_info(?)").pluck();
  return unique.some((index) => same((info.all(index) as (string | null)[]).map((name) => name ?? "")));
}

export function primaryKey(database: Database, table: string): string[] {
  return database
    .prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk")
    .pluck()
    .all(table) as string[];
}

/** The columns of a key as they are written, e.g. `notes(e)`. */
export function keyText(table: string, columns: readonly string[]): string {
  return `${table}(${columns.join(", ")})`;
}
