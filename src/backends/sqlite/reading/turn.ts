/** What one thread of several does at a time. */
import type { Database } from "../open.js";

const turns = new WeakMap<Database, Turn>();

/** Milliseconds after which one that waits looks again: whoever had its turn may have been cut off, and its run with it. */
const LOOK_AGAIN = 100;

export class Turn {
  private readonly state: Int32Array;

  /** Memory that all of them see; an abort ends the wait. */
  constructor(
    memory: SharedArrayBuffer,
    private readonly signal: AbortSignal,
  ) {
    this.state = new Int32Array(memory);
  }

  /** Waits for it; the signal's reason. What is done between the two waits for nothing. */
  async take(): Promise<void> {
    while (Atomics.compareExchange(this.state, 0, 0, 1) !== 0) {
      this.signal.throwIfAborted();
      await Atomics.waitAsync(this.state, 0, 1, LOOK_AGAIN).value;
    }
  }

  give(): void {
    Atomics.store(this.state, 0, 0);
    Atomics.notify(this.state, 0);
  }
}

/** Connections of the same memory take turns at what takes much of it. */
export function takeTurns(database: Database, memory: SharedArrayBuffer, signal: AbortSignal): void {
  turns.set(database, new Turn(memory, signal));
}

export function turnOf(database: Database): Turn | undefined {
  return turns.get(database);
}
