/** What a store holds, found by reading it as an export would. */

import { tenantIndex } from "../catalog/index.js";
import { type Config, loadConfig } from "../config/index.js";
import { type ErrorCode, StorageError } from "../errors.js";
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
import { refuseUnknownOptions, requireStore } from "./option-names.js";
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
  /** Counts the records of each tenant, too. Default false. */
  readonly tenants?: boolean;
  /** PostgreSQL: the role owns the tables (ExportOptions.asOwner). */
  readonly asOwner?: boolean;
  /** PostgreSQL: how long to wait for the server. Seconds; default 30, or as configured. */
  readonly connectionTimeoutSeconds?: number;
  /** How long a lock that another session or process holds is waited for: E_LOCKED. Seconds. */
  readonly lockTimeoutSeconds?: number;
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

export interface TenantRecords {
  readonly tenant: string;
  readonly records: number;
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
  /** With the option `tenants`: in the order of their UTF-8 bytes, those that have records. */
  readonly tenants?: readonly TenantRecords[];
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
  requireStore("storeInfo", store);
  const { onFacts, tenants: countsTenants = false, backends: list = backends, ...rest } = options;
  if (typeof countsTenants !== "boolean")
    throw new StorageError("E_USAGE", "the option tenants of storeInfo is true or false: a store is read whole");
  const config = options.config ?? (dependsOnConfig(store, "source", options, list) ? loadConfig() : undefined);
  const location = typeof store === "string" ? parseStore(store, () => config as Config, list) : store;
  const session = sessionOptions(location, options, config, list);
  const facts = await backendOf(location, list).readFacts(location, { ...session, catalog });
  onFacts?.(facts);
  const { sink, bytes, tenants, header } = countingSink(countsTenants);
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
    ...(countsTenants ? { tenants: tenants() } : {}),
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
function countingSink(countsTenants: boolean): {
  sink: Sink;
  bytes: ReadonlyMap<string, number>;
  tenants: () => TenantRecords[];
  header: () => StoreHeader | undefined;
} {
  let header: StoreHeader | undefined;
  const counts = new Map<string, SinkCounts>();
  const bytes = new Map<string, number>();
  const tenants = new Map<string, number>();
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
      const field = countsTenants ? tenantIndex(batch.kind) : -1;
      for (let row = 0; field >= 0 && row < batch.rows; row++) {
        const tenant = batch.value(row, field).toString("utf8");
        tenants.set(tenant, (tenants.get(tenant) ?? 0) + 1);
      }
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
  const sorted = (): TenantRecords[] =>
    [...tenants]
      .map(([tenant, records]) => ({ tenant, records }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.tenant, "utf8"), Buffer.from(b.tenant, "utf8")));
  return { sink, bytes, tenants: sorted, header: () => header };
}
