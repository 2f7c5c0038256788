/** What a session that is busy waits for, and how far its index build is: asked from a second session. */
import type { PostgresConnection, PostgresConnector } from "./connection.js";

/** What was seen of the session; neither where it just works. */
export interface Sighting {
  readonly waiting?: string;
  /** Of the index that it builds, from 0 to 1. */
  readonly fraction?: number;
}

export interface WatchOptions {
  readonly connection: PostgresConnection;
  /** Opens the second session, when a statement first takes long. */
  readonly connect: PostgresConnector;
  readonly tell: (sighting: Sighting) => void;
}

const INTERVAL_MILLISECONDS = 1000;
/** Shorter statements are not looked at. */
const PATIENCE_MILLISECONDS = 2000;

/**
 * An index build's blocks are those of its scan, its tuples those of what comes behind it: half of a B-tree, which says that it
 * is scanning (https://www.postgresql.org/docs/current/progress-reporting.html). A partitioned table's partitions are built one
 * after the other. Of a query's text its first word only: the rest is data.
 */
const SIGHT = `
  SELECT p.fraction, b.pid, b.command FROM (SELECT) AS one
  LEFT JOIN LATERAL (
    SELECT CASE WHEN partitions_total > 0
                THEN least((partitions_done + coalesce(one.fraction, 0)) / partitions_total, 1)
                ELSE one.fraction END AS fraction
    FROM pg_catalog.pg_stat_progress_create_index
    CROSS JOIN LATERAL (
      SELECT CASE WHEN tuples_total > 0 THEN 0.5 + 0.5 * least(tuples_done::float8 / tuples_total, 1)
                  WHEN phase LIKE '%sorting%' THEN 0.5
                  WHEN blocks_total > 0 AND phase LIKE '%scanning%' THEN 0.5 * least(blocks_done::float8 / blocks_total, 1)
                  WHEN blocks_total > 0 THEN least(blocks_done::float8 / blocks_total, 1) END AS fraction) one
    WHERE pid = $1 LIMIT 1) p ON true
  LEFT JOIN LATERAL (
    SELECT a.pid, pg_catalog.upper(pg_catalog.substring(a.query, '^\\s*(\\w+)')) AS command
    FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS u (pid)
    JOIN pg_catalog.pg_stat_activity a ON a.pid = u.pid ORDER BY 1 LIMIT 1) b ON true`;

/** Watches until the function that it gives is called. Where a second session is not to be had nothing is seen. */
export async function watchSession({ connection, connect, tell }: WatchOptions): Promise<() => Promise<void>> {
  if (connection.embedded) return async () => {};
  const { rows } = await connection.query<{ pid: number }>("SELECT pg_catalog.pg_backend_pid() AS pid");
  const pid = rows[0]?.pid;
  let second: PostgresConnection | undefined;
  let looking: Promise<void> | undefined;
  let ended = false;
  const look = async (): Promise<void> => {
    second ??= await connect();
    if (ended) return second.close();
    const { rows: seen } = await second.query<{ fraction: number | null; pid: number | null; command: string | null }>(
      SIGHT,
      [pid],
    );
    const sighting = seen[0];
    if (ended || sighting === undefined) return;
    const { fraction, pid: holder, command } = sighting;
    tell({
      ...(fraction === null ? {} : { fraction }),
      ...(holder === null
        ? {}
        : { waiting: `a lock held by process ${holder}${command ? ` (its last statement: ${command})` : ""}` }),
    });
  };
  const timer = setInterval(() => {
    const { busySince } = connection;
    if (looking !== undefined || busySince === undefined) return;
    if (performance.now() - busySince < PATIENCE_MILLISECONDS) return;
    looking = look().then(
      () => {
        looking = undefined;
      },
      // Not asked again: no session is left for it, or it may not look.
      () => clearInterval(timer),
    );
  }, INTERVAL_MILLISECONDS);
  timer.unref();
  return async () => {
    ended = true;
    clearInterval(timer);
    // One that is being opened is closed by who opens it.
    await second?.close();
  };
}
