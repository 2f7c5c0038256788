/**
 * The export document as a source. Format and legacy rules: docs/document-format.md.
 * Over 300 lines: how a document is opened, and read again, goes by what was found in it.
 */
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
import type { PartedSource, PartFacts, Source, StoreHeader } from "./source.js";

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
  /** The header tells the order of the records (Source.order): the document is gone through for it, where it does not say so at the end of a plain file. */
  readonly tellsOrder?: boolean | undefined;
  /** What another source of this document has found, which read it all to know it (PartedSource.share). */
  readonly snapshot?: DocumentSnapshot | undefined;
  /** Told of each array that was read to its end, selected or not. */
  readonly onArray?: (path: string, records: number) => void;
}

/** What a document is, for a source in another thread. */
export interface DocumentSnapshot {
  readonly header: DocumentHeader;
  readonly hasSurrogates: boolean;
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
  let snapshot: DocumentSnapshot | undefined;
  /** What the source said that has read it in another thread. */
  let elsewhere: PartFacts | undefined;

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

  /** Front to back, by one source: another one than this, in a thread of its own. */
  const inParts: PartedSource = {
    whole: [],
    single: "the document is read from its beginning to its end",
    async share(openOther) {
      if (snapshot === undefined) throw new Error("the source is not open");
      await openOther(snapshot);
    },
    async *plan() {
      yield { path: "" };
    },
    came(facts) {
      elsewhere = facts;
    },
  };

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
      let hasSurrogates = options.snapshot?.hasSurrogates ?? false;
      if (!first.ended && !isWhole && options.snapshot === undefined) {
        // What comes behind the data may tell of the data.
        if (isFile) await input.stop();
        const telling = application?.tellingSections(first.header);
        if (telling !== undefined) hasSurrogates = await first.scanForSurrogates(catalog, telling, context);
        else await first.scanRest(context);
        reader = await beginAgain(context);
      }
      const found = isWhole || options.snapshot === undefined ? complete(first.header) : options.snapshot.header;
      if (options.snapshot !== undefined && printHead(found) !== printHead(options.snapshot.header))
        throw new StorageError("E_DOCUMENT_SHAPE", "the document became another one while the run began");
      header = found;
      snapshot = { header, hasSurrogates };
      if (!first.hasData) throw new StorageError("E_DOCUMENT_SHAPE", "the document has no data");
      dialect = application?.dialectOf(header, hasSurrogates, options.times) ?? {
        legacy: false,
        times: options.times ?? "us",
      };
      ours = isWhole && header.producer !== undefined && input.beginsWith(Buffer.from(printHead(header), "utf8"));
      let order: StoreHeader["order"];
      if (options.tellsOrder === true) {
        const known = first.manifest ?? (ours && "path" in from ? await readManifest(from.path) : undefined);
        if (known === undefined && !first.ended) {
          await first.scanRest(context);
          reader = await beginAgain(context);
        }
        order = orderOf(first.manifest ?? known);
      }
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
      return {
        backend,
        migrations,
        catalog,
        ...(order === undefined ? {} : { order }),
        ...(ISO_TIME.test(exportedAt) ? { exportedAt } : {}),
      };
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
      if (manifest === undefined) return undefined;
      const records = Object.entries(manifest).flatMap(([name, { records: count }]) =>
        count === undefined || !selection.paths.has(name) ? [] : [[name, count] as const],
      );
      return new Map(records);
    },

    get inParts() {
      return isFile ? inParts : undefined;
    },

    get wholeBecause() {
      return isFile ? undefined : "a stream is read by one thread";
    },

    order: () => (elsewhere === undefined ? orderOf(reader?.manifest) : elsewhere.order),

    partial() {
      if (elsewhere !== undefined) return elsewhere.partial;
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

/** What the manifest, as it was parsed, says of the records' order. */
export function orderOf(manifest: unknown): StoreHeader["order"] {
  if (typeof manifest !== "object" || manifest === null) return undefined;
  const entries: unknown[] = Object.values(manifest);
  const isTable = entries.some(
    (entry) => typeof entry === "object" && entry !== null && "order" in entry && entry.order === "table",
  );
  return isTable ? "table" : undefined;
}

/** The manifest at the end of a file in our layout, not verified; undefined where it is not to be found. */
export async function readManifest(
  path: string,
): Promise<Record<string, { records?: number; sha256?: string }> | undefined> {
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
      return (manifest as { manifest: Record<string, { records?: number; sha256?: string }> }).manifest;
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
