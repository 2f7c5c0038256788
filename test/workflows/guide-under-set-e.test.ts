/** The guide's commands for PostgreSQL in its order, health before migrate, in a script that ends at the first failure. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createLlmspellPostgres, createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { describeWithTools } from "../helpers/system-tools.js";

const GUIDE = `
set -euo pipefail
# Before You Begin: is the target accessible?
llmspell database health --backend postgres
llmspell database migrate
llmspell database migrations list
# Workflow 1
llmspell storage export --backend sqlite --output dev-data.json
llmspell storage import --backend postgres --input dev-data.json
llmspell storage export --backend postgres --output prod-verify.json
diff <(jq -S .data dev-data.json) <(jq -S .data prod-verify.json)
# Workflow 2
LLMSPELL_SQLITE_PATH="$COPY" llmspell storage import --backend sqlite --input prod-verify.json
# Workflow 4
llmspell database migrate
llmspell storage import --backend postgres --input prod-verify.json
llmspell database health
llmspell database health --strict
echo "the end"`;

const utcFunctions = readFileSync(new URL("../fixtures/utc-partitions.sql", import.meta.url), "utf8");

/** Databases as the guide's reader may have them. */
const TARGETS: readonly (readonly [name: string, prepare: (url: string) => Promise<unknown>])[] = [
  ["an empty database", async () => {}],
  ["a database that llmspell made", (url) => createLlmspellPostgres(url)],
  ["a database that llmspell made in part", (url) => createLlmspellPostgres(url, 8)],
  [
    "a database of the release before",
    async (url) => {
      using workspace = createWorkspace();
      await workspace.must(["database", "migrate", "--database", url]);
      await withClient(url, (client) =>
        client.query(`
          DROP FUNCTION llmspell.cleanup_old_hook_executions, llmspell.get_hook_history_stats, llmspell.rotate_api_key,
            llmspell.get_api_key_stats, llmspell.cleanup_expired_api_keys;
          DROP FUNCTION llmspell.unlink_content_large_object, llmspell.keep_content_refcount CASCADE;
          DELETE FROM llmspell.storage_migrations WHERE version > 101;
          ${utcFunctions}
          SET TimeZone = 'UTC';
          DO $$ DECLARE name regclass; BEGIN
            FOR name IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'llmspell.event_log'::regclass
            LOOP EXECUTE 'DROP TABLE ' || name; END LOOP; END $$;
          SELECT llmspell.ensure_future_event_log_partitions()`),
      );
    },
  ],
];

describePostgres("the guide", () => {
  let workspace: Workspace;
  beforeAll(() => {
    workspace = createWorkspace();
    createLlmspellSqlite(workspace.path("llmspell.db"));
    fillSqlite(workspace.path("llmspell.db"), { records: 20, contentSizes: [0, 10] });
  });
  afterAll(() => workspace[Symbol.dispose]());

  describeWithTools(["jq"], "under set -e", () => {
    it.each(TARGETS)("runs to its end on %s", async (name, prepare) => {
      await using database = await createTestDatabase();
      await withClient(database.url, (client) =>
        client.query(`ALTER DATABASE ${database.name} SET timezone = 'Europe/Berlin'`),
      );
      await prepare(database.url);
      const { stdout } = await workspace.bash(GUIDE, {
        env: {
          DATABASE_URL: database.url,
          LLMSPELL_SQLITE_PATH: workspace.path("llmspell.db"),
          COPY: workspace.path(`${name}.db`),
        },
      });
      expect(stdout).toMatch(/the end\n$/);
      expect(stdout.match(/✅ The schema is up to date/g)?.length).toBeGreaterThanOrEqual(3);
    });
  });
});
