/**
 * PostgreSQL as a target: one transaction for everything, all or nothing.
 * Over 300 lines: the phases of one transaction, in their order.
 */

import type { PostgresApplication } from "../backends/postgres/application.js";
import { columnNamed, readTargetTables, type TargetTable } from "../backends/postgres/database/target-table.js";
import { readVersions } from "../backends/postgres/database/versions.js";
import { analyzeTables, type WrittenTable } from "../backends/postgres/loading/analyze.js";
import type { ConflictPolicy } from "../backends/postgres/loading/conflicts.js";
import { Counters, type LoadedKind } from "../backends/postgres/loading/counters.js";
import type { DeferPolicy } from "../backends/postgres/loading/index-choice.js";
import { LoadSession } from "../backends/postgres/loading/load-session.js";
import { LoadTransaction } from "../backends/postgres/loading/load-transaction.js";
import { Merge } from "../backends/postgres/loading/merge.js";
import { type Candidates, deleteRows, removeOrphans } from "../backends/postgres/loading/orphans.js";
import { Pruning } from "../backends/postgres/loading/prune.js";
import { StagedRecords } from "../backends/postgres/loading/staged-records.js";
import { type LoadMethod, TableLoader } from "../backends/postgres/loading/table-loader.js";
import { BuildTimes } from "../backends/postgres/planning/build-times.js";
import { refuseUnfinishedRun } from "../backends/postgres/runs/ledger/unfinished.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { encodingCaveat, readServerEncoding } from "../backends/postgres/session/encodings.js";
import { watchSession } from "../backends/postgres/session/watch.js";
import { type Catalog, type RecordKind, tenantFieldOf } from "../catalog/index.js";
import { located } from "../codecs/index.js";
import { StorageError } from "../errors.js";
import { requireEmpty } from "../records/loads/not-empty.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { Activity, PruneScope, RunContext, TargetScope } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import { type Sink, type SinkCounts, type SinkReport, sinkCatalog } from "./sink.js";

export interface PostgresSinkOptions {
  readonly connect: PostgresConnector;
  /** For messages; without a password. */
  readonly name: string;
  /** Default: the source's. */
  readonly catalog?: Catalog;
  /** What the database has besides the catalog's tables. */
  readonly application?: PostgresApplication;
  /** What becomes of rows that the target already has. Default "update". */
  readonly onConflict?: ConflictPolicy;
  /** What becomes of records whose parent is nowhere. Default "error". */
  readonly onOrphan?: "error" | "drop";
  /** Everything but the commit. */
  readonly dryRun?: boolean;
  /** Goes on as this tenant where row-level security binds the role; E_ROW_SECURITY there without it. */
  readonly tenant?: string;
  /** Rows that go because the run does not bring them. Default: none. */
  readonly prune?: PruneScope;
  /** E_NOT_EMPTY where there are such rows. */
  readonly requireEmpty?: TargetScope;
  /** Which loads drop secondary indexes and build them from all rows at the end. Default "auto": by the number of rows. */
  readonly deferIndexes?: DeferPolicy;
  /** Default "copy", which falls back on "insert" where the server has no COPY FROM STDIN. */
  readonly method?: LoadMethod;
}

/**
 * A sink that loads into schema `llmspell` of a PostgreSQL database, as superuser, as a role that may SET
 * session_replication_role, or as the tables' owner (which locks the tables against all others).
 */
export function createPostgresSink(options: PostgresSinkOptions): Sink {
  return new PostgresSink(options);
}

interface Open {
  readonly connection: PostgresConnection;
  readonly transaction: LoadTransaction;
  readonly session: LoadSession;
  readonly tables: ReadonlyMap<string, TargetTable>;
  readonly context: RunContext;
  readonly catalog: Catalog;
}

/** What is left to do for one kind when all its records have come, in three steps. */
interface Settling {
  readonly loader: TableLoader;
  readonly candidates: Candidates;
  /** Orphans that were taken out. */
  dropped: number;
  rejected: number;
  /** Finds what conflicts, and what is in the target. */
  prepare(): Promise<void>;
  /** Takes orphans out. */
  discard(identities: readonly (readonly string[])[]): Promise<void>;
  /** Writes what is left. */
  complete(): Promise<SinkCounts>;
}

