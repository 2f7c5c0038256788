/**
 * A run whose parts workers load, on the side of its coordinator: the plan in the target's ledger, what stands before the first
 * part and behind the last, and what has to go before a part is loaded again.
 * Over 300 lines: each of its steps is a few lines around one transaction of the coordinator's, under the fence.
 */
import { randomUUID } from "node:crypto";
import type { PostgresApplication } from "../backends/postgres/application.js";
import { readTargetTables, type TargetTable } from "../backends/postgres/database/target-table.js";
import { readRanges } from "../backends/postgres/reading/parts/key-ranges.js";
import { IndexBuilds } from "../backends/postgres/runs/index-builds.js";
import { Ledger, type RunRow } from "../backends/postgres/runs/ledger/ledger.js";
import {
  createStage,
  dropStages,
  needsMerge,
  stagedDefinition,
  stagesOf,
} from "../backends/postgres/runs/merging/stages.js";
import { type Differing, removeDiffering } from "../backends/postgres/runs/parts/stale-parts.js";
import {
  noPlan,
  PlanLedger,
  type PlanStage,
  type PlanTables,
  requirePlanTables,
} from "../backends/postgres/runs/plan/plan-ledger.js";
import { MANY_PARTS, writeParts } from "../backends/postgres/runs/plan/plan-parts.js";
import { PlanProgress } from "../backends/postgres/runs/plan/plan-progress.js";
import { dropIndexes } from "../backends/postgres/runs/run-indexes.js";
import { openRun, type RunTarget, type RunTargetOptions } from "../backends/postgres/runs/run-target.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { inTransaction } from "../backends/postgres/session/transaction.js";
import type { Catalog, RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { Part } from "../records/parts.js";
import type { RunContext } from "../records/run-context.js";
import { type EndingOptions, endRun } from "./postgres-run-ending.js";
import type { SinkReport } from "./sink.js";

export interface QueueRunOptions
  extends EndingOptions,
    Omit<RunTargetOptions, "application" | "connect" | "onWarning"> {
  readonly connect: PostgresConnector;
  /** For messages; without a password. */
  readonly name: string;
  readonly application: PostgresApplication | undefined;
  readonly context: RunContext;
  /** Each part is read back before it is committed. */
  readonly verifyParts?: boolean | undefined;
  /** Names of the stores, as the workers know them. */
  readonly from: string;
  readonly to: string;
  /** JSON: what workers have to do alike. */
  readonly said: (facts: SaidFacts) => string;
}

export interface SaidFacts {
  /** Of the run. */
  readonly token: string;
  /** What they had to do alike so far, where the run goes on. */
  readonly before?: string | undefined;
  /** Sections in whose tables others have rows by now, which stay as they are. */
  readonly amongOthers?: readonly string[];
}

/** What there is of a plan: parts that are planned stay as they are. */
export type PlanState = "none" | "begun" | "whole";

export class QueueRun {
  private coordinator: PostgresConnection | undefined;
  /** Whoever plans and whoever waits for the parts share the coordinator's session. */
  private last: Promise<unknown> = Promise.resolve();
  private target: (RunTarget & PlanTables) | undefined;
  /** The section that parts are added of. */
  private atPlanning: string | undefined;
  private hasParts = false;
  private builds: IndexBuilds | undefined;
  /** Sections whose indexes are built, or being built. */
  private readonly built = new Set<string>();
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

  /** Looks at the target before anything is written, then begins the run, or takes it over. Gives what there is of a plan already. */
  async open(): Promise<PlanState> {
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
    const target = await openRun(coordinator, { ...options, onWarning: (message) => context.warn(message) });
    // There may be very many: only whether there are any is kept.
    this.hasParts = target.parts.length > 0;
    this.target = { ...target, ...plan, parts: [] };
    this.unfinishedRun = target.run.run;
    for (const each of target.connections)
      context.signal.addEventListener("abort", () => void each.close(), { once: true });
    if (!options.resume) return "none";
    return this.write(async ({ plan }) => {
      const found = await plan.find(target.run.run);
      if (found === undefined) return "none";
      this.token = found.token;
      return found.stage === "planning" ? "begun" : "whole";
    });
  }

  /** Begins the plan: workers load its parts as they come, from this snapshot. */
  async beginPlan(snapshot: object): Promise<void> {
    const { from, to, said } = this.options;
    const { run } = this.opened();
    // They would pass for parts of this plan.
    if (this.hasParts) throw noPlan(run.run, "the parts");
    this.token = randomUUID();
    const { token } = this;
    const head = { run: run.run, token, from, to, options: said({ token }), snapshot: JSON.stringify(snapshot) };
    await this.write(({ plan }) => plan.begin(head));
  }

  /** Of a plan that is begun: the rows of the last part of each section that has some; undefined for all of the section. */
  async planned(): Promise<ReadonlyMap<string, object | undefined>> {
    const { run, catalog } = this.opened();
    const last = await this.write(({ plan }) => plan.lastParts(run.run));
    return new Map(
      last.map(({ part, section, bounds }) => {
        const kind = catalog.byPath.get(section);
        const rows = kind === undefined || bounds === "" ? undefined : readRanges(kind, bounds);
        if (kind === undefined || (rows === undefined && bounds !== "")) throw noPlan(run.run, `the part ${part}`);
        return [section, rows];
      }),
    );
  }

  /** Adds parts to the plan, those of a kind one behind the other; from then on they stay as they are. Tells of those that are there. */
  async addParts(
    parts: AsyncIterable<Part>,
    signal: AbortSignal,
    onParts: (numbers: readonly number[]) => Promise<void>,
  ): Promise<void> {
    const { run, catalog } = this.opened();
    const last = await this.write(({ plan }) => plan.lastParts(run.run));
    await writeParts(parts, {
      behind: last.reduce((most, { part }) => Math.max(most, part), 0),
      signal,
      onSection: (section) => {
        this.atPlanning = section;
      },
      begin: (section, count) => this.beginKind(catalog.byPath.get(section) as RecordKind, count),
      add: async (batch) => {
        await this.write(({ plan }) => plan.addParts(run.run, batch));
        await onParts(batch.map(({ part }) => part));
      },
    });
  }

  /** All parts are there. */
  async completePlan(): Promise<void> {
    const { run } = this.opened();
    await this.write(({ plan }) => plan.complete(run.run));
  }

  /** Before the first part of a kind. */
  private async beginKind(kind: RecordKind, parts: number): Promise<void> {
    const { coordinator, run, tables, steps } = this.opened();
    const { deferIndexes: policy = "auto", application, verifyParts = false } = this.options;
    const section = kind.path;
    // Whoever else has begun one has done so before this process: nobody does any more.
    if (steps.some((step) => step.section === section)) return;
    const table = tables.get(section) as TargetTable;
    await this.write(async ({ ledger }) => {
      await coordinator.query("SET LOCAL client_min_messages = 'warning'");
      const isStaged = await needsMerge(coordinator, table);
      const definition = isStaged ? stagedDefinition() : "";
      await ledger.addStep(run.run, { what: "section", section, name: "", definition });
      if (isStaged) await createStage(coordinator, table, application?.schema ?? "", verifyParts);
      else await dropIndexes(coordinator, { ledger, run, table, policy, records: 1, isFull: parts >= MANY_PARTS });
    });
  }

  /** The plan goes on, with another snapshot: undefined while it is not whole, for nothing may be loaded before what is there was looked at. @throws {StorageError} what `said` throws */
  async adopt(snapshot: object | undefined): Promise<void> {
    const { run } = this.opened();
    const { from, to } = this.options;
    await this.write(async ({ plan }) => {
      const before = (await plan.find(run.run))?.options;
      const options = this.options.said({ token: this.token, before });
      if (snapshot !== undefined) await plan.setStage(run.run, "comparing");
      await plan.takeOver(run.run, {
        ...{ options, from, to },
        snapshot: snapshot === undefined ? "" : JSON.stringify(snapshot),
      });
    });
  }

  async setStage(stage: PlanStage): Promise<void> {
    const { run } = this.opened();
    await this.write(({ plan }) => plan.setStage(run.run, stage));
  }

  /** Asks how far the parts are. */
  progress<Answer>(ask: (plan: PlanProgress, run: RunRow) => Promise<Answer>): Promise<Answer> {
    const { coordinator, run, ledger, plans, planParts, planSums } = this.opened();
    const plan = new PlanProgress(coordinator, { ...ledger, plans, planParts, planSums });
    return this.alone(() => inTransaction(coordinator, "read", () => ask(plan, run)));
  }

  /** Builds the indexes of sections that are loaded, while workers load others. Gives how many sections are. Throws what a build has failed with. */
  async buildLoaded(): Promise<number> {
    const { coordinator, connections, catalog, tables, run, ledger } = this.opened();
    this.builds ??= new IndexBuilds({ ledger, run, catalog, tables });
    const { builds, built, atPlanning } = this;
    builds.throwFailure();
    const loaded = await this.progress((plan) => plan.loaded(run));
    const [builder] = connections;
    for (const section of loaded.keys()) {
      if (section === atPlanning || built.has(section)) continue;
      built.add(section);
      const steps = await this.write(({ ledger }) => ledger.steps(run.run, section));
      // What is merged gets its indexes afterwards.
      if (builder === undefined || stagesOf(steps, tables, this.options.application?.schema ?? "").size > 0) continue;
      await this.alone(() => builds.add(steps, loaded, coordinator));
      builds.start(builder);
    }
    return built.size;
  }

  /** Takes parts from workers that are gone. */
  async free(parts: readonly number[]): Promise<void> {
    const { run } = this.opened();
    await this.write(({ plan }) => plan.free(run.run, parts));
  }

  /** Parts that the source does not have any more as they were loaded, or the target: all of them go before any comes again. */
  async removeStale(): Promise<void> {
    const { coordinator, ledger, ...opened } = this.opened();
    const { run } = opened;
    const { parts, done } = await this.progress((plan) => plan.counts(run, "loading"));
    const find: Differing = (loads, lacking) => ({
      stale: loads.filter((part) => part.digest === "" || lacking.has(part)),
      isAll: parts === done,
    });
    // Workers have held the parts against the source since, and have said in the ledger what differs.
    const loaded = await inTransaction(coordinator, "read", () => new Ledger(coordinator, ledger).parts(run.run));
    const { context, said } = this.options;
    const amongOthers = await removeDiffering(find, {
      ...opened,
      ledger,
      parts: loaded,
      connection: coordinator,
      onWarning: (line) => context.warn(line),
    });
    if (amongOthers.size === 0) return;
    await this.write(async ({ plan }) => {
      const before = (await plan.find(run.run))?.options;
      await plan.setOptions(run.run, said({ token: this.token, before, amongOthers: [...amongOthers] }));
    });
  }

  /** What needs all records: merges, orphans, indexes, statistics. Ends the run. */
  async finish(): Promise<SinkReport> {
    const { options } = this;
    const opened = { ...this.opened(), connect: options.connect, context: options.context };
    const report = await endRun(opened, { ...options, builds: this.builds });
    this.isDone = true;
    return report;
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
          const steps = await ledger.steps(target.run.run);
          // What was dropped has to come back: that is for who undoes the run.
          if (steps.every(({ what }) => what === "section") && (await ledger.holdUntouched(target.run))) {
            const stages = stagesOf(steps, target.tables, this.options.application?.schema ?? "");
            await dropStages(coordinator, stages.values());
            await ledger.forget(target.run);
          }
          if ((await ledger.unfinished())?.run !== target.run.run) this.unfinishedRun = undefined;
        });
      } catch {
        // It stays unfinished.
      }
    if (this.isDone) this.unfinishedRun = undefined;
    await coordinator.close();
  }

  private planLedger(): PlanLedger {
    const { coordinator, ledger, plans, planParts, planSums } = this.opened();
    return new PlanLedger(coordinator, { ...ledger, plans, planParts, planSums });
  }

  /** Under the fence. */
  private write<Result>(work: (books: { ledger: Ledger; plan: PlanLedger }) => Promise<Result>): Promise<Result> {
    const { coordinator, ledger: tables, run } = this.opened();
    return this.alone(() =>
      inTransaction(coordinator, "write", async () => {
        const ledger = new Ledger(coordinator, tables);
        await ledger.hold(run);
        return work({ ledger, plan: this.planLedger() });
      }),
    );
  }

  /** One transaction behind the other. */
  private alone<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = this.last.then(work);
    this.last = done.catch(() => undefined);
    return done;
  }

  private opened(): RunTarget & PlanTables & { coordinator: PostgresConnection; catalog: Catalog } {
    const { coordinator, target, options } = this;
    if (coordinator === undefined || target === undefined)
      throw new StorageError("E_UNEXPECTED", "the run is not open");
    return { ...target, coordinator, catalog: options.catalog };
  }
}
