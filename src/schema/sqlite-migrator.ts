/** Migrations of SQLite: one transaction, one at a time. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fromSqliteError, sqliteCode } from "../backends/sqlite/errors.js";
import { ownerOf } from "../backends/sqlite/inspect.js";
import { FIRST_STORAGE_MIGRATION, readSqliteMigrations } from "../backends/sqlite/migrations-table.js";
import { type Database, isVec0, openSqliteForWriting } from "../backends/sqlite/open.js";
import { refuseDamagedVec0 } from "../backends/sqlite/vec0-check.js";
import { catalog } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import {
  loadMigrations,
  type Migration,
  type MigrationReport,
  type MigrationState,
  migrationError,
  migrationStates,
  refuseNewer,
} from "./migration.js";
import { columnsOf, isRebuilt, rebuildTable, rebuiltTable } from "./sqlite-rebuild.js";

export interface MigrateSqliteOptions {
  /** How long another process's lock is waited for. Seconds, default 60. */
  readonly lockTimeoutSeconds?: number;
  /** Rolls back and rejects with its reason. */
  readonly signal?: AbortSignal;
  /** A database that has tables, but none of llmspell, is E_NOT_MIGRATED. Default: it gets llmspell's beside its own. */
  readonly refuseForeign?: boolean;
}

const RETRY_MILLISECONDS = 100;
/** One attempt to get the lock; the driver blocks meanwhile, so signals must wait. */
const BUSY_MILLISECONDS = 250;

interface Plan {
  readonly pending: readonly Migration[];
  readonly states: MigrationState[];
}

function plan(database: Database, migrations: readonly Migration[]): Plan {
  const { llmspell, ours, present } = readSqliteMigrations(database);
  refuseNewer(migrations, ours);
  const isApplied = ({ version, sql }: Migration): boolean => {
    if (version === 1) return [...llmspell, ...ours].some((row) => row.version === 1) || present.size > 0;
    if (version < FIRST_STORAGE_MIGRATION) return present.has(version);
    if (rebuiltTable(sql) !== undefined) return isRebuilt(database, sql);
    const added = addedColumns(sql);
    if (added.length > 0) return added.every(({ table, column }) => columnsOf(database, table).has(column));
    return ours.some((row) => row.version === version);
  };
  const pending = migrations.filter((migration) => !isApplied(migration));
  const states = migrationStates(migrations, new Set(pending.map(({ version }) => version)), llmspell, ours);
  return { pending, states };
}

/** Every migration of the database and of this release. Reads only. */
export function listSqliteMigrations(database: Database): MigrationState[] {
  return plan(database, loadMigrations("sqlite")).states;
}

/**
 * Applies what is missing: llmspell's V1 to V13, in which it continues a database that llmspell migrated itself, and ours.
 * Makes the file and its folder where they are missing. All or nothing; writes nothing when nothing is missing; never
 * writes llmspell's own record.
 * @throws {StorageError} E_READ_ONLY, E_PERMISSION, E_NOT_A_DATABASE, E_LOCKED, E_DISK_FULL, E_SCHEMA
 */
export async function migrateSqlite(path: string, options: MigrateSqliteOptions = {}): Promise<MigrationReport> {
  if (!existsSync(path)) makeFolder(dirname(resolve(path)), path);
  let database: Database | undefined;
  try {
    database = openSqliteForWriting(path, { create: true });
    return { applied: await migrate(database, options), warnings: [] };
  } catch (error) {
    throw options.signal?.aborted === true ? error : fromSqliteError(error);
  } finally {
    database?.close();
  }
}

function makeFolder(folder: string, path: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    const readOnly = ["EACCES", "EPERM", "EROFS"].includes((error as NodeJS.ErrnoException).code ?? "");
    throw new StorageError(readOnly ? "E_READ_ONLY" : "E_IO", `${path}: its folder cannot be made`, {}, error);
  }
}

async function migrate(database: Database, options: MigrateSqliteOptions): Promise<MigrationState[]> {
  const migrations = loadMigrations("sqlite");
  if (plan(database, migrations).pending.length === 0) return [];
  // Dropping a parent table would delete its children otherwise; it can only change outside a transaction.
  database.pragma("foreign_keys = OFF");
  database.pragma(`busy_timeout = ${BUSY_MILLISECONDS}`);
  await begin(database, options);
  try {
    if (options.refuseForeign) refuseForeign(database);
    for (const { sqlite } of catalog.kinds)
      if (sqlite.layout === "vector" && isVec0(database, sqlite.embeddingTable))
        refuseDamagedVec0(database, sqlite.embeddingTable);
    // Read again: another process may have been first.
    const { pending } = plan(database, migrations);
    for (const migration of pending) await apply(database, migration, options.signal);
    database.exec("COMMIT");
    return migrationStates(pending, new Set(), [], []);
  } finally {
    if (database.inTransaction) database.exec("ROLLBACK");
  }
}

function refuseForeign(database: Database): void {
  if (ownerOf(database, catalog.kinds) !== "another program") return;
  throw new StorageError("E_NOT_MIGRATED", "the database is another program's: it has no table of llmspell", {
    hint: "Name llmspell's database, or a new file. `llmspell database migrate` makes llmspell's tables in this one, if that is meant.",
  });
}

/** WAL for a new database, and the write lock, however long another process holds it: E_LOCKED after the time-out. */
async function begin(database: Database, { lockTimeoutSeconds = 60, signal }: MigrateSqliteOptions): Promise<void> {
  const deadline = Date.now() + lockTimeoutSeconds * 1000;
  for (;;) {
    signal?.throwIfAborted();
    try {
      if (database.prepare("SELECT 1 FROM sqlite_master LIMIT 1").get() === undefined)
        database.pragma("journal_mode = WAL");
      database.exec("BEGIN IMMEDIATE");
      return;
    } catch (error) {
      if (!sqliteCode(error)?.startsWith("SQLITE_BUSY") || Date.now() >= deadline) throw error;
    }
    await sleep(RETRY_MILLISECONDS);
  }
}

async function apply(database: Database, migration: Migration, signal: AbortSignal | undefined): Promise<void> {
  try {
    if (rebuiltTable(migration.sql) !== undefined) await rebuildTable(database, migration.sql, signal);
    else database.exec(withoutExistingColumns(database, migration.sql));
    database.exec(
      `CREATE TABLE IF NOT EXISTS _storage_migrations (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        applied_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now'))
      )`,
    );
    database
      .prepare("INSERT OR IGNORE INTO _storage_migrations (version, name) VALUES (?, ?)")
      .run(migration.version, migration.name);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw migrationError(migration, fromSqliteError(error));
  }
}

const ADD_COLUMN = /^ALTER TABLE (\w+) ADD COLUMN (\w+)[^;]*;$/gm;

function addedColumns(sql: string): { table: string; column: string }[] {
  return [...sql.matchAll(ADD_COLUMN)].map(([, table, column]) => ({
    table: table as string,
    column: column as string,
  }));
}

/** SQLite has no ADD COLUMN IF NOT EXISTS. */
function withoutExistingColumns(database: Database, sql: string): string {
  return sql.replace(ADD_COLUMN, (statement: string, table: string, column: string) =>
    columnsOf(database, table).has(column) ? "" : statement,
  );
}
