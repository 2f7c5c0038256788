/** What of the catalog's tables a PostgreSQL database has, and what this role may see of them. Only reads. */
import { columnOf, type Field, type RecordKind, storedFields } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { StorageError } from "../../../errors.js";
import { schemaSql, shownName, sqlName, type TableName, TYPE_NAME, tableOf } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";

export interface PostgresTable {
  /** Names and types (TYPE_NAME). */
  readonly columns: ReadonlyMap<string, string>;
  /** Whether the role may SELECT from it. */
  readonly readable: boolean;
  /** The role that owns it, and whether this role is that one or a member of it. */
  readonly owner: string;
  readonly owned: boolean;
  /** Whether row-level security binds this role. */
  readonly rowSecurity: boolean;
  /** Whether the policies for reading are exactly "the tenant is the one of the application's setting". */
  readonly tenantPolicies: boolean;
  /** The planner's estimate, partitions included; undefined where the table was never analyzed. */
  readonly estimatedRows: number | undefined;
  /** Bytes on disk with TOAST, partitions included; 0 where the role may not read it. */
  readonly bytes: number;
}

/** Of tables that the role may not read neither policies nor sizes: where another session has locked one, they would be waited for. */
const TABLES = `
SELECT n.nspname::text AS schema, c.relname::text AS table, may.read AS readable,
       pg_get_userbyid(c.relowner)::text AS owner, pg_has_role(c.relowner, 'USAGE') AS owned,
       row_security_active(c.oid) AS "rowSecurity",
       CASE WHEN may.read THEN (SELECT coalesce(bool_and(p.polpermissive AND pg_get_expr(p.polqual, p.polrelid) ~ named.policy), false)
        FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*')
          AND EXISTS (SELECT FROM unnest(p.polroles) r WHERE r = 0 OR pg_has_role(r, 'USAGE'))) ELSE false END AS "tenantPolicies",
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT array_agg(${TYPE_NAME} ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS types,
       (SELECT CASE WHEN bool_or(l.reltuples < 0) THEN NULL ELSE sum(l.reltuples)::float8 END
        FROM pg_catalog.pg_class l WHERE l.oid = ANY (leaves.oids)) AS rows,
       CASE WHEN may.read THEN (SELECT coalesce(sum(pg_table_size(l)), 0)::float8 FROM unnest(leaves.oids) l) ELSE 0 END AS bytes
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN unnest($1::text[], $2::text[], $3::text[]) AS named (schema, name, policy)
  ON named.schema = n.nspname::text AND named.name = c.relname::text
CROSS JOIN LATERAL (
  SELECT has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS read
) may
CROSS JOIN LATERAL (
  SELECT CASE c.relkind WHEN 'r' THEN ARRAY[c.oid]
              ELSE ARRAY(SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(c.oid) p WHERE p.isleaf) END AS oids
) leaves
WHERE c.relkind IN ('r', 'p')`;

/** A regular expression for the policy, as the server prints it. */
function tenantPolicy(column: string, setting: string): string {
  const name = column.replaceAll(/[^\w]/g, "\\$&");
  return `^\\(\\(?"?${name}"?\\)?(::text)? = current_setting\\('${setting}'::text, true\\)\\)$`;
}

/** A table to be looked for, and the column that says whose its rows are. */
export interface WantedTable extends TableName {
  readonly tenantColumn?: string | undefined;
}

/**
 * The tables that are there, by their names in SQL. Run it under `row_security = off`: then it tells who is bound, not who
 * asked. `tenantSetting`: what the application's policies compare the tenant with.
 */
export async function readTables(
  connection: PostgresConnection,
  wanted: readonly WantedTable[],
  tenantSetting?: string,
): Promise<ReadonlyMap<string, PostgresTable>> {
  const policies = wanted.map(({ tenantColumn }) =>
    tenantSetting === undefined || tenantColumn === undefined ? null : tenantPolicy(tenantColumn, tenantSetting),
  );
  const { rows } = await connection.query<{
    schema: string;
    table: string;
    owner: string;
    owned: boolean;
    readable: boolean;
    rowSecurity: boolean;
    tenantPolicies: boolean;
    columns: string[] | null;
    types: string[] | null;
    rows: number | null;
    bytes: number;
  }>(TABLES, [wanted.map(({ schema }) => schema), wanted.map(({ table }) => table), policies]);
  return new Map(
    rows.map((row) => [
      sqlName(row),
      {
        columns: new Map((row.columns ?? []).map((column, i) => [column, row.types?.[i] ?? ""])),
        owner: row.owner,
        owned: row.owned,
        readable: row.readable,
        rowSecurity: row.rowSecurity,
        tenantPolicies: row.tenantPolicies,
        estimatedRows: row.rows ?? undefined,
        bytes: row.bytes,
      },
    ]),
  );
}

/**
 * Whether the system's collation has changed since the database's indexes of text were built (a new operating system
 * below an old data folder): looking something up in them may miss it. Servers before 15 do not know.
 */
export async function hasNewCollation(connection: PostgresConnection, serverVersion: number): Promise<boolean> {
  if (serverVersion < 150000) return false;
  const { rows } = await connection.query<{ changed: boolean }>(
    `SELECT datcollversion <> pg_database_collation_actual_version(oid) AS changed
     FROM pg_catalog.pg_database WHERE datname = current_database()`,
  );
  return rows[0]?.changed === true;
}

function schemaError(kind: RecordKind, message: string, field?: Field): StorageError {
  return new StorageError("E_SCHEMA", message, {
    section: kind.path,
    ...(field === undefined ? {} : { field: field.name }),
    hint: "Run `llmspell database migrate --backend postgres`, or compare the table with docs/schema.md.",
  });
}

/**
 * Throws unless the role can read every stored field of the kind in the form that the codecs expect: E_PERMISSION,
 * E_SCHEMA.
 */
export function requireReadable(kind: RecordKind, table: PostgresTable, user: string): void {
  const name = shownName(tableOf(kind));
  const schema = schemaSql(tableOf(kind).schema);
  if (!table.readable)
    throw new StorageError("E_PERMISSION", `the role ${user} may not read ${name}`, {
      section: kind.path,
      hint: `As its owner: GRANT USAGE ON SCHEMA ${schema} TO "${user}"; GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO "${user}";`,
    });
  for (const field of storedFields(kind, "postgresql")) {
    const column = columnOf(field);
    const type = table.columns.get(column);
    if (type === undefined) throw schemaError(kind, `${name} has no column ${column}`, field);
    const { types } = codecOf(field).postgres;
    if (!types.includes(type)) throw schemaError(kind, `${name}.${column} is ${type}, expected ${types[0]}`, field);
  }
  const { largeObject } = kind.postgres;
  if (largeObject !== undefined && table.columns.get(largeObject.oidColumn) !== "oid")
    throw schemaError(kind, `${name} has no column ${largeObject.oidColumn} of type oid`);
}
