/** Operators and functions that others made in the database, extensions wherever they are, and functions of the user's own. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, createTestRole, describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { isOrdinary } from "../helpers/scale.js";

/**
 * In public: each comparison and concatenation of pg_catalog once more, and for the types that our columns have and
 * pg_catalog's have not; and its functions. All of them fail when they are run.
 */
const TRAPS = `
  DO $traps$
  DECLARE
    each record;
    arguments text;
  BEGIN
    FOR each IN
      SELECT oprname AS name, oprleft::regtype AS l, oprright::regtype AS r FROM pg_operator
      WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprname IN ('=', '<>', '<', '>', '<=', '>=', '||', '~', '->', '->>')
        AND oprleft <> 0 AND NOT EXISTS (SELECT FROM pg_type WHERE oid IN (oprleft, oprright) AND typtype = 'p')
      UNION SELECT o.name, l.name::regtype, r.name::regtype
      FROM unnest(ARRAY['=', '<>', '<', '>']) AS o (name), unnest(ARRAY['varchar', 'text', 'name']) AS l (name),
        unnest(ARRAY['varchar', 'text', 'name']) AS r (name)
    LOOP
      EXECUTE format($f$CREATE OR REPLACE FUNCTION public.trap(%s, %s) RETURNS bool LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'somebody else''s operator was run'; END $$$f$, each.l, each.r);
      EXECUTE format('CREATE OPERATOR public.%s (leftarg = %s, rightarg = %s, function = public.trap)', each.name, each.l, each.r);
    END LOOP;
    FOR each IN
      SELECT DISTINCT proname AS name, proargtypes AS types FROM pg_proc
      WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset AND provariadic = 0
        AND proname ~ '^(current_setting|set_config|to_reg|has_|pg_|lo_|octet_length|length|convert_to|timestamptz_send|to_char|now$|format_type|row_security)'
        AND NOT EXISTS (SELECT FROM pg_type WHERE oid = ANY (proargtypes) AND typtype = 'p')
    LOOP
      SELECT string_agg(format_type(type, NULL), ', ') INTO arguments FROM unnest(each.types) AS type;
      EXECUTE format($f$CREATE FUNCTION public.%I(%s) RETURNS bool LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'somebody else''s function was run'; END $$$f$, each.name, arguments);
    END LOOP;
  END $traps$`;

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
  const source = workspace.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 12, contentSizes: [0, 300, 1048577] });
});
afterAll(() => workspace[Symbol.dispose]());

function tenantsOf(value: unknown, found = new Set<string>()): Set<string> {
  if (typeof value !== "object" || value === null) return found;
  for (const [name, member] of Object.entries(value)) {
    if (name === "tenant_id" && typeof member === "string") found.add(member);
    else tenantsOf(member, found);
  }
  return found;
}

/** Makes the schema, and copies the source into it by each way of loading. */
async function fill(database: string, ways: readonly (readonly string[])[]): Promise<void> {
  const { must, path } = workspace;
  expect((await must(["database", "migrate", "--database", database])).stdout).toContain("✅ Applied");
  for (const way of ways)
    await must(["storage", "migrate", "--from", path("source.db"), "--to", database, "--quiet", ...way]);
}

/** The records of one tenant, and of no other. */
async function expectTenant(database: string, mode: string): Promise<void> {
  const { must, path } = workspace;
  const tenant = ["--tenant", "tenant-a", "--source-mode", mode, "--output", path("tenant.json"), "--force", "--quiet"];
  await must(["storage", "export", "--database", database, ...tenant]);
  expect([...tenantsOf(JSON.parse(readFileSync(path("tenant.json"), "utf8")))]).toEqual(["tenant-a"]);
}

