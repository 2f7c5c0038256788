/** database migrate | health | migrations list, and what PostgreSQL as a target or source says, through the binary. */
import { randomInt } from "node:crypto";
import { writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellPostgres, createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, createTestRole, describePostgres } from "../helpers/postgres-server.js";
import { fillPostgres, fillSqlite } from "../helpers/sample-data.js";
import { scaled } from "../helpers/scale.js";
import { describeWithTools } from "../helpers/system-tools.js";

/** Runs statements on an SQLite file, as another program would. */
function run(path: string, sql: string): void {
  const database = new Database(path);
  try {
    database.exec(sql);
  } finally {
    database.close();
  }
}

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
});
afterAll(() => workspace[Symbol.dispose]());

describe("database, on SQLite", () => {
  it("names the default database and what chose it, creates it, and finds it up to date", async () => {
    const missing = await workspace.run(["database", "health"]);
    expect([missing.status, missing.stderr]).toEqual([3, expect.stringContaining("[E_STORE_NOT_FOUND]")]);
    const path = workspace.path(".local/share/llmspell/llmspell.db");
    const head = [
      `Database: sqlite:${path} (nothing else is configured)`,
      "Hint: chosen because neither DATABASE_URL nor [storage] backend is set; --backend or --database names another.",
    ];
    expect(missing.stdout.trimEnd().split("\n")).toEqual(head);

    const first = await workspace.must(["database", "migrate"]);
    expect(first.stdout.split("\n").slice(0, 3)).toEqual([...head, "  applied V1 initial-setup"]);
    expect(first.stdout).toMatch(/✅ Applied \d+ migrations\n$/);
    const second = await workspace.must(["database", "migrate", "--backend", "sqlite"]);
    expect(second.stdout.split("\n").slice(1)).toEqual(["✅ The schema is up to date", ""]);

    const { stdout } = await workspace.must(["database", "health", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ database: `sqlite:${path}`, connected: true, journalMode: "wal" });
  });

  it("lists what is pending in a database that llmspell made, and changes nothing by looking", async () => {
    const path = workspace.path("llmspell.db");
    createLlmspellSqlite(path);
    const list = await workspace.must(["database", "migrations", "list", "--database", path]);
    expect(list.stdout).toMatch(/^ {2}V13 {2}applied {2}hook-history/m);
    expect(list.stdout).toMatch(/^ {2}S1 {3}pending {2}exact-values$/m);
    expect(list.stdout).toMatch(/^Pending: S1, .*Run `llmspell database migrate`\.$/m);
    const again = await workspace.must(["database", "health", "--database", path]);
    expect(again.stdout).toContain("✅ Connected\nSQLite: ");
    expect(again.stdout).toContain("Pending: S1");
  });

  const health = (path: string, ...words: string[]) =>
    workspace.run(["database", "health", "--database", path, ...words]);

  it("exits with 5 for what llmspell made and is gone, or does not work, until that is put right", async () => {
    const path = workspace.path("broken.db");
    createLlmspellSqlite(path);
    await workspace.must(["database", "migrate", "--database", path]);
    expect(await health(path)).toMatchObject({ status: 0, stderr: "" });
    run(path, "DROP INDEX idx_sessions_status; DROP TRIGGER trigger_agent_state_version");
    const missing = await health(path);
    expect([missing.status, missing.stdout]).toEqual([
      5,
      expect.stringContaining(
        "Missing: trigger agent_states.trigger_agent_state_version (V6), index sessions.idx_sessions_status (V9)\n",
      ),
    ]);
    expect(missing.stderr).toContain(
      `is missing or does not work, and 1 more [E_SCHEMA]\nHint: Run \`llmspell database migrate --database ${path}\`.`,
    );
    const list = await workspace.must(["database", "migrations", "list", "--database", path]);
    expect(list.stdout).toMatch(/V9 +pending {2}sessions/);
    await workspace.must(["database", "migrate", "--database", path]);
    expect(await health(path)).toMatchObject({ status: 0, stderr: "" });

    run(path, "DROP INDEX idx_kv_store_updated; ALTER TABLE kv_store DROP COLUMN updated_at");
    const broken = await health(path, "--json");
    const repair = 'ALTER TABLE "kv_store" ADD COLUMN "updated_at" INTEGER NOT NULL DEFAULT 0';
    expect(JSON.parse(broken.stdout)).toMatchObject({
      healthy: false,
      comparison: {
        missing: [{ object: "index kv_store.idx_kv_store_updated", migration: "V7" }],
        broken: [{ object: "column kv_store.updated_at", migration: "V7", repair }],
      },
    });
    expect(broken.status).toBe(5);
    const refused = await workspace.run(["database", "migrate", "--database", path]);
    expect([refused.status, refused.stderr]).toEqual([5, expect.stringContaining(repair)]);
    run(path, repair);
    await workspace.must(["database", "migrate", "--database", path]);
    expect(await health(path)).toMatchObject({ status: 0, stderr: "" });
  });

  it("takes what is ours, or no schema at all, for no fault unless --strict says so", async () => {
    const path = workspace.path("lacking.db");
    createLlmspellSqlite(path);
    await workspace.must(["database", "migrate", "--database", path]);
    run(path, "DROP TRIGGER storage_entities_last");
    const lacking = await health(path);
    expect([lacking.status, lacking.stdout]).toEqual([
      0,
      expect.stringContaining("To be added: trigger entities.storage_entities_last (S6)\nPending: S6."),
    ]);
    expect(await health(path, "--strict")).toMatchObject({
      status: 5,
      stderr: expect.stringContaining("E_NOT_MIGRATED"),
    });
    run(workspace.path("empty.db"), "VACUUM");
    expect(await health(workspace.path("empty.db"))).toMatchObject({ status: 0 });
    expect(await health(workspace.path("empty.db"), "--strict")).toMatchObject({ status: 5 });
  });

  it("tells rowids that leave llmspell no room, and a rebuild that is left out", async () => {
    const path = workspace.path("dense.db");
    createLlmspellSqlite(path);
    run(
      path,
      `CREATE TABLE notes (e TEXT REFERENCES entities(entity_id));
       CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB);
       INSERT INTO vec_embeddings_384 VALUES (1, zeroblob(1536));
       INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at)
       VALUES (1, 'a', 't', 's', 384, 1, 1), (2, 'b', 't', 's', 768, 1, 1)`,
    );
    await workspace.must(["database", "migrate", "--database", path]);
    const dense = await health(path);
    expect([dense.status, dense.stdout]).toEqual([
      5,
      expect.stringContaining(
        `Broken: rowids of vectors of 384 dimensions (V3). Run \`llmspell database migrate --database ${path} --repair-rowids\`.\n`,
      ),
    ]);
    expect(dense.stdout).toContain(
      "Note: S2 (entity-versions) is left out, because notes(e) refers to entities(entity_id)",
    );
    await workspace.must(["database", "migrate", "--database", path, "--repair-rowids"]);
    const mended = await health(path);
    expect([mended.status, mended.stderr, mended.stdout]).toEqual([
      0,
      "",
      expect.stringContaining("✅ The schema is up to date"),
    ]);
    expect(await health(path, "--strict")).toMatchObject({ status: 0 });
  });
});

