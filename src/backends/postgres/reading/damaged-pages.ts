/** Pages of a table that the server cannot read: of their records not even the keys are known. */
import type { RecordKind } from "../../../catalog/index.js";
import { sqlName, tableOf } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { isOfRow } from "../session/errors.js";
import { isOn, type PageRange } from "./select.js";

export interface Pages {
  readonly readable: readonly PageRange[];
  /** One page each, with what the server says of it. */
  readonly damaged: readonly { readonly page: PageRange; readonly error: unknown }[];
}

const LEAVES = `
SELECT format('%I.%I', n.nspname, c.relname) AS table,
       (pg_relation_size(c.oid) / current_setting('block_size')::int8)::float8 AS pages
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (c.oid = to_regclass($1) OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1)) WHERE isleaf))
ORDER BY c.oid`;

/** Goes through the table's pages by halves; indexes and sequential scans must be off. Servers before 14 cannot read a part. */
export async function findDamagedPages(connection: PostgresConnection, kind: RecordKind): Promise<Pages> {
  const readable: PageRange[] = [];
  const damaged: { page: PageRange; error: unknown }[] = [];
  const search = async (range: PageRange): Promise<void> => {
    if (range.from === range.to) return;
    await connection.query("SAVEPOINT llmspell_pages");
    try {
      await connection.query(`SELECT count(*) FROM ONLY ${range.table} WHERE ${isOn(range)}`);
      readable.push(range);
    } catch (error) {
      if (!isOfRow(error)) throw error;
      await connection.query("ROLLBACK TO SAVEPOINT llmspell_pages");
      if (range.to - range.from === 1) damaged.push({ page: range, error });
      else {
        const middle = (range.from + range.to) >> 1;
        await search({ ...range, to: middle });
        await search({ ...range, from: middle });
      }
    }
    await connection.query("RELEASE SAVEPOINT llmspell_pages");
  };
  const { rows } = await connection.query<{ table: string; pages: number }>(LEAVES, [sqlName(tableOf(kind))]);
  for (const { table, pages } of rows) await search({ table, from: 0, to: pages });
  return { readable, damaged };
}
