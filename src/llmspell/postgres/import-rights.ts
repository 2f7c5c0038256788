/** The rights that a load needs and the role at hand lacks, as the statements that give them (load-session.ts, table-loader.ts). */

import { quote } from "../../backends/postgres/database/table-names.js";
import type { PostgresConnection } from "../../backends/postgres/session/connection.js";
import { inTransaction } from "../../backends/postgres/session/transaction.js";
import { catalog } from "../catalog/index.js";
import { APPLICATION_ROLE_OID } from "./application-role.js";
import { SCHEMA } from "./schema-name.js";

export interface ImportRights {
  /** For a superuser or the owner to run; empty when nothing is missing. */
  readonly missing: readonly string[];
  /** Needed besides where large contents that are there are replaced: only their owner may. */
  readonly replacing: readonly string[];
  /** Row-level security binds the role: one tenant at a time. */
  readonly oneTenant: boolean;
  /** May make the partitions of the event log that its months lack. */
  readonly makesPartitions: boolean;
}

interface RightsRow {
  role: string;
  database: string;
  usage: boolean;
  temporary: boolean;
  creates: boolean;
  replica: boolean | null;
}

interface TableRow {
  name: string;
  owned: boolean;
  readable: boolean;
  insertable: boolean;
  updatable: boolean;
  binding: boolean;
}

const RIGHTS = `
  SELECT current_user::text AS role, pg_catalog.current_database()::text AS database,
    pg_catalog.has_schema_privilege('${SCHEMA}', 'USAGE') AS usage,
    pg_catalog.has_schema_privilege('${SCHEMA}', 'CREATE') AS creates,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') AS temporary,
    CASE WHEN (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN true
      WHEN pg_catalog.current_setting('server_version_num')::int4 < 150000 THEN NULL ELSE false END AS replica`;

const TABLES = `
  SELECT c.relname::text AS name, pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
    pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
    pg_catalog.has_table_privilege(c.oid, 'INSERT') AS insertable,
    pg_catalog.has_table_privilege(c.oid, 'UPDATE') AS updatable,
    pg_catalog.row_security_active(c.oid) AS binding
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = '${SCHEMA}' AND c.relkind IN ('r', 'p') AND c.relname::text = ANY ($1) ORDER BY 1`;

/** Who owns the large objects of llmspell's contents, and the session's role does not act for. */
const LARGE_OBJECT_OWNERS = `
  SELECT DISTINCT pg_catalog.pg_get_userbyid(l.lomowner)::text AS owner FROM pg_catalog.pg_largeobject_metadata l
  WHERE NOT pg_catalog.pg_has_role(l.lomowner, 'USAGE')
    AND l.lomowner IN (${APPLICATION_ROLE_OID}, (SELECT c.relowner FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = '${SCHEMA}' AND c.relname = 'artifact_content')) ORDER BY 1`;

/** Reads the catalogs. To be called where the schema is there. */
export function readImportRights(connection: PostgresConnection): Promise<ImportRights> {
  return inTransaction(connection, "read", () => readRights(connection));
}

async function readRights(connection: PostgresConnection): Promise<ImportRights> {
  const rights = (await connection.query<RightsRow & Record<string, unknown>>(RIGHTS)).rows[0] as RightsRow;
  const names = catalog.kinds.map(({ postgres }) => postgres.table);
  const { rows: tables } = await connection.query<TableRow & Record<string, unknown>>(TABLES, [names]);
  const role = quote(rights.role);
  const missing: string[] = [];
  if (!rights.usage) missing.push(`GRANT USAGE ON SCHEMA ${SCHEMA} TO ${role}`);
  const byRights = new Map<string, string[]>();
  for (const { name, readable, insertable, updatable } of tables) {
    const lacking = [!readable && "SELECT", !insertable && "INSERT", !updatable && "UPDATE"].filter(Boolean).join(", ");
    if (lacking !== "") byRights.set(lacking, [...(byRights.get(lacking) ?? []), `${SCHEMA}.${quote(name)}`]);
  }
  for (const [lacking, of] of byRights) missing.push(`GRANT ${lacking} ON ${of.join(", ")} TO ${role}`);
  // Records of a table that has others already go through a temporary one.
  if (!rights.temporary) missing.push(`GRANT TEMPORARY ON DATABASE ${quote(rights.database)} TO ${role}`);
  const owner = tables.every(({ owned }) => owned);
  if (!owner && rights.replica !== true) {
    const grant = `GRANT SET ON PARAMETER session_replication_role TO ${role}`;
    if (rights.replica === null) missing.push(`ALTER ROLE ${role} SUPERUSER`);
    else if (!(await maySetReplicationRole(connection))) missing.push(grant);
  }
  const { rows: owners } = await connection.query<{ owner: string }>(LARGE_OBJECT_OWNERS);
  return {
    missing,
    replacing: owners.map(({ owner }) => `GRANT ${quote(owner)} TO ${role}`),
    oneTenant: tables.some(({ binding, owned }) => binding && !owned),
    makesPartitions: rights.creates && tables.some(({ name, owned }) => name === "event_log" && owned),
  };
}

/** PostgreSQL 15 brought the privilege, and the function to ask for it. */
async function maySetReplicationRole(connection: PostgresConnection): Promise<boolean> {
  const { rows } = await connection.query<{ may: boolean }>(
    "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET') AS may",
  );
  return rows[0]?.may === true;
}
