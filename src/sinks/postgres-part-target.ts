/** A worker's session with the target of runs: what a job's numbers mean there, whether they may be trusted, and the sinks of parts. */
import type { PartitionMaker, PostgresApplication } from "../backends/postgres/application.js";
import { readTargetTables, type TargetTable } from "../backends/postgres/database/target-table.js";
import { readRanges } from "../backends/postgres/reading/parts/key-ranges.js";
import { openConnections, requireRights } from "../backends/postgres/runs/connections.js";
import { Ledger, type LedgerTables, type RunRow } from "../backends/postgres/runs/ledger/ledger.js";
import { readPlace, requireLedger } from "../backends/postgres/runs/ledger/trust.js";
import { requireOwnStages, type Stage, stagesOf } from "../backends/postgres/runs/merging/stages.js";
import {
  noPlan,
  type PartTold,
  PlanLedger,
  type PlannedPart,
  type PlanRow,
  type PlanTables,
  requirePlanTables,
} from "../backends/postgres/runs/plan/plan-ledger.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { inTransaction } from "../backends/postgres/session/transaction.js";
import type { Catalog } from "../catalog/index.js";
import type { Part } from "../records/parts.js";
import { PartSink, type PartSinkOptions } from "./postgres-part.js";

export interface PartTargetOptions {
  readonly connect: PostgresConnector;
  readonly name: string;
  readonly application: PostgresApplication | undefined;
  readonly catalog: Catalog;
  /** Of the worker, for those who look on. */
  readonly worker: string;
}

/** A job's numbers. */
export interface PartNumbers {
  readonly token: string;
  readonly run: number;
  readonly epoch: number;
  readonly part: number;
}

/** What the ledger says that is to be done. */
export interface PartTask {
  readonly run: RunRow;
  readonly plan: PlanRow;
  readonly planned: PlannedPart;
  readonly part: Part;
  readonly stage: "comparing" | "loading";
  /** Where its records wait to be merged. Undefined: they go straight into their table. */
  readonly staging: Stage | undefined;
}

export class PartTarget {
  private readonly makers = new Map<string, PartitionMaker>();

  private constructor(
    private readonly options: PartTargetOptions,
    private readonly connection: PostgresConnection,
    private readonly tables: ReadonlyMap<string, TargetTable>,
    private readonly ledger: LedgerTables & PlanTables,
  ) {}

  /** @throws {StorageError} E_PERMISSION, E_NOT_MIGRATED, E_USAGE behind a pooler; what connecting throws */
  static async open(options: PartTargetOptions): Promise<PartTarget> {
    const { connect, application, catalog } = options;
    const connection = await connect();
    try {
      await openConnections(connect, 0, connection);
      return await inTransaction(connection, "write", async () => {
        const tables = await readTargetTables(connection, catalog);
        const all = [...tables.values()];
        await requireRights(connection, all);
        const oids = all.map(({ oid }) => oid);
        const ledger = await requireLedger(connection, application, oids);
        const plan = await requirePlanTables(connection, application, oids);
        return new PartTarget(options, connection, tables, { ...ledger, ...plan });
      });
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /**
   * Takes the part, where there is something to do. Undefined: the job is of no run that is under way, or the part is loaded, or at
   * hand elsewhere. A session of a worker that stands still would keep the part for as long: where nobody has heard of it, it is ended.
   * @param isHeld whether another job of the part is worked on
   * @throws {StorageError} E_RUN_UNFINISHED for a ledger that holds what no coordinator writes; E_PERMISSION for a run's table that is another's
   */
  take(
    { token, run: number, epoch, part }: PartNumbers,
    isHeld: () => Promise<boolean>,
  ): Promise<PartTask | undefined> {
    const { connection, options } = this;
    return inTransaction(connection, "write", async () => {
      const ledger = new Ledger(connection, this.ledger);
      const book = new PlanLedger(connection, this.ledger);
      const run = await ledger.unfinished();
      const plan = await book.find(number);
      if (run?.run !== number || run.epoch !== epoch || run.state !== "loading" || plan?.token !== token)
        return undefined;
      if (run.place !== (await readPlace(connection))) return undefined;
      const stage = plan.stage === "planning" && plan.snapshot !== "" ? "loading" : plan.stage;
      if (stage !== "comparing" && stage !== "loading") return undefined;
      const planned = await book.part(number, part);
      if (planned === undefined) return undefined;
      const isLoaded = (await book.loadedDigest(number, part)) !== undefined;
      if (isLoaded !== (stage === "comparing")) return undefined;
      const { section, bounds } = planned;
      const kind = options.catalog.byPath.get(section);
      const rows = kind === undefined || bounds === "" ? undefined : readRanges(kind, bounds);
      if (kind === undefined || (rows === undefined && bounds !== "")) throw noPlan(number, `the part ${part}`);
      await ledger.hold({ ...run, state: "loading" });
      const holder = await book.holder(number, part);
      if (holder !== undefined) {
        if (await isHeld()) return undefined;
        await connection.query("SELECT pg_catalog.pg_terminate_backend($1)", [holder]);
      }
      const stages = stagesOf(await ledger.steps(number, section), this.tables, options.application?.schema ?? "");
      const staging = stages.get(section);
      if (staging !== undefined) await requireOwnStages(connection, new Map([[section, staging]]), this.ledger.runs);
      await book.claim(number, part, options.worker);
      return {
        run,
        plan,
        planned,
        stage,
        staging,
        part: rows === undefined ? { path: section } : { path: section, rows },
      };
    });
  }

  /** @param way how the part is loaded */
  sink(task: PartTask, told: () => PartTold, way: Pick<PartSinkOptions, "verifies" | "isAmongOthers">): PartSink {
    const { connection, tables, ledger, makers, options } = this;
    const { application, name } = options;
    const { run, planned, stage, staging } = task;
    const open = { name, connection, tables, ledger, application, makers };
    return new PartSink({ ...open, ...way, run, part: planned, stage, staging, told });
  }

  /** `final`: no other attempt would help; `tried`: it was not the worker's own fault. */
  async giveBack(
    { run, planned }: PartTask,
    outcome: { readonly failure: string; readonly final: boolean; readonly tried: boolean },
  ): Promise<void> {
    const { connection } = this;
    await inTransaction(connection, "write", async () => {
      await new Ledger(connection, this.ledger).hold({ ...run, state: "loading" });
      await new PlanLedger(connection, this.ledger).giveBack(run.run, planned.part, outcome);
    });
  }

  async close(): Promise<void> {
    await this.connection.close();
  }
}
