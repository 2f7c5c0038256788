/**
 * The SQLite target of an import: its schema is created or completed first (llmspell does so at its first connection).
 *
 * - A file that is not there yet is made in a folder beside its name and gets it when complete: a run that fails leaves
 *   none, and of two runs one is told that the other was first.
 * - A dry run changes nothing: where it would have to create or migrate, it works on a temporary copy.
 */
import { existsSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { type FileHandle, link, mkdir, open, rename, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { openSqliteForReading } from "../backends/sqlite/open.js";
import type { Catalog } from "../catalog/index.js";
import { syncFolder, writeErrorCode } from "../document/files/output.js";
import { createOwned, type OwnedFile } from "../document/files/owned-file.js";
import { StorageError } from "../errors.js";
import { isSqlitePending, makeSqliteFolder, migrateSqlite, requireSqliteName } from "../llmspell/schema/migrator.js";
import { vectorNotes } from "../llmspell/sqlite/neighbours.js";
import type { RunContext } from "../records/run-context.js";
import type { Sink } from "../sinks/sink.js";
import { createSqliteSink, type SqliteSinkOptions } from "../sinks/sqlite.js";
import type { StoreHeader } from "../sources/source.js";

/** Batches between two calls to have a new file on the disk. */
const BATCHES_PER_SYNC = 128;

export function createSqliteTarget(options: SqliteSinkOptions): Sink {
  const { dryRun = false } = options;
  const path = linkTarget(options.path);
  let inner: Sink | undefined;
  let catalog: Catalog | undefined;
  /** Where the records go; other than `path` until the end where the file is new. */
  let working = path;
  /** Of a new file, beside it; of a dry run, among the temporary files. */
  let folder: OwnedFile | undefined;
  let disk: EarlySync | undefined;
  let wroteVectors = false;

  const place = async (): Promise<string> => {
    if (existsSync(path)) {
      if (!dryRun || !needsMigration(path)) return path;
      folder = await dryRunFolder();
      const copy = join(folder.path, "copy.db");
      await copyDatabase(path, copy);
      return copy;
    }
    requireSqliteName(path);
    refuseLeftovers(path);
    if (dryRun) {
      folder = await dryRunFolder();
      return join(folder.path, "new.db");
    }
    makeSqliteFolder(path);
    folder = await createOwned(path, "folder", ".importing").catch((error) => {
      throw targetError(path, error);
    });
    return join(folder.path, "new.db");
  };

  return {
    name: `sqlite:${options.path}`,
    checksReferences: true,
    async open(header: StoreHeader, context: RunContext) {
      catalog = options.catalog ?? header.catalog;
      working = await place();
      await migrateSqlite(working, {
        signal: context.signal,
        refuseForeign: true,
        lockTimeoutSeconds: options.lockTimeoutSeconds,
        onWait: (waiting) => context.activity?.({ phase: "connecting", waiting }),
      });
      // Without a log the pages that it changes are kept in memory: a new file has few, the copy of another may have many.
      const sink = createSqliteSink({ ...options, path: working, ownFile: working !== path && !existsSync(path) });
      inner = sink;
      await sink.open(header, context);
      if (working !== path && !dryRun) disk = new EarlySync(await open(working, "r+"));
    },
    async write(batch) {
      await inner?.write(batch);
      wroteVectors ||= batch.kind.sqlite.layout === "vector";
      disk?.more();
    },
    async finish() {
      if (inner === undefined) throw new Error("the sink is not open");
      const { notes, ...result } = await inner.finish();
      const isVector = (path: string): boolean => catalog?.byPath.get(path)?.sqlite.layout === "vector";
      wroteVectors ||= [...result.counts].some(([path, { pruned = 0 }]) => pruned > 0 && isVector(path));
      const report = { ...result, notes: wroteVectors && !dryRun ? [...notes, ...vectorNotes(path)] : notes };
      if (working === path || dryRun) return report;
      await inner.abort();
      await disk?.finish();
      refuseLeftovers(path);
      await publish(working, path).catch((error) => {
        throw targetError(path, error);
      });
      await syncFolder(dirname(path));
      return report;
    },
    async abort() {
      await inner?.abort();
      await disk?.close();
      disk = undefined;
      if (folder === undefined) return;
      await folder.release();
      await rm(folder.path, { recursive: true, force: true }).catch(() => undefined);
    },
  };
}

/** Where the symlinks at `path` lead, whether or not there is a file. */
export function linkTarget(path: string): string {
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

/** For a copy: those of runs that were killed go. */
function dryRunFolder(): Promise<OwnedFile> {
  return createOwned(join(tmpdir(), "llmspell"), "folder", ".dry-run").catch((error) => {
    if (error instanceof StorageError) throw error;
    throw new StorageError(
      writeErrorCode(error) === "E_DISK_FULL" ? "E_DISK_FULL" : "E_IO",
      `a dry run needs a temporary folder in ${tmpdir()}`,
      { hint: "Set TMPDIR to a folder that can be written." },
      error,
    );
  });
}

function targetError(path: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EACCES" || code === "EPERM" || code === "EROFS")
    return new StorageError("E_READ_ONLY", `${path} cannot be written`, {}, error);
  if (writeErrorCode(error) === "E_DISK_FULL")
    return new StorageError("E_DISK_FULL", "no space is left for the database", {}, error);
  return new StorageError("E_IO", `${path} cannot be made`, {}, error);
}

/** What link(2) says where there are no hard links: FAT, some network file systems. */
const WITHOUT_LINKS: ReadonlySet<string | undefined> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** Gives the new file its name, which nothing may have yet: rename(2) would replace another import's database. E_LOCKED. */
export async function publish(working: string, path: string): Promise<void> {
  try {
    await link(working, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") throw createdMeanwhile(path);
    if (!WITHOUT_LINKS.has(code)) throw error;
    await renameClaimed(working, path);
  }
}

/**
 * Imports come one after the other here, by a folder that one of them can make. (A claim of the name itself, an empty file,
 * would be a database to others.)
 */
async function renameClaimed(working: string, path: string): Promise<void> {
  const claim = join(dirname(working), "..", `.${basename(path).slice(0, 100)}.claim`);
  await mkdir(claim).catch((error) => {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw createdMeanwhile(path, `If no import is under way, remove ${claim}.`);
  });
  try {
    if (existsSync(path)) throw createdMeanwhile(path);
    await rename(working, path);
  } finally {
    await rmdir(claim).catch(() => undefined);
  }
}

function createdMeanwhile(path: string, hint = "Import again."): StorageError {
  return new StorageError("E_LOCKED", `another process created ${path} during the import`, { hint });
}

/** SQLite would play a -wal or a -journal whose database is gone into the new one: records would be lost or altered. */
export function refuseLeftovers(path: string): void {
  for (const leftover of [`${path}-wal`, `${path}-journal`]) {
    if (!statSync(leftover, { throwIfNoEntry: false })?.size) continue;
    throw new StorageError("E_HOT_JOURNAL", `${leftover} is there, but its database is not`, {
      hint: "SQLite would apply it to the new database. Put its database back, or move it away.",
    });
  }
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
    return isSqlitePending(database);
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
