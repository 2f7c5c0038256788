/**
 * Databases with llmspell's schema, copied from ones that are made once per run of the tests: the server copies in the time in
 * which it makes an empty one. What tests the migrations themselves goes the real way (createTestDatabase).
 */
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject } from "vitest";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { TEMPLATE_DATABASE, TEMPLATE_FOLDER } from "./global-setup.js";
import { asAdmin, createTestDatabase, postgresAdminUrl, type TestDatabase } from "./postgres-server.js";

const run = inject("run");

async function migrate(target: { url: string } | { pglite: string }): Promise<void> {
  const { connectPostgres } = await import("../../src/backends/postgres/session/connection.js");
  const { migratePostgres } = await import("../../src/llmspell/schema/migrator.js");
  const connection = await connectPostgres(target, { create: true });
  await migratePostgres(connection).finally(() => connection.close());
}

/** What makes each of a new database. */
const SHAPES = {
  /** As llmspell 0.14 makes it. */
  llmspell: (url: string) => createLlmspellPostgres(url),
  /** As `database migrate` makes it of an empty one. */
  migrated: (url: string) => migrate({ url }),
  /** As `database migrate` makes it of llmspell's. */
  completed: async (url: string) => {
    await createLlmspellPostgres(url);
    await migrate({ url });
  },
};
export type Shape = keyof typeof SHAPES;

const templates = new Map<Shape, Promise<string>>();

async function makeTemplate(shape: Shape): Promise<string> {
  const name = `${TEMPLATE_DATABASE}${run}_${shape}`;
  await asAdmin(async (client) => {
    // Of files that run side by side one makes it.
    await client.query("SELECT pg_advisory_lock(hashtext($1))", [name]);
    const { rowCount } = await client.query("SELECT FROM pg_database WHERE datname = $1 AND datistemplate", [name]);
    if (rowCount !== 0) return;
    await client.query(`DROP DATABASE IF EXISTS ${name}`);
    await client.query(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`);
    const url = new URL(postgresAdminUrl());
    url.pathname = `/${name}`;
    await SHAPES[shape](url.href);
    await client.query(`ALTER DATABASE ${name} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false`);
  });
  return name;
}

/** A database of the test's own that has llmspell's schema and no records. */
export async function createDatabase(shape: Shape): Promise<TestDatabase> {
  const template = templates.get(shape) ?? makeTemplate(shape);
  templates.set(shape, template);
  return createTestDatabase({ template: await template });
}

const folderOfRun = join(tmpdir(), `${TEMPLATE_FOLDER}${run}`);

/** Makes a folder that holds an embedded PostgreSQL as `database migrate --database pglite:DIR` makes it. */
export async function createEmbedded(folder: string): Promise<void> {
  const template = join(folderOfRun, "embedded");
  if (!existsSync(template)) {
    await mkdir(folderOfRun, { recursive: true });
    const making = await mkdtemp(join(folderOfRun, "making-"));
    await migrate({ pglite: join(making, "embedded") });
    // Another file may have been faster.
    await rename(join(making, "embedded"), template).catch(() => {});
    await rm(making, { recursive: true, force: true });
  }
  await cp(template, folder, { recursive: true });
}
