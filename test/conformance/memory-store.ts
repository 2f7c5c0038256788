/** A source and a sink over records in memory: the known side of a test. */
import { type Catalog, fieldIndex, LARGE_VALUE_BYTES, type RecordKind } from "../../src/catalog/index.js";
import { ByteWriter } from "../../src/codecs/byte-writer.js";
import { codecs } from "../../src/codecs/index.js";
import { catalog as defaultCatalog } from "../../src/llmspell/catalog/index.js";
import { BatchBuilder, type BatchLimits, type LargeValue, type RecordBatch } from "../../src/records/record-batch.js";
import type { Sink, SinkCounts } from "../../src/sinks/sink.js";
import type { Source, StoreHeader } from "../../src/sources/source.js";

/** One record: the canonical bytes of each field in the catalog's order, null for SQL NULL. */
export interface MemoryRecord {
  readonly kind: RecordKind;
  readonly values: readonly (Buffer | null)[];
}

export const MEMORY_HEADER: StoreHeader = { backend: "sqlite", migrations: ["V1", "V3"] };

/** A record from its document tokens by field name; a field that is missing is SQL NULL, and constants fill themselves. */
export function memoryRecord(kind: RecordKind, tokens: Readonly<Record<string, string>>): MemoryRecord {
  for (const name of Object.keys(tokens)) fieldIndex(kind, name);
  const values = kind.fields.map((field) => {
    const token = tokens[field.name] ?? (field.constant === undefined ? undefined : String(field.constant));
    if (token === undefined || (token === "null" && field.type !== "json")) return null;
    const source = Buffer.from(token);
    const out = new ByteWriter(source.length + 16);
    codecs[field.type].fromToken(field, source, 0, source.length, out, { legacy: false });
    return Buffer.from(out.view());
  });
  return { kind, values };
}

/** The record's values as document tokens, for messages of failed comparisons. */
export function tokensOf(record: MemoryRecord): Record<string, string> {
  const tokens: Record<string, string> = {};
  record.kind.fields.forEach((field, i) => {
    const value = record.values[i];
    if (value === null || value === undefined) return;
    const out = new ByteWriter(value.length * 2 + 64);
    codecs[field.type].toToken(field, value, 0, value.length, out);
    tokens[field.name] = out.view().toString("utf8");
  });
  return tokens;
}

function largeField(record: MemoryRecord): number {
  const field = record.kind.fields.findIndex((each) => each.large);
  return field >= 0 && (record.values[field]?.length ?? 0) >= LARGE_VALUE_BYTES ? field : -1;
}

async function* chunksOf(value: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < value.length; at += LARGE_VALUE_BYTES) yield value.subarray(at, at + LARGE_VALUE_BYTES);
}

/** Batches of the records in the order given; large content travels as a LargeValue, as from a real source. */
export async function* memoryBatches(
  records: Iterable<MemoryRecord>,
  limits?: BatchLimits,
): AsyncGenerator<RecordBatch> {
  let builder: BatchBuilder | undefined;
  for (const record of records) {
    const large = largeField(record);
    if (builder !== undefined && (builder.kind !== record.kind || builder.full || large >= 0)) {
      if (builder.length > 0) yield builder.take();
      builder = undefined;
    }
    builder ??= new BatchBuilder(record.kind, limits);
    builder.begin();
    for (const [field, value] of record.values.entries()) {
      if (value === null) continue;
      if (field === large) {
        const travelling: LargeValue = { field, chunks: () => chunksOf(value), discard: async () => {} };
        builder.setLarge(travelling);
        continue;
      }
      const start = builder.arena.length;
      builder.arena.copy(value, 0, value.length);
      builder.set(field, start);
    }
    builder.commit();
  }
  if (builder !== undefined && builder.length > 0) yield builder.take();
}

/** A source of the records, in the order given. */
export function createMemorySource(
  records: Iterable<MemoryRecord>,
  { header = MEMORY_HEADER, ...limits }: BatchLimits & { header?: StoreHeader } = {},
): Source {
  return {
    name: "memory",
    open: async () => header,
    estimate: async () => undefined,
    partial: () => undefined,
    read: (selection) =>
      memoryBatches(
        [...records].filter((record) => selection.paths.has(record.kind.path)),
        limits,
      ),
    close: async () => {},
  };
}

async function readLarge(large: LargeValue): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of large.chunks()) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** The records of a batch, copied; a large value is read. */
export async function recordsOf(batch: RecordBatch): Promise<MemoryRecord[]> {
  const records: MemoryRecord[] = [];
  const { large, kind } = batch;
  for (let row = 0; row < batch.rows; row++) {
    const values: (Buffer | null)[] = [];
    for (let field = 0; field < kind.fields.length; field++) {
      if (large?.field === field) values.push(await readLarge(large));
      else values.push(batch.isNull(row, field) ? null : Buffer.from(batch.value(row, field)));
    }
    records.push({ kind, values });
  }
  return records;
}

/** A sink that keeps what it is given in `records`. */
export function createMemorySink(): Sink & { readonly records: MemoryRecord[] } {
  const records: MemoryRecord[] = [];
  return {
    name: "memory",
    records,
    open: async () => {},
    write: async (batch) => {
      records.push(...(await recordsOf(batch)));
    },
    finish: async () => {
      const counts = new Map<string, SinkCounts>();
      for (const { kind } of records) {
        const inserted = (counts.get(kind.path)?.inserted ?? 0) + 1;
        counts.set(kind.path, { inserted, updated: 0, skipped: 0, dropped: 0 });
      }
      return { counts, notes: [] };
    },
    abort: async () => {},
  };
}

/** Selects every record of a catalog. */
export function everything(catalog: Catalog = defaultCatalog): { paths: ReadonlySet<string> } {
  return { paths: new Set(catalog.byPath.keys()) };
}
