/** The beginning of a run: whether the target may be loaded so, before anything is written; then its row of the ledger. */
import type { Catalog } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { PostgresApplication } from "../application.js";
import { shownName, tableOf } from "../database/table-names.js";
import { readTargetTables, type TargetTable } from "../database/target-table.js";
import type { PostgresConnection, PostgresConnector } from "../session/connection.js";
import { inTransaction } from "../session/transaction.js";
import { affordable, openConnections, requireRights } from "./connections.js";
import { Ledger, type LedgerTables, type PartRow, type RunRow, type StepRow } from "./ledger/ledger.js";
import { takeOver } from "./ledger/take-over.js";
import { readPlace, requireKnownTransactions, requireLedger } from "./ledger/trust.js";
import { unfinishedRun } from "./ledger/unfinished.js";
import { needsMerge, requireOwnStages, requireStages, type Stage, stagesOf } from "./merging/stages.js";
import { requireUnlocked } from "./table-locks.js";

/** Parts with more would not be for memory. */
const MOST_PART_BYTES = 67108864;

export interface RunTargetOptions {
  readonly connect: PostgresConnector;
  readonly application: PostgresApplication | undefined;
  readonly catalog: Catalog;
  /** The sections that the run may bring records of. */
  readonly paths: ReadonlySet<string>;
  /** Connections that load. Undefined: as many as the run had that is resumed. */
  readonly jobs: number | undefined;
  readonly partBytes: number;
  readonly resume: boolean;
  readonly source: string;
  /** By option: a digest of what it says of the records that are loaded. */
  readonly settings: Readonly<Record<string, string>>;
  readonly onWarning: (message: string) => void;
}

export interface RunTarget {
  readonly tables: ReadonlyMap<string, TargetTable>;
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  /** What an earlier process has done of it. */
  readonly parts: readonly PartRow[];
  readonly steps: readonly StepRow[];
  /** The sections whose records wait to be merged, by path. */
  readonly stages: ReadonlyMap<string, Stage>;
  /** Each loads a part at a time. */
  readonly connections: readonly PostgresConnection[];
}

/** Checks the target, opens the connections, and begins the run or takes over the one that is not finished. */
export async function openRun(connection: PostgresConnection, options: RunTargetOptions): Promise<RunTarget> {
  const { catalog, application, resume } = options;
  const { tables, ledger, found } = await inTransaction(connection, "write", async () => {
    const tables = await readTargetTables(connection, catalog);
    const all = [...tables.values()];
    await requireRights(connection, all);
    const ledger = await requireLedger(
      connection,
      application,
      all.map(({ oid }) => oid),
    );
    requireWholeCounters(options);
    const found = await new Ledger(connection, ledger).unfinished();
    if (resume) {
      await requireResumable(connection, ledger, found, options);
      const steps = await new Ledger(connection, ledger).steps((found as RunRow).run);
      await requireOwnStages(
        connection,
        stagesOf(steps, tables, (application as PostgresApplication).schema),
        ledger.runs,
      );
    } else {
      if (found !== undefined) throw unfinishedRun(found);
      let merges = false;
      const some = [...options.paths].map((path) => tables.get(path) as TargetTable);
      await requireUnlocked(connection, some);
      for (const table of some) if (await needsMerge(connection, table)) merges = true;
      if (merges) await requireStages(connection, (application as PostgresApplication).schema);
    }
    return { tables, ledger, found };
  });
  const foreign = [...options.paths].map((path) => tables.get(path)).find((table) => table?.owned === false);
  if (foreign !== undefined)
    options.onWarning(
      `the role does not own the table ${shownName(tableOf(foreign.kind))}${options.paths.size > 1 ? " and perhaps others" : ""}: indexes of such tables are kept up row by row, and their statistics stay as they are`,
    );
  const wanted = options.jobs ?? found?.jobs ?? 1;
  const jobs = await inTransaction(connection, "read", () => affordable(connection, wanted));
  if (jobs < wanted)
    options.onWarning(`the server has ${jobs} of ${wanted} connections left: the run goes with ${jobs}`);
  const connections = await openConnections(options.connect, jobs, connection);
  try {
    const run = await (found === undefined
      ? begin(connection, ledger, options, jobs)
      : takeOver(connection, ledger, found, "loading"));
    const book = new Ledger(connection, ledger);
    const [parts, steps] = await inTransaction(connection, "read", async () => [
      await book.parts(run.run),
      await book.steps(run.run),
    ]);
    const stages = stagesOf(steps, tables, (application as PostgresApplication).schema);
    await inTransaction(connection, "read", () => requireOwnStages(connection, stages, ledger.runs));
    return { tables, ledger, run, parts, steps, stages, connections };
  } catch (error) {
    for (const each of connections) await each.close();
    throw error;
  }
}

async function begin(
  connection: PostgresConnection,
  tables: LedgerTables,
  { source, settings, partBytes }: RunTargetOptions,
  jobs: number,
): Promise<RunRow> {
  return inTransaction(connection, "write", async () => {
    const ledger = new Ledger(connection, tables);
    const place = await readPlace(connection);
    await connection.query(`LOCK TABLE ${tables.runs} IN SHARE ROW EXCLUSIVE MODE`);
    const other = await ledger.unfinished();
    if (other !== undefined) throw unfinishedRun(other);
    return ledger.begin({ jobs, partBytes, source, settings: JSON.stringify(settings), place });
  });
}

async function requireResumable(
  connection: PostgresConnection,
  tables: LedgerTables,
  found: RunRow | undefined,
  { settings, source, onWarning }: RunTargetOptions,
): Promise<void> {
  if (found === undefined) throw new StorageError("E_USAGE", "there is no unfinished run to resume");
  if (found.state === "undoing")
    throw new StorageError("E_RUN_UNFINISHED", `the run ${found.run} is being undone`, {
      hint: "`llmspell storage undo` comes to the end of that; then load anew.",
    });
  if (found.jobs < 1 || found.partBytes < 1 || found.partBytes > MOST_PART_BYTES)
    throw new StorageError("E_RUN_UNFINISHED", `what the ledger says of the run ${found.run} is no run's`, {
      hint: "`llmspell storage undo` takes back what it has loaded; then load anew.",
    });
  let before: Record<string, string> = {};
  try {
    before = (JSON.parse(found.settings) ?? {}) as Record<string, string>;
  } catch {
    // None that is equal to ours.
  }
  const names = new Set([...Object.keys(before), ...Object.keys(settings)]);
  const other = [...names].filter((name) => before[name] !== settings[name]);
  if (other.length > 0)
    throw new StorageError("E_USAGE", `the run ${found.run} was begun with another ${other.join(", ")}`, {
      hint: "Resume it with the options that it was begun with, or undo it (`llmspell storage undo`).",
    });
  if (source !== found.source)
    onWarning(`the run ${found.run} was begun from ${found.source}, and goes on from ${source}`);
  await requireKnownTransactions(connection, found, tables);
}

/** A parent that is there already would have to count the children that come: only one transaction does that. */
function requireWholeCounters({ catalog, paths }: RunTargetOptions): void {
  for (const { path, foreignKeys } of catalog.kinds)
    for (const { counter, references } of foreignKeys)
      if (counter !== undefined && paths.has(path) && !paths.has(references))
        throw new StorageError("E_USAGE", `a run that brings ${path} has to bring ${references}, too`, {
          section: path,
          hint: "Include both or neither, or load with one job.",
        });
}
