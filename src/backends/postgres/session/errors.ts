/**
 * PostgreSQL's errors as StorageErrors, by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
 * The server's DETAIL and CONTEXT hold values of the data, and in the classes 22 and 42 so may its message: they are left out.
 */
import { type ErrorCode, type ErrorContext, StorageError } from "../../../errors.js";

/** What is kept of a server's error: the `cause` of the StorageError. Holds no data values. */
export class PostgresErrorCause extends Error {
  override readonly name = "PostgresError";
  constructor(
    message: string,
    /** Five characters, e.g. "23505". */
    readonly sqlState: string,
    readonly table: string | undefined,
    readonly column: string | undefined,
    readonly constraint: string | undefined,
  ) {
    super(message);
  }
}

/** The members of pg's DatabaseError that are used. */
interface ServerError {
  readonly message: string;
  readonly severity: string;
  readonly code: string;
  readonly table?: string;
  readonly column?: string;
  readonly constraint?: string;
  /** May hold values. */
  readonly detail?: string;
  /** The server's CONTEXT: where in its functions it was. May hold values. */
  readonly where?: string;
  /** The server's function that reported it: the same in every language of its messages. */
  readonly routine?: string;
}

interface Meaning {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
}

const MIGRATE = "Run `llmspell database migrate --backend postgres`.";

const RESTORE =
  "Take the record from a backup, or repair it (pg_amcheck finds what else is damaged); --on-error skip goes on with the others.";

const DISK_FULL =
  "Make room where the server keeps its data, its WAL (pg_wal) and its temporary files (of which --order-by index needs fewer), and start it where it has ended; what was not committed is rolled back.";
const WHY_LOST =
  "The server's log says why: it was stopped or crashed, somebody ended the session, or a disk of it is full, that of its WAL (pg_wal) perhaps. What was not committed is rolled back.";

const UNTRANSLATABLE: Meaning = {
  code: "E_ENCODING",
  message: "the value holds a character that the database's encoding cannot hold",
  hint: "Move to a database in UTF-8 (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0), or --on-error skip --rejects FILE.",
};

const MEANINGS: Readonly<Record<string, Meaning>> = {
  "28000": { code: "E_AUTHENTICATION", message: "the server refused the user" },
  "28P01": { code: "E_AUTHENTICATION", message: "the server refused the user or the password" },
  "3D000": { code: "E_STORE_NOT_FOUND", message: "the database does not exist", hint: "Create it with `createdb`." },
  "42501": { code: "E_PERMISSION", message: "permission denied" },
  "25006": { code: "E_READ_ONLY", message: "the database is read-only" },
  "53100": { code: "E_DISK_FULL", message: "the server's disk is full", hint: DISK_FULL },
  "53200": {
    code: "E_TARGET_LIMIT",
    message: "the server has no memory left, or no room for locks",
    hint: "For shared memory: raise max_locks_per_transaction in postgresql.conf and restart the server. Each partition and each large object takes locks.",
  },
  "53300": { code: "E_CONNECT", message: "the server has no connection left" },
  "55P03": { code: "E_LOCKED", message: "another session holds a lock" },
  "40P01": { code: "E_LOCKED", message: "deadlock with another session", hint: "Run it again." },
  "40001": { code: "E_LOCKED", message: "another session changed the same rows", hint: "Run it again." },
  "57014": { code: "E_CONNECTION_LOST", message: "a statement was cancelled on the server" },
  "57P01": { code: "E_CONNECTION_LOST", message: "the server ended the connection", hint: WHY_LOST },
  "57P02": { code: "E_CONNECTION_LOST", message: "the server crashed", hint: WHY_LOST },
  "57P03": { code: "E_CONNECT", message: "the server is starting up or shutting down" },
  "57P04": { code: "E_CONNECTION_LOST", message: "the database was dropped" },
  "57P05": { code: "E_CONNECTION_LOST", message: "the server ended the idle connection" },
  "42P01": { code: "E_NOT_MIGRATED", message: "a table is missing", hint: MIGRATE },
  "42703": { code: "E_NOT_MIGRATED", message: "a column is missing", hint: MIGRATE },
  "42704": { code: "E_NOT_MIGRATED", message: "a type or another object is missing", hint: MIGRATE },
  "42883": { code: "E_NOT_MIGRATED", message: "a function is missing", hint: MIGRATE },
  "3F000": { code: "E_NOT_MIGRATED", message: "the schema is missing", hint: MIGRATE },
  "23502": { code: "E_MISSING_FIELD", message: "a value is missing" },
  "23503": { code: "E_ORPHAN", message: "the record refers to a record that is not there" },
  "23505": { code: "E_KEY_CONFLICT", message: "the unique key is taken" },
  "23514": { code: "E_CHECK", message: "a CHECK constraint is broken" },
  "22001": { code: "E_TOO_LONG", message: "the text is too long for its column" },
  "22003": { code: "E_OUT_OF_RANGE", message: "the number is out of range" },
  "22008": { code: "E_OUT_OF_RANGE", message: "the time is out of range" },
  "22021": { code: "E_INVALID_UTF8", message: "the text is not valid in the database's encoding" },
  "22P02": { code: "E_FIELD_TYPE", message: "the value is not of its column's type" },
  "22P03": { code: "E_FIELD_TYPE", message: "the value is not of its column's type" },
  "22P05": UNTRANSLATABLE,
  XX001: { code: "E_SOURCE_DAMAGED", message: "data of the database is damaged", hint: RESTORE },
  XX002: { code: "E_SOURCE_DAMAGED", message: "an index of the database is damaged", hint: "REINDEX the table." },
  "54000": { code: "E_TARGET_LIMIT", message: "a limit of PostgreSQL is exceeded" },
  "54001": { code: "E_TARGET_LIMIT", message: "the value is nested too deep for PostgreSQL" },
};

