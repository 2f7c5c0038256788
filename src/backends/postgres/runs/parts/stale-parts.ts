/** What is there of a run, held against what its source has now. */
import type { Catalog } from "../../../../catalog/index.js";
import type { TargetTable } from "../../database/target-table.js";
import type { PostgresConnection } from "../../session/connection.js";
import type { LedgerTables, PartRow, RunRow } from "../ledger/ledger.js";
import { mergeUnits } from "../merging/merge-kinds.js";
import { MERGED, type Stage } from "../merging/stages.js";
import { findLacking } from "./lacking-parts.js";
import { removeParts } from "./remove-parts.js";

/** A part of the source, by a digest of what it brings. */
export interface PlannedPart {
  readonly digest: string;
  isLoaded: boolean;
}

export interface StaleOptions {
  readonly connection: PostgresConnection;
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  readonly catalog: Catalog;
  readonly tables: ReadonlyMap<string, TargetTable>;
  readonly stages: ReadonlyMap<string, Stage>;
  readonly parts: readonly PartRow[];
  readonly onWarning: (line: string) => void;
}

/** Removes the parts that the source does not have any more, as they were loaded, or the target. Marks those of the source that are there. */
export function removeStale(
  planned: ReadonlyMap<string, readonly PlannedPart[]>,
  options: StaleOptions,
): Promise<ReadonlySet<string>> {
  return removeDiffering((loads, lacking) => {
    const stale = match(planned, loads, lacking);
    return { stale, isAll: [...planned.values()].every((list) => list.every(({ isLoaded }) => isLoaded)) };
  }, options);
}

/** What of the loaded parts goes, some of which lack records, and whether the source has none besides them. */
export type Differing = (
  loads: readonly PartRow[],
  lacking: ReadonlySet<PartRow>,
) => { readonly stale: readonly PartRow[]; readonly isAll: boolean };

/**
 * Removes parts: all of them go before any comes, so that keys that moved from one to another find no other holder. Where anything
 * differs, all merges are taken back first: what they counted and matched is no more so. Gives the sections in whose tables others
 * have rows by now.
 */
export async function removeDiffering(find: Differing, options: StaleOptions): Promise<ReadonlySet<string>> {
  const { parts, stages, catalog, onWarning } = options;
  const merges = parts.filter(({ digest }) => digest === MERGED);
  const loads = parts.filter(({ digest }) => digest !== MERGED);
  const merged = new Set(merges.map(({ section }) => section));
  const { lacking, amongOthers } = await findLacking(
    loads.filter(({ section }) => !merged.has(section)),
    options,
  );
  const differing = find(loads, lacking);
  let { stale } = differing;
  const isHalf = mergeUnits(catalog).some((unit) => {
    const staged = unit.filter(({ path }) => stages.has(path));
    const there = staged.filter(({ path }) => merged.has(path)).length;
    return there > 0 && there < staged.length;
  });
  const isUndone = merges.length > 0 && (stale.length > 0 || !differing.isAll || isHalf);
  if (isUndone) {
    await removeParts(merges, parts, options);
    // Records that the merges have left out are in their parts no more.
    const { lacking: others } = await findLacking(
      loads.filter(({ section }) => merged.has(section)),
      options,
    );
    for (const part of others) lacking.add(part);
    stale = find(loads, lacking).stale;
  }
  const onKept = (section: string, rows: number): void => {
    // They are in the way of the parts that bring them again.
    amongOthers.add(section);
    onWarning(
      `${section}: ${rows} of the records that the run has loaded and the source has no more, or not so, stay: rows of others refer to them`,
    );
  };
  const left = isUndone ? loads : parts;
  if (stale.length > 0) await removeParts(stale, left, { ...options, onKept });
  return amongOthers;
}

/** Marks the parts of the source that are loaded. Gives those that the source does not have, or that lack records. */
function match(
  planned: ReadonlyMap<string, readonly PlannedPart[]>,
  loads: readonly PartRow[],
  lacking: ReadonlySet<PartRow>,
): PartRow[] {
  const keyOf = (section: string, digest: string): string => `${section} ${digest}`;
  const whole = loads.filter((part) => !lacking.has(part));
  const loaded = Map.groupBy(whole, ({ section, digest }) => keyOf(section, digest));
  for (const [section, list] of planned)
    for (const part of list) part.isLoaded = loaded.get(keyOf(section, part.digest))?.pop() !== undefined;
  return [...lacking, ...[...loaded.values()].flat()];
}
