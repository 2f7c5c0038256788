/** What a load is held back for: standbys of its server that are behind, and sessions that wait for its locks. */
import { formatBytes } from "../../../byte-size.js";
import { StorageError } from "../../../errors.js";
import { describeLagBound, type HoldReasons, type LagBound } from "../../../records/loads/lag-bound.js";
import { quote } from "../database/table-names.js";
import type { PostgresConnection, PostgresConnector } from "./connection.js";
import { inTransaction } from "./transaction.js";

export interface WatchedLoad {
  readonly connect: PostgresConnector;
  readonly bound: LagBound;
  /** Process ids of the load's sessions. */
  readonly sessions: ReadonlySet<number>;
  /** It commits part by part, so that a pause gives its locks to those who wait. */
  readonly releasesLocks: boolean;
}

/** The rest of the columns is NULL for roles that may not see them. */
const MAY_SEE = `SELECT current_user::text AS role,
  pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS allowed`;

/**
 * Standbys, with places of the log as numbers of bytes. Not those that only keep the log (pg_receivewal: they replay nothing), and
 * not logical subscribers, who get a transaction when it commits.
 */
const STANDBYS = `
  SELECT coalesce(nullif(r.application_name, ''), r.client_addr::text, r.pid::text) AS name,
         coalesce(extract(epoch FROM r.replay_lag)::float8, 0) AS seconds,
         pg_catalog.pg_wal_lsn_diff(r.replay_lsn, '0/0')::int8 AS replayed,
         pg_catalog.pg_wal_lsn_diff(w.written, '0/0')::int8 AS written
  FROM pg_catalog.pg_stat_replication r,
       (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.pg_current_wal_lsn() END AS written) w
  WHERE r.replay_lsn IS NOT NULL AND w.written IS NOT NULL AND r.state IN ('streaming', 'catchup')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')`;

/** Of a query's text its first word only: the rest is data. */
const WAITING = `
  SELECT a.pid, coalesce(pg_catalog.upper(pg_catalog.substring(a.query, '^\\s*(\\w+)')), '') AS command
  FROM pg_catalog.pg_stat_activity a
  WHERE a.wait_event_type = 'Lock' AND a.pid <> ALL ($1::int4[]) AND pg_catalog.pg_blocking_pids(a.pid) && $1::int4[]
  ORDER BY 1`;

interface Standby {
  readonly name: string;
  /** As the server measured it when the standby last reported, which one that stands still does not. */
  readonly seconds: number;
  readonly replayed: bigint;
  readonly written: bigint;
}

/** After so long a waiter is not waited for any more: what it needs may be held by somebody who waits for the load. */
const LOCK_MILLISECONDS = 10_000;
/** Places of the log that are remembered: an hour at least. */
const MARKS = 4096;

export class LoadHoldReasons implements HoldReasons {
  private connection: PostgresConnection | undefined;
  /** Where the log ended, and when (performance.now), the oldest first. */
  private marks: { readonly written: bigint; readonly at: number }[] = [];
  /** Since when a session waits, by its process id. */
  private readonly waiters = new Map<number, number>();

  constructor(private readonly load: WatchedLoad) {}

  /** E_PERMISSION where the role may not see standbys. Gives a line for the user where there are none. */
  async open(): Promise<string | undefined> {
    const connection = await this.connected();
    const { rows } = await inTransaction(connection, "read", () =>
      connection.query<{ role: string; allowed: boolean }>(MAY_SEE),
    );
    const { role = "", allowed = false } = rows[0] ?? {};
    if (!allowed)
      throw new StorageError("E_PERMISSION", `the role ${role} may not see how far standbys are behind`, {
        hint: `As a superuser: GRANT pg_monitor TO ${quote(role)}. Or go without --max-lag (maxLag).`,
      });
    const standbys = await this.standbys();
    this.mark(standbys);
    return standbys.length > 0
      ? undefined
      : "no standby is connected to the target: --max-lag (maxLag) pauses when one that connects is behind";
  }

