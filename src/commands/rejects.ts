/** The rejects file: one JSON object per rejected record and line. */
import { constants, type FileHandle, open, stat } from "node:fs/promises";
import { StorageError } from "../errors.js";
import type { Rejection } from "../records/run-context.js";
import { redact } from "../redaction.js";

export interface RejectsFile {
  write(rejection: Rejection): Promise<void>;
  close(): Promise<void>;
}

/** What every file of rejects begins with. */
const FIRST_BYTES = '{"section":';
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** Creates the file, readable by its owner only, or empties one that holds rejects. E_OUTPUT_EXISTS, E_IO, E_DISK_FULL. */
export async function openRejectsFile(path: string): Promise<RejectsFile> {
  await refuseOtherFile(path).catch((error) => {
    throw writeError(path, error);
  });
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600).catch((error) => {
    throw writeError(path, error);
  });
  // A file that was there keeps its old mode otherwise; a pipe or a terminal has none of its own.
  if ((await file.stat()).isFile()) await file.chmod(0o600);
  return {
    async write({ kind, error, record }) {
      const { section, key, field } = error.context;
      const place = { section: section ?? kind.path, key: key ?? null, ...(field === undefined ? {} : { field }) };
      const head = JSON.stringify({ ...place, code: error.code, reason: redact(error.message) });
      await append(path, file, Buffer.from(`${head.slice(0, -1)},"record":`));
      let written = 0;
      for await (const chunk of record ?? []) {
        written += chunk.length;
        await append(path, file, withoutLineBreaks(chunk));
      }
      await append(path, file, Buffer.from(written === 0 ? "null}\n" : "}\n"));
    },
    close: () => file.close(),
  };
}

/** A file with anything but rejects in it is somebody's, under whatever name: a document, a database, the one being read. */
async function refuseOtherFile(path: string): Promise<void> {
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (!stats?.isFile() || stats.size === 0) return;
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(FIRST_BYTES.length), 0, FIRST_BYTES.length, 0);
    if (buffer.toString("latin1", 0, bytesRead) === FIRST_BYTES) return;
  } finally {
    await file.close();
  }
  throw new StorageError("E_OUTPUT_EXISTS", `${path} exists and holds no rejects`, {
    hint: "Choose another name for --rejects.",
  });
}

/** Between JSON tokens a line break means nothing; within one it does not occur. */
function withoutLineBreaks(chunk: Uint8Array): Uint8Array {
  const isBreak = (byte: number): boolean => byte === LINE_FEED || byte === CARRIAGE_RETURN;
  return chunk.some(isBreak) ? chunk.map((byte) => (isBreak(byte) ? 0x20 : byte)) : chunk;
}

async function append(path: string, file: FileHandle, bytes: Uint8Array): Promise<void> {
  try {
    await file.appendFile(bytes);
  } catch (error) {
    throw writeError(path, error);
  }
}

function writeError(path: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const full = (error as NodeJS.ErrnoException).code === "ENOSPC";
  return new StorageError(full ? "E_DISK_FULL" : "E_IO", `the rejects file ${path} cannot be written`, {}, error);
}
