/** Indexes that a load defers are built after its rows, and are afterwards what they were before. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres, postgresAdminUrl, type TestDatabase } from "../helpers/postgres-server.js";
import { events, FEW, hooks, id, MANY, vectors } from "./postgres-indexed-records.js";
import { load, record, rowsOf, sql } from "./postgres-support.js";

describePostgres("vector indexes of a PostgreSQL target", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase("llmspell");
  });
  afterAll(() => database.drop());
  beforeEach(() => sql(database.url, "TRUNCATE llmspell.vector_embeddings_384"));

  /** Each index with what it is and whether it can be used. */
  const indexes = () =>
    sql<{ definition: string; valid: boolean; owner: string; oid: number }>(
      database.url,
      `SELECT pg_get_indexdef(c.oid) AS definition, i.indisvalid AND i.indisready AS valid,
         pg_get_userbyid(c.relowner) AS owner, c.oid
       FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
       WHERE i.indrelid = 'llmspell.vector_embeddings_384'::regclass ORDER BY 1`,
    );
  const without = (rows: readonly { oid: number }[]) => rows.map(({ oid: _, ...row }) => row);
  const hnsw = async () => (await indexes()).find(({ definition }) => definition.includes("hnsw"))?.oid;

  /** The ids that the index finds nearest to the vector of `n`. */
  async function nearest(n: number): Promise<string[]> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query("SET enable_seqscan = off; SET enable_sort = off");
      const query = `SELECT id FROM llmspell.vector_embeddings_384 ORDER BY embedding <=>
        (SELECT embedding FROM llmspell.vector_embeddings_384 WHERE id = '${id(n)}') LIMIT 1`;
      const { rows: plan } = await client.query(`EXPLAIN ${query}`);
      expect(JSON.stringify(plan)).toMatch(/Index Scan using \w*(hnsw|embedding)\w*/);
      return (await client.query(query)).rows.map((row) => row.id as string);
    } finally {
      await client.end();
    }
  }

  it("are built again, the same, when the table was empty", async () => {
    const before = await indexes();
    const oid = await hnsw();
    await load(database.url, vectors(1, 60), { batchSize: 7 });
    expect(without(await indexes())).toEqual(without(before));
    expect(await hnsw()).not.toBe(oid);
    expect(await nearest(17)).toEqual([id(17)]);
  });

  it("are left as they are when the table has rows", async () => {
    await load(database.url, vectors(1, 5));
    const oid = await hnsw();
    await load(database.url, vectors(4, 40));
    expect(await hnsw()).toBe(oid);
    expect(await nearest(30)).toEqual([id(30)]);
  });

  it("are left as they are after a dry run", async () => {
    const oid = await hnsw();
    await load(database.url, vectors(1, 5), { dryRun: true });
    expect(await hnsw()).toBe(oid);
  });

  it("are kept up to date row by row while a reader does not let go of the table", async () => {
    const oid = await hnsw();
    const reader = new pg.Client({ connectionString: database.url });
    await reader.connect();
    try {
      await reader.query("BEGIN; SELECT FROM llmspell.vector_embeddings_384");
      await load(database.url, vectors(1, 20));
    } finally {
      await reader.end();
    }
    expect(await hnsw()).toBe(oid);
    expect(await nearest(11)).toEqual([id(11)]);
  });

  it("keep what their definition does not say", async () => {
    const name = (
      await sql<{ name: string }>(
        database.url,
        "SELECT indexname AS name FROM pg_indexes WHERE tablename = 'vector_embeddings_384' AND indexdef LIKE '%hnsw%'",
      )
    )[0]?.name;
    await sql(database.url, `COMMENT ON INDEX llmspell.${name} IS 'ours'`);
    const oid = await hnsw();
    await load(database.url, vectors(1, 5));
    expect(await hnsw()).toBe(oid);
    await sql(database.url, `COMMENT ON INDEX llmspell.${name} IS NULL`);
  });
});

/**
 * PostgreSQL's BUG #18351: a build reads deleted rows while a writing transaction of any database is older than the deletion,
 * but their long values may have been vacuumed.
 */
