/** What a run's coordinator tells of it: the records have not come by here. */
import { catalog } from "../../llmspell/catalog/index.js";
import type { SinkReport } from "../../sinks/sink.js";
import type { Source, StoreHeader } from "../../sources/source.js";
import type { KindResult, TransferResult } from "../results.js";
import { versionsOf } from "../run.js";
import type { RunSums } from "./told.js";

export interface Coordinated {
  readonly source: Source;
  /** The target's name. */
  readonly to: string;
  readonly started: Date;
  readonly sums: RunSums;
  readonly digests: boolean;
  readonly leftOut: readonly string[];
  readonly notes: readonly string[];
}

export function resultOf(
  { versions, exportedAt: _time, catalog: _catalog, ...header }: StoreHeader,
  report: SinkReport,
  { source, to, started, sums, digests, leftOut, notes }: Coordinated,
): TransferResult {
  const kinds: KindResult[] = [];
  const totals = { read: 0, inserted: 0, updated: 0, unchanged: 0, skipped: 0, dropped: 0, valueBytes: 0 };
  const none = { rejected: 0, cascaded: 0 };
  for (const { path, label } of catalog.kinds) {
    const { inserted = 0, updated = 0, skipped = 0, dropped = 0 } = report.counts.get(path) ?? {};
    const counts = {
      read: inserted + updated + skipped + dropped,
      inserted,
      updated,
      unchanged: report.unchanged?.get(path) ?? 0,
      skipped,
      dropped,
      valueBytes: sums.valueBytes.get(path) ?? 0,
    };
    if (counts.read === 0) continue;
    kinds.push({ path, label, ...counts, ...none });
    for (const name of Object.keys(totals) as (keyof typeof totals)[]) totals[name] += counts[name];
  }
  const ended = new Date();
  return {
    source: source.name,
    target: to,
    header,
    kinds,
    totals: { ...totals, ...none },
    notes: [...new Set([...report.notes, ...notes])],
    leftOut,
    ...(digests ? { digests: sums.transferDigests(report.counts) } : {}),
    dryRun: false,
    started: started.toISOString(),
    ended: ended.toISOString(),
    seconds: (ended.getTime() - started.getTime()) / 1000,
    versions: versionsOf(versions, report),
  };
}
