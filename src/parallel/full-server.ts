/** A server that has no connection left for a thread. */
import { StorageError } from "../errors.js";

/** SQLSTATE: a server, a role or a database has as many connections as it may. */
const TOO_MANY_CONNECTIONS = "53300";
/** What a pooler says of the same (pgbouncer), as a violation of the protocol. */
const POOL_EXHAUSTED =
  /no more connections allowed|query_wait_timeout|max_(client_conn|db_client_connections|user_client_connections)/;

/** Whether a server, or a pool before it, had no connection left; whatever else keeps a thread from connecting is an error. */
export function isFull(error: unknown): boolean {
  if (!(error instanceof StorageError) || error.code !== "E_CONNECT" || !(error.cause instanceof Error)) return false;
  const { code, message } = error.cause as NodeJS.ErrnoException;
  return code === TOO_MANY_CONNECTIONS || (code === "08P01" && POOL_EXHAUSTED.test(message));
}

/** Threads need connections and locks of their own: what says so is to name them. */
export function withJobs(error: unknown, jobs: number): unknown {
  if (error instanceof StorageError && isFull(error))
    error.context.hint ??= `Each of the ${jobs} jobs has a connection of its own, and there is one more: a smaller --jobs needs fewer.`;
  return error;
}
