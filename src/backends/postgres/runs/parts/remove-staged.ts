/** Takes parts out again that wait to be merged, with their large objects but for those that a row of the target has. */
import { quote } from "../../database/table-names.js";
import type { PostgresConnection } from "../../session/connection.js";
import { inTransaction } from "../../session/transaction.js";
import { Ledger, type LedgerTables, type PartRow, type RunRow } from "../ledger/ledger.js";
import { xminOf } from "../ledger/transactions.js";
import type { Stage } from "../merging/stages.js";
import { BATCH, LARGE_OBJECTS } from "./batches.js";
import { LOAD_SETTINGS } from "./load-settings.js";

export async function removeStaged(
  parts: readonly PartRow[],
  { table, name }: Stage,
  { connection, ledger: tables, run }: { connection: PostgresConnection; ledger: LedgerTables; run: RunRow },
): Promise<void> {
  const ledger = new Ledger(connection, tables);
  const { largeObject } = table.kind.postgres;
  for (let at = 0; at < parts.length; at += BATCH) {
    const batch = parts.slice(at, at + BATCH);
    const xmins = [...new Set(batch.map(xminOf))];
    const numbers = batch.map(({ part }) => part);
    const step = (work: () => Promise<number>): Promise<number> =>
      inTransaction(connection, "write", async () => {
        await connection.query(LOAD_SETTINGS);
        await ledger.hold(run);
        return work();
      });
    // Contents go in transactions of their own: a part that is there no more as a whole is none that was loaded.
    for (let more = largeObject !== undefined; more; )
      more =
        (await step(async () => {
          await ledger.spoilParts(run.run, numbers);
          return unlinkSome(connection, table.name, name, quote(largeObject?.oidColumn ?? ""), xmins);
        })) > 0;
    await step(async () => {
      await connection.query(`DELETE FROM ${name} s WHERE s.xmin = ANY ($1::xid[])`, [xmins]);
      await ledger.removeParts(run.run, numbers);
      return 0;
    });
  }
}

/** Deletes some staged records that have large objects, with these. Gives how many. */
async function unlinkSome(
  connection: PostgresConnection,
  table: string,
  stage: string,
  oid: string,
  xmins: readonly string[],
): Promise<number> {
  const { rows } = await connection.query<{ oid: string }>(
    `SELECT s.${oid}::text AS oid FROM ${stage} s WHERE s.${oid} IS NOT NULL AND s.xmin = ANY ($1::xid[]) LIMIT ${LARGE_OBJECTS}`,
    [xmins],
  );
  if (rows.length === 0) return 0;
  const oids = [rows.map((row) => row.oid)];
  await connection.query(
    `SELECT count(pg_catalog.lo_unlink(m.oid)) FROM pg_catalog.pg_largeobject_metadata m
     WHERE m.oid = ANY ($1::oid[]) AND NOT EXISTS (SELECT FROM ${table} t WHERE t.${oid} = m.oid)`,
    oids,
  );
  await connection.query(`DELETE FROM ${stage} s WHERE s.${oid} = ANY ($1::oid[])`, oids);
  return rows.length;
}