/** Errors of the work name the kind's section. */
function of<Result>({ loader }: Settling, work: Promise<Result>): Promise<Result> {
  return work.catch((error) => Promise.reject(located(error, { section: loader.kind.path })));
}

class PostgresSink implements Sink {
  readonly name: string;
  readonly checksReferences = true;
  private readonly onConflict: ConflictPolicy;
  private connection: PostgresConnection | undefined;
  private transaction: LoadTransaction | undefined;
  private opened: Open | undefined;
  private readonly loaders = new Map<string, TableLoader>();
  /** Kinds whose table no one else can write to until the end. */
  private readonly held = new Set<string>();
  private readonly written: WrittenTable[] = [];
  private pruning: Pruning | undefined;
  private stopListening: () => void = () => {};
  private stopWatching: () => Promise<void> = async () => {};
  /** What the run is at, without what is seen from outside. */
  private activity: Activity = { phase: "connecting" };
  private indexesBuilt = 0;
  private readonly buildTimes = new BuildTimes();

  constructor(private readonly options: PostgresSinkOptions) {
    this.name = options.name;
    this.onConflict = options.onConflict ?? "update";
  }

  async open(header: StoreHeader, context: RunContext): Promise<void> {
    const catalog = sinkCatalog(this.options.catalog, header);
    const connection = await this.options.connect((waiting) => context.activity?.({ phase: "connecting", waiting }));
    this.connection = connection;
    // A statement that runs long would keep the caller waiting: without its client the server rolls back.
    const onAbort = (): void => void connection.close();
    context.signal.addEventListener("abort", onAbort, { once: true });
    this.stopListening = () => context.signal.removeEventListener("abort", onAbort);
    const transaction = new LoadTransaction(connection);
    this.transaction = transaction;
    await transaction.begin();
    const caveat = encodingCaveat(await readServerEncoding(connection));
    if (caveat !== undefined) context.warn(caveat);
    await refuseUnfinishedRun(connection, this.options.application);
    const tables = await readTargetTables(connection, catalog);
    const session = await LoadSession.begin(connection, tables, {
      tenant: this.options.tenant,
      tenantSetting: this.options.application?.tenantSetting,
    });
    this.opened = { connection, transaction, session, tables, context, catalog };
    this.stopWatching = await watchSession({
      connection,
      connect: this.options.connect,
      tell: (sighting) => context.activity?.({ ...this.activity, ...sighting, ...this.timeLeft(sighting.fraction) }),
    });
    this.activity = { phase: "rows" };
    const { prune } = this.options;
    if (prune !== undefined) this.pruning = new Pruning(connection, tables, catalog, prune, context);
    if (this.options.requireEmpty !== undefined) await this.requireEmpty(this.options.requireEmpty);
  }

  /** Nobody else writes to the tables until the end. */
  private async requireEmpty({ paths, tenants }: TargetScope): Promise<void> {
    const { connection, session, tables, catalog } = this.requireOpen();
    const counts = new Map<string, bigint>();
    for (const kind of catalog.importOrder) {
      const table = tables.get(kind.path);
      if (table === undefined || !paths.has(kind.path)) continue;
      await session.prepare(kind, catalog);
      await connection.query(`LOCK TABLE ${table.name} IN SHARE ROW EXCLUSIVE MODE`);
      const tenant = tenantFieldOf(kind);
      const all = tenants === undefined || tenant === undefined;
      const where = all ? "" : `WHERE t.${columnNamed(kind, tenant.name)} = ANY ($1)`;
      const { rows } = await connection.query<{ count: bigint }>(
        `SELECT count(*) AS count FROM ${table.name} t ${where}`,
        all ? [] : [tenants],
      );
      counts.set(kind.path, rows[0]?.count ?? 0n);
    }
    requireEmpty(counts);
  }

  async write(batch: RecordBatch): Promise<void> {
    const loader = this.loaders.get(batch.kind.path) ?? (await this.openLoader(batch.kind));
    await loader.write(batch);
  }

