/** Undoes a run: what it wrote goes, what it dropped comes back, and what others did meanwhile stays. */
import type { Catalog } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { PostgresApplication } from "../application.js";
import { readTargetTables, type TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";
import { inTransaction } from "../session/transaction.js";
import { requireRights } from "./connections.js";
import { IndexBuilds } from "./index-builds.js";
import { Ledger } from "./ledger/ledger.js";
import { takeOver } from "./ledger/take-over.js";
import { requireKnownTransactions, requireLedger } from "./ledger/trust.js";
import { dropStages, requireOwnStages, stagesOf } from "./merging/stages.js";
import { linesOfKept, removeParts } from "./parts/remove-parts.js";
import { dropPartitions } from "./run-partitions.js";

export interface UndoOptions {
  readonly connection: PostgresConnection;
  readonly catalog: Catalog;
  readonly application: PostgresApplication | undefined;
  /** Rows that were removed of a section, index that is built, … */
  readonly onStep?: ((line: string) => void) | undefined;
}

export interface UndoneRun {
  readonly run: number;
  /** Records that were removed, by section. */
  readonly removed: Readonly<Record<string, number>>;
  /** A line for each section that has records of others, and each partition that stays. */
  readonly kept: readonly string[];
}

/**
 * Undoes the run that is not finished. May be ended at any moment, and called again.
 * @throws {StorageError} E_USAGE where there is none; E_PERMISSION, E_RUN_UNFINISHED, E_LOCKED
 */
export async function undoRun({ connection, catalog, application, onStep }: UndoOptions): Promise<UndoneRun> {
  const {
    tables,
    ledger: ledgerTables,
    found,
  } = await inTransaction(connection, "write", async () => {
    const tables = await readTargetTables(connection, catalog);
    const all = [...tables.values()];
    await requireRights(connection, all);
    const ledger = await requireLedger(
      connection,
      application,
      all.map(({ oid }) => oid),
    );
    const found = await new Ledger(connection, ledger).unfinished();
    if (found === undefined) throw new StorageError("E_USAGE", "there is no unfinished run to undo");
    const book = new Ledger(connection, ledger);
    await requireKnownTransactions(connection, found, ledger);
    const stages = stagesOf(await book.steps(found.run), tables, application?.schema ?? "");
    await requireOwnStages(connection, stages, ledger.runs);
    return { tables, ledger, found };
  });
  const run = await takeOver(connection, ledgerTables, found, "undoing");
  const ledger = new Ledger(connection, ledgerTables);
  // What was under way has ended: nothing is added any more.
  const [last, steps] = await inTransaction(connection, "read", async () => [
    await ledger.parts(run.run),
    await ledger.steps(run.run),
  ]);
  const removed: Record<string, number> = {};
  const { schema } = application as PostgresApplication;
  const stages = stagesOf(steps, tables, schema);
  await inTransaction(connection, "read", () => requireOwnStages(connection, stages, ledgerTables.runs));
  await removeParts(last, last, {
    connection,
    ledger: ledgerTables,
    run,
    catalog,
    tables,
    stages,
    onRestored: (section, rows) => onStep?.(`gave back ${rows} records of ${section}`),
    onRemoved(section, rows) {
      removed[section] = (removed[section] ?? 0) + rows;
      onStep?.(`removed ${rows} records of ${section}`);
    },
  });
  const partitions = await dropPartitions(connection, steps, { ledger: ledgerTables, run, tables });
  const touched = catalog.kinds.flatMap(({ path }) =>
    !stages.has(path) && (last.some(({ section }) => section === path) || steps.some(({ section }) => section === path))
      ? [tables.get(path) as TargetTable]
      : [],
  );
  const builds = new IndexBuilds({ ledger: ledgerTables, run, catalog, tables });
  await builds.add(steps, new Map(), connection);
  await builds.finish([connection], ({ name }) => onStep?.(`index ${name}`));
  const kept = await inTransaction(connection, "write", async () => {
    await connection.query("SET LOCAL row_security = off");
    const lines = await linesOfKept(connection, touched);
    // What was taken back has been said in the ledger, which an undo that was killed has left.
    const after = stagesOf(await ledger.steps(run.run), tables, schema);
    lines.push(...[...after.values()].flatMap(({ kept }) => kept));
    await dropStages(connection, after.values());
    await ledger.setState(run, "undone", "");
    return lines;
  });
  return {
    run: run.run,
    removed,
    kept: [...kept, ...partitions.map((name) => `the partition ${name} has rows of others, and stays`)],
  };
}
