/** Takes out what parts of a run wrote: the rows that still have their transactions' numbers. */
import type { Catalog } from "../../../../catalog/index.js";
import { quote } from "../../database/table-names.js";
import type { TargetTable } from "../../database/target-table.js";
import { deleteRows } from "../../loading/orphans.js";
import { readKeys } from "../../loading/stored-records.js";
import type { PostgresConnection } from "../../session/connection.js";
import { inTransaction } from "../../session/transaction.js";
import { Ledger, type LedgerTables, type PartRow, type RunRow } from "../ledger/ledger.js";
import { xminOf } from "../ledger/transactions.js";
import { MERGED, type Stage } from "../merging/stages.js";
import { takeBack } from "../merging/take-back.js";
import { BATCH, LARGE_OBJECTS } from "./batches.js";
import { LOAD_SETTINGS } from "./load-settings.js";
import { childrenOf, otherChildren } from "./referring-rows.js";
import { removeStaged } from "./remove-staged.js";

/** So many rows that stay are named. */
const NAMED = 3;

export interface RemoveOptions {
  readonly connection: PostgresConnection;
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  readonly catalog: Catalog;
  readonly tables: ReadonlyMap<string, TargetTable>;
  /** By path, of kinds whose parts wait to be merged. */
  readonly stages: ReadonlyMap<string, Stage>;
  readonly onRemoved?: (section: string, rows: number) => void;
  /** Rows that a merge had changed, and that are as they were before. */
  readonly onRestored?: (section: string, rows: number) => void;
  /** Rows of the parts that are still there, as rows which stay refer to them. */
  readonly onKept?: (section: string, rows: number) => void;
}

/**
 * Deletes the rows of the parts, children before parents, with the parts' rows of the ledger. Rows that others have changed
 * since have another xmin, and stay; so do those that rows which stay refer to, but for those of the run's other parts.
 * @param all every part of the run
 */
export async function removeParts(
  parts: readonly PartRow[],
  all: readonly PartRow[],
  { connection, ledger: ledgerTables, run, catalog, tables, stages, onRemoved, onRestored, onKept }: RemoveOptions,
): Promise<void> {
  const ledger = new Ledger(connection, ledgerTables);
  const own = [...new Set(all.map(xminOf))];
  // Of a kind that is through, what is there of these parts stays.
  const going = new Set(parts.map(xminOf));
  const others = own.filter((xmin) => !going.has(xmin));
  const through = new Set<string>();
  for (const kind of catalog.importOrder.toReversed()) {
    const table = tables.get(kind.path) as TargetTable;
    const stage = stages.get(kind.path);
    const [merges, wanted] = [true, false].map((isMerge) =>
      parts.filter(({ section, digest }) => section === kind.path && (digest === MERGED) === isMerge),
    ) as [PartRow[], PartRow[]];
    if (merges.length === 0 && wanted.length === 0) {
      through.add(kind.path);
      continue;
    }
    const children = [
      ...childrenOf(table, catalog, tables),
      ...(await inTransaction(connection, "read", () => otherChildren(connection, table, tables))),
    ];
    // All of the parameters are named: the server knows no type of one that is not.
    const free = children
      .map(({ path, condition }) => {
        const list = path !== undefined && through.has(path) ? 3 : 2;
        return ` AND NOT EXISTS (${condition}${path === undefined ? "" : ` AND NOT (c.xmin = ANY ($${list}::xid[]))`})`;
      })
      .join("");
    const where = `t.xmin = ANY ($1::xid[]) AND ($2::xid[] IS NOT NULL AND $3::xid[] IS NOT NULL)${free}`;
    const hold = async (): Promise<void> => {
      await connection.query(LOAD_SETTINGS);
      await ledger.hold(run);
      // Nobody may come to refer to a row while it is deleted: no foreign key is checked here.
      const locked = [...new Set([table.name, ...children.map(({ name }) => name)])];
      await connection.query(`LOCK TABLE ${locked.join(", ")} IN SHARE ROW EXCLUSIVE MODE`);
    };
    for (const merge of stage === undefined ? [] : merges) {
      const { removed, restored } = await inTransaction(connection, "write", async () => {
        await hold();
        const parameters = [[xminOf(merge)], own, others];
        return takeBack(merge, stage as Stage, { connection, ledger: ledgerTables, run, where, parameters });
      });
      onRemoved?.(kind.path, removed);
      if (restored > 0) onRestored?.(kind.path, restored);
    }
    if (stage !== undefined) {
      await removeStaged(wanted, stage, { connection, ledger: ledgerTables, run });
      through.add(kind.path);
      continue;
    }
    for (let at = 0; at < wanted.length; at += BATCH) {
      const batch = wanted.slice(at, at + BATCH);
      const xmins = [...new Set(batch.map(xminOf))];
      const parameters = [xmins, own, others];
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
