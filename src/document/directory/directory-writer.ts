/**
 * Writes an export directory: hands out places for its files, and publishes the manifest that names them. What was there before
 * stays whole until then, and is removed after it.
 */
import { mkdir, open, readdir, realpath, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { StorageError } from "../../errors.js";
import { openError, syncFolder } from "../files/output.js";
import { lockFile } from "../files/owned-file.js";
import { SyncedFile } from "../files/synced-file.js";
import { writeError } from "../files/write-error.js";
import type { Compression } from "../writing/compression.js";
import { isPartOf, markerOf, newRun, partName, REPLACED, removeFile, requireOurs, UNFINISHED } from "./layout.js";
import { type DirectoryManifest, MANIFEST_NAME, printManifest } from "./manifest.js";
import type { PartPlace } from "./part-writer.js";

const LOCK = "lock";
const ATTEMPTS = 10;

export class DirectoryWriter {
  readonly run = newRun();
  private count = 0;
  private state: "open" | "published" | "over" = "open";

  private constructor(
    /** Without symlinks. */
    readonly folder: string,
    /** What the run will replace. */
    readonly previous: DirectoryManifest | undefined,
    private readonly lock: DirectoryLock,
    /** The folder was not there. */
    private readonly isNew: boolean,
  ) {}

  /**
   * Makes the folder where it is not there, and removes what runs that were killed have left in it. E_OUTPUT_EXISTS for a folder
   * that is neither empty nor ours, E_LOCKED while another run writes there, E_READ_ONLY, E_USAGE, E_DISK_FULL, E_IO.
   */
  static async open(path: string): Promise<DirectoryWriter> {
    const { folder, isNew } = await folderAt(path);
    let lock: DirectoryLock | undefined;
    /** Nothing is left that `.exporting` would have to tell of. */
    let isClear = false;
    try {
      await requireOurs(folder);
      lock = await lockDirectory(folder);
      const { manifest, leftovers } = await requireOurs(folder);
      const unfinished = join(folder, UNFINISHED);
      for (const name of leftovers) await removeFile(join(folder, name));
      await syncFolder(folder);
      isClear = true;
      for (const name of await readdir(unfinished))
        if (name !== LOCK) await rm(join(unfinished, name), { force: true, recursive: true });
      const writer = new DirectoryWriter(folder, manifest, lock, isNew);
      await writeFile(join(unfinished, markerOf(writer.run)), "", { mode: 0o600 });
      if (manifest !== undefined)
        await writeFile(join(unfinished, REPLACED), JSON.stringify(manifest.files.map(({ name }) => name)), {
          mode: 0o600,
        });
      // Before there is any file that they tell of.
      await syncFolder(unfinished);
      await syncFolder(folder);
      return writer;
    } catch (error) {
      if (isClear) await lock?.giveUp();
      else lock?.release();
      if (isNew) await rmdir(folder).catch(() => undefined);
      throw error instanceof StorageError ? error : openError(path, error);
    }
  }

  /** Where the next file goes. */
  nextPart(compression: Compression): PartPlace {
    const name = partName(this.run, ++this.count, compression);
    return { path: join(this.folder, name), name, compression };
  }

  /** From now on the directory is what the manifest says. Gives a line for each older file that could not be removed. E_DISK_FULL, E_IO, E_LOCKED. */
  async publish(manifest: Omit<DirectoryManifest, "run">): Promise<string[]> {
    const { folder, run } = this;
    const unfinished = join(folder, UNFINISHED, MANIFEST_NAME);
    try {
      await this.requireFiles(manifest);
      const handle = await open(unfinished, "w", 0o600);
      try {
        const file = new SyncedFile(handle);
        for (const piece of printManifest({ ...manifest, run })) await file.write(Buffer.from(piece, "utf8"));
        await file.sync();
      } finally {
        await handle.close();
      }
      await syncFolder(folder);
      await rename(unfinished, join(folder, MANIFEST_NAME));
      this.state = "published";
      await syncFolder(folder);
      if (this.isNew) await syncFolder(dirname(folder));
    } catch (error) {
      throw writeError(error);
    }
    return this.removeOlder(manifest);
  }

  /** Gives up the lock, and removes what is not published; idempotent; never throws. */
  async abort(): Promise<void> {
    if (this.state === "over") return;
    const { folder, run, state } = this;
    this.state = "over";
    if (state === "open") {
      const names = await readdir(folder).catch(() => []);
      for (const name of names.filter((each) => isPartOf(run, each)))
        await rm(join(folder, name), { force: true }).catch(() => undefined);
      await this.lock.giveUp();
      if (this.isNew) await rmdir(folder).catch(() => undefined);
    } else this.lock.release();
  }

  /** On a file system without locks another run may have taken them for leftovers. */
  private async requireFiles({ files }: Pick<DirectoryManifest, "files">): Promise<void> {
    for (const { name, bytes } of files)
      if ((await stat(join(this.folder, name)).catch(() => undefined))?.size !== bytes)
        throw new StorageError("E_LOCKED", `another run has removed or changed files of ${this.folder}`, {
          file: name,
          hint: "Export again when it has ended.",
        });
  }

  private async removeOlder({ files }: Pick<DirectoryManifest, "files">): Promise<string[]> {
    const kept = new Set(files.map(({ name }) => name));
    const warnings: string[] = [];
    for (const { name } of this.previous?.files ?? []) {
      if (kept.has(name)) continue;
      await removeFile(join(this.folder, name)).catch((error: Error) => {
        warnings.push(`${join(this.folder, name)} of the export before could not be removed: ${error.message}`);
      });
    }
    // As long as there are such files, it says that they are nobody's any more.
    if (warnings.length === 0) {
      await syncFolder(this.folder);
      this.state = "over";
      await this.lock.giveUp();
    }
    return warnings;
  }
}

/** The folder, made where it is not there. */
async function folderAt(path: string): Promise<{ folder: string; isNew: boolean }> {
  const notMade = await mkdir(path, 0o700).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  );
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => error);
  if (stats instanceof Error) {
    if (stats.code === "ENOENT" && notMade?.code === "EEXIST")
      throw new StorageError("E_USAGE", `${path} is a symlink that leads nowhere`, {}, stats);
    throw openError(path, notMade ?? stats);
  }
  if (stats.isDirectory()) return { folder: await realpath(path), isNew: notMade === undefined };
  throw new StorageError("E_OUTPUT_EXISTS", `${path} is no folder`, {
    hint: "Without the slash at its end the name means a file.",
  });
}