/** By the first two characters, where the whole SQLSTATE has no entry. */
const CLASSES: Readonly<Record<string, Meaning>> = {
  "08": { code: "E_CONNECTION_LOST", message: "the connection broke", hint: WHY_LOST },
  "22": { code: "E_CONSTRAINT", message: "the server refused a value" },
  "23": { code: "E_CONSTRAINT", message: "the server refused a record" },
  "28": { code: "E_AUTHENTICATION", message: "the server refused the user or the password" },
  "53": { code: "E_TARGET_LIMIT", message: "the server lacks resources" },
  "54": { code: "E_TARGET_LIMIT", message: "a limit of PostgreSQL is exceeded" },
  "58": { code: "E_IO", message: "the server failed to read or write" },
  P0: { code: "E_CONSTRAINT", message: "a function of the database refused it" },
};

/** What pg and node:net say when the connection is gone; pg has no codes for its own. */
const LOST =
  /^Connection terminated|^Client (was closed|has encountered a connection error)|socket (hang up|has been ended)/;
const LOST_CODES: ReadonlySet<string> = new Set([
  "ECONNRESET",
  "EPIPE",
  "ECONNABORTED",
  "ETIMEDOUT",
  "ERR_STREAM_DESTROYED",
]);

function isServerError(error: Error): error is Error & ServerError {
  const { code, severity } = error as Partial<ServerError>;
  return typeof code === "string" && code.length === 5 && typeof severity === "string";
}

/** Names that a function of the database did not find, or not for its arguments. */
const NOT_FOUND: ReadonlySet<string> = new Set(["42P01", "42703", "42704", "42883", "3F000"]);

