/** PostgreSQL as a target: one transaction for everything, all or nothing. */

import { columnNamed, readTargetTables, type TargetTable } from "../backends/postgres/database/target-table.js";
import { analyzeTables, type WrittenTable } from "../backends/postgres/loading/analyze.js";
import type { ConflictPolicy } from "../backends/postgres/loading/conflicts.js";
import { Counters, type LoadedKind } from "../backends/postgres/loading/counters.js";
import type { DeferPolicy } from "../backends/postgres/loading/deferred-indexes.js";
import { LoadSession } from "../backends/postgres/loading/load-session.js";
import { LoadTransaction } from "../backends/postgres/loading/load-transaction.js";
import { Merge } from "../backends/postgres/loading/merge.js";
import { type Candidates, deleteRows, removeOrphans } from "../backends/postgres/loading/orphans.js";
import { Pruning } from "../backends/postgres/loading/prune.js";
import { StagedRecords } from "../backends/postgres/loading/staged-records.js";
import { type LoadMethod, TableLoader } from "../backends/postgres/loading/table-loader.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { encodingCaveat, readServerEncoding } from "../backends/postgres/session/encodings.js";
import { type Catalog, catalog as llmspellCatalog, type RecordKind } from "../catalog/index.js";
import { located } from "../codecs/index.js";
import { StorageError } from "../errors.js";
import { requireEmpty } from "../records/not-empty.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { PruneScope, RunContext, TargetScope } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import type { Sink, SinkCounts, SinkReport } from "./sink.js";

export interface PostgresSinkOptions {
  readonly connect: PostgresConnector;
  /** For messages; without a password. */
  readonly name: string;
  readonly catalog?: Catalog;
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
}

class PostgresSink implements Sink {
  readonly name: string;
  readonly checksReferences = true;
  private readonly catalog: Catalog;
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

  constructor(private readonly options: PostgresSinkOptions) {
    this.name = options.name;
    this.catalog = options.catalog ?? llmspellCatalog;
    this.onConflict = options.onConflict ?? "update";
  }

  async open(_header: StoreHeader, context: RunContext): Promise<void> {
    const connection = await this.options.connect();
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
    const tables = await readTargetTables(connection, this.catalog);
    const session = await LoadSession.begin(connection, tables, this.options.tenant);
    this.opened = { connection, transaction, session, tables, context };
    const { prune } = this.options;
    if (prune !== undefined) this.pruning = new Pruning(connection, tables, this.catalog, prune, context);
    if (this.options.requireEmpty !== undefined) await this.requireEmpty(this.options.requireEmpty);
  }

