/**
 * In which schemas the extensions are. The search path of a migration holds none of them, so its SQL says `@extschema:NAME@`
 * for the schema of the extension NAME, and `@extschema@` for the one that new extensions go to.
 */
import type { PostgresConnection } from "../../../backends/postgres/session/connection.js";
import { StorageError } from "../../../errors.js";

/** Those that the schema uses. */
const EXTENSIONS = ["vector", "vchord", "uuid-ossp", "pgcrypto"] as const;

/** The schema that Supabase, and who follows its example, keeps extensions in. */
const USUAL = "extensions";

export interface ExtensionSchemas {
  /** Quoted, by extension. */
  readonly installed: ReadonlyMap<string, string>;
  /** Where new ones go, quoted: beside those that are there; else to public, where every session looks. */
  readonly forNew: string;
}

export async function readExtensionSchemas(connection: PostgresConnection): Promise<ExtensionSchemas> {
  const { rows } = await connection.query<{ name: string; schema: string }>(
    `SELECT e.extname::text AS name, n.nspname::text AS schema
     FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
     WHERE e.extname = ANY ($1::text[]) ORDER BY array_position($1::text[], e.extname::text)`,
    [EXTENSIONS],
  );
  const usual = await connection.query<{ schema: string }>(
    `SELECT nspname::text AS schema FROM pg_namespace n
     WHERE nspname = 'public' OR (nspname = $1 AND EXISTS (SELECT FROM pg_extension WHERE extnamespace = n.oid))
     ORDER BY nspname = 'public'`,
    [USUAL],
  );
  const beside = rows.find(({ schema }) => schema !== "pg_catalog");
  // A database without public has the schema of our tables, which llmspell's path begins with.
  const forNew = (beside ?? usual.rows[0])?.schema ?? "llmspell";
  return { installed: new Map(rows.map(({ name, schema }) => [name, quoted(schema)])), forNew: quoted(forNew) };
}

/** `sql` with the schemas in their places. */
export function withExtensionSchemas(sql: string, { installed, forNew }: ExtensionSchemas): string {
  return sql.replaceAll(/@extschema(?::([\w-]+))?@/g, (_, name: string | undefined) => {
    const schema = name === undefined ? forNew : installed.get(name);
    if (schema !== undefined) return schema;
    throw new StorageError("E_SCHEMA", `the extension ${name} is not there`, {
      hint: `Have an administrator run CREATE EXTENSION "${name}".`,
    });
  });
}

/** PostgreSQL's own extensions refuse the same characters; `%` has a meaning in the SQL around. */
function quoted(schema: string): string {
  if (!/["$'\\%]/.test(schema)) return `"${schema}"`;
  throw new StorageError("E_SCHEMA", `the schema ${JSON.stringify(schema)} of an extension cannot be used`, {
    hint: "Move the extension: ALTER EXTENSION … SET SCHEMA public.",
  });
}
