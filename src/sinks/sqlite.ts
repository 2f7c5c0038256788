/** Writes an SQLite database: one transaction, all or nothing. */
import { setImmediate as nextTick } from "node:timers/promises";
import type { SqliteApplication } from "../backends/sqlite/application.js";
import { fromSqliteError, unhidden } from "../backends/sqlite/errors.js";
import { raiseCounters } from "../backends/sqlite/loading/counters.js";
import { settleOrphans } from "../backends/sqlite/loading/foreign-keys.js";
import { Load } from "../backends/sqlite/loading/load-session.js";
import { beginWriting, endWriting, rollBack } from "../backends/sqlite/loading/load-transaction.js";
import { countRows, pruneRows } from "../backends/sqlite/loading/prune.js";
import { analyzeTables } from "../backends/sqlite/loading/statistics.js";
import { TableWriter } from "../backends/sqlite/loading/table-writer.js";
import { type Database, fitPageCache, openSqliteForWriting } from "../backends/sqlite/open.js";
import { unreadableEmbeddings } from "../backends/sqlite/vectors/embedding-text.js";
import { readVersions } from "../backends/sqlite/versions.js";
import type { Catalog, RecordKind } from "../catalog/index.js";
import { requireEmpty } from "../records/loads/not-empty.js";
import type { PruneScope, TargetScope } from "../records/run-context.js";
import { type Sink, sinkCatalog } from "./sink.js";

export interface SqliteSinkOptions {
  readonly path: string;
  /** Whose database it is: its versions are in the report. */
  readonly application?: SqliteApplication | undefined;
  /** Default: the source's. */
  readonly catalog?: Catalog | undefined;
  /** A record that the target has: replaced in place (default), left, or refused with E_CONFLICT. */
  readonly onConflict?: "update" | "skip" | "error" | undefined;
  /** A record whose parent is nowhere: E_ORPHAN (default), or left out and counted. */
  readonly onOrphan?: "error" | "drop" | undefined;
  /** Everything but the commit. */
  readonly dryRun?: boolean | undefined;
  /** The shape of embedding tables that are not there yet. Default "blob". */
  readonly vectorsAs?: "blob" | "vec0" | undefined;
  /** How long another process's lock is waited for. Seconds, default 5. */
  readonly lockTimeoutSeconds?: number | undefined;
  /** Rows that go because the run does not bring them. Default: none. */
  readonly prune?: PruneScope | undefined;
  /** E_NOT_EMPTY where there are such rows. */
  readonly requireEmpty?: TargetScope | undefined;
  /**
   * The file is this run's own: nobody else knows it, and a run that fails throws it away. It is written without a
   * write-ahead log (once instead of twice) and is not yet on the disk when `finish` resolves: sync it. Default false.
   */
  readonly ownFile?: boolean | undefined;
}

const LOCK_TIMEOUT_SECONDS = 5;

/**
 * The database must be there and migrated. open: E_STORE_NOT_FOUND, E_NOT_A_DATABASE, E_NOT_MIGRATED, E_READ_ONLY,
 * E_LOCKED, E_NOT_EMPTY. write, finish: E_DISK_FULL, E_IO; what one record causes goes to `context.reject`: E_MISSING_FIELD, E_CHECK,
 * E_OUT_OF_RANGE, E_TARGET_LIMIT, E_CONSTRAINT, E_CONFLICT, E_KEY_CONFLICT, E_TENANT_CONFLICT, E_ORPHAN, E_PARENT_REJECTED.
 */
export function createSqliteSink(options: SqliteSinkOptions): Sink {
  const writers = new Map<string, TableWriter>();
  let database: Database | undefined;
  let load: Load | undefined;
  let written: RecordKind | undefined;

  const running = (): Load => {
    if (load === undefined) throw new Error("the sink is not open");
    return load;
  };

  const writerOf = (kind: RecordKind): TableWriter => {
    let writer = writers.get(kind.path);
    if (writer === undefined) {
      writer = new TableWriter(running(), kind);
      writers.set(kind.path, writer);
    }
    return writer;
  };

  /** Errors of the driver as coded ones; a run that was aborted keeps its reason. */
  const coded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (load?.context.signal.aborted) throw error;
      throw fromSqliteError(database === undefined ? error : unhidden(error, database));
    }
  };

  return {
    name: `sqlite:${options.path}`,
    checksReferences: true,
    open: (header, context) =>
      coded(async () => {
        const catalog = sinkCatalog(options.catalog, header);
        database = openSqliteForWriting(options.path, { unsafe: options.ownFile === true });
        await beginWriting(database, {
          seconds: options.lockTimeoutSeconds ?? LOCK_TIMEOUT_SECONDS,
          signal: context.signal,
          onWait: (waiting) => context.activity?.({ phase: "connecting", waiting }),
        });
        load = new Load(database, catalog, context, {
          onConflict: options.onConflict ?? "update",
          onOrphan: options.onOrphan ?? "error",
          vectorsAs: options.vectorsAs ?? "blob",
          prune: options.prune,
        });
        if (options.requireEmpty !== undefined) requireEmpty(countRows(load, options.requireEmpty));
      }),
    write: (batch) =>
      coded(async () => {
        const writer = writerOf(batch.kind);
        if (batch.kind !== written) fitPageCache(running().database, batch.kind);
        written = batch.kind;
        await writer.write(batch);
        // The driver is synchronous: let signals and timers in.
        await nextTick();
      }),
    finish: () =>
      coded(async () => {
        const current = running();
        await settleOrphans(current, writers);
        const { prune } = options;
        const pruned = prune === undefined ? undefined : await pruneRows(current, prune, writers, writerOf);
        const notes = [...raiseCounters(current, writers), ...(pruned?.notes ?? [])];
        pruned?.lower();
        if (current.unreadableEmbeddings > 0) current.context.warn(unreadableEmbeddings(current.unreadableEmbeddings));
        await current.restore();
        const inserted = new Map<string, number>();
        for (const { table, counts } of writers.values())
          inserted.set(table, (inserted.get(table) ?? 0) + counts.inserted);
        current.context.activity?.({ phase: "committing" });
        await analyzeTables(current, inserted);
        endWriting(current.database, { keep: options.dryRun !== true });
        if (options.ownFile) current.database.pragma("journal_mode = WAL");
        const counts = new Map([...writers].map(([path, writer]) => [path, writer.counts]));
        const unchanged = new Map([...writers].map(([path, writer]) => [path, writer.unchanged]));
        const target = {
          versions: readVersions(current.database),
          migrations: options.application?.readVersions?.(current.database) ?? [],
        };
        return { counts, unchanged, target, notes };
      }),
    async abort() {
      if (database !== undefined) rollBack(database);
      try {
        database?.close();
      } catch {
        // Nothing more can be done.
      }
      database = undefined;
      load = undefined;
    },
  };
}
