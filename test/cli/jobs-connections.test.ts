/** `export --jobs` where some of its threads get no connection: what a lack of connections is, and what is an error. */
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";

/** As a server, or a pooler before it, ends a session that it does not begin. */
function errorResponse(sqlState: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0M${message}\0\0`);
  const head = Buffer.from("E....");
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}

describePostgres("export --jobs, of whose connections some are refused", () => {
  let workspace: Workspace;
  let database: TestDatabase;
  let server: Server;
  let refusal: Buffer;
  let connections = 0;
  let documents = 0;

  beforeAll(async () => {
    workspace = createWorkspace();
    database = await createDatabase("llmspell");
    await withClient(database.url, (client) =>
      client.query(
        "INSERT INTO llmspell.kv_store (tenant_id, key, value) SELECT 't', 'k' || i, '' FROM generate_series(1, 50) i",
      ),
    );
    const target = new URL(database.url);
    // The run's own connection and one thread's come through.
    server = createServer((client) => {
      client.on("error", () => {});
      if (++connections > 2) {
        client.once("data", () => client.end(refusal));
        return;
      }
      const upstream = connect(Number(target.port), target.hostname);
      upstream.on("error", () => client.destroy());
      client.on("close", () => upstream.destroy());
      upstream.on("close", () => client.destroy());
      client.pipe(upstream).pipe(client);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterAll(async () => {
    server?.close();
    workspace?.[Symbol.dispose]();
    await database?.[Symbol.asyncDispose]();
  });

  async function exported(sqlState: string, message: string) {
    refusal = errorResponse(sqlState, message);
    connections = 0;
    const { port } = server.address() as { port: number };
    const url = new URL(database.url);
    Object.assign(url, { hostname: "127.0.0.1", port: String(port) });
    url.searchParams.set("sslmode", "disable");
    const name = `${++documents}.json`;
    const args = ["--database", url.href, "--output", name, "--jobs", "3", "--include", "kv_store"];
    const { status, stderr } = await workspace.run(["storage", "export", ...args]);
    return { status, stderr, isThere: existsSync(workspace.path(name)) };
  }

  it.each([
    ["53300", 'too many connections for role "reader"'],
    ["08P01", "no more connections allowed (max_client_conn)"],
  ])("goes with those that it gets where there are no more: %s %s", async (sqlState, message) => {
    const { status, stderr, isThere } = await exported(sqlState, message);
    expect(stderr).toContain("the server has connections left for 1 of the 3 jobs");
    expect([status, isThere]).toEqual([0, true]);
  });

  it.each([
    ["08004", "the server rejected the connection"],
    ["08P01", "unsupported startup parameter: options"],
  ])("ends where they are refused for another reason: %s %s", async (sqlState, message) => {
    const { status, stderr, isThere } = await exported(sqlState, message);
    expect(stderr).toMatch(/E_CONNECT/);
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/connections left|a smaller --jobs/);
    expect(status).toBe(3);
    expect(isThere).toBe(false);
  });
});
