/** Takes out what parts of a run wrote: the rows that still have their transactions' numbers. */
import type { Catalog } from "../../../../catalog/index.js";
import { quote } from "../../database/table-names.js";
import { columnNamed, type TargetTable } from "../../database/target-table.js";
import { deleteRows } from "../../loading/orphans.js";
import { readKeys } from "../../loading/stored-records.js";
import type { PostgresConnection } from "../../session/connection.js";
import { inTransaction } from "../../session/transaction.js";
import { Ledger, type LedgerTables, type PartRow, type RunRow } from "../ledger/ledger.js";
import { LOAD_SETTINGS } from "./part-loader.js";

/** Parts of one transaction: each is a pass over the table. */
const BATCH = 500;
/** Large objects of one transaction: each takes a lock. */
const LARGE_OBJECTS = 500;
/** So many rows that stay are named. */
const NAMED = 3;

export interface RemoveOptions {
  readonly connection: PostgresConnection;
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  readonly catalog: Catalog;
  readonly tables: ReadonlyMap<string, TargetTable>;
  readonly onRemoved?: (section: string, rows: number) => void;
  /** Rows of the parts that are still there, as rows which stay refer to them. */
  readonly onKept?: (section: string, rows: number) => void;
}

/** xmin as the server shows it: the number's lower half. */
export function xminOf({ transaction }: PartRow): string {
  return String(transaction & 0xffffffffn);
}

/**
 * Deletes the rows of the parts, children before parents, with the parts' rows of the ledger. Rows that others have changed
 * since have another xmin, and stay; so do those that rows which stay refer to, but for those of the run's other parts.
 * @param all every part of the run
 */
export async function removeParts(
  parts: readonly PartRow[],
  all: readonly PartRow[],
  { connection, ledger: ledgerTables, run, catalog, tables, onRemoved, onKept }: RemoveOptions,
): Promise<void> {
  const ledger = new Ledger(connection, ledgerTables);
  const own = [...new Set(all.map(xminOf))];
  // Of a kind that is through, what is there of these parts stays.
  const going = new Set(parts.map(xminOf));
  const others = own.filter((xmin) => !going.has(xmin));
  const through = new Set<string>();
  for (const kind of catalog.importOrder.toReversed()) {
    const table = tables.get(kind.path) as TargetTable;
    const wanted = parts.filter(({ section }) => section === kind.path);
    for (let at = 0; at < wanted.length; at += BATCH) {
      const batch = wanted.slice(at, at + BATCH);
      const xmins = [...new Set(batch.map(xminOf))];
      const children = [
        ...childrenOf(table, catalog, tables),
        ...(await inTransaction(connection, "read", () => otherChildren(connection, table, tables))),
      ];
      const free = children
        .map(({ path, condition }) => {
          const list = path !== undefined && through.has(path) ? 3 : 2;
          return ` AND NOT EXISTS (${condition}${path === undefined ? "" : ` AND NOT (c.xmin = ANY ($${list}::xid[]))`})`;
        })
        .join("");
      // All of the parameters are named: the server knows no type of one that is not.
      const where = `t.xmin = ANY ($1::xid[]) AND ($2::xid[] IS NOT NULL AND $3::xid[] IS NOT NULL)${free}`;
      const parameters = [xmins, own, others];
      const hold = async (): Promise<void> => {
        await connection.query(LOAD_SETTINGS);
        await ledger.hold(run);
        // Nobody may come to refer to a row while it is deleted: no foreign key is checked here.
        const locked = [...new Set([table.name, ...children.map(({ name }) => name)])];
        await connection.query(`LOCK TABLE ${locked.join(", ")} IN SHARE ROW EXCLUSIVE MODE`);
      };
      // Contents go in transactions of their own: a part that is there no more as a whole is none that was loaded.
      const numbers = batch.map(({ part }) => part);
      let removed = 0;
      for (let more = table.kind.postgres.largeObject !== undefined; more; ) {
        const count = await inTransaction(connection, "write", async () => {
          await hold();
          await ledger.spoilParts(run.run, numbers);
          return unlinkSome(connection, table, where, parameters);
        });
        removed += count;
        more = count > 0;
      }
      removed += await inTransaction(connection, "write", async () => {
        await hold();
        const { rowCount } = await connection.query(`DELETE FROM ${table.name} t WHERE ${where}`, parameters);
        await ledger.removeParts(run.run, numbers);
        return rowCount ?? 0;
      });
      onRemoved?.(kind.path, removed);
      if (onKept === undefined || BigInt(removed) >= batch.reduce((sum, { records }) => sum + records, 0n)) continue;
      const kept = await inTransaction(connection, "read", async () => {
        await connection.query("SET LOCAL row_security = off");
        const sql = `SELECT count(*) AS count FROM ${table.name} t WHERE t.xmin = ANY ($1::xid[])`;
        return Number((await connection.query<{ count: bigint }>(sql, [xmins])).rows[0]?.count ?? 0n);
      });
      if (kept > 0) onKept(kind.path, kept);
    }
    through.add(kind.path);
  }
}

/** Deletes some rows that have large objects, with these. Gives how many. */
async function unlinkSome(
  connection: PostgresConnection,
  table: TargetTable,
  where: string,
  parameters: readonly unknown[],
): Promise<number> {
  const oid = `t.${quote(table.kind.postgres.largeObject?.oidColumn ?? "")}`;
  const { rows } = await connection.query<{ tab: string; tid: string }>(
    `SELECT t.tableoid::text AS tab, t.ctid::text AS tid FROM ${table.name} t
     WHERE ${oid} IS NOT NULL AND ${where} LIMIT ${LARGE_OBJECTS}`,
    [...parameters],
  );
  if (rows.length > 0) await deleteRows(connection, table, [rows.map(({ tab }) => tab), rows.map(({ tid }) => tid)]);
  return rows.length;
}

/** The tables whose rows `c` may refer to a row `t` of the table, and the query that finds those. */
function childrenOf(table: TargetTable, catalog: Catalog, tables: ReadonlyMap<string, TargetTable>) {
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
async function otherChildren(
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

/** Rows that are still there, a line for each table: others added or changed them. */
export async function linesOfKept(connection: PostgresConnection, tables: readonly TargetTable[]): Promise<string[]> {
  const lines: string[] = [];
  for (const table of tables) {
    const { rows } = await connection.query<{ count: bigint }>(`SELECT count(*) AS count FROM ${table.name}`);
    const count = rows[0]?.count ?? 0n;
    if (count === 0n) continue;
    const keys = await readKeys(connection, table.kind, "t", `FROM ${table.name} t LIMIT ${NAMED}`);
    const more = count > keys.length ? `, and ${count - BigInt(keys.length)} more` : "";
    const which = count === 1n ? "1 record" : `${count} records`;
    lines.push(
      `${table.kind.path}: ${which} of others stay, added, changed or needed by them meanwhile: ${keys.join("; ")}${more}`,
    );
  }
  return lines;
}
