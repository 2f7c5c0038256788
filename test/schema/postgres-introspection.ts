import type { PostgresConnection } from "../../src/backends/postgres/session/connection.js";

/** Tables that are not llmspell's data, or whose number depends on the day; and what of our own is beside llmspell's. */
const OWN =
  "c.relname NOT LIKE 'storage\\_%' AND c.relname <> 'refinery_schema_history' AND NOT c.relispartition AND c.relkind IN ('r', 'p')";

const QUERIES: Readonly<Record<string, string>> = {
  columns: `SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
      pg_get_expr(d.adbin, d.adrelid) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'llmspell'::regnamespace AND ${OWN} ORDER BY 1, 2`,
  constraints: `SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = 'llmspell'::regnamespace AND ${OWN} ORDER BY 1, 2`,
  indexes: `SELECT c.relname, i.relname, pg_get_indexdef(i.oid) FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid
      JOIN pg_class i ON i.oid = x.indexrelid
    WHERE c.relnamespace = 'llmspell'::regnamespace AND ${OWN} ORDER BY 1, 2`,
  triggers: `SELECT c.relname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'llmspell'::regnamespace AND NOT t.tgisinternal AND ${OWN} AND t.tgname NOT IN ('trigger_unlink_large_object', 'trigger_keep_refcount') ORDER BY 1, 2`,
  policies: `SELECT tablename, policyname, cmd, roles::text, qual, with_check FROM pg_policies
    WHERE schemaname = 'llmspell' ORDER BY 1, 2`,
  security: `SELECT c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c
    WHERE c.relnamespace = 'llmspell'::regnamespace AND ${OWN} ORDER BY 1`,
  grants: `SELECT c.relname, p.privilege, has_table_privilege('llmspell_app', c.oid, p.privilege) FROM pg_class c,
      unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS p (privilege)
    WHERE c.relnamespace = 'llmspell'::regnamespace AND ${OWN} ORDER BY 1, 2`,
  functions: `SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid), prosecdef,
      has_function_privilege('llmspell_app', oid, 'EXECUTE') FROM pg_proc
    WHERE pronamespace = 'llmspell'::regnamespace AND proname NOT IN ('unlink_content_large_object', 'keep_content_refcount') ORDER BY 1, 2`,
  defaults: `SELECT defaclobjtype, defaclacl::text FROM pg_default_acl
    WHERE defaclnamespace = 'llmspell'::regnamespace ORDER BY 1`,
  extensions: "SELECT extname FROM pg_extension ORDER BY 1",
};

/** Everything that llmspell's schema consists of, as text. */
export async function introspect(connection: PostgresConnection): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const [name, sql] of Object.entries(QUERIES)) {
    const { rows } = await connection.query(`SELECT t::text AS line FROM (${sql}) AS t`);
    found[name] = (rows as { line: string }[]).map(({ line }) => line);
  }
  return found;
}
