/**
 * Whether the shadow tables of a vec0 table are as sqlite-vec writes them. It believes them: where one is missing it ends the
 * process, and where a place is wrong it gives another vector. So they are looked at before it is asked for anything.
 */
import { StorageError } from "../../../errors.js";
import type { Database } from "../open.js";
import { columnsOf, quoted } from "../table.js";

/** Vectors in a chunk where the table does not say another chunk_size. */
const CHUNK_ROWS = 1024;

/** E_NOT_A_DATABASE for a vec0 table that must not be written to. */
export function refuseDamagedVec0(database: Database, table: string): void {
  const damage = damageOfVec0(database, table);
  if (damage === undefined) return;
  throw new StorageError("E_NOT_A_DATABASE", "the SQLite database is damaged", {
    detail: `${table}: ${damage}`,
    hint: "Restore a backup, or import an export into a new database.",
  });
}

/** What is wrong with the table; undefined where nothing is. Walks its rowids, not its vectors. */
export function damageOfVec0(database: Database, table: string): string | undefined {
  const [sql] = database.prepare("SELECT sql FROM sqlite_master WHERE name = ?").raw().get(table) as [string];
  const [rowids, chunks] = [`${table}_rowids`, `${table}_chunks`];
  const vectors = vectorTables(database, table);
  for (const shadow of [rowids, chunks, ...(vectors.length === 0 ? [`${table}_vector_chunks00`] : [])])
    if (columnsOf(database, shadow) === undefined) return `its table ${shadow} is missing`;
  const rows = Number(/\bchunk_size\s*=\s*(\d+)/i.exec(sql)?.[1] ?? CHUNK_ROWS);
  const dimensions = [...sql.matchAll(/\bfloat\s*\[\s*(\d+)\s*\]/gi)].map(([, dimension]) => Number(dimension));
  // With one column the length of a vector is known; with several at least that all chunks have one length.
  const chunkBytes = vectors.length === 1 && dimensions.length === 1 ? rows * (dimensions[0] as number) * 4 : undefined;
  return (
    vectors
      .map((each) => damageOfVectors(database, each, chunks, rows, chunkBytes))
      .find((found) => found !== undefined) ?? damageOfPlaces(database, rowids, chunks, rows)
  );
}

function vectorTables(database: Database, table: string): string[] {
  const query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB ? ORDER BY name";
  return database.prepare(query).pluck().all(`${table}_vector_chunks[0-9][0-9]`) as string[];
}

/** Each chunk has its vectors, and room for as many as a chunk holds. */
function damageOfVectors(
  database: Database,
  vectors: string,
  chunks: string,
  rows: number,
  chunkBytes: number | undefined,
): string | undefined {
  const length = "CASE WHEN typeof(v.vectors) = 'blob' THEN length(v.vectors) ELSE -1 END";
  const [least, most] = database
    .prepare(
      `SELECT min(ifnull(${length}, -1)), max(${length}) FROM ${quoted(chunks)} AS c LEFT JOIN ${quoted(vectors)} AS v ON v._rowid_ = c.chunk_id`,
    )
    .raw()
    .get() as [number | null, number | null];
  if (least === null) return undefined;
  const isRight =
    chunkBytes === undefined
      ? least > 0 && least === most && least % rows === 0
      : least === chunkBytes && most === chunkBytes;
  return isRight ? undefined : `its chunks of vectors (${vectors}) are not all there, or have another length`;
}

/** Each rowid has a place of its own, and the chunk names it there. */
function damageOfPlaces(database: Database, rowids: string, chunks: string, rows: number): string | undefined {
  const chunkOf = database
    .prepare(`SELECT size, validity, rowids FROM ${quoted(chunks)} WHERE chunk_id = ?`)
    .raw()
    .safeIntegers();
  const places = database
    .prepare(`SELECT rowid, chunk_id, chunk_offset FROM ${quoted(rowids)}`)
    .raw()
    .safeIntegers()
    .iterate() as Iterable<[bigint, unknown, unknown]>;
  let current: unknown;
  let chunk: { readonly validity: Buffer; readonly rowids: Buffer } | undefined;
  let count = 0;
  for (const [rowid, id, offset] of places) {
    if (id !== current || chunk === undefined) {
      chunk = chunkOfRow(chunkOf.get(id), rows);
      current = id;
    }
    if (chunk === undefined) return `the chunk of rowid ${rowid} is not there, or not whole`;
    const at = typeof offset === "bigint" && offset >= 0n && offset < BigInt(rows) ? Number(offset) : -1;
    const isThere =
      at >= 0 &&
      ((chunk.validity[at >> 3] as number) & (1 << (at & 7))) !== 0 &&
      chunk.rowids.readBigInt64LE(at * 8) === rowid;
    if (!isThere) return `the place of rowid ${rowid} in its chunk is not its own`;
    count++;
  }
  const valid = countValid(database, chunks, rows);
  if (valid === undefined) return "a chunk is not whole";
  return valid === count ? undefined : `its chunks hold ${valid} vectors, and ${count} rowids name one`;
}

function chunkOfRow(row: unknown, rows: number): { readonly validity: Buffer; readonly rowids: Buffer } | undefined {
  if (row === undefined) return undefined;
  const [size, validity, rowids] = row as [unknown, unknown, unknown];
  if (size !== BigInt(rows) || !Buffer.isBuffer(validity) || !Buffer.isBuffer(rowids)) return undefined;
  return validity.length === Math.ceil(rows / 8) && rowids.length === rows * 8 ? { validity, rowids } : undefined;
}

/** How many vectors the chunks hold; undefined where one is not whole. */
function countValid(database: Database, chunks: string, rows: number): number | undefined {
  const all = database
    .prepare(`SELECT size, validity, rowids FROM ${quoted(chunks)}`)
    .raw()
    .safeIntegers()
    .iterate();
  let count = 0;
  for (const row of all) {
    const chunk = chunkOfRow(row, rows);
    if (chunk === undefined) return undefined;
    for (let byte of chunk.validity) for (; byte !== 0; byte &= byte - 1) count++;
  }
  return count;
}
