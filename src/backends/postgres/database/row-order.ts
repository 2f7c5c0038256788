/** The order of a kind's key in SQL, and the way through its table by which rows come so. Only the speed differs. */
import { columnOf, type Field, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { quote } from "./table-names.js";

/**
 * "index": along the key's index, which costs a page from anywhere for each row; "sort": the table as it lies, which the server
 * sorts; "table": as it lies.
 */
export type Way = "index" | "sort" | "table";

/** Encodings whose bytes sort as UTF-8's do. */
const SORTS_AS_UTF8: ReadonlySet<string> = new Set(["UTF8", "SQL_ASCII", "LATIN1"]);

/** ORDER BY the key, without the fields of `fixed`: text by its UTF-8 bytes. */
export function orderByKey(kind: RecordKind, serverEncoding: string, fixed: ReadonlySet<string>): string {
  const terms = kind.key
    .filter((name) => !fixed.has(name))
    .map((name) => {
      const field = kind.fields[fieldIndex(kind, name)] as Field;
      const column = quote(columnOf(field));
      if (codecOf(field).postgres.collated !== true) return column;
      return SORTS_AS_UTF8.has(serverEncoding) ? `${column} COLLATE "C"` : `convert_to(${column}, 'UTF8')`;
    });
  return terms.length === 0 ? "" : `ORDER BY ${terms.join(", ")}`;
}
