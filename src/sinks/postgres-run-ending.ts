/** The end of a run, when all of its records have come: what is merged, looked at and built over all of them. */
import type { PostgresApplication } from "../backends/postgres/application.js";
import type { TargetTable } from "../backends/postgres/database/target-table.js";
import { readVersions } from "../backends/postgres/database/versions.js";
import type { ConflictPolicy } from "../backends/postgres/loading/conflicts.js";
import type { DeferPolicy } from "../backends/postgres/loading/index-choice.js";
import { affordable, openConnections } from "../backends/postgres/runs/connections.js";
import { IndexBuilds } from "../backends/postgres/runs/index-builds.js";
import { Ledger, type StepRow } from "../backends/postgres/runs/ledger/ledger.js";
import {
  type MergeKindsOptions,
  mergeUnit,
  mergeUnits,
  unlinkLeft,
} from "../backends/postgres/runs/merging/merge-kinds.js";
import {
  createStage,
  dropStages,
  MERGED,
  type Stage,
  stagedDefinition,
  stagesOf,
} from "../backends/postgres/runs/merging/stages.js";
import { LOAD_SETTINGS } from "../backends/postgres/runs/parts/load-settings.js";
import { settleRunOrphans } from "../backends/postgres/runs/run-orphans.js";
import type { RunTarget } from "../backends/postgres/runs/run-target.js";
import { RunStatistics } from "../backends/postgres/runs/statistics.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { inTransaction } from "../backends/postgres/session/transaction.js";
import type { Catalog } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { RunContext } from "../records/run-context.js";
import type { SinkCounts, SinkReport } from "./sink.js";

/** A run whose target is open. */
export interface OpenedRun extends RunTarget {
  readonly coordinator: PostgresConnection;
  readonly connect: PostgresConnector;
  readonly catalog: Catalog;
  readonly context: RunContext;
  /** Whether the records of the table have to be merged; the same at any time. E_CONFLICT */
  isStaged(table: TargetTable): Promise<boolean>;
}

export interface EndingOptions {
  readonly application?: PostgresApplication | undefined;
  readonly onConflict?: ConflictPolicy | undefined;
  readonly onOrphan?: "error" | "drop" | undefined;
  readonly deferIndexes?: DeferPolicy | undefined;
  /** So many indexes are built at a time. Default: as many as there are connections. */
  readonly indexJobs?: number | undefined;
  /** Indexes of some sections are built already, or are being built. */
  readonly builds?: IndexBuilds | undefined;
  /** By `builds`: some are made already, or are being made. */
  readonly statistics?: RunStatistics | undefined;
}

/** Brings the run to its end. E_ORPHAN, E_CONFLICT, E_KEY_CONFLICT, … leave it unfinished. */
export async function endRun(opened: Omit<OpenedRun, "isStaged">, options: EndingOptions): Promise<SinkReport> {
  const { coordinator, context, run, ledger: ledgerTables, catalog, tables } = opened;
  const { application, onOrphan = "error", onConflict = "update", deferIndexes: policy = "auto" } = options;
  const schema = application?.schema ?? "";
  const ledger = new Ledger(coordinator, ledgerTables);
  const read = () =>
    inTransaction(coordinator, "read", async () => ({
      totals: await ledger.totals(run.run, MERGED),
      steps: await ledger.steps(run.run),
    }));
  context.activity?.({ phase: "checking" });
  let { totals, steps } = await read();
  const loads = totals.filter(({ apart, records }) => !apart && records > 0n);
  const loaded = new Set(loads.map(({ section }) => section));
  let stages = stagesOf(steps, tables, schema);
  const rows = new Map<string, number>();
  for (const { section, records } of loads) if (!stages.has(section)) rows.set(section, Number(records));
  const orphans = { connection: coordinator, context, catalog, tables, onOrphan, loaded: new Set(rows.keys()) };
  const settle = async (): Promise<Map<string, number>> => {
    await coordinator.query(LOAD_SETTINGS);
    await ledger.hold(run);
    const waiting = new Map([...stages].flatMap(([path, { name, isMerged }]) => (isMerged ? [] : [[path, name]])));
    return settleRunOrphans({ ...orphans, waiting });
  };
  // Before what takes long. What is dropped is dropped in the last transaction only: a run that is resumed may bring the parents.
  if (onOrphan === "error") await inTransaction(coordinator, "write", settle);
  const notes: string[] = [];
  if (stages.size > 0) {
    const merging = { connection: coordinator, context, ledger: ledgerTables, run, catalog, tables, loaded };
    await stageCounted(opened, stages, loaded, schema);
    for (const unit of mergeUnits(catalog)) {
      ({ totals, steps } = await read());
      stages = stagesOf(steps, tables, schema);
      if (!unit.some(({ path }) => stages.get(path)?.isMerged === false)) continue;
      const lastPart = totals.reduce((most, { last }) => Math.max(most, last), 0);
      const merged = await mergeUnit(unit, {
        ...merging,
        stages,
        onConflict,
        onOrphan,
        policy,
        lastPart,
      } satisfies MergeKindsOptions);
      notes.push(...merged);
    }
    ({ steps } = await read());
    stages = stagesOf(steps, tables, schema);
  }
  const sizes = new Map(rows);
  for (const [path, { counts }] of stages) sizes.set(path, writesOf(counts));
  const filled = await inTransaction(coordinator, "read", () => filledSizes(coordinator, stages));
  const wanted = { indexJobs: options.indexJobs, steps };
  const builds = options.builds ?? new IndexBuilds({ ledger: ledgerTables, run, catalog, tables });
  await builds.add(steps, new Map([...rows, ...filled]), coordinator);
  const statistics = options.statistics ?? new RunStatistics(builds);
  for (const [path, count] of sizes)
    statistics.addRest({ table: tables.get(path) as TargetTable, rows: count, filled: !stages.has(path) });
  await withBuilders(opened, wanted, (builders) =>
    builds.finish(builders, (index) => context.activity?.({ phase: "indexes", index })),
  );
  context.activity?.({ phase: "checking" });
  notes.push(...statistics.notes);
  context.activity?.({ phase: "committing" });
  const { dropped, target } = await inTransaction(coordinator, "write", async () => {
    const dropped = await settle();
    await unlinkLeft(coordinator, stages.values());
    await dropStages(coordinator, stages.values());
    // Nobody would build them any more.
    const missing = (await ledger.steps(run.run)).find(({ what, done }) => what === "index" && !done);
    if (missing !== undefined) throw new StorageError("E_UNEXPECTED", `the index ${missing.name} was not built`);
    await ledger.setState(run, "done", "");
    const versions = await readVersions(coordinator);
    const migrations = (await application?.readVersions?.(coordinator)) ?? [];
    return { dropped, target: { versions, migrations } };
  });
  const counts = new Map<string, SinkCounts>();
  const unchanged = new Map<string, number>();
  for (const [path, records] of rows) {
    const gone = dropped.get(path) ?? 0;
    counts.set(path, { inserted: records - gone, updated: 0, skipped: 0, dropped: gone });
  }
  for (const [path, { counts: merged }] of stages) {
    if (merged === undefined || !loaded.has(path)) continue;
    const { unchanged: same, ...rest } = merged;
    counts.set(path, rest);
    unchanged.set(path, same);
  }
  return { counts, unchanged, target, notes };
}

