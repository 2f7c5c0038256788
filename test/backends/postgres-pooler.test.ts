/** Every command through a real PgBouncer that pools transactions: it works, and the pool's next client finds nothing of it. */
import { readFileSync } from "node:fs";
import pg from "pg";
import { expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { startPooler } from "../helpers/pgbouncer.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { describeWithTools } from "../helpers/system-tools.js";

/** What a session is: its settings (but those of libraries, which come with their first use), and what it has made or holds. */
const SESSION = `
  SELECT (SELECT json_object_agg(name, setting ORDER BY name) FROM pg_settings WHERE name !~ '[.]') AS settings,
         (SELECT count(*) FROM pg_prepared_statements)::int AS statements, (SELECT count(*) FROM pg_cursors)::int AS cursors,
         (SELECT count(*) FROM pg_class WHERE relpersistence = 't')::int AS tables,
         (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())::int AS locks,
         pg_backend_pid() AS pid`;

describePostgres("a transaction pooler", () => {
  describeWithTools(["pgbouncer"], "before the server", () => {
    it("serves every command, and its next client finds the database's own settings", async () => {
      await using database = await createTestDatabase();
      await withClient(database.url, (client) =>
        client.query(`
          ALTER DATABASE ${database.name} SET statement_timeout = '33s';
          ALTER DATABASE ${database.name} SET idle_in_transaction_session_timeout = '44s';
          ALTER DATABASE ${database.name} SET search_path = llmspell, public`),
      );
      await using pooler = await startPooler();
      using workspace = createWorkspace();
      const { must, path } = workspace;
      const url = pooler.url(database.name);
      const look = async (): Promise<Record<string, unknown>> => {
        const client = new pg.Client({ connectionString: url });
        await client.connect();
        try {
          return (await client.query(SESSION)).rows[0];
        } finally {
          await client.end();
        }
      };
      const before = await look();
      expect(before["settings"]).toMatchObject({ statement_timeout: "33000", TimeZone: "Asia/Kathmandu" });

      createLlmspellSqlite(path("source.db"));
      fillSqlite(path("source.db"), { records: 12, contentSizes: [0, 300, 1048577] });
      for (const command of [
        ["database", "migrate", "--database", url],
        ["database", "health", "--database", url],
        ["database", "migrations", "list", "--database", url],
        ["storage", "migrate", "--from", path("source.db"), "--to", url, "--defer-indexes", "always"],
        ["storage", "export", "--database", url, "--output", path("copy.json")],
        ["storage", "export", "--database", url, "--source-mode", "cursor", "--output", path("cursor.json")],
        ["storage", "import", "--database", url, "--input", path("copy.json")],
        ["storage", "import", "--database", url, "--input", path("copy.json"), "--on-conflict", "skip"],
        ["storage", "info", "--database", url],
      ]) {
        await must(command);
        // The same session of the server, as it was.
        expect([command.slice(0, 3), await look()]).toEqual([command.slice(0, 3), before]);
      }
      const failed = await workspace.run([
        ...["storage", "import", "--database", url, "--input", path("copy.json"), "--on-conflict", "error"],
      ]);
      expect(failed.stderr).toContain("[E_CONFLICT]");
      expect(await look()).toEqual(before);
      const data = (name: string): unknown => JSON.parse(readFileSync(path(name), "utf8")).data;
      expect(data("cursor.json")).toEqual(data("copy.json"));
    });
  });
});