  private async openLoader(kind: RecordKind): Promise<TableLoader> {
    const { transaction, session, tables, context, catalog } = this.requireOpen();
    await transaction.settled();
    const table = tables.get(kind.path);
    if (table === undefined) throw new Error(`${kind.path} is not in the sink's catalog`);
    await session.prepare(table.kind, catalog);
    const loader = await TableLoader.open(table, {
      transaction,
      context,
      method: this.options.method ?? "copy",
      direct: session.copiesIntoTables,
      deferIndexes: this.options.deferIndexes ?? "auto",
      number: this.loaders.size,
      application: this.options.application,
    });
    if (loader.staging === undefined) this.held.add(kind.path);
    this.loaders.set(kind.path, loader);
    this.activity = { phase: "rows", indexesToBuild: this.countIndexesToBuild() };
    context.activity?.(this.activity);
    return loader;
  }

  private countIndexesToBuild(): number {
    return [...this.loaders.values()].reduce((count, { builds }) => count + builds.length, 0);
  }

  private timeLeft(fraction?: number): Pick<Activity, "left"> {
    const left = this.buildTimes.left(fraction);
    return left === undefined ? {} : { left };
  }

  private goOn(activity: Activity): void {
    this.activity = activity;
    this.requireOpen().context.activity?.(activity);
  }

  private async buildIndexes(loader: TableLoader): Promise<void> {
    const of = this.indexesBuilt + this.countIndexesToBuild();
    await loader.buildIndexes((name) => {
      this.indexesBuilt++;
      const [own, ...rest] = loader.builds;
      const others = [...this.loaders.values()].filter((other) => other !== loader);
      if (own !== undefined) this.buildTimes.begin(own, [...rest, ...others.flatMap(({ builds }) => builds)]);
      this.goOn({ phase: "indexes", index: { name, number: this.indexesBuilt, of }, ...this.timeLeft() });
    });
    this.buildTimes.end();
    this.goOn({ phase: "checking" });
  }

  async finish(): Promise<SinkReport> {
    const { connection, transaction, session, tables, catalog } = this.requireOpen();
    this.activity = { phase: "checking" };
    await transaction.settled();
    const counts = new Map<string, SinkCounts>();
    const unchanged = new Map<string, number>();
    const target = {
      versions: await readVersions(connection),
      migrations: (await this.options.application?.readVersions?.(connection)) ?? [],
    };
    const loaded = new Map<string, LoadedKind>();
    const counters = new Counters(connection, tables, loaded, this.onConflict);
    // Parents before children, whatever order they came in.
    const kinds = catalog.importOrder;
    for (const group of catalog.importGroups) {
      const loaders = group.flatMap(({ path }) => this.loaders.get(path) ?? []);
      for (const { kind, table, staging } of loaders)
        loaded.set(kind.path, { table, staging, matches: staging && `${staging}_matches` });
      const settling = loaders.map((loader) => this.settling(loader, counters, unchanged));
      for (const each of settling) await of(each, each.prepare());
      await this.settleOrphans(settling, loaders);
      for (const each of settling) counts.set(each.loader.kind.path, await of(each, each.complete()));
      for (const kind of group)
        if (!this.loaders.has(kind.path) && this.pruning?.covers(kind)) await this.findAll(this.pruning, kind);
    }
    const pruned = await this.pruning?.remove();
    const notes = await counters.raise(kinds);
    await this.pruning?.lowerCounters(counters);
    notes.push(...(this.pruning?.notes ?? []));
    for (const [path, count] of pruned ?? [])
      counts.set(path, { ...(counts.get(path) ?? { inserted: 0, updated: 0, skipped: 0, dropped: 0 }), pruned: count });
    for (const { largeObjects } of this.loaders.values())
      if (largeObjects.note !== undefined) notes.push(largeObjects.note);
    await session.restore();
    this.goOn({ phase: "committing" });
    if (this.options.dryRun) await transaction.rollback();
    else {
      notes.push(...(await analyzeTables(transaction, this.written)));
      await transaction.commit();
    }
    return { counts, unchanged, target, notes };
  }

  private async findAll(pruning: Pruning, kind: RecordKind): Promise<void> {
    const { session, tables, catalog } = this.requireOpen();
    await session.prepare(kind, catalog);
    await pruning.findAll(tables.get(kind.path) as TargetTable);
  }

  private settling(loader: TableLoader, counters: Counters, unchanged: Map<string, number>): Settling {
    const { staging } = loader;
    return staging === undefined ? this.settled(loader) : this.merging(loader, staging, counters, unchanged);
  }