describePostgres("an index of a table whose deleted rows are still read", () => {
  let database: TestDatabase;
  let elsewhere: pg.Client;
  beforeEach(async () => {
    database = await createDatabase("llmspell");
    elsewhere = new pg.Client({ connectionString: postgresAdminUrl() });
    await elsewhere.connect();
    await load(database.url, vectors(1, 5, 768));
    await elsewhere.query("BEGIN; SELECT txid_current()");
    await sql(database.url, "DELETE FROM llmspell.vector_embeddings_768");
    await endOfOthers();
    const [table] = await sql<{ toast: string }>(
      database.url,
      "SELECT reltoastrelid::regclass AS toast FROM pg_class WHERE oid = 'llmspell.vector_embeddings_768'::regclass",
    );
    await sql(database.url, `VACUUM ${table?.toast}`);
    return async () => {
      await elsewhere.end();
      await database.drop();
    };
  });
  /** Waits for the transactions of other tests that are as old: the build would wait for them, too. */
  const endOfOthers = async () => {
    const [now] = await sql<{ xid: string }>(database.url, "SELECT pg_current_xact_id()::xid::text AS xid");
    const { rows } = await elsewhere.query("SELECT pg_backend_pid() AS pid");
    const older = `SELECT pid FROM pg_stat_activity WHERE age(backend_xid) > age('${now?.xid}'::xid) AND pid <> ${rows[0].pid}`;
    await expect.poll(() => sql(database.url, older), { timeout: 150_000, interval: 200 }).toEqual([]);
  };
  const count = async () => (await rowsOf(database.url, "vector_embeddings.768")).length;

  it("is built when that transaction ends", async () => {
    const ended = sleep(2000).then(() => elsewhere.query("COMMIT"));
    await Promise.all([load(database.url, vectors(1, 7, 768)), ended]);
    expect(await count()).toBe(7);
  });

  it("is named when it does not, and nothing is imported", async () => {
    await expect(load(database.url, vectors(1, 7, 768))).rejects.toMatchObject({
      code: "E_LOCKED",
      context: {
        section: "vector_embeddings.768",
        hint: expect.stringContaining("VACUUM llmspell.vector_embeddings_768"),
      },
    });
    expect(await count()).toBe(0);
  });

  it("is built after VACUUM, as the hint says", async () => {
    await sql(database.url, "VACUUM llmspell.vector_embeddings_768");
    await load(database.url, vectors(1, 7, 768));
    expect(await count()).toBe(7);
  });

  it("is kept up to date row by row with --defer-indexes never, as the hint says", async () => {
    await load(database.url, vectors(1, 7, 768), { deferIndexes: "never" });
    expect(await count()).toBe(7);
  });
});

const state = record("agent_state", {
  state_id: id(1),
  tenant_id: "t",
  agent_id: "a",
  agent_type: "b",
  state_data: {},
  schema_version: 1,
  data_version: 1,
  checksum: "0".repeat(64),
  created_at: 0,
  updated_at: 0,
});

