/** Large objects of llmspell's that no row names any more: they fill the disk, and nothing will ever read or remove them. */

import type { PostgresConnection } from "../../backends/postgres/session/connection.js";
import { LARGE_VALUE_BYTES, type RecordKind } from "../../catalog/index.js";
import { APPLICATION_ROLE_OID } from "./application-role.js";

/**
 * Columns that may name large objects, in tables that this role can read: oid, and domains of it (the extension lo). Other programs
 * keep the number as an integer, or as text (Hibernate's @Lob).
 */
const NAMING_COLUMNS = `
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS "table", pg_catalog.quote_ident(a.attname) AS "column",
  CASE WHEN 'oid'::regtype IN (t.oid, t.typbasetype) THEN 'oid' WHEN 'int8'::regtype IN (t.oid, t.typbasetype) THEN 'int8' ELSE 'text' END AS "form"
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
CROSS JOIN (SELECT '{int8,text,varchar}'::regtype[]::oid[] AS types) others
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\\_temp%'
  AND ('oid'::regtype IN (t.oid, t.typbasetype)
    OR n.nspname <> 'llmspell' AND (t.oid = ANY (others.types) OR t.typbasetype = ANY (others.types)))
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
  AND NOT row_security_active(c.oid)
ORDER BY 1, 2`;

/** So many are looked for in columns that are no oids. */
const MOST_DOUBTED = 10_000;

/** libpq/libpq-fs.h */
const INV_READ = 0x40000;

/**
 * llmspell's: their owner is the role that llmspell works as, or the owner of its tables. Where that is a superuser, who may
 * have made others as well, only what is as long as llmspell's are.
 */
const lost = (table: string, named: readonly string[]): string => `
SELECT count(*)::int4 AS count, coalesce((pg_catalog.array_agg(oid ORDER BY oid))[1:${MOST_DOUBTED}]::text[], '{}') AS oids FROM (
  SELECT m.oid, r.rolsuper AS super, (
    SELECT CASE WHEN pg_catalog.lo_close(fd) >= 0 THEN length END FROM (
      SELECT fd, pg_catalog.lo_lseek64(fd, 0, 2) AS length FROM (
        SELECT pg_catalog.lo_open(m.oid, ${INV_READ}) AS fd WHERE pg_catalog.pg_has_role(m.lomowner, 'USAGE') OFFSET 0
      ) opened OFFSET 0
    ) measured
  ) AS bytes
  FROM pg_catalog.pg_largeobject_metadata m JOIN pg_catalog.pg_roles r ON r.oid = m.lomowner
  WHERE m.lomowner IN (${APPLICATION_ROLE_OID}, (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = '${table}'::regclass))
    ${named.map((query) => `AND NOT EXISTS (${query})`).join("\n    ")}
  OFFSET 0
) candidates WHERE NOT super OR bytes >= ${LARGE_VALUE_BYTES}`;

export interface LostLargeObjects {
  readonly count: number;
  /** The oid of one of them. */
  readonly first: string;
}

interface NamingColumn {
  readonly table: string;
  readonly column: string;
  readonly form: "oid" | "int8" | "text";
}

/** To be called in a transaction. Of a kind whose table is not there, or may not be read, nothing is known: none. */
export async function findLostLargeObjects(
  connection: PostgresConnection,
  kinds: readonly RecordKind[],
): Promise<LostLargeObjects> {
  const { rows: columns } = await connection.query<NamingColumn & Record<string, unknown>>(NAMING_COLUMNS);
  const oids = columns.filter(({ form }) => form === "oid");
  const named = oids.map(({ table, column }) => `SELECT FROM ${table} t WHERE t.${column} = m.oid`);
  for (const { postgres } of kinds) {
    const table = `llmspell.${postgres.table}`;
    const isRead = oids.some((each) => each.table === table && each.column === postgres.largeObject?.oidColumn);
    if (!isRead) continue;
    const { rows } = await connection.query<{ count: number; oids: string[] }>(lost(table, named));
    const found = rows[0] ?? { count: 0, oids: [] };
    const others = columns.filter(({ form }) => form !== "oid");
    const left = await unnamedBy(connection, others, new Set(found.oids));
    return { count: found.count - found.oids.length + left.size, first: [...left][0] ?? found.oids[0] ?? "" };
  }
  return { count: 0, first: "" };
}

/** Those that stand in none of the columns. Reads whole tables of others, where there is something to look for. */
async function unnamedBy(
  connection: PostgresConnection,
  columns: readonly NamingColumn[],
  doubted: Set<string>,
): Promise<Set<string>> {
  for (const { table, column, form } of columns) {
    if (doubted.size === 0) break;
    const { rows } = await connection.query<{ oid: string }>(
      `SELECT DISTINCT t.${column}::text AS oid FROM ${table} t WHERE t.${column} = ANY ($1::${form}[])`,
      [[...doubted]],
    );
    for (const { oid } of rows) doubted.delete(oid);
  }
  return doubted;
}
