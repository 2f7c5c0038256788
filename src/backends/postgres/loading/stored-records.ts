/** Records read back from a table of the load, for rejects and for messages. */
import { columnOf, type Field, fieldIndex, type RecordKind, storedFields } from "../../../catalog/index.js";
import { ByteWriter } from "../../../codecs/byte-writer.js";
import { codecOf } from "../../../codecs/index.js";
import { BatchBuilder, type LargeValue, type RecordBatch } from "../../../records/record-batch.js";
import { describeKey } from "../../../records/record-key.js";
import { quote } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { readLargeObject } from "./large-objects.js";

type BinaryRow = readonly (Buffer | null)[];

/**
 * Rows of the expressions, each value in PostgreSQL's binary form. pg reads rows as text only, so a row comes as one
 * bytea: int32 columns, then of each its type's oid, int32 length (-1 is NULL) and bytes. `from`: everything after the
 * select list.
 */
async function queryBinary(
  connection: PostgresConnection,
  expressions: readonly string[],
  from: string,
  values: readonly unknown[],
): Promise<BinaryRow[]> {
  const text = `SELECT record_send(ROW(${expressions.join(", ")})) AS row ${from}`;
  const { rows } = await connection.query<{ row: Buffer }>(text, values);
  return rows.map(({ row }) => {
    const columns: (Buffer | null)[] = [];
    for (let at = 4; at < row.length; ) {
      const length = row.readInt32BE(at + 4);
      at += 8;
      columns.push(length === -1 ? null : row.subarray(at, at + length));
      if (length > 0) at += length;
    }
    return columns;
  });
}

function columnsOf(fields: readonly Field[], alias: string): string[] {
  return fields.map((field) => `${alias}.${quote(columnOf(field))}`);
}

function keyFields(kind: RecordKind): readonly Field[] {
  return kind.key.map((name) => kind.fields[fieldIndex(kind, name)] as Field);
}

/** The keys of rows, as describeKey gives them. `from`: everything of the query after its select list. */
export async function readKeys(
  connection: PostgresConnection,
  kind: RecordKind,
  alias: string,
  from: string,
  values: readonly unknown[] = [],
): Promise<string[]> {
  const rows = await queryBinary(connection, columnsOf(keyFields(kind), alias), from, values);
  return rows.map((row) => keyOf(kind, row));
}

/** The key of a row of the key's columns. */
function keyOf(kind: RecordKind, row: BinaryRow): string {
  const canonical = new Map<number, Buffer>();
  keyFields(kind).forEach((field, at) => {
    const value = row[at];
    if (!value) return;
    const out = new ByteWriter(value.length + 16);
    codecOf(field).fromWire(field, value, 0, value.length, out);
    canonical.set(fieldIndex(kind, field.name), out.view());
  });
  return describeKey(kind, (field) => canonical.get(field));
}

/** One stored record with the values of further columns that the query was asked for. */
export interface StoredRecord {
  /** One row. */
  readonly batch: RecordBatch;
  readonly extras: BinaryRow;
}

/** Records of `from` (everything of the query after its select list), with the expressions `extras` before them. */
export async function readRecords(
  connection: PostgresConnection,
  kind: RecordKind,
  alias: string,
  from: string,
  values: readonly unknown[] = [],
  extras: readonly string[] = [],
): Promise<StoredRecord[]> {
  const fields = storedFields(kind, "postgresql");
  const { largeObject } = kind.postgres;
  const columns = [...extras, ...columnsOf(fields, alias)];
  if (largeObject !== undefined) columns.push(`${alias}.${quote(largeObject.oidColumn)}`);
  const rows = await queryBinary(connection, columns, from, values);
  return rows.map((row) => ({
    batch: recordFromWire(connection, kind, row.slice(extras.length)),
    extras: row.slice(0, extras.length),
  }));
}

/** A batch of the one record whose columns (as loadColumns has them) are given in PostgreSQL's binary form. */
export function recordFromWire(connection: PostgresConnection, kind: RecordKind, row: BinaryRow): RecordBatch {
  const { largeObject } = kind.postgres;
  const fields = storedFields(kind, "postgresql");
  const oid = largeObject === undefined ? undefined : row[fields.length]?.readUInt32BE();
  const builder = new BatchBuilder(kind, { batchBytes: 4096 });
  builder.begin();
  fields.forEach((field, at) => {
    const value = row[at];
    if (!value) return;
    const start = builder.arena.length;
    codecOf(field).fromWire(field, value, 0, value.length, builder.arena);
    builder.set(kind.fields.indexOf(field), start);
  });
  for (const field of kind.fields) {
    if (field.constant === undefined) continue;
    const start = builder.arena.length;
    builder.arena.int32(field.constant);
    builder.set(kind.fields.indexOf(field), start);
  }
  if (oid !== undefined && largeObject !== undefined)
    builder.setLarge(largeValue(connection, fieldIndex(kind, largeObject.field), oid));
  builder.commit();
  return builder.take();
}

/** The content of a large object, readable as often as it is asked for. */
function largeValue(connection: PostgresConnection, field: number, oid: number): LargeValue {
  return { field, chunks: () => readLargeObject(connection, oid), discard: async () => {} };
}
