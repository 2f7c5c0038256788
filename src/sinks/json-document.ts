/** The export document as a sink. */
import { stat } from "node:fs/promises";
import type { Writable } from "node:stream";
import type { Catalog } from "../catalog/index.js";
import type { DocumentApplication } from "../document/dialect.js";
import { refuseInDirectory } from "../document/directory/layout.js";
import { isFifo, openFifoForWriting } from "../document/files/fifo.js";
import { type ByteOutput, openFileOutput, StreamOutput } from "../document/files/output.js";
import { DOCUMENT_VERSION, type DocumentHeader } from "../document/header.js";
import { type Compression, compressed, compressionOfName } from "../document/writing/compression.js";
import { DocumentWriter } from "../document/writing/document-writer.js";
import { StorageError } from "../errors.js";
import type { RunContext } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import { type Sink, type SinkCounts, sinkCatalog } from "./sink.js";

export interface DocumentSinkOptions {
  /**
   * A file: written beside its name and renamed when complete; `force` replaces a file that is no export document, and
   * `allowEmpty` a document that has records by one that has none. Or a stream: ended with the document, unless it is
   * process.stdout.
   */
  readonly output:
    | { readonly path: string; readonly force?: boolean; readonly allowEmpty?: boolean }
    | { readonly stream: Writable };
  /** `auto` (the default) goes by the name: .gz, .zst; a stream is not compressed. */
  readonly compress?: "auto" | Compression;
  /** Embeddings: base64 (default), or arrays of numbers, which give the same float32 back. */
  readonly vectors?: "base64" | "json";
  /** What the manifest says of the meaning of a section's records (`digest`); asked when all of them were written. */
  readonly digestOf?: (path: string) => string | undefined;
  /** Default: the source's. */
  readonly catalog?: Catalog;
  /** Whose own exporters' documents are known where one is to be replaced. */
  readonly application?: DocumentApplication | undefined;
  /** Program and version, e.g. `llmspell-storage/0.1.0`. */
  readonly producer: string;
  /** Default: as the source says; else now. */
  readonly exportedAt?: Date;
}

/** E_OUTPUT_EXISTS, E_NO_RECORDS, E_READ_ONLY, E_DISK_FULL, E_CLOSED_PIPE, E_IO; E_USAGE when kinds come out of the catalog's order. */
export function createDocumentSink(options: DocumentSinkOptions): Sink {
  const { output: target, compress = "auto" } = options;
  let output: ByteOutput | undefined;
  let writer: DocumentWriter | undefined;
  let catalog: Catalog | undefined;
  let signal: AbortSignal | undefined;
  let activity: RunContext["activity"];

  return {
    name: "path" in target ? target.path : "-",
    inCatalogOrder: true,

    async open(header, context) {
      signal = context.signal;
      activity = context.activity;
      signal.throwIfAborted();
      catalog = sinkCatalog(options.catalog, header);
      if ("path" in target) await refuseInDirectory(target.path);
      const plain =
        "stream" in target
          ? new StreamOutput(target.stream, signal)
          : (await isFifo(target.path))
            ? new StreamOutput(await openFifoForWriting(target.path, signal), signal)
            : await openFileOutput(target.path, target.force ?? false);
      const byName = "path" in target ? compressionOfName(target.path) : "none";
      output = compressed(plain, compress === "auto" ? byName : compress);
      writer = new DocumentWriter(
        output,
        catalog,
        documentHeader(header, options),
        options.vectors,
        options.digestOf,
        header.order,
      );
    },

    async write(batch) {
      if (writer === undefined) throw new StorageError("E_UNEXPECTED", "the sink is not open");
      await writer.write(batch);
    },

    async writeText(text) {
      if (writer === undefined) throw new StorageError("E_UNEXPECTED", "the sink is not open");
      await writer.writeText(text);
    },

    async finish(run) {
      if (writer === undefined || output === undefined || catalog === undefined)
        throw new StorageError("E_UNEXPECTED", "the sink is not open");
      if ("path" in target && target.allowEmpty !== true && [...writer.records.values()].every((count) => count === 0))
        await refuseEmptier(target.path, options.application, catalog, signal ?? new AbortController().signal);
      activity?.({ phase: "committing" });
      await writer.end(run?.partial, run?.order);
      await output.finish();
      const counts = new Map<string, SinkCounts>();
      for (const [path, inserted] of writer.records) counts.set(path, { inserted, updated: 0, skipped: 0, dropped: 0 });
      return { counts, bytes: writer.bytes, notes: [] };
    },

    async abort() {
      await output?.abort();
    },
  };
}

/** What a document of records from such a store says of itself. */
export function documentHeader(
  header: StoreHeader,
  options: { readonly producer: string; readonly exportedAt?: Date | undefined },
): DocumentHeader {
  return {
    version: DOCUMENT_VERSION,
    exportedAt: exportedAt(options.exportedAt, header),
    sourceBackend: header.backend,
    producer: options.producer,
    migrations: withFirst(header.migrations),
  };
}

/** The records of a document are of the time that it names. JavaScript's clock gives milliseconds, the form has microseconds. */
function exportedAt(given: Date | undefined, header: StoreHeader): string {
  if (given === undefined && header.exportedAt !== undefined) return header.exportedAt;
  return (given ?? new Date()).toISOString().replace("Z", "000Z");
}

/** Whoever has no records to write replaces none: a wrong database or tenant must not cost a good backup. E_NO_RECORDS. */
export async function refuseEmptier(
  path: string,
  application: DocumentApplication | undefined,
  catalog: Catalog,
  signal: AbortSignal,
): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (stats?.isFile() !== true || stats.size === 0 || !(await mayHaveRecords(path, application, catalog, signal)))
    return;
  throw new StorageError("E_NO_RECORDS", `the run has no records, and ${path}, which it would replace, has some`, {
    hint: "Is it the right database, the right tenant? --allow-empty (allowEmpty: true) replaces the document all the same.",
  });
}

/** False only where the whole document can be read, and has none. */
async function mayHaveRecords(
  path: string,
  application: DocumentApplication | undefined,
  catalog: Catalog,
  signal: AbortSignal,
): Promise<boolean> {
  const { createDocumentSource } = await import("../sources/json-document.js");
  const source = createDocumentSource({ input: { path }, application, catalog, verifyManifest: false });
  const context: RunContext = {
    signal,
    async reject({ error }) {
      throw error;
    },
    isRejected: () => false,
    warn: () => {},
    leftOut: () => {},
  };
  try {
    await source.open(context);
    const paths = new Set(catalog.kinds.map((kind) => kind.path));
    for await (const _ of source.read({ paths }, context)) return true;
    return false;
  } catch {
    signal.throwIfAborted();
    return true;
  } finally {
    await source.close();
  }
}

/** Our documents begin with V1: without a producer that tells them from llmspell's own. */
function withFirst(migrations: readonly string[]): readonly string[] {
  return migrations.includes("V1") ? migrations : ["V1", ...migrations];
}
