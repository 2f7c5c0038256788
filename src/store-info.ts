/** What a store holds, found by reading it as an export would. */
import { statSync } from "node:fs";
import { exportStore, type KindResult } from "./api.js";
import { type Config, loadConfig } from "./config.js";
import type { ErrorCode } from "./errors.js";
import { catalog } from "./llmspell/catalog/index.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { Progress } from "./pipeline.js";
import type { Rejection } from "./records/run-context.js";
import type { Sink, SinkCounts } from "./sinks/sink.js";
import type { BackendName, StoreHeader } from "./sources/source.js";
import { parseStore, postgresConnector, type StoreLocation, storeName } from "./stores.js";

export interface StoreInfoOptions {
  readonly signal?: AbortSignal;
  /** Called first, before the records are read, which may take long. */
  readonly onFacts?: (facts: StoreFacts) => void;
  /** Called once, when the store is open. `estimate`: records per path, where the store can tell cheaply. */
  readonly onStart?: (header: StoreHeader, estimate: ReadonlyMap<string, number> | undefined) => void;
  /** Called after each batch. */
  readonly onProgress?: (progress: Progress) => void;
  readonly onWarning?: (message: string) => void;
  /** PostgreSQL: how long to wait for the server. Seconds; default 30, or as configured. */
  readonly connectionTimeoutSeconds?: number;
  /** What the stores `sqlite` and `postgres` mean. Default: the environment and config.toml. */
  readonly config?: Config;
}

/** What a store is outside of its records; what the kind of store does not have is left out. */
export interface StoreFacts {
  readonly sqliteVersion?: string;
  readonly serverVersion?: string;
  readonly pgvectorVersion?: string;
  /** Of the file or the database. */
  readonly bytes?: number;
  /** SQLite: the shape of each table of embeddings. */
  readonly embeddings?: Readonly<Record<string, string>>;
}

/** Records that an export could not take, by section, field and code. */
export interface Obstacle {
  readonly code: ErrorCode;
  readonly section: string;
  readonly field: string | undefined;
  /** The key of the first of them. */
  readonly firstKey: string | undefined;
  readonly count: number;
}

export interface StoreSection {
  readonly path: string;
  /** The statistics line that counts it, e.g. "Vectors". */
  readonly label: string;
  readonly records: number;
  /** Of the values. */
  readonly bytes: number;
  /** Records that an export could not take. */
  readonly rejected: number;
}

export interface StoreInfo {
  /** Never with a password. */
  readonly store: string;
  readonly facts: StoreFacts;
  readonly backend: BackendName;
  readonly migrations: readonly string[];
  readonly records: number;
  /** In the catalog's order, those that have records. */
  readonly sections: readonly StoreSection[];
  readonly rejected: number;
  readonly obstacles: readonly Obstacle[];
  /** What the store holds and an export would leave out, a line each. */
  readonly leftOut: readonly string[];
}

/**
 * Reads all of a store, as `llmspell storage info` does, and changes nothing. `store` is a STORE (docs/command-line.md), or
 * its location. Throws StorageError.
 */
export async function storeInfo(store: string | StoreLocation, options: StoreInfoOptions = {}): Promise<StoreInfo> {
  refuseUnknownOptions("storeInfo", options);
  const location = typeof store === "string" ? parseStore(store, () => options.config ?? loadConfig()) : store;
  const { onFacts, ...rest } = options;
  const facts = await readFacts(location, options);
  onFacts?.(facts);
  const { sink, bytes, header } = countingSink();
  const obstacles = new Map<string, Obstacle>();
  const { kinds, totals, leftOut } = await exportStore({
    ...rest,
    from: location,
    to: sink,
    onReject: (rejection) => addObstacle(obstacles, rejection),
  });
  const { backend, migrations } = header() as StoreHeader;
  const section = ({ path, label, read, rejected }: KindResult): StoreSection => ({
    path,
    label,
    records: read,
    bytes: bytes.get(path) ?? 0,
    rejected,
  });
  return {
    store: storeName(location),
    facts,
    backend,
    migrations,
    records: totals.read,
    sections: kinds.map(section),
    rejected: totals.rejected,
    obstacles: [...obstacles.values()],
    leftOut,
  };
}

/** Without reading its records. */
async function readFacts(location: StoreLocation, options: StoreInfoOptions): Promise<StoreFacts> {
  switch (location.type) {
    case "sqlite": {
      const [{ openSqliteForReading }, { inspectSqlite }] = await Promise.all([
        import("./backends/sqlite/open.js"),
        import("./backends/sqlite/inspect.js"),
      ]);
      const database = openSqliteForReading(location.path);
      try {
        const { bytes, sqliteVersion, embeddings } = inspectSqlite(database, location.path, catalog.kinds);
        return { sqliteVersion, bytes, embeddings: Object.fromEntries(embeddings) };
      } finally {
        database.close();
      }
    }
    case "postgres":
    case "pglite": {
      const { inspectPostgres } = await import("./backends/postgres/database/inspect.js");
      const { signal } = options;
      const connectionTimeoutSeconds =
        options.connectionTimeoutSeconds ?? (options.config ?? loadConfig()).postgresql.connectionTimeoutSeconds;
      const connection = await (await postgresConnector(location, { connectionTimeoutSeconds, signal }))();
      try {
        const { serverVersion, extensions, databaseBytes: bytes } = await inspectPostgres(connection);
        const pgvectorVersion = extensions.get("vector")?.installed;
        return { serverVersion, ...(pgvectorVersion === undefined ? {} : { pgvectorVersion }), bytes };
      } finally {
        await connection.close();
      }
    }
    case "document": {
      const bytes = location.path === "-" ? undefined : statSync(location.path, { throwIfNoEntry: false })?.size;
      return bytes === undefined ? {} : { bytes };
    }
    case "stream":
      return {};
  }
}

function addObstacle(obstacles: Map<string, Obstacle>, { kind, error }: Rejection): void {
  const { field, key } = error.context;
  const id = `${kind.path} ${field ?? ""} ${error.code}`;
  const known = obstacles.get(id) ?? { code: error.code, section: kind.path, field, firstKey: key, count: 0 };
  obstacles.set(id, { ...known, count: known.count + 1 });
}

/** Takes everything and keeps nothing. */
function countingSink(): { sink: Sink; bytes: ReadonlyMap<string, number>; header: () => StoreHeader | undefined } {
  let header: StoreHeader | undefined;
  const counts = new Map<string, SinkCounts>();
  const bytes = new Map<string, number>();
  const sink: Sink = {
    name: "info",
    async open(given) {
      header = given;
    },
    async write(batch) {
      const { path } = batch.kind;
      let size = batch.byteLength;
      for await (const chunk of batch.large?.chunks() ?? []) size += chunk.length;
      bytes.set(path, (bytes.get(path) ?? 0) + size);
      counts.set(path, {
        inserted: (counts.get(path)?.inserted ?? 0) + batch.rows,
        updated: 0,
        skipped: 0,
        dropped: 0,
      });
    },
    async finish() {
      return { counts, notes: [] };
    },
    async abort() {},
  };
  return { sink, bytes, header: () => header };
}
