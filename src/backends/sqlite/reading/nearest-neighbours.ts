/** What a vec0 table answers. */
import type { RecordKind } from "../../../catalog/index.js";
import { type Database, isVec0 } from "../open.js";
import { quoted } from "../table.js";

export interface Vec0Answers {
  readonly metric: "cosine" | "euclidean";
  /** Ids, per vector. */
  readonly ids: readonly (readonly string[])[];
}

/** The ids of the `count` nearest to each vector; undefined where the embeddings are in an ordinary table. */
export function nearestByVec0(
  database: Database,
  { sqlite }: RecordKind,
  vectors: readonly Float32Array[],
  count: number,
): Vec0Answers | undefined {
  if (sqlite.layout !== "vector" || isVec0(database, sqlite.embeddingTable) !== true) return undefined;
  const definition = "SELECT sql FROM sqlite_master WHERE name = ?";
  const [sql] = database.prepare(definition).raw().get(sqlite.embeddingTable) as [string];
  const metric = /distance_metric\s*=\s*cosine/i.test(sql) ? "cosine" : "euclidean";
  // Another metric is not compared.
  if (/distance_metric\s*=\s*(l1|hamming)/i.test(sql)) return undefined;
  const search = database
    .prepare(
      `SELECT m.id FROM (SELECT rowid, distance FROM ${quoted(sqlite.embeddingTable)} WHERE embedding MATCH ? AND k = ?) AS v
       JOIN ${quoted(sqlite.metadataTable)} AS m ON m.rowid = v.rowid ORDER BY v.distance`,
    )
    .pluck();
  const ids = vectors.map(
    (vector) => search.all(Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength), count) as string[],
  );
  return { metric, ids };
}