/** The innermost function of the database that the server was in; undefined for none but a migration's own block. */
function functionIn(where: string | undefined): string | undefined {
  for (const line of (where ?? "").split("\n")) {
    if (/^SQL (statement|expression)/.test(line)) continue;
    // What stands between is in the language of the server's messages, and so are the quotation marks.
    const [, name] =
      /^PL\/pgSQL\S* .*?([\w."$]+\(.*?\))/.exec(line) ?? /^SQL\S* .*?["«»„“]([\w.$]+)["«»“”]/.exec(line) ?? [];
    if (name !== undefined) return name;
  }
  return undefined;
}

function meaningOf({ code, message, detail, where, routine }: ServerError): Meaning {
  const called = NOT_FOUND.has(code) ? functionIn(where) : undefined;
  if (called !== undefined)
    return {
      code: "E_SCHEMA",
      message: `the function ${called}, which an index, a CHECK or a column of the database calls, does not find what it needs`,
      hint: `Name the schemas that it needs: ALTER FUNCTION ${called} SET search_path = …; VACUUM, REINDEX and a restored dump need that, too.`,
    };
  if (code === "42501" && (routine === "check_enable_rls" || routine === "ExecWithCheckOptions"))
    return { code: "E_ROW_SECURITY", message: "row-level security would hide rows from this role" };
  // In every language; the run itself conflicts with nobody's changes.
  if (code === "40001" && /^Process(RecoveryConflict)?Interrupts?$/.test(routine ?? ""))
    return {
      code: "E_LOCKED",
      message: "the standby ended the run to keep up with its primary",
      hint: "On the standby, set hot_standby_feedback = on or raise max_standby_streaming_delay; or read the primary.",
    };
  if (code === "22000" || code === "22003") {
    const dimensions = /^expected (\d+) dimensions, not (\d+)$/.exec(message);
    if (dimensions !== null)
      return {
        code: "E_DIMENSION_MISMATCH",
        message: `Dimension mismatch: expected ${dimensions[1]}, got ${dimensions[2]}`,
      };
    if (/not allowed in vector$/.test(message))
      return { code: "E_NOT_FINITE", message: "the vector holds NaN or Infinity" };
  }
  // Of a session that begins on a full disk; not translated, and without a code of its own.
  if (code === "XX000" && message.startsWith("could not write init file")) return MEANINGS["53100"] as Meaning;
  // SQL_ASCII, to which no escape of JSON beyond ASCII can be made.
  if (code === "0A000" && routine === "pg_unicode_to_server") return UNTRANSLATABLE;
  if (code === "22P05" && detail?.startsWith("\\u0000 ") === true)
    return { code: "E_NUL_CHARACTER", message: "PostgreSQL cannot hold U+0000" };
  if (code === "22021" && message.includes("0x00"))
    return { code: "E_NUL_CHARACTER", message: "PostgreSQL cannot hold U+0000" };
  return (
    MEANINGS[code] ?? CLASSES[code.slice(0, 2)] ?? { code: "E_UNEXPECTED", message: "PostgreSQL reported an error" }
  );
}

/** The server's own message where it holds names only. */
function serverMessage({ code, message }: ServerError): string {
  const mayQuoteData = code.startsWith("22") || code.startsWith("P0") || code === "42601";
  return `${mayQuoteData ? "PostgreSQL refused the value" : message.split("\n", 1)[0]} (SQLSTATE ${code})`;
}

/** `error` as a StorageError with `context`; a StorageError is given back as it is. */
export function fromPostgresError(error: unknown, context: ErrorContext = {}): StorageError {
  if (error instanceof StorageError) return error;
  if (!(error instanceof Error)) return new StorageError("E_UNEXPECTED", String(error), context);
  if (isServerError(error)) {
    const meaning = meaningOf(error);
    const detail = serverMessage(error);
    const cause = new PostgresErrorCause(detail, error.code, error.table, error.column, error.constraint);
    const more: ErrorContext = { detail };
    if (meaning.hint !== undefined) more.hint = meaning.hint;
    return new StorageError(meaning.code, meaning.message, { ...more, ...context }, cause);
  }
  const { code } = error as { code?: unknown };
  if (LOST.test(error.message) || (typeof code === "string" && LOST_CODES.has(code))) {
    return new StorageError(
      "E_CONNECTION_LOST",
      "the connection to the server broke",
      { hint: WHY_LOST, ...context },
      error,
    );
  }
  return new StorageError("E_UNEXPECTED", error.message, context, error);
}

/** What says that a row, or a value of it, could not be read: damage, a size, or a text that is none. */
const OF_ROWS = /^(XX|58|54|22|53200)/;

/** Whether the error of a statement that reads is one of a row that nobody has named yet, so that others can be read. */
export function isOfRow(error: unknown): boolean {
  if (error instanceof StorageError && error.context.key !== undefined) return false;
  return OF_ROWS.test(postgresCause(error)?.sqlState ?? "");
}

/** The error of reading a row, with its place; errors of PostgreSQL's innards there are damage. */
export function unreadable(error: unknown, context: ErrorContext): StorageError {
  const known = fromPostgresError(error, context);
  const cause = postgresCause(known);
  if (cause === undefined) return known;
  const { code, message, context: more } = known;
  if (/^(XX|58)/.test(cause.sqlState))
    return new StorageError(
      "E_SOURCE_DAMAGED",
      "the database cannot read it: its data is damaged",
      { hint: RESTORE, detail: cause.message, ...context },
      cause,
    );
  return new StorageError(code, message, { ...more, ...context }, cause);
}

/** The SQLSTATE and names of a StorageError that came from a server; undefined for any other error. */
export function postgresCause(error: unknown): PostgresErrorCause | undefined {
  const cause = error instanceof StorageError ? error.cause : undefined;
  return cause instanceof PostgresErrorCause ? cause : undefined;
}
