/** Memory that a thread and the coordinator see, in slots: one is whose turn it is, and so a thread that is ahead stops when it has none. */

/** Bytes of a slot. Text is cut anywhere. */
export const SLOT_BYTES = 1048576;
/** Of a thread: what it may be ahead of its turn. */
export const SLOTS = 8;

/** The memory of each slot. */
export function slotsOf(memory: SharedArrayBuffer): readonly Buffer[] {
  return Array.from({ length: SLOTS }, (_, slot) => Buffer.from(memory, slot * SLOT_BYTES, SLOT_BYTES));
}

/** Slots that are the thread's at the moment, by number. */
export class Slots {
  readonly memory: readonly Buffer[];
  private readonly free: number[];
  private wake: () => void = () => {};

  constructor(
    memory: SharedArrayBuffer,
    private readonly signal: AbortSignal,
  ) {
    this.memory = slotsOf(memory);
    this.free = [...this.memory.keys()];
    signal.addEventListener("abort", () => this.wake());
  }

  giveBack(slot: number): void {
    this.free.push(slot);
    this.wake();
  }

  /** Waits until there is one. */
  async take(): Promise<number> {
    for (;;) {
      this.signal.throwIfAborted();
      const slot = this.free.pop();
      if (slot !== undefined) return slot;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }
}
