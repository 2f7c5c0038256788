/** Migrations of SQLite: one transaction, one at a time. */
import { existsSync, mkdirSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { fromSqliteError } from "../../../backends/sqlite/errors.js";
import { ownerOf } from "../../../backends/sqlite/inspect.js";
import { beginWriting } from "../../../backends/sqlite/loading/load-transaction.js";
import { type Database, isVec0, openScratch, openSqliteForWriting } from "../../../backends/sqlite/open.js";
import { refuseDamagedVec0 } from "../../../backends/sqlite/vectors/vec0-check.js";
import { StorageError } from "../../../errors.js";
import { catalog } from "../../catalog/index.js";
import { llmspellSqlite } from "../../sqlite/application.js";
import {
  loadMigrations,
  type Migration,
  type MigrationReport,
  type MigrationState,
  migrationError,
  migrationId,
  migrationStates,
  refuseNewer,
} from "../migration.js";
import { compareSqliteSchema, type SqliteComparison, undoneLines } from "./comparison.js";
import { rewriteEmbeddings, rewritesEmbeddings } from "./embeddings.js";
import { readSqliteMigrations } from "./migrations-table.js";
import { addRebuiltColumns, columnsOf, rebuildTable, rebuiltTable } from "./rebuild.js";
import { repairRowids } from "./rowids.js";

export interface MigrateSqliteOptions {
  /** How long another process's lock is waited for. Seconds, default 60. */
  readonly lockTimeoutSeconds?: number | undefined;
  /** Told what is waited for. */
  readonly onWait?: (what: string) => void;
  /** Gives vectors rowids that leave llmspell's next ones room. Default false. */
  readonly repairRowids?: boolean | undefined;
  /** Rolls back and rejects with its reason. */
  readonly signal?: AbortSignal;
  /** A database that has tables, but none of llmspell, is E_NOT_MIGRATED. Default: it gets llmspell's beside its own. */
  readonly refuseForeign?: boolean;
}

interface Plan {
  readonly pending: readonly Migration[];
  readonly states: MigrationState[];
  readonly comparison: SqliteComparison;
}

function plan(database: Database, migrations: readonly Migration[]): Plan {
  const { llmspell, ours, present } = readSqliteMigrations(database);
  refuseNewer(migrations, ours);
  const comparison = compareSqliteSchema(database);
  const isApplied = ({ version, sql }: Migration): boolean => {
    // It makes nothing that could be looked for.
    if (rewritesEmbeddings(sql)) return ours.some((row) => row.version === version);
    if (version === 1) return [...llmspell, ...ours].some((row) => row.version === 1) || present.size > 0;
    // What is there counts, not the record: what is gone is made again.
    return !comparison.incomplete.has(version);
  };
  const pending = migrations.filter((migration) => !isApplied(migration));
  const { leftOut } = comparison;
  const notApplied = new Set([...pending.map(({ version }) => version), ...leftOut.keys()]);
  const states = migrationStates(migrations, notApplied, llmspell, ours).map((state) => {
    const why = migrations.find(({ version }) => migrationId(version) === state.id && leftOut.has(version));
    return why === undefined ? state : { ...state, leftOut: leftOut.get(why.version) as string };
  });
  return { pending, states, comparison };
}

/** Every migration of the database and of this release, and how the objects compare. Reads only. */
export interface SqliteSchemaState {
  readonly migrations: readonly MigrationState[];
  readonly comparison: SqliteComparison;
}

export function readSqliteSchema(database: Database): SqliteSchemaState {
  const { states, comparison } = plan(database, loadMigrations("sqlite"));
  return { migrations: states, comparison };
}

/** Every migration of the database and of this release. Reads only. */
export function listSqliteMigrations(database: Database): MigrationState[] {
  return plan(database, loadMigrations("sqlite")).states;
}

/** Whether `migrateSqlite` would write. Reads only. */
export function isSqlitePending(database: Database): boolean {
  return plan(database, loadMigrations("sqlite")).pending.length > 0;
}

/** Throws what `migrateSqlite` (with `refuseForeign`) would refuse; else gives what it would apply. Reads only. */
export function planSqliteMigration(database: Database): readonly string[] {
  const { pending, comparison } = plan(database, loadMigrations("sqlite"));
  refuseBroken(comparison);
  if (pending.length > 0) refuseForeign(database);
  return pending.map(({ version, name }) => `${migrationId(version)} ${name}`);
}

/** A database in memory that is what `migrateSqlite` makes of a new file, and what it applied. The caller closes it. */
export async function openNewSqliteSchema(): Promise<{ database: Database; applied: readonly string[] }> {
  const database = openScratch();
  const { applied } = await migrate(database, {});
  return { database, applied: applied.map(({ id, name }) => `${id} ${name}`) };
}

/**
 * Applies what is missing: llmspell's V1 to V13, in which it continues a database that llmspell migrated itself, and ours.
 * Makes the file and its folder where they are missing. All or nothing; writes nothing when nothing is missing; never
 * writes llmspell's own record.
 * @throws {StorageError} E_READ_ONLY, E_PERMISSION, E_NOT_A_DATABASE, E_LOCKED, E_DISK_FULL, E_SCHEMA
 */
export async function migrateSqlite(path: string, options: MigrateSqliteOptions = {}): Promise<MigrationReport> {
  if (!existsSync(path)) {
    requireSqliteName(path);
    makeSqliteFolder(path);
  }
  let database: Database | undefined;
  try {
    database = openSqliteForWriting(path, { create: true });
    return await migrate(database, options);
  } catch (error) {
    throw options.signal?.aborted === true ? error : fromSqliteError(error);
  } finally {
    database?.close();
  }
}

/** What SQLite puts behind a database's name, at most: -journal. */
const SUFFIX_BYTES = 8;
const NAME_BYTES = 255;

/** E_USAGE for a new database whose name leaves no room for what SQLite puts behind it. */
export function requireSqliteName(path: string): void {
  const most = NAME_BYTES - SUFFIX_BYTES;
  if (Buffer.byteLength(basename(path)) <= most) return;
  throw new StorageError("E_USAGE", "the database's name is too long", {
    hint: `${most} bytes are the most: SQLite makes files whose names are longer by ${SUFFIX_BYTES}.`,
  });
}

/** The folder of a new database, where it is missing. E_READ_ONLY, E_IO. */
export function makeSqliteFolder(path: string): void {
  try {
    mkdirSync(dirname(resolve(path)), { recursive: true });
  } catch (error) {
    const readOnly = ["EACCES", "EPERM", "EROFS"].includes((error as NodeJS.ErrnoException).code ?? "");
    throw new StorageError(readOnly ? "E_READ_ONLY" : "E_IO", `${path}: its folder cannot be made`, {}, error);
  }
}

async function migrate(database: Database, options: MigrateSqliteOptions): Promise<MigrationReport> {
  const migrations = loadMigrations("sqlite");
  const first = plan(database, migrations);
  refuseBroken(first.comparison);
  if (first.pending.length === 0 && options.repairRowids !== true)
    return { applied: [], warnings: undoneLines(first.comparison) };
  // Dropping a parent table would delete its children otherwise; it can only change outside a transaction.
  database.pragma("foreign_keys = OFF");
  await begin(database, options);
  try {
    if (options.refuseForeign) refuseForeign(database);
    for (const { sqlite } of catalog.kinds)
      if (sqlite.layout === "vector" && isVec0(database, sqlite.embeddingTable))
        refuseDamagedVec0(database, sqlite.embeddingTable);
    // Read again: another process may have been first.
    const { pending, comparison } = plan(database, migrations);
    const warnings: string[] = [];
    for (const migration of pending) await apply(database, migration, comparison, warnings, options.signal);
    const moved = options.repairRowids === true ? await repairRowids(database, options.signal) : new Map();
    const undone = undoneLines(compareSqliteSchema(database));
    database.exec("COMMIT");
    const applied = migrationStates(pending, new Set(comparison.leftOut.keys()), [], []).filter(
      ({ applied }) => applied,
    );
    return { applied, warnings: [...warnings, ...undone, ...(moved.size > 0 ? [STALE_INDEXES] : [])], moved };
  } finally {
    if (database.inTransaction) database.exec("ROLLBACK");
  }
}

const STALE_INDEXES =
  "llmspell's saved indexes hold the vectors' old rowids: delete its .hnsw files (data/hnsw_indices) before it starts again; it builds them anew.";

/** A column of llmspell's that is gone took its values with it: E_SCHEMA, with the statement that makes it anew. */
function refuseBroken({ broken }: SqliteComparison): void {
  const lost = broken.filter(({ object }) => object.startsWith("column "));
  const [first] = lost;
  if (first === undefined) return;
  const others = lost.length === 1 ? "" : `, and ${lost.length - 1} more`;
  throw new StorageError("E_SCHEMA", `${first.object} is missing${others}; its values are gone with it`, {
    hint: `Restore a backup, or make it anew: ${lost.map(({ repair }) => `${repair};`).join(" ")}`,
  });
}

function refuseForeign(database: Database): void {
  if (ownerOf(database, catalog.kinds, llmspellSqlite) !== "another program") return;
  throw new StorageError("E_NOT_MIGRATED", "the database is another program's: it has no table of llmspell", {
    hint: "Name llmspell's database, or a new file. `llmspell database migrate` makes llmspell's tables in this one, if that is meant.",
  });
}

/** WAL for a new database, and the write lock, however long another process holds it: E_LOCKED after the time-out. */
function begin(database: Database, { lockTimeoutSeconds = 60, signal, onWait }: MigrateSqliteOptions): Promise<void> {
  return beginWriting(database, { seconds: lockTimeoutSeconds, signal, onWait }, () => {
    if (database.prepare("SELECT 1 FROM sqlite_master LIMIT 1").get() === undefined)
      database.pragma("journal_mode = WAL");
  });
}

async function apply(
  database: Database,
  migration: Migration,
  { leftOut }: SqliteComparison,
  warnings: string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    if (leftOut.has(migration.version)) return addRebuiltColumns(database, migration.sql);
    if (rewritesEmbeddings(migration.sql)) warnings.push(...(await rewriteEmbeddings(database, signal)));
    else if (rebuiltTable(migration.sql) !== undefined) await rebuildTable(database, migration.sql, signal);
    else execute(database, migration.sql, warnings);
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

const JSON_INDEX = /^CREATE INDEX IF NOT EXISTS (\w+)[^;]*json_extract[^;]*;$/gm;

/** An index on JSON that a stored value does not let be made is left out: records can be moved without it. */
function execute(database: Database, sql: string, warnings: string[]): void {
  database.exec(withoutExistingColumns(database, sql.replace(JSON_INDEX, "")));
  for (const [statement, name] of sql.matchAll(JSON_INDEX)) {
    try {
      database.exec(statement);
    } catch (error) {
      if (!/malformed JSON/.test((error as Error).message)) throw error;
      warnings.push(
        `the index ${name} cannot be made, and llmspell will not start: a value is no JSON that SQLite reads`,
      );
    }
  }
}

/** SQLite has no ADD COLUMN IF NOT EXISTS. */
function withoutExistingColumns(database: Database, sql: string): string {
  return sql.replace(ADD_COLUMN, (statement: string, table: string, column: string) =>
    columnsOf(database, table).has(column) ? "" : statement,
  );
}
