/** Takes a merge back: rows that it brought go, rows that it changed are given back; what others have changed since stays, and is named. */
import { columnNamed, loadColumns, type TargetTable } from "../../database/target-table.js";
import { isRecordError } from "../../loading/load-transaction.js";
import { readKeys } from "../../loading/stored-records.js";
import type { PostgresConnection } from "../../session/connection.js";
import { Ledger, type LedgerTables, type PartRow, type RunRow } from "../ledger/ledger.js";
import { xminOf } from "../ledger/transactions.js";
import { type Stage, sameKey, stagedDefinition } from "./stages.js";

/** What is given back one by one, at a time. */
const PAGE = 500;
/** So many records that stay are named. */
const NAMED = 3;

export interface TakeBackOptions {
  readonly connection: PostgresConnection;
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  /** The condition that a row `t` is the merge's, and referred to by no row that stays; and its parameters. */
  readonly where: string;
  readonly parameters: readonly unknown[];
}

export interface TakenBack {
  readonly removed: number;
  readonly restored: number;
}

/** To be called in a transaction that holds the run and the tables. */
export async function takeBack(
  merge: PartRow,
  { table, name, replaced, step }: Stage,
  { connection, ledger: ledgerTables, run, where, parameters }: TakeBackOptions,
): Promise<TakenBack> {
  const ledger = new Ledger(connection, ledgerTables);
  const xmin = xminOf(merge);
  const own = `t.xmin = '${xmin}'::xid`;
  const kept: string[] = [];
  // Rows of the run's keys that others have written since: their transactions are younger.
  const staged = table.kind.key.map((field) => columnNamed(table.kind, field));
  const isStaged = `EXISTS (SELECT FROM ${name} s WHERE ${staged.map((column) => `s.${column} = t.${column}`).join(" AND ")})`;
  const isChanged = `EXISTS (SELECT FROM ${replaced} r WHERE ${sameKey(table, "r")})`;
  kept.push(
    ...(await linesOf(
      connection,
      table,
      `(${isStaged} OR ${isChanged}) AND NOT (${own}) AND pg_catalog.age(t.xmin) < pg_catalog.age('${xmin}'::xid)
       AND t.xmin::text::int8 > 2`,
      ", changed by others meanwhile,",
    )),
  );
  await connection.query(
    `CREATE INDEX ON ${replaced} (${table.kind.key.map((_, at) => `llmspell_key_${at}`).join(", ")})`,
  );
  const { rowCount: removed } = await connection.query(
    `DELETE FROM ${table.name} t WHERE ${where} AND NOT ${isChanged}`,
    [...parameters],
  );
  kept.push(...(await linesOf(connection, table, `${own} AND NOT ${isChanged}`, ", needed by those of others,")));
  const restored = await restore(connection, table, replaced, own);
  kept.push(
    ...(await linesOf(connection, table, `${own} AND ${isChanged}`, ", whose keys of before others have by now,")),
  );
  await connection.query(`DELETE FROM ${replaced}`);
  await ledger.removeParts(run.run, [merge.part]);
  await ledger.redefineStep(run.run, { step, definition: stagedDefinition({ kept }), done: false });
  return { removed: removed ?? 0, restored };
}

async function linesOf(
  connection: PostgresConnection,
  table: TargetTable,
  where: string,
  why: string,
): Promise<string[]> {
  const from = `FROM ${table.name} t WHERE ${where}`;
  const { rows } = await connection.query<{ count: bigint }>(`SELECT count(*) AS count ${from}`);
  const count = rows[0]?.count ?? 0n;
  if (count === 0n) return [];
  const keys = await readKeys(connection, table.kind, "t", `${from} LIMIT ${NAMED}`);
  const more = count > keys.length ? `, and ${count - BigInt(keys.length)} more` : "";
  return [
    `${table.kind.path}: ${count === 1n ? `1 record${why} stays` : `${count} records${why} stay`}: ${keys.join("; ")}${more}`,
  ];
}

/**
 * Gives rows back what they had. Where a unique index refuses it, one by one and again, as long as some can: the row that has the key
 * may be one of them.
 */
async function restore(
  connection: PostgresConnection,
  table: TargetTable,
  replaced: string,
  own: string,
): Promise<number> {
  const columns = loadColumns(table.kind);
  const sets = columns.map((column) => `${column} = r.${column}`).join(", ");
  const update = (only: string): string =>
    `UPDATE ${table.name} t SET ${sets} FROM ${replaced} r WHERE ${sameKey(table, "r")} AND ${own} ${only}`;
  const attempt = async (sql: string, values: readonly unknown[] = []): Promise<number | undefined> => {
    await connection.query("SAVEPOINT restore");
    try {
      const { rowCount } = await connection.query(sql, [...values]);
      await connection.query("RELEASE SAVEPOINT restore");
      return rowCount ?? 0;
    } catch (error) {
      if (!isRecordError(error)) throw error;
      await connection.query("ROLLBACK TO SAVEPOINT restore; RELEASE SAVEPOINT restore");
      return undefined;
    }
  };
  const all = await attempt(update(""));
  if (all !== undefined) return all;
  let restored = 0;
  for (let before = -1; before !== restored; ) {
    before = restored;
    for (let last = "(0,0)"; ; ) {
      const { rows } = await connection.query<{ place: string }>(
        `SELECT r.ctid::text AS place FROM ${replaced} r JOIN ${table.name} t ON ${sameKey(table, "r")} AND ${own}
         WHERE r.ctid > $1::tid ORDER BY r.ctid LIMIT ${PAGE}`,
        [last],
      );
      if (rows.length === 0) break;
      for (const { place } of rows) restored += (await attempt(update("AND r.ctid = $1::tid"), [place])) ?? 0;
      last = rows[rows.length - 1]?.place as string;
    }
  }
  return restored;
}