  /**
   * Takes out the records whose parents are not there. Where foreign keys go round in a cycle, what is taken out of one kind may
   * have been the parent of another's: again, until none is. What waits to be merged counts as there.
   */
  private async settleOrphans(settling: readonly Settling[], loaders: readonly TableLoader[]): Promise<void> {
    const waiting = new Map(
      loaders.flatMap(({ kind, staging }) => (staging === undefined ? [] : [[kind.path, staging]])),
    );
    for (let found = true; found; ) {
      found = false;
      for (const each of settling) {
        const { dropped, rejected } = await of(each, this.removeOrphans(each.candidates, waiting, each.discard));
        each.dropped += dropped;
        each.rejected += rejected;
        found ||= settling.length > 1 && dropped + rejected > 0;
      }
    }
  }

  private merging(loader: TableLoader, staging: string, counters: Counters, unchanged: Map<string, number>): Settling {
    const { connection, transaction, session, context } = this.requireOpen();
    const { kind, table } = loader;
    const records = new StagedRecords(connection, table, staging, context, loader.assumed);
    const rowsHidden = !session.copiesIntoTables;
    const merge = new Merge(records, { transaction, onConflict: this.onConflict, rowsHidden });
    const left = `EXISTS (SELECT FROM ${records.matches} m WHERE m.ordinal = s.ordinal)`;
    const settling: Settling = {
      loader,
      dropped: 0,
      rejected: 0,
      candidates: {
        kind,
        relation: staging,
        identity: ["s.ordinal"],
        ...(this.onConflict === "skip" ? { except: left } : {}),
      },
      prepare: async () => {
        await merge.prepare();
        this.held.add(kind.path);
        await loader.partitions?.create();
      },
      discard: ([ordinals = []]) => records.discard(ordinals.map(BigInt)),
      complete: async () => {
        await counters.tally({ table, staging, matches: records.matches });
        if (this.pruning?.covers(kind)) await this.pruning.findUnmatched(records);
        const rows = await merge.countWrites();
        this.written.push({ table, rows, filled: false });
        await loader.dropIndexesForMerge(rows);
        const { unchanged: same, ...merged } = await merge.apply();
        unchanged.set(kind.path, same);
        await this.buildIndexes(loader);
        return { ...merged, dropped: settling.dropped };
      },
    };
    return settling;
  }

  /** The records are in the table already, which had no others: only indexes are missing. */
  private settled(loader: TableLoader): Settling {
    const { connection } = this.requireOpen();
    const { kind, table, loaded } = loader;
    const settling: Settling = {
      loader,
      dropped: 0,
      rejected: 0,
      candidates: { kind, relation: table.name, identity: ["s.tableoid", "s.ctid"] },
      prepare: async () => {},
      discard: (identities) => deleteRows(connection, table, identities),
      complete: async () => {
        await this.buildIndexes(loader);
        this.written.push({ table, rows: loaded, filled: true });
        const { dropped, rejected } = settling;
        return { inserted: loaded - dropped - rejected, updated: 0, skipped: 0, dropped };
      },
    };
    return settling;
  }

  private async removeOrphans(
    candidates: Candidates,
    waiting: ReadonlyMap<string, string>,
    discard: (identities: readonly (readonly string[])[]) => Promise<void>,
  ): Promise<{ dropped: number; rejected: number }> {
    if (candidates.kind.foreignKeys.length === 0) return { dropped: 0, rejected: 0 };
    const { connection, context, tables, catalog } = this.requireOpen();
    const onOrphan = this.options.onOrphan ?? "error";
    const isHeld = (path: string): boolean => this.held.has(path);
    return removeOrphans(candidates, { connection, context, tables, onOrphan, isHeld, discard, waiting, catalog });
  }

  async abort(): Promise<void> {
    this.stopListening();
    await this.stopWatching();
    const { connection, transaction } = this;
    this.connection = undefined;
    // A connection that is broken, or busy with a statement that was given up, has nothing left to undo.
    if (this.opened !== undefined && !this.opened.context.signal.aborted) await transaction?.rollback().catch(() => {});
    await connection?.close();
  }

  private requireOpen(): Open {
    if (this.opened === undefined) throw new StorageError("E_UNEXPECTED", "the sink is not open");
    return this.opened;
  }
}
