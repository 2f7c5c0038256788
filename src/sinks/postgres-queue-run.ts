/**
 * A run whose parts workers load, on the side of its coordinator: the plan in the target's ledger, what stands before the first
 * part and behind the last, and what has to go before a part is loaded again.
 * Over 300 lines: each of its steps is a few lines around one transaction of the coordinator's, under the fence.
 */
import { randomUUID } from "node:crypto";
import type { PostgresApplication } from "../backends/postgres/application.js";
import { readTargetTables, type TargetTable } from "../backends/postgres/database/target-table.js";
import { readVersions } from "../backends/postgres/database/versions.js";
import { analyzeTables } from "../backends/postgres/loading/analyze.js";
import type { DeferPolicy } from "../backends/postgres/loading/index-choice.js";
import { LoadTransaction } from "../backends/postgres/loading/load-transaction.js";
import { Ledger } from "../backends/postgres/runs/ledger/ledger.js";
import { requireEmptyTable } from "../backends/postgres/runs/merging/empty-tables.js";
import { findLacking } from "../backends/postgres/runs/parts/lacking-parts.js";
import { LOAD_SETTINGS } from "../backends/postgres/runs/parts/load-settings.js";
import { removeParts } from "../backends/postgres/runs/parts/remove-parts.js";
import {
  type PartState,
  PlanLedger,
  type PlannedPart,
  type PlanStage,
  type PlanTables,
  requirePlanTables,
} from "../backends/postgres/runs/plan/plan-ledger.js";
import { buildIndexes, dropIndexes } from "../backends/postgres/runs/run-indexes.js";
import { settleRunOrphans } from "../backends/postgres/runs/run-orphans.js";
import { openRun, type RunTarget, type RunTargetOptions } from "../backends/postgres/runs/run-target.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { inTransaction } from "../backends/postgres/session/transaction.js";
import type { Catalog, RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { Part } from "../records/parts.js";
import type { RunContext, StepEffect } from "../records/run-context.js";
import type { SinkCounts, SinkReport } from "./sink.js";

export interface QueueRunOptions extends Omit<RunTargetOptions, "application" | "connect" | "merges" | "onWarning"> {
  readonly connect: PostgresConnector;
  /** For messages; without a password. */
  readonly name: string;
  readonly application: PostgresApplication | undefined;
  readonly context: RunContext;
  readonly onOrphan?: "error" | "drop" | undefined;
  readonly deferIndexes?: DeferPolicy | undefined;
  /** Names of the stores, as the workers know them. */
  readonly from: string;
  readonly to: string;
  /** JSON: what workers have to do alike. @param token of the run */
  readonly said: (token: string) => string;
}

/** So many parts are written at once. */
const BATCH = 1000;
/** A table of so many parts is large enough to be without its indexes meanwhile. */
const MANY_PARTS = 2;

export class QueueRun {
  private coordinator: PostgresConnection | undefined;
  private target: (RunTarget & PlanTables) | undefined;
  private isDone = false;
  private unfinishedRun: number | undefined;
  token = "";

  constructor(private readonly options: QueueRunOptions) {}

  get unfinished(): number | undefined {
    return this.unfinishedRun;
  }

  get id(): { readonly run: number; readonly epoch: number; readonly partBytes: number } {
    return this.opened().run;
  }

  /** Looks at the target before anything is written, then begins the run, or takes it over. Gives whether there is a plan already. */
  async open(): Promise<boolean> {
    const { options } = this;
    const { context, catalog, application } = options;
    this.coordinator = await options.connect();
    const { coordinator } = this;
    context.signal.addEventListener("abort", () => void coordinator.close(), { once: true });
    const plan = await inTransaction(coordinator, "write", async () => {
      const tables = await readTargetTables(coordinator, catalog);
      return requirePlanTables(
        coordinator,
        application,
        [...tables.values()].map(({ oid }) => oid),
      );
    });
    const target = await openRun(coordinator, {
      ...options,
      merges: false,
      onWarning: (message) => context.warn(message),
    });
    this.target = { ...target, ...plan };
    this.unfinishedRun = target.run.run;
    for (const each of target.connections)
      context.signal.addEventListener("abort", () => void each.close(), { once: true });
    if (!options.resume) return false;
    return this.write(async ({ plan }) => {
      const found = await plan.find(target.run.run);
      if (found === undefined || found.stage === "planning") return false;
      this.token = found.token;
      return true;
    });
  }

  /** Writes the plan: from now on its bounds stay as they are. */
  async plan(parts: AsyncIterable<Part>, snapshot: object): Promise<void> {
    const { from, to, said } = this.options;
    const { run, catalog } = this.opened();
    this.token = randomUUID();
    const { token } = this;
    await this.write(({ plan }) => plan.begin({ run: run.run, token, from, to, options: said(token) }));
    const counts = new Map<string, number>();
    let number = 0;
    let waiting: PlannedPart[] = [];
    const flush = async (): Promise<void> => {
      await this.write(({ plan }) => plan.addParts(run.run, waiting));
      waiting = [];
    };
    for await (const { path, rows } of parts) {
      counts.set(path, (counts.get(path) ?? 0) + 1);
      waiting.push({ part: ++number, section: path, bounds: rows === undefined ? "" : JSON.stringify(rows) });
      if (waiting.length === BATCH) await flush();
    }
    await flush();
    for (const [path, count] of counts) await this.beginKind(catalog.byPath.get(path) as RecordKind, count);
    await this.adopt(snapshot);
  }

  /** Before the first part of a kind. */
  private async beginKind(kind: RecordKind, parts: number): Promise<void> {
    const { coordinator, run, tables } = this.opened();
    const { deferIndexes: policy = "auto", paths } = this.options;
    const table = tables.get(kind.path) as TargetTable;
    await this.write(async ({ ledger }) => {
      await coordinator.query("SET LOCAL client_min_messages = 'warning'");
      if ((await ledger.steps(run.run)).some(({ section }) => section === kind.path)) return;
      if (!paths.has(kind.path)) await requireEmptyTable(coordinator, table);
      await ledger.addStep(run.run, { what: "section", section: kind.path, name: "", definition: "" });
      await dropIndexes(coordinator, { ledger, run, table, policy, records: 1, isFull: parts >= MANY_PARTS });
    });
  }

  /** The plan goes on, with another snapshot. */
  async adopt(snapshot: object): Promise<void> {
    const { run } = this.opened();
    const { from, to } = this.options;
    await this.write(({ plan }) => plan.takeOver(run.run, { snapshot: JSON.stringify(snapshot), from, to }));
  }

  async setStage(stage: PlanStage): Promise<void> {
    const { run } = this.opened();
    await this.write(({ plan }) => plan.setStage(run.run, stage));
  }

  async parts(): Promise<PartState[]> {
    const { coordinator, run } = this.opened();
    return inTransaction(coordinator, "read", () => this.planLedger().parts(run.run));
  }

  /** What each step met in all parts together. */
  async effects(): Promise<StepEffect[]> {
    const { coordinator, run } = this.opened();
    return inTransaction(coordinator, "read", () => this.planLedger().effects(run.run));
  }

  /** Takes parts from workers that are gone. */
  async free(parts: readonly number[]): Promise<void> {
    const { run } = this.opened();
    await this.write(({ plan }) => plan.free(run.run, parts));
  }

  /** Parts that the source does not have any more as they were loaded, or the target: all of them go before any comes again. */
  async removeStale(): Promise<void> {
    const { coordinator, ledger: ledgerTables, run, catalog, tables, stages } = this.opened();
    const { context } = this.options;
    const all = await inTransaction(coordinator, "read", () => new Ledger(coordinator, ledgerTables).parts(run.run));
    const { lacking } = await findLacking(all, {
      connection: coordinator,
      tables,
      stages,
      amongOthers: false,
      onWarning: (line) => context.warn(line),
    });
    const stale = all.filter((part) => part.digest === "" || lacking.has(part));
    const onKept = (section: string, rows: number): void =>
      context.warn(
        `${section}: ${rows} of the records that the run has loaded and the source has no more, or not so, stay: rows of others refer to them`,
      );
    if (stale.length > 0)
      await removeParts(stale, all, {
        connection: coordinator,
        ledger: ledgerTables,
        run,
        catalog,
        tables,
        stages,
        onKept,
      });
  }

  /** What needs all records: orphans, indexes, statistics. Ends the run. */
  async finish(): Promise<SinkReport> {
    const { coordinator, run, ledger: ledgerTables, catalog, tables, connections } = this.opened();
    const { context, application, onOrphan = "error" } = this.options;
    const ledger = new Ledger(coordinator, ledgerTables);
    const [parts, steps] = await inTransaction(coordinator, "read", async () => [
      await ledger.parts(run.run),
      await ledger.steps(run.run),
    ]);
    const rows = new Map<string, number>();
    for (const { section, records } of parts)
      if (records > 0n) rows.set(section, (rows.get(section) ?? 0) + Number(records));
    const loaded = new Set(rows.keys());
    const orphans = {
      connection: coordinator,
      context,
      catalog,
      tables,
      onOrphan,
      loaded,
      waiting: new Map<string, string>(),
    };
    const settle = async (): Promise<Map<string, number>> => {
      await coordinator.query(LOAD_SETTINGS);
      await ledger.hold(run);
      return settleRunOrphans(orphans);
    };
    context.activity?.({ phase: "checking" });
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
    const notes: string[] = [];
    for (const [path, count] of rows) {
      const transaction = new LoadTransaction(coordinator);
      await transaction.begin();
      const table = tables.get(path) as TargetTable;
      notes.push(...(await analyzeTables(transaction, [{ table, rows: count, filled: true }])));
      await transaction.commit();
    }
    context.activity?.({ phase: "committing" });
    const { dropped, target } = await inTransaction(coordinator, "write", async () => {
      const dropped = await settle();
      await ledger.setState(run, "done", "");
      const versions = await readVersions(coordinator);
      const migrations = (await application?.readVersions?.(coordinator)) ?? [];
      return { dropped, target: { versions, migrations } };
    });
    this.isDone = true;
    const counts = new Map<string, SinkCounts>();
    for (const [path, records] of rows) {
      const gone = dropped.get(path) ?? 0;
      counts.set(path, { inserted: records - gone, updated: 0, skipped: 0, dropped: gone });
    }
    return { counts, target, notes: [...new Set(notes)] };
  }

  /** Repeatable. A run that has written nothing is none. */
  async close(): Promise<void> {
    const { coordinator, target } = this;
    this.coordinator = undefined;
    for (const each of target?.connections ?? []) await each.close();
    if (coordinator === undefined) return;
    if (target !== undefined && !this.isDone)
      try {
        await inTransaction(coordinator, "write", async () => {
          const ledger = new Ledger(coordinator, target.ledger);
          // Workers may be at parts of it: what they are at is not waited for.
          await coordinator.query("SET LOCAL lock_timeout = '5s'");
          await ledger.hold(target.run, true);
          await ledger.forget(target.run);
          if ((await ledger.unfinished())?.run !== target.run.run) this.unfinishedRun = undefined;
        });
      } catch {
        // It stays unfinished.
      }
    if (this.isDone) this.unfinishedRun = undefined;
    await coordinator.close();
  }

  private planLedger(): PlanLedger {
    const { coordinator, ledger, plans, planParts } = this.opened();
    return new PlanLedger(coordinator, { ...ledger, plans, planParts });
  }

  /** Under the fence. */
  private write<Result>(work: (books: { ledger: Ledger; plan: PlanLedger }) => Promise<Result>): Promise<Result> {
    const { coordinator, ledger: tables, run } = this.opened();
    return inTransaction(coordinator, "write", async () => {
      const ledger = new Ledger(coordinator, tables);
      await ledger.hold(run);
      return work({ ledger, plan: this.planLedger() });
    });
  }

  private opened(): RunTarget & PlanTables & { coordinator: PostgresConnection; catalog: Catalog } {
    const { coordinator, target, options } = this;
    if (coordinator === undefined || target === undefined)
      throw new StorageError("E_UNEXPECTED", "the run is not open");
    return { ...target, coordinator, catalog: options.catalog };
  }
}
