/** Which field the server means when it refuses a record: it seldom says so. */
import { columnOf } from "../../../catalog/index.js";
import { ByteWriter } from "../../../codecs/byte-writer.js";
import { codecOf, located } from "../../../codecs/index.js";
import type { StorageError } from "../../../errors.js";
import type { RecordBatch } from "../../../records/record-batch.js";
import { sqlName, tableOf } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";
import type { LoadTransaction } from "./load-transaction.js";

/** The error with the field that it names: by column, or by an index whose row became too large. */
export async function withNamedField(
  connection: PostgresConnection,
  batch: RecordBatch,
  row: number,
  error: StorageError,
): Promise<StorageError> {
  const cause = postgresCause(error);
  const named = batch.kind.fields.find((field) => columnOf(field) === cause?.column)?.name;
  // Rows beyond 8 KB are refused before the index is known.
  const isIndexRow =
    cause?.sqlState === "54000" && (cause.constraint !== undefined || /^index row/.test(cause.message));
  const field = named ?? (isIndexRow ? await longestOf(connection, batch, row, cause.constraint) : undefined);
  return field === undefined ? error : (located(error, { field }) as StorageError);
}

/** Of the index's columns (or of all that are indexed), the one that has the longest value. */
async function longestOf(
  connection: PostgresConnection,
  batch: RecordBatch,
  row: number,
  index: string | undefined,
): Promise<string | undefined> {
  const { rows } = await connection.query<{ attname: string }>(
    `SELECT DISTINCT a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
     WHERE i.indrelid = to_regclass($1) AND ($2::text IS NULL OR c.relname = $2)`,
    [sqlName(tableOf(batch.kind)), index ?? null],
  );
  const columns = new Set(rows.map(({ attname }) => attname));
  let longest: { name: string; length: number } | undefined;
  batch.kind.fields.forEach((field, at) => {
    const { length } = batch.value(row, at);
    if (columns.has(columnOf(field)) && length > (longest?.length ?? -1)) longest = { name: field.name, length };
  });
  return longest?.name;
}

/** The error with the field whose value alone the server refuses too. */
export async function withTriedField(
  transaction: LoadTransaction,
  batch: RecordBatch,
  row: number,
  error: StorageError,
): Promise<StorageError> {
  for (const [at, field] of batch.kind.fields.entries()) {
    const codec = codecOf(field);
    // Of other types the sink has checked all that the server could refuse.
    const type = codec.postgres.text;
    if (type === undefined || batch.isNull(row, at)) continue;
    const value = batch.value(row, at);
    const wire = new ByteWriter(value.length + 16);
    codec.toWire(field, value, 0, value.length, wire);
    const parameter = wire.view().subarray(4);
    const outcome = await transaction.attempt(() =>
      transaction.connection.query(`SELECT $1::${type} IS NULL`, [parameter]),
    );
    if ("error" in outcome) return located(error, { field: field.name }) as StorageError;
  }
  return error;
}
