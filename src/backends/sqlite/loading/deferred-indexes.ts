/**
 * Indexes of tables that are empty before the load: dropped, and made again when all rows are there, in the same
 * transaction. Sorting all keys once is faster than finding each its place. Those that keep records apart (UNIQUE) stay.
 */
import { columnOf, type RecordKind } from "../../../catalog/index.js";
import type { Database } from "../open.js";
import { mainTable, quoted } from "../table.js";

export interface DeferredIndexes {
  /** Whether values decide if they can be made: json_extract refuses some texts, and the record has to be named. */
  readonly extractsJson: boolean;
  readonly sql: readonly string[];
}

/** The whole definition of an index on one json_extract: the column is its first group. */
const JSON_EXTRACT = /^CREATE INDEX [^(]*\(\s*json_extract\((\w+),\s*'[^'()]*'\)\s*\)\s*$/i;
/** One whose making cannot fail for a value: columns only, no function in its condition; -> and ->> are functions of JSON. */
const PLAIN = /^CREATE INDEX (?!.*->)[^(]*\([^()]*\)[^()]*$/is;

export interface DeferrableIndex {
  readonly name: string;
  readonly definition: string;
  readonly extractsJson: boolean;
}

/** The indexes that a load of the kind's table may do without, where it has no rows. Reads only. */
export function deferrableIndexes(database: Database, kind: RecordKind): readonly DeferrableIndex[] {
  const json = new Set(kind.fields.filter(({ type }) => type === "json").map(columnOf));
  const rows = database
    .prepare(
      `SELECT m.name, m.sql FROM pragma_index_list(?) AS l JOIN sqlite_master AS m ON m.type = 'index' AND m.name = l.name
       WHERE l.origin = 'c' AND l."unique" = 0 ORDER BY m.rowid`,
    )
    .raw()
    .all(mainTable(kind)) as [string, string][];
  return rows.flatMap(([name, definition]) => {
    const extracted = JSON_EXTRACT.exec(definition)?.[1];
    if (extracted === undefined ? !PLAIN.test(definition) : !json.has(extracted)) return [];
    return [{ name, definition, extractsJson: extracted !== undefined }];
  });
}

/** Drops the indexes of the kind's table, which has no rows. */
export function deferIndexes(database: Database, kind: RecordKind): DeferredIndexes {
  const dropped = deferrableIndexes(database, kind).filter(({ name, definition }) => drop(database, name, definition));
  return {
    extractsJson: dropped.some(({ extractsJson }) => extractsJson),
    sql: dropped.map(({ definition }) => definition),
  };
}

/** Drops the index if it can be made again: SQLite reads definitions of the file that it takes from nobody else. */
function drop(database: Database, name: string, definition: string): boolean {
  database.exec("SAVEPOINT llmspell_load_drop");
  try {
    database.exec(`DROP INDEX ${quoted(name)}`);
    database.exec(definition);
    database.exec(`DROP INDEX ${quoted(name)}`);
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code !== "SQLITE_ERROR") throw error;
    database.exec("ROLLBACK TO llmspell_load_drop");
    return false;
  } finally {
    if (database.inTransaction) database.exec("RELEASE llmspell_load_drop");
  }
}
