/** Documents in memory: written by the document sink, read by the document source. */
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import type { Catalog, RecordKind } from "../../src/catalog/index.js";
import type { StorageError } from "../../src/errors.js";
import {
  createDocumentSink,
  createDocumentSource,
  type DocumentSinkOptions,
  type DocumentSourceOptions,
} from "../../src/index.js";
import { catalog as defaultCatalog } from "../../src/llmspell/catalog/index.js";
import type { RunContext, Selection } from "../../src/records/run-context.js";
import type { StoreHeader } from "../../src/sources/source.js";
import { batchOf, type CanonicalRecord, type DataSet, recordsOf } from "./arbitraries.js";

export interface RejectedRecord {
  readonly path: string;
  readonly error: StorageError;
  readonly record: string;
}

/** A context that collects warnings, and rejections where `skip` is set. */
export function collectingContext(skip: boolean): RunContext & { warnings: string[]; rejected: RejectedRecord[] } {
  const warnings: string[] = [];
  const rejected: RejectedRecord[] = [];
  return {
    warnings,
    rejected,
    signal: new AbortController().signal,
    async reject({ kind, error, record = [] }) {
      if (!skip) throw error;
      const parts: Uint8Array[] = [];
      for await (const part of record) parts.push(Buffer.from(part));
      rejected.push({ path: kind.path, error, record: Buffer.concat(parts).toString("utf8") });
    },
    isRejected: () => false,
    leftOut: () => {},
    warn(line) {
      if (!warnings.includes(line)) warnings.push(line);
    },
  };
}

export async function writeDocument(
  data: DataSet,
  options: {
    header?: StoreHeader;
    batchSize?: number;
    catalog?: Catalog;
    compress?: DocumentSinkOptions["compress"];
    vectors?: DocumentSinkOptions["vectors"];
  } = {},
): Promise<Buffer> {
  const { header = { backend: "sqlite", migrations: ["V1", "V3"] }, batchSize = 1000 } = options;
  const catalog = options.catalog ?? defaultCatalog;
  const stream = new PassThrough();
  const written = buffer(stream);
  const sink = createDocumentSink({
    output: { stream },
    producer: "test/1",
    exportedAt: new Date("2026-11-22T10:30:00.123Z"),
    catalog,
    ...(options.compress === undefined ? {} : { compress: options.compress }),
    ...(options.vectors === undefined ? {} : { vectors: options.vectors }),
  });
  await sink.open(header, collectingContext(false));
  for (const kind of catalog.kinds) {
    const records = data.get(kind.path) ?? [];
    for (let at = 0; at < records.length; at += batchSize)
      await sink.write(batchOf(kind, records.slice(at, at + batchSize)));
  }
  await sink.finish();
  await sink.abort();
  return written;
}

export interface ReadResult {
  readonly header: StoreHeader;
  readonly data: DataSet;
  readonly warnings: readonly string[];
  readonly rejected: readonly RejectedRecord[];
  /** Contents of LargeValues, in order. */
  readonly large: readonly Buffer[];
}

/** Reads a document from memory (as a stream in one chunk, or in pieces of `pieceBytes`) or from a file. */
export async function readDocument(
  from: Buffer | string,
  options: Omit<DocumentSourceOptions, "input"> & { selection?: Selection; skip?: boolean; pieceBytes?: number } = {},
): Promise<ReadResult> {
  const { selection, skip = false, pieceBytes = 2 ** 20, ...sourceOptions } = options;
  const catalog = options.catalog ?? defaultCatalog;
  const input =
    typeof from === "string"
      ? { path: from }
      : {
          stream: Readable.from(
            Array.from({ length: Math.ceil(from.length / pieceBytes) }, (_, i) =>
              from.subarray(i * pieceBytes, (i + 1) * pieceBytes),
            ),
          ),
        };
  const source = createDocumentSource({ ...sourceOptions, input });
  const context = collectingContext(skip);
  const data = new Map<string, CanonicalRecord[]>();
  const large: Buffer[] = [];
  try {
    const header = await source.open(context);
    const everything: Selection = { paths: new Set(catalog.kinds.map((kind: RecordKind) => kind.path)) };
    for await (const batch of source.read(selection ?? everything, context)) {
      if (batch.large !== undefined) large.push(await collect(batch.large.chunks()));
      data.set(batch.kind.path, [...(data.get(batch.kind.path) ?? []), ...recordsOf(batch)]);
    }
    return { header, data, warnings: context.warnings, rejected: context.rejected, large };
  } finally {
    await source.close();
  }
}

async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}
