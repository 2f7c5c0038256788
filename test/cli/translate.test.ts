/** What llmspell spells differently in its two backends: translated there and back, and told where it is not. */
import Database from "better-sqlite3";
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";

/** Scopes as llmspell writes them: in SQLite, in PostgreSQL. */
const SCOPES = [
  ["__global__", "global"],
  ["tenant:acme", "custom:tenant:acme"],
  ["tenant:a:b", "custom:tenant:a:b"],
  ["user:alice", "user:alice"],
  ["session:1", "session:1"],
  ["custom:mine", "custom:mine"],
  ["custom:global", "custom:global"],
] as const;

describePostgres("--translate llmspell", () => {
  let workspace: Workspace;
  let target: TestDatabase;

  beforeAll(async () => {
    workspace = createWorkspace();
    target = await createDatabase("migrated");
    const path = workspace.path("first.db");
    createLlmspellSqlite(path);
    fillSqlite(path, { records: SCOPES.length, contentSizes: [9, 300] });
    const database = new Database(path);
    for (const { rowid, n } of database
      .prepare("SELECT rowid, row_number() OVER (PARTITION BY dimension ORDER BY rowid) AS n FROM vector_metadata")
      .all() as { rowid: number; n: number }[])
      database.prepare("UPDATE vector_metadata SET scope = ? WHERE rowid = ?").run(SCOPES[n - 1]?.[0], rowid);
    for (const table of ["entities", "relationships"]) database.exec(`UPDATE ${table} SET tenant_id = 'default'`);
    database.close();
  });
  afterAll(async () => {
    await target.drop();
    workspace[Symbol.dispose]();
  });

  const migrate = (from: string, to: string, ...words: string[]) =>
    workspace.run(["storage", "migrate", "--from", from, "--to", to, "--no-progress", ...words]);

  async function inPostgres<Row extends pg.QueryResultRow>(sql: string): Promise<Row[]> {
    const client = new pg.Client({ connectionString: target.url });
    await client.connect();
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  const dataOf = async (path: string): Promise<string> => {
    const { stdout } = await workspace.must(["storage", "export", "--database", path, "--output", "-"]);
    return stdout.slice(stdout.indexOf('"data"'), stdout.lastIndexOf('"manifest"'));
  };

  it("is announced by a count where it is not given", async () => {
    const { status, stdout } = await migrate(workspace.path("first.db"), target.url, "--dry-run");
    expect(status).toBe(0);
    expect(stdout).toContain(
      "vector_embeddings.384: 3 records have a scope that llmspell spells otherwise in PostgreSQL; --translate llmspell changes it",
    );
    expect(stdout).toContain(`knowledge_graph.entities: ${SCOPES.length} records have the tenant default`);
    expect(stdout).toContain("--translate llmspell:TENANT gives another");
  });

  it("gives each backend its own spelling, and the way back the first database's records", async () => {
    const first = workspace.path("first.db");
    const there = await migrate(first, target.url, "--translate", "llmspell:acme");
    expect(there).toMatchObject({ status: 0 });
    expect(there.stdout).not.toContain("--translate");
    const scopes = await inPostgres<{ scope: string }>(
      'SELECT scope FROM llmspell.vector_embeddings_768 ORDER BY scope COLLATE "C"',
    );
    expect(scopes.map(({ scope }) => scope)).toEqual(SCOPES.map(([, scope]) => scope).sort());
    for (const table of ["entities", "relationships"])
      expect(await inPostgres(`SELECT DISTINCT tenant_id FROM llmspell.${table}`)).toEqual([{ tenant_id: "acme" }]);

    const back = workspace.path("back.db");
    expect(await migrate(target.url, back, "--translate", "llmspell:acme")).toMatchObject({ status: 0 });
    const compared = workspace.path("compared.db");
    const plain = await createDatabase("migrated");
    try {
      // jsonb spells json in its own way: compared with a way there and back that changes nothing else.
      expect(await migrate(first, plain.url)).toMatchObject({ status: 0 });
      expect(await migrate(plain.url, compared)).toMatchObject({ status: 0 });
    } finally {
      await plain.drop();
    }
    expect(await dataOf(back)).toBe(await dataOf(compared));
  });

  it.each([
    ["a scope", "UPDATE vector_metadata SET scope = 'global' WHERE rowid = 1", "llmspell", "field scope"],
    ["a scope", "UPDATE vector_metadata SET scope = 'custom:tenant:x' WHERE rowid = 1", "llmspell", "field scope"],
    ["a tenant", "UPDATE entities SET tenant_id = 'acme' WHERE rowid = 1", "llmspell:acme", "field tenant_id"],
  ])("refuses %s that has the other spelling already: %s", async (_what, change, translate, field) => {
    const path = workspace.path("collides.db");
    await workspace.bash(`cp first.db collides.db`);
    const database = new Database(path);
    expect(database.prepare(change).run().changes).toBe(1);
    database.close();
    const { status, stderr } = await migrate(path, target.url, "--translate", translate);
    expect(status).toBe(5);
    expect(stderr).toContain("[E_KEY_CONFLICT]");
    expect(stderr).toContain(field);
  });

  it("changes nothing between two databases of one backend, and takes no other word", async () => {
    const copy = workspace.path("copy.db");
    const outcome = await migrate(workspace.path("first.db"), copy, "--translate", "llmspell:acme");
    expect(outcome).toMatchObject({ status: 0 });
    expect(await dataOf(copy)).toBe(await dataOf(workspace.path("first.db")));
    for (const word of ["other", "llmspell:", ""])
      expect(await migrate(copy, target.url, "--translate", word)).toMatchObject({ status: 2 });
  });
});
