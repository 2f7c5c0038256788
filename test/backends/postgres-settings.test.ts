/** Settings that a server, a database or a role may have, and that change what statements mean or how values are printed. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, createTestRole, describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";

const UNUSUAL: readonly (readonly [name: string, value: string])[] = [
  ["standard_conforming_strings", "off"],
  ["backslash_quote", "off"],
  ["escape_string_warning", "off"],
  ["extra_float_digits", "-15"],
  ["IntervalStyle", "sql_standard"],
  ["DateStyle", "'German, YMD'"],
  ["TimeZone", "'America/St_Johns'"],
  ["bytea_output", "escape"],
  ["client_encoding", "'LATIN1'"],
  ["xmlbinary", "hex"],
  ["array_nulls", "off"],
  ["transform_null_equals", "on"],
  ["quote_all_identifiers", "on"],
  ["row_security", "off"],
  ["check_function_bodies", "off"],
  ["plan_cache_mode", "force_generic_plan"],
  ["default_transaction_isolation", "serializable"],
  ["default_transaction_deferrable", "on"],
  ["client_min_messages", "debug1"],
  ["enable_seqscan", "off"],
  ["enable_indexscan", "off"],
  ["lock_timeout", "'10min'"],
  ["default_toast_compression", "pglz"],
  ["search_path", "''"],
  ["session_replication_role", "replica"],
  ["lo_compat_privileges", "on"],
];

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
  createLlmspellSqlite(workspace.path("source.db"));
  fillSqlite(workspace.path("source.db"), { records: 12, contentSizes: [0, 300, 1048577] });
});
afterAll(() => workspace[Symbol.dispose]());

async function exported(database: string, ...flags: string[]): Promise<unknown> {
  const output = workspace.path("export.json");
  await workspace.must([
    "storage",
    "export",
    "--database",
    database,
    "--output",
    output,
    "--force",
    "--allow-empty",
    "--quiet",
    ...flags,
  ]);
  return JSON.parse(readFileSync(output, "utf8")).data;
}

describePostgres("unusual settings", () => {
  it("of the database or the role change neither what is written nor what is read", async () => {
    await using database = await createTestDatabase();
    await using usual = await createDatabase("migrated");
    const load = (to: string, ...flags: string[]): Promise<unknown> =>
      workspace.must(["storage", "migrate", "--from", workspace.path("source.db"), "--to", to, "--quiet", ...flags]);
    await load(usual.url);
    const expected = await exported(usual.url);

    await withClient(database.url, async (client) => {
      const { rows } = await client.query("SELECT name FROM pg_settings");
      const known = new Set(rows.map(({ name }) => (name as string).toLowerCase()));
      for (const [name, value] of UNUSUAL)
        if (known.has(name.toLowerCase())) await client.query(`ALTER DATABASE ${database.name} SET ${name} = ${value}`);
    });
    await workspace.must(["database", "migrate", "--database", database.url]);
    await load(database.url, "--defer-indexes", "always");
    await load(database.url);
    expect(await exported(database.url)).toEqual(expected);
    expect(await exported(database.url, "--source-mode", "cursor")).toEqual(expected);
    const health = await workspace.must(["database", "health", "--database", database.url]);
    expect(health.stdout).toContain("✅ The schema is up to date");

    // One tenant, under the policies, whose text quote_all_identifiers would change.
    await using role = await createTestRole(database);
    await withClient(database.url, (client) =>
      client.query(
        `GRANT USAGE ON SCHEMA llmspell TO ${role.name}; GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO ${role.name}`,
      ),
    );
    const tenant = ["--tenant", "tenant-a"];
    expect(await exported(role.url, ...tenant)).toEqual(await exported(usual.url, ...tenant));
  });

  it("standard_conforming_strings either way: the same", async () => {
    await using database = await createDatabase("migrated");
    const documents: unknown[] = [];
    for (const value of ["on", "off"]) {
      await withClient(database.url, (client) =>
        client.query(`ALTER DATABASE ${database.name} SET standard_conforming_strings = ${value}`),
      );
      await workspace.must([
        "storage",
        "migrate",
        "--from",
        workspace.path("source.db"),
        "--to",
        database.url,
        "--quiet",
      ]);
      documents.push(await exported(database.url));
      // A tenant whose name has what strings are escaped by.
      documents.push(await exported(database.url, "--tenant", "O'Brien & Söhne"));
      expect(await exported(database.url, "--tenant", "tenant\\'-a")).toEqual(
        await exported(database.url, "--tenant", "\\"),
      );
    }
    expect(documents.slice(2)).toEqual(documents.slice(0, 2));
  });

  it("default_transaction_read_only: nothing is written, and the error names it", async () => {
    await using database = await createTestDatabase();
    const set = (value: string): Promise<unknown> =>
      withClient(database.url, async (client) => {
        await client.query("SET default_transaction_read_only = off");
        await client.query(`ALTER DATABASE ${database.name} SET default_transaction_read_only = ${value}`);
      });
    const migrate = ["database", "migrate", "--database", database.url];
    const load = ["storage", "migrate", "--from", workspace.path("source.db"), "--to", database.url, "--quiet"];
    await set("on");
    const refused = await workspace.run(migrate);
    expect(refused).toMatchObject({ status: 3, stderr: expect.stringContaining("[E_READ_ONLY]") });
    expect(refused.stderr).toContain("default_transaction_read_only is on");
    await workspace.must(["database", "health", "--database", database.url]);
    await set("off");
    await workspace.must(migrate);
    await set("on");
    const load_ = await workspace.run(load);
    expect(load_).toMatchObject({ status: 3, stderr: expect.stringContaining("[E_READ_ONLY]") });
    expect(load_.stderr).toContain("RESET default_transaction_read_only");
    expect((await workspace.must(migrate)).stdout).toContain("✅ The schema is up to date");
    await exported(database.url);
  });
});
