/** Temporary files that nobody else can read and that vanish with the process. */
import { randomBytes } from "node:crypto";
import { readSync, writeSync } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StorageError } from "../../errors.js";
import { type ByteInput, HandleInput } from "../reading/input.js";

function spoolError(error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code !== "ENOSPC" && code !== "EDQUOT")
    return new StorageError("E_IO", "a temporary file could not be used", { detail: `in ${tmpdir()}` }, error);
  return new StorageError("E_DISK_FULL", "no space is left for temporary files", {
    hint: `Set TMPDIR to a folder with more space than ${tmpdir()}.`,
  });
}

export class Spool {
  /** Bytes written since the last clear(). */
  length = 0;

  private constructor(
    private readonly handle: FileHandle,
    private readonly path: string | undefined,
  ) {}

  /** E_IO, E_DISK_FULL. */
  static async create(): Promise<Spool> {
    const path = join(tmpdir(), `llmspell-storage-${randomBytes(12).toString("hex")}`);
    try {
      const handle = await open(path, "wx+", 0o600);
      // Without a name the file goes away with its handle, also when the process is killed. Windows refuses that.
      const unlinked = await rm(path).then(
        () => true,
        () => false,
      );
      return new Spool(handle, unlinked ? undefined : path);
    } catch (error) {
      throw spoolError(error);
    }
  }

  async append(bytes: Buffer): Promise<void> {
    try {
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await this.handle.write(bytes, at, bytes.length - at, this.length);
        at += bytesWritten;
        this.length += bytesWritten;
      }
    } catch (error) {
      throw spoolError(error);
    }
  }

  /** append() for callers that cannot wait. */
  appendNow(bytes: Buffer): void {
    try {
      for (let at = 0; at < bytes.length; ) {
        const written = writeSync(this.handle.fd, bytes, at, bytes.length - at, this.length);
        at += written;
        this.length += written;
      }
    } catch (error) {
      throw spoolError(error);
    }
  }

  /** Fills `target` with the bytes from `position` on, which must be there; for callers that cannot wait. */
  readNow(target: Buffer, position: number): void {
    try {
      for (let at = 0; at < target.length; ) {
        const count = readSync(this.handle.fd, target, at, target.length - at, position + at);
        if (count === 0) throw new Error("the temporary file is shorter than what was written to it");
        at += count;
      }
    } catch (error) {
      throw spoolError(error);
    }
  }

  /** A reader from the beginning; several may read one after another. */
  reader(): ByteInput {
    return new HandleInput(this.handle, false, 0);
  }

  async clear(): Promise<void> {
    if (this.length === 0) return;
    this.length = 0;
    await this.handle.truncate(0).catch(() => undefined);
  }

  /** Idempotent; never throws. */
  async close(): Promise<void> {
    await this.handle.close().catch(() => undefined);
    if (this.path !== undefined) await rm(this.path, { force: true }).catch(() => undefined);
  }
}
