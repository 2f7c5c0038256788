/** The manifest of an export directory: which files it has, and what is in each. Format: docs/document-format.md, "Directories". */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { type ErrorContext, StorageError } from "../../errors.js";
import type { DocumentHeader } from "../header.js";
import type { ArrayDigest } from "../manifest.js";

export const MANIFEST_NAME = "manifest.json";
const FORMAT = "llmspell-storage directory";
/** The version that is written; every 1.x is read. */
const VERSION = "1.0";
/** Of a manifest: a million files. */
const MAX_BYTES = 2 ** 28;

export interface DirectoryFile {
  readonly name: string;
  /** Of the file as it lies there. */
  readonly bytes: number;
  /** SHA-256 of these bytes, in hexadecimal. */
  readonly sha256: string;
  /** Its arrays by path, in the file's order, as its own manifest has them. */
  readonly sections: ReadonlyMap<string, ArrayDigest>;
}

export interface DirectorySection {
  readonly records: number;
  /** What the records of all files mean (docs/verification.md), where the export was asked for it. */
  readonly digest?: string | undefined;
}

export interface DirectoryManifest {
  /** Of the run that wrote it. */
  readonly run: string;
  /** What each file says of itself. */
  readonly header: DocumentHeader;
  /** Why it is not all that its source had, a word each; empty: it is. Undefined: nobody says. */
  readonly partial: readonly string[] | undefined;
  /** In the order in which they are read. */
  readonly files: readonly DirectoryFile[];
  /** Of all files, by path. */
  readonly sections: ReadonlyMap<string, DirectorySection>;
}

export function recordsOf({ sections }: DirectoryManifest): number {
  return [...sections.values()].reduce((sum, { records }) => sum + records, 0);
}

/** What the files hold together. `digestOf`: of a section whose records were all written. */
export function sectionsOfFiles(
  files: readonly DirectoryFile[],
  digestOf?: (path: string) => string | undefined,
): ReadonlyMap<string, DirectorySection> {
  const sections = new Map<string, DirectorySection>();
  for (const file of files)
    for (const [path, { records }] of file.sections)
      sections.set(path, { records: (sections.get(path)?.records ?? 0) + records, digest: digestOf?.(path) });
  return sections;
}

/** In pieces: a directory may have very many files. */
export function* printManifest(manifest: DirectoryManifest): Generator<string, void, undefined> {
  const { run, header, partial, files, sections } = manifest;
  const { version, exportedAt, sourceBackend, producer, migrations } = header;
  const document = { version, exported_at: exportedAt, source_backend: sourceBackend, producer, migrations };
  yield `{"format":${JSON.stringify(FORMAT)},
"version":${JSON.stringify(VERSION)},
"run":${JSON.stringify(run)},
"document":${JSON.stringify(document)},
"partial":${JSON.stringify(partial)},
"files":[`;
  for (const [i, { name, bytes, sha256, sections: arrays }] of files.entries())
    yield `${i === 0 ? "" : ","}\n${JSON.stringify({ name, bytes, sha256, sections: Object.fromEntries(arrays) })}`;
  yield '\n],\n"sections":{';
  for (const [i, [path, section]] of [...sections].entries())
    yield `${i === 0 ? "" : ","}\n${JSON.stringify(path)}:${JSON.stringify(section)}`;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  yield `\n},\n"totals":${JSON.stringify({ files: files.length, bytes, records: recordsOf(manifest) })}\n}\n`;
}

export function directoryBroken(message: string, context: ErrorContext = {}, cause?: unknown): StorageError {
  return new StorageError(
    "E_DOCUMENT_MANIFEST",
    message,
    {
      hint: "The directory was changed, or copied in part, after it was written: copy it again, or export again.",
      ...context,
    },
    cause,
  );
}

/** Undefined where the folder has none. E_DOCUMENT_*, E_IO. */
export async function readManifest(folder: string): Promise<DirectoryManifest | undefined> {
  const text = await readText(join(folder, MANIFEST_NAME));
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new StorageError("E_DOCUMENT_PARSE", "the directory's manifest is not valid JSON", named, error);
  }
  return manifestOf(value);
}

const named: ErrorContext = { file: MANIFEST_NAME };

async function readText(path: string): Promise<string | undefined> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "r");
    const stats = await handle.stat();
    if (!stats.isFile()) throw directoryBroken("the directory's manifest is no regular file", named);
    if (stats.size > MAX_BYTES)
      throw new StorageError("E_DOCUMENT_LIMIT", "the directory's manifest is beyond any export's", named);
    return await handle.readFile("utf8");
  } catch (error) {
    if (error instanceof StorageError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    if (code === "EACCES" || code === "EPERM")
      throw new StorageError("E_INPUT_NOT_FOUND", `${path} cannot be read`, {}, error);
    throw new StorageError("E_IO", "reading the directory's manifest failed", named, error);
  } finally {
    await handle?.close();
  }
}

