/**
 * PostgreSQL as the target of a run: one reader, several connections that load. Not one transaction, but parts that are each
 * there for good when they are loaded; the ledger says which, so that the run can be resumed and undone.
 */
import type { PostgresApplication } from "../backends/postgres/application.js";
import type { TargetTable } from "../backends/postgres/database/target-table.js";
import type { ConflictPolicy } from "../backends/postgres/loading/conflicts.js";
import type { DeferPolicy } from "../backends/postgres/loading/index-choice.js";
import { Ledger } from "../backends/postgres/runs/ledger/ledger.js";
import { dropStages, needsMerge, stagesOf } from "../backends/postgres/runs/merging/stages.js";
import { drain, PartCutter } from "../backends/postgres/runs/parts/part-cutter.js";
import type { PlannedPart } from "../backends/postgres/runs/parts/stale-parts.js";
import { openRun, type RunTarget, type RunTargetOptions } from "../backends/postgres/runs/run-target.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { encodingCaveat, readServerEncoding } from "../backends/postgres/session/encodings.js";
import { inTransaction } from "../backends/postgres/session/transaction.js";
import type { Catalog } from "../catalog/index.js";
import type { RunContext } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import type { OpenedRun } from "./postgres-run-ending.js";
import { RunLoadingSink } from "./postgres-run-loading.js";
import { type Sink, sinkCatalog } from "./sink.js";

export interface PostgresRunOptions extends Omit<RunTargetOptions, "catalog" | "application" | "onWarning"> {
  readonly connect: PostgresConnector;
  /** For messages; without a password. */
  readonly name: string;
  /** Default: the source's. */
  readonly catalog?: Catalog | undefined;
  readonly application?: PostgresApplication | undefined;
  readonly onConflict?: ConflictPolicy | undefined;
  /** Each part is read back before it is committed: E_READ_BACK. */
  readonly verifyParts?: boolean | undefined;
  /** So many indexes are built at a time. Default: as many as there are connections. */
  readonly indexJobs?: number | undefined;
  readonly onOrphan?: "error" | "drop" | undefined;
  readonly deferIndexes?: DeferPolicy | undefined;
}

/** A run of one process: begun, or taken over from one that died. */
export class PostgresRun {
  private coordinator: PostgresConnection | undefined;
  private target: RunTarget | undefined;
  private catalog: Catalog | undefined;
  private planned: Map<string, PlannedPart[]> | undefined;
  private isDone = false;
  /** By path: whether a section's records are to be merged. Once for all of the run. */
  private readonly staged = new Map<string, boolean>();
  private unfinishedRun: number | undefined;

  constructor(private readonly options: PostgresRunOptions) {}

  /** The number of the run that this process has left behind; undefined where it came to its end, or wrote nothing. */
  get unfinished(): number | undefined {
    return this.unfinishedRun;
  }

  /**
   * Takes the source's records once, to learn in which parts they are: before a run is resumed. The records must come again,
   * the same, to `loading`. Opens the run.
   */
  planning(): Sink {
    const planned = new Map<string, PlannedPart[]>();
    let cutter: PartCutter;
    let stagedOf: (path: string) => Promise<boolean>;
    const end = (): void => {
      const part = cutter.take();
      if (part === undefined) return;
      cutter.recycle(part);
      const { path } = part.kind;
      const list = planned.get(path);
      if (list === undefined) planned.set(path, [{ digest: part.digest, isLoaded: false }]);
      else list.push({ digest: part.digest, isLoaded: false });
    };
    return {
      name: this.options.name,
      checksReferences: true,
      open: async (header, context) => {
        const { run, tables, isStaged } = await this.open(header, context);
        stagedOf = (path) => isStaged(tables.get(path) as TargetTable);
        cutter = new PartCutter(run.partBytes, context);
      },
      write: async (batch) => {
        if (cutter.isOfOther(batch.kind)) end();
        const isStaged = await stagedOf(batch.kind.path);
        for (let row = 0; row < batch.rows; row++) {
          const added = cutter.add(batch, row, drain, isStaged);
          if (typeof added === "boolean" ? added : await added) end();
        }
      },
      finish: async () => {
        end();
        this.planned = planned;
        return { counts: new Map(), notes: [] };
      },
      abort: async () => {
        if (this.planned === undefined) await this.close();
      },
    };
  }

  /** Loads what is not there yet. */
  loading(): Sink {
    return new RunLoadingSink({
      ...this.options,
      open: (header, context) => this.open(header, context),
      planned: () => this.planned,
      done: () => {
        this.isDone = true;
      },
      close: () => this.close(),
    });
  }

  private async open(header: StoreHeader, context: RunContext): Promise<OpenedRun> {
    if (this.coordinator === undefined || this.target === undefined || this.catalog === undefined) {
      this.catalog = sinkCatalog(this.options.catalog, header);
      const connect: PostgresConnector = () =>
        this.options.connect((waiting) => context.activity?.({ phase: "connecting", waiting }));
      this.coordinator = await connect();
      const { coordinator } = this;
      context.signal.addEventListener("abort", () => void coordinator.close(), { once: true });
      this.target = await openRun(coordinator, {
        ...this.options,
        connect,
        catalog: this.catalog,
        application: this.options.application,
        onWarning: (message) => context.warn(message),
      });
      this.unfinishedRun = this.target.run.run;
      for (const each of this.target.connections)
        context.signal.addEventListener("abort", () => void each.close(), { once: true });
      const encoding = await inTransaction(coordinator, "read", () => readServerEncoding(coordinator));
      const caveat = encodingCaveat(encoding);
      if (caveat !== undefined) context.warn(caveat);
    }
    const { coordinator, target } = this;
    const isStaged = async (table: TargetTable): Promise<boolean> => {
      const { path } = table.kind;
      const known = this.staged.get(path);
      if (known !== undefined) return known;
      const isBegun = target.steps.some(({ what, section }) => what === "section" && section === path);
      const found = isBegun
        ? target.stages.has(path)
        : await inTransaction(coordinator, "read", () => needsMerge(coordinator, table));
      this.staged.set(path, found);
      return found;
    };
    return { ...target, coordinator, connect: this.options.connect, catalog: this.catalog, context, isStaged };
  }

  /** Repeatable. A run that has written nothing is none. */
  async close(): Promise<void> {
    const { coordinator, target } = this;
    this.coordinator = undefined;
    for (const each of target?.connections ?? []) await each.close();
    if (coordinator === undefined) return;
    if (target !== undefined && !this.isDone) {
      try {
        await inTransaction(coordinator, "write", async () => {
          const ledger = new Ledger(coordinator, target.ledger);
          if (await ledger.holdUntouched(target.run)) {
            const steps = await ledger.steps(target.run.run);
            const stages = stagesOf(steps, target.tables, this.options.application?.schema ?? "");
            await dropStages(coordinator, stages.values());
            await ledger.forget(target.run);
          }
          if ((await ledger.unfinished())?.run !== target.run.run) this.unfinishedRun = undefined;
        });
      } catch {
        // It stays unfinished.
      }
    }
    if (this.isDone) this.unfinishedRun = undefined;
    await coordinator.close();
  }
}
