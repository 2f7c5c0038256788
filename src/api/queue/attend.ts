/** Has workers do parts, and waits until they are done: what a run's coordinator does most of the time. */
import { setTimeout as sleep } from "node:timers/promises";
import type { JobQueue } from "../../backends/postgres/queue/job-queue.js";
import type { BusyPart, PlanCounts, PlanWork } from "../../backends/postgres/runs/plan/plan-progress.js";
import { StorageError } from "../../errors.js";
import { receiveError, type SentError } from "../../parallel/sent-error.js";
import type { RunContext } from "../../records/run-context.js";
import type { QueueRun } from "../../sinks/postgres-queue-run.js";
import type { PartedSource } from "../../sources/source.js";
import type { ImportOptions } from "../options.js";
import type { QueueChoice } from "./open-queue.js";

/** How often the parts are counted; from so many on more seldom, so that it does not take the server much of its time. */
const POLL_MILLISECONDS = 300;
const MANY_PARTS = 10_000;
/** So many or fewer are left: the end is near. */
const FEW_PARTS = 20;
const OFTEN_MILLISECONDS = 100;
const SELDOM_MILLISECONDS = 3000;
/** Each so-manieth time that something has happened to them, those are looked for whose sections are loaded. */
const SELDOM_LOOKS = 10;
/** Nothing has happened for so long: jobs may have been lost, with the queue or with who took them. Each time it is twice as long. */
const STILL_MILLISECONDS = 3000;
const MOST_STILL_MILLISECONDS = 60_000;
/** How often the source is asked whether its session, and so the snapshot, is still there. */
const CHECK_MILLISECONDS = 3000;
/** Then the user is told. */
const UNATTENDED_MILLISECONDS = 9000;
/** Who takes a part so often and gives it back, or dies of it, will not load it. */
const MOST_ATTEMPTS = 12;

export interface Attending {
  readonly run: QueueRun;
  readonly queue: JobQueue;
  readonly inParts: PartedSource;
  readonly context: RunContext;
  readonly options: Pick<ImportOptions, "onProgress">;
  readonly choice: Pick<QueueChoice, "from" | "to">;
}

/**
 * Until all parts are done that the work is about, and no more come. Throws what a part has failed with for good.
 * @param planning whoever adds parts has them sent, too
 */
export async function attend(
  attending: Attending,
  work: PlanWork,
  planning: { readonly isOver: boolean } = { isOver: true },
): Promise<void> {
  const { run, inParts, context, options } = attending;
  const jobs = new Jobs(attending, work);
  let last = "";
  let lastChange = performance.now();
  let lastCheck = lastChange;
  let looks = 0;
  let isTold = false;
  for (let isFirst = true; ; isFirst = false) {
    context.signal.throwIfAborted();
    const { isOver } = planning;
    const { counts, busy } = await run.progress(async (plan, row) => ({
      counts: await plan.counts(row, work),
      busy: await plan.busy(row, work, MOST_ATTEMPTS),
    }));
    const { parts, done, records, bytes, section } = counts;
    if (section !== "") options.onProgress?.({ phase: "rows", path: section, records, pathRecords: records, bytes });
    if (isOver && done === parts) return;
    refuseFailed(busy);
    await free(attending, busy, jobs);
    // Sections that are loaded; to find these among very many parts takes the server some time.
    if (work === "loading" && counts.mark !== last) {
      if (parts < MANY_PARTS || looks % SELDOM_LOOKS === 0) await run.buildLoaded();
      looks++;
    }
    const now = performance.now();
    if (isFirst || counts.mark !== last) {
      if (isFirst) await jobs.sendIdle();
      jobs.isMoving();
      [last, lastChange] = [counts.mark, now];
    } else {
      if (!isTold && isUnattended(counts) && now - lastChange > UNATTENDED_MILLISECONDS) {
        isTold = true;
        context.warn(
          "no worker takes the parts that are left: start `llmspell storage worker --queue URL`, with both stores in its configuration",
        );
      }
      await jobs.sendAgain(now);
    }
    if (now - lastCheck > CHECK_MILLISECONDS) {
      // Without its session no worker can open the snapshot any more.
      await inParts.check?.();
      lastCheck = now;
    }
    await sleep(pause(counts, isOver), undefined, { signal: context.signal });
  }
}

function pause({ parts, done }: PlanCounts, isPlanned: boolean): number {
  if (parts >= MANY_PARTS) return SELDOM_MILLISECONDS;
  return isPlanned && parts - done <= FEW_PARTS ? OFTEN_MILLISECONDS : POLL_MILLISECONDS;
}

/** Puts the jobs of parts into the queue. */
export async function send(
  { run, queue, choice }: Pick<Attending, "run" | "queue" | "choice">,
  parts: readonly number[],
): Promise<void> {
  const { token, id } = run;
  const { from, to } = choice;
  await queue.send(parts.map((part) => ({ token, run: id.run, epoch: id.epoch, part, from, to })));
}

function isUnattended({ parts, done, idle }: PlanCounts): boolean {
  return idle > 0 && idle === parts - done;
}

/** The jobs of parts that nobody has at hand. One that waits in the queue already is not doubled. */
class Jobs {
  private sent = performance.now();
  private patience = STILL_MILLISECONDS;

  constructor(
    private readonly attending: Attending,
    private readonly work: PlanWork,
  ) {}

  async send(parts: readonly number[]): Promise<void> {
    await send(this.attending, parts);
    this.sent = performance.now();
  }

  /** In pages: memory has no list of all. */
  async sendIdle(): Promise<void> {
    const { run, context } = this.attending;
    for (let behind = 0; ; ) {
      context.signal.throwIfAborted();
      const page = await run.progress((plan, row) => plan.idle(row, this.work, behind));
      if (page.length === 0) return;
      await this.send(page);
      behind = page.at(-1) as number;
    }
  }

  isMoving(): void {
    this.sent = performance.now();
    this.patience = STILL_MILLISECONDS;
  }

  /** Where nothing has happened for a while. */
  async sendAgain(now: number): Promise<void> {
    if (now - this.sent < this.patience) return;
    await this.sendIdle();
    this.patience = Math.min(2 * this.patience, MOST_STILL_MILLISECONDS);
  }
}

/** Gives the parts of workers that are gone to others. */
async function free({ run, context }: Attending, busy: readonly BusyPart[], jobs: Jobs): Promise<void> {
  const abandoned = busy.filter((part) => part.abandoned);
  if (abandoned.length === 0) return;
  const numbers = abandoned.map(({ part }) => part);
  context.warn(
    `a worker has gone with the parts ${numbers.join(", ")} at hand (${abandoned[0]?.worker}): others take them`,
  );
  await run.free(numbers);
  await jobs.send(numbers);
}

/** Throws what a part has failed with for good. */
function refuseFailed(parts: readonly BusyPart[]): void {
  const failed =
    parts.find(({ final }) => final) ??
    parts.find(({ attempts, worker }) => attempts >= MOST_ATTEMPTS && worker === "");
  if (failed === undefined) return;
  if (failed.failure !== "") throw receiveError(JSON.parse(failed.failure) as SentError);
  throw new StorageError(
    "E_CONNECTION_LOST",
    `${failed.attempts} workers have gone with the part ${failed.part} at hand`,
    {
      section: failed.section,
      hint: "Look at what they have said last: each of them may have run out of memory.",
    },
  );
}
