/** What one thread of several does at a time. */
import type { Database } from "../open.js";

const turns = new WeakMap<Database, Turn>();

/** Milliseconds after which one that waits looks again. Where whoever had its turn was cut off, the run has failed, and all are. */
const LOOK_AGAIN = 100;

export class Turn {
  private readonly state: Int32Array;

  /** Memory that all of them see. */
  constructor(memory: SharedArrayBuffer) {
    this.state = new Int32Array(memory);
  }

  /** Waits for it. What is done between the two waits for nothing. */
  async take(): Promise<void> {
    while (Atomics.compareExchange(this.state, 0, 0, 1) !== 0)
      await Atomics.waitAsync(this.state, 0, 1, LOOK_AGAIN).value;
  }

  give(): void {
    Atomics.store(this.state, 0, 0);
    Atomics.notify(this.state, 0);
  }
}

/** Connections of the same memory take turns at what takes much of it. */
export function takeTurns(database: Database, memory: SharedArrayBuffer): void {
  turns.set(database, new Turn(memory));
}

export function turnOf(database: Database): Turn | undefined {
  return turns.get(database);
}
