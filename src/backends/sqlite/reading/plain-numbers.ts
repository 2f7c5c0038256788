/**
 * Whether a kind's INTEGERs may come as Numbers, which cost the driver, and who reads them, a fraction of what BigInts do. A REAL
 * must not pass for an INTEGER: a column of these affinities holds none that is a whole number, for SQLite makes it an INTEGER
 * (https://sqlite.org/datatype3.html, "Type Affinity"). What is no safe integer is read again by its rowid, so rowids are to be safe.
 */
import { columnOf, exactColumnOf, type RecordKind, storedFields } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import type { Database } from "../open.js";
import { mainTable } from "../table.js";
import { rowidEnds } from "./row-check.js";

/** `present`: the columns of the kind's main table. */
export function hasPlainNumbers(
  database: Database,
  kind: RecordKind,
  rowid: string,
  present: ReadonlySet<string>,
): boolean {
  const table = mainTable(kind);
  const types = new Map(
    database.prepare("SELECT name, type FROM pragma_table_info(?)").raw().all(table) as [string, string][],
  );
  for (const field of storedFields(kind, "sqlite")) {
    const codec = codecOf(field);
    if (codec.fromInteger === undefined || field.constant !== undefined) continue;
    const columns = codec.sqlite === "time" ? [columnOf(field), exactColumnOf(field)] : [columnOf(field)];
    for (const column of columns) if (present.has(column) && !keepsIntegers(types.get(column) ?? "")) return false;
  }
  const [least, greatest] = rowidEnds(database, table, rowid);
  return Number.isSafeInteger(least) && Number.isSafeInteger(greatest);
}

/** Whether the declared type gives the affinity INTEGER or NUMERIC; ANY of a STRICT table gives none (sqlite.org/stricttables.html). */
function keepsIntegers(type: string): boolean {
  if (/INT/i.test(type)) return true;
  return !/^(ANY)?$|CHAR|CLOB|TEXT|BLOB|REAL|FLOA|DOUB/i.test(type);
}
