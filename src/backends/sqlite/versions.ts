/** What a database is run by, for results and reports. */
import type { Database } from "./open.js";

/** By name: SQLite and, where it was loaded, sqlite-vec. */
export function readVersions(database: Database): Readonly<Record<string, string>> {
  const one = (sql: string): string => database.prepare(sql).pluck().get() as string;
  const versions = { SQLite: one("SELECT sqlite_version()") };
  const loaded = database.prepare("SELECT 1 FROM pragma_function_list WHERE name = 'vec_version'").get();
  return loaded === undefined ? versions : { ...versions, "sqlite-vec": one("SELECT vec_version()") };
}
