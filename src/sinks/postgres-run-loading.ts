/** The records of a run on their way into PostgreSQL: cut into parts, which several connections load. */
import type { PartitionMaker } from "../backends/postgres/application.js";
import type { TargetTable } from "../backends/postgres/database/target-table.js";
import { affordable, openConnections } from "../backends/postgres/runs/connections.js";
import { IndexBuilds } from "../backends/postgres/runs/index-builds.js";
import { Ledger } from "../backends/postgres/runs/ledger/ledger.js";
import { createStage, type Stage, stagedDefinition, stagesOf } from "../backends/postgres/runs/merging/stages.js";
import { LoaderPool } from "../backends/postgres/runs/parts/loader-pool.js";
import { drain, type Part, PartCutter } from "../backends/postgres/runs/parts/part-cutter.js";
import { PartLoader } from "../backends/postgres/runs/parts/part-loader.js";
import { type PlannedPart, removeStale } from "../backends/postgres/runs/parts/stale-parts.js";
import { dropIndexes } from "../backends/postgres/runs/run-indexes.js";
import { makePartitions } from "../backends/postgres/runs/run-partitions.js";
import { RunStatistics } from "../backends/postgres/runs/statistics.js";
import type { PostgresConnection } from "../backends/postgres/session/connection.js";
import { inTransaction } from "../backends/postgres/session/transaction.js";
import type { RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import { type EndingOptions, endRun, type OpenedRun } from "./postgres-run-ending.js";
import type { Sink, SinkReport } from "./sink.js";

interface RunLoadingOptions extends EndingOptions {
  /** Each part is read back before it is committed: E_READ_BACK. */
  readonly verifyParts?: boolean | undefined;
  /** For messages; without a password. */
  readonly name: string;
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
  /** The one whose records come. */
  private section: string | undefined;
  /** Sections that others have added records to since the run was begun, or changed some of. */
  private amongOthers: ReadonlySet<string> = new Set();
  private stages: ReadonlyMap<string, Stage> = new Map();
  private readonly makers = new Map<string, PartitionMaker>();
  /** Records of each section that has come. */
  private readonly rows = new Map<string, number>();
  private builds: IndexBuilds | undefined;
  private statistics: RunStatistics | undefined;
  /** It builds the indexes of sections that have come, while others come. Undefined where the server has none left. */
  private builder: PostgresConnection | undefined;

  constructor(private readonly options: RunLoadingOptions) {
    this.name = options.name;
  }

  async open(header: StoreHeader, context: RunContext): Promise<void> {
    const opened = await this.options.open(header, context);
    const { run, parts, steps, ledger, connections } = opened;
    this.opened = opened;
    this.cutter = new PartCutter(run.partBytes, context);
    this.number = parts.reduce((most, { part }) => Math.max(most, part), 0);
    const { application, verifyParts: verifies = false } = this.options;
    this.pool = new LoaderPool(
      connections.map((each) => new PartLoader(each, { ledger, run, application, context, verifies })),
    );
    for (const { section } of [...steps, ...parts]) this.begun.add(section);
    this.planned = this.options.planned();
    this.stages = new Map(opened.stages);
    if (this.planned !== undefined)
      this.amongOthers = await removeStale(this.planned, {
        ...opened,
        connection: opened.coordinator,
        onWarning: (line) => context.warn(line),
      });
    context.activity?.({ phase: "rows" });
  }

  async write(batch: RecordBatch): Promise<void> {
    const { kind } = batch;
    const { tables } = this.requireOpen();
    if (this.cutter.isOfOther(kind)) await this.endPart();
    if (this.section !== undefined && this.section !== kind.path) await this.beginIndexes(this.section);
    this.section = kind.path;
    const table = tables.get(kind.path);
    if (table === undefined) throw new Error(`${kind.path} is not in the sink's catalog`);
    const maker = this.makerOf(table);
    const isStaged = await this.requireOpen().isStaged(table);
    try {
      for (let row = 0; row < batch.rows; row++) {
        const isLoaded = this.plannedOf(kind)?.isLoaded === true;
        const store = isLoaded ? drain : (chunks: AsyncIterable<Buffer>) => this.storeLarge(table, chunks);
        const added = this.cutter.add(batch, row, store, isStaged);
        const isFull = typeof added === "boolean" ? added : await added;
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
    const { deferIndexes: policy = "auto", application, verifyParts } = this.options;
    const { path } = table.kind;
    if (this.begun.has(path)) return;
    this.begun.add(path);
    const ledger = new Ledger(coordinator, ledgerTables);
    const isStaged = await this.requireOpen().isStaged(table);
    const schema = application?.schema ?? "";
    await inTransaction(coordinator, "write", async () => {
      await coordinator.query("SET LOCAL client_min_messages = 'warning'");
      await ledger.hold(run);
      const definition = isStaged ? stagedDefinition() : "";
      await ledger.addStep(run.run, { what: "section", section: path, name: "", definition });
      if (isStaged) {
        await createStage(coordinator, table, schema, verifyParts === true);
        this.stages = stagesOf(await ledger.steps(run.run), this.requireOpen().tables, schema);
      } else await dropIndexes(coordinator, { ledger, run, table, policy, records, isFull });
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
    this.rows.set(part.kind.path, (this.rows.get(part.kind.path) ?? 0) + part.records);
    if (known?.isLoaded === true) {
      this.cutter.recycle(part);
      return;
    }
    const table = tables.get(part.kind.path) as TargetTable;
    await this.beginKind(table, part, isFull);
    const stage = this.stages.get(part.kind.path);
    const isAmongOthers = stage === undefined && this.amongOthers.has(part.kind.path) && part.kind.key.length > 0;
    const maker = this.makerOf(table);
    if (maker.isPending) {
      await this.pool.drain();
      await makePartitions(coordinator, { ledger, run, table, maker });
    }
    const { loader, number } = this.reserved ?? { loader: await this.pool.take(), number: ++this.number };
    this.reserved = undefined;
    this.pool.start(loader, async () => {
      await loader.load(table, number, part, { stage, isAmongOthers });
      this.cutter.recycle(part);
    });
  }

  /** All records of the section have come; its last parts may be under way. */
  private async beginIndexes(path: string): Promise<void> {
    const opened = this.requireOpen();
    const { coordinator, connect, run, ledger, tables } = opened;
    this.builds?.throwFailure();
    if (this.stages.has(path)) return;
    const steps = await inTransaction(coordinator, "read", () => new Ledger(coordinator, ledger).steps(run.run));
    const own = steps.filter(({ what, section, done }) => what === "index" && section === path && !done);
    if (own.length === 0) return;
    if (this.builds === undefined) {
      this.builds = new IndexBuilds(opened);
      this.statistics = new RunStatistics(this.builds);
      // Without it they are built at the end.
      const more = await inTransaction(coordinator, "read", () => affordable(coordinator, 1))
        .then((left) => openConnections(connect, left, coordinator))
        .catch(() => []);
      this.builder = more[0];
      opened.context.signal.addEventListener("abort", () => void this.builder?.close(), { once: true });
    }
    if (this.builder === undefined) return;
    const loaded = this.pool.ended();
    await this.builds.add(own, this.rows, coordinator, loaded);
    this.statistics?.addEarly(
      { table: tables.get(path) as TargetTable, rows: this.rows.get(path) ?? 0, filled: true },
      loaded,
    );
    this.builds.start(this.builder, loaded);
  }

  async finish(): Promise<SinkReport> {
    const opened = this.requireOpen();
    const { catalog } = opened;
    await this.endPart();
    await this.pool.drain();
    const missing = [...(this.planned ?? [])].find(
      ([path, list]) => list.length !== this.cutter.placeOf(catalog.byPath.get(path) as RecordKind),
    );
    if (missing !== undefined) throw otherRecords(catalog.byPath.get(missing[0]) as RecordKind);
    const report = await endRun(opened, { ...this.options, builds: this.builds, statistics: this.statistics });
    await this.builder?.close();
    this.options.done();
    const planned = [...(this.planned?.values() ?? [])].flat();
    const before = planned.filter(({ isLoaded }) => isLoaded).length;
    const notes = [...report.notes, ...this.pool.loaders.flatMap((loader) => loader.notes)];
    if (this.planned !== undefined) notes.push(`${before} of ${planned.length} parts were there already`);
    return { ...report, notes: [...new Set(notes)] };
  }

  async abort(): Promise<void> {
    await this.builder?.close();
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
