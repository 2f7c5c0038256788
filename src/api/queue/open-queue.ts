/** The queue that a run's coordinator and its workers share. */
import type { JobQueue } from "../../backends/postgres/queue/job-queue.js";
import { parseConnectionUrl } from "../../backends/postgres/session/connection-parameters.js";
import type { Config } from "../../config/index.js";
import { StorageError } from "../../errors.js";

export interface QueueChoice {
  /** postgresql://…; may hold a password. */
  readonly url: string;
  /** Names of the stores, as workers have them in their configuration. */
  readonly from: string;
  readonly to: string;
  /** A worker that is not heard of for so long is taken for dead. Seconds, from 10 on; default 10. */
  readonly workerTimeoutSeconds?: number | undefined;
}

export async function openQueue(
  { url, workerTimeoutSeconds }: Pick<QueueChoice, "url" | "workerTimeoutSeconds">,
  role: "coordinator" | "worker",
  {
    config,
    signal,
    onWarning,
  }: { config: Config | undefined; signal: AbortSignal; onWarning: (message: string) => void },
): Promise<JobQueue> {
  if (parseConnectionUrl(url) === undefined)
    throw new StorageError("E_USAGE", "--queue is no PostgreSQL URL", {
      hint: "It has the form postgresql://user@host:5432/database.",
    });
  const { JobQueue } = await import("../../backends/postgres/queue/job-queue.js");
  return JobQueue.open(
    {
      url,
      workerTimeoutSeconds,
      connectionTimeoutSeconds: config?.postgresql.connectionTimeoutSeconds,
      signal,
      onError: (error) => onWarning(`the queue: ${error.message}`),
    },
    role,
  );
}
