/** The connections of a run: who may have one, how many the server has left, and that each is a session of its own. */
import { StorageError } from "../../../errors.js";
import { quote } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import type { PostgresConnection, PostgresConnector } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";
import { inTransaction } from "../session/transaction.js";

/**
 * Whether the role may load without firing triggers and past row-level security, without altering a table for it.
 * @throws {StorageError} E_PERMISSION
 */
export async function requireRights(connection: PostgresConnection, tables: readonly TargetTable[]): Promise<void> {
  const { rows } = await connection.query<{ role: string; version: number }>(
    "SELECT current_user::text AS role, current_setting('server_version_num')::int4 AS version",
  );
  const { role = "", version = 0 } = rows[0] ?? {};
  const one = "Or load with one job.";
  await connection.query("SAVEPOINT rights");
  try {
    await connection.query("SET LOCAL session_replication_role = 'replica'");
    await connection.query("RELEASE SAVEPOINT rights");
  } catch (error) {
    if (postgresCause(error)?.sqlState !== "42501") throw error;
    await connection.query("ROLLBACK TO SAVEPOINT rights");
    const grant =
      version >= 150000
        ? `GRANT SET ON PARAMETER session_replication_role TO ${quote(role)}`
        : `ALTER ROLE ${quote(role)} SUPERUSER`;
    throw new StorageError(
      "E_PERMISSION",
      `the role ${role} may not load over several connections: its triggers would fire`,
      {
        hint: `As a superuser: ${grant}. ${one}`,
      },
    );
  }
  if (tables.some(({ rowSecurity }) => rowSecurity.binding))
    throw new StorageError(
      "E_PERMISSION",
      `the role ${role} may not load over several connections: row-level security binds it`,
      {
        hint: `As a superuser: ALTER ROLE ${quote(role)} BYPASSRLS. ${one}`,
      },
    );
}

/** Connections that are left for the role, beside this one. */
const LEFT = `
  SELECT least(
    s.most - CASE WHEN r.rolsuper THEN 0 ELSE s.reserved END - (SELECT count(*) FROM pg_catalog.pg_stat_activity
      WHERE backend_type = 'client backend' OR backend_type IS NULL),
    CASE WHEN r.rolconnlimit < 0 OR r.rolsuper THEN 2147483647 ELSE r.rolconnlimit - (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid) END,
    CASE WHEN d.datconnlimit < 0 OR r.rolsuper THEN 2147483647 ELSE d.datconnlimit - (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid) END
  )::int4 AS left
  FROM (SELECT pg_catalog.current_setting('max_connections')::int8 AS most,
      pg_catalog.current_setting('superuser_reserved_connections')::int8
        + coalesce(pg_catalog.current_setting('reserved_connections', true)::int8, 0) AS reserved) s,
    pg_catalog.pg_roles r, pg_catalog.pg_database d
  WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()`;

/** How many of so many connections the server has left. @throws {StorageError} E_CONNECT where it has none */
export async function affordable(connection: PostgresConnection, wanted: number): Promise<number> {
  const { rows } = await connection.query<{ left: number }>(LEFT);
  const left = rows[0]?.left ?? wanted;
  if (left < 1)
    throw new StorageError("E_CONNECT", "the server has no connection left for a run", {
      hint: "Load with one job, end other sessions, or raise max_connections.",
    });
  return Math.min(wanted, left);
}

async function pidOf(connection: PostgresConnection): Promise<number> {
  const { rows } = await connection.query<{ pid: number }>("SELECT pg_catalog.pg_backend_pid() AS pid");
  return rows[0]?.pid ?? 0;
}

/** A pooler that gives sessions away between transactions has one server's session for two that wait. */
const ROUNDS = 3;

/**
 * Opens connections, each a session of its own.
 * @throws {StorageError} E_USAGE where a pooler shares sessions; what connecting throws
 */
export async function openConnections(
  connect: PostgresConnector,
  count: number,
  first: PostgresConnection,
): Promise<PostgresConnection[]> {
  const opened: PostgresConnection[] = [];
  try {
    for (let number = 0; number < count; number++) opened.push(await connect());
    for (let round = 0; round < ROUNDS; round++) {
      const all = [first, ...opened];
      const idle: number[] = [];
      for (const each of all) idle.push(await pidOf(each));
      const busy: number[] = [];
      // While one is in a transaction, what the others are given is another session.
      for (const each of all) busy.push(await inTransaction(each, "read", () => pidOf(each)));
      if (new Set(idle).size < all.length || idle.some((pid, at) => pid !== busy[at])) throw pooled();
    }
    // They are ours: one that waits for the others must not be ended for it (servers from 14 on).
    for (const each of [first, ...opened])
      await each.query(
        `SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'idle_session_timeout'`,
      );
  } catch (error) {
    for (const each of opened) await each.close();
    throw error;
  }
  return opened;
}

function pooled(): StorageError {
  return new StorageError(
    "E_USAGE",
    "the connection goes through a pooler that shares sessions: a run needs sessions of its own",
    {
      hint: "Name the server itself in the URL (or a pool in session mode), or load with one job.",
    },
  );
}