describePostgres("secondary indexes of a PostgreSQL target", () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await createDatabase("llmspell");
    return () => database.drop();
  });

  /** Every index of the table and its partitions: what it is, whether it can be used, and which one it is. */
  const indexesOf = (table: string) =>
    sql<{ table: string; definition: string; valid: boolean; oid: number }>(
      database.url,
      `SELECT p.relid::regclass::text AS table, pg_get_indexdef(i.indexrelid) AS definition,
         i.indisvalid AND i.indisready AS valid, i.indexrelid AS oid
       FROM (SELECT 'llmspell.${table}'::regclass AS relid UNION SELECT relid FROM pg_partition_tree('llmspell.${table}')) p
         JOIN pg_index i ON i.indrelid = p.relid ORDER BY 1, 2`,
    );
  /** The indexes that are others than before, by what they are. */
  const replaced = async (table: string, before: readonly { oid: number }[]): Promise<string[]> => {
    const old = new Set(before.map(({ oid }) => oid));
    return (await indexesOf(table)).filter(({ oid }) => !old.has(oid)).map(({ definition }) => definition);
  };
  const definitions = (rows: readonly { definition: string; valid: boolean }[]) =>
    rows.map(({ definition, valid }) => ({ definition, valid }));
  /** What is found along an index, without looking into the table first. */
  const found = async (condition: string): Promise<number> => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query("SET enable_seqscan = off");
      const plan = async () => JSON.stringify((await client.query(`EXPLAIN SELECT FROM ${condition}`)).rows);
      // Where rows were updated in their pages, the server trusts a new index once all older transactions have ended
      // (pg_index.indcheckxmin), those of other databases as well.
      await expect.poll(plan, { timeout: 150_000, interval: 100 }).toContain("Index");
      const { rows } = await client.query(`SELECT count(*)::int4 AS count FROM ${condition}`);
      return rows[0].count as number;
    } finally {
      await client.end();
    }
  };

  it("are built again, the same, after many rows of an empty table", async () => {
    const before = await indexesOf("hook_history");
    await load(database.url, hooks(1, MANY));
    expect(definitions(await indexesOf("hook_history"))).toEqual(definitions(before));
    expect((await replaced("hook_history", before)).join("\n")).toMatch(/USING gin \(metadata\)/);
    expect(await found("llmspell.hook_history WHERE hook_type = 'after'")).toBe(MANY);
    expect(await found(`llmspell.hook_history WHERE metadata @> '{"i": 17}'`)).toBe(1);
  });

  it("are left as they are where they could refuse a record: of arrays, of expressions, of keys", async () => {
    const before = await indexesOf("hook_history");
    await load(database.url, hooks(1, MANY), { deferIndexes: "always" });
    const others = (await replaced("hook_history", before)).join("\n");
    expect(others).toMatch(/\(metadata\)/);
    expect(others).not.toMatch(/UNIQUE|\(tags\)/);
    const states = await indexesOf("agent_states");
    await load(database.url, [state], { deferIndexes: "always" });
    const ofStates = (await replaced("agent_states", states)).join("\n");
    expect(ofStates).toMatch(/\(agent_type\)/);
    expect(ofStates).not.toMatch(/->/);
  });

  it("reach every partition, those that the load made too", async () => {
    const before = await indexesOf("event_log");
    await load(database.url, events(1, MANY));
    const after = await indexesOf("event_log");
    const ofParent = (rows: typeof after) => definitions(rows.filter(({ table }) => table === "llmspell.event_log"));
    expect(ofParent(after)).toEqual(ofParent(before));
    const perTable = new Map<string, number>();
    for (const { table, valid } of after) {
      expect(valid).toBe(true);
      perTable.set(table, (perTable.get(table) ?? 0) + 1);
    }
    expect(new Set(perTable.values())).toEqual(new Set([ofParent(before).length]));
    expect(perTable.size).toBeGreaterThan(new Set(before.map(({ table }) => table)).size);
    expect(await found("llmspell.event_log WHERE event_type = 'type 3'")).toBe(
      Array.from({ length: MANY }).filter((_, i) => i % 7 === 3).length,
    );
  });

  it("are left as they are for few rows, and when the load is told so", async () => {
    const before = await indexesOf("hook_history");
    await load(database.url, hooks(1, FEW));
    await load(database.url, hooks(1 + FEW, MANY), { deferIndexes: "never" });
    expect(await indexesOf("hook_history")).toEqual(before);
    const always = await indexesOf("event_log");
    await load(database.url, events(1, FEW), { deferIndexes: "always" });
    expect(await replaced("event_log", always)).not.toEqual([]);
  });

  it("are built again after a merge that writes twice as many rows as there are, and not after a smaller one", async () => {
    await load(database.url, hooks(1, MANY));
    const before = await indexesOf("hook_history");
    await load(database.url, hooks(1, MANY, 2));
    expect(await indexesOf("hook_history")).toEqual(before);
    // The room that it makes lets rows be updated in their pages, whose versions then share an entry of each index.
    await sql(database.url, "VACUUM llmspell.hook_history");
    await load(database.url, hooks(1, 2 * MANY, 3));
    expect(definitions(await indexesOf("hook_history"))).toEqual(definitions(before));
    expect(await replaced("hook_history", before)).not.toEqual([]);
    expect(await found("llmspell.hook_history WHERE hook_type = 'after'")).toBe(2 * MANY);
  });

  it("are as before when the load fails", async () => {
    const before = await indexesOf("event_log");
    await expect(
      load(database.url, [...events(1, MANY), ...events(1, 1)], { deferIndexes: "always" }),
    ).rejects.toMatchObject({ code: "E_KEY_CONFLICT" });
    expect(await indexesOf("event_log")).toEqual(before);
  });
});
