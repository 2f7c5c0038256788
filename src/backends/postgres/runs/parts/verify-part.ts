/**
 * Reads back what a part has brought, in its transaction (`--verify-parts`): its records are sent once more, to a temporary table, and
 * the server holds what the target has under their keys against them, byte for byte. Contents of large objects are read and hashed.
 */
import { createHash, type Hash } from "node:crypto";
import { type RecordKind, storedFields } from "../../../../catalog/index.js";
import { StorageError } from "../../../../errors.js";
import { quote } from "../../database/table-names.js";
import { columnNamed, loadColumns } from "../../database/target-table.js";
import { readLargeObject } from "../../loading/large-objects.js";
import { readKeys } from "../../loading/stored-records.js";
import type { PostgresConnection } from "../../session/connection.js";

/** What was sent, for this transaction. */
export const SENT = "pg_temp.llmspell_part";

/** The chunks, which the hash gets, too. */
export async function* hashed(chunks: AsyncIterable<Buffer>, hash: Hash): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

export async function createSent(connection: PostgresConnection, relation: string, columns: string): Promise<void> {
  await connection.query(
    `CREATE TEMPORARY TABLE ${SENT.replace("pg_temp.", "")} ON COMMIT DROP AS SELECT ${columns} FROM ${relation} WITH NO DATA`,
  );
}

/** E_READ_BACK for the first record that the relation has otherwise than SENT, or not. Records without a key are not told apart. */
export async function requireSent(connection: PostgresConnection, kind: RecordKind, relation: string): Promise<void> {
  if (kind.key.length === 0) return;
  const same = kind.key.map((field) => columnNamed(kind, field)).map((column) => `t.${column} = s.${column}`);
  const columns = loadColumns(kind);
  const isSame = (list: readonly string[]): string => {
    const row = (alias: string): string => `ROW(${list.map((column) => `${alias}.${column}`).join(", ")})`;
    return `pg_catalog.record_image_eq(${row("t")}, ${row("s")})`;
  };
  const from = `FROM ${SENT} s LEFT JOIN ${relation} t ON ${same.join(" AND ")}
    WHERE t.tableoid IS NULL OR NOT ${isSame(columns)}`;
  // By the key's index: the table may be much larger than the part.
  await connection.query(`ANALYZE ${SENT}; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off`);
  const each = columns.map((column) => `NOT ${isSame([column])}`).join(", ");
  const { rows } = await connection.query<{ absent: boolean; differs: number }>(
    `SELECT t.tableoid IS NULL AS absent, pg_catalog.array_position(ARRAY[${each}], true) AS differs ${from} LIMIT 1`,
  );
  const [found] = rows;
  if (found !== undefined) {
    const [key] = await readKeys(connection, kind, "s", `${from} LIMIT 1`);
    const field = found.absent ? undefined : storedFields(kind, "postgresql")[found.differs - 1];
    throw notAsSent(kind, key, found.absent ? "is not there" : "has other values than were sent", field?.name);
  }
  await connection.query("SET LOCAL enable_hashjoin TO DEFAULT; SET LOCAL enable_mergejoin TO DEFAULT");
}

/** E_READ_BACK where a large object has not the content of the digest (SHA-256, hexadecimal) that it was made of. */
export async function requireContents(
  connection: PostgresConnection,
  kind: RecordKind,
  digests: ReadonlyMap<number, string>,
): Promise<void> {
  const { oidColumn } = kind.postgres.largeObject ?? {};
  if (oidColumn === undefined || digests.size === 0) return;
  // Those of records that others have are not there any more.
  const { rows } = await connection.query<{ oid: number }>(`SELECT ${quote(oidColumn)} AS oid FROM ${SENT}`);
  const sent = new Set(rows.map(({ oid }) => Number(oid)));
  for (const [oid, digest] of digests) {
    if (!sent.has(oid)) continue;
    const hash = createHash("sha256");
    for await (const chunk of readLargeObject(connection, oid)) hash.update(chunk);
    if (hash.digest("hex") === digest) continue;
    const [key] = await readKeys(connection, kind, "s", `FROM ${SENT} s WHERE s.${quote(oidColumn)} = $1`, [oid]);
    throw notAsSent(kind, key, "has another content than was sent", kind.postgres.largeObject?.field);
  }
}

function notAsSent({ path }: RecordKind, key: string | undefined, what: string, field?: string): StorageError {
  return new StorageError("E_READ_BACK", `a record that was loaded ${what}`, {
    section: path,
    ...(key === undefined ? {} : { key }),
    ...(field === undefined ? {} : { field }),
    detail: "its part was rolled back",
    hint: "Look for triggers of the table that replication does not silence (ENABLE ALWAYS or REPLICA), and at the server's disk and memory.",
  });
}
