/** The queue between a run's coordinator and its workers: pg-boss, on a PostgreSQL. The only importer of pg-boss. */
import type { PgBoss } from "pg-boss";
import { StorageError } from "../../../errors.js";
import { type QueueConnection, QueueSession } from "./session.js";

/** What a job says: numbers, and the names of stores. All else stands in the target's ledger. */
export interface PartJob {
  readonly token: string;
  readonly run: number;
  readonly epoch: number;
  readonly part: number;
  readonly from: string;
  readonly to: string;
}

export interface TakenJob {
  readonly id: string;
  readonly retryCount: number;
  /** Who is not heard of for so long is dead, as the coordinator has it. */
  readonly timeoutSeconds: number;
  /** Undefined: it is none of ours. */
  readonly job: PartJob | undefined;
}

export interface QueueOptions extends QueueConnection {
  /** Of the coordinator's jobs: a worker that is not heard of for so long is dead. Seconds, from 10 on. */
  readonly workerTimeoutSeconds?: number | undefined;
  /** Of the queue, not of a job. */
  readonly onError?: (error: StorageError) => void;
}

const SCHEMA = "llmspell_queue";
const QUEUE = "parts";
/** Of LISTEN and NOTIFY: there are jobs. */
const CHANNEL = "llmspell_queue";
/** The least that pg-boss takes. */
const WORKER_TIMEOUT_SECONDS = 10;
/** A part is some megabytes; one that is a whole section may take hours. */
const EXPIRE_SECONDS = 23 * 3600;
const KEEP_SECONDS = 3600;
const RETRIES = 20;
/** Of the advisory lock under which the queue is opened. */
const LOCK = 1819503470;

export class JobQueue {
  private constructor(
    private readonly session: QueueSession,
    private readonly boss: PgBoss,
    private readonly timeoutSeconds: number,
  ) {}

  /**
   * @param role the coordinator also watches over workers that die
   * @throws {StorageError} E_CONNECT, E_AUTHENTICATION, E_PERMISSION where the queue's schema is not there and the role may not make it
   */
  static async open(options: QueueOptions, role: "coordinator" | "worker"): Promise<JobQueue> {
    const { PgBoss } = await import("pg-boss");
    const session = new QueueSession(options);
    const boss = new PgBoss({
      db: session,
      schema: SCHEMA,
      schedule: false,
      supervise: role === "coordinator",
      superviseIntervalSeconds: 2,
      monitorIntervalSeconds: 2,
      registerInstance: false,
      monitorVacuum: false,
      reindex: false,
      openTelemetry: { enabled: false },
      ...((await isInstalled(session)) ? { createSchema: false } : {}),
    });
    boss.on("error", (error) => options.onError?.(QueueSession.errorOf(error)));
    try {
      // Two that make the schema at the same time would be in each other's way; one that stands still there keeps nobody for ever.
      await session.executeSql("SET lock_timeout = '60s'");
      await session.executeSql(`SELECT pg_catalog.pg_advisory_lock(${LOCK})`);
      await boss.start();
      await boss.createQueue(QUEUE, {
        // One job that waits for each key, and so for each part.
        policy: "short",
        retryLimit: RETRIES,
        retryDelay: 1,
        retryBackoff: true,
        retryDelayMax: 15,
        expireInSeconds: EXPIRE_SECONDS,
        retentionSeconds: EXPIRE_SECONDS,
        deleteAfterSeconds: KEEP_SECONDS,
      });
      await session.executeSql(`SELECT pg_catalog.pg_advisory_unlock(${LOCK})`);
      if (role === "worker") await session.hear(CHANNEL);
    } catch (error) {
      await boss.stop({ graceful: false }).catch(() => {});
      await session.close();
      throw queueError(error);
    }
    return new JobQueue(session, boss, options.workerTimeoutSeconds ?? WORKER_TIMEOUT_SECONDS);
  }

