/** The export document as a source. Format and legacy rules: docs/document-format.md. */
import { open, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { Catalog } from "../catalog/index.js";
import type { DocumentApplication, DocumentDialect } from "../document/dialect.js";
import { isFifo, openFifoForReading } from "../document/files/fifo.js";
import { Spool } from "../document/files/spool.js";
import { type DocumentHeader, printHead, tellsPartial } from "../document/header.js";
import { DocumentReader, type PartialHeader } from "../document/reading/document-reader.js";
import { type ByteInput, openFileInput, openStreamInput } from "../document/reading/input.js";
import { ReplayInput } from "../document/reading/replay.js";
import { StorageError } from "../errors.js";
import type { BatchLimits } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";
import { DigestCheck, hasDigests, type MeaningDigests, mayHaveDigests, readsAll } from "./document-digests.js";
import type { Source } from "./source.js";

export interface DocumentSourceOptions extends BatchLimits {
  /** gzip and zstd are known by their first bytes. */
  readonly input: { readonly path: string } | { readonly stream: Readable };
  /** For messages; default: the path, or `-`. */
  readonly name?: string;
  readonly catalog: Catalog;
  /** Whose own exporters' documents are read, too. */
  readonly application?: DocumentApplication | undefined;
  /** Default true; false ignores the digests of a document in our own layout. */
  readonly verifyManifest?: boolean;
  /** The unit of the times of a document that names no producer, where it does not tell, or tells wrongly. */
  readonly times?: "us" | "s";
  /** Makes what the records are held against where the manifest has digests of what they mean (document-digests.ts). */
  readonly digests?: (() => MeaningDigests) | undefined;
  /** Also of a document whose bytes are as they were written. Default: only of one that was printed anew. */
  readonly checkDigests?: boolean | undefined;
  /** Batches tell the lines of their records (RecordBatch.lines). Default false. */
  readonly lines?: boolean;
  /** Told of all that the manifest says otherwise. Default: the first is thrown. */
  readonly onManifestError?: (error: StorageError) => Promise<void>;
  /** Told instead of the reader of a document that another program printed anew. */
  readonly onReserialised?: (context: RunContext) => void;
  /** Told of a file's bytes as they lie there. */
  readonly onBytes?: (bytes: Buffer) => void;
  /** Told of the head, where the document has our layout, once it is known; what it throws ends the run. */
  readonly onHead?: (head: DocumentHeader) => void;
  /** Told of each array that was read to its end, selected or not. */
  readonly onArray?: (path: string, records: number) => void;
}

/** A time that a document may be of. */
export const ISO_TIME = /^\d{4,6}-\d\d-\d\dT[\d:.]{8,18}(Z|[+-]\d\d:\d\d)$/;

/** E_INPUT_NOT_FOUND, E_DOCUMENT_*, E_INVALID_UTF8, E_DISK_FULL (temporary files). */
export function createDocumentSource(options: DocumentSourceOptions): Source {
  const { input: from, catalog, application } = options;
  const closers: (() => Promise<void>)[] = [];
  let input: ReplayInput | undefined;
  /** It can be opened again. */
  let isFile = false;
  let reader: DocumentReader | undefined;
  let hasRead = false;
  let header: DocumentHeader | undefined;
  /** Whether a document that was printed anew has digests of what its records mean. */
  let seal: "none" | "unknown" = "none";
  const checks = (options.verifyManifest ?? true) && options.digests !== undefined;
  let dialect: DocumentDialect | undefined;
  let ours = false;
  let largeSpool: Promise<Spool> | undefined;

  function closing<T extends { close(): Promise<void> }>(part: T): T {
    closers.push(() => part.close());
    return part;
  }

  async function openInput(context: RunContext): Promise<ByteInput> {
    const { signal } = context;
    if ("path" in from && !(await isFifo(from.path)))
      return abortable(closing(await openFileInput(from.path, options.onBytes)), signal);
    const stream = "path" in from ? openFifoForReading(from.path) : from.stream;
    // A read that waits for a stream ends with the run.
    const abort = () => stream.destroy(new StorageError("E_INTERRUPTED", "the run was interrupted"));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    closers.push(async () => signal.removeEventListener("abort", abort));
    return closing(await openStreamInput(stream));
  }

  /** From the beginning again: a file is opened once more, anything else was remembered. */
  async function beginAgain(context: RunContext): Promise<DocumentReader> {
    if (isFile) {
      await input?.close();
      input = closing(new ReplayInput(await openInput(context), isFile));
      await input.stop();
    } else {
      await input?.rewind();
    }
    const again = new DocumentReader(abortable(input as ReplayInput, context.signal));
    await again.readHead(context);
    return again;
  }

  const warnReserialised = options.onReserialised ?? warnOfReserialised;

  return {
    name: options.name ?? ("path" in from ? from.path : "-"),

    async open(context) {
      isFile =
        "path" in from &&
        (await stat(from.path).then(
          (stats) => stats.isFile(),
          () => false,
        ));
      input = closing(new ReplayInput(await openInput(context), isFile));
      const first = new DocumentReader(input);
      reader = first;
      await first.readHead(context);
      const isWhole = knowsEnough(first.header);
      let hasSurrogates = false;
      if (!first.ended && !isWhole) {
        // What comes behind the data may tell of the data.
        if (isFile) await input.stop();
        const telling = application?.tellingSections(first.header);
        if (telling !== undefined) hasSurrogates = await first.scanForSurrogates(catalog, telling, context);
        else await first.scanRest(context);
        reader = await beginAgain(context);
      }
      header = complete(first.header);
      if (!first.hasData) throw new StorageError("E_DOCUMENT_SHAPE", "the document has no data");
      dialect = application?.dialectOf(header, hasSurrogates, options.times) ?? {
        legacy: false,
        times: options.times ?? "us",
      };
      ours = isWhole && header.producer !== undefined && input.beginsWith(Buffer.from(printHead(header), "utf8"));
      if (isFile) await input.stop();
      options.onHead?.(header);
      if (!ours && !dialect.legacy) {
        const known = first.manifest ?? reader.manifest;
        const isPossible =
          header.producer !== undefined &&
          (known !== undefined ? hasDigests(known) : !isFile || !("path" in from) || mayHaveDigests(from.path));
        seal = isPossible ? "unknown" : "none";
        if (!isPossible || !checks) warnReserialised(context);
      }
      const { sourceBackend: backend, migrations, exportedAt } = header;
      return { backend, migrations, catalog, ...(ISO_TIME.test(exportedAt) ? { exportedAt } : {}) };
    },

    async sectionOrder(wanted, signal) {
      // Our writer goes by the catalog.
      if (ours || reader === undefined) return undefined;
      hasRead = true;
      const order = await reader.scanOrder(wanted);
      signal.throwIfAborted();
      return order;
    },

    async estimate(selection) {
      const manifest = ours && "path" in from ? await readManifest(from.path) : undefined;
      const records = manifest?.filter(([path]) => selection.paths.has(path));
      return records === undefined ? undefined : new Map(records);
    },

    partial() {
      if (reader?.partial !== undefined) return `it was exported without all records (${reader.partial})`;
      if (!ours) return "it is no document of llmspell-storage as it was written";
      if (!tellsPartial(header?.producer)) return `its producer, ${header?.producer}, does not say so of its documents`;
      return (options.verifyManifest ?? true) ? undefined : "its manifest is not checked";
    },

    async *read(selection, context) {
      if (reader === undefined || dialect === undefined)
        throw new StorageError("E_UNEXPECTED", "the source is not open");
      if (hasRead) reader = await beginAgain(context);
      hasRead = true;
      if (selection.peek === undefined && selection.again === undefined) await input?.stop();
      const { batchSize, batchBytes } = options;
      const isChecked = checks && readsAll(selection) && (ours ? options.checkDigests === true : seal === "unknown");
      if (checks && seal === "unknown" && !isChecked && selection.peek === undefined) warnReserialised(context);
      const check =
        isChecked && options.digests !== undefined ? new DigestCheck(closing(options.digests())) : undefined;
      const current = reader;
      const paths = (check && selection.checked) ?? selection.paths;
      const batches = current.readRecords(
        {
          catalog,
          selection: { ...selection, paths },
          dialect,
          ownLayout: ours,
          verify: ours && (options.verifyManifest ?? true) && selection.peek === undefined,
          limits: {
            ...(batchSize === undefined ? {} : { batchSize }),
            ...(batchBytes === undefined ? {} : { batchBytes }),
          },
          lines: options.lines === true,
          onManifestError: options.onManifestError,
          onArray: options.onArray,
          openSpool: () => {
            largeSpool ??= Spool.create().then(closing);
            return largeSpool;
          },
        },
        check?.context(context) ?? context,
      );
      yield* check?.seen(batches) ?? batches;
      if (check === undefined) return;
      const errors = check.errors(current.manifest, paths);
      let { done, value } = await errors.next();
      for (; done !== true; { done, value } = await errors.next()) {
        if (options.onManifestError === undefined) throw value;
        await options.onManifestError(value as StorageError);
      }
      if (value === false && !ours) warnReserialised(context);
    },

    async close() {
      for (const close of closers.splice(0).reverse()) await close();
    },
  };
}

export function warnOfReserialised(context: RunContext): void {
  context.warn(
    "the document was re-serialised by another program: its digests are not checked, and numbers beyond 2^53 may have been rounded",
  );
}

/** Ends a long scan with the run. */
function abortable(input: ByteInput, signal: AbortSignal): ByteInput {
  return {
    async read(target, offset) {
      signal.throwIfAborted();
      return input.read(target, offset);
    },
    close: () => input.close(),
  };
}

/** Records by path from the end of a file in our layout, not verified; undefined where they are not to be found. */
async function readManifest(path: string): Promise<[path: string, records: number][] | undefined> {
  try {
    // A FIFO would wait for another writer.
    if (!(await stat(path)).isFile()) return undefined;
    const handle = await open(path, "r");
    try {
      const { size } = await handle.stat();
      const tail = Buffer.alloc(Math.min(size, 65536));
      await handle.read(tail, 0, tail.length, size - tail.length);
      const text = tail.toString("latin1");
      const manifest: unknown = JSON.parse(`{${text.slice(text.lastIndexOf('\n"manifest":{'))}`);
      const entries = Object.entries((manifest as { manifest: Record<string, { records?: number }> }).manifest);
      return entries.flatMap(([name, { records }]) => (records === undefined ? [] : [[name, records]]));
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}

/** Whether what comes after `data` can change nothing, and the records need not be looked at, to know how to read them. */
function knowsEnough(header: PartialHeader): boolean {
  const { version, sourceBackend, migrations, producer } = header;
  if (version === undefined || sourceBackend === undefined || migrations === undefined) return false;
  return producer !== undefined || (sourceBackend === "sqlite" && migrations.includes("V1"));
}

function complete(header: PartialHeader): DocumentHeader {
  const { version, sourceBackend } = header;
  if (version === undefined) throw new StorageError("E_DOCUMENT_VERSION", "the document names no version");
  if (sourceBackend === undefined) throw new StorageError("E_DOCUMENT_SHAPE", "the document names no source_backend");
  return {
    version,
    exportedAt: header.exportedAt ?? "",
    sourceBackend,
    producer: header.producer,
    migrations: header.migrations ?? [],
  };
}
