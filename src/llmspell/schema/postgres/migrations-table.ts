/**
 * Which migrations a PostgreSQL database has. Only reads, raises no error at any level (an error would abort the
 * caller's snapshot), and needs no privilege beyond connecting: what it may not read it finds from the tables.
 */
import {
  headerVersions,
  type RecordedMigration,
  type SchemaMigrations,
  type VersionTables,
  versionsWithTables,
} from "../recorded.js";

/** What it needs of a connection: a pg.Client, or our own wrapper of one. */
export interface PostgresQueryable {
  query(text: string): Promise<{ readonly rows: readonly unknown[] }>;
}

/** V1 and V15 have no tables, V12 is known by what it does to them. */
const TABLES: readonly VersionTables[] = [
  [2, ["test_data"]],
  [3, ["vector_embeddings_384", "vector_embeddings_768", "vector_embeddings_1536", "vector_embeddings_3072"]],
  [14, ["api_keys"]],
];

interface Relation {
  readonly name: string;
  readonly forced: boolean;
  readonly readable: boolean;
  /** Number of columns of the primary key; 0 where there is none. */
  readonly keyWidth: number;
}

const RELATIONS = `
SELECT c.relname::text AS name, c.relforcerowsecurity AS forced,
       has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable,
       coalesce((SELECT cardinality(k.conkey) FROM pg_catalog.pg_constraint k
                 WHERE k.conrelid = c.oid AND k.contype = 'p'), 0) AS "keyWidth"
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'llmspell' AND c.relkind IN ('r', 'p') AND NOT c.relispartition`;

const EXTENSIONS = `
SELECT (SELECT count(*) FROM pg_catalog.pg_extension WHERE extname IN ('vector', 'uuid-ossp'))::int AS extensions,
       (SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'llmspell')::int AS schemas`;

function presentVersions(
  relations: ReadonlyMap<string, Relation>,
  server: { extensions: number; schemas: number },
): Set<number> {
  const present = versionsWithTables(TABLES, (table) => relations.has(table));
  if (server.extensions === 2 && server.schemas === 1) present.add(1);
  if (relations.get("entities")?.forced && relations.get("event_log")?.forced) present.add(12);
  if (relations.get("entities")?.keyWidth === 2 && relations.get("relationships")?.keyWidth === 2) present.add(15);
  return present;
}

/** Reads both records and what the tables themselves say. One or a few small queries. */
export async function readPostgresMigrations(connection: PostgresQueryable): Promise<SchemaMigrations> {
  const relations = new Map<string, Relation>();
  for (const row of (await connection.query(RELATIONS)).rows as Relation[]) relations.set(row.name, row);
  const server = (await connection.query(EXTENSIONS)).rows[0] as { extensions: number; schemas: number };
  const recorded = async (table: string, time: string): Promise<RecordedMigration[]> => {
    if (!relations.get(table)?.readable) return [];
    const sql = `SELECT version, name::text AS name, ${time}::text AS "appliedAt" FROM llmspell.${table} ORDER BY version`;
    return (await connection.query(sql)).rows as RecordedMigration[];
  };
  return {
    llmspell: await recorded("refinery_schema_history", "applied_on"),
    ours: await recorded("storage_migrations", "applied_at"),
    present: presentVersions(relations, server),
  };
}

/** llmspell's versions for a document's header, e.g. ["V1", "V3"]. */
export async function readPostgresVersions(connection: PostgresQueryable): Promise<string[]> {
  return headerVersions(await readPostgresMigrations(connection));
}
