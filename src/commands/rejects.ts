/** The rejects file: one JSON object per rejected record and line. */
import { constants, type FileHandle, open, stat } from "node:fs/promises";
import { isFifo, openFifoForWriting, openStdout } from "../document/files/fifo.js";
import { resolveLinks, StreamOutput, writeErrorCode } from "../document/files/output.js";
import { StorageError } from "../errors.js";
import { expandPath } from "../folders.js";
import type { Rejection } from "../records/run-context.js";
import { redact } from "../redaction.js";
import { isSameFile, isStandardOutput, statOfDescriptor, statOfPath } from "./shown/standard-streams.js";

export interface RejectsFile {
  write(rejection: Rejection): Promise<void>;
  close(): Promise<void>;
}

/** A file of JSON objects, one a line, whose first key is the section. */
export interface LinesFile {
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** Which of them. */
interface LinesName {
  readonly name: string;
  /** e.g. `--rejects` */
  readonly option: string;
  /** e.g. `rejects` */
  readonly noun: string;
}

export interface RejectsOptions {
  /** Files and folders that the run reads or writes, whether they are there or not. */
  readonly files: readonly string[];
  /** What else goes to standard output. */
  readonly stdout: "document" | "result" | "nothing";
  readonly signal: AbortSignal;
}

/** What SQLite puts behind a database's name. */
const SQLITE_SUFFIXES = ["", "-wal", "-shm", "-journal"];

/** What every such file begins with. */
const FIRST_BYTES = '{"section":';
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * `-` is standard output. A file is made, readable by its owner only, or emptied when it holds rejects. E_USAGE for what the
 * run reads or writes, by whatever name; E_OUTPUT_EXISTS, E_IO, E_DISK_FULL.
 */
export async function openRejectsFile(name: string, options: RejectsOptions): Promise<RejectsFile> {
  return rejectsTo(await openLinesFile({ name, option: "--rejects", noun: "rejects" }, options));
}

/** The same for lines of another kind. */
export async function openLinesFile(named: LinesName, options: RejectsOptions): Promise<LinesFile> {
  const { name } = named;
  const path = name === "-" ? "/dev/stdout" : expandPath(name);
  const toStdout = name === "-" || isStandardOutput(path);
  try {
    if (toStdout) refuseStdout(named, options.stdout);
    else await refuseFiles(named, path, options);
    const output = await openOutput(named, toStdout ? undefined : path, options.signal);
    const told = (work: Promise<void>): Promise<void> =>
      work.catch((error) => {
        throw writeError(named, error);
      });
    return { write: (bytes) => told(output.write(bytes)), close: () => told(output.close()) };
  } catch (error) {
    throw writeError(named, error);
  }
}

/** `path`: undefined for standard output. */
async function openOutput(named: LinesName, path: string | undefined, signal: AbortSignal): Promise<LinesFile> {
  if (path === undefined || (await isFifo(path))) {
    const stream = path === undefined ? openStdout() : await openFifoForWriting(path, signal);
    const output = new StreamOutput(stream, signal);
    return { write: (bytes) => output.write(Buffer.from(bytes)), close: () => output.finish() };
  }
  await refuseOtherFile(named, path);
  const file: FileHandle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
  // A file that was there keeps its old mode otherwise; a terminal has none of its own, and some file systems have none.
  if ((await file.stat()).isFile()) await file.chmod(0o600).catch(() => undefined);
  return { write: (bytes) => file.appendFile(bytes), close: () => file.close() };
}

function rejectsTo(file: LinesFile): RejectsFile {
  return {
    async write({ kind, error, record }) {
      const { section, key, field, steps } = error.context;
      const place = { section: section ?? kind.path, key: key ?? null, ...(field === undefined ? {} : { field }) };
      const through = steps === undefined ? "" : `; the record came through ${steps.join(", then ")}`;
      const head = JSON.stringify({ ...place, code: error.code, reason: redact(error.message + through) });
      await file.write(Buffer.from(`${head.slice(0, -1)},"record":`));
      let written = 0;
      for await (const chunk of record ?? []) {
        written += chunk.length;
        await file.write(withoutLineBreaks(chunk));
      }
      await file.write(Buffer.from(written === 0 ? "null}\n" : "}\n"));
    },
    close: () => file.close(),
  };
}

function refuseStdout({ option }: LinesName, holds: RejectsOptions["stdout"]): void {
  if (holds === "nothing") return;
  throw new StorageError("E_USAGE", `${option} names standard output, where the ${holds} goes`, {
    hint: holds === "document" ? "Give it a file." : "Give it a file, or leave standard output to it with --quiet.",
  });
}

/** By what the names lead to, and by the files themselves: links, hard links, descriptors. */
async function refuseFiles({ option }: LinesName, path: string, { files }: RejectsOptions): Promise<void> {
  const final = await resolveLinks(path);
  const found = statOfPath(path);
  const streams = [0, 1, 2].map(statOfDescriptor).filter((stats) => stats?.isFile());
  let used = streams.some((stats) => isSameFile(stats, found));
  for (const file of files) {
    const name = await resolveLinks(file).catch(() => file);
    used ||= SQLITE_SUFFIXES.some((suffix) => `${name}${suffix}` === final) || final.startsWith(`${name}/`);
    used ||= !found?.isCharacterDevice() && isSameFile(statOfPath(file), found);
  }
  if (used) throw new StorageError("E_USAGE", `${option} names a file that the run reads or writes`);
}

/** A file with anything but such lines in it is somebody's, under whatever name: a document, a database, the one being read. */
async function refuseOtherFile({ option, noun }: LinesName, path: string): Promise<void> {
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
  throw new StorageError("E_OUTPUT_EXISTS", `${path} exists and holds no ${noun}`, {
    hint: `Choose another name for ${option}.`,
  });
}

/** Between JSON tokens a line break means nothing; within one it does not occur. */
function withoutLineBreaks(chunk: Uint8Array): Uint8Array {
  const isBreak = (byte: number): boolean => byte === LINE_FEED || byte === CARRIAGE_RETURN;
  return chunk.some(isBreak) ? chunk.map((byte) => (isBreak(byte) ? 0x20 : byte)) : chunk;
}

function writeError({ name, noun }: LinesName, error: unknown): StorageError {
  if (error instanceof StorageError && error.code !== "E_CLOSED_PIPE" && error.code !== "E_DISK_FULL") return error;
  const cause = error instanceof StorageError ? error.cause : error;
  const full = writeErrorCode(cause) === "E_DISK_FULL";
  const { code } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR")
    return new StorageError("E_USAGE", `the folder of the ${noun} file ${name} does not exist`, {}, cause);
  return new StorageError(full ? "E_DISK_FULL" : "E_IO", `the ${noun} file ${name} cannot be written`, {}, cause);
}
