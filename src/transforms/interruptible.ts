/** Synchronous work that data or a user's code decides the length of, with an end. */
import { Script } from "node:vm";
import { isMainThread } from "node:worker_threads";

/** Where the script finds the work: it knows no variables but global ones. */
const WORK = Symbol.for("llmspell-storage.work");
const known = (globalThis as { [WORK]?: { work: () => unknown } })[WORK];
const slot = known ?? { work: () => undefined };
// Two copies of the library share it.
if (known === undefined) Object.defineProperty(globalThis, WORK, { value: slot });
const script = new Script('globalThis[Symbol.for("llmspell-storage.work")].work()');

/** The work took too long; or Ctrl-C came, which whoever listens is told after the work. */
export type Ended = "done" | "cut" | "interrupted";

/**
 * Runs `work`, which must not wait for anything. "cut": it was ended after `milliseconds`, wherever it stood, in a loop, a
 * call, or in a regular expression, without its `finally` blocks; what it threw is thrown. `hearsInterrupt`: Ctrl-C ends it
 * as well. Costs about 0.1 ms.
 */
export function runWithin(milliseconds: number, work: () => void, hearsInterrupt = false): Ended {
  const outer = slot.work;
  slot.work = work;
  try {
    script.runInThisContext({ timeout: Math.ceil(milliseconds), breakOnSigint: hearsInterrupt && isMainThread });
    return "done";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return "cut";
    if (code !== "ERR_SCRIPT_EXECUTION_INTERRUPTED") throw error;
    // The process's own listeners did not hear it.
    process.kill(process.pid, "SIGINT");
    return "interrupted";
  } finally {
    slot.work = outer;
  }
}
