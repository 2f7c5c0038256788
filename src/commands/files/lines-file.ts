/** A file of lines that a run writes beside its result: rejected records, findings. It replaces nothing but its like. */
import { constants, type FileHandle, open, stat } from "node:fs/promises";
import { isFifo, openFifoForWriting, openStdout } from "../../document/files/fifo.js";
import { resolveLinks, StreamOutput, writeErrorCode } from "../../document/files/output.js";
import { StorageError } from "../../errors.js";
import { expandPath } from "../../folders.js";
import { isSameFile, isStandardOutput, statOfDescriptor, statOfPath } from "../shown/standard-streams.js";

export interface LinesFile {
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** What lines are called, and how a file of them is known. */
export interface LinesForm {
  /** The option that names the file. */
  readonly flag: string;
  /** e.g. "rejects" */
  readonly noun: string;
  /** What every file of them begins with. */
  readonly begins: string;
}

export interface LinesOptions {
  /** Files and folders that the run reads or writes, whether they are there or not. */
  readonly files: readonly string[];
  /** What else goes to standard output. */
  readonly stdout: "document" | "result" | "nothing";
  readonly signal: AbortSignal;
}

/** What SQLite puts behind a database's name. */
const SQLITE_SUFFIXES = ["", "-wal", "-shm", "-journal"];

/**
 * `-` is standard output. A file is made, readable by its owner only, or emptied when it holds its like. E_USAGE for what the
 * run reads or writes, by whatever name; E_OUTPUT_EXISTS, E_IO, E_DISK_FULL.
 */
export async function openLinesFile(name: string, form: LinesForm, options: LinesOptions): Promise<LinesFile> {
  const path = name === "-" ? "/dev/stdout" : expandPath(name);
  const toStdout = name === "-" || isStandardOutput(path);
  try {
    if (toStdout) refuseStdout(form, options.stdout);
    else await refuseFiles(path, form, options);
    const output = await openOutput(toStdout ? undefined : path, form, options.signal);
    const failed = (error: unknown): never => {
      throw writeError(name, form, error);
    };
    return { write: (bytes) => output.write(bytes).catch(failed), close: () => output.close().catch(failed) };
  } catch (error) {
    throw writeError(name, form, error);
  }
}

/** `path`: undefined for standard output. */
async function openOutput(path: string | undefined, form: LinesForm, signal: AbortSignal): Promise<LinesFile> {
  if (path === undefined || (await isFifo(path))) {
    const stream = path === undefined ? openStdout() : await openFifoForWriting(path, signal);
    const output = new StreamOutput(stream, signal);
    return { write: (bytes) => output.write(Buffer.from(bytes)), close: () => output.finish() };
  }
  await refuseOtherFile(path, form);
  const file: FileHandle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
  // A file that was there keeps its old mode otherwise; a terminal has none of its own, and some file systems have none.
  if ((await file.stat()).isFile()) await file.chmod(0o600).catch(() => undefined);
  return { write: (bytes) => file.appendFile(bytes), close: () => file.close() };
}

function refuseStdout({ flag }: LinesForm, holds: LinesOptions["stdout"]): void {
  if (holds === "nothing") return;
  throw new StorageError("E_USAGE", `${flag} names standard output, where the ${holds} goes`, {
    hint: holds === "document" ? "Give it a file." : "Give it a file, or leave standard output to it with --quiet.",
  });
}

/** By what the names lead to, and by the files themselves: links, hard links, descriptors. */
async function refuseFiles(path: string, { flag }: LinesForm, { files }: LinesOptions): Promise<void> {
  const final = await resolveLinks(path);
  const found = statOfPath(path);
  const streams = [0, 1, 2].map(statOfDescriptor).filter((stats) => stats?.isFile());
  let used = streams.some((stats) => isSameFile(stats, found));
  for (const file of files) {
    const name = await resolveLinks(file).catch(() => file);
    used ||= SQLITE_SUFFIXES.some((suffix) => `${name}${suffix}` === final) || final.startsWith(`${name}/`);
    used ||= !found?.isCharacterDevice() && isSameFile(statOfPath(file), found);
  }
  if (used) throw new StorageError("E_USAGE", `${flag} names a file that the run reads or writes`);
}

/** A file with anything but such lines in it is somebody's, under whatever name: a document, a database, the one being read. */
async function refuseOtherFile(path: string, { flag, noun, begins }: LinesForm): Promise<void> {
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (!stats?.isFile() || stats.size === 0) return;
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(begins.length), 0, begins.length, 0);
    if (buffer.toString("latin1", 0, bytesRead) === begins) return;
  } finally {
    await file.close();
  }
  throw new StorageError("E_OUTPUT_EXISTS", `${path} exists and holds no ${noun}`, {
    hint: `Choose another name for ${flag}.`,
  });
}

function writeError(name: string, { noun }: LinesForm, error: unknown): StorageError {
  if (error instanceof StorageError && error.code !== "E_CLOSED_PIPE" && error.code !== "E_DISK_FULL") return error;
  const cause = error instanceof StorageError ? error.cause : error;
  const full = writeErrorCode(cause) === "E_DISK_FULL";
  const { code } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR")
    return new StorageError("E_USAGE", `the folder of the ${noun} file ${name} does not exist`, {}, cause);
  return new StorageError(full ? "E_DISK_FULL" : "E_IO", `the ${noun} file ${name} cannot be written`, {}, cause);
}