export interface DirectoryLock {
  /** Leaves what says of which files nobody is any more. */
  release(): void;
  /** Removes what says that a run is under way, too; never throws. */
  giveUp(): Promise<void>;
}

/** E_LOCKED while another run writes there. Throws what the system says. */
export async function lockDirectory(folder: string): Promise<DirectoryLock> {
  const unfinished = join(folder, UNFINISHED);
  for (let attempt = 1; ; attempt++) {
    await mkdir(unfinished, 0o700).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    try {
      const lock = lockFile(join(unfinished, LOCK));
      if (lock !== undefined) return { release: lock.release, giveUp: () => giveUp(unfinished, lock) };
    } catch (error) {
      // The run that had it has just removed the folder.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || attempt === ATTEMPTS) throw error;
      continue;
    }
    throw new StorageError("E_LOCKED", `another export into ${folder} is under way`, {
      hint: "Wait for its end, or choose another folder.",
    });
  }
}

async function giveUp(unfinished: string, lock: { release(): void }): Promise<void> {
  for (const name of await readdir(unfinished).catch(() => []))
    if (name !== LOCK) await rm(join(unfinished, name), { force: true, recursive: true }).catch(() => undefined);
  await rm(join(unfinished, LOCK), { force: true }).catch(() => undefined);
  lock.release();
  await rmdir(unfinished).catch(() => undefined);
}
