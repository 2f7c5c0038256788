import pg from "pg";
import { expect, it } from "vitest";
import { createTestDatabase, createTestRole, describePostgres } from "../helpers/postgres-server.js";

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query({ text: sql, rowMode: "array" })).rows.flat();
  } finally {
    await client.end();
  }
}

describePostgres("the test server", () => {
  it("gives each test an empty database in which pgvector works, and drops it", async () => {
    const database = await createTestDatabase();
    await query(database.url, "CREATE EXTENSION vector");
    expect(await query(database.url, "SELECT '[3,4]'::vector <-> '[0,0]'::vector")).toEqual([5]);
    await using other = await createTestDatabase();
    expect(await query(other.url, "SELECT count(*)::int FROM pg_extension WHERE extname = 'vector'")).toEqual([0]);
    await database.drop();
    await expect(query(database.url, "SELECT 1")).rejects.toMatchObject({ code: "3D000" });
  });

  it.skipIf(process.env["TEST_DATABASE_URL"])("asks a role that has a password for it", async () => {
    await using database = await createTestDatabase();
    await using role = await createTestRole(database, { password: "p@ss/word: 1" });
    expect(await query(role.url, "SELECT current_user::text")).toEqual([role.name]);
    const wrong = new URL(role.url);
    wrong.password = "other";
    await expect(query(wrong.href, "SELECT 1")).rejects.toMatchObject({ code: "28P01" });
  });

  it("drops a role together with what it owns", async () => {
    await using database = await createTestDatabase();
    const role = await createTestRole(database, { attributes: "NOSUPERUSER NOBYPASSRLS" });
    await query(database.url, `GRANT CREATE ON SCHEMA public TO ${role.name}`);
    await query(role.url, "CREATE TABLE owned ()");
    await role.drop();
    expect(await query(database.url, "SELECT to_regclass('owned')::text")).toEqual([null]);
    expect(await query(database.url, `SELECT count(*)::int FROM pg_roles WHERE rolname = '${role.name}'`)).toEqual([0]);
  });
});
