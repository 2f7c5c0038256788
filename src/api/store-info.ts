/** What a store holds, found by reading it as an export would. */
import { type Config, loadConfig } from "../config/index.js";
import type { ErrorCode } from "../errors.js";
import { catalog } from "../llmspell/catalog/index.js";
import type { Progress } from "../pipeline.js";
import type { Rejection } from "../records/run-context.js";
import type { Sink, SinkCounts } from "../sinks/sink.js";
import type { BackendName, StoreHeader } from "../sources/source.js";
import {
  type Backend,
  backendOf,
  backends,
  dependsOnConfig,
  parseStore,
  type StoreFacts,
  type StoreLocation,
  sessionOptions,
  storeName,
} from "../stores/index.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { KindResult } from "./results.js";
import { exportStore } from "./transfer.js";

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
  /** The backends that STOREs are looked for among. Default: the package's own (`backends`). */
  readonly backends?: readonly Backend[];
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
  const { onFacts, backends: list = backends, ...rest } = options;
  const config = options.config ?? (dependsOnConfig(store, "source", options, list) ? loadConfig() : undefined);
  const location = typeof store === "string" ? parseStore(store, () => config as Config, list) : store;
  const session = sessionOptions(location, options, config, list);
  const facts = await backendOf(location, list).readFacts(location, { ...session, catalog });
  onFacts?.(facts);
  const { sink, bytes, header } = countingSink();
  const obstacles = new Map<string, Obstacle>();
  const { kinds, totals, leftOut } = await exportStore({
    ...rest,
    ...(config === undefined ? {} : { config }),
    backends: list,
    from: location as StoreLocation,
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
    store: storeName(location, list),
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

export function addObstacle(obstacles: Map<string, Obstacle>, { kind, error }: Rejection): void {
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
