/** Embeddings that earlier releases wrote as float32 and that llmspell takes for JSON (backends/sqlite/loading/embedding-text.ts). */
import { setImmediate as nextTick } from "node:timers/promises";
import { dropTriggers } from "../../../backends/sqlite/loading/triggers.js";
import { type Database, isVec0 } from "../../../backends/sqlite/open.js";
import { quoted, release } from "../../../backends/sqlite/table.js";
import { storedEmbedding, unreadableEmbeddings } from "../../../backends/sqlite/vectors/embedding-text.js";
import { catalog } from "../../catalog/index.js";

/** Rows between two looks at the signal. */
const CHUNK_ROWS = 1024;

export function rewritesEmbeddings(sql: string): boolean {
  return /^-- rewrite: embeddings$/m.test(sql);
}

/** The caller holds the transaction. Gives what has to be said. */
export async function rewriteEmbeddings(database: Database, signal: AbortSignal | undefined): Promise<string[]> {
  let unreadable = 0;
  for (const { sqlite } of catalog.kinds) {
    if (sqlite.layout !== "vector" || isVec0(database, sqlite.embeddingTable) !== false) continue;
    const triggers = dropTriggers(database, [sqlite.embeddingTable]);
    unreadable += await rewriteTable(database, sqlite.embeddingTable, sqlite.dimension, signal);
    for (const sql of triggers) database.exec(sql);
  }
  return unreadable === 0 ? [] : [unreadableEmbeddings(unreadable)];
}

async function rewriteTable(
  database: Database,
  name: string,
  dimension: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const table = quoted(name);
  // The length first: SQLite knows it without reading the value.
  const select = database
    .prepare(
      `SELECT rowid, embedding FROM ${table} WHERE rowid > ? AND typeof(embedding) = 'blob'
       AND length(embedding) = ${dimension * 4} AND substr(embedding, 1, 1) = x'5b' ORDER BY rowid LIMIT ${CHUNK_ROWS}`,
    )
    .raw()
    .safeIntegers();
  const update = database.prepare(`UPDATE ${table} SET embedding = ? WHERE rowid = ?`);
  let unreadable = 0;
  for (let after = -(2n ** 63n); ; ) {
    const rows = select.all(after) as [bigint, Buffer][];
    for (const [rowid, embedding] of rows) {
      after = rowid;
      if (isText(embedding, dimension)) continue;
      const stored = storedEmbedding(embedding);
      if (stored === undefined) unreadable++;
      else update.run(stored, rowid);
      release(embedding);
    }
    if (rows.length < CHUNK_ROWS) return unreadable;
    await nextTick();
    signal?.throwIfAborted();
  }
}

/** A text may be as long as the float32 values. */
function isText(embedding: Buffer, dimension: number): boolean {
  try {
    return (JSON.parse(embedding.toString("utf8")) as unknown[]).length === dimension;
  } catch {
    return false;
  }
}
