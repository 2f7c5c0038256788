/** Synchronous work that data or a user's code decides the length of, with an end. */
import { Script } from "node:vm";

/** Where the script finds the work: it knows no variables but global ones. */
const WORK = Symbol.for("llmspell-storage.work");
const known = (globalThis as { [WORK]?: { work: () => unknown } })[WORK];
const slot = known ?? { work: () => undefined };
// Two copies of the library share it.
if (known === undefined) Object.defineProperty(globalThis, WORK, { value: slot });
const script = new Script('globalThis[Symbol.for("llmspell-storage.work")].work()');

/**
 * Runs `work`, which must not wait for anything. False: it was cut off after `milliseconds`, wherever it stood, in a loop, a
 * call, or in a regular expression, without its `finally` blocks; what it threw is thrown. Costs about 0.1 ms.
 */
export function runWithin(milliseconds: number, work: () => void): boolean {
  const outer = slot.work;
  slot.work = work;
  try {
    script.runInThisContext({ timeout: milliseconds });
    return true;
  } catch (error) {
    if (error instanceof Error && (error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT")
      return false;
    throw error;
  } finally {
    slot.work = outer;
  }
}
