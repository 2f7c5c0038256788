/** The stores that the conformance suites run against: real files, a real server. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import {
  connectPostgres,
  type PostgresConnector,
  type PostgresTarget,
} from "../../src/backends/postgres/connection.js";
import type { BatchLimits } from "../../src/records/record-batch.js";
import { migratePostgres, migrateSqlite } from "../../src/schema/migrator.js";
import { createDocumentSink } from "../../src/sinks/json-document.js";
import { createPostgresSink } from "../../src/sinks/postgres.js";
import type { Sink } from "../../src/sinks/sink.js";
import { createSqliteSink } from "../../src/sinks/sqlite.js";
import { createDocumentSource } from "../../src/sources/json-document.js";
import { createPostgresSource } from "../../src/sources/postgres.js";
import type { Source } from "../../src/sources/source.js";
import { createSqliteSource } from "../../src/sources/sqlite.js";
import { withClient } from "../helpers/content-digest.js";
import { createTestDatabase } from "../helpers/postgres-server.js";

export interface LoadOptions {
  readonly onConflict?: "update" | "skip" | "error";
  readonly onOrphan?: "error" | "drop";
  readonly dryRun?: boolean;
}

/** One store of a test's own. */
export interface TestStore {
  source(limits?: BatchLimits): Source;
  sink(options?: LoadOptions): Sink;
  /** Removes every record; the schema stays. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

export interface StoreFactory {
  readonly name: string;
  /** Keeps records from one run to the next, orders them, knows keys: everything but a document. */
  readonly database: boolean;
  open(): Promise<TestStore>;
}

function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "llmspell-store-"));
}

export const sqliteStore: StoreFactory = {
  name: "sqlite",
  database: true,
  async open() {
    const folder = temporaryFolder();
    const template = join(folder, "template.db");
    await migrateSqlite(template);
    // A copy of a file in WAL mode misses what the -wal still holds.
    const database = new Database(template);
    database.pragma("wal_checkpoint(TRUNCATE)");
    database.close();
    const path = join(folder, "store.db");
    const clear = async (): Promise<void> => {
      for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
      copyFileSync(template, path);
    };
    await clear();
    return {
      source: (limits = {}) => createSqliteSource({ path, ...limits }),
      sink: (options = {}) => createSqliteSink({ path, ...options }),
      clear,
      close: async () => rmSync(folder, { recursive: true, force: true }),
    };
  },
};

/** Empties every table of schema llmspell that holds records, and drops all large objects. */
const CLEAR_POSTGRES = `
  DO $$
  DECLARE tables text;
  BEGIN
    SELECT string_agg(c.oid::regclass::text, ', ') INTO tables FROM pg_class c
    WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND c.relname NOT IN ('storage_migrations', 'refinery_schema_history');
    EXECUTE 'TRUNCATE ' || tables;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
  END $$`;

function postgresBackedStore(
  target: PostgresTarget,
  mode: "auto" | "copy" | "cursor",
  close: () => Promise<void>,
): TestStore {
  const connect: PostgresConnector = () => connectPostgres(target);
  return {
    source: (limits = {}) => createPostgresSource({ connect, name: "postgres", mode, ...limits }),
    sink: (options = {}) => createPostgresSink({ connect, name: "postgres", ...options }),
    clear: async () => {
      if ("url" in target) {
        await withClient(target.url, (client) => client.query(CLEAR_POSTGRES));
        return;
      }
      const connection = await connect();
      try {
        await connection.query(CLEAR_POSTGRES);
      } finally {
        await connection.close();
      }
    },
    close,
  };
}

function serverStore(mode: "copy" | "cursor"): StoreFactory {
  return {
    name: `postgres, read by ${mode}`,
    database: true,
    async open() {
      const database = await createTestDatabase();
      const target = { url: database.url };
      const connection = await connectPostgres(target);
      try {
        await migratePostgres(connection);
      } finally {
        await connection.close();
      }
      return postgresBackedStore(target, mode, database.drop);
    },
  };
}

export const postgresStore = serverStore("copy");
export const postgresCursorStore = serverStore("cursor");

export const pgliteStore: StoreFactory = {
  name: "pglite",
  database: true,
  async open() {
    const folder = temporaryFolder();
    const target = { pglite: join(folder, "database") };
    const connection = await connectPostgres(target, { create: true });
    try {
      await migratePostgres(connection);
    } finally {
      await connection.close();
    }
    return postgresBackedStore(target, "auto", async () => rmSync(folder, { recursive: true, force: true }));
  },
};

export const documentStore: StoreFactory = {
  name: "document",
  database: false,
  async open() {
    const folder = temporaryFolder();
    const path = join(folder, "export.json");
    mkdirSync(folder, { recursive: true });
    return {
      source: (limits = {}) => createDocumentSource({ input: { path }, ...limits }),
      sink: () => createDocumentSink({ output: { path }, producer: "llmspell-storage/test" }),
      clear: async () => {
        if (existsSync(path)) rmSync(path);
      },
      close: async () => rmSync(folder, { recursive: true, force: true }),
    };
  },
};
