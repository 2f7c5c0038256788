import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { createSqliteSink, createSqliteSource } from "../../src/index.js";
import { migrateSqlite } from "../../src/llmspell/schema/migrator.js";
import { type StoreFactory, temporaryFolder } from "./store.js";

export const sqliteStore: StoreFactory = {
  name: "sqlite",
  database: true,
  prunes: true,
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
