/** The statistics block that ends an export, an import and a migration. */
import type { KindResult, TransferResult } from "../api.js";
import { formatCount } from "./progress.js";

/** Records that reached the target. */
export function writtenRecords({ inserted, updated }: Pick<KindResult, "inserted" | "updated">): number {
  return inserted + updated;
}

/** Records per label, in the catalog's order; several kinds may share a label. */
export function countsByLabel(kinds: readonly KindResult[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of kinds) counts.set(kind.label, (counts.get(kind.label) ?? 0) + writtenRecords(kind));
  return counts;
}

/** `done`: the participle, e.g. "Imported". Rows that are zero are left out. */
export function statisticsLines(done: "Exported" | "Imported" | "Migrated", result: TransferResult): string[] {
  const { totals, kinds, dryRun } = result;
  const rows = [...countsByLabel(kinds)].filter(([, count]) => count > 0);
  const head = dryRun
    ? `Dry run: would have ${done.toLowerCase()} ${formatCount(writtenRecords(totals))} total records`
    : `✅ ${done} ${formatCount(writtenRecords(totals))} total records`;
  const others = (["skipped", "dropped", "cascaded", "rejected"] as const).filter((name) => totals[name] > 0);
  return [
    rows.length === 0 ? head : `${head}:`,
    ...rows.map(([label, count]) => `  - ${label}: ${formatCount(count)}`),
    ...prunedLines(result),
    ...others.map((name) => `${name[0]?.toUpperCase()}${name.slice(1)}: ${formatCount(totals[name])}`),
    ...result.notes,
  ];
}

/** How many, and of which sections. */
function prunedLines({ totals, kinds, dryRun }: TransferResult): string[] {
  if (totals.pruned === undefined || totals.pruned === 0) return [];
  const sections = kinds.flatMap(({ path, pruned = 0 }) => (pruned > 0 ? [`${path} ${formatCount(pruned)}`] : []));
  return [`${dryRun ? "Would have pruned" : "Pruned"}: ${formatCount(totals.pruned)} (${sections.join(", ")})`];
}

/** The result of `--json`. */
export function resultObject(result: TransferResult): object {
  return {
    source: result.source,
    target: result.target,
    sourceBackend: result.header.backend,
    migrations: result.header.migrations,
    dryRun: result.dryRun,
    total: writtenRecords(result.totals),
    labels: Object.fromEntries([...countsByLabel(result.kinds)].filter(([, count]) => count > 0)),
    ...result.totals,
    sections: Object.fromEntries(result.kinds.map(({ path, label, ...counts }) => [path, { label, ...counts }])),
    ...(result.bytes === undefined ? {} : { bytes: result.bytes }),
    ...(result.removed === undefined ? {} : { removed: result.removed }),
    notes: result.notes,
    leftOut: result.leftOut,
    seconds: Math.round(result.seconds * 1000) / 1000,
  };
}
