/** Three ways through a PostgreSQL table, along an index, by the server's sort, as it lies: the first two give the same bytes, all the same records. */
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { isSortFaster } from "../../src/backends/postgres/database/row-order.js";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { type ExportOptions, exportStore, importStore, verifyStores } from "../../src/index.js";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import {
  createTestDatabase,
  createTestRole,
  describePostgres,
  type TestDatabase,
  type TestRole,
} from "../helpers/postgres-server.js";
import { fillPostgres } from "../helpers/sample-data.js";
import { kindOf } from "../sinks/sqlite-support.js";

const uuid = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;

describePostgres("the order of PostgreSQL's records", () => {
  let database: TestDatabase;
  let role: TestRole;
  let workspace: Workspace;

  beforeAll(async () => {
    workspace = createWorkspace();
    database = await createTestDatabase();
    await createLlmspellPostgres(database.url);
    await fillPostgres(database.url, { records: 40, counts: { event_log: 600, kv_store: 300 } });
    role = await createTestRole(database, { attributes: "NOSUPERUSER NOBYPASSRLS" });
    await withClient(database.url, async (client) => {
      await client.query(`GRANT USAGE ON SCHEMA llmspell TO ${role.name}`);
      await client.query(`GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO ${role.name}`);
      await client.query("ANALYZE");
    });
  });
  afterAll(async () => {
    await role[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
    workspace[Symbol.dispose]();
  });

  async function read(options: Partial<ExportOptions>): Promise<{ text: string; entry: Record<string, unknown> }> {
    const to = workspace.path("out.json");
    await exportStore({ from: database.url, to, ...options });
    const document = readFileSync(to, "utf8");
    const [text = "", manifest = ""] = document.slice(document.indexOf('"data"')).split('"manifest":');
    return { text, entry: JSON.parse(manifest.slice(0, -2)).event_log };
  }

  it.each<[string, Partial<ExportOptions>]>([
    ["by COPY", {}],
    ["by a cursor", { sourceMode: "cursor" }],
    ["of two tenants", { tenants: ["tenant-a", "O'Brien & Söhne"] }],
    ["the first ones", { limit: 7 }],
  ])("%s: sorted, the same bytes; as the tables have them, the same records", async (_name, options) => {
    const indexed = await read({ ...options, orderBy: "index" });
    const sorted = await read({ ...options, orderBy: "sort" });
    expect(sorted.text === indexed.text).toBe(true);
    if (options.limit !== undefined) return;
    const asTheyLie = await read({ ...options, order: "table" });
    const lines = ({ text }: { text: string }): string[] => text.split(/,?\n/).sort();
    expect(lines(asTheyLie)).toEqual(lines(indexed));
    expect(asTheyLie.text).not.toBe(indexed.text);
    expect([asTheyLie.entry["order"], indexed.entry["order"]]).toEqual(["table", undefined]);
  });

  it("under row-level security, too", async () => {
    const url = new URL(database.url);
    url.username = role.name;
    url.password = "";
    const options = { from: url.href, tenants: ["租户 😀", "tenant-a"], exclude: ["artifacts"] };
    const indexed = await read({ ...options, orderBy: "index" });
    expect((await read({ ...options, orderBy: "sort" })).text === indexed.text).toBe(true);
    const asTheyLie = await read({ ...options, order: "table" });
    expect(asTheyLie.text.split(/,?\n/).sort()).toEqual(indexed.text.split(/,?\n/).sort());
  });

  it("a migration of records as they lie is whole", async () => {
    const target = workspace.path("target.db");
    await importStore({ from: database.url, to: target, order: "table" });
    expect((await verifyStores({ a: database.url, b: target, orderBy: "sort" })).identical).toBe(true);
  });

  it.each(["sort", "table"] as const)("a row that cannot be read is rejected alone: %s", async (way) => {
    await using damaged = await createTestDatabase();
    await createLlmspellPostgres(damaged.url);
    await withClient(damaged.url, async (client) => {
      await client.query("SET session_replication_role = replica; SET allow_system_table_mods = on");
      for (const n of [5, 3, 1, 4, 2])
        await client.query(
          `INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value, created_at, updated_at)
           SELECT '${uuid(n)}', 't', 'k${n}', string_agg(sha256(i::text::bytea), ''), 'epoch', 'epoch' FROM generate_series(1, 400) i`,
        );
      const toast = "(SELECT reltoastrelid FROM pg_class WHERE oid = 'llmspell.kv_store'::regclass)";
      await client.query(`UPDATE pg_class SET relkind = 'r' WHERE oid = ${toast}`);
      await client.query(`DO $$ BEGIN EXECUTE format('DELETE FROM %s WHERE chunk_seq = 1 AND chunk_id = (SELECT chunk_id FROM %1$s ORDER BY chunk_id OFFSET 8 LIMIT 1)',
        ${toast}::regclass); END $$`);
      await client.query(`UPDATE pg_class SET relkind = 't' WHERE oid = ${toast}`);
      // A piece that is only deleted can still be read.
      await client.query("VACUUM llmspell.kv_store");
    });
    const rejected: (string | undefined)[] = [];
    const to = workspace.path(`damaged-${way}.json`);
    await exportStore({
      from: damaged.url,
      to,
      ...(way === "sort" ? { orderBy: way } : { order: way }),
      onReject: ({ error }) => void rejected.push(error.context.key),
    });
    const { data } = JSON.parse(readFileSync(to, "utf8"));
    const keys = data.kv_store.map(({ kv_id }: { kv_id: string }) => kv_id);
    expect(rejected).toEqual([`kv_id=${uuid(3)}`]);
    expect(keys).toEqual((way === "sort" ? [1, 2, 4, 5] : [5, 1, 4, 2]).map(uuid));
  });

  it("the server sorts what is larger than its caches, and was not written in the order of its keys", async () => {
    await using other = await createTestDatabase();
    await createLlmspellPostgres(other.url);
    await withClient(other.url, async (client) => {
      await client.query("SET session_replication_role = replica");
      await client.query(
        `INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value, created_at, updated_at)
         SELECT md5(i::text)::uuid, 't', i::text, '', 'epoch', 'epoch' FROM generate_series(1, 500) i`,
      );
      await client.query(
        `INSERT INTO llmspell.agent_states (state_id, tenant_id, agent_id, agent_type, state_data, checksum, created_at, updated_at)
         SELECT ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, 't', i::text, 'x', '{}', repeat('0', 64), 'epoch', 'epoch'
         FROM generate_series(1, 500) i`,
      );
    });
    const connection = await connectPostgres({ url: other.url });
    try {
      await connection.query("SET effective_cache_size = '8MB'");
      const chosen = async (path: string, bytes: number): Promise<boolean> =>
        isSortFaster(connection, kindOf(path), bytes);
      // Nothing is known of it.
      expect(await chosen("kv_store", 2 ** 30)).toBe(false);
      await connection.query("ANALYZE");
      expect(await chosen("kv_store", 2 ** 30)).toBe(true);
      expect(await chosen("agent_state", 2 ** 30)).toBe(false);
      expect(await chosen("kv_store", 2 ** 20)).toBe(false);
      await connection.query("SET temp_file_limit = '1GB'");
      expect(await chosen("kv_store", 2 ** 30)).toBe(false);
    } finally {
      await connection.close();
    }
  });

  it("tables larger than the server's caches are sorted without being asked for, to the same bytes", async () => {
    await withClient(database.url, async (client) => {
      const { rows } = await client.query("SELECT current_database() AS name");
      await client.query(`ALTER DATABASE ${rows[0].name} SET effective_cache_size = '8kB'`);
    });
    const scans = (): Promise<number> =>
      withClient(database.url, async (client) => {
        const { rows } = await client.query(
          "SELECT seq_scan::int AS n FROM pg_stat_user_tables WHERE relid = 'llmspell.kv_store'::regclass",
        );
        return rows[0].n;
      });
    // Without the count nothing reads the table as it lies but a sort.
    const options: Partial<ExportOptions> = { include: ["kv_store"], sourceCheck: "none" };
    const indexed = await read({ ...options, orderBy: "index" });
    // What others counted before is told by then.
    await setTimeout(1500);
    const before = await scans();
    const chosen = await read(options);
    expect(chosen.text === indexed.text).toBe(true);
    await expect.poll(scans, { timeout: 120_000 }).toBeGreaterThan(before);
  });
});