describePostgres("a database with operators and functions of others", () => {
  it.each([
    ["public, where nothing else is said", "", "public"],
    [
      "the schema that the server keeps others in",
      `CREATE SCHEMA extensions; CREATE EXTENSION "uuid-ossp" SCHEMA extensions; CREATE EXTENSION pgcrypto SCHEMA extensions`,
      "extensions",
    ],
    ["llmspell's own schema, where there is no public", "ALTER SCHEMA public RENAME TO others", "llmspell"],
  ])("runs none of them; new extensions go to %s", async (_, prepare, schema) => {
    await using database = await createTestDatabase();
    await withClient(database.url, async (client) => {
      await client.query(prepare);
      await client.query(prepare.includes("others") ? TRAPS.replaceAll("public.", "others.") : TRAPS);
      const path = prepare.includes("others") ? "others" : "public";
      await client.query(`ALTER DATABASE ${database.name} SET search_path = ${path}, pg_catalog`);
    });
    const { must } = workspace;
    await fill(database.url, [
      ["--defer-indexes", "always"],
      ["--defer-indexes", "always"],
      ["--on-conflict", "skip"],
    ]);
    for (const command of ["database health", "database migrations list", "storage info"])
      await must([...command.split(" "), "--database", database.url]);
    await expectTenant(database.url, "copy");
    await expectTenant(database.url, "cursor");
    await withClient(database.url, async (client) => {
      await client.query("SET search_path = pg_catalog");
      const { rows } = await client.query(
        "SELECT extname AS name, extnamespace::regnamespace::text AS schema FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1",
      );
      expect(rows).toEqual(["pgcrypto", "uuid-ossp", "vector"].map((name) => ({ name, schema })));
    });
    // As llmspell itself comes, by its own path.
    const role = await createTestRole(database, { attributes: "SUPERUSER" });
    await withClient(role.url, async (client) => {
      await client.query(`SET search_path = llmspell, pg_catalog${schema === "llmspell" ? "" : `, ${schema}`}`);
      await client.query(
        "INSERT INTO vector_embeddings_384 (tenant_id, scope, embedding) VALUES ('own', 's', array_fill(0.5, ARRAY[384])::vector)",
      );
      const { rows } = await client.query(
        `SELECT tenant_id FROM vector_embeddings_384 WHERE tenant_id::text OPERATOR(pg_catalog.=) 'own'
         ORDER BY embedding <=> array_fill(0.5, ARRAY[384])::vector LIMIT 1`,
      );
      expect(rows).toEqual([{ tenant_id: "own" }]);
      await client.query("UPDATE kv_store SET value = '\\x01'");
      await client.query("DELETE FROM artifacts");
    });
    await role.drop();
  });
});

describe("an embedded database with operators and functions of others", () => {
  it.skipIf(isOrdinary)("runs none of them", async () => {
    const database = `pglite:${workspace.path("embedded")}`;
    const connection = await connectPostgres({ pglite: workspace.path("embedded") }, { create: true });
    await connection.query(TRAPS);
    await connection.query("ALTER DATABASE postgres SET search_path = public, pg_catalog");
    await connection.close();
    await fill(database, [["--defer-indexes", "always"]]);
    await expectTenant(database, "cursor");
  });
});

describePostgres("a function of the user's own that finds what it needs by the search path only", () => {
  it.each([
    ["an index", "CREATE INDEX ON llmspell.kv_store (public.short(key))"],
    ["a CHECK", "ALTER TABLE llmspell.kv_store ADD CHECK (public.short(key) <> '')"],
  ])("is named where %s calls it, and works as the hint says", async (_, statement) => {
    await using database = await createDatabase("migrated");
    const to = ["--to", database.url, "--quiet"];
    await withClient(database.url, (client) =>
      client.query(`
        CREATE FUNCTION public.cut(t text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT pg_catalog.left(t, 3)';
        CREATE FUNCTION public.short(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN cut(t); END';
        ${statement}`),
    );
    const load = ["storage", "migrate", "--from", workspace.path("source.db"), ...to];
    const refused = await workspace.run(load);
    expect(refused).toMatchObject({ status: 5, stderr: expect.stringContaining("[E_SCHEMA]") });
    expect(refused.stderr).toContain("section kv_store");
    expect(refused.stderr).toContain("public.short(text)");
    const hint = /ALTER FUNCTION .*? SET search_path = [^;]*;/.exec(refused.stderr)?.[0];
    await withClient(database.url, (client) => client.query((hint as string).replace("…", "public")));
    await workspace.must(load);
  });
});
