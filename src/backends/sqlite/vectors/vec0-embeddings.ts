/**
 * Reading a vec0 table in another order than its own. sqlite-vec walks a chunk of 1024 vectors for each of them: a lookup by
 * rowid goes to another chunk each time (560 rows/s at 3072 dimensions), a scan stays in one, which the page cache holds
 * (fitPageCache; thousands of rows/s): so it is scanned once, into a temporary database on disk.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import Driver from "better-sqlite3";
import type { Database } from "../open.js";
import { quoted, release } from "../table.js";

/** Rows between two visits of the event loop. */
const ROWS_PER_TURN = 512;

export interface EmbeddingStage {
  /** The embedding of a rowid, or null; undefined where there are several. */
  get(rowid: bigint): Buffer | null | undefined;
  close(): void;
}

export async function stageEmbeddings(database: Database, table: string, signal: AbortSignal): Promise<EmbeddingStage> {
  // An empty name is a temporary file that SQLite deletes on close.
  const stage = new Driver("");
  try {
    stage.pragma("journal_mode = OFF");
    stage.pragma("cache_size = -8192");
    // Nothing but the rowid's own kind can be a row's: other values of a column that is called so lead nowhere.
    stage.exec("CREATE TABLE embeddings (rowid INTEGER PRIMARY KEY, embedding BLOB, several INTEGER); BEGIN");
    const insert = stage.prepare("INSERT INTO embeddings VALUES (?, ?, 0) ON CONFLICT DO UPDATE SET several = 1");
    const rows = database
      .prepare(`SELECT rowid, embedding FROM ${quoted(table)} WHERE typeof(rowid) = 'integer'`)
      .raw()
      .safeIntegers()
      .iterate();
    let count = 0;
    for (const [rowid, embedding] of rows as Iterable<[bigint, Buffer | null]>) {
      insert.run(rowid, embedding);
      release(embedding);
      if (++count % ROWS_PER_TURN !== 0) continue;
      await nextTick();
      signal.throwIfAborted();
    }
    stage.exec("COMMIT");
  } catch (error) {
    stage.close();
    throw error;
  }
  const select = stage.prepare("SELECT embedding, several FROM embeddings WHERE rowid = ?").raw();
  return {
    get(rowid) {
      const [embedding = null, several] = (select.get(rowid) ?? []) as [(Buffer | null)?, number?];
      return several === 1 ? undefined : embedding;
    },
    close: () => stage.close(),
  };
}
