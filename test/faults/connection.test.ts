/** Servers that cannot be reached, refuse, or go away: one coded line with a hint, and never the password. */
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { postgresDigest, postgresLeftovers, withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { createTestRole, describePostgres, sessionsEnd, type TestDatabase } from "../helpers/postgres-server.js";
import { fillPostgres, fillSqlite } from "../helpers/sample-data.js";

const SECRET = "s3cret/ü:@";

describePostgres("a connection that fails", () => {
  let workspace: Workspace;
  let database: TestDatabase;
  let document: string;

  beforeAll(async () => {
    workspace = createWorkspace();
    database = await createDatabase("migrated");
    const sqlite = workspace.path("source.db");
    document = workspace.path("source.json");
    createLlmspellSqlite(sqlite);
    fillSqlite(sqlite, { records: 100 });
    await workspace.must(["storage", "export", "--database", sqlite, "--output", document]);
    // For those who wait in vain: a slow machine's server may take longer to answer.
    writeFileSync(workspace.path("impatient.toml"), "[storage.postgresql]\nconnection_timeout_seconds = 1\n");
  });

  afterAll(async () => {
    await database.drop();
    workspace[Symbol.dispose]();
  });

  it("names a wrong password as such, and does not print it", async () => {
    await using role = await createTestRole(database, { password: "another" });
    const url = new URL(role.url);
    url.password = encodeURIComponent(SECRET);
    for (const args of [
      ["storage", "export", "--backend", "postgres", "--output", "never.json"],
      ["storage", "import", "--backend", "postgres", "--input", document],
    ]) {
      const { status, stdout, stderr } = await workspace.run([...args, "--verbose"], {
        env: { DATABASE_URL: url.href },
      });
      expect(stderr).toContain("[E_AUTHENTICATION]");
      expect(status).toBe(3);
      for (const secret of [SECRET, encodeURIComponent(SECRET)]) expect(stdout + stderr).not.toContain(secret);
    }
  });

  it("gives up on a server that refuses connections after connection_timeout_seconds", async () => {
    const server = createServer();
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as { port: number };
    server.close();
    const { status, stderr } = await workspace.run(
      ["storage", "import", "--backend", "postgres", "--input", document],
      {
        env: {
          DATABASE_URL: `postgresql://user:${encodeURIComponent(SECRET)}@127.0.0.1:${port}/nowhere`,
          LLMSPELL_CONFIG: "impatient.toml",
        },
      },
    );
    expect(stderr).toMatch(/^Error: Connection timeout after 1 seconds \[E_CONNECTION_TIMEOUT\]$/m);
    expect(stderr).toMatch(/^Caused by: .*ECONNREFUSED/m);
    expect(stderr).toMatch(/^Hint: /m);
    expect(stderr).not.toContain(encodeURIComponent(SECRET));
    expect(status).toBe(3);
  });

  it("gives up on a server that never answers with the guide's own words", async () => {
    const server = createServer(() => {});
    await once(server.listen(0, "127.0.0.1"), "listening");
    try {
      const { port } = server.address() as { port: number };
      const { status, stderr } = await workspace.run(
        ["storage", "export", "--backend", "postgres", "--output", "x.json"],
        {
          env: {
            DATABASE_URL: `postgresql://user@127.0.0.1:${port}/silent`,
            LLMSPELL_CONFIG: "impatient.toml",
          },
        },
      );
      expect(stderr).toMatch(/^Error: Connection timeout after 1 seconds \[E_CONNECTION_TIMEOUT\]$/m);
      expect(status).toBe(3);
    } finally {
      server.close();
    }
  });

  it("rolls back an import whose connection breaks", async () => {
    await fillPostgres(database.url, { records: 10, seed: "own" });
    const before = await postgresDigest(database.url);
    const { largeObjects } = await postgresLeftovers(database.url);
    const child = workspace.start(["storage", "import", "--database", database.url, "--input", "-"], { stdin: "" });
    const outcome = outcomeOf(child);
    const bytes = readFileSync(document);
    child.stdin?.on("error", () => {});
    const given = bytes.length - 1000;
    child.stdin?.write(bytes.subarray(0, given));
    await terminateOthers(database.url);
    // The rest, so that nothing but the connection is at fault.
    child.stdin?.end(bytes.subarray(given));
    const { status, stderr } = await outcome;
    expect(stderr).toContain("[E_CONNECTION_LOST]");
    expect(status).toBe(3);
    // The server tells its client of the end before it has taken everything back.
    await sessionsEnd(database.url);
    expect(await postgresLeftovers(database.url)).toEqual({ locks: 0, largeObjects });
    expect(await postgresDigest(database.url)).toBe(before);
  });

  it("ends an export whose connection breaks with its code, by COPY and by cursor", async () => {
    await using source = await createDatabase("migrated");
    await fillPostgres(source.url, { records: 300, contentSizes: Array.from({ length: 30 }, () => 1048576) });
    // Its output is a pipe that nobody empties, so the export is in its middle when the connection breaks.
    for (const mode of ["copy", "cursor"]) {
      const child = workspace.start([
        "storage",
        "export",
        "--database",
        source.url,
        "--source-mode",
        mode,
        "--output",
        "-",
      ]);
      child.stdout?.pause();
      let stderr = "";
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
      });
      await terminateOthers(source.url);
      child.stdout?.resume();
      const [status] = (await once(child, "close")) as [number | null];
      expect(stderr).toContain("[E_CONNECTION_LOST]");
      expect(status).toBe(3);
    }
  });
});

/** Ends the tool's sessions in the database, once one is in the middle of its work. */
async function terminateOthers(url: string): Promise<void> {
  await withClient(url, async (client) => {
    for (;;) {
      const { rows } = await client.query(
        `SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
           AND xact_start < clock_timestamp() - interval '300 milliseconds'`,
      );
      if (rows.length > 0) return;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  });
}