describePostgres("database, on PostgreSQL", () => {
  it("says that there is no schema, makes it, and then what the role may do", async () => {
    await using database = await createTestDatabase();
    const env = { DATABASE_URL: database.url };
    const before = await workspace.must(["database", "health"], { env });
    expect(before.stdout).toContain("chosen because DATABASE_URL is set");
    expect(before.stdout).toContain("Schema: none yet\nRole: postgres (superuser)\nMigrations: ");
    expect(before.stdout).toMatch(/Pending: V\d.*Run `llmspell database migrate`/);

    expect((await workspace.must(["database", "migrate"], { env })).stdout).toMatch(/✅ Applied \d+ migrations\n$/);
    const after = await workspace.must(["database", "health", "--backend", "postgres"], { env });
    expect(after.stdout).toMatch(/Server: PostgreSQL \d+\.\d+; pgvector: \d+\.\d+\.\d+\n/);
    expect(after.stdout).toMatch(/Row-level security: on for (\d+) of \d+ tables, forced on the owner for \1\n/);
    expect(after.stdout).toContain("  export: yes, all tenants\n  import: yes\n");
    expect(after.stdout).toContain("✅ The schema is up to date\n");
    expect(after.stdout).not.toContain("Hint:");
  });

  it("refuses an import without the schema, and says what to do", async () => {
    await using database = await createTestDatabase();
    const source = workspace.path("tiny.db");
    createLlmspellSqlite(source);
    fillSqlite(source, { records: 3, contentSizes: [1] });
    const { status, stdout, stderr } = await workspace.run([
      "storage",
      "migrate",
      "--from",
      source,
      "--to",
      database.url,
    ]);
    expect([status, stdout]).toEqual([5, expect.not.stringContaining("✅")]);
    expect(stderr).toMatch(/^Error: .* \[E_NOT_MIGRATED\]\n/);
    expect(stderr).toContain("llmspell database migrate");
    const [row] = (
      await withClient(database.url, (client) => client.query("SELECT to_regnamespace('llmspell') AS schema"))
    ).rows;
    expect(row).toEqual({ schema: null });
  });

  describeWithTools(["jq"], "with jq", () => {
    it("runs the README's quick start and compares as the guide does", async () => {
      await using database = await createTestDatabase();
      const source = workspace.path("quick.db");
      createLlmspellSqlite(source);
      fillSqlite(source, { records: 5, contentSizes: [0, 10] });
      const { stdout } = await workspace.bash(
        `llmspell storage export --backend sqlite --output dev-data.json
       export DATABASE_URL="$URL"
       llmspell database migrate --backend postgres
       llmspell storage import --backend postgres --input dev-data.json
       llmspell storage export --backend postgres --output prod-verify.json
       llmspell database health
       diff <(jq -S .data dev-data.json) <(jq -S .data prod-verify.json)`,
        { env: { URL: database.url, LLMSPELL_SQLITE_PATH: source } },
      );
      expect(stdout).toContain(
        "Importing data into postgres backend from dev-data.json...\nReading JSON file...\n✅ Imported 75 total records:\n  - Vectors: 20\n",
      );
      expect(stdout).toContain(
        "Exporting data from postgres backend to prod-verify.json...\n✅ Exported 75 total records:\n  - Vectors: 20\n",
      );
    });
  });

  it("never shows a password, whatever goes wrong", async () => {
    await using database = await createDatabase("llmspell");
    await fillPostgres(database.url, { records: 3, contentSizes: [1] });
    const password = "s3cret/p@ss:w#rd";
    await using role = await createTestRole(database, { attributes: "SUPERUSER", password });
    const wrong = new URL(role.url);
    wrong.password = encodeURIComponent(`${password}-wrong`);
    const missing = new URL(role.url);
    missing.pathname = "/no_such_database";
    const unreachable = new URL(role.url);
    unreachable.port = "1";
    writeFileSync(workspace.path("config.toml"), "[storage.postgresql]\nconnection_timeout_seconds = 1\n");
    const texts: string[] = [];
    const run = async (status: number, url: string, ...words: string[]): Promise<string> => {
      const outcome = await workspace.run(words, { env: { DATABASE_URL: url } });
      texts.push(outcome.stdout, outcome.stderr);
      expect([words, outcome.stderr, outcome.status]).toEqual([words, outcome.stderr, status]);
      return outcome.stdout + outcome.stderr;
    };
    const commands: [status: number, url: string, words: string[], says?: string][] = [
      [0, role.url, ["database", "health"]],
      [0, role.url, ["database", "migrate"]],
      [0, role.url, ["storage", "info", "postgres"]],
      [0, role.url, ["storage", "export", "--output", "secret.json"]],
      [0, role.url, ["storage", "import", "--input", "secret.json"]],
      [0, role.url, ["storage", "migrate", "--from", role.url, "--to", "secret.db"]],
      [3, wrong.href, ["database", "health"], "E_AUTHENTICATION"],
      [3, missing.href, ["storage", "info", "postgres"], "E_STORE_NOT_FOUND"],
      [3, unreachable.href, ["storage", "import", "--input", "secret.json"], "Connection timeout after 1 seconds"],
      [2, role.url, ["storage", "info", role.url.replace("postgresql://", "mysql://")]],
      [2, role.url, ["storage", "info", `postgresql://u:${password}@h/d`]],
    ];
    // Each command in one of the ways, another one each time; npm run test:long tries each in all.
    const ways = [[], ["--json"], ["--verbose"], ["--log-format", "json"]];
    const first = randomInt(ways.length);
    for (const [at, [status, url, words, says = ""]] of commands.entries())
      for (let way = 0; way < scaled(1, ways.length); way++)
        expect(await run(status, url, ...words, ...(ways[(first + at + way) % ways.length] as string[]))).toContain(
          says,
        );
    const shown = texts.join("\n");
    expect(shown).not.toContain("s3cret");
    expect(shown).not.toContain(encodeURIComponent(password));
    // The role itself is shown, or the test would prove nothing.
    expect(shown).toContain(`postgresql://${role.name}@`);
  });

  it("names exactly the rights that an import needs", async () => {
    await using database = await createDatabase("llmspell");
    const source = workspace.path("rights.db");
    createLlmspellSqlite(source);
    fillSqlite(source, { records: 5, contentSizes: [1, 2_000_000] });
    await using role = await createTestRole(database, { attributes: "NOSUPERUSER BYPASSRLS" });
    // The partitions that the events need; only the owner can make them.
    await workspace.must(["storage", "migrate", "--from", source, "--to", database.url]);
    await withClient(database.url, (client) =>
      client.query(`REVOKE TEMPORARY ON DATABASE ${database.name} FROM PUBLIC`),
    );
    const health = async () => {
      const { stdout } = await workspace.must(["database", "health", "--database", role.url, "--json"]);
      return (JSON.parse(stdout) as { import: { missing: string[]; replacing: string[] } }).import;
    };
    const { missing, replacing } = await health();
    const needed = [...missing, ...replacing];
    expect([missing.length, replacing]).toEqual([4, [`GRANT "llmspell_app" TO "${role.name}"`]]);
    const again = ["storage", "migrate", "--from", source, "--to", role.url];
    for (const statement of needed) {
      expect((await workspace.run(again)).status).toBe(3);
      await withClient(database.url, (client) => client.query(statement));
    }
    expect(await health()).toMatchObject({ missing: [], replacing: [] });
    expect((await workspace.must(again)).stdout).toContain("✅");
  });

  it("exits non-zero for what is broken or gone, and with --strict for what is pending", async () => {
    await using database = await createTestDatabase();
    const health = (...more: string[]) =>
      workspace.run(["database", "health", "--database", database.url, "--json", ...more]);
    const change = (sql: string) => withClient(database.url, (client) => client.query(sql));
    expect([(await health()).status, (await health("--strict")).status]).toEqual([0, 5]);
    await createLlmspellPostgres(database.url, 13);
    expect([(await health()).status, (await health("--strict")).status]).toEqual([0, 5]);
    await change("DROP FUNCTION llmspell.get_hook_history_stats()");
    const gone = await health();
    expect([gone.status, gone.stderr]).toEqual([5, expect.stringContaining("get_hook_history_stats() is missing")]);
    expect(gone.stderr).toContain(`Run \`llmspell database migrate --database ${database.url}\`.`);
    expect(JSON.parse(gone.stdout)).toMatchObject({
      healthy: false,
      comparison: { missing: [{ object: "function get_hook_history_stats()", migration: "V13" }] },
    });
    await workspace.must(["database", "migrate", "--database", database.url]);
    expect((await health("--strict")).status).toBe(0);
    await change("ALTER TABLE llmspell.sessions DROP COLUMN expires_at");
    const broken = await workspace.run(["database", "health", "--database", database.url]);
    expect([broken.status, broken.stderr]).toEqual([5, expect.stringContaining("[E_SCHEMA]")]);
    const [, repair] = /To put it right: ([^;]+);/.exec(broken.stderr) ?? [];
    expect(repair).toBe("ALTER TABLE llmspell.sessions ADD COLUMN expires_at timestamp with time zone");
    const list = await workspace.must(["database", "migrations", "list", "--database", database.url]);
    expect(list.stdout).toContain("Broken: column sessions.expires_at (V9).");
    expect(list.stdout).not.toContain("up to date");
    // The hint of an import and the migration say the same, and it can be followed.
    const migrate = await workspace.run(["database", "migrate", "--database", database.url]);
    expect([migrate.status, migrate.stderr]).toEqual([5, expect.stringContaining(repair as string)]);
    await change(repair as string);
    await workspace.must(["database", "migrate", "--database", database.url]);
    expect((await health("--strict")).status).toBe(0);
  });

  it("tells a role that row-level security binds what it may do", async () => {
    await using database = await createDatabase("llmspell");
    await fillPostgres(database.url, { records: 3, contentSizes: [1] });
    await using role = await createTestRole(database, { attributes: "NOSUPERUSER" });
    await withClient(database.url, (client) =>
      client.query(
        `GRANT USAGE ON SCHEMA llmspell TO ${role.name}; GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO ${role.name}`,
      ),
    );
    const { stdout } = await workspace.must(["database", "health", "--database", role.url]);
    expect(stdout).toContain(`Role: ${role.name} (no superuser, no BYPASSRLS)\n`);
    expect(stdout).toContain("  export: the tenants named with --tenant; for all: ALTER ROLE");
    expect(stdout).toContain("  import: no; it needs, from a superuser:\n    GRANT INSERT, UPDATE ON ");
    expect(stdout).not.toMatch(/api_keys|test_data/);

    const all = await workspace.run(["storage", "export", "--database", role.url, "--output", "rls.json"]);
    expect([all.status, all.stderr]).toEqual([3, expect.stringContaining("[E_ROW_SECURITY]")]);
    const one = await workspace.must([
      "storage",
      "export",
      "--database",
      role.url,
      "--output",
      "rls.json",
      "--tenant",
      "tenant-a",
    ]);
    expect(one.stdout).toMatch(/✅ Exported [1-9]\d* total records:/);
  });
});
