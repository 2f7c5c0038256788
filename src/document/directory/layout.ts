/**
 * What stands in an export directory: its manifest, the files that it names, and, while a run writes there or where one was killed,
 * a folder `.exporting` that says what else is of runs and of nobody any more.
 */
import { randomBytes } from "node:crypto";
import { lstat, readdir, readFile, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { StorageError } from "../../errors.js";
import { documentHead } from "../files/output.js";
import { looksLikeDocument } from "../header.js";
import type { Compression } from "../writing/compression.js";
import { type DirectoryManifest, directoryBroken, MANIFEST_NAME, readManifest } from "./manifest.js";

/** In it: the lock of the run that writes, a file `run-RUN` for it, and the manifest that it replaces. */
export const UNFINISHED = ".exporting";
export const REPLACED = "replaced.json";
const PART = /^part-([0-9a-f]{16})-\d{4,}\.json(?:\.gz|\.zst)?$/;
const MARKER = /^run-([0-9a-f]{16})$/;
const DOCUMENT = /^[^.].*\.json(?:\.gz|\.zst)?$/i;
const ENDINGS = { none: "", gzip: ".gz", zstd: ".zst" } as const;
/** Of a look at a directory that another run replaces meanwhile. */
const ATTEMPTS = 5;

/** Where it is there. What hinders it is told as it is, which `rm` does not. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}

export function newRun(): string {
  return randomBytes(8).toString("hex");
}

export function markerOf(run: string): string {
  return `run-${run}`;
}

/** `number`: from 1. */
export function partName(run: string, number: number, compression: Compression): string {
  return `part-${run}-${String(number).padStart(4, "0")}.json${ENDINGS[compression]}`;
}

export function isPartOf(run: string, name: string): boolean {
  return PART.exec(name)?.[1] === run;
}

export interface DirectoryState {
  readonly manifest: DirectoryManifest | undefined;
  /** Files of runs that did not come to their end, or are under way, and files that were replaced. */
  readonly leftovers: readonly string[];
  /** Documents that nobody names. */
  readonly strangers: readonly string[];
  /** Anything else. */
  readonly others: readonly string[];
  /** A run is under way, or was killed. */
  readonly unfinished: boolean;
}

/** Looks at a folder, while others may write it. E_DOCUMENT_* for its manifest, E_INPUT_NOT_FOUND, E_IO. */
export async function examineDirectory(folder: string): Promise<DirectoryState> {
  for (let attempt = 1; ; attempt++) {
    const before = await readManifest(folder);
    const names = await namesIn(folder);
    const unfinished = await unfinishedIn(folder);
    const manifest = await readManifest(folder);
    if (before?.run !== manifest?.run && attempt < ATTEMPTS) continue;
    const files = new Set(manifest?.files.map(({ name }) => name));
    const unnamed = names.filter((name) => !files.has(name) && name !== MANIFEST_NAME && name !== UNFINISHED);
    // Only the manifest of the run that replaced them says that they are nobody's any more.
    const replaced = unfinished.runs.has(manifest?.run ?? "") ? unfinished.replaced : undefined;
    const isLeft = (name: string): boolean => replaced?.has(name) === true || unfinished.runs.has(runOf(name) ?? "");
    const leftovers = unnamed.filter(isLeft);
    const rest = await stillThere(
      folder,
      unnamed.filter((name) => !isLeft(name)),
    );
    const strangers: string[] = [];
    for (const name of rest) if (await isDocument(folder, name)) strangers.push(name);
    return {
      manifest,
      leftovers,
      strangers,
      others: rest.filter((name) => !strangers.includes(name)),
      unfinished: names.includes(UNFINISHED),
    };
  }
}

/** A run's report may be called as a document is. */
async function isDocument(folder: string, name: string): Promise<boolean> {
  if (PART.test(name)) return true;
  if (!DOCUMENT.test(name) || !(await lstat(join(folder, name))).isFile()) return false;
  return looksLikeDocument((await documentHead(join(folder, name))) ?? "");
}

/** E_OUTPUT_EXISTS where a document would go into an export directory, which nobody would read any more. */
export async function refuseInDirectory(path: string): Promise<void> {
  const folder = dirname(path);
  const manifest = await readManifest(folder).catch(() => undefined);
  if (manifest === undefined) return;
  throw new StorageError(
    "E_OUTPUT_EXISTS",
    `${folder} is an export directory, and ${basename(path)} would not be of it`,
    {
      hint: "Choose another folder; a name that ends with a slash (--output DIR/) replaces the directory.",
    },
  );
}

function runOf(name: string): string | undefined {
  return PART.exec(name)?.[1];
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new StorageError("E_INPUT_NOT_FOUND", `${folder} does not exist`, {}, error);
    if (code === "ENOTDIR") throw new StorageError("E_INPUT_NOT_FOUND", `${folder} is no directory`, {}, error);
    throw new StorageError("E_INPUT_NOT_FOUND", `${folder} cannot be read`, {}, error);
  }
}

