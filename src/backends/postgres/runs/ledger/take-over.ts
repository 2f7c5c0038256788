/** Taking a run over, whoever had it: nothing of an earlier epoch commits afterwards. */
import { setTimeout as sleep } from "node:timers/promises";
import { StorageError } from "../../../../errors.js";
import type { PostgresConnection } from "../../session/connection.js";
import { postgresCause } from "../../session/errors.js";
import { inTransaction } from "../../session/transaction.js";
import { Ledger, type LedgerTables, type RunRow, type RunState } from "./ledger.js";

/** A part that is under way may come to its end; a session whose client is gone never would. */
const ATTEMPTS = 10;
const PAUSE_MILLISECONDS = 300;

/** Raises the run's epoch. Sessions that still load parts of it after some seconds are ended. E_LOCKED, E_RUN_TAKEN */
export async function takeOver(
  connection: PostgresConnection,
  tables: LedgerTables,
  { run }: Pick<RunRow, "run">,
  state: RunState,
): Promise<RunRow> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await inTransaction(connection, "write", async () => {
        await connection.query("SET LOCAL lock_timeout = '3s'");
        return new Ledger(connection, tables).raise(run, state);
      });
    } catch (error) {
      if (postgresCause(error)?.sqlState !== "55P03") throw error;
      if (attempt === ATTEMPTS)
        throw new StorageError("E_LOCKED", `another session still loads a part of the run ${run}`, {
          hint: "End it (pg_terminate_backend), and try again.",
        });
      await endLoaders(connection, tables);
      await sleep(PAUSE_MILLISECONDS);
    }
  }
}

/** Only who has a part of the run at hand holds its row, or writes to the table of parts. */
async function endLoaders(connection: PostgresConnection, { runs, parts }: LedgerTables): Promise<void> {
  await inTransaction(connection, "read", async () => {
    await connection.query(
      `SELECT pg_catalog.pg_terminate_backend(l.pid) FROM pg_catalog.pg_locks l
       WHERE l.locktype = 'relation' AND l.relation IN (pg_catalog.to_regclass($1), pg_catalog.to_regclass($2)) AND l.granted
         AND l.mode IN ('RowExclusiveLock', 'RowShareLock') AND l.pid <> pg_catalog.pg_backend_pid()
         AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())`,
      [parts, runs],
    );
  }).catch(() => {});
}
