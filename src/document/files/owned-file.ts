/**
 * What a run writes beside its output's name until that is complete: a file or folder that belongs to it while it lives. A run
 * that was killed leaves it there, and the next run to the same name removes it.
 *
 * Whether the owner lives is told by a lock on the file, which ends with its process, in whatever container or (where the
 * file system shares its locks) on whatever machine that runs; a process id would be another's there. Node itself has no such
 * locks, but node:sqlite does.
 */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync, statSync } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readdir, rm, rmdir, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { StorageError } from "../../errors.js";

/** What a file system takes at least: 255 bytes, less what is put before and behind. */
const STEM_BYTES = 200;
const ATTEMPTS = 10;
/** In an owned folder. */
const LOCK_NAME = "lock";

export interface OwnedFile {
  readonly path: string;
  /** Of the file, for writing; of a folder, its lock. Closing it gives up the lock. */
  readonly handle: FileHandle;
  /** Closes the handle: from now on the next run may remove what is still there. Idempotent. */
  release(): Promise<void>;
}

type Kind = "file" | "folder";

/** Makes a file of mode 0600, or a folder of mode 0700, beside `final`, and removes those whose owners are gone. */
export async function createOwned(final: string, kind: Kind, ending: string): Promise<OwnedFile> {
  const prefix = join(dirname(final), `.${stemOf(final)}.`);
  await removeAbandoned(prefix, kind, ending);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const path = `${prefix}${randomBytes(6).toString("hex")}${ending}`;
    if (kind === "folder") await mkdir(path, 0o700);
    const owned = await own(path, kind);
    if (owned !== undefined) return owned;
  }
  throw new StorageError("E_LOCKED", `other processes remove the temporary files of ${final}`);
}

/**
 * Locks an empty file, which is made where it is not there, as long as the process lives or until `release`. Undefined: another
 * run holds it. Who removes the file does so before releasing it. Throws what the system says, ENOENT where the folder went away.
 */
export function lockFile(path: string): { release(): void } | undefined {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    // At one go: a file that the process closes while it holds the lock by another handle would be unlocked by that.
    try {
      closeSync(openSync(path, "wx", 0o600));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const before = statSync(path, { throwIfNoEntry: false });
    const lock = tryLock(path);
    if (lock === "held") return undefined;
    const release = (): void => {
      if (typeof lock === "object" && lock.isOpen) lock.close();
    };
    // Its last owner may have removed it while it was being locked.
    if (before !== undefined && statSync(path, { throwIfNoEntry: false })?.ino === before.ino) return { release };
    release();
  }
  return undefined;
}

function stemOf(final: string): string {
  const name = basename(final);
  if (Buffer.byteLength(name) <= STEM_BYTES) return name;
  return createHash("sha256").update(name).digest("hex").slice(0, 32);
}

/** Undefined when another run took it for abandoned before it was locked. */
async function own(path: string, kind: Kind): Promise<OwnedFile | undefined> {
  const locked = kind === "folder" ? join(path, LOCK_NAME) : path;
  const handle = await open(locked, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
    if (kind === "folder" && error.code === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  // Whatever the umask is. Some file systems have no modes.
  await handle.chmod(0o600).catch(() => undefined);
  const lock = tryLock(locked);
  const [{ ino }, there] = [await handle.stat(), await stat(locked).catch(() => undefined)];
  const isOurs = lock !== "held" && there?.ino === ino;
  let released = false;
  const release = async (): Promise<void> => {
    if (released) return;
    released = true;
    await handle.close().catch(() => undefined);
    if (typeof lock === "object") lock.close();
  };
  if (isOurs) return { path, handle, release };
  await release();
  await rm(path, { recursive: true, force: true });
  return undefined;
}

async function removeAbandoned(prefix: string, kind: Kind, ending: string): Promise<void> {
  const folder = dirname(prefix);
  const start = basename(prefix);
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.startsWith(start) || !name.endsWith(ending)) continue;
    if (!/^[0-9a-f]{12}$/.test(name.slice(start.length, -ending.length))) continue;
    // Somebody else's is not ours to judge, nor what a link leads to; what cannot be removed stays.
    await removeIfAbandoned(join(folder, name), kind).catch(() => undefined);
  }
}

async function removeIfAbandoned(path: string, kind: Kind): Promise<void> {
  const stats = await lstat(path);
  const isKind = kind === "folder" ? stats.isDirectory() : stats.isFile();
  if (!isKind || stats.uid !== process.getuid?.()) return;
  const lock = tryLock(kind === "folder" ? join(path, LOCK_NAME) : path);
  if (typeof lock === "object") {
    // While it is locked: its owner may be about to do so, and then makes another.
    await rm(path, { recursive: true, force: true }).catch(() => undefined);
    lock.close();
  }
  if (typeof lock === "object" || lock === "free") await rm(path, { recursive: true, force: true });
  else if (kind === "folder" && lock === "unknown") await rmdir(path);
}

/** SQLITE_BUSY and SQLITE_NOTADB. */
const BUSY = 5;
const NOT_A_DATABASE = 26;

/**
 * Locks an empty file. One with content cannot be locked, but it can be told whether it is: `held` or `free`. Nothing is ever
 * written to the file: SQLite keeps in memory what the transaction would, which is never committed.
 */
function tryLock(path: string): DatabaseSync | "held" | "free" | "unknown" {
  let database: DatabaseSync | undefined;
  try {
    const url = pathToFileURL(path);
    // It must not be made.
    url.searchParams.set("mode", "rw");
    database = new (loadDriver())(url);
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    if (database?.isOpen) database.close();
    const code = ((error as { errcode?: number }).errcode ?? 0) & 0xff;
    if (code === BUSY) return "held";
    return code === NOT_A_DATABASE ? "free" : "unknown";
  }
}

/** Node 22 warns of it at every start. */
function loadDriver(): typeof DatabaseSync {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return (createRequire(import.meta.url)("node:sqlite") as typeof import("node:sqlite")).DatabaseSync;
  } finally {
    process.emitWarning = emitWarning;
  }
}
