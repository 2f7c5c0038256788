/**
 * Transactions of ours. All that a session must be set to is set for the transaction only: behind a pooler the session is
 * somebody else's afterwards, and no statement outside of one could rely on what another transaction was given.
 */
import { StorageError } from "../../../errors.js";
import type { PostgresConnection } from "./connection.js";

/** "read": one snapshot of everything, READ ONLY. "owner": the same until it is told, not READ ONLY. "write": READ COMMITTED. */
export type TransactionMode = "read" | "owner" | "write";

const BEGIN: Readonly<Record<TransactionMode, string>> = {
  read: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
  owner: "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE",
  write: "BEGIN ISOLATION LEVEL READ COMMITTED",
};

/**
 * What a role, a database or a server may have otherwise, and what our statements and their results are read by.
 * search_path: an operator or a function of the same name in another schema would be run with this role's rights.
 */
const SETTINGS: readonly (readonly [name: string, value: string])[] = [
  ["search_path", "pg_catalog, pg_temp"],
  ["standard_conforming_strings", "on"],
  ["client_encoding", "UTF8"],
  ["TimeZone", "UTC"],
  ["DateStyle", "ISO"],
  ["IntervalStyle", "postgres"],
  ["bytea_output", "hex"],
  ["array_nulls", "on"],
  ["quote_all_identifiers", "off"],
  ["row_security", "on"],
  ["statement_timeout", "0"],
  ["idle_in_transaction_session_timeout", "0"],
];

/** Servers before 17 do not know the first; the name is for sessions that have none of the user's. */
const SETTINGS_WHERE_POSSIBLE = `SELECT pg_catalog.set_config(name, value, true)
  FROM (VALUES ('transaction_timeout', '0'), ('application_name', 'llmspell-storage')) AS s (name, value)
  WHERE CASE name WHEN 'application_name' THEN pg_catalog.current_setting(name) = ''
             ELSE pg_catalog.current_setting(name, true) IS NOT NULL END`;

/** Takes no snapshot yet. */
const SET_LOCAL = SETTINGS.map(
  // The list of schemas is the one value that is no string.
  ([name, value]) => `SET LOCAL ${name} = ${name === "search_path" ? value : `'${value}'`}`,
).join("; ");

/** How long our transactions wait for a lock, unless a statement of theirs is less patient. */
export function lockTimeout({ lockTimeoutSeconds }: PostgresConnection): string {
  return `SET LOCAL lock_timeout ${lockTimeoutSeconds === undefined ? "TO DEFAULT" : `= '${lockTimeoutSeconds}s'`}`;
}

/** So that the server notices within half a second that this process was killed. */
const WATCH_CLIENT = "SAVEPOINT watch; SET LOCAL client_connection_check_interval = '500ms'; RELEASE SAVEPOINT watch";

/**
 * Begins a transaction that has the settings of ours.
 * @param beforeSnapshot of modes "read" and "owner": runs before the first query, whose snapshot is that of all others
 * @throws {StorageError} E_READ_ONLY where mode "write" may not write
 */
export async function beginTransaction(
  connection: PostgresConnection,
  mode: TransactionMode,
  beforeSnapshot?: () => Promise<void>,
): Promise<void> {
  const begin = `${BEGIN[mode]}; ${SET_LOCAL}; ${lockTimeout(connection)}`;
  if (beforeSnapshot === undefined) {
    await connection.query(`${begin}; ${SETTINGS_WHERE_POSSIBLE}`);
  } else {
    await connection.query(begin);
    await beforeSnapshot();
    await connection.query(SETTINGS_WHERE_POSSIBLE);
  }
  if (!connection.embedded) {
    // Servers before 14, and systems that cannot look at a busy socket, do without.
    await connection.query(WATCH_CLIENT).catch(async (error: StorageError) => {
      if (error.code === "E_CONNECTION_LOST") throw error;
      // Released, too: rows would be written by a transaction below, whose number is another.
      await connection.query("ROLLBACK TO SAVEPOINT watch; RELEASE SAVEPOINT watch");
    });
  }
  if (mode === "write") await requireWritable(connection);
}

/** Runs `work` in a transaction of its own. */
export async function inTransaction<Result>(
  connection: PostgresConnection,
  mode: TransactionMode,
  work: () => Promise<Result>,
): Promise<Result> {
  await beginTransaction(connection, mode);
  try {
    const result = await work();
    await connection.query("COMMIT");
    return result;
  } catch (error) {
    await connection.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

async function requireWritable(connection: PostgresConnection): Promise<void> {
  const { rows } = await connection.query<{ readOnly: boolean; standby: boolean; role: string }>(
    `SELECT current_setting('transaction_read_only')::bool AS "readOnly", pg_is_in_recovery() AS standby,
            current_user::text AS role`,
  );
  const [state] = rows;
  if (state?.readOnly !== true) return;
  await connection.query("ROLLBACK").catch(() => {});
  throw state.standby
    ? new StorageError("E_READ_ONLY", "the server is a standby, which cannot be written", {
        hint: "Name the primary in the URL.",
      })
    : new StorageError("E_READ_ONLY", `transactions of the role ${state.role} are read-only in this database`, {
        detail: "default_transaction_read_only is on",
        hint: "It was set on the server, the database, the role or in the URL: ALTER ROLE … (or DATABASE …) RESET default_transaction_read_only.",
      });
}
