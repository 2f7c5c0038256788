/** Locks of an SQLite database that another process may have. */
import { setTimeout as sleep } from "node:timers/promises";
import { StorageError } from "../../errors.js";
import type { Database } from "./open.js";

/** How often a lock that another process holds is asked for. Milliseconds. */
const INTERVAL = 100;

export interface LockOptions {
  /** How long another process is waited for. Seconds. */
  readonly seconds: number;
  readonly signal?: AbortSignal | undefined;
  /** Told once, when another process has it. */
  readonly onWait?: ((what: string) => void) | undefined;
}

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
      await sleep(INTERVAL, undefined, signal === undefined ? {} : { signal });
    }
  } finally {
    database.pragma(`busy_timeout = ${patience}`);
  }
}

/**
 * Opens a database that another process may have for itself. Signals and timers come in while it waits.
 * @param open is called with a busy timeout of 0 until it throws no E_LOCKED
 * @throws its E_LOCKED when the time is over; the signal's reason
 */
export async function openUnlocked<Opened>(
  open: (timeout: number) => Opened,
  { seconds, signal, onWait }: LockOptions,
): Promise<Opened> {
  const deadline = performance.now() + seconds * 1000;
  for (let told = false; ; told = true) {
    signal?.throwIfAborted();
    try {
      return open(0);
    } catch (error) {
      if (!(error instanceof StorageError && error.code === "E_LOCKED") || performance.now() >= deadline) throw error;
    }
    if (!told) onWait?.("a lock on the database, which another process writes");
    await sleep(INTERVAL, undefined, signal === undefined ? {} : { signal });
  }
}
