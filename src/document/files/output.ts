/** Where a document's bytes go: a file, written beside its name and renamed, or a stream. */
import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import { type FileHandle, lstat, open, readlink, realpath, rename, rm, type stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Writable } from "node:stream";
import { StorageError } from "../../errors.js";
import { looksLikeDocument } from "../header.js";
import { createOwned, type OwnedFile } from "./owned-file.js";
import { SyncedFile } from "./synced-file.js";
import { writeAll, writeError } from "./write-error.js";

export { writeError, writeErrorCode } from "./write-error.js";

/** Takes a document's bytes in order. E_DISK_FULL, E_CLOSED_PIPE, E_IO. */
export interface ByteOutput {
  /** When it resolves, the bytes are written and their memory is the caller's again. One call at a time. */
  write(bytes: Buffer): Promise<void>;
  /** Makes the document final: durable, under its name. */
  finish(): Promise<void>;
  /** Leaves nothing of a document that is not finished; idempotent; never throws. */
  abort(): Promise<void>;
}

type Stats = Awaited<ReturnType<typeof stat>>;

export function openError(path: string, error: unknown): StorageError {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
    case "ENOTDIR":
      return new StorageError("E_USAGE", `the folder of ${path} does not exist`, {}, error);
    case "ENAMETOOLONG":
      return new StorageError("E_USAGE", "the output's name is too long", { hint: "255 bytes are the most." }, error);
    case "ELOOP":
      return new StorageError("E_USAGE", `${path} is a symlink that leads nowhere`, {}, error);
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new StorageError("E_READ_ONLY", `${path} cannot be written`, {}, error);
    default:
      return writeError(error);
  }
}

async function statOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await fs.stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw openError(path, error);
  }
}

/** E_OUTPUT_EXISTS for a folder, and for a regular file that is neither empty nor an export document. Reads only. */
export async function requireReplaceable(path: string): Promise<void> {
  const stats = await statOrUndefined(path);
  if (stats?.isDirectory()) throw new StorageError("E_OUTPUT_EXISTS", `${path} is a folder`);
  if (stats?.isFile() !== true || stats.size === 0 || (await isDocument(path))) return;
  throw new StorageError("E_OUTPUT_EXISTS", `${path} exists and is no export document`, {
    hint: "Choose another name, or replace the file with --force.",
  });
}

/**
 * Opens the output file. A regular file is written beside its name, with mode 0600, and renamed when complete; a symlink
 * stays, and what it points to is replaced; a FIFO or a device is written to. An existing file that is neither empty nor
 * an export document needs `force` (E_OUTPUT_EXISTS).
 */
export async function openFileOutput(path: string, force: boolean): Promise<ByteOutput> {
  const stats = await statOrUndefined(path);
  if (stats?.isDirectory()) throw new StorageError("E_OUTPUT_EXISTS", `${path} is a folder`);
  try {
    if (stats !== undefined && !stats.isFile()) return new DirectOutput(await open(path, constants.O_WRONLY));
    if (!force) await requireReplaceable(path);
    const final = await resolveLinks(path);
    return new ReplacingOutput(await createOwned(final, "file", ".tmp"), final);
  } catch (error) {
    throw error instanceof StorageError ? error : openError(path, error);
  }
}

/** The name that the symlinks at `path` lead to, whether or not there is a file. */
export async function resolveLinks(path: string): Promise<string> {
  let name = resolve(path);
  for (let hops = 0; hops < 40; hops++) {
    const folder = await realpath(dirname(name));
    name = join(folder, basename(name));
    const target = await lstat(name).then(
      (stats) => (stats.isSymbolicLink() ? readlink(name) : undefined),
      () => undefined,
    );
    if (target === undefined) return name;
    name = resolve(folder, target);
  }
  throw new StorageError("E_USAGE", `${path} is a symlink that leads nowhere`);
}

async function isDocument(path: string): Promise<boolean> {
  return looksLikeDocument((await documentHead(path)) ?? "");
}

