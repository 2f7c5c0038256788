/** Opening SQLite files: for reading without a trace, for writing with the settings of a bulk load. */

import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  openSync,
  readSync,
  realpathSync,
  statSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import Database from "better-sqlite3";
import * as sqliteVec from "sqlite-vec";
import type { RecordKind } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import type { Beside } from "./beside.js";
import { fromSqliteError, mapped } from "./errors.js";
import { openImmutable } from "./immutable.js";

export type { Database } from "better-sqlite3";

/** Waits this long for another process's lock. Milliseconds. */
const BUSY_TIMEOUT = 5000;
/** Page cache, and what a sort holds before it spills to a file: more was not faster, the system has the pages. KiB. */
const CACHE_KIB = 4096;
/** The same for temporary tables. */
const TEMPORARY_CACHE_KIB = 1024;
/** Vectors in a chunk of a vec0 table, where the table does not say another chunk_size. */
const VEC0_CHUNK_ROWS = 1024;

function may(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

/** The file behind symbolic links, beside which SQLite looks for -wal and -shm. E_STORE_NOT_FOUND, E_PERMISSION, E_NOT_A_DATABASE. */
function locate(path: string): string {
  let real: string;
  try {
    real = realpathSync(resolve(path));
    if (!statSync(real).isFile()) throw new StorageError("E_NOT_A_DATABASE", `${path} is not a file`);
  } catch (error) {
    if (error instanceof StorageError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES") throw new StorageError("E_PERMISSION", `no permission to read ${path}`, {}, error);
    throw new StorageError("E_STORE_NOT_FOUND", `the database ${path} does not exist`, {}, error);
  }
  if (!may(real, constants.R_OK)) throw new StorageError("E_PERMISSION", `no permission to read ${path}`);
  return real;
}

/** Whether the header's read version says WAL (https://sqlite.org/fileformat2.html, offset 19). */
function isWal(path: string): boolean {
  const header = Buffer.alloc(20);
  const descriptor = openSync(path, "r");
  try {
    return readSync(descriptor, header, 0, 20, 0) === 20 && header[19] === 2;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * A read-only open makes -wal and -shm of a WAL database and cannot remove them, so where there are none the file is
 * opened for writing, under query_only. Where there are some, closing a writable connection would checkpoint them into
 * the file, so it is opened read-only. On a read-only medium a WAL database without them can only be read as immutable;
 * beside a -wal that would silently miss its rows.
 */
function openReader(path: string, timeout: number): Database.Database {
  const wal = existsSync(`${path}-wal`);
  const shm = existsSync(`${path}-shm`);
  const folderWritable = may(dirname(path), constants.W_OK);
  if (!folderWritable && wal !== shm)
    throw new StorageError(
      "E_HOT_JOURNAL",
      `${path} has a ${wal ? "-wal without its -shm" : "-shm without its -wal"}`,
      {
        hint: "Copy the database with its -wal to a folder that can be written, and read it there.",
      },
    );
  if (wal || shm) return new Database(path, { readonly: true, timeout });
  if (!folderWritable && isWal(path)) return openImmutable(path);
  const writable = folderWritable && may(path, constants.W_OK);
  return new Database(path, { readonly: !writable, fileMustExist: true, timeout });
}

/**
 * A further connection of this process. The file is not looked at in any other way: to open and close it would give up all
 * locks that the process has on it (POSIX). What the first connection made (-wal, -shm) is there.
 */
function openBeside(path: string, timeout: number, { immutable }: Beside): Database.Database {
  return immutable ? openImmutable(path) : new Database(path, { readonly: true, timeout });
}

/**
 * Opens a database to read it: the file stays byte-identical, and no -wal or -shm is left where none was. sqlite-vec is
 * loaded where a vec0 table is. `timeout`: how long another process's lock is waited for, in milliseconds. `beside`: where this process has it open. E_STORE_NOT_FOUND, E_PERMISSION, E_NOT_A_DATABASE, E_HOT_JOURNAL, E_LOCKED.
 */
export function openSqliteForReading(path: string, timeout = BUSY_TIMEOUT, beside?: Beside): Database.Database {
  const real = locate(path);
  let database: Database.Database | undefined;
  try {
    database = beside === undefined ? openReader(real, timeout) : openBeside(real, timeout, beside);
    database.pragma("query_only = 1");
    configure(database);
    loadVectorExtension(database);
    return database;
  } catch (error) {
    database?.close();
    throw located(fromSqliteError(error), path);
  }
}

/**
 * Opens a database to write it; foreign keys are not enforced on this connection (the sinks check them themselves).
 * E_STORE_NOT_FOUND (unless `create`), E_PERMISSION, E_READ_ONLY, E_NOT_A_DATABASE, E_LOCKED.
 */
export function openSqliteForWriting(
  path: string,
  options: { create?: boolean; unsafe?: boolean } = {},
): Database.Database {
  const real = options.create && !existsSync(path) ? resolve(path) : locate(path);
  const target = existsSync(real) ? real : dirname(real);
  if (!may(target, constants.W_OK) || !may(dirname(real), constants.W_OK))
    throw new StorageError("E_READ_ONLY", `${path} cannot be written`);
  let database: Database.Database | undefined;
  try {
    if (options.create && !existsSync(real)) createPrivate(real);
    database = new Database(real, { fileMustExist: options.create !== true, timeout: BUSY_TIMEOUT });
    configure(database);
    database.pragma("foreign_keys = OFF");
    // Under NORMAL a commit to the write-ahead log is not on the disk while another process has the database open.
    database.pragma(`synchronous = ${options.unsafe ? "OFF" : "FULL"}`);
    if (options.unsafe) database.pragma("journal_mode = MEMORY");
    loadVectorExtension(database);
    return database;
  } catch (error) {
    database?.close();
    throw located(fromSqliteError(error), path);
  }
}

/** An empty database that only its owner can read, whatever the umask is; SQLite gives its -wal and -shm the same mode. */
function createPrivate(path: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(path, "wx", 0o600);
  } catch {
    // Another process was first, or SQLite will say what is wrong.
    return;
  }
  try {
    fchmodSync(descriptor, 0o600);
  } catch {
    // A file system without modes.
  } finally {
    closeSync(descriptor);
  }
}

/** A database in memory, for what is to be known of SQL statements. */
export function openScratch(): Database.Database {
  return new Database(":memory:");
}

function located(error: StorageError, path: string): StorageError {
  const message = error.message.includes(path) ? error.message : `${path}: ${error.message}`;
  return new StorageError(error.code, message, error.context, error.cause);
}

function configure(database: Database.Database): void {
  database.pragma("temp_store = FILE");
  database.pragma(`cache_size = -${CACHE_KIB}`);
  database.pragma(`temp.cache_size = -${TEMPORARY_CACHE_KIB}`);
  database.pragma("mmap_size = 0");
  // The first read of the file: finds out whether it is a database.
  database.prepare("SELECT count(*) FROM sqlite_master").get();
}

/**
 * Before records of the kind are read or written: vec0 walks the pages of a chunk for each vector, of which it is one BLOB,
 * so a whole chunk has room in the page cache: ten times as fast at 3072 dimensions.
 */
export function fitPageCache(database: Database.Database, kind: RecordKind): void {
  const { sqlite } = kind;
  const inChunks = sqlite.layout === "vector" && isVec0(database, sqlite.embeddingTable) === true;
  const chunkKib = inChunks ? (VEC0_CHUNK_ROWS * sqlite.dimension * 4) / 1024 : 0;
  database.pragma(`cache_size = -${CACHE_KIB + chunkKib}`);
}

/** Whether the table is a sqlite-vec virtual table; undefined when there is no such table. */
export function isVec0(database: Database.Database, table: string): boolean | undefined {
  const row = database.prepare("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?").raw().get(table) as
    | [string | null]
    | undefined;
  return row === undefined ? undefined : /^\s*CREATE\s+VIRTUAL\s+TABLE\b[\s\S]*\bUSING\s+vec0\b/i.test(row[0] ?? "");
}

/** Loads sqlite-vec when the database has a vec0 table, or when one is to be made (`always`). */
export function loadVectorExtension(database: Database.Database, always = false): void {
  const query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND sql LIKE '%CREATE VIRTUAL TABLE%vec0%' LIMIT 1";
  if (always || database.prepare(query).get() !== undefined) mapped(() => sqliteVec.load(database));
}
