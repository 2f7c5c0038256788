/** What an SQLite database is, from its own catalog. */
import { statSync } from "node:fs";
import type { Database } from "better-sqlite3";
import type { RecordKind } from "../../catalog/index.js";
import { isVec0, loadVectorExtension } from "./open.js";

export interface SqliteState {
  readonly sqliteVersion: string;
  readonly sqliteVecVersion: string | undefined;
  /** Of the file and its write-ahead log. */
  readonly bytes: number;
  /** e.g. "wal", "delete" */
  readonly journalMode: string;
  /** The tables of llmspell that are there. */
  readonly tables: readonly string[];
  /** The shape of each embedding table that is there, by its name. */
  readonly embeddings: ReadonlyMap<string, "ordinary" | "vec0">;
}

/** Reads SQLite's catalog; changes nothing in the file. `kinds`: whose tables to look for. */
export function inspectSqlite(database: Database, path: string, kinds: readonly RecordKind[]): SqliteState {
  const mappings = kinds.map(({ sqlite }) => sqlite);
  const tables = new Set(
    mappings.map((mapping) => (mapping.layout === "table" ? mapping.table : mapping.metadataTable)),
  );
  const names = new Set(
    database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
      .raw()
      .all()
      .map((row) => (row as [string])[0]),
  );
  const embeddings = new Map<string, "ordinary" | "vec0">();
  for (const mapping of mappings) {
    if (mapping.layout !== "vector" || !names.has(mapping.embeddingTable)) continue;
    embeddings.set(mapping.embeddingTable, isVec0(database, mapping.embeddingTable) ? "vec0" : "ordinary");
  }
  return {
    sqliteVersion: one(database, "SELECT sqlite_version()"),
    sqliteVecVersion: vectorVersion(database),
    bytes: fileBytes(path) + fileBytes(`${path}-wal`),
    journalMode: database.pragma("journal_mode", { simple: true }) as string,
    tables: [...tables].filter((table) => names.has(table)),
    embeddings,
  };
}

function one(database: Database, sql: string): string {
  return (database.prepare(sql).raw().get() as [string])[0];
}

/** Undefined where the platform has no sqlite-vec. */
function vectorVersion(database: Database): string | undefined {
  try {
    loadVectorExtension(database, true);
    return one(database, "SELECT vec_version()");
  } catch {
    return undefined;
  }
}

function fileBytes(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
