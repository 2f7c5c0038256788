/**
 * One snapshot for several connections of this process. SQLite has no way to hand one over; but who commits changes
 * `PRAGMA data_version` of every other connection. So a connection that has no transaction asks for it before the others begin
 * and when all have read a page: when it is the same, nobody has committed in between, and all read the same.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { StorageError } from "../../errors.js";
import type { Beside } from "./beside.js";
import { fromSqliteError } from "./errors.js";
import { LOCK_INTERVAL } from "./locks.js";
import { type Database, openSqliteForReading } from "./open.js";

const ATTEMPTS = 10;

export interface Sharing {
  readonly path: string;
  /** In a read transaction. */
  readonly database: Database;
  /** Gives the transaction up, begins another, and reads in it. */
  readonly beginAnew: () => void;
  /** Closes the others, where they are open, and opens them: each begins its transaction and reads. */
  readonly openOthers: (beside: Beside) => Promise<void>;
  /** How long another process's lock is waited for. Seconds. */
  readonly lockTimeoutSeconds: number;
  readonly signal: AbortSignal;
}

/** E_LOCKED where somebody commits each time. */
export async function shareSnapshot(sharing: Sharing): Promise<void> {
  const { path, database, beginAnew, openOthers, lockTimeoutSeconds, signal } = sharing;
  // The one behind immutable.ts is another driver: nothing changes the file.
  const beside: Beside = { immutable: !("unsafeMode" in database), turn: new SharedArrayBuffer(4) };
  if (beside.immutable) return openOthers(beside);
  const deadline = performance.now() + lockTimeoutSeconds * 1000;
  const probe = openSqliteForReading(path, undefined, beside);
  const version = (): unknown => probe.pragma("data_version", { simple: true });
  try {
    for (let changes = 0; changes < ATTEMPTS; ) {
      signal.throwIfAborted();
      try {
        const before = version();
        beginAnew();
        await openOthers(beside);
        if (version() === before) return;
        changes++;
      } catch (error) {
        if (signal.aborted) throw error;
        const failure = fromSqliteError(error);
        if (failure.code !== "E_LOCKED" || performance.now() >= deadline) throw failure;
      }
      await sleep(LOCK_INTERVAL, undefined, { signal });
    }
    throw restless(path);
  } finally {
    probe.close();
  }
}

function restless(path: string): StorageError {
  return new StorageError("E_LOCKED", `${path} changes all the time: no two connections see the same records`, {
    hint: "Stop what writes it, or go without --jobs: one connection reads one snapshot, whatever is written meanwhile.",
  });
}
