/** What an SQLite file's schema is beside the one that the migrations of this release make. Only reads. */

import type { Database } from "../../../backends/sqlite/open.js";
import { mainTable, quoted } from "../../../backends/sqlite/table.js";
import { columnOf } from "../../../catalog/index.js";
import { catalog } from "../../catalog/index.js";
import type { SchemaComparison, SchemaDifference } from "../comparison.js";
import { loadMigrations, type Migration, migrationId } from "../migration.js";
import { FIRST_STORAGE_MIGRATION } from "../recorded.js";
import { readSqliteMigrations } from "./migrations-table.js";
import {
  type DeclaredKey,
  declaredKeys,
  describeSchema,
  type ExpectedObject,
  expectedObjects,
  isKey,
  keyText,
  primaryKey,
  type SqliteObjects,
} from "./objects.js";
import { isRebuilt, rebuiltKeys, rebuiltTable } from "./rebuild.js";
import { findRowidFaults } from "./rowids.js";

export interface SqliteComparison extends SchemaComparison {
  /** Versions of the migrations that `database migrate` runs, first or again. */
  readonly incomplete: ReadonlySet<number>;
  /** Rebuilds that are left out, by version: which key of another table stands in the way. */
  readonly leftOut: ReadonlyMap<number, string>;
}

/**
 * Rebuilds that would take a key away to which a table refers that is not llmspell's: afterwards SQLite would refuse every
 * change of that table, and every deletion from llmspell's.
 */
function findLeftOut(
  database: Database,
  migrations: readonly Migration[],
  keys: readonly DeclaredKey[],
): Map<number, string> {
  const leftOut = new Map<number, string>();
  const rebuilds = migrations.filter(({ sql }) => rebuiltTable(sql) !== undefined);
  /** Tables whose own foreign keys go with their rebuild. */
  const losing = new Set(rebuilds.filter(({ sql }) => !isRebuilt(database, sql)).map(({ sql }) => rebuiltTable(sql)));
  // Children before their parents: whether relationships lose their keys decides what entities may.
  for (const { version, sql } of rebuilds.toReversed()) {
    const table = rebuiltTable(sql) as string;
    if (!losing.has(table)) continue;
    const stays = new Set(rebuiltKeys(sql));
    const blocking = keys.find(({ child, parent, referenced }) => {
      if (parent.toLowerCase() !== table || losing.has(child.toLowerCase())) return false;
      const columns = referenced.length > 0 ? referenced : primaryKey(database, table);
      return !stays.has([...columns].sort().join().toLowerCase());
    });
    if (blocking === undefined) continue;
    losing.delete(table);
    const { child, columns, referenced } = blocking;
    const named = referenced.length > 0 ? referenced : primaryKey(database, table);
    leftOut.set(version, `${keyText(child, columns)} refers to ${keyText(table, named)}`);
  }
  return leftOut;
}

function isJson(table: string, column: string): boolean {
  const kind = catalog.kinds.find((each) => mainTable(each) === table);
  return kind?.fields.some((field) => field.type === "json" && columnOf(field) === column) === true;
}

/** The statement that makes a column anew, empty or with its default. */
function columnRepair(table: string, column: string, definition: string): string {
  if (definition.startsWith("key ")) return "restore a backup: a column of the primary key cannot be added";
  const zero = /^INTEGER/i.test(definition)
    ? "0"
    : /^BLOB/i.test(definition)
      ? "x''"
      : isJson(table, column)
        ? "'{}'"
        : "''";
  // Only constants may be added to a table with rows.
  const constant = definition.replace(/ DEFAULT \([\s\S]*\)$/, " DEFAULT 0");
  const fallback = / NOT NULL/.test(constant) && !/ DEFAULT /.test(constant) ? ` DEFAULT ${zero}` : "";
  return `ALTER TABLE ${quoted(table)} ADD COLUMN ${quoted(column)} ${constant}${fallback}`;
}

function repairOf({ object, table, definition, version }: ExpectedObject): string | undefined {
  if (version >= FIRST_STORAGE_MIGRATION) return undefined;
  const name = object.slice(object.indexOf(".") + 1);
  if (object.startsWith("column ")) return columnRepair(table, name, definition);
  if (object.startsWith("constraint "))
    return `CREATE UNIQUE INDEX ${quoted(`unique_${table}_${name.replace(/\W+/g, "_")}`)} ON ${quoted(table)} ${name}`;
  return undefined;
}