/** Parents whose counts the merge of their children may raise are merged with these, though no record of theirs came. */
async function stageCounted(
  { coordinator, catalog, tables, run, ledger: ledgerTables }: Omit<OpenedRun, "isStaged">,
  stages: ReadonlyMap<string, Stage>,
  loaded: ReadonlySet<string>,
  schema: string,
): Promise<void> {
  const ledger = new Ledger(coordinator, ledgerTables);
  for (const { path, foreignKeys } of catalog.kinds)
    for (const { counter, references } of foreignKeys) {
      if (counter === undefined || !stages.has(path) || stages.has(references) || loaded.has(references)) continue;
      await inTransaction(coordinator, "write", async () => {
        await ledger.hold(run);
        const there = stagesOf(await ledger.steps(run.run), tables, schema);
        if (there.has(references)) return;
        const step = { what: "section", section: references, name: "", definition: stagedDefinition() } as const;
        await ledger.addStep(run.run, step);
        await createStage(coordinator, tables.get(references) as TargetTable, schema);
      });
    }
}

/** The connections that build indexes: those that have loaded, fewer, or more of them. */
async function withBuilders(
  { connections, coordinator, connect, context }: Omit<OpenedRun, "isStaged">,
  { indexJobs = connections.length, steps }: { indexJobs: number | undefined; steps: readonly StepRow[] },
  work: (builders: readonly PostgresConnection[]) => Promise<void>,
): Promise<void> {
  const indexes = steps.filter(({ what, done }) => what === "index" && !done).length;
  const missing = Math.min(indexJobs, indexes) - connections.length;
  if (missing <= 0) return work(connections.slice(0, indexJobs));
  const count = await inTransaction(coordinator, "read", () => affordable(coordinator, missing)).catch((error) => {
    if (error instanceof StorageError && error.code === "E_CONNECT") return 0;
    throw error;
  });
  if (count < missing)
    context.warn(
      `the server has ${count} of ${missing} further connections left: ${connections.length + count} indexes are built at a time`,
    );
  const more = await openConnections(connect, count, coordinator);
  for (const each of more) context.signal.addEventListener("abort", () => void each.close(), { once: true });
  try {
    await work([...connections, ...more]);
  } finally {
    for (const each of more) await each.close();
  }
}

function writesOf(counts: Stage["counts"]): number {
  return counts === undefined ? 0 : counts.inserted + counts.updated - counts.unchanged;
}

/** About how many rows the tables have that were merged into. */
async function filledSizes(
  connection: PostgresConnection,
  stages: ReadonlyMap<string, Stage>,
): Promise<[path: string, rows: number][]> {
  const sizes: [string, number][] = [];
  for (const [path, { table, counts }] of stages) {
    const { rows } = await connection.query<{ rows: number }>(
      "SELECT sum(greatest(c.reltuples, 0))::float8 AS rows FROM pg_catalog.pg_class c WHERE c.oid = $1",
      [table.oid],
    );
    sizes.push([path, (rows[0]?.rows ?? 0) + (counts?.inserted ?? 0)]);
  }
  return sizes;
}
