import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { postgresAdminUrl } from "./postgres-server.js";
import { findTool } from "./system-packages.js";

/** A PgBouncer before the tests' server. `await using` stops it. */
export interface Pooler extends AsyncDisposable {
  /** The URL of a database behind it, as the server's superuser. */
  url(database: string): string;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** Pools transactions, over one connection to the server per database: whoever comes next gets what the last one left. */
export async function startPooler(): Promise<Pooler> {
  const server = new URL(postgresAdminUrl());
  const folder = mkdtempSync("/tmp/llmspell-test-pgbouncer-");
  chmodSync(folder, 0o755);
  const port = await freePort();
  const file = join(folder, "pgbouncer.ini");
  const password = server.password === "" ? "" : ` password=${decodeURIComponent(server.password)}`;
  writeFileSync(
    file,
    `[databases]
* = host=${server.hostname} port=${server.port || "5432"} user=${server.username}${password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
server_reset_query = 
`,
  );
  // It refuses to run as root.
  const account = process.getuid?.() === 0 ? ["-u", "postgres"] : [];
  const child = spawn(findTool("pgbouncer") as string, ["-q", ...account, file], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const stopped = new Promise((resolve) => child.once("exit", resolve));
  const onExit = (): void => void child.kill("SIGKILL");
  process.once("exit", onExit);
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`pgbouncer did not start:\n${said}`);
    await sleep(20);
  }
  return {
    url: (database) => `postgresql://${server.username}@127.0.0.1:${port}/${database}`,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await stopped;
      process.removeListener("exit", onExit);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
