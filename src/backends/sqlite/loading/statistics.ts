/** Statistics for SQLite's query planner, of the tables that a load has filled (https://sqlite.org/lang_analyze.html). */
import { setImmediate as nextTick } from "node:timers/promises";
import { quoted } from "../table.js";
import type { Load } from "./load-session.js";

/** Rows of an index that are looked at, however many it has. */
const ANALYSIS_LIMIT = 400;
/** A table that grew by less than this part keeps the statistics it has. */
const GROWTH = 0.1;

/** `inserted`: how many rows each table got. In the load's transaction, after its indexes are made. */
export async function analyzeTables(load: Load, inserted: ReadonlyMap<string, number>): Promise<void> {
  const { database } = load;
  database.pragma(`analysis_limit = ${ANALYSIS_LIMIT}`);
  for (const [table, rows] of inserted) {
    if (rows === 0 || rows < GROWTH * rowsAnalyzed(load, table)) continue;
    await nextTick();
    load.context.signal.throwIfAborted();
    database.exec(`ANALYZE ${quoted(table)}`);
  }
}

/** The rows of the table when it was last analyzed; 0 when it never was. */
function rowsAnalyzed({ database }: Load, table: string): number {
  if (database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'").get() === undefined) return 0;
  const query = "SELECT max(CAST(stat AS INTEGER)) FROM sqlite_stat1 WHERE tbl = ? COLLATE NOCASE";
  return (database.prepare(query).pluck().get(table) as number | null) ?? 0;
}
