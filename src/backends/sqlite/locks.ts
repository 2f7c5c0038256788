/** Locks of an SQLite database that another process may have. */
import { setTimeout as sleep } from "node:timers/promises";
import { StorageError } from "../../errors.js";

/** How often a lock that another process holds is asked for. Milliseconds. */
export const LOCK_INTERVAL = 100;

export interface LockOptions {
  /** How long another process is waited for. Seconds. */
  readonly seconds: number;
  readonly signal?: AbortSignal | undefined;
  /** Told once, when another process has it. */
  readonly onWait?: ((what: string) => void) | undefined;
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
    await sleep(LOCK_INTERVAL, undefined, signal === undefined ? {} : { signal });
  }
}
