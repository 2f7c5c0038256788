/** What a failed write means. */
import type { FileHandle } from "node:fs/promises";
import { StorageError } from "../../errors.js";

/** Whatever was written. */
export function writeErrorCode(error: unknown): "E_DISK_FULL" | "E_CLOSED_PIPE" | "E_IO" {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOSPC":
    case "EDQUOT":
      return "E_DISK_FULL";
    case "EPIPE":
    case "ERR_STREAM_DESTROYED":
    case "ERR_STREAM_PREMATURE_CLOSE":
    case "ERR_STREAM_WRITE_AFTER_END":
    case "ERR_STREAM_ALREADY_FINISHED":
      return "E_CLOSED_PIPE";
    default:
      return "E_IO";
  }
}

/** The StorageError for a failed write. */
export function writeError(error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  switch (writeErrorCode(error)) {
    case "E_DISK_FULL":
      return new StorageError("E_DISK_FULL", "Ran out of disk space writing export file", {}, error);
    case "E_CLOSED_PIPE":
      return new StorageError("E_CLOSED_PIPE", "the reader of the output went away", {}, error);
    case "E_IO": {
      const tooLarge = (error as NodeJS.ErrnoException).code === "EFBIG";
      const context = tooLarge ? { hint: "The file system, or `ulimit -f`, permits no larger file." } : {};
      return new StorageError("E_IO", "writing the document failed", context, error);
    }
  }
}

export async function writeAll(handle: FileHandle, bytes: Buffer): Promise<void> {
  try {
    for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
  } catch (error) {
    throw writeError(error);
  }
}