  /** Puts jobs into the queue; one that waits there already is not doubled. */
  async send(jobs: readonly PartJob[]): Promise<void> {
    const many = 500;
    for (let at = 0; at < jobs.length; at += many)
      await this.boss
        .insert(
          QUEUE,
          // A queue stays as it was made: what a coordinator says is its jobs'.
          jobs
            .slice(at, at + many)
            .map((job) => ({ data: job, singletonKey: keyOf(job), heartbeatSeconds: this.timeoutSeconds })),
        )
        .catch(failed);
    await this.session.executeSql(`NOTIFY ${CHANNEL}`).catch(failed);
  }

  /** Until a coordinator has sent jobs, or so long: they may have come otherwise. */
  wait(milliseconds: number, signal: AbortSignal): Promise<void> {
    return this.session.notified(milliseconds, signal);
  }

  async take(): Promise<TakenJob | undefined> {
    const [job] = await this.boss.fetch<unknown>(QUEUE, { includeMetadata: true }).catch(failed);
    if (job === undefined) return undefined;
    const { id, retryCount, heartbeatSeconds } = job;
    return { id, retryCount, timeoutSeconds: heartbeatSeconds ?? WORKER_TIMEOUT_SECONDS, job: parseJob(job.data) };
  }

  /** Whether another job of the same part is worked on, by somebody who is heard of. */
  async isHeld({ id, job }: TakenJob): Promise<boolean> {
    if (job === undefined) return false;
    const { rows } = await this.session
      .executeSql(
        `SELECT FROM ${SCHEMA}.job WHERE name = $1 AND singleton_key = $2 AND id <> $3 AND state = 'active'
           AND heartbeat_on + heartbeat_seconds * interval '1 second' > pg_catalog.now()`,
        [QUEUE, keyOf(job), id],
      )
      .catch(failed);
    return rows.length > 0;
  }

  /** The job is still worked on. */
  async touch({ id }: TakenJob): Promise<void> {
    await this.boss.touch(QUEUE, id).catch(failed);
  }

  /** Done, or of no use. */
  async complete({ id, retryCount }: TakenJob): Promise<void> {
    await this.boss.complete(QUEUE, { id, retryCount }).catch(failed);
  }

  /** Another worker may take it. */
  async giveBack({ id, retryCount }: TakenJob): Promise<void> {
    await this.boss.fail(QUEUE, { id, retryCount }).catch(failed);
  }

  async close(): Promise<void> {
    await this.boss.stop({ graceful: false }).catch(() => {});
    await this.session.close();
  }
}

async function isInstalled(session: QueueSession): Promise<boolean> {
  try {
    const { rows } = await session.executeSql("SELECT pg_catalog.to_regclass($1) IS NOT NULL AS found", [
      `${SCHEMA}.version`,
    ]);
    return rows[0]?.found === true;
  } catch (error) {
    throw queueError(error);
  }
}

function failed(error: unknown): never {
  throw queueError(error);
}

function queueError(error: unknown): StorageError {
  const { code, message, context, cause } = QueueSession.errorOf(error);
  if (code === "E_PERMISSION")
    return new StorageError(
      code,
      "the role may not use the queue",
      {
        ...context,
        detail: message,
        hint: `As its owner: CREATE SCHEMA ${SCHEMA} AUTHORIZATION the role of the coordinator; workers need USAGE of it, and SELECT, INSERT, UPDATE, DELETE on its tables (docs/scale.md).`,
      },
      cause,
    );
  return new StorageError(code, `the queue: ${message}`, context, cause);
}

function keyOf({ token, epoch, part }: PartJob): string {
  return `${token}/${epoch}/${part}`;
}

/** The job, where it has what a job has and nothing besides. */
export function parseJob(data: unknown): PartJob | undefined {
  if (typeof data !== "object" || data === null) return undefined;
  const { token, run, epoch, part, from, to, ...more } = data as Record<string, unknown>;
  const isNumber = (value: unknown): value is number =>
    typeof value === "number" && Number.isInteger(value) && value > 0 && value < 2 ** 31;
  const isName = (value: unknown): value is string => typeof value === "string" && /^[\w-]{1,64}$/.test(value);
  if (Object.keys(more).length > 0 || typeof token !== "string" || !/^[0-9a-f-]{36}$/.test(token)) return undefined;
  if (!isNumber(run) || !isNumber(epoch) || !isNumber(part) || !isName(from) || !isName(to)) return undefined;
  return { token, run, epoch, part, from, to };
}
