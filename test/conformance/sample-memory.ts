/** Sample rows (helpers/sample-records.ts) as records in memory, and the order in which a database source gives them. */
import { type Catalog, columnOf, fieldIndex, LARGE_VALUE_BYTES, type RecordKind } from "../../src/catalog/index.js";
import { catalog as defaultCatalog } from "../../src/llmspell/catalog/index.js";
import {
  SAMPLE_TABLES,
  type SampleOptions,
  SampleRecords,
  type SampleRow,
  type SampleValue,
} from "../helpers/sample-records.js";
import { isTags } from "../helpers/sample-values.js";
import { type MemoryRecord, memoryRecord } from "./memory-store.js";

function token(value: SampleValue): string | undefined {
  if (value === null) return undefined;
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint" || typeof value === "boolean") return String(value);
  if (Buffer.isBuffer(value)) return JSON.stringify(value.toString("base64"));
  if ("time" in value) return typeof value.time === "bigint" ? String(value.time) : JSON.stringify(value.time);
  if ("json" in value) return value.json;
  if ("uuid" in value) return JSON.stringify(value.uuid);
  if (isTags(value)) return JSON.stringify(value);
  const { buffer, byteOffset, byteLength } = value.vector;
  return JSON.stringify(Buffer.from(buffer, byteOffset, byteLength).toString("base64"));
}

function toRecord(kind: RecordKind, row: SampleRow): MemoryRecord {
  const tokens: Record<string, string> = {};
  for (const field of kind.fields) {
    const value = row[columnOf(field)];
    const text = value === undefined ? undefined : token(value);
    if (text !== undefined) tokens[field.name] = text;
  }
  if (kind.path === "artifacts.content") {
    const { length } = row["data"] as Buffer;
    tokens["storage_type"] = length < LARGE_VALUE_BYTES ? '"bytea"' : '"large_object"';
  }
  return memoryRecord(kind, tokens);
}

/**
 * Records of every kind, in the order in which a database source gives them. By default json is in jsonb's own form, so
 * that every backend gives back the very bytes.
 */
export function sampleMemoryRecords(options: SampleOptions = {}): MemoryRecord[] {
  const records = new SampleRecords(options, { json: "jsonb", beyondSqlite: true });
  const made: MemoryRecord[] = [];
  for (const table of SAMPLE_TABLES) {
    const kind = defaultCatalog.kinds.find((each) => each.postgres.table === table) as RecordKind;
    for (const row of records.rows(table)) made.push(toRecord(kind, row));
  }
  return inSourceOrder(made);
}

/** The catalog's order of kinds, each kind by its key. */
export function inSourceOrder(records: Iterable<MemoryRecord>, catalog: Catalog = defaultCatalog): MemoryRecord[] {
  return [...records].sort((a, b) => {
    if (a.kind !== b.kind) return catalog.kinds.indexOf(a.kind) - catalog.kinds.indexOf(b.kind);
    return compareKeys(a, b);
  });
}

function compareKeys(a: MemoryRecord, b: MemoryRecord): number {
  for (const name of a.kind.key) {
    const field = fieldIndex(a.kind, name);
    const [left, right] = [a.values[field] as Buffer, b.values[field] as Buffer];
    const bySign = a.kind.fields[field]?.type === "timestamp" || a.kind.fields[field]?.type === "int8";
    const order = bySign
      ? Number(left.readBigInt64BE() > right.readBigInt64BE()) - Number(left.readBigInt64BE() < right.readBigInt64BE())
      : Buffer.compare(left, right);
    if (order !== 0) return order;
  }
  return 0;
}