  async reason(): Promise<string | undefined> {
    const { bound } = this.load;
    const standbys = await this.standbys();
    const now = performance.now();
    this.mark(standbys);
    const behind = standbys.map(({ name, seconds, replayed, written: all }) => ({
      name,
      bytes: Math.max(0, Number(all - replayed)),
      // A mark that it has not reached is from then on, at least.
      seconds: replayed >= all ? 0 : Math.max(seconds, (now - (this.firstBehind(replayed)?.at ?? now)) / 1000),
    }));
    this.forget(standbys);
    const worst = behind.find(({ bytes, seconds }) =>
      "seconds" in bound ? seconds > bound.seconds : bytes > bound.bytes,
    );
    if (worst !== undefined) {
      const lag = "seconds" in bound ? `${worst.seconds.toFixed(1)} s` : formatBytes(worst.bytes);
      return `the standby ${worst.name} is ${lag} behind (--max-lag ${describeLagBound(bound)})`;
    }
    return this.load.releasesLocks ? this.lockReason(now) : undefined;
  }

  async warning(): Promise<string | undefined> {
    if (this.load.releasesLocks) return undefined;
    const [first] = await this.waiting();
    if (first === undefined) return undefined;
    return `others wait for locks that this load holds until it commits (process ${first.pid}${first.command ? `: ${first.command}` : ""}): a pause would not help them; --jobs commits part by part`;
  }

  async reopen(): Promise<void> {
    await this.close();
    await this.connected();
  }

  async close(): Promise<void> {
    const { connection } = this;
    this.connection = undefined;
    await connection?.close();
  }

  private async connected(): Promise<PostgresConnection> {
    this.connection ??= await this.load.connect();
    return this.connection;
  }

  private async standbys(): Promise<readonly Standby[]> {
    const connection = await this.connected();
    return (
      await inTransaction(connection, "read", () => connection.query<Standby & { [name: string]: unknown }>(STANDBYS))
    ).rows;
  }

  private async waiting(): Promise<readonly { readonly pid: number; readonly command: string }[]> {
    const pids = [...this.load.sessions];
    if (pids.length === 0) return [];
    const connection = await this.connected();
    return (
      await inTransaction(connection, "read", () => connection.query<{ pid: number; command: string }>(WAITING, [pids]))
    ).rows;
  }

  private async lockReason(now: number): Promise<string | undefined> {
    const waiting = await this.waiting();
    const pids = new Set(waiting.map(({ pid }) => pid));
    for (const pid of this.waiters.keys()) if (!pids.has(pid)) this.waiters.delete(pid);
    for (const { pid } of waiting) if (!this.waiters.has(pid)) this.waiters.set(pid, now);
    const first = waiting.find(({ pid }) => now - (this.waiters.get(pid) ?? now) < LOCK_MILLISECONDS);
    if (first === undefined) return undefined;
    return `process ${first.pid}${first.command ? ` (${first.command})` : ""} waits for a lock of this run`;
  }

  private mark([first]: readonly Standby[]): void {
    if (first !== undefined && this.marks.at(-1)?.written !== first.written)
      this.marks.push({ written: first.written, at: performance.now() });
  }

  private firstBehind(replayed: bigint): { readonly at: number } | undefined {
    return this.marks.find(({ written }) => written > replayed);
  }

  /** Marks that all standbys have reached; of too many every other one. */
  private forget(standbys: readonly Standby[]): void {
    const reached = standbys.reduce<bigint | undefined>(
      (least, { replayed }) => (least === undefined || replayed < least ? replayed : least),
      undefined,
    );
    if (reached !== undefined) this.marks = this.marks.filter(({ written }) => written > reached);
    if (this.marks.length > MARKS) this.marks = this.marks.filter((_mark, at) => at % 2 === 0);
  }
}