  /** Nobody else writes to the tables until the end. */
  private async requireEmpty({ paths, tenants }: TargetScope): Promise<void> {
    const { connection, session, tables } = this.requireOpen();
    const counts = new Map<string, bigint>();
    for (const kind of this.catalog.importOrder) {
      const table = tables.get(kind.path);
      if (table === undefined || !paths.has(kind.path)) continue;
      await session.prepare(kind, this.catalog);
      await connection.query(`LOCK TABLE ${table.name} IN SHARE ROW EXCLUSIVE MODE`);
      const where = tenants === undefined ? "" : `WHERE t.${columnNamed(kind, "tenant_id")} = ANY ($1)`;
      const { rows } = await connection.query<{ count: bigint }>(
        `SELECT count(*) AS count FROM ${table.name} t ${where}`,
        tenants === undefined ? [] : [tenants],
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
    const { transaction, session, tables, context } = this.requireOpen();
    await transaction.settled();
    const table = tables.get(kind.path);
    if (table === undefined) throw new Error(`${kind.path} is not in the sink's catalog`);
    await session.prepare(table.kind, this.catalog);
    const loader = await TableLoader.open(table, {
      transaction,
      context,
      method: this.options.method ?? "copy",
      direct: session.copiesIntoTables,
      deferIndexes: this.options.deferIndexes ?? "auto",
      number: this.loaders.size,
    });
    if (loader.staging === undefined) this.held.add(kind.path);
    this.loaders.set(kind.path, loader);
    return loader;
  }

  async finish(): Promise<SinkReport> {
    const { connection, transaction, session, tables } = this.requireOpen();
    await transaction.settled();
    const counts = new Map<string, SinkCounts>();
    const loaded = new Map<string, LoadedKind>();
    const counters = new Counters(connection, tables, loaded, this.onConflict);
    // Parents before children, whatever order they came in.
    const kinds = this.catalog.importOrder;
    for (const kind of kinds) {
      const loader = this.loaders.get(kind.path);
      if (loader === undefined) {
        if (this.pruning?.covers(kind)) await this.findAll(this.pruning, kind);
        continue;
      }
      const { staging } = loader;
      loaded.set(kind.path, { table: loader.table, staging, matches: staging && `${staging}_matches` });
      const settled = staging ? this.merge(loader, staging, counters) : this.settle(loader);
      counts.set(kind.path, await settled.catch((error) => Promise.reject(located(error, { section: kind.path }))));
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
    if (this.options.dryRun) await transaction.rollback();
    else {
      notes.push(...(await analyzeTables(transaction, this.written)));
      await transaction.commit();
    }
    return { counts, notes };
  }

  private async findAll(pruning: Pruning, kind: RecordKind): Promise<void> {
    const { session, tables } = this.requireOpen();
    await session.prepare(kind, this.catalog);
    await pruning.findAll(tables.get(kind.path) as TargetTable);
  }

  private async merge(loader: TableLoader, staging: string, counters: Counters): Promise<SinkCounts> {
    const { connection, transaction, session, context } = this.requireOpen();
    const { kind, table } = loader;
    const records = new StagedRecords(connection, table, staging, context, loader.assumed);
    const rowsHidden = !session.copiesIntoTables;
    const merge = new Merge(records, { transaction, onConflict: this.onConflict, rowsHidden });
    await merge.prepare();
    this.held.add(kind.path);
    await loader.partitions?.create();
    const left = `EXISTS (SELECT FROM ${records.matches} m WHERE m.ordinal = s.ordinal)`;
    const { dropped } = await this.removeOrphans(
      {
        kind,
        relation: staging,
        identity: ["s.ordinal"],
        ...(this.onConflict === "skip" ? { except: left } : {}),
      },
      ([ordinals = []]) => records.discard(ordinals.map(BigInt)),
    );
    await counters.tally({ table, staging, matches: records.matches });
    if (this.pruning?.covers(kind)) await this.pruning.findUnmatched(records);
    const rows = await merge.countWrites();
    this.written.push({ table, rows, filled: false });
    await loader.dropIndexesForMerge(rows);
    const merged = await merge.apply();
    await loader.buildIndexes();
    return { ...merged, dropped };
  }

  /** The records are in the table already, which had no others: only indexes are missing. */
  private async settle(loader: TableLoader): Promise<SinkCounts> {
    const { connection } = this.requireOpen();
    const { kind, table, loaded } = loader;
    const { dropped, rejected } = await this.removeOrphans(
      { kind, relation: table.name, identity: ["s.tableoid", "s.ctid"] },
      (identities) => deleteRows(connection, table, identities),
    );
    await loader.buildIndexes();
    this.written.push({ table, rows: loaded, filled: true });
    return { inserted: loaded - dropped - rejected, updated: 0, skipped: 0, dropped };
  }

  private async removeOrphans(
    candidates: Candidates,
    discard: (identities: readonly (readonly string[])[]) => Promise<void>,
  ): Promise<{ dropped: number; rejected: number }> {
    if (candidates.kind.foreignKeys.length === 0) return { dropped: 0, rejected: 0 };
    const { connection, context, tables } = this.requireOpen();
    const onOrphan = this.options.onOrphan ?? "error";
    const isHeld = (path: string): boolean => this.held.has(path);
    return removeOrphans(candidates, { connection, context, tables, onOrphan, isHeld, discard, catalog: this.catalog });
  }

  async abort(): Promise<void> {
    this.stopListening();
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
