/** Vector indexes are built after the rows of an empty table, and are afterwards what they were before. */
import pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { load, record, sql } from "./postgres-support.js";

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

function vectors(first: number, count: number) {
  return Array.from({ length: count }, (_, i) =>
    record("vector_embeddings.384", {
      id: id(first + i),
      tenant_id: "t",
      scope: "s",
      dimension: 384,
      embedding: Array.from({ length: 384 }, (_, at) => (((first + i) * 31 + at * 7) % 97) / 97),
      metadata: {},
      created_at: 0,
      updated_at: 0,
    }),
  );
}

describePostgres("vector indexes of a PostgreSQL target", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
    await createLlmspellPostgres(database.url);
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
