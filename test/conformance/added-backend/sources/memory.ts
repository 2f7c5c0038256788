/** Reads a database in memory: as it is when the source is opened, in the order of the keys. */
import { type Catalog, type Field, fieldIndex, type RecordKind } from "../../../../src/catalog/index.js";
import { idText } from "../../../../src/codecs/uuid.js";
import { BatchBuilder, type BatchLimits } from "../../../../src/records/record-batch.js";
import type { Source } from "../../../../src/sources/source.js";
import { append, largeField, type MemoryDatabase, openMemory, type Values } from "../backends/memory/database.js";

export interface MemorySourceOptions extends BatchLimits {
  readonly name: string;
  readonly catalog: Catalog;
}

/** open: E_STORE_NOT_FOUND. */
export function createMemorySource({ name, catalog, ...limits }: MemorySourceOptions): Source {
  let records: MemoryDatabase["records"] = new Map();
  return {
    name: `memory:${name}`,
    async open() {
      ({ records } = openMemory(name));
      return { backend: "sqlite", migrations: ["V1"] };
    },
    async estimate({ paths }) {
      return new Map([...paths].map((path) => [path, records.get(path)?.length ?? 0]));
    },
    async *read({ paths, tenants }, { signal }) {
      for (const kind of catalog.kinds) {
        if (!paths.has(kind.path)) continue;
        const builder = new BatchBuilder(kind, limits);
        const tenant = kind.fields.findIndex((field) => field.name === "tenant_id");
        for (const values of [...(records.get(kind.path) ?? [])].sort(byKey(kind))) {
          signal.throwIfAborted();
          if (tenants !== undefined && !tenants.includes(`${values[tenant]?.toString("utf8")}`)) continue;
          if (builder.length > 0 && (builder.full || largeField(kind, values) >= 0)) yield builder.take();
          append(builder, values);
        }
        if (builder.length > 0) yield builder.take();
      }
    },
    async close() {
      records = new Map();
    },
  };
}

/** What Backend.order promises. */
function byKey(kind: RecordKind): (one: Values, other: Values) => number {
  const fields = kind.key.map((name) => fieldIndex(kind, name));
  return (one, other) => {
    for (const at of fields) {
      const field = kind.fields[at] as Field;
      const order = Buffer.compare(sortable(field, one[at] as Buffer), sortable(field, other[at] as Buffer));
      if (order !== 0) return order;
    }
    return 0;
  };
}

/** Bytes that sort as the value does. */
function sortable({ type }: Field, value: Buffer): Buffer {
  if (type === "uuid") return Buffer.from(idText(value, 0, value.length), "utf8");
  if (type !== "int4" && type !== "int8" && type !== "timestamp") return value;
  const bytes = Buffer.from(value);
  bytes[0] = (bytes[0] as number) ^ 0x80;
  return bytes;
}
