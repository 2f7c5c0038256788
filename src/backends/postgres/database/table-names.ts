/** Tables by their names, quoted for SQL or shown to people. */
import { type RecordKind, schemaOf, UNSAID } from "../../../catalog/index.js";

export interface TableName {
  readonly schema: string;
  readonly table: string;
}

/** A quoted SQL identifier. */
export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function tableOf(kind: RecordKind): TableName {
  return { schema: schemaOf(kind), table: kind.postgres.table };
}

/** For SQL, and as a key of maps: no two tables have the same. */
export function sqlName({ schema, table }: TableName): string {
  return `${schemaSql(schema)}.${quote(table)}`;
}

/** A schema's name in SQL, without quotation marks where nothing could take it for a word of the language's. */
export function schemaSql(schema: string): string {
  return schema === UNSAID.schema ? schema : quote(schema);
}

/** For messages. */
export function shownName({ schema, table }: TableName): string {
  return `${schema}.${table}`;
}

/** The schemas of the kinds' tables, each once. */
export function schemasOf(kinds: readonly RecordKind[]): string[] {
  return [...new Set(kinds.map(schemaOf))];
}

/** The condition that a table (`c` in pg_class, `n` in pg_namespace) is one of those that `namesAsParameters` names. */
export const IS_NAMED = "(n.nspname::text, c.relname::text) IN (SELECT * FROM unnest($1::text[], $2::text[]))";

/** $1 and $2 of IS_NAMED. */
export function namesAsParameters(names: readonly TableName[]): [schemas: string[], tables: string[]] {
  return [names.map(({ schema }) => schema), names.map(({ table }) => table)];
}

/**
 * An expression: what the type `t` of pg_type is called. PostgreSQL's own and those of extensions by their bare names, as the
 * codecs know them; others with their schema, whatever they call themselves.
 */
export const TYPE_NAME = `CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace
    OR EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_type'::regclass AND e.objid = t.oid AND e.deptype = 'e')
  THEN t.typname::text ELSE t.typnamespace::regnamespace::text || '.' || t.typname::text END`;
