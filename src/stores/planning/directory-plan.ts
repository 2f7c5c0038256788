/** What would come of writing an export directory: what refuses it, and how large it would be. */
import { accessSync, constants, existsSync } from "node:fs";
import { dirname } from "node:path";
import { Writable } from "node:stream";
import { requireOurs } from "../../document/directory/layout.js";
import { type DirectoryManifest, recordsOf } from "../../document/directory/manifest.js";
import { StorageError, toStorageError } from "../../errors.js";
import { llmspellDocuments } from "../../llmspell/documents/exporters.js";
import { emptier } from "../../sinks/document-directory.js";
import { createDocumentSink } from "../../sinks/json-document.js";
import type { DocumentPlanner, SinkOptions } from "../backend.js";
import { freeBytesAt } from "./free-space.js";

/** Its files' heads aside, a directory has the bytes of one document. */
export async function planDirectory(path: string, options: SinkOptions): Promise<DocumentPlanner> {
  const refusals: StorageError[] = [];
  const isThere = existsSync(path);
  let previous: DirectoryManifest | undefined;
  try {
    accessSync(isThere ? path : dirname(path), constants.W_OK | constants.X_OK);
    if (isThere) previous = (await requireOurs(path)).manifest;
  } catch (error) {
    refusals.push(refusalOf(path, error));
  }
  let bytes = 0;
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      done();
    },
  });
  const { compress = "auto", catalog, producer, vectors } = options;
  const sink = createDocumentSink({
    output: { stream },
    application: llmspellDocuments,
    producer,
    compress: compress === "auto" ? "none" : compress,
    ...(catalog === undefined ? {} : { catalog }),
    ...(vectors === undefined ? {} : { vectors }),
  });
  return {
    refusals,
    sink,
    bytes: () => bytes,
    freeBytes: freeBytesAt(path),
    async requireRecords() {
      if (options.allowEmpty !== true && previous !== undefined && recordsOf(previous) > 0) throw emptier(path);
    },
  };
}

function refusalOf(path: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR")
    return new StorageError("E_USAGE", `the folder of ${path} does not exist`, {}, error);
  if (code === "EACCES" || code === "EROFS" || code === "EPERM")
    return new StorageError("E_READ_ONLY", `${path} cannot be written`, {}, error);
  return toStorageError(error);
}
