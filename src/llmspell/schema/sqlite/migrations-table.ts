/** Which migrations an SQLite database has. Only reads, and works on a database that was opened read-only. */
import type { SqliteQueryable } from "../../../backends/sqlite/application.js";
import {
  headerVersions,
  type RecordedMigration,
  type SchemaMigrations,
  type VersionTables,
  versionsWithTables,
} from "../recorded.js";

/** V2, V12, V14 and V15 are PostgreSQL's alone. */
const TABLES: readonly VersionTables[] = [[3, ["vector_metadata"]]];

/** Reads both records and what the tables themselves say. */
export function readSqliteMigrations(database: SqliteQueryable): SchemaMigrations {
  const names = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").raw().all() as [string][];
  const tables = new Set(names.map(([name]) => name));
  const recorded = (table: string): RecordedMigration[] => {
    if (!tables.has(table)) return [];
    // Casts, because SQLite's columns hold what they are given and the caller may read integers as bigint.
    const rows = database
      .prepare(
        `SELECT CAST(version AS TEXT), CAST(name AS TEXT), CAST(applied_at AS TEXT) FROM ${table} ORDER BY version`,
      )
      .raw()
      .all() as [string, string, string][];
    return rows.map(([version, name, appliedAt]) => ({ version: Number(version), name, appliedAt }));
  };
  const present = versionsWithTables(TABLES, (table) => tables.has(table));
  return { llmspell: recorded("_migrations"), ours: recorded("_storage_migrations"), present };
}

/** llmspell's versions for a document's header, e.g. ["V1", "V3"]. */
export function readSqliteVersions(database: SqliteQueryable): string[] {
  return headerVersions(readSqliteMigrations(database));
}
