/** Which rows refer to those of a table, by the foreign keys of kinds and by those of tables that are no kind's. */
import type { Catalog } from "../../../../catalog/index.js";
import { columnNamed, type TargetTable } from "../../database/target-table.js";
import type { PostgresConnection } from "../../session/connection.js";

/** The tables whose rows `c` may refer to a row `t` of the table, and the query that finds those. */
export function childrenOf(table: TargetTable, catalog: Catalog, tables: ReadonlyMap<string, TargetTable>) {
  return catalog.kinds.flatMap((kind) =>
    kind.foreignKeys
      .filter(({ references }) => references === table.kind.path)
      .map((key) => {
        const child = tables.get(kind.path) as TargetTable;
        const same = key.referencedFields.map(
          (name, at) => `c.${columnNamed(kind, key.fields[at] as string)} = t.${columnNamed(table.kind, name)}`,
        );
        return {
          path: kind.path,
          name: child.name,
          condition: `SELECT FROM ${child.name} c WHERE ${same.join(" AND ")}`,
        };
      }),
  );
}

/** The same of tables that are no kind's: somebody's own that refer to ours. */
export async function otherChildren(
  connection: PostgresConnection,
  table: TargetTable,
  tables: ReadonlyMap<string, TargetTable>,
) {
  const { rows } = await connection.query<{ name: string; pairs: string[] }>(
    `SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
       ARRAY(SELECT pg_catalog.format('c.%I = t.%I', a.attname, b.attname)
         FROM unnest(k.conkey, k.confkey) AS u (own, other)
         JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.own
         JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.other) AS pairs
     FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE k.contype = 'f' AND k.confrelid = $1 AND NOT c.relispartition AND k.conrelid <> ALL ($2::oid[])`,
    [table.oid, [...tables.values()].map(({ oid }) => oid)],
  );
  return rows.map(({ name, pairs }) => ({
    path: undefined,
    name,
    condition: `SELECT FROM ${name} c WHERE ${pairs.join(" AND ")}`,
  }));
}
