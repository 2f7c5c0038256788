/** A run's indexes: each DROP and each CREATE is one transaction with its row of the ledger, so that none is ever lost. */
import type { Catalog, RecordKind } from "../../../catalog/index.js";
import { located } from "../../../codecs/index.js";
import { StorageError } from "../../../errors.js";
import { shownName, tableOf } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import { DeferredIndexes, type DroppedIndex, type IndexPart } from "../loading/deferred-indexes.js";
import { classesForRows, type DeferPolicy } from "../loading/index-choice.js";
import type { PostgresConnection } from "../session/connection.js";
import { inTransaction } from "../session/transaction.js";
import { parseIndexDefinition } from "./index-definition.js";
import { Ledger, type LedgerTables, type RunRow, type StepRow } from "./ledger/ledger.js";

/** What the ledger keeps of an index besides its name. */
interface Kept {
  readonly definition: string;
  readonly class: DroppedIndex["class"];
  readonly parts: readonly IndexPart[];
}

/** Drops the indexes of a kind's table before its first part, of so many records; `isFull`: there may be more. To be called in a transaction. */
export async function dropIndexes(
  connection: PostgresConnection,
  {
    ledger,
    run,
    table,
    policy,
    records,
    isFull,
  }: { ledger: Ledger; run: RunRow; table: TargetTable; policy: DeferPolicy; records: number; isFull: boolean },
): Promise<void> {
  if (policy === "never") return;
  const dropped = await new DeferredIndexes(connection, table, policy).dropToKeep(
    isFull || classesForRows(records).length > 0,
  );
  await keepDefinitions(dropped, { ledger, run, table });
}

/** The same before a merge that writes so many rows. */
export async function dropIndexesForMerge(
  connection: PostgresConnection,
  {
    ledger,
    run,
    table,
    policy,
    writes,
  }: { ledger: Ledger; run: RunRow; table: TargetTable; policy: DeferPolicy; writes: number },
): Promise<void> {
  const dropped = await new DeferredIndexes(connection, table, policy).dropToKeepForMerge(writes);
  await keepDefinitions(dropped, { ledger, run, table });
}

async function keepDefinitions(
  dropped: readonly DroppedIndex[],
  { ledger, run, table }: { ledger: Ledger; run: RunRow; table: TargetTable },
): Promise<void> {
  for (const { name, definition, class: indexClass, parts } of dropped) {
    // What could not be made again from the ledger must stay: the whole transaction goes.
    requireDefinition(name, definition, table.kind);
    const kept: Kept = { definition, class: indexClass, parts };
    const section = table.kind.path;
    await ledger.addStep(run.run, { what: "index", section, name, definition: JSON.stringify(kept) });
  }
}

/** Its access method. @throws {StorageError} E_RUN_UNFINISHED for a definition that is none of an index of the kind's table */
function requireDefinition(name: string, definition: unknown, kind: RecordKind): string {
  const { schema, table } = tableOf(kind);
  const parsed = typeof definition === "string" ? parseIndexDefinition(definition) : undefined;
  if (parsed?.name === name && parsed.schema === schema && parsed.table === table) return parsed.method;
  throw new StorageError(
    "E_RUN_UNFINISHED",
    `what the ledger says of the index ${name} is no index of ${shownName({ schema, table })}`,
    {
      section: kind.path,
      hint: "Nothing of it was run. Make the index yourself, set `done` of its row in storage_steps, and go on; or load with --defer-indexes never.",
    },
  );
}

function readKept(step: StepRow, kind: RecordKind): DroppedIndex {
  let kept: Partial<Kept> = {};
  try {
    kept = JSON.parse(step.definition) as Partial<Kept>;
  } catch {
    // No definition at all.
  }
  const method = requireDefinition(step.name, kept?.definition, kind);
  const parts = (Array.isArray(kept.parts) ? kept.parts : []).filter(
    (part) =>
      [part?.index, part?.schema, part?.name].every((text) => typeof text === "string") &&
      typeof part.partition === "number",
  );
  return {
    name: step.name,
    definition: kept.definition as string,
    method,
    class: kept.class === "vector" ? "vector" : "other",
    parts,
  };
}

export interface BuildOptions {
  readonly connections: readonly PostgresConnection[];
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  readonly catalog: Catalog;
  readonly tables: ReadonlyMap<string, TargetTable>;
  /** Rows of each table, about. */
  readonly rows: ReadonlyMap<string, number>;
  readonly onIndex: (index: { name: string; number: number; of: number }) => void;
}

/** Builds what was dropped, on all connections side by side. */
export async function buildIndexes(steps: readonly StepRow[], options: BuildOptions): Promise<void> {
  const { connections, catalog, tables, rows, onIndex } = options;
  const wanted = steps.filter(({ what, done }) => what === "index" && !done);
  const known = wanted.map((step) => {
    const table = tables.get(step.section);
    if (table === undefined || catalog.byPath.get(step.section) === undefined)
      throw new StorageError("E_RUN_UNFINISHED", `the ledger names an index of ${step.section}, which is no section`);
    return { step, table, index: readKept(step, table.kind) };
  });
  // Those of one partitioned table come one after the other: their parts take names from each other.
  const tasks: (typeof known)[] = [];
  for (const one of known) {
    const isPartitioned = one.table.kind.postgres.partitionedBy !== undefined;
    const group = isPartitioned ? tasks.find(([first]) => first?.table === one.table) : undefined;
    if (group === undefined) tasks.push([one]);
    else group.push(one);
  }
  const weight = ([first]: typeof known): number =>
    (rows.get(first?.step.section ?? "") ?? 0) * (first?.index.class === "vector" ? 100 : 1);
  tasks.sort((one, other) => weight(other) - weight(one));
  let number = 0;
  const failures: unknown[] = [];
  const builds = Math.min(connections.length, tasks.length);
  const work = async (connection: PostgresConnection): Promise<void> => {
    for (let task = tasks.shift(); task !== undefined && failures.length === 0; task = tasks.shift())
      for (const { step, table, index } of task) {
        onIndex({ name: step.name, number: ++number, of: known.length });
        await buildOne(connection, { ...options, step, table, index, builds }).catch((error) => {
          throw located(error, { section: step.section });
        });
      }
  };
  await Promise.all(connections.map((connection) => work(connection).catch((error) => void failures.push(error))));
  if (failures.length > 0) throw failures[0];
}

async function buildOne(
  connection: PostgresConnection,
  {
    ledger: ledgerTables,
    run,
    rows,
    step,
    table,
    index,
    builds,
  }: BuildOptions & { step: StepRow; table: TargetTable; index: DroppedIndex; builds: number },
): Promise<void> {
  const ledger = new Ledger(connection, ledgerTables);
  await inTransaction(connection, "write", async () => {
    await connection.query("SET LOCAL client_min_messages = 'warning'");
    await ledger.hold(run);
    if (!(await isThere(connection, table, step.name))) {
      const deferred = new DeferredIndexes(connection, table, "always", builds);
      deferred.adopt(index);
      await deferred.build(rows.get(step.section) ?? 0, () => {});
    }
    await ledger.completeStep(run.run, step.step);
  });
}

/** Somebody may have made it again. */
async function isThere(connection: PostgresConnection, table: TargetTable, name: string): Promise<boolean> {
  const { rows } = await connection.query(
    `SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = $1 AND c.relname = $2 AND i.indisvalid`,
    [table.oid, name],
  );
  return rows.length > 0;
}
