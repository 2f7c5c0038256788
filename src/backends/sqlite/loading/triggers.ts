/** Triggers that must not fire on what we do: dropped, and made again in the same transaction. */
import type { Database } from "../open.js";
import { quoted } from "../table.js";

interface Trigger {
  readonly name: string;
  readonly sql: string;
}

/** The triggers of the tables, in the order in which they were made. */
export function triggersOf(database: Database, tables: Iterable<string>): readonly Trigger[] {
  const names = new Set([...tables].map((table) => table.toLowerCase()));
  const rows = database
    .prepare("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid")
    .raw()
    .all() as [string, string, string][];
  return rows.filter(([, table]) => names.has(table.toLowerCase())).map(([name, , sql]) => ({ name, sql }));
}

/** Drops the triggers of the tables; gives the statements that make them again, in order. */
export function dropTriggers(database: Database, tables: Iterable<string>): string[] {
  const theirs = triggersOf(database, tables);
  for (const { name } of theirs) database.exec(`DROP TRIGGER ${quoted(name)}`);
  return theirs.map(({ sql }) => sql);
}
