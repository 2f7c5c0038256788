/** What a PostgreSQL database and the role at hand are, from its catalogs alone. */
import type { PostgresConnection } from "../session/connection.js";
import { encodingCaveat } from "../session/encodings.js";
import { inTransaction } from "../session/transaction.js";

/** A table of schema llmspell; partitions count as their parent. */
export interface TableState {
  readonly name: string;
  readonly bytes: number;
  readonly rowSecurity: boolean;
  /** Binds the owner too. */
  readonly forced: boolean;
  /** The role is, or is a member of, the owner. */
  readonly owned: boolean;
  readonly readable: boolean;
  /** SELECT, INSERT and UPDATE. */
  readonly writable: boolean;
}

export interface PostgresState {
  /** e.g. "15.20" */
  readonly serverVersion: string;
  /** e.g. "UTF8" */
  readonly encoding: string;
  /** What is not as in UTF-8. */
  readonly encodingCaveat: string | undefined;
  /** By name: the version that is installed, and the one that the server offers. */
  readonly extensions: ReadonlyMap<
    string,
    { readonly installed: string | undefined; readonly available: string | undefined }
  >;
  readonly databaseBytes: number;
  /** Whether schema llmspell is there. */
  readonly schema: boolean;
  readonly tables: readonly TableState[];
  readonly role: {
    readonly name: string;
    readonly superuser: boolean;
    readonly bypassRowSecurity: boolean;
    /** SET session_replication_role, which keeps triggers from firing. */
    readonly maySetReplicationRole: boolean;
  };
}

/** The extensions that the schema uses, or may use. */
const EXTENSIONS = ["vector", "vchord", "uuid-ossp", "pgcrypto"] as const;

interface ServerRow {
  readonly version: string;
  readonly version_number: number;
  readonly encoding: string;
  readonly bytes: bigint;
  readonly schema: boolean;
  readonly role: string;
  readonly superuser: boolean;
  readonly bypass: boolean;
}

/** Reads the catalogs; changes nothing, and needs no right beyond connecting. */
export function inspectPostgres(connection: PostgresConnection): Promise<PostgresState> {
  return inTransaction(connection, "read", () => readState(connection));
}

async function readState(connection: PostgresConnection): Promise<PostgresState> {
  const server = (
    await connection.query<ServerRow & Record<string, unknown>>(
      `SELECT pg_catalog.current_setting('server_version') AS version,
              pg_catalog.current_setting('server_version_num')::int4 AS version_number,
              pg_catalog.current_setting('server_encoding') AS encoding,
              pg_catalog.pg_database_size(pg_catalog.current_database()) AS bytes,
              pg_catalog.to_regnamespace('llmspell') IS NOT NULL AS schema,
              current_user::text AS role, rolsuper AS superuser, rolbypassrls AS bypass
         FROM pg_catalog.pg_roles WHERE rolname = current_user`,
    )
  ).rows[0] as ServerRow;
  const extensions = await connection.query<{ name: string; installed: string | null; available: string | null }>(
    `SELECT coalesce(a.name, e.extname)::text AS name, e.extversion AS installed, a.default_version AS available
       FROM pg_catalog.pg_available_extensions a FULL JOIN pg_catalog.pg_extension e ON e.extname = a.name
      WHERE coalesce(a.name, e.extname) = ANY ($1::text[])`,
    [EXTENSIONS],
  );
  // PostgreSQL 15 brought the privilege.
  const replication =
    server.superuser ||
    (server.version_number >= 150000 &&
      (
        await connection.query<{ may: boolean }>(
          "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET') AS may",
        )
      ).rows[0]?.may === true);
  const tables = server.schema ? await inspectTables(connection) : [];
  return {
    serverVersion: server.version.split(" ", 1)[0] as string,
    encoding: server.encoding,
    encodingCaveat: encodingCaveat(server.encoding),
    extensions: new Map(
      extensions.rows.map(({ name, installed, available }) => [
        name,
        { installed: installed ?? undefined, available: available ?? undefined },
      ]),
    ),
    databaseBytes: Number(server.bytes),
    schema: server.schema,
    tables,
    role: {
      name: server.role,
      superuser: server.superuser,
      bypassRowSecurity: server.bypass,
      maySetReplicationRole: replication,
    },
  };
}

interface TableRow {
  readonly name: string;
  readonly bytes: bigint;
  readonly row_security: boolean;
  readonly forced: boolean;
  readonly owned: boolean;
  readonly readable: boolean;
  readonly writable: boolean;
}

async function inspectTables(connection: PostgresConnection): Promise<TableState[]> {
  const { rows } = await connection.query<TableRow & Record<string, unknown>>(
    `SELECT c.relname::text AS name, c.relrowsecurity AS row_security, c.relforcerowsecurity AS forced,
            pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
            u.usage AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
            u.usage AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
              AND pg_catalog.has_table_privilege(c.oid, 'INSERT') AND pg_catalog.has_table_privilege(c.oid, 'UPDATE') AS writable,
            CASE c.relkind WHEN 'p'
              THEN (SELECT coalesce(sum(pg_catalog.pg_total_relation_size(t.relid)), 0)::int8 FROM pg_catalog.pg_partition_tree(c.oid) t)
              ELSE pg_catalog.pg_total_relation_size(c.oid) END AS bytes
       FROM pg_catalog.pg_class c
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      CROSS JOIN LATERAL (SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS usage) u
      WHERE n.nspname = 'llmspell' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      ORDER BY c.relname`,
  );
  return rows.map(({ row_security, bytes, name, forced, owned, readable, writable }) => ({
    name,
    bytes: Number(bytes),
    rowSecurity: row_security,
    forced,
    owned,
    readable,
    writable,
  }));
}

/** Of the server's data and the database in them; a standby is another one than what it follows. Undefined: the role may not ask. */
export async function readIdentity(connection: PostgresConnection): Promise<string | undefined> {
  const { rows } = await connection.query<{ identity: string }>(
    `SELECT pg_catalog.format('%s %s %s', s.system_identifier, d.oid, pg_catalog.pg_is_in_recovery()) AS identity
     FROM pg_catalog.pg_control_system() s, pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()`,
  );
  return rows[0]?.identity;
}
