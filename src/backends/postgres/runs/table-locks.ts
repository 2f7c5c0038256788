/** The locks that a run will need, tried before it writes anything: a table that somebody has locked refuses it then, and not in its middle. */
import { located } from "../../../codecs/index.js";
import { sqlName, tableOf } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";

const LOCK_NOT_AVAILABLE = "55P03";

/**
 * Waits for each table as a load waits for it, no longer than the transaction waits for locks, and lets it go again. Whether indexes of a
 * table are dropped, which takes more, only its number of records tells.
 * @throws {StorageError} E_LOCKED
 */
export async function requireUnlocked(connection: PostgresConnection, tables: readonly TargetTable[]): Promise<void> {
  const lock = (some: readonly TargetTable[], wait: string): string =>
    `LOCK TABLE ${some.map(({ kind }) => sqlName(tableOf(kind))).join(", ")} IN ROW EXCLUSIVE MODE${wait}`;
  if (tables.length === 0) return;
  const [save, undo] = ["SAVEPOINT llmspell_locks", "ROLLBACK TO SAVEPOINT llmspell_locks"];
  try {
    // Nearly always all of them are free.
    await connection.query(`${save}; ${lock(tables, " NOWAIT")}; ${undo}`);
    return;
  } catch (error) {
    if (postgresCause(error)?.sqlState !== LOCK_NOT_AVAILABLE) throw error;
    await connection.query(undo);
  }
  for (const table of tables) {
    const section = table.kind.path;
    await connection.query(`${save}; ${lock([table], "")}; ${undo}`).catch((error) => {
      throw located(error, { section });
    });
  }
}
