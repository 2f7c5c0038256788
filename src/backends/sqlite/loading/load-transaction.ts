/** The one transaction of a load: its write lock, which one process has at a time, its end, and how it is undone. */
import { setTimeout as sleep } from "node:timers/promises";
import { LOCK_INTERVAL, type LockOptions } from "../locks.js";
import type { Database } from "../open.js";

/**
 * Begins a transaction that may write. Signals and timers come in while it waits, as they do not in SQLite's own busy handler.
 * @param before runs before each attempt
 * @throws SQLITE_BUSY of the driver when the time is over; the signal's reason
 */
export async function beginWriting(
  database: Database,
  { seconds, signal, onWait }: LockOptions,
  before: () => void = () => {},
): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  const patience = database.pragma("busy_timeout", { simple: true });
  database.pragma("busy_timeout = 0");
  try {
    for (let told = false; ; told = true) {
      signal?.throwIfAborted();
      try {
        before();
        database.exec("BEGIN IMMEDIATE");
        return;
      } catch (error) {
        const { code } = error as { code?: unknown };
        if (!`${code}`.startsWith("SQLITE_BUSY") || performance.now() >= deadline) throw error;
      }
      if (!told) onWait?.("a lock on the database, which another process writes");
      await sleep(LOCK_INTERVAL, undefined, signal === undefined ? {} : { signal });
    }
  } finally {
    database.pragma(`busy_timeout = ${patience}`);
  }
}

/** Keeps what was written, or with `keep: false` (a dry run) nothing of it. */
export function endWriting(database: Database, { keep }: { readonly keep: boolean }): void {
  database.exec(keep ? "COMMIT" : "ROLLBACK");
}

/** Undoes what a load wrote that was given up. Never throws: closing the database rolls back as well. */
export function rollBack(database: Database): void {
  try {
    if (database.inTransaction) database.exec("ROLLBACK");
  } catch {
    // Closing does it.
  }
}
