/** The statistics block that ends an export, an import and a migration. */
import type { KindResult, TransferResult } from "../../api/results.js";
import { formatBytes } from "../../byte-size.js";
import { digestLines, digestsObject } from "./digest-lines.js";
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
export function statisticsLines(
  done: "Exported" | "Imported" | "Migrated" | "Rewritten",
  result: TransferResult,
): string[] {
  const { totals, kinds, dryRun } = result;
  const rows = [...countsByLabel(kinds)].filter(([, count]) => count > 0);
  const head = dryRun
    ? `Dry run: would have ${done.toLowerCase()} ${formatCount(writtenRecords(totals))} total records`
    : `✅ ${done} ${formatCount(writtenRecords(totals))} total records`;
  const others = (["unchanged", "skipped", "dropped", "cascaded", "rejected"] as const).filter(
    (name) => totals[name] > 0,
  );
  return [
    rows.length === 0 ? head : `${head}:`,
    ...rows.map(([label, count]) => `  - ${label}: ${formatCount(count)}`),
    ...others.map((name) => `${name[0]?.toUpperCase()}${name.slice(1)}: ${formatCount(totals[name])}`),
    ...result.notes,
    ...(result.digests === undefined ? [] : ["Digests:", ...digestLines(result.digests).map((line) => `  ${line}`)]),
    ...runLines(result),
  ];
}

/** From what to what, and how long it took. */
function runLines({ source, target, header, versions, started, ended, seconds, totals }: TransferResult): string[] {
  const store = (name: string, programs: object | undefined, migrations: readonly string[] | undefined): string => {
    const facts = [
      ...Object.entries(programs ?? {}).map((entry) => entry.join(" ")),
      ...(migrations?.length ? [migrationsText(migrations)] : []),
    ];
    return facts.length === 0 ? name : `${name} (${facts.join(", ")})`;
  };
  const rates = `${formatCount(perSecond(totals.read, seconds))} records/s, ${formatBytes(perSecond(totals.valueBytes, seconds))}/s`;
  return [
    `From: ${store(source, versions.source, header.migrations)}`,
    `To: ${store(target, versions.target, versions.targetMigrations)}`,
    `Time: ${started} to ${ended}, ${seconds.toFixed(1)} s, ${rates}`,
  ];
}

/** `schema V1 to V13` */
export function migrationsText(migrations: readonly string[]): string {
  return migrations.length === 1 ? `schema ${migrations[0]}` : `schema ${migrations[0]} to ${migrations.at(-1)}`;
}

export function perSecond(count: number, seconds: number): number {
  return seconds > 0 ? Math.round(count / seconds) : 0;
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
    notes: result.notes,
    leftOut: result.leftOut,
    ...(result.digests === undefined ? {} : { digests: digestsObject(result.digests) }),
    started: result.started,
    ended: result.ended,
    seconds: Math.round(result.seconds * 1000) / 1000,
    recordsPerSecond: perSecond(result.totals.read, result.seconds),
    bytesPerSecond: perSecond(result.totals.valueBytes, result.seconds),
    versions: result.versions,
  };
}