async function unfinishedIn(folder: string): Promise<{ runs: ReadonlySet<string>; replaced: ReadonlySet<string> }> {
  const names = await readdir(join(folder, UNFINISHED)).catch(() => []);
  const runs = new Set(names.flatMap((name) => MARKER.exec(name)?.[1] ?? []));
  return { runs, replaced: new Set(await replacedNames(join(folder, UNFINISHED, REPLACED))) };
}

/** The files of a manifest that was replaced. Half a file of a run that was killed names none. */
async function replacedNames(path: string): Promise<string[]> {
  try {
    const names: unknown = JSON.parse(await readFile(path, "utf8"));
    return Array.isArray(names) ? names.map(String) : [];
  } catch {
    return [];
  }
}

/** A run that has just ended may have removed them. */
async function stillThere(folder: string, names: readonly string[]): Promise<string[]> {
  const there: string[] = [];
  for (const name of names) if (await lstat(join(folder, name)).catch(() => undefined)) there.push(name);
  return there;
}

/** The directory's state, where an export may go there: an empty folder, or one of ours. E_OUTPUT_EXISTS. */
export async function requireOurs(folder: string): Promise<DirectoryState> {
  let state: DirectoryState;
  try {
    state = await examineDirectory(folder);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    if (error.code === "E_INPUT_NOT_FOUND")
      throw new StorageError("E_READ_ONLY", `${folder} cannot be read and written`, {}, error);
    if (error.exitStatus !== 4) throw error;
    throw new StorageError(
      "E_OUTPUT_EXISTS",
      `${folder} holds a ${MANIFEST_NAME} that this program does not read`,
      { hint: "Choose another folder, or remove what is in this one." },
      error,
    );
  }
  const [stranger] = state.manifest === undefined ? [...state.strangers, ...state.others] : state.strangers;
  if (stranger === undefined) return state;
  throw new StorageError(
    "E_OUTPUT_EXISTS",
    state.manifest === undefined
      ? `${folder} is neither empty nor an export directory`
      : `${folder} holds a document that is not of its export`,
    { file: stranger, hint: "Choose another folder, or move away what is in this one." },
  );
}

/** The manifest of a directory whose files are all there, as long as it says. `verify` false: whatever they are like. E_DOCUMENT_*, E_INPUT_NOT_FOUND. */
export async function requireComplete(folder: string, verify: boolean): Promise<DirectoryManifest> {
  const { manifest, leftovers, strangers, unfinished } = await examineDirectory(folder);
  if (manifest === undefined) throw withoutManifest(folder, unfinished || leftovers.length > 0, strangers.length > 0);
  for (const { name, bytes } of manifest.files) {
    const stats = await stat(join(folder, name)).catch(() => undefined);
    if (stats === undefined) throw directoryBroken(`${name} is missing`, { file: name });
    if (!stats.isFile()) throw directoryBroken(`${name} is no regular file`, { file: name });
    if (verify && stats.size !== bytes)
      throw directoryBroken(`${name} has ${stats.size} bytes, the manifest says ${bytes}`, { file: name });
  }
  const [stranger] = strangers;
  if (verify && stranger !== undefined)
    throw directoryBroken(`${stranger} is not of this export: the manifest does not name it`, {
      file: stranger,
      hint: "Move it away; a document of its own is imported by itself.",
    });
  return manifest;
}

function withoutManifest(folder: string, unfinished: boolean, hasDocuments: boolean): StorageError {
  if (unfinished)
    return new StorageError("E_DOCUMENT_MANIFEST", `the export into ${folder} has not come to its end`, {
      detail: `there is no ${MANIFEST_NAME} yet`,
      hint: "Wait for it, or export again: the next run removes what one that was killed has left.",
    });
  if (!hasDocuments)
    return new StorageError("E_INPUT_NOT_FOUND", `${folder} is a directory, and none of an export`, {
      detail: `there is no ${MANIFEST_NAME}`,
    });
  return new StorageError("E_DOCUMENT_MANIFEST", `${folder} has no ${MANIFEST_NAME}`, {
    detail: "without it nobody can tell whether all files are there",
    hint: "Copy it from where the files are from. Each of these files is a document: it can be imported by itself.",
  });
}
