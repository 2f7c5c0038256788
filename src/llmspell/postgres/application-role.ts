/** Who llmspell is in a database: the role that it works as there, and the time zone of that role's sessions. */
import type { PostgresConnection } from "../../backends/postgres/session/connection.js";

/** The role that llmspell's migrations make for its applications. */
export const APPLICATION_ROLE = "llmspell_app";

/**
 * An expression: the oid of llmspell's role in this database. Roles belong to the whole server, so it must be let into
 * the schema; otherwise llmspell works as the owner of its tables. NULL where there is no schema yet.
 */
export const APPLICATION_ROLE_OID = `(
  SELECT coalesce(
    (SELECT r.oid FROM pg_catalog.pg_roles r
     WHERE r.rolname = '${APPLICATION_ROLE}' AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')),
    (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'event_log'),
    n.nspowner)
  FROM pg_catalog.pg_namespace n WHERE n.nspname = 'llmspell')`;

/**
 * An expression: the name of llmspell's own role, where it works in this database and the session's role can give it things
 * and take them back; else NULL. To give a thing away takes SET of the new owner's role, from PostgreSQL 16 on a right of its own.
 */
export const RECEIVING_ROLE = `(
  SELECT r.rolname::text FROM pg_catalog.pg_roles r
  WHERE r.rolname = '${APPLICATION_ROLE}' AND r.oid = ${APPLICATION_ROLE_OID} AND pg_catalog.pg_has_role(r.oid, 'USAGE')
    AND pg_catalog.pg_has_role(r.oid,
      CASE WHEN pg_catalog.current_setting('server_version_num')::int4 < 160000 THEN 'MEMBER' ELSE 'SET' END))`;

/** What a session of the role starts with, in the server's order; else what the server gives to everybody. */
const TIME_ZONE = `
  SELECT coalesce(
    (SELECT substr(entry, strpos(entry, '=') + 1)
     FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS entry
     WHERE lower(split_part(entry, '=', 1)) = 'timezone' AND s.setrole IN (0, application.role)
       AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
     ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1),
    -- What this session's own role, or its client, set is nobody else's.
    CASE WHEN g.source NOT IN ('user', 'database user', 'client') THEN g.setting END) AS zone,
    pg_catalog.current_setting('log_timezone') AS logged,
    pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE') AS files
  FROM pg_catalog.pg_settings g
  CROSS JOIN (SELECT coalesce(${APPLICATION_ROLE_OID}, 0) AS role) application
  WHERE g.name = 'TimeZone'`;

interface ZoneRow {
  zone: string | null;
  logged: string;
  files: boolean;
}

/** The time zone that llmspell's sessions have in this database. Needs a transaction; leaves its zone to be set. */
async function readTimeZone(connection: PostgresConnection): Promise<string> {
  // Then the server tells what the session began with, and why.
  await connection.query("SET LOCAL TimeZone TO DEFAULT");
  const row = (await connection.query<ZoneRow & Record<string, unknown>>(TIME_ZONE)).rows[0] as ZoneRow;
  if (row.zone !== null) return row.zone;
  if (!row.files) return row.logged;
  const { rows } = await connection.query<{ setting: string }>(
    "SELECT setting FROM pg_catalog.pg_file_settings WHERE lower(name) = 'timezone' AND applied",
  );
  return rows[0]?.setting ?? row.logged;
}

/** Does work in the time zone of llmspell's sessions; to be called in a transaction, which is in UTC afterwards. */
export async function inApplicationTimeZone<Result>(
  connection: PostgresConnection,
  work: () => Promise<Result>,
): Promise<Result> {
  const zone = await readTimeZone(connection);
  await connection.query("SELECT pg_catalog.set_config('TimeZone', $1, true)", [zone]);
  const result = await work();
  await connection.query("SET LOCAL TimeZone = 'UTC'");
  return result;
}
