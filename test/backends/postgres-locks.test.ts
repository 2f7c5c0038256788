/** Reading while other sessions hold tables, and with the rights on some tables only. */
import pg from "pg";
import { expect, it } from "vitest";
import { exportStore } from "../../src/api/transfer.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { collectDocument } from "../helpers/collect-document.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";

const session = `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data, created_at, last_accessed_at, updated_at)
  VALUES ('t', '00000000-0000-4000-8000-000000000001', '{}', 'epoch', 'epoch', 'epoch')`;

async function fresh(): Promise<TestDatabase> {
  const database = await createDatabase("llmspell");
  await withClient(database.url, (client) => client.query(session));
  return database;
}

interface Outcome {
  readonly sections: readonly string[];
  readonly warnings: readonly string[];
}

/** Exports; `onWarning` may let go of what is waited for. */
async function exported(
  url: string,
  { include, onWarning }: { include?: string[]; onWarning?: (message: string) => void } = {},
): Promise<Outcome> {
  const warnings: string[] = [];
  const result = await exportStore({
    from: url,
    to: collectDocument().stream,
    ...(include === undefined ? {} : { include }),
    onWarning(message) {
      warnings.push(message);
      onWarning?.(message);
    },
  });
  return { sections: result.kinds.map(({ path }) => path), warnings };
}

/** A session that holds what `sql` locks until `end`. */
async function holding(url: string, sql: string): Promise<{ end(how: "COMMIT" | "ROLLBACK"): Promise<void> }> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`BEGIN; ${sql}`);
  return {
    async end(how) {
      await client.query(how);
      await client.end();
    },
  };
}

describePostgres("an export while another session changes tables", () => {
  it("waits for who truncates, says for which table, and has what is there afterwards", async () => {
    await using other = await fresh();
    const truncating = await holding(other.url, "TRUNCATE llmspell.sessions CASCADE");
    let ended: Promise<void> | undefined;
    const outcome = await exported(other.url, {
      onWarning: () => {
        ended ??= truncating.end("ROLLBACK");
      },
    });
    await ended;
    expect(outcome.sections).toEqual(["sessions"]);
    expect(outcome.warnings).toEqual([expect.stringMatching(/^waiting for a lock on llmspell\.(artifacts|sessions):/)]);
  });

  it("begins anew when a table is gone, or another, after the wait", async () => {
    await using other = await fresh();
    const dropping = await holding(other.url, "DROP TABLE llmspell.hook_history");
    let ended: Promise<void> | undefined;
    const outcome = await exported(other.url, {
      onWarning: () => {
        ended ??= dropping.end("COMMIT");
      },
    });
    await ended;
    expect(outcome.sections).toEqual(["sessions"]);
    const replacing = await holding(
      other.url,
      `CREATE TABLE llmspell.new (LIKE llmspell.sessions INCLUDING ALL); ${session.replace("llmspell.sessions", "llmspell.new").replace("'t'", "'u'")};
       DROP TABLE llmspell.sessions CASCADE; ALTER TABLE llmspell.new RENAME TO sessions`,
    );
    ended = undefined;
    const document = collectDocument();
    await exportStore({
      from: other.url,
      to: document.stream,
      onWarning: () => {
        ended ??= replacing.end("COMMIT");
      },
    });
    await ended;
    expect(JSON.parse(document.text()).data.sessions).toMatchObject([{ tenant_id: "u" }]);
  });

  it("does not wait for tables that it does not read, or may not", async () => {
    await using other = await fresh();
    await using role = await createTestRole(other, { attributes: "BYPASSRLS" });
    const tables = catalog.kinds.map(({ postgres }) => `llmspell.${postgres.table}`).join(", ");
    await withClient(other.url, (client) =>
      client.query(`GRANT USAGE ON SCHEMA llmspell TO ${role.name}; GRANT SELECT ON ${tables} TO ${role.name};
        REVOKE SELECT ON llmspell.kv_store FROM ${role.name}`),
    );
    const locking = await holding(
      other.url,
      "LOCK TABLE llmspell.api_keys, llmspell.kv_store IN ACCESS EXCLUSIVE MODE",
    );
    const include = ["sessions", "artifacts", "event_log"];
    expect(await exported(role.url, { include })).toEqual({
      sections: ["sessions"],
      warnings: ["no record of the section artifacts was found", "no record of the section event_log was found"],
    });
    await locking.end("COMMIT");
    await expect(exported(role.url)).rejects.toMatchObject({ code: "E_PERMISSION", context: { section: "kv_store" } });
  });

  it("reads many partitions", async () => {
    await using other = await fresh();
    await withClient(other.url, async (client) => {
      await client.query(`DO $$ BEGIN
        FOR i IN 1..120 LOOP
          EXECUTE format('CREATE TABLE llmspell.event_log_d%s PARTITION OF llmspell.event_log FOR VALUES FROM (%L) TO (%L)',
            i, '1990-01-01Z'::timestamptz + i * interval '1 day', '1990-01-01Z'::timestamptz + (i + 1) * interval '1 day');
        END LOOP; END $$`);
      await client.query(`INSERT INTO llmspell.event_log
        SELECT 't', gen_random_uuid(), 'e', gen_random_uuid(), '1990-01-01Z'::timestamptz + i * interval '1 day', i, 'lua', '{}'
        FROM generate_series(1, 120) i`);
    });
    expect((await exported(other.url)).sections).toEqual(["sessions", "event_log"]);
  });
});
