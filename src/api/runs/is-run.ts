/** Whether an import is a run over several connections (load-run.ts), which most are not. */
import { StorageError } from "../../errors.js";
import { jobsOf } from "../../parallel/jobs.js";
import { type AnyLocation, type Backend, databaseOf } from "../../stores/index.js";
import type { ImportOptions } from "../options.js";

/** Whether the options ask for a run: several jobs do, of a target that is loaded over several connections. E_USAGE for a number of jobs that is none. */
export function isRun(
  { jobs, resume, verifyParts, indexJobs }: ImportOptions,
  to?: AnyLocation,
  list?: readonly Backend[],
): boolean {
  if (indexJobs !== undefined && !(Number.isSafeInteger(indexJobs) && indexJobs > 0))
    throw new StorageError("E_USAGE", "the number of index jobs is no positive integer");
  if (jobs !== undefined && jobs !== "auto" && !(Number.isSafeInteger(jobs) && jobs > 0))
    throw new StorageError("E_USAGE", "the number of jobs is no positive integer");
  if (resume === true) return true;
  if (jobsOf(jobs) > 1 && to !== undefined && databaseOf(to, list)?.runs !== undefined) return true;
  const given = verifyParts === true ? "--verify-parts (verifyParts)" : indexJobs && "--index-jobs (indexJobs)";
  if (given)
    throw new StorageError("E_USAGE", `${given} is of loads over several connections`, {
      hint: "Give --jobs (jobs), too: 2 or more, and a PostgreSQL server as the target.",
    });
  return false;
}
