/** Whether an import is a run over several connections (load-run.ts), which most are not. */
import { StorageError } from "../../errors.js";
import type { ImportOptions } from "../options.js";

/** Whether the options ask for a run. E_USAGE for a number of jobs that is none. */
export function isRun({ jobs, resume }: ImportOptions): boolean {
  if (jobs !== undefined && !(Number.isSafeInteger(jobs) && jobs > 0))
    throw new StorageError("E_USAGE", "the number of jobs is no positive integer");
  return resume === true || (jobs ?? 1) > 1;
}
