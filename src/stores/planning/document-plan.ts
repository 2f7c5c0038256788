/** What would come of writing a document: what refuses it, and how large it would be. */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { Writable } from "node:stream";
import { refuseInDirectory } from "../../document/directory/layout.js";
import { requireReplaceable, resolveLinks } from "../../document/files/output.js";
import { compressionOfName } from "../../document/writing/compression.js";
import { StorageError, toStorageError } from "../../errors.js";
import { llmspellDocuments } from "../../llmspell/documents/exporters.js";
import { refuseEmptier } from "../../sinks/json-document.js";
import type { Sink } from "../../sinks/sink.js";
import type { DocumentPlanner, SinkOptions } from "../backend.js";
import { freeBytesAt } from "./free-space.js";

/** `-` is standard output. */
export async function planDocument(
  path: string,
  options: SinkOptions,
  createSink: (output: Writable, options: SinkOptions) => Promise<Sink>,
): Promise<DocumentPlanner> {
  const isFile = path !== "-" && (!existsSync(path) || statSync(path).isFile());
  const refusals: StorageError[] = [];
  const final = isFile ? await resolveLinks(path) : path;
  if (path !== "-") {
    await refuseInDirectory(path)
      .then(() => (options.force === true ? undefined : requireReplaceable(path)))
      .catch((error) => {
        refusals.push(toStorageError(error));
      });
  }
  if (isFile) {
    try {
      accessSync(dirname(final), constants.W_OK | constants.X_OK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      refusals.push(
        code === "ENOENT"
          ? new StorageError("E_IO", `the folder of ${path} does not exist`, {}, error)
          : new StorageError("E_READ_ONLY", `${path} cannot be written`, {}, error),
      );
    }
  }
  let bytes = 0;
  const measured = new Writable({
    write(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      done();
    },
  });
  const { compress = "auto" } = options;
  const byName = path === "-" ? "none" : compressionOfName(path);
  const sink = await createSink(measured, { ...options, compress: compress === "auto" ? byName : compress });
  return {
    refusals,
    sink,
    bytes: () => bytes,
    freeBytes: isFile ? freeBytesAt(final) : undefined,
    async requireRecords(signal) {
      if (!isFile || options.allowEmpty === true || options.catalog === undefined) return;
      await refuseEmptier(path, llmspellDocuments, options.catalog, signal);
    },
  };
}
