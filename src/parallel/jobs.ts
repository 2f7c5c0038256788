/** `jobs`: whether a run's records are read by several threads. */
import { availableParallelism } from "node:os";
import { StorageError } from "../errors.js";
import type { AnyLocation, Backend, SourceOptions } from "../stores/index.js";
import type { RecordThreads } from "../transforms/record-threads.js";

export interface JobsOptions {
  /** Default 1. */
  readonly jobs?: number | "auto" | undefined;
  /** One line for `--verbose`. */
  readonly onInfo?: ((message: string) => void) | undefined;
  /** The form of embeddings in the document. */
  readonly vectors?: "base64" | "json" | undefined;
  /** A program's own: no other thread can have them. */
  readonly backends?: readonly Backend[] | undefined;
}

/** More would not have the memory that they need. */
const MOST_JOBS = 256;

/** How many. E_USAGE. */
export function jobsOf(jobs: number | "auto" = 1): number {
  if (jobs === "auto") return availableParallelism();
  if (Number.isSafeInteger(jobs) && jobs > 0 && jobs <= MOST_JOBS) return jobs;
  throw new StorageError("E_USAGE", `jobs is a number from 1 to ${MOST_JOBS}, or auto`);
}

/**
 * The threads that read the store; undefined for one job, which is none. E_USAGE.
 * @param from undefined: a source of a program's own
 * @param source what the run's own source is made with
 */
export async function threadsFor(
  from: AnyLocation | undefined,
  source: SourceOptions,
  { jobs: wanted, onInfo, vectors = "base64", backends }: JobsOptions,
): Promise<RecordThreads | undefined> {
  const jobs = jobsOf(wanted);
  if (jobs === 1) return undefined;
  if (from === undefined || backends !== undefined) {
    onInfo?.(`One job: the ${from === undefined ? "source is" : "backends are"} a program's own`);
    return undefined;
  }
  const { createRecordThreads } = await import("./record-threads.js");
  return createRecordThreads({ jobs, isAsked: wanted !== "auto", location: from, source, vectors, onInfo });
}
