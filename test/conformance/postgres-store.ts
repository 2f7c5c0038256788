import { rmSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import {
  connectPostgres,
  type PostgresConnection,
  type PostgresConnector,
  type PostgresTarget,
} from "../../src/backends/postgres/session/connection.js";
import { createPostgresSink, createPostgresSource } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { createDatabase, createEmbedded } from "../helpers/database-templates.js";
import { type StoreFactory, type TestStore, temporaryFolder } from "./store.js";

/**
 * Empties every table of schema llmspell that holds records, and drops all large objects. DELETE without triggers is far
 * cheaper than TRUNCATE for a few rows. Partitions of event_log stay until there are many.
 */
export const CLEAR_POSTGRES = `
  DO $$
  DECLARE name regclass;
  BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN
      SELECT oid FROM pg_class
      WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
        AND relname NOT IN ('storage_migrations', 'storage_runs', 'storage_parts', 'storage_steps', 'storage_plans', 'storage_plan_parts', 'refinery_schema_history')
    LOOP
      EXECUTE 'DELETE FROM ' || name;
    END LOOP;
    IF (SELECT count(*) FROM pg_inherits WHERE inhparent = 'llmspell.event_log'::regclass) > 15 THEN
      FOR name IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'llmspell.event_log'::regclass LOOP
        EXECUTE 'DROP TABLE ' || name;
      END LOOP;
    END IF;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
  END $$`;

/** A build of an index may read deleted rows: see BUG #18351 in test/sinks/postgres-deferred-indexes.test.ts. */
const KEEP_LONG_VALUES = catalog.kinds
  .filter(({ fields }) => fields.some(({ type }) => type === "vector"))
  .map(({ postgres }) => `ALTER TABLE llmspell.${postgres.table} SET (toast.autovacuum_enabled = false)`)
  .join("; ");

function postgresBackedStore(
  target: PostgresTarget,
  mode: "auto" | "copy" | "cursor",
  clear: () => Promise<void>,
  close: () => Promise<void>,
  connect: PostgresConnector = () => connectPostgres(target),
): TestStore {
  return {
    ...("url" in target ? { url: target.url } : {}),
    source: (limits = {}) => createPostgresSource({ connect, name: "postgres", mode, ...limits }),
    sink: (options = {}) => createPostgresSink({ connect, name: "postgres", ...options }),
    clear,
    close,
  };
}

/**
 * Sessions that go on after they are closed, rolled back: a new one would load the server's catalogs anew, which for a
 * few records takes longer than everything else. Not where a session is to be lost in the middle of a statement.
 */
class LastingSessions {
  private readonly idle: PostgresConnection[] = [];

  constructor(private readonly target: PostgresTarget) {}

  readonly connect: PostgresConnector = async () => {
    const connection = this.idle.pop() ?? (await connectPostgres(this.target));
    const close = async (): Promise<void> => {
      try {
        // All settings of a run are its transaction's.
        await connection.query("ROLLBACK");
        this.idle.push(connection);
      } catch {
        await connection.close();
      }
    };
    let closed: Promise<void> | undefined;
    return Object.create(connection, {
      close: {
        value: () => {
          closed ??= close();
          return closed;
        },
      },
    }) as PostgresConnection;
  };

  async end(): Promise<void> {
    await Promise.all(this.idle.splice(0).map((connection) => connection.close()));
  }
}

function serverStore(mode: "copy" | "cursor", { lasting = false } = {}): StoreFactory {
  return {
    name: `postgres, read by ${mode}`,
    database: true,
    prunes: true,
    async open() {
      const database = await createDatabase("migrated");
      const target = { url: database.url };
      const connection = await connectPostgres(target);
      try {
        await connection.query(KEEP_LONG_VALUES);
      } finally {
        await connection.close();
      }
      // One session for all: a new one would load and plan everything anew each time.
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      const clear = async (): Promise<void> => void (await client.query(CLEAR_POSTGRES));
      const sessions = new LastingSessions(target);
      const close = async (): Promise<void> => {
        await sessions.end();
        await client.end();
        await database.drop();
      };
      return postgresBackedStore(target, mode, clear, close, lasting ? sessions.connect : undefined);
    },
  };
}

export const postgresStore = serverStore("copy");
export const postgresCursorStore = serverStore("cursor");
/** For runs of few records that follow each other by the thousand. */
export const lastingPostgresStore = serverStore("copy", { lasting: true });

/** One session for all, as PGlite takes a second to start; test/faults and test/workflows start it anew each time. */
export const pgliteStore: StoreFactory = {
  name: "pglite",
  database: true,
  prunes: true,
  async open() {
    const folder = temporaryFolder();
    const target = { pglite: join(folder, "database") };
    await createEmbedded(target.pglite);
    const sessions = new LastingSessions(target);
    const clear = async (): Promise<void> => {
      const connection = await sessions.connect();
      try {
        await connection.query(CLEAR_POSTGRES);
      } finally {
        await connection.close();
      }
    };
    const close = async (): Promise<void> => {
      await sessions.end();
      rmSync(folder, { recursive: true, force: true });
    };
    return postgresBackedStore(target, "auto", clear, close, sessions.connect);
  },
};
