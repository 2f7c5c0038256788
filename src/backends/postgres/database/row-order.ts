/** The order of a kind's key in SQL, and the way through its table by which rows come so. Only the speed differs. */
import { columnOf, type Field, fieldIndex, type RecordKind, tenantFieldOf } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import type { PostgresConnection } from "../session/connection.js";
import { quote, tableOf } from "./table-names.js";

/**
 * "index": along the key's index, which costs a page from anywhere for each row; "sort": the table as it lies, which the server
 * sorts; "table": as it lies.
 */
export type Way = "index" | "sort" | "table";

/** From here on rows that follow one another in the index lie beside one another in the table (pg_stats). */
const CLUSTERED = 0.9;
/** A sort keeps the table's records in the server's temporary files, and merges them. */
const TEMPORARY_TIMES = 2;

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

const STATE = `
SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('effective_cache_size'))::float8 AS cache,
       (SELECT setting::float8 * 1024 FROM pg_catalog.pg_settings WHERE name = 'temp_file_limit') AS temporary,
       (SELECT min(abs(s.correlation))::float8
        FROM pg_catalog.pg_stats s, to_regclass(quote_ident($1) || '.' || quote_ident($2)) named
        WHERE s.attname = $3 AND (s.schemaname, s.tablename) IN (
          SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = named OR c.oid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(named) p WHERE p.isleaf))) AS correlation`;

/**
 * Whether the server is to sort the table, of so many bytes: larger than its caches, not written in the order of the key as far as
 * its statistics know, and with room for the sort as far as `temp_file_limit` tells.
 */
export async function isSortFaster(connection: PostgresConnection, kind: RecordKind, bytes: number): Promise<boolean> {
  const { schema, table } = tableOf(kind);
  const tenant = tenantFieldOf(kind)?.name;
  const name = kind.key.find((each) => each !== tenant) ?? kind.key[0];
  if (name === undefined) return false;
  const { rows } = await connection.query<{ cache: number; temporary: number; correlation: number | null }>(STATE, [
    schema,
    table,
    columnOf(kind.fields[fieldIndex(kind, name)] as Field),
  ]);
  const [state] = rows;
  if (state === undefined || state.correlation === null || bytes <= state.cache) return false;
  if (state.temporary >= 0 && state.temporary < TEMPORARY_TIMES * bytes) return false;
  return state.correlation < CLUSTERED;
}
