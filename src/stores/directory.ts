/** Export directories: documents beside each other, and a manifest that names them. */
import { statSync } from "node:fs";
import { StorageError } from "../errors.js";
import { expandPath } from "../folders.js";
import type { DirectorySnapshot } from "../sources/document-directory.js";
import type { Backend } from "./backend.js";

export interface DirectoryLocation {
  readonly type: "directory";
  /** Without a slash at its end. */
  readonly path: string;
}

/** What a name means that may be a directory's: one with a slash at its end, or a folder's that is there. */
export function directoryLocation(text: string): DirectoryLocation | undefined {
  if (text.includes("://") || text === "-" || text === "") return undefined;
  const isNamed = text.endsWith("/");
  const path = expandPath(text);
  if (!isNamed && !isFolder(path)) return undefined;
  return { type: "directory", path: path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path };
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

export const directory: Backend<DirectoryLocation> = {
  type: "directory",
  word: "document",
  locations: {
    forms: ["a directory of documents (DIR/)"],
    parse: directoryLocation,
    nameOf: ({ path }) => `${path}/`,
    fileOf: ({ path }) => path,
  },
  order: "none",
  async createSource(
    { path },
    { catalog, verifyManifest, times, checkDigests, lines, onManifestError, snapshot, tellsOrder },
  ) {
    const [{ createDirectorySource }, { llmspellDocuments }, { DigestWriter }] = await Promise.all([
      import("../sources/document-directory.js"),
      import("../llmspell/documents/exporters.js"),
      import("../verify/digest.js"),
    ]);
    return createDirectorySource({
      path,
      name: `${path}/`,
      application: llmspellDocuments,
      catalog,
      digests: () => new DigestWriter(catalog),
      checkDigests,
      tellsOrder,
      snapshot: snapshot as DirectorySnapshot | undefined,
      ...(verifyManifest === undefined ? {} : { verifyManifest }),
      ...(times === undefined ? {} : { times }),
      ...(lines === undefined ? {} : { lines }),
      ...(onManifestError === undefined ? {} : { onManifestError }),
    });
  },
  async createSink({ path }, { catalog, producer, compress, vectors, digestOf, partBytes, allowEmpty }) {
    const { createDirectorySink } = await import("../sinks/document-directory.js");
    return createDirectorySink({
      path,
      name: `${path}/`,
      producer,
      ...(catalog === undefined ? {} : { catalog }),
      ...(compress === undefined ? {} : { compress }),
      ...(vectors === undefined ? {} : { vectors }),
      ...(digestOf === undefined ? {} : { digestOf }),
      ...(partBytes === undefined ? {} : { partBytes }),
      ...(allowEmpty === undefined ? {} : { allowEmpty }),
    });
  },
  async planDocument({ path }, options) {
    const { planDirectory } = await import("./planning/directory-plan.js");
    return planDirectory(path, options);
  },
  async readFacts({ path }) {
    const { readManifest } = await import("../document/directory/manifest.js");
    const manifest = await readManifest(path);
    if (manifest === undefined) return {};
    return { bytes: manifest.files.reduce((sum, { bytes }) => sum + bytes, 0), files: manifest.files.length };
  },
};

/** E_USAGE for an option that is a directory's. */
export function refusePartBytes(partBytes: number | undefined): void {
  if (partBytes === undefined) return;
  throw new StorageError("E_USAGE", "--part-size (partBytes) is for directories: the output is none", {
    hint: "A directory's name ends with a slash: --output DIR/.",
  });
}
