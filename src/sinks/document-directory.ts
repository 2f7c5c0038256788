/** The export directory as a sink: documents of one kind each, and a manifest that names them. Format: docs/document-format.md. */
import type { Catalog, RecordKind } from "../catalog/index.js";
import { DirectoryWriter } from "../document/directory/directory-writer.js";
import { type DirectoryFile, recordsOf, sectionsOfFiles } from "../document/directory/manifest.js";
import { PartWriter } from "../document/directory/part-writer.js";
import type { DocumentHeader } from "../document/header.js";
import type { Compression } from "../document/writing/compression.js";
import { StorageError } from "../errors.js";
import { NULL_VALUE, RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import { documentHeader } from "./json-document.js";
import { type Sink, type SinkCounts, sinkCatalog } from "./sink.js";

/** Of values; a file holds more only where one record does. */
export const DEFAULT_PART_BYTES = 64_000_000;

export interface DirectorySinkOptions {
  /** A folder that is empty, or of ours, or that is not there yet; the one above it is. */
  readonly path: string;
  /** For messages; default: the path. */
  readonly name?: string;
  /** Of each file; `auto` is none. */
  readonly compress?: "auto" | Compression;
  /** Embeddings: base64 (default), or arrays of numbers, which give the same float32 back. */
  readonly vectors?: "base64" | "json";
  /** A file is complete with the record whose values make them so many bytes. Default 64,000,000. */
  readonly partBytes?: number;
  /** Let a directory without records replace one that has some. Default false: E_NO_RECORDS. */
  readonly allowEmpty?: boolean;
  /** What the manifest says of the meaning of a section's records (`digest`); asked when all of them were written. */
  readonly digestOf?: (path: string) => string | undefined;
  /** Default: the source's. */
  readonly catalog?: Catalog;
  /** Program and version, e.g. `llmspell-storage/0.1.0`. */
  readonly producer: string;
  /** Default: as the source says; else now. */
  readonly exportedAt?: Date;
}

/** E_OUTPUT_EXISTS, E_LOCKED, E_NO_RECORDS, E_READ_ONLY, E_DISK_FULL, E_IO; E_USAGE when kinds come out of the catalog's order. */
export function createDirectorySink(options: DirectorySinkOptions): Sink {
  const { path, partBytes = DEFAULT_PART_BYTES } = options;
  const compression = options.compress === undefined || options.compress === "auto" ? "none" : options.compress;
  if (!(Number.isSafeInteger(partBytes) && partBytes > 0))
    throw new StorageError("E_USAGE", "the part size is no positive integer");
  let writer: DirectoryWriter | undefined;
  let catalog: Catalog | undefined;
  let header: DocumentHeader | undefined;
  let order: StoreHeader["order"];
  let context: RunContext | undefined;
  let part: PartWriter | undefined;
  /** Index in the catalog of the kind that came last. */
  let current = -1;
  /** Bytes of values of the file that is open. */
  let filled = 0;
  let documentBytes = 0;
  const files: DirectoryFile[] = [];
  const records = new Map<string, number>();

  async function endPart(): Promise<void> {
    if (part === undefined) return;
    const { entry, documentBytes: bytes } = await part.finish();
    part = undefined;
    filled = 0;
    documentBytes += bytes;
    files.push(entry);
  }

  async function beginKind(kind: RecordKind, { kinds }: Catalog): Promise<void> {
    const index = kinds.indexOf(kind);
    if (index === current) return;
    if (index < current)
      throw new StorageError(
        "E_USAGE",
        `a document holds ${kind.path} before ${kinds[current]?.path}, but they came the other way`,
        {
          section: kind.path,
          hint: "Import the document into a database, and export that.",
        },
      );
    await endPart();
    current = index;
  }

  return {
    name: options.name ?? path,
    inCatalogOrder: true,

    async open(from, run) {
      context = run;
      run.signal.throwIfAborted();
      catalog = sinkCatalog(options.catalog, from);
      header = documentHeader(from, options);
      order = from.order;
      writer = await DirectoryWriter.open(path);
    },

    async write(batch) {
      if (writer === undefined || catalog === undefined || header === undefined)
        throw new StorageError("E_UNEXPECTED", "the sink is not open");
      await beginKind(batch.kind, catalog);
      const { path: section } = batch.kind;
      records.set(section, (records.get(section) ?? 0) + batch.rows);
      for (let row = 0; row < batch.rows; ) {
        part ??= await PartWriter.create(writer.nextPart(compression), {
          catalog,
          header,
          vectors: options.vectors,
          order,
        });
        const end = endOfPart(batch, row, partBytes - filled);
        const rows = row === 0 && end === batch.rows ? batch : batch.rowsOf(row, end);
        filled += rows.byteLength;
        await part.write(counted(rows, (bytes) => (filled += bytes)));
        if (filled >= partBytes) await endPart();
        row = end;
      }
    },

    async finish(run) {
      if (writer === undefined || header === undefined) throw new StorageError("E_UNEXPECTED", "the sink is not open");
      if (options.allowEmpty !== true && records.size === 0 && writer.previous !== undefined)
        if (recordsOf(writer.previous) > 0) throw emptier(path);
      context?.activity?.({ phase: "committing" });
      await endPart();
      const sections = sectionsOfFiles(files, options.digestOf);
      context?.signal.throwIfAborted();
      const warnings = await writer.publish({ header, partial: run?.partial ?? [], files, sections });
      for (const warning of warnings) context?.warn(warning);
      const counts = new Map<string, SinkCounts>();
      for (const [section, inserted] of records) counts.set(section, { inserted, updated: 0, skipped: 0, dropped: 0 });
      return { counts, bytes: documentBytes, notes: [`Files: ${files.length}`] };
    },

    async abort() {
      await part?.abort();
      part = undefined;
      await writer?.abort();
    },
  };
}

/** Whoever has no records to write replaces none: a wrong database or tenant must not cost a good backup. */
export function emptier(path: string): StorageError {
  return new StorageError("E_NO_RECORDS", `the run has no records, and ${path}, which it would replace, has some`, {
    hint: "Is it the right database, the right tenant? --allow-empty (allowEmpty: true) replaces the directory all the same.",
  });
}

/** Behind the row, from `row` on, whose values fill the room. */
function endOfPart(batch: RecordBatch, row: number, room: number): number {
  const { rows, width, lengths } = batch;
  let left = room;
  let end = row;
  for (let at = row * width; end < rows && left > 0; end++)
    for (const stop = at + width; at < stop; at++)
      if ((lengths[at] as number) > NULL_VALUE) left -= lengths[at] as number;
  return Math.max(end, row + 1);
}

/** Tells of the bytes of the large value, as they are read. */
function counted(batch: RecordBatch, tell: (bytes: number) => void): RecordBatch {
  const { kind, rows, bytes, starts, lengths, large, assumed } = batch;
  if (large === undefined) return batch;
  async function* chunks(): AsyncGenerator<Buffer> {
    for await (const chunk of large?.chunks() ?? []) {
      tell(chunk.length);
      yield chunk;
    }
  }
  const one = { field: large.field, chunks, discard: () => large.discard() };
  return new RecordBatch(kind, rows, bytes, starts, lengths, one, assumed);
}