/** Whether a text is a manifest's, whatever is wrong with it. */
export function looksLikeManifest(text: string): boolean {
  return text.startsWith(`{"format":${JSON.stringify(FORMAT)}`);
}

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (value: unknown): value is string => typeof value === "string";
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText);
const isDigest = (value: unknown): value is string => isText(value) && /^[0-9a-f]{64}$/.test(value);

function shape(what: string): StorageError {
  return new StorageError("E_DOCUMENT_SHAPE", `the directory's manifest: ${what}`, named);
}

function manifestOf(value: unknown): DirectoryManifest {
  if (!isObject(value) || value["format"] !== FORMAT) throw shape(`it is not of the format ${JSON.stringify(FORMAT)}`);
  const { version, run, partial } = value;
  if (!isText(version) || !/^1\.\d+$/.test(version))
    throw new StorageError("E_DOCUMENT_VERSION", "directories of this version are not supported", {
      ...named,
      hint: 'Directories of version "1.0" and later 1.x are read.',
    });
  if (!isText(run) || !/^[\w-]{1,64}$/.test(run)) throw shape("run is no name of a run");
  if (partial !== undefined && !isTexts(partial)) throw shape("partial is no array of strings");
  if (!Array.isArray(value["files"])) throw shape("files is no array");
  const files = value["files"].map(fileOf);
  const names = new Set<string>();
  for (const { name } of files) {
    if (names.has(name)) throw directoryBroken(`the manifest names ${name} twice`, { file: name });
    names.add(name);
  }
  const manifest = {
    run,
    header: headerOf(value["document"]),
    partial,
    files,
    sections: sectionsOf(value["sections"]),
  };
  requireSums(manifest, value["totals"]);
  return manifest;
}

function headerOf(value: unknown): DocumentHeader {
  if (!isObject(value)) throw shape("document is no object");
  const { version, exported_at: exportedAt, source_backend: sourceBackend, producer, migrations } = value;
  if (!isText(version) || !isText(exportedAt) || !isText(producer) || !isTexts(migrations))
    throw shape("document lacks version, exported_at, producer or migrations");
  if (sourceBackend !== "sqlite" && sourceBackend !== "postgresql")
    throw shape('source_backend is neither "sqlite" nor "postgresql"');
  return { version, exportedAt, sourceBackend, producer, migrations };
}

function fileOf(value: unknown): DirectoryFile {
  if (!isObject(value)) throw shape("a file is no object");
  const { name, bytes, sha256, sections } = value;
  // A name of its own folder, and none that is hidden.
  if (!isText(name) || !/^[^./\\\0][^/\\\0]*$/.test(name) || name === MANIFEST_NAME) throw shape("a file has no name");
  if (!isCount(bytes) || !isDigest(sha256) || !isObject(sections))
    throw shape(`${name} lacks bytes, sha256 or sections`);
  const arrays = new Map<string, ArrayDigest>();
  for (const [path, array] of Object.entries(sections)) {
    if (!isObject(array) || !isCount(array["records"]) || !isDigest(array["sha256"]))
      throw shape(`${path} of ${name} lacks records or sha256`);
    arrays.set(path, { records: array["records"], sha256: array["sha256"] });
  }
  return { name, bytes, sha256, sections: arrays };
}

function sectionsOf(value: unknown): ReadonlyMap<string, DirectorySection> {
  if (!isObject(value)) throw shape("sections is no object");
  return new Map(
    Object.entries(value).map(([path, section]) => {
      if (!isObject(section) || !isCount(section["records"])) throw shape(`${path} lacks records`);
      const { records, digest } = section;
      return [path, { records, ...(isText(digest) ? { digest } : {}) }];
    }),
  );
}

/** What the files hold is what the sections and the totals say: an entry that somebody took out is noticed. */
function requireSums(manifest: DirectoryManifest, totals: unknown): void {
  const { files, sections } = manifest;
  const sums = sectionsOfFiles(files);
  for (const [path, { records }] of sums)
    if (records !== (sections.get(path)?.records ?? 0))
      throw directoryBroken(`the files have ${records} records of ${path}, the manifest says another number`, {
        ...named,
        section: path,
      });
  for (const [path, { records }] of sections)
    if (records !== (sums.get(path)?.records ?? 0))
      throw directoryBroken(`no file has records of ${path}, but the manifest knows it`, { ...named, section: path });
  const { files: count, bytes, records } = isObject(totals) ? totals : {};
  const sum = files.reduce((all, file) => all + file.bytes, 0);
  if (count !== files.length || bytes !== sum || records !== recordsOf(manifest))
    throw directoryBroken("the manifest's totals are not those of its files", named);
}
