/** What an SQLite database is, from its own catalog. */
import { statSync } from "node:fs";
import type { Database } from "better-sqlite3";
import type { RecordKind } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import type { SqliteApplication } from "./application.js";
import { isVec0, loadVectorExtension } from "./open.js";
import { mainTable } from "./table.js";

export interface SqliteState {
  readonly sqliteVersion: string;
  readonly sqliteVecVersion: string | undefined;
  /** Of the file and its write-ahead log. */
  readonly bytes: number;
  /** e.g. "wal", "delete" */
  readonly journalMode: string;
  /** The kinds' tables that are there. */
  readonly tables: readonly string[];
  /** The shape of each embedding table that is there, by its name. */
  readonly embeddings: ReadonlyMap<string, "ordinary" | "vec0">;
}

/** Whose database it is: the application's has a table that holds a kind's records. */
export function ownerOf(
  database: Database,
  kinds: readonly RecordKind[],
  application?: SqliteApplication,
): "application" | "nobody" | "another program" {
  const query =
    "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
  const names = database.prepare(query).raw().all() as [string][];
  const ours = new Set(kinds.map((kind) => mainTable(kind)));
  if (names.some(([name]) => ours.has(name))) return "application";
  return names.some(([name]) => application?.otherTables?.has(name) !== true) ? "another program" : "nobody";
}

/** E_NOT_MIGRATED for a database without any table of the kinds: an empty file, or another program's. */
export function requireOwnTables(
  database: Database,
  path: string,
  kinds: readonly RecordKind[],
  application?: SqliteApplication,
): void {
  const owner = ownerOf(database, kinds, application);
  if (owner === "application") return;
  const what = owner === "nobody" ? "an empty database" : "another program's database";
  const { name = "the catalog", absenceHint } = application ?? {};
  throw new StorageError("E_NOT_MIGRATED", `${path} is ${what}: it has no table of ${name}`, {
    ...(absenceHint === undefined ? {} : { hint: absenceHint }),
  });
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
