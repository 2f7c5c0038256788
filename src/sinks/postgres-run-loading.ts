/**
 * The records of a run on their way into PostgreSQL: cut into parts, which several connections load; then what is looked at and
 * built over all of them.
 */
import type { PartitionMaker, PostgresApplication } from "../backends/postgres/application.js";
import type { TargetTable } from "../backends/postgres/database/target-table.js";
import { readVersions } from "../backends/postgres/database/versions.js";
import { analyzeTables } from "../backends/postgres/loading/analyze.js";
import type { DeferPolicy } from "../backends/postgres/loading/index-choice.js";
import { LoadTransaction } from "../backends/postgres/loading/load-transaction.js";
import { Ledger } from "../backends/postgres/runs/ledger/ledger.js";
import { findLacking } from "../backends/postgres/runs/parts/lacking-parts.js";
import { LoaderPool } from "../backends/postgres/runs/parts/loader-pool.js";
import { drain, type Part, PartCutter } from "../backends/postgres/runs/parts/part-cutter.js";
import { LOAD_SETTINGS, PartLoader } from "../backends/postgres/runs/parts/part-loader.js";
import { removeParts } from "../backends/postgres/runs/parts/remove-parts.js";
import { buildIndexes, dropIndexes } from "../backends/postgres/runs/run-indexes.js";
import { settleRunOrphans } from "../backends/postgres/runs/run-orphans.js";
import { makePartitions } from "../backends/postgres/runs/run-partitions.js";
import { type RunTarget, requireEmptyTable } from "../backends/postgres/runs/run-target.js";
import type { PostgresConnection } from "../backends/postgres/session/connection.js";
import { inTransaction } from "../backends/postgres/session/transaction.js";
import type { Catalog, RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import type { Sink, SinkCounts, SinkReport } from "./sink.js";

/** Where each part of the source stands: what the pass before has found. */
export interface PlannedPart {
  readonly digest: string;
  isLoaded: boolean;
}

/** A run whose target is open. */
export interface OpenedRun extends RunTarget {
  readonly coordinator: PostgresConnection;
  readonly catalog: Catalog;
  readonly context: RunContext;
}

interface RunLoadingOptions {
  /** For messages; without a password. */
  readonly name: string;
  readonly application?: PostgresApplication | undefined;
  readonly onOrphan?: "error" | "drop" | undefined;
  readonly deferIndexes?: DeferPolicy | undefined;
  /** The sections that were selected. */
  readonly paths: ReadonlySet<string>;
  open(header: StoreHeader, context: RunContext): Promise<OpenedRun>;
  planned(): Map<string, PlannedPart[]> | undefined;
  done(): void;
  close(): Promise<void>;
}

export class RunLoadingSink implements Sink {
  readonly name: string;
  readonly checksReferences = true;
  private opened: OpenedRun | undefined;
  private pool = new LoaderPool([]);
  private cutter!: PartCutter;
  private planned: Map<string, PlannedPart[]> | undefined;
  /** What the part at hand has of its loader already, for large objects. */
  private reserved: { readonly loader: PartLoader; readonly number: number } | undefined;
  private number = 0;
  private readonly begun = new Set<string>();
  private readonly makers = new Map<string, PartitionMaker>();

  constructor(private readonly options: RunLoadingOptions) {
    this.name = options.name;
  }

  async open(header: StoreHeader, context: RunContext): Promise<void> {
    const opened = await this.options.open(header, context);
    const { run, parts, steps, ledger, connections } = opened;
    this.opened = opened;
    this.cutter = new PartCutter(run.partBytes, context);
    this.number = parts.reduce((most, { part }) => Math.max(most, part), 0);
    const { application } = this.options;
    this.pool = new LoaderPool(connections.map((each) => new PartLoader(each, { ledger, run, application, context })));
    for (const { section } of [...steps, ...parts]) this.begun.add(section);
    this.planned = this.options.planned();
    if (this.planned !== undefined) await this.removeStale(opened, this.planned);
    context.activity?.({ phase: "rows" });
  }

  /**
   * Parts that the source does not have any more, as they were loaded, or the target: all of them go before any comes, so that keys that moved
   * from one to another find no other holder.
   */
  private async removeStale(opened: OpenedRun, planned: Map<string, PlannedPart[]>): Promise<void> {
    const { parts, coordinator, ledger, run, catalog, tables, context } = opened;
    const keyOf = (section: string, digest: string): string => `${section} ${digest}`;
    const lacking = await findLacking(parts, {
      connection: coordinator,
      tables,
      onWarning: (line) => context.warn(line),
    });
    const whole = parts.filter((part) => !lacking.has(part));
    const loaded = Map.groupBy(whole, ({ section, digest }) => keyOf(section, digest));
    for (const [section, list] of planned)
      for (const part of list) part.isLoaded = loaded.get(keyOf(section, part.digest))?.pop() !== undefined;
    const stale = [...lacking, ...[...loaded.values()].flat()];
    const onKept = (section: string, rows: number): void =>
      context.warn(
        `${section}: ${rows} of the records that the run has loaded and the source has no more, or not so, stay: rows of others refer to them`,
      );
    if (stale.length > 0)
      await removeParts(stale, parts, { connection: coordinator, ledger, run, catalog, tables, onKept });
  }

  async write(batch: RecordBatch): Promise<void> {
    const { kind } = batch;
    const { tables } = this.requireOpen();
    if (this.cutter.isOfOther(kind)) await this.endPart();
    const table = tables.get(kind.path);
    if (table === undefined) throw new Error(`${kind.path} is not in the sink's catalog`);
    const maker = this.makerOf(table);
    try {
      for (let row = 0; row < batch.rows; row++) {
        const isLoaded = this.plannedOf(kind)?.isLoaded === true;
        const store = isLoaded ? drain : (chunks: AsyncIterable<Buffer>) => this.storeLarge(table, chunks);
        const isFull = await this.cutter.add(batch, row, store);
        if (!isLoaded) maker.note(batch, row);
        if (isFull) await this.endPart(true);
      }
    } finally {
      await batch.large?.discard();
    }
  }

  private plannedOf(kind: RecordKind): PlannedPart | undefined {
    return this.planned?.get(kind.path)?.[this.cutter.placeOf(kind)];
  }

  private async storeLarge(table: TargetTable, chunks: AsyncIterable<Buffer>): Promise<number> {
    this.reserved ??= { loader: await this.pool.take(), number: ++this.number };
    return this.reserved.loader.store(table, this.reserved.number, chunks);
  }

  private makerOf(table: TargetTable): PartitionMaker {
    const { coordinator } = this.requireOpen();
    const { path } = table.kind;
    const maker =
      this.makers.get(path) ?? this.options.application?.partitionsOf?.(coordinator, table) ?? NO_PARTITIONS;
    this.makers.set(path, maker);
    return maker;
  }

  /** Before the first part of a kind. */
  private async beginKind(table: TargetTable, { records }: Part, isFull: boolean): Promise<void> {
    const { coordinator, run, ledger: ledgerTables } = this.requireOpen();
    const { deferIndexes: policy = "auto", paths } = this.options;
    const { path } = table.kind;
    if (this.begun.has(path)) return;
    this.begun.add(path);
    const ledger = new Ledger(coordinator, ledgerTables);
    await inTransaction(coordinator, "write", async () => {
      await coordinator.query("SET LOCAL client_min_messages = 'warning'");
      await ledger.hold(run);
      // A step that gives records of other sections than were selected.
      if (!paths.has(path)) await requireEmptyTable(coordinator, table);
      await ledger.addStep(run.run, { what: "section", section: path, name: "", definition: "" });
      await dropIndexes(coordinator, { ledger, run, table, policy, records, isFull });
    });
  }

  /** Hands the part at hand to a loader, when one is free. `isFull`: more of its kind may come. */
  private async endPart(isFull = false): Promise<void> {
    const { tables, coordinator, ledger, run } = this.requireOpen();
    const planned = this.cutter.take();
    if (planned === undefined) return;
    const part: Part = planned;
    const known = this.planned?.get(part.kind.path)?.[part.place];
    if (this.planned !== undefined && known?.digest !== part.digest) throw otherRecords(part.kind);
    if (known?.isLoaded === true) {
      this.cutter.recycle(part);
      return;
    }
    const table = tables.get(part.kind.path) as TargetTable;
    await this.beginKind(table, part, isFull);
    const maker = this.makerOf(table);
    if (maker.isPending) {
      await this.pool.drain();
      await makePartitions(coordinator, { ledger, run, table, maker });
    }
    const { loader, number } = this.reserved ?? { loader: await this.pool.take(), number: ++this.number };
    this.reserved = undefined;
    this.pool.start(loader, async () => {
      await loader.load(table, number, part);
      this.cutter.recycle(part);
    });
  }

  async finish(): Promise<SinkReport> {
    const opened = this.requireOpen();
    const { coordinator, context, run, ledger: ledgerTables, catalog, tables, connections } = opened;
    await this.endPart();
    await this.pool.drain();
    const missing = [...(this.planned ?? [])].find(
      ([path, list]) => list.length !== this.cutter.placeOf(catalog.byPath.get(path) as RecordKind),
    );
    if (missing !== undefined) throw otherRecords(catalog.byPath.get(missing[0]) as RecordKind);
    context.activity?.({ phase: "checking" });
    const ledger = new Ledger(coordinator, ledgerTables);
    const [parts, steps] = await inTransaction(coordinator, "read", async () => [
      await ledger.parts(run.run),
      await ledger.steps(run.run),
    ]);
    const rows = new Map<string, number>();
    for (const { section, records } of parts) rows.set(section, (rows.get(section) ?? 0) + Number(records));
    const { onOrphan = "error" } = this.options;
    const orphans = { connection: coordinator, context, catalog, tables, onOrphan, loaded: new Set(rows.keys()) };
    const settle = async (): Promise<Map<string, number>> => {
      await coordinator.query(LOAD_SETTINGS);
      await ledger.hold(run);
      return settleRunOrphans(orphans);
    };
    // Before what takes long. What is dropped is dropped in the last transaction only: a run that is resumed may bring the parents.
    if (onOrphan === "error") await inTransaction(coordinator, "write", settle);
    await buildIndexes(steps, {
      connections,
      ledger: ledgerTables,
      run,
      catalog,
      tables,
      rows,
      onIndex: (index) => context.activity?.({ phase: "indexes", index }),
    });
    context.activity?.({ phase: "checking" });
    const notes = [...(await this.analyze(rows)), ...this.pool.loaders.flatMap((loader) => loader.notes)];
    const loadedBefore = [...(this.planned?.values() ?? [])].flat().filter(({ isLoaded }) => isLoaded).length;
    if (this.planned !== undefined) notes.push(`${loadedBefore} of ${parts.length} parts were there already`);
    context.activity?.({ phase: "committing" });
    const { dropped, target } = await inTransaction(coordinator, "write", async () => {
      const dropped = await settle();
      await ledger.setState(run, "done", "");
      const versions = await readVersions(coordinator);
      const migrations = (await this.options.application?.readVersions?.(coordinator)) ?? [];
      return { dropped, target: { versions, migrations } };
    });
    this.options.done();
    const counts = new Map<string, SinkCounts>();
    for (const [path, records] of rows) {
      const gone = dropped.get(path) ?? 0;
      counts.set(path, { inserted: records - gone, updated: 0, skipped: 0, dropped: gone });
    }
    return { counts, target, notes: [...new Set(notes)] };
  }

  /** Statistics of all tables, side by side. */
  private async analyze(rows: ReadonlyMap<string, number>): Promise<readonly string[]> {
    const { connections, tables } = this.requireOpen();
    const waiting = [...rows].sort(([, one], [, other]) => other - one);
    const notes: string[] = [];
    const work = async (connection: PostgresConnection): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [path, count] = next;
        const transaction = new LoadTransaction(connection);
        await transaction.begin();
        notes.push(
          ...(await analyzeTables(transaction, [
            { table: tables.get(path) as TargetTable, rows: count, filled: true },
          ])),
        );
        await transaction.commit();
      }
    };
    await Promise.all(connections.map(work));
    return notes;
  }

  async abort(): Promise<void> {
    await this.options.close();
  }

  private requireOpen(): OpenedRun {
    if (this.opened === undefined) throw new StorageError("E_UNEXPECTED", "the sink is not open");
    return this.opened;
  }
}

/** Of a table that has no need of any. */
const NO_PARTITIONS: PartitionMaker = { isPending: false, note() {}, async create() {} };

function otherRecords({ path }: RecordKind): StorageError {
  return new StorageError("E_IO", "the source gave other records when it was read again", {
    section: path,
    hint: "Somebody changes it meanwhile. Resume the run once more, when the source stays as it is.",
  });
}
