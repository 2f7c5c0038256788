/** Indexes that a run does without: each DROP is one transaction with its row of the ledger, which has the definition, so that none is ever lost. */
import type { RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import { shownName, tableOf } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import { DeferredIndexes, type DroppedIndex, type IndexPart } from "../loading/deferred-indexes.js";
import { classesForRows, type DeferPolicy } from "../loading/index-choice.js";
import type { PostgresConnection } from "../session/connection.js";
import { type Named, parseIndexDefinition } from "./index-definition.js";
import type { Ledger, RunRow, StepRow } from "./ledger/ledger.js";

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

/** What it is. @throws {StorageError} E_RUN_UNFINISHED for a definition that is none of an index of the kind's table */
function requireDefinition(name: string, definition: unknown, kind: RecordKind): Named {
  const { schema, table } = tableOf(kind);
  const parsed = typeof definition === "string" ? parseIndexDefinition(definition) : undefined;
  if (parsed?.name === name && parsed.schema === schema && parsed.table === table) return parsed;
  throw new StorageError(
    "E_RUN_UNFINISHED",
    `what the ledger says of the index ${name} is no index of ${shownName({ schema, table })}`,
    {
      section: kind.path,
      hint: "Nothing of it was run. Make the index yourself, set `done` of its row in storage_steps, and go on; or load with --defer-indexes never.",
    },
  );
}

/** An index that is to be made again; `tail`: its definition, from USING on. @throws {StorageError} E_RUN_UNFINISHED */
export function readKept(step: StepRow, kind: RecordKind): DroppedIndex & { readonly tail: string } {
  let kept: Partial<Kept> = {};
  try {
    kept = JSON.parse(step.definition) as Partial<Kept>;
  } catch {
    // No definition at all.
  }
  const { method, tail } = requireDefinition(step.name, kept?.definition, kind);
  const parts = (Array.isArray(kept.parts) ? kept.parts : []).filter(
    (part) =>
      [part?.index, part?.schema, part?.name].every((text) => typeof text === "string") &&
      typeof part.partition === "number",
  );
  return {
    name: step.name,
    definition: kept.definition as string,
    method,
    tail,
    class: kept.class === "vector" ? "vector" : "other",
    parts,
  };
}
