import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { isAlive, PostgresUnavailable, startPostgresCluster } from "./postgres-cluster.js";
import { installMissingTools, runInstallScript, type SystemTool } from "./system-packages.js";

/** What the test files are told about the PostgreSQL server of this run. */
export type PostgresService =
  | { readonly available: true; readonly url: string }
  | { readonly available: false; readonly reason: string };

/** What the run's templates are called (database-templates.ts): databases, and the folder of the others, before the run's name. */
export const TEMPLATE_DATABASE = "test_template_";
export const TEMPLATE_FOLDER = "llmspell-test-templates-";

declare module "vitest" {
  export interface ProvidedContext {
    postgres: PostgresService;
    /** A name for this run, unlike all others. */
    run: string;
    /** Programs that tests want and this machine has not got. */
    missingTools: readonly SystemTool[];
  }
}

/** A server of the caller's own (TEST_DATABASE_URL): a superuser URL; its other databases are left alone. */
async function useGivenServer(url: string): Promise<PostgresService> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  await client.connect();
  try {
    const hasVector = async (): Promise<boolean> =>
      (await client.query("SELECT FROM pg_available_extensions WHERE name = 'vector'")).rowCount === 1;
    if (!(await hasVector())) {
      const isLocal = ["localhost", "127.0.0.1", "::1", "[::1]", ""].includes(new URL(url).hostname);
      if (!isLocal || process.getuid?.() !== 0) {
        throw new PostgresUnavailable("the server of TEST_DATABASE_URL lacks the pgvector extension");
      }
      const { rows } = await client.query<{ major: string }>(
        "SELECT current_setting('server_version_num')::int / 10000 AS major",
      );
      runInstallScript("install-pgvector.sh", String(rows[0]?.major));
      if (!(await hasVector())) throw new PostgresUnavailable("pgvector was installed, but the server does not see it");
    }
    await client.query(
      `DO $$ BEGIN CREATE ROLE password_required NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$`,
    );
  } finally {
    await client.end();
  }
  return { available: true, url };
}

/** Before the tests: files that run side by side would build beside each other, and one swap away what another runs. Who needs it reports a failure. */
function buildOnce(): void {
  const script = fileURLToPath(new URL("../../scripts/build.mjs", import.meta.url));
  spawnSync(process.execPath, [script, "--if-stale"], { stdio: "ignore" });
}

/** Those of runs that were killed: a folder's name begins with the process id of its run. */
function removeAbandonedFolders(): void {
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(TEMPLATE_FOLDER)) continue;
    const pid = Number(name.slice(TEMPLATE_FOLDER.length).split("_")[0]);
    if (!isAlive(pid)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** Drops the run's templates on a server that goes on. */
async function dropTemplates(url: string, run: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  await client.connect();
  try {
    const { rows } = await client.query("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", [
      `${TEMPLATE_DATABASE}${run}`,
    ]);
    for (const { datname } of rows) {
      await client.query(`ALTER DATABASE ${datname} WITH IS_TEMPLATE false`);
      await client.query(`DROP DATABASE ${datname} WITH (FORCE)`);
    }
  } finally {
    await client.end();
  }
}

/**
 * Gives every test run the programs it wants, and a PostgreSQL server with pgvector, which is taken away again however the
 * run ends.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  project.provide("missingTools", installMissingTools());
  buildOnce();
  const run = `${process.pid}_${randomBytes(4).toString("hex")}`;
  removeAbandonedFolders();
  project.provide("run", run);
  const removeFolder = (): void => rmSync(join(tmpdir(), TEMPLATE_FOLDER + run), { recursive: true, force: true });
  process.once("exit", removeFolder);
  const given = process.env["TEST_DATABASE_URL"];
  if (given) {
    project.provide("postgres", await useGivenServer(given));
    return () => dropTemplates(given, run);
  }
  try {
    const cluster = await startPostgresCluster();
    process.once("exit", cluster.stop);
    for (const [signal, status] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
      ["SIGHUP", 129],
    ] as const) {
      process.once(signal, () => {
        cluster.stop();
        process.exit(status);
      });
    }
    project.provide("postgres", { available: true, url: cluster.url });
    return async () => cluster.stop();
  } catch (error) {
    if (!(error instanceof PostgresUnavailable)) throw error;
    project.provide("postgres", { available: false, reason: error.message });
    return async () => {};
  }
}
