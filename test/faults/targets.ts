/** Targets for imports that go wrong: filled with records of their own, and able to say whether they are untouched. */
import Database from "better-sqlite3";
import { exportStore, importStore } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { postgresDigest, postgresLeftovers, sqliteDigest } from "../helpers/content-digest.js";
import { createDatabase, createEmbedded } from "../helpers/database-templates.js";
import type { Workspace } from "../helpers/llmspell.js";
import { sessionsEnd } from "../helpers/postgres-server.js";
import { fillPostgres, fillSqlite, type SampleOptions } from "../helpers/sample-data.js";
import { dataDigest } from "../workflows/documents.js";

const OWN_RECORDS: SampleOptions = { seed: "the target's own", records: 20, contentSizes: [1048576, 2097152, 7] };

export interface Target {
  readonly name: string;
  /** The STORE text for --database. */
  readonly store: string;
  /** Of everything the target holds. */
  digest(): Promise<string>;
  /** Locks of others and large objects; waits until the server has noticed that a client is gone. */
  leftovers(): Promise<{ locks: number; largeObjects: number }>;
  close(): Promise<void>;
}

export interface TargetFactory {
  readonly name: string;
  open(workspace: Workspace): Promise<Target>;
}

/** Of what an export of the store has; in this process, where PGlite starts in one second instead of four. */
export async function exportedDigest(workspace: Workspace, store: string): Promise<string> {
  const output = workspace.path("exported.json");
  await exportStore({ from: store, to: output });
  return dataDigest(output);
}

export const sqliteTarget: TargetFactory = {
  name: "sqlite",
  async open(workspace) {
    const path = workspace.path("target.db");
    createLlmspellSqlite(path);
    fillSqlite(path, OWN_RECORDS);
    await workspace.must(["database", "migrate", "--database", path]);
    return {
      name: "sqlite",
      store: path,
      digest: async () => sqliteDigest(path),
      leftovers: async () => ({ locks: canBeWritten(path) ? 0 : 1, largeObjects: 0 }),
      close: async () => {},
    };
  },
};

function canBeWritten(path: string): boolean {
  const database = new Database(path, { timeout: 0 });
  try {
    database.exec("BEGIN IMMEDIATE; ROLLBACK");
    return true;
  } catch {
    return false;
  } finally {
    database.close();
  }
}

export const postgresTarget: TargetFactory = {
  name: "postgres",
  async open() {
    const database = await createDatabase("completed");
    await fillPostgres(database.url, OWN_RECORDS);
    return {
      name: "postgres",
      store: database.url,
      digest: () => postgresDigest(database.url),
      leftovers: async () => {
        // The server learns by and by that its client is gone, and then takes back what it did.
        await sessionsEnd(database.url);
        return postgresLeftovers(database.url);
      },
      close: database.drop,
    };
  },
};

export const pgliteTarget: TargetFactory = {
  name: "pglite",
  async open(workspace) {
    const store = `pglite:${workspace.path("embedded")}`;
    const sqlite = workspace.path("own.db");
    createLlmspellSqlite(sqlite);
    fillSqlite(sqlite, OWN_RECORDS);
    await createEmbedded(workspace.path("embedded"));
    await importStore({ from: sqlite, to: store });
    return {
      name: "pglite",
      store,
      digest: () => exportedDigest(workspace, store),
      // It lives in the killed process: its locks went with it.
      leftovers: async () => ({ locks: 0, largeObjects: 0 }),
      close: async () => {},
    };
  },
};
