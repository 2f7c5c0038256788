/** What a run's coordinator tells of it: the records have not come by here. */
import { catalog } from "../../llmspell/catalog/index.js";
import type { SinkReport } from "../../sinks/sink.js";
import type { Source, StoreHeader } from "../../sources/source.js";
import type { KindResult, TransferResult } from "../results.js";
import { versionsOf } from "../run.js";

export function resultOf(
  { versions, exportedAt: _time, catalog: _catalog, ...header }: StoreHeader,
  report: SinkReport,
  { source, to, started }: { source: Source; to: string; started: Date },
): TransferResult {
  const none = { updated: 0, unchanged: 0, skipped: 0, rejected: 0, cascaded: 0, valueBytes: 0 };
  const kinds: KindResult[] = [];
  const totals = { ...none, read: 0, inserted: 0, dropped: 0 };
  for (const { path, label } of catalog.kinds) {
    const counts = report.counts.get(path);
    if (counts === undefined) continue;
    const { inserted, dropped } = counts;
    kinds.push({ path, label, ...none, read: inserted + dropped, inserted, dropped });
    totals.read += inserted + dropped;
    totals.inserted += inserted;
    totals.dropped += dropped;
  }
  const ended = new Date();
  return {
    source: source.name,
    target: to,
    header,
    kinds,
    totals,
    notes: report.notes,
    leftOut: [],
    dryRun: false,
    started: started.toISOString(),
    ended: ended.toISOString(),
    seconds: (ended.getTime() - started.getTime()) / 1000,
    versions: versionsOf(versions, report),
  };
}
