/** Indexes that people have made or altered, and what a load that defers indexes must leave of them: everything. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { beforeEach, expect, it } from "vitest";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { entities, events, FEW, hooks, vectors } from "./postgres-indexed-records.js";
import { load, sql } from "./postgres-support.js";

describePostgres("altered indexes of a PostgreSQL target", () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await createDatabase("llmspell");
    return () => database.drop();
  });

  it.each([
    // Half precision ends at 65504.
    ["a cast", "vector_embeddings_384", "USING hnsw ((embedding::halfvec(384)) halfvec_l2_ops)"],
    ["an expression, beside a unique one", "hook_history", "(((metadata->>'i')::int))"],
    ["an included text", "entities", "USING gist (tstzrange(valid_time_start, valid_time_end)) INCLUDE (properties)"],
    ["a text that counts twice", "hook_history", "(long, long text_pattern_ops)"],
  ])("are left as they are where they could refuse a record: of %s", async (_what, table, definition) => {
    await sql(
      database.url,
      `ALTER TABLE llmspell.hook_history ADD long text GENERATED ALWAYS AS (metadata::text) STORED;
       CREATE UNIQUE INDEX ON llmspell.hook_history (lower(execution_id::text), execution_id, long)`,
    );
    await sql(database.url, `CREATE INDEX mine ON llmspell.${table} ${definition}`);
    const oid = "SELECT 'llmspell.mine'::regclass::oid AS oid";
    const before = await sql(database.url, oid);
    await load(database.url, [...entities(3), ...hooks(1, 3), ...vectors(1, 3)], { deferIndexes: "always" });
    expect(await sql(database.url, oid)).toEqual(before);
  });

  it("keep the names that their parts have in the partitions", async () => {
    await load(database.url, events(1, FEW));
    const names = () =>
      sql<{ name: string; definition: string }>(
        database.url,
        `SELECT indexname AS name, indexdef AS definition FROM pg_indexes WHERE tablename LIKE 'event\\_log%' ORDER BY 1, 2`,
      );
    // Two change names with each other, one has its own.
    const [part, other, third] = (
      await sql<{ name: string }>(
        database.url,
        `SELECT i.relname AS name FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_inherits h ON h.inhrelid = i.oid
         WHERE x.indrelid = (SELECT min(relid::oid) FROM pg_partition_tree('llmspell.event_log') WHERE isleaf)
           AND NOT x.indisunique ORDER BY 1`,
      )
    ).map(({ name }) => `llmspell."${name}"`) as [string, string, string];
    const bare = (name: string) => name.slice("llmspell.".length);
    await sql(
      database.url,
      `ALTER INDEX ${part} RENAME TO between; ALTER INDEX ${other} RENAME TO ${bare(part)};
       ALTER INDEX llmspell.between RENAME TO ${bare(other)}; ALTER INDEX ${third} RENAME TO "My ""part"" 1"`,
    );
    const before = await names();
    await sql(database.url, "DELETE FROM llmspell.event_log");
    await load(database.url, events(1, FEW), { deferIndexes: "always" });
    expect(await names()).toEqual(before);
  });

  it("stay in the partition where the partition is clustered by its part", async () => {
    await load(database.url, events(1, FEW));
    await sql(
      database.url,
      `DO $$ DECLARE part regclass; BEGIN
         SELECT i.indexrelid INTO part FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid
         WHERE NOT i.indisunique AND i.indrelid <> 'llmspell.event_log'::regclass ORDER BY 1 LIMIT 1;
         EXECUTE format('ALTER TABLE %s CLUSTER ON %I', (SELECT indrelid::regclass FROM pg_index WHERE indexrelid = part),
           (SELECT relname FROM pg_class WHERE oid = part));
       END $$`,
    );
    const clustered = () => sql(database.url, "SELECT indexrelid FROM pg_index WHERE indisclustered");
    const before = await clustered();
    expect(before).toHaveLength(1);
    await sql(database.url, "DELETE FROM llmspell.event_log");
    await load(database.url, events(1, FEW), { deferIndexes: "always" });
    expect(await clustered()).toEqual(before);
  });

  it("come back to the tablespace that they were in, whatever the role's default is", async () => {
    const space = `space_${process.pid}_${Date.now()}`;
    // One statement each: CREATE TABLESPACE wants no transaction around it.
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query("SET allow_in_place_tablespaces = on");
      await client.query(`CREATE TABLESPACE ${space} LOCATION ''`);
      await client.query(
        `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_tablespace = ${space}', current_database()); END $$`,
      );
      await load(database.url, hooks(1, FEW), { deferIndexes: "always" });
      const { rows } = await client.query(
        `SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE i.indrelid = 'llmspell.hook_history'::regclass AND c.reltablespace <> 0`,
      );
      await client.query("TRUNCATE llmspell.hook_history");
      await client.query("SET default_tablespace = ''");
      for (const { relname } of rows) await client.query(`ALTER INDEX llmspell."${relname}" SET TABLESPACE pg_default`);
      await client.query(`DROP TABLESPACE ${space}`);
      expect(rows).toEqual([]);
    } finally {
      await client.end();
    }
  });

  it("stay where they would no longer go with an extension", async () => {
    const name = (
      await sql<{ name: string }>(
        database.url,
        "SELECT indexname AS name FROM pg_indexes WHERE tablename = 'hook_history' AND indexdef LIKE '%(metadata)'",
      )
    )[0]?.name;
    await sql(database.url, `ALTER INDEX llmspell."${name}" DEPENDS ON EXTENSION vector`);
    const oid = `SELECT 'llmspell."${name}"'::regclass::oid AS oid`;
    const before = await sql(database.url, oid);
    await load(database.url, hooks(1, FEW), { deferIndexes: "always" });
    expect(await sql(database.url, oid)).toEqual(before);
  });

  it("stay where their owner may not make them again", async () => {
    const role = await createTestRole(database);
    try {
      await sql(
        database.url,
        `GRANT USAGE ON SCHEMA llmspell TO ${role.name}; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA llmspell TO ${role.name};
         GRANT SET ON PARAMETER session_replication_role TO ${role.name};
         ALTER TABLE llmspell.vector_embeddings_384 DISABLE ROW LEVEL SECURITY;
         ALTER TABLE llmspell.vector_embeddings_384 OWNER TO ${role.name}`,
      );
      const oids = () =>
        sql(
          database.url,
          "SELECT indexrelid FROM pg_index WHERE indrelid = 'llmspell.vector_embeddings_384'::regclass ORDER BY 1",
        );
      const before = await oids();
      await load(role.url, vectors(1, 2), { tenant: "t", deferIndexes: "always" });
      expect(await oids()).toEqual(before);
      expect(await sql(database.url, "SELECT FROM llmspell.vector_embeddings_384")).toHaveLength(2);
    } finally {
      await sql(database.url, "ALTER TABLE llmspell.vector_embeddings_384 OWNER TO CURRENT_USER");
      await sql(database.url, `REVOKE SET ON PARAMETER session_replication_role FROM ${role.name}`);
      await role.drop();
    }
  });

  it("are kept up while a reader that waits for another table of the run holds theirs", async () => {
    const oids = () =>
      sql(
        database.url,
        "SELECT indexrelid FROM pg_index WHERE indrelid = 'llmspell.hook_history'::regclass ORDER BY 1",
      );
    const before = await oids();
    await sql(
      database.url,
      `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 100', current_database()); END $$`,
    );
    const [reader, holder] = [1, 2].map(() => new pg.Client({ connectionString: database.url })) as [
      pg.Client,
      pg.Client,
    ];
    await Promise.all([reader.connect(), holder.connect()]);
    const waits = async (table: string, mode: string): Promise<void> => {
      const query = `SELECT FROM pg_locks WHERE relation = 'llmspell.${table}'::regclass AND mode = '${mode}' AND NOT granted`;
      while ((await sql(database.url, query)).length === 0) await sleep(20);
    };
    try {
      // The reader's server says so when it has looked for a deadlock and found none: then the load may go on.
      await reader.query("SET log_lock_waits = on; SET client_min_messages = log");
      const looked = new Promise<void>((resolve) =>
        reader.on("notice", ({ message }) => `${message}`.includes("still waiting for") && resolve()),
      );
      await reader.query("BEGIN; SELECT FROM llmspell.hook_history");
      await holder.query("BEGIN; LOCK TABLE llmspell.hook_history IN SHARE UPDATE EXCLUSIVE MODE");
      const loading = load(database.url, [...vectors(1, 2), ...hooks(1, 3)], { deferIndexes: "always" });
      await waits("hook_history", "ShareRowExclusiveLock");
      const read = reader.query("SELECT FROM llmspell.vector_embeddings_384");
      await waits("vector_embeddings_384", "AccessShareLock");
      await looked;
      await holder.query("COMMIT");
      await loading;
      expect((await read).rowCount).toBe(2);
    } finally {
      await Promise.all([reader.end(), holder.end()]);
    }
    expect(await oids()).toEqual(before);
  });
});
