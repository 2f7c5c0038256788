/**
 * The SQLite target of an import: its schema is created or completed first (llmspell does so at its first connection).
 *
 * - A file that is not there yet is made beside its name and renamed when complete, so that a run that fails leaves none.
 * - A dry run changes nothing: where it would have to create or migrate, it works on a temporary copy.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readlinkSync, realpathSync, renameSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { openSqliteForReading } from "./backends/sqlite/open.js";
import { StorageError } from "./errors.js";
import type { RunContext } from "./records/run-context.js";
import { listSqliteMigrations, migrateSqlite } from "./schema/migrator.js";
import type { Sink } from "./sinks/sink.js";
import { createSqliteSink, type SqliteSinkOptions } from "./sinks/sqlite.js";
import type { StoreHeader } from "./sources/source.js";

/** Batches between two calls to have a new file on the disk. */
const BATCHES_PER_SYNC = 128;

export function createSqliteTarget(options: SqliteSinkOptions): Sink {
  const { dryRun = false } = options;
  const path = linkTarget(options.path);
  let inner: Sink | undefined;
  /** Where the records go; other than `path` until the end where the file is new. */
  let working = path;
  let temporaryFolder: string | undefined;
  let disk: EarlySync | undefined;

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
      await migrateSqlite(working, { signal: context.signal, refuseForeign: true });
      // Without a log the pages that it changes are kept in memory: a new file has few, the copy of another may have many.
      const sink = createSqliteSink({ ...options, path: working, ownFile: working !== path && !existsSync(path) });
      inner = sink;
      await sink.open(header, context);
      if (working !== path && !dryRun) disk = new EarlySync(await open(working, "r+"));
    },
    async write(batch) {
      await inner?.write(batch);
      disk?.more();
    },
    async finish() {
      if (inner === undefined) throw new Error("the sink is not open");
      const report = await inner.finish();
      if (working === path || dryRun) return report;
      await inner.abort();
      await disk?.finish();
      if (existsSync(path)) {
        throw new StorageError("E_LOCKED", `another process created ${path} during the import`, {
          hint: "Import again.",
        });
      }
      refuseLeftovers(path);
      renameSync(working, path);
      working = path;
      await syncFolder(dirname(path));
      return report;
    },
    async abort() {
      await inner?.abort();
      await disk?.close();
      disk = undefined;
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

/** Makes the new name durable. Some file systems cannot sync a folder; the database is there all the same. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  await handle.sync().catch(() => undefined);
  await handle.close();
}

/** Has the disk write a file while it grows: the end has little to wait for. */
class EarlySync {
  private batches = 0;
  private running: Promise<void> | undefined;
  private failure: unknown;

  constructor(private readonly handle: FileHandle) {}

  /** Another batch is in the file. Does not wait. */
  more(): void {
    if (++this.batches % BATCHES_PER_SYNC !== 0 || this.running !== undefined) return;
    this.running = this.sync();
  }

  private async sync(): Promise<void> {
    try {
      await this.handle.datasync();
    } catch (error) {
      // The system tells of a failed write once: the next call may succeed without it.
      this.failure ??= error;
    }
    this.running = undefined;
  }

  /** When it resolves, all of the file is on the disk. E_DISK_FULL, E_IO. */
  async finish(): Promise<void> {
    try {
      await this.running;
      if (this.failure !== undefined) throw this.failure;
      await this.handle.sync();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOSPC" || code === "EDQUOT")
        throw new StorageError("E_DISK_FULL", "no space is left for the database", {}, error);
      throw new StorageError("E_IO", "the database cannot be written to the disk", {}, error);
    }
  }

  /** After the database is closed: closing any handle of a file gives up the locks that SQLite has on it. */
  async close(): Promise<void> {
    await this.running;
    await this.handle.close().catch(() => undefined);
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
