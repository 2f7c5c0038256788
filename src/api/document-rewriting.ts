/** From document to document, for a program: what `jq '…' full.json > new.json` does, as a stream. */
import type { Readable } from "node:stream";
import { StorageError } from "../errors.js";
import { catalog as standardCatalog } from "../llmspell/catalog/index.js";
import {
  accessWarnings,
  createSource,
  databaseOf,
  documentLocation,
  replaces,
  type StoreLocation,
  streamLocation,
} from "../stores/index.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { ExportOptions, TransferOptions } from "./options.js";
import type { TransferResult } from "./results.js";
import { writeDocument } from "./transfer.js";

export interface RewriteOptions
  extends Omit<TransferOptions, "connectionTimeoutSeconds" | "strict">,
    Pick<ExportOptions, "compress" | "force" | "partBytes" | "allowEmpty" | "vectors" | "jobs" | "onInfo"> {
  /** The document to read: a file's name, a directory's, `-`, a location, or a stream. */
  readonly from: string | StoreLocation | Readable;
  /** The document to write: a file's name, a directory's (`DIR/`), `-`, a location, a stream, or a sink of your own. */
  readonly to: ExportOptions["to"];
  /** Default true: a document whose bytes do not agree with its manifest is E_DOCUMENT_MANIFEST. */
  readonly verifyManifest?: boolean;
  /** The unit of a document's times where it does not say: microseconds or seconds (docs/document-format.md). */
  readonly times?: "us" | "s";
}

/**
 * Writes a document's records as another document of this tool's own layout, with digests. What it says of its source
 * (backend, migrations, when it was exported) stays. Nothing is left under the new document's name unless the whole run
 * succeeded. Throws StorageError (docs/errors.md).
 */
export async function rewriteDocument(options: RewriteOptions): Promise<TransferResult> {
  refuseUnknownOptions("rewriteDocument", options);
  const { from, to, verifyManifest, times, ...rest } = options;
  const input = documentOf(from);
  const output = typeof to === "string" ? documentLocation(to) : to;
  if ("type" in output && replaces(output as StoreLocation, input))
    throw new StorageError("E_USAGE", "the document would be written over itself", {
      hint: "Give the new document another name; `mv` then puts it in the old one's place.",
    });
  for (const warning of accessWarnings([input])) options.onWarning?.(warning);
  const given = { catalog: options.catalog ?? standardCatalog, verifyManifest, times };
  // A directory's files are complete, one after the other, before the source is.
  const tellsOrder = "type" in output && output.type === "directory";
  const source = await createSource(input, { ...given, tellsOrder });
  return writeDocument({ ...rest, from: source, to: output }, { location: input, options: given });
}

function documentOf(from: RewriteOptions["from"]): StoreLocation {
  if (typeof from === "string") return documentLocation(from);
  const location = "type" in from ? (from as StoreLocation) : streamLocation(from);
  if (databaseOf(location) === undefined) return location;
  throw new StorageError("E_USAGE", "only documents are rewritten", {
    hint: "`llmspell storage export` (exportStore) reads a database.",
  });
}
