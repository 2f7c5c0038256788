/** SQLite's result codes (https://sqlite.org/rescode.html) as coded errors. */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import type { Database } from "better-sqlite3";
import { type ErrorCode, type ErrorContext, StorageError } from "../../errors.js";

/** Primary result codes by name, for node:sqlite, which gives only the number. */
const PRIMARY: Readonly<Record<number, string>> = {
  5: "SQLITE_BUSY",
  6: "SQLITE_LOCKED",
  8: "SQLITE_READONLY",
  10: "SQLITE_IOERR",
  11: "SQLITE_CORRUPT",
  13: "SQLITE_FULL",
  14: "SQLITE_CANTOPEN",
  18: "SQLITE_TOOBIG",
  19: "SQLITE_CONSTRAINT",
  26: "SQLITE_NOTADB",
};

/** Longest prefix first. */
const CODES: readonly (readonly [prefix: string, code: ErrorCode, message: string, hint?: string])[] = [
  ["SQLITE_READONLY_ROLLBACK", "E_HOT_JOURNAL", "the database needs a recovery, and its medium cannot be written"],
  ["SQLITE_READONLY_RECOVERY", "E_HOT_JOURNAL", "the database needs a recovery, and its medium cannot be written"],
  ["SQLITE_READONLY_CANTINIT", "E_HOT_JOURNAL", "the database needs a recovery, and its medium cannot be written"],
  ["SQLITE_READONLY", "E_READ_ONLY", "the database cannot be written"],
  ["SQLITE_NOTADB", "E_NOT_A_DATABASE", "the file is not an SQLite database"],
  ["SQLITE_CORRUPT", "E_NOT_A_DATABASE", "the SQLite database is damaged", "`PRAGMA integrity_check` says more."],
  [
    "SQLITE_FULL",
    "E_DISK_FULL",
    "no space is left for the SQLite database or its temporary files",
    "Temporary files are in TMPDIR, else in /var/tmp or /tmp.",
  ],
  ["SQLITE_BUSY", "E_LOCKED", "another process holds the SQLite database", "Close the other program and try again."],
  ["SQLITE_LOCKED", "E_LOCKED", "another process holds the SQLite database", "Close the other program and try again."],
  ["SQLITE_CANTOPEN", "E_PERMISSION", "the SQLite database cannot be opened"],
  ["SQLITE_PERM", "E_PERMISSION", "the SQLite database cannot be opened"],
  ["SQLITE_AUTH", "E_PERMISSION", "the SQLite database cannot be opened"],
  ["SQLITE_TOOBIG", "E_TARGET_LIMIT", "the value is larger than SQLite holds (1,000,000,000 bytes)"],
  ["SQLITE_CONSTRAINT_CHECK", "E_CHECK", "the record breaks a CHECK constraint of the table"],
  ["SQLITE_CONSTRAINT_NOTNULL", "E_MISSING_FIELD", "the table demands a value where the record has none"],
  ["SQLITE_CONSTRAINT", "E_CONSTRAINT", "the table refused the record"],
  ["SQLITE_IOERR", "E_IO", "reading or writing the SQLite database failed"],
];

/** SQLite's name of the result code, e.g. `SQLITE_CONSTRAINT_UNIQUE`; undefined for any other error. */
export function sqliteCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  if (typeof code === "string" && code.startsWith("SQLITE_")) return code;
  if (code === "ERR_SQLITE_ERROR" && typeof errcode === "number") return PRIMARY[errcode & 0xff] ?? "SQLITE_ERROR";
  return undefined;
}

/** Whether a row holds a value that is larger than the driver, or JavaScript, can give. */
export function isTooBig(error: unknown): boolean {
  return (
    sqliteCode(error)?.startsWith("SQLITE_TOOBIG") === true ||
    (error as { code?: unknown }).code === "ERR_STRING_TOO_LONG"
  );
}

/** The error as a StorageError: itself, or by SQLite's result code, or E_UNEXPECTED. */
export function fromSqliteError(error: unknown, context: ErrorContext = {}): StorageError {
  if (error instanceof StorageError) return error;
  const name = sqliteCode(error);
  const known = name === undefined ? undefined : CODES.find(([prefix]) => name.startsWith(prefix));
  if (known !== undefined) {
    const [, code, message, hint] = known;
    return new StorageError(code, message, { ...(hint === undefined ? {} : { hint }), ...context }, error);
  }
  const message = error instanceof Error ? error.message : String(error);
  // Only the text says that a vec0 table's pages cannot be read.
  if (name === "SQLITE_ERROR" && VEC0_DAMAGE.test(message))
    return new StorageError(
      "E_NOT_A_DATABASE",
      "the SQLite database is damaged",
      { detail: message, ...context },
      error,
    );
  return new StorageError("E_UNEXPECTED", message, context, error);
}

const VEC0_DAMAGE = /^(Could not (fetch|find|extract)|could not open vectors blob|vectors blob) /;

/** Less room than this on the disk is none. Bytes. */
const NO_ROOM = 1048576;

/**
 * What failed behind an error of sqlite-vec's own, which does not say: when SQLite has rolled back the transaction by
 * itself, the file could not be written.
 */
export function unhidden(error: unknown, database: Database): unknown {
  if (database.inTransaction || !(error instanceof Error) || !error.message.startsWith("Internal sqlite-vec error"))
    return error;
  const { bavail, bsize } = statfsSync(dirname(database.name));
  return Object.assign(error, { code: bavail * bsize < NO_ROOM ? "SQLITE_FULL" : "SQLITE_IOERR" });
}

/** Runs `work`; an error of the driver leaves it as a StorageError. */
export function mapped<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw fromSqliteError(error);
  }
}
