/** Export documents: files, standard input and output, and the streams of a program. */
import { statSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { StorageError } from "../errors.js";
import { expandPath } from "../folders.js";
import type { Sink } from "../sinks/sink.js";
import type { DocumentSnapshot } from "../sources/json-document.js";
import type { Source } from "../sources/source.js";
import type { Backend, SinkOptions, SourceOptions } from "./backend.js";
import { type DirectoryLocation, directoryLocation, refusePartBytes } from "./directory.js";

export interface DocumentLocation {
  readonly type: "document";
  /** `-` is standard input or output. */
  readonly path: string;
}

export interface StreamLocation {
  readonly type: "stream";
  readonly stream: Readable | Writable;
}

export function streamLocation(stream: Readable | Writable): StreamLocation {
  return { type: "stream", stream };
}

/**
 * A document by its path, whatever it is called; `-` is standard input or output; a name that ends with a slash, or a folder's, is
 * a directory. E_USAGE for a URL.
 */
export function documentLocation(path: string): DocumentLocation | DirectoryLocation {
  if (path.includes("://")) {
    throw new StorageError("E_USAGE", "a URL stands where a document is expected", {
      hint: "--input and --output name a file, or - ; --database names a database, and `storage migrate` copies from one to another.",
    });
  }
  return directoryLocation(path) ?? fileLocation(path);
}

function fileLocation(path: string): DocumentLocation {
  return { type: "document", path: path === "-" ? "-" : expandPath(path) };
}

/** A FIFO, which can be read once: what a shell makes of `<(COMMAND)`. */
export function isPipe(path: string): boolean {
  try {
    return statSync(expandPath(path), { throwIfNoEntry: false })?.isFIFO() === true;
  } catch {
    return false;
  }
}

export const document: Backend<DocumentLocation> = {
  type: "document",
  word: "document",
  locations: {
    forms: ["a document (.json, .json.gz, .json.zst, -)"],
    parse(text) {
      if (text === "-") return { type: "document", path: "-" };
      if (text.includes("://")) return undefined;
      return /\.json(\.gz|\.zst)?$/i.test(text) || isPipe(text) ? fileLocation(text) : undefined;
    },
    nameOf: ({ path }) => path,
    fileOf: ({ path }) => (path === "-" ? undefined : path),
  },
  order: "none",
  readsInThread: true,
  createSource: ({ path }, options) => createSource(path === "-" ? { stream: process.stdin } : { path }, path, options),
  async createSink({ path }, options) {
    const { force, allowEmpty } = options;
    refusePartBytes(options.partBytes);
    if (path === "-") {
      const { openStdout } = await import("../document/files/fifo.js");
      return createSink({ stream: openStdout() }, options);
    }
    const given = {
      ...(force === undefined ? {} : { force }),
      ...(allowEmpty === undefined ? {} : { allowEmpty }),
    };
    return createSink({ path, ...given }, options);
  },
  async planDocument({ path }, options) {
    refusePartBytes(options.partBytes);
    const { planDocument } = await import("./planning/document-plan.js");
    return planDocument(path, options, (output, given) => createSink({ stream: output }, given));
  },
  async readFacts({ path }) {
    const bytes = path === "-" ? undefined : statSync(path, { throwIfNoEntry: false })?.size;
    return bytes === undefined ? {} : { bytes };
  },
};

/** A document in a program's own stream. */
export const stream: Backend<StreamLocation> = {
  type: "stream",
  word: "document",
  locations: { forms: [], parse: () => undefined, nameOf: () => "a stream" },
  order: "none",
  createSource: (location, options) => createSource({ stream: location.stream as Readable }, "a stream", options),
  async createSink(location, options) {
    refusePartBytes(options.partBytes);
    return createSink({ stream: location.stream as Writable }, options);
  },
  readFacts: async () => ({}),
};

async function createSource(
  input: { readonly path: string } | { readonly stream: Readable },
  name: string,
  { catalog, verifyManifest, times, checkDigests, lines, onManifestError, snapshot, tellsOrder }: SourceOptions,
): Promise<Source> {
  const [{ createDocumentSource }, { llmspellDocuments }, { DigestWriter }] = await Promise.all([
    import("../sources/json-document.js"),
    import("../llmspell/documents/exporters.js"),
    import("../verify/digest.js"),
  ]);
  return createDocumentSource({
    application: llmspellDocuments,
    catalog,
    input,
    name,
    digests: () => new DigestWriter(catalog),
    checkDigests,
    tellsOrder,
    snapshot: snapshot as DocumentSnapshot | undefined,
    ...(verifyManifest === undefined ? {} : { verifyManifest }),
    ...(times === undefined ? {} : { times }),
    ...(lines === undefined ? {} : { lines }),
    ...(onManifestError === undefined ? {} : { onManifestError }),
  });
}

async function createSink(
  output:
    | { readonly path: string; readonly force?: boolean; readonly allowEmpty?: boolean }
    | { readonly stream: Writable },
  { catalog, producer, compress, vectors, digestOf }: SinkOptions,
): Promise<Sink> {
  const [{ createDocumentSink }, { llmspellDocuments }] = await Promise.all([
    import("../sinks/json-document.js"),
    import("../llmspell/documents/exporters.js"),
  ]);
  return createDocumentSink({
    application: llmspellDocuments,
    ...(catalog === undefined ? {} : { catalog }),
    producer,
    output,
    ...(compress === undefined ? {} : { compress }),
    ...(vectors === undefined ? {} : { vectors }),
    ...(digestOf === undefined ? {} : { digestOf }),
  });
}
