/** Which migrations an SQLite database has. Only reads, and works on a database that was opened read-only. */
import type { Database } from "../../../backends/sqlite/open.js";

/** One row of llmspell's `_migrations` or of our `_storage_migrations`. */
export interface RecordedMigration {
  readonly version: number;
  readonly name: string;
  /** Unix seconds, as text. */
  readonly appliedAt: string;
}

export interface SqliteMigrations {
  /** llmspell's own record, ascending; never written by us. It writes no row for V3. */
  readonly llmspell: readonly RecordedMigration[];
  /** Ours, ascending. */
  readonly ours: readonly RecordedMigration[];
  /** llmspell's versions whose tables are there, whoever made them. */
  readonly present: ReadonlySet<number>;
}

/** The tables of each of llmspell's versions. V2, V12, V14 and V15 are PostgreSQL's alone. */
const TABLES: readonly (readonly [version: number, tables: readonly string[]])[] = [
  [3, ["vector_metadata"]],
  [4, ["entities", "relationships"]],
  [5, ["procedural_patterns"]],
  [6, ["agent_states"]],
  [7, ["kv_store"]],
  [8, ["workflow_states"]],
  [9, ["sessions"]],
  [10, ["artifact_content", "artifacts"]],
  [11, ["event_log"]],
  [13, ["hook_history"]],
];

/** Reads both records and what the tables themselves say. */
export function readSqliteMigrations(database: Database): SqliteMigrations {
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
  const present = new Set<number>();
  for (const [version, needed] of TABLES) {
    if (needed.every((table) => tables.has(table))) present.add(version);
  }
  return { llmspell: recorded("_migrations"), ours: recorded("_storage_migrations"), present };
}

/** llmspell's versions for a document's header, ascending, e.g. ["V1", "V3"]; always begins with "V1". */
export function readSqliteVersions(database: Database): string[] {
  const { llmspell, ours, present } = readSqliteMigrations(database);
  const versions = new Set([1, ...present]);
  for (const { version } of [...llmspell, ...ours]) {
    if (version < FIRST_STORAGE_MIGRATION) versions.add(version);
  }
  return [...versions].sort((a, b) => a - b).map((version) => `V${version}`);
}

/** Our own migrations count from here; below are llmspell's versions. */
export const FIRST_STORAGE_MIGRATION = 101;
