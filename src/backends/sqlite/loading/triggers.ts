/** Triggers that must not fire on what we do: dropped, and made again in the same transaction. */
import type { Database } from "../open.js";
import { quoted } from "../table.js";

/** Drops the triggers of the tables; gives the statements that make them again, in order. */
export function dropTriggers(database: Database, tables: Iterable<string>): string[] {
  const names = new Set([...tables].map((table) => table.toLowerCase()));
  const rows = database
    .prepare("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid")
    .raw()
    .all() as [string, string, string][];
  const theirs = rows.filter(([, table]) => names.has(table.toLowerCase()));
  for (const [name] of theirs) database.exec(`DROP TRIGGER ${quoted(name)}`);
  return theirs.map(([, , sql]) => sql);
}