/** Whether the object is there, if need be an index under another name. */
function isThere({ object, table, definition }: ExpectedObject, found: SqliteObjects): boolean {
  if (found.has(object)) return true;
  if (!object.startsWith("index ")) return false;
  return [...found].some(([other, text]) => other.startsWith(`index ${table}.`) && text === definition);
}

/** Foreign keys to what is no key: SQLite refuses every change of their tables, and deletions from llmspell's. */
function mismatchedKeys(database: Database, keys: readonly DeclaredKey[], found: SqliteObjects): SchemaDifference[] {
  return keys
    .filter(
      ({ parent, referenced }) => found.has(`table ${parent.toLowerCase()}`) && !isKey(database, parent, referenced),
    )
    .map(({ child, columns, parent, referenced }) => ({
      object: `foreign key ${keyText(child, columns)}`,
      migration: rebuildOf(parent),
      repair: `make ${child} anew without it: ${keyText(parent, referenced)} is no key, and SQLite refuses every change of ${child}`,
    }));
}

/** The migration that took the table's keys. */
function rebuildOf(table: string): string {
  const rebuild = loadMigrations("sqlite").find(({ sql }) => rebuiltTable(sql) === table.toLowerCase());
  return rebuild === undefined ? "" : migrationId(rebuild.version);
}

function leftOutLines(leftOut: ReadonlyMap<number, string>): string[] {
  return loadMigrations("sqlite")
    .filter(({ version }) => leftOut.has(version))
    .map(
      ({ version, name, sql }) =>
        `${migrationId(version)} (${name}) is left out, because ${leftOut.get(version)}: ${rebuiltTable(sql)} keeps llmspell's own keys, and records that do not fit them are refused`,
    );
}

/** What `database migrate` does not do, for people. */
export function undoneLines({ leftOut, broken }: SqliteComparison): string[] {
  return [
    ...leftOutLines(leftOut),
    ...broken.map(({ object, repair }) => `${object} is missing or does not work: ${repair}`),
  ];
}

export function compareSqliteSchema(database: Database): SqliteComparison {
  const migrations = loadMigrations("sqlite");
  const expected = expectedObjects();
  const { llmspell } = readSqliteMigrations(database);
  const recorded = new Set(llmspell.map(({ version }) => version));
  // llmspell writes no row for V3.
  if (Math.max(0, ...recorded) > 3) recorded.add(3);
  const found = describeSchema(database, new Set(expected.map(({ table }) => table)));
  const keys = declaredKeys(database);
  const leftOut = findLeftOut(database, migrations, keys);

  const missing: SchemaDifference[] = [];
  const pending: SchemaDifference[] = [];
  const broken = mismatchedKeys(database, keys, found);
  const incomplete = new Set<number>();
  for (const each of expected) {
    if (isThere(each, found)) continue;
    const { object, table, version } = each;
    // A rebuild that is left out gives the table its columns all the same.
    if (leftOut.has(version) && !object.startsWith("column ")) continue;
    const tableThere = found.has(`table ${table}`);
    const repair = tableThere ? repairOf(each) : undefined;
    if (repair === undefined) incomplete.add(version);
    // Objects of a table that is gone are told by the table alone.
    if (object !== `table ${table}` && !tableThere) continue;
    const migration = migrationId(version);
    if (repair !== undefined) broken.push({ object, migration, repair });
    else if (recorded.has(version)) missing.push({ object, migration });
    else pending.push({ object, migration });
  }
  const notes = leftOutLines(leftOut);
  const { full, unused } = findRowidFaults(database);
  for (const dimension of full)
    broken.push({
      object: `rowids of vectors of ${dimension} dimensions`,
      migration: migrationId(3),
      repair: "llmspell database migrate --repair-rowids",
    });
  if (unused.length > 0)
    notes.push(
      `llmspell cannot insert its first vector of ${unused.join(", ")} dimensions: other vectors have its rowid. \`llmspell database migrate --repair-rowids\` gives them others.`,
    );
  return { missing, pending, broken, notes, incomplete, leftOut };
}
