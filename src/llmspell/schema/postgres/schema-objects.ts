/** The objects of schema llmspell, from the catalogs alone; needs no right beyond connecting. */
import type { PostgresConnection } from "../../../backends/postgres/session/connection.js";

export interface SchemaObject {
  /** `kind table.name`, or `kind name`, e.g. `index sessions.idx_sessions_status`. */
  readonly object: string;
  /** Columns, constraints and indexes have one; names of the extensions' objects are without their schema. */
  readonly definition: string;
  /** The statement that makes it work, where it does not. */
  readonly repair?: string;
}

/** Not the record of migrations, of either, nor partitions: how many there are depends on the day. */
const OBJECTS = `
WITH tables AS (
  SELECT c.oid, c.relname::text AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'llmspell' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relname NOT IN ('refinery_schema_history', 'storage_migrations')
)
SELECT 'table' AS kind, name AS parent, NULL::text AS name, '' AS definition, NULL::text AS repair, 0 AS place FROM tables
UNION ALL
SELECT 'column', t.name, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
    || coalesce(' DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), ''), NULL, a.attnum
  FROM tables t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
UNION ALL
-- PostgreSQL 18 counts NOT NULL among the constraints.
SELECT 'constraint', t.name, k.conname::text, pg_catalog.pg_get_constraintdef(k.oid), NULL, 0
  FROM tables t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.contype IN ('p', 'u', 'f', 'c')
UNION ALL
SELECT 'index', t.name, c.relname::text, pg_catalog.pg_get_indexdef(i.indexrelid),
    CASE WHEN NOT i.indisvalid THEN pg_catalog.format('REINDEX INDEX llmspell.%I', c.relname) END, 0
  FROM tables t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid AND k.conrelid = t.oid)
UNION ALL
SELECT 'trigger', t.name, g.tgname::text, '',
    CASE WHEN g.tgenabled = 'D' THEN pg_catalog.format('ALTER TABLE llmspell.%I ENABLE TRIGGER %I', t.name, g.tgname) END, 0
  FROM tables t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
UNION ALL
SELECT 'policy', t.name, p.polname::text, '', NULL, 0 FROM tables t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT 'view', NULL, c.relname::text, '', NULL, 0
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'llmspell' AND c.relkind = 'v'
UNION ALL
SELECT 'function', NULL, pg_catalog.format('%s(%s)', f.proname, pg_catalog.pg_get_function_identity_arguments(f.oid)), '', NULL, 0
  FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
  WHERE n.nspname = 'llmspell'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                    WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = f.oid AND e.deptype = 'e')
ORDER BY kind, parent, place, name`;

interface ObjectRow {
  kind: string;
  parent: string | null;
  name: string | null;
  definition: string;
  repair: string | null;
}

/** What the extensions made, wherever they are: pgvector's and uuid-ossp's names. */
const OF_EXTENSIONS = /(?:\w+|"[^"]+")\.(?=(?:vector|vector_cosine_ops|uuid_generate_v4)\b)/g;

export async function readSchemaObjects(connection: PostgresConnection): Promise<SchemaObject[]> {
  const { rows } = await connection.query<ObjectRow & Record<string, unknown>>(OBJECTS);
  return rows.map(({ kind, parent, name, definition, repair }) => ({
    object: `${kind} ${[parent, name].filter((part) => part !== null).join(".")}`,
    definition: definition.replace(OF_EXTENSIONS, ""),
    ...(repair === null ? {} : { repair }),
  }));
}

/** The functions of an earlier release of ours, which cut the event log's months in UTC wherever the server is. */
const UTC_FUNCTIONS = `
  SELECT EXISTS (
    SELECT FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
    WHERE n.nspname = 'llmspell' AND f.prosrc LIKE '%AT TIME ZONE ''UTC''%'
      AND f.proname IN ('create_event_log_partition', 'ensure_future_event_log_partitions', 'cleanup_old_event_log_partitions')
  ) AS found`;

export async function hasUtcFunctions(connection: PostgresConnection): Promise<boolean> {
  return (await connection.query<{ found: boolean }>(UTC_FUNCTIONS)).rows[0]?.found === true;
}
