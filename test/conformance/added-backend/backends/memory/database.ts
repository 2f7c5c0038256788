/** Databases in this process's memory, by their names. */
import { fieldIndex, LARGE_VALUE_BYTES, type RecordKind } from "../../../../../src/catalog/index.js";
import { StorageError } from "../../../../../src/errors.js";
import type { BatchBuilder, RecordBatch } from "../../../../../src/records/record-batch.js";

/** A record: the canonical bytes of each field in the kind's order; null is NULL. */
export type Values = readonly (Buffer | null)[];

export interface MemoryDatabase {
  /** By the kind's path. Whoever changes something puts another map here, so that a map that is read stays as it is. */
  records: ReadonlyMap<string, readonly Values[]>;
}

const databases = new Map<string, MemoryDatabase>();

/** E_STORE_NOT_FOUND. */
export function openMemory(name: string): MemoryDatabase {
  const database = databases.get(name);
  if (database !== undefined) return database;
  throw new StorageError("E_STORE_NOT_FOUND", `memory:${name} does not exist`, {
    hint: "`llmspell database migrate` makes it.",
  });
}

/** Makes the database where it is not there. */
export function makeMemory(name: string): void {
  if (!databases.has(name)) databases.set(name, { records: new Map() });
}

export function dropMemory(name: string): void {
  databases.delete(name);
}

/** A record of a batch, copied; a large value is read. */
export async function valuesOf(batch: RecordBatch, row: number): Promise<Values> {
  const chunks: Buffer[] = [];
  for await (const chunk of batch.large?.chunks() ?? []) chunks.push(Buffer.from(chunk));
  return batch.kind.fields.map((_, field) => {
    if (batch.large?.field === field) return Buffer.concat(chunks);
    return batch.isNull(row, field) ? null : Buffer.from(batch.value(row, field));
  });
}

/** Appends a record to a batch. One that has a large value is a batch of its own. */
export function append(builder: BatchBuilder, values: Values): void {
  builder.begin();
  for (const [field, value] of values.entries()) {
    if (value === null) continue;
    if (field === largeField(builder.kind, values)) {
      builder.setLarge({ field, chunks: () => chunksOf(value), discard: async () => {} });
      continue;
    }
    const start = builder.arena.length;
    builder.arena.copy(value, 0, value.length);
    builder.set(field, start);
  }
  builder.commit();
}

/** The field whose value travels beside the batch; -1: none. */
export function largeField(kind: RecordKind, values: Values): number {
  return kind.fields.findIndex((field, at) => field.large && (values[at]?.length ?? 0) >= LARGE_VALUE_BYTES);
}

async function* chunksOf(value: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < value.length; at += LARGE_VALUE_BYTES) yield value.subarray(at, at + LARGE_VALUE_BYTES);
}

/** The values of some fields as one text; undefined where one is NULL, which matches nothing. */
export function keyOf(kind: RecordKind, names: readonly string[]): (values: Values) => string | undefined {
  const fields = names.map((name) => fieldIndex(kind, name));
  return (values) => {
    const texts = fields.map((field) => values[field]?.toString("latin1"));
    return texts.includes(undefined) ? undefined : JSON.stringify(texts);
  };
}