/** The first bytes of a file, unpacked, as latin1; undefined where they cannot be read. */
export async function documentHead(path: string): Promise<string | undefined> {
  try {
    const { openFileInput } = await import("../reading/input.js");
    const input = await openFileInput(path);
    try {
      const head = Buffer.alloc(4096);
      let length = 0;
      for (let count = 1; count > 0 && length < 256; length += count) count = await input.read(head, length);
      return head.toString("latin1", 0, length);
    } finally {
      await input.close();
    }
  } catch {
    return undefined;
  }
}

/** Makes a new name durable. Some folders cannot be read, or synced; what has the name is there all the same. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

class ReplacingOutput implements ByteOutput {
  private state: "open" | "done" = "open";
  private readonly file: SyncedFile;

  constructor(
    private readonly temporary: OwnedFile,
    private readonly final: string,
  ) {
    this.file = new SyncedFile(temporary.handle);
  }

  write(bytes: Buffer): Promise<void> {
    return this.file.write(bytes);
  }

  async finish(): Promise<void> {
    try {
      await this.file.sync();
      // While it is locked: closed, it would be anybody's to remove.
      await rename(this.temporary.path, this.final);
      this.state = "done";
      await this.temporary.release();
      await syncFolder(dirname(this.final));
    } catch (error) {
      throw writeError(error);
    }
  }

  async abort(): Promise<void> {
    if (this.state === "done") return;
    this.state = "done";
    await this.file.settle();
    await this.temporary.release();
    await rm(this.temporary.path, { force: true }).catch(() => undefined);
  }
}

/** A FIFO or a device. */
class DirectOutput implements ByteOutput {
  constructor(private readonly handle: FileHandle) {}

  write(bytes: Buffer): Promise<void> {
    return writeAll(this.handle, bytes);
  }

  async finish(): Promise<void> {
    await this.handle.close().catch((error: unknown) => {
      throw writeError(error);
    });
  }

  async abort(): Promise<void> {
    await this.handle.close().catch(() => undefined);
  }
}

/** A stream. It is ended with the document and destroyed on abort, unless it is the process's own stdout or stderr. */
export class StreamOutput implements ByteOutput {
  private failure: unknown;
  private readonly owned: boolean;
  private readonly onError = (error: unknown): void => {
    this.failure ??= error;
  };

  /** An abort ends a write that nobody reads. */
  constructor(
    private readonly stream: Writable,
    private readonly signal?: AbortSignal,
  ) {
    this.owned = stream !== process.stdout && stream !== process.stderr;
    // Without a listener a closed pipe would end the process.
    stream.on("error", this.onError);
  }

  write(bytes: Buffer): Promise<void> {
    // A stream may keep what it was given (a PassThrough does), and the caller will write over its memory.
    const kept = this.owned ? Buffer.from(bytes) : bytes;
    return this.unlessClosed((done) => this.stream.write(kept, done));
  }

  async finish(): Promise<void> {
    if (this.owned) await this.unlessClosed((done) => this.stream.end(done));
    else if (this.failure !== undefined) throw writeError(this.failure);
  }

  /** `action` calls back when it is done; a stream that closes before, or an abort, is an error. */
  private unlessClosed(action: (done: (error?: Error | null) => void) => void): Promise<void> {
    const { stream, signal } = this;
    if (this.failure !== undefined) return Promise.reject(writeError(this.failure));
    if (signal?.aborted) return Promise.reject(writeError(signal.reason));
    return new Promise<void>((resolved, rejected) => {
      const settle = (error?: unknown) => {
        stream.off("close", closed);
        stream.off("error", closed);
        signal?.removeEventListener("abort", aborted);
        if (error) rejected(writeError(error));
        else resolved();
      };
      const closed = () => settle(this.failure ?? { code: "EPIPE" });
      const aborted = () => settle(signal?.reason);
      stream.on("close", closed);
      stream.on("error", closed);
      signal?.addEventListener("abort", aborted);
      action(settle);
    });
  }

  async abort(): Promise<void> {
    if (this.owned && !this.stream.writableFinished) this.stream.destroy();
  }
}
