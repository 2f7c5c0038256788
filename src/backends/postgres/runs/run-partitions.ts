/** Partitions that a run lacks: its coordinator makes them, with their rows of the ledger. */

import type { PartitionMaker } from "../application.js";
import { quote, schemaSql, tableOf } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";
import { inTransaction } from "../session/transaction.js";
import { Ledger, type LedgerTables, type RunRow, type StepRow } from "./ledger/ledger.js";

/** Of the advisory lock that makers of partitions take; the other half is the table. */
const LOCK = 1819503469;

async function partitionsOf(connection: PostgresConnection, { oid }: TargetTable): Promise<Set<string>> {
  const { rows } = await connection.query<{ name: string }>(
    `SELECT c.relname::text AS name FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
     JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relnamespace = c.relnamespace WHERE i.inhparent = $1`,
    [oid],
  );
  return new Set(rows.map(({ name }) => name));
}

/**
 * Makes what the maker has noted. No part may be under way: a partition takes a lock that waits for all of them.
 * `alone`: of several makers one at a time, by a lock of the transaction, so that one that stands still keeps nobody for long.
 */
export async function makePartitions(
  connection: PostgresConnection,
  {
    ledger: tables,
    run,
    table,
    maker,
    alone = false,
  }: { ledger: LedgerTables; run: RunRow; table: TargetTable; maker: PartitionMaker; alone?: boolean },
): Promise<void> {
  const ledger = new Ledger(connection, tables);
  await inTransaction(connection, "write", async () => {
    await connection.query("SET LOCAL client_min_messages = 'warning'");
    if (alone) await connection.query("SELECT pg_catalog.pg_advisory_xact_lock($1, $2)", [LOCK, table.oid | 0]);
    await ledger.hold(run);
    const before = await partitionsOf(connection, table);
    await maker.create();
    for (const name of await partitionsOf(connection, table))
      if (!before.has(name))
        await ledger.addStep(run.run, { what: "partition", section: table.kind.path, name, definition: "" });
  });
}

/** Drops the partitions that the run made and that have no rows. Gives the names of those that stay. */
export async function dropPartitions(
  connection: PostgresConnection,
  steps: readonly StepRow[],
  {
    ledger: ledgerTables,
    run,
    tables,
  }: { ledger: LedgerTables; run: RunRow; tables: ReadonlyMap<string, TargetTable> },
): Promise<string[]> {
  const ledger = new Ledger(connection, ledgerTables);
  const kept: string[] = [];
  for (const { step, what, section, name, done } of steps) {
    const table = tables.get(section);
    if (what !== "partition" || done || table === undefined) continue;
    const partition = `${schemaSql(tableOf(table.kind).schema)}.${quote(name)}`;
    await inTransaction(connection, "write", async () => {
      await ledger.hold(run);
      // Only what is a partition of the table: a ledger may say anything.
      if ((await partitionsOf(connection, table)).has(name)) {
        await connection.query(`LOCK TABLE ${table.name}, ${partition} IN ACCESS EXCLUSIVE MODE`);
        const { rows } = await connection.query<{ filled: boolean }>(
          `SELECT EXISTS (SELECT FROM ${partition}) AS filled`,
        );
        if (rows[0]?.filled === false) await connection.query(`DROP TABLE ${partition}`);
        else kept.push(name);
      }
      await ledger.completeStep(run.run, step);
    });
  }
  return kept;
}
