/**
 * The SQLite target of an import: its schema is created or completed first (llmspell does so at its first connection).
 *
 * - A file that is not there yet is made beside its name and renamed when complete, so that a run that fails leaves none.
 * - A dry run changes nothing: where it would have to create or migrate, it works on a temporary copy.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readlinkSync, realpathSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { openSqliteForReading } from "./backends/sqlite/open.js";
import { StorageError } from "./errors.js";
import type { RunContext } from "./records/run-context.js";
import { listSqliteMigrations, migrateSqlite } from "./schema/migrator.js";
import type { Sink } from "./sinks/sink.js";
import { createSqliteSink, type SqliteSinkOptions } from "./sinks/sqlite.js";
import type { StoreHeader } from "./sources/source.js";

export function createSqliteTarget(options: SqliteSinkOptions): Sink {
  const { dryRun = false } = options;
  const path = linkTarget(options.path);
  let inner: Sink | undefined;
  /** Where the records go; other than `path` until the end where the file is new. */
  let working = path;
  let temporaryFolder: string | undefined;

  const place = async (): Promise<string> => {
    if (existsSync(path)) {
      if (!dryRun || !needsMigration(path)) return path;
      temporaryFolder = mkdtempSync(join(tmpdir(), "llmspell-dry-run-"));
      const copy = join(temporaryFolder, "copy.db");
      await copyDatabase(path, copy);
      return copy;
    }
    refuseLeftovers(path);
    if (dryRun) {
      temporaryFolder = mkdtempSync(join(tmpdir(), "llmspell-dry-run-"));
      return join(temporaryFolder, "new.db");
    }
    return `${path}.${randomBytes(6).toString("hex")}.importing`;
  };

  return {
    name: `sqlite:${options.path}`,
    async open(header: StoreHeader, context: RunContext) {
      working = await place();
      await migrateSqlite(working, { signal: context.signal });
      const sink = createSqliteSink({ ...options, path: working, ownFile: working !== path });
      inner = sink;
      await sink.open(header, context);
    },
    async write(batch) {
      await inner?.write(batch);
    },
    async finish() {
      if (inner === undefined) throw new Error("the sink is not open");
      const report = await inner.finish();
      if (working === path || dryRun) return report;
      await inner.abort();
      await sync(working, "r+");
      if (existsSync(path)) {
        throw new StorageError("E_LOCKED", `another process created ${path} during the import`, {
          hint: "Import again.",
        });
      }
      refuseLeftovers(path);
      renameSync(working, path);
      working = path;
      // Some file systems cannot sync a folder; the database is there all the same.
      await sync(dirname(path), "r").catch(() => undefined);
      return report;
    },
    async abort() {
      await inner?.abort();
      if (temporaryFolder !== undefined) rmSync(temporaryFolder, { recursive: true, force: true });
      else if (working !== path)
        for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(working + suffix, { force: true });
    },
  };
}

/** Where the symlinks at `path` lead, whether or not there is a file. */
function linkTarget(path: string): string {
  let at = path;
  for (let hops = 0; hops < 40; hops++) {
    try {
      at = resolve(realpathSync(dirname(at)), readlinkSync(at));
    } catch {
      break;
    }
  }
  return at;
}

/** SQLite would play a -wal or a -journal whose database is gone into the new one: records would be lost or altered. */
function refuseLeftovers(path: string): void {
  for (const leftover of [`${path}-wal`, `${path}-journal`]) {
    if (!statSync(leftover, { throwIfNoEntry: false })?.size) continue;
    throw new StorageError("E_HOT_JOURNAL", `${leftover} is there, but its database is not`, {
      hint: "SQLite would apply it to the new database. Put its database back, or move it away.",
    });
  }
}

async function sync(path: string, flags: string): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function needsMigration(path: string): boolean {
  const database = openSqliteForReading(path);
  try {
    return listSqliteMigrations(database).some(({ applied }) => !applied);
  } finally {
    database.close();
  }
}

/** A consistent copy, also of a database that is being written. */
async function copyDatabase(path: string, copy: string): Promise<void> {
  const database = openSqliteForReading(path);
  try {
    await database.backup(copy);
  } finally {
    database.close();
  }
}
