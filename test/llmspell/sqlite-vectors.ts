/** What llmspell's vector storage does on an SQLite file, in our own words: its keys, its first-byte rule, its deletions. */
import type { Database } from "better-sqlite3";

export type Dimension = 384 | 768 | 1536 | 3072;

export const DIMENSIONS: readonly Dimension[] = [384, 768, 1536, 3072];

/** llmspell makes a dimension's table when it first has a vector of it. */
function ensureTable(database: Database, dimension: Dimension): void {
  database.exec(`CREATE TABLE IF NOT EXISTS vec_embeddings_${dimension} (rowid INTEGER PRIMARY KEY, embedding BLOB)`);
}

/** The embeddings' table gives the key, which the shared metadata table must then take: both or neither. */
export function insertVector(database: Database, dimension: Dimension, id: string, scope = "__global__"): bigint {
  ensureTable(database, dimension);
  const embedding = Buffer.from(JSON.stringify(Array.from({ length: dimension }, (_, i) => i / 8)));
  return database.transaction(() => {
    const { lastInsertRowid } = database
      .prepare(`INSERT INTO vec_embeddings_${dimension} (embedding) VALUES (?)`)
      .safeIntegers()
      .run(embedding);
    database
      .prepare(
        `INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, metadata, created_at, updated_at)
         VALUES (?, ?, 'default', ?, ?, '{}', 1700000000, 1700000000)`,
      )
      .run(lastInsertRowid, id, scope, dimension);
    return BigInt(lastInsertRowid);
  })();
}

/** Reads a scope for its index: bytes that begin with `[` are JSON, others are float32. Throws where llmspell fails. */
export function readScope(database: Database, dimension: Dimension, scope = "__global__"): Map<bigint, Float32Array> {
  ensureTable(database, dimension);
  const rowids = database
    .prepare("SELECT rowid FROM vector_metadata WHERE dimension = ? AND scope = ?")
    .safeIntegers()
    .pluck()
    .all(dimension, scope) as bigint[];
  const select = database.prepare(`SELECT embedding FROM vec_embeddings_${dimension} WHERE rowid = ?`).pluck();
  const index = new Map<bigint, Float32Array>();
  for (const rowid of rowids) {
    const stored = select.get(rowid) as Buffer | undefined;
    if (stored === undefined) continue;
    const numbers =
      stored[0] === 0x5b
        ? Float32Array.from(JSON.parse(stored.toString("utf8")) as number[])
        : new Float32Array(Uint8Array.from(stored.subarray(0, stored.length - (stored.length % 4))).buffer);
    // Another length is skipped with a warning.
    if (numbers.length === dimension) index.set(rowid, numbers);
  }
  return index;
}

export function updateVectorMetadata(database: Database, id: string, metadata: string): number {
  return database
    .prepare("UPDATE vector_metadata SET metadata = ?, updated_at = 1700000001 WHERE id = ?")
    .run(metadata, id).changes;
}

export function deleteVector(database: Database, dimension: Dimension, id: string): void {
  const rowid = database.prepare("SELECT rowid FROM vector_metadata WHERE id = ?").safeIntegers().pluck().get(id);
  if (rowid === undefined) return;
  database.prepare("DELETE FROM vector_metadata WHERE id = ?").run(id);
  database.prepare(`DELETE FROM vec_embeddings_${dimension} WHERE rowid = ?`).run(rowid);
}

export function deleteScope(database: Database, dimension: Dimension, scope: string): number {
  const rowids = database
    .prepare("SELECT rowid FROM vector_metadata WHERE scope = ? AND dimension = ?")
    .safeIntegers()
    .pluck()
    .all(scope, dimension) as bigint[];
  database.prepare("DELETE FROM vector_metadata WHERE scope = ? AND dimension = ?").run(scope, dimension);
  const remove = database.prepare(`DELETE FROM vec_embeddings_${dimension} WHERE rowid = ?`);
  for (const rowid of rowids) remove.run(rowid);
  return rowids.length;
}
