/**
 * A run whose parts workers load, on this and other machines: plans the parts of one snapshot, puts their numbers into the queue,
 * and does what needs all of them. Only the ledger says what is done: a job is a reminder.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { JobQueue, PartJob } from "../../backends/postgres/queue/job-queue.js";
import type { PartState } from "../../backends/postgres/runs/plan/plan-ledger.js";
import { StorageError } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import { jobsOf } from "../../parallel/jobs.js";
import { receiveError, type SentError } from "../../parallel/sent-error.js";
import type { RunContext, Selection } from "../../records/run-context.js";
import type { InvalidUuidPolicy } from "../../sinks/ids.js";
import type { QueueRun } from "../../sinks/postgres-queue-run.js";
import type { PartedSource, Source } from "../../sources/source.js";
import type { AnyLocation } from "../../stores/backend.js";
import { sessionOptions } from "../../stores/index.js";
import type { Transform } from "../../transforms/transform.js";
import type { ImportOptions } from "../options.js";
import type { TransferResult } from "../results.js";
import { selectPaths } from "../run.js";
import { requireRuns, settingsOf, withWayOn } from "../runs/load-run.js";
import type { Found } from "../transfer.js";
import { digestOfSteps, type SaidAlike } from "./alike.js";
import { openQueue, type QueueChoice } from "./open-queue.js";
import { resultOf } from "./result.js";
import { notShared, requireShared } from "./shared-stores.js";

export interface Coordinating extends Pick<Found, "config" | "list"> {
  readonly queue: QueueChoice;
  readonly source: Source;
  readonly from: Source | AnyLocation;
  readonly to: AnyLocation;
  readonly transforms: readonly Transform[];
  readonly invalidUuid: InvalidUuidPolicy;
}

const POLL_MILLISECONDS = 300;
/** Nothing has happened for so long: jobs may have been lost, with the queue or with who took them. */
const STILL_MILLISECONDS = 3000;
/** Then the user is told. */
const UNATTENDED_MILLISECONDS = 9000;
/** Who takes a part so often and gives it back, or dies of it, will not load it. */
const MOST_ATTEMPTS = 12;
/** Connections that build indexes, where nobody says how many. */
const BUILDERS = 2;

/** @throws {StorageError} E_USAGE for stores, options and steps that workers cannot have; what runs throw */
export async function coordinateRun(options: ImportOptions, given: Coordinating): Promise<TransferResult> {
  const { to, config, list, transforms, invalidUuid, source, queue: choice } = given;
  requireShared(given, options);
  const runs = requireRuns(to, options, list);
  if (runs.coordinate === undefined) throw notShared("the target");
  const paths = selectPaths(catalog, options.include, options.exclude);
  const started = new Date();
  const signal = options.signal ?? new AbortController().signal;
  const context = contextOf(options, signal);
  const { tenants, translate, sourceMode, sourceCheck, resume = false, onOrphan, deferIndexes } = options;
  const said = (token: string): string => {
    const steps = digestOfSteps(transforms, token);
    const alike: SaidAlike = {
      tenants,
      invalidUuid,
      translate,
      sourceMode,
      sourceCheck,
      steps,
      now: Date.now() / 1000,
    };
    return JSON.stringify(alike);
  };
  const run = await runs.coordinate(to, {
    ...sessionOptions(to, options, config, list),
    lockTimeoutSeconds: options.lockTimeoutSeconds,
    context,
    catalog,
    jobs: options.jobs === undefined ? BUILDERS : jobsOf(options.jobs),
    resume,
    paths,
    source: source.name,
    settings: { ...settingsOf(options, { transforms, invalidUuid }), "--queue": "queue" },
    onOrphan,
    deferIndexes,
    from: choice.from,
    to: choice.to,
    said,
  });
  const selection: Selection = tenants === undefined ? { paths } : { paths, tenants };
  let queue: JobQueue | undefined;
  try {
    signal.throwIfAborted();
    const header = await source.open(context, selection);
    const { inParts } = source;
    if (inParts?.planKeys === undefined)
      throw new StorageError(
        "E_USAGE",
        `--queue needs a source that is read in parts: ${source.wholeBecause ?? "this one is not"}`,
      );
    options.onProgress?.({ phase: "planning", path: "", records: 0, pathRecords: 0, bytes: 0 });
    // The target first: a run that it refuses makes no queue.
    const isPlanned = await run.open();
    queue = await openQueue(choice, "coordinator", { config, signal, onWarning: context.warn });
    const opened = { run, queue, inParts, selection, context, options, choice };
    await begin(opened, isPlanned);
    const before = resume && isPlanned;
    await loadAll(opened, before);
    await requireAll(opened);
    const report = await run.finish();
    await run.close();
    return resultOf(header, report, { source, to: choice.to, started });
  } catch (error) {
    await run.close();
    throw withWayOn(signal.aborted ? interruption(signal) : error, run);
  } finally {
    await queue?.close();
    await run.close();
    await source.close();
  }
}

interface Opened {
  readonly run: QueueRun;
  readonly queue: JobQueue;
  readonly inParts: PartedSource;
  readonly selection: Selection;
  readonly context: RunContext;
  readonly options: ImportOptions;
  readonly choice: QueueChoice;
}

/** Writes the run's plan, or goes on with the one that is there. */
async function begin({ run, inParts, selection, context }: Opened, isPlanned: boolean): Promise<void> {
  let snapshot: object = {};
  await inParts.share(async (shared) => {
    snapshot = shared;
  }, context);
  const { planKeys } = inParts;
  if (!isPlanned && planKeys !== undefined)
    await run.plan(planKeys.call(inParts, selection, context, run.id.partBytes), snapshot);
  else await run.adopt(snapshot);
}

async function loadAll(opened: Opened, before: boolean): Promise<void> {
  const { run, context } = opened;
  if (before) {
    await run.setStage("comparing");
    await until(
      opened,
      (part) => part.loaded,
      (part) => part.compared === run.id.epoch,
    );
    await run.setStage("ending");
    await run.removeStale();
  }
  context.activity?.({ phase: "rows" });
  await run.setStage("loading");
  await until(
    opened,
    () => true,
    (part) => part.loaded,
  );
  await run.setStage("ending");
}

/** Has the workers do the parts that are wanted, and waits until they are done. */
async function until(
  { run, queue, context, options, choice }: Opened,
  isWanted: (part: PartState) => boolean,
  isDone: (part: PartState) => boolean,
): Promise<void> {
  const jobOf = ({ part }: PartState): PartJob => ({
    token: run.token,
    ...{ run: run.id.run, epoch: run.id.epoch },
    part,
    ...{ from: choice.from, to: choice.to },
  });
  let last = "";
  let lastChange = 0;
  let lastSent = 0;
  let isTold = false;
  for (;;) {
    context.signal.throwIfAborted();
    const wanted = (await run.parts()).filter(isWanted);
    const open = wanted.filter((part) => !isDone(part));
    refuseFailed(open);
    const done = wanted.filter(isDone);
    const records = done.reduce((sum, { met }) => sum + Number(met), 0);
    options.onProgress?.({ phase: "rows", path: done.at(-1)?.section ?? "", records, pathRecords: records, bytes: 0 });
    if (open.length === 0) return;
    const abandoned = open.filter(({ abandoned }) => abandoned);
    if (abandoned.length > 0) {
      const numbers = abandoned.map(({ part }) => part);
      context.warn(
        `a worker has gone with the parts ${numbers.join(", ")} at hand (${abandoned[0]?.worker}): others take them`,
      );
      await run.free(numbers);
      await queue.send(abandoned.map(jobOf));
    }
    const state = open.map(({ part, attempts, worker }) => `${part} ${attempts} ${worker}`).join();
    const now = performance.now();
    if (state !== last || lastChange === 0) {
      if (lastChange === 0) await queue.send(open.map(jobOf));
      [last, lastChange, lastSent] = [state, now, now];
    } else if (now - lastSent > STILL_MILLISECONDS) {
      const idle = open.filter(({ worker }) => worker === "");
      if (!isTold && idle.length === open.length && now - lastChange > UNATTENDED_MILLISECONDS) {
        isTold = true;
        context.warn(
          "no worker takes the parts that are left: start `llmspell storage worker --queue URL`, with both stores in its configuration",
        );
      }
      await queue.send(idle.map(jobOf));
      lastSent = now;
    }
    await sleep(POLL_MILLISECONDS, undefined, { signal: context.signal });
  }
}

/** Throws what a part has failed with for good. */
function refuseFailed(parts: readonly PartState[]): void {
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

/** What came of the parts is what the tables have, in the same snapshot. */
async function requireAll({ run, inParts, selection, context }: Opened): Promise<void> {
  context.activity?.({ phase: "checking" });
  const tallies = new Map<string, { records: number; sum: number }>();
  for (const { section, bounds, met, metSum } of await run.parts()) {
    if (bounds === "") continue;
    const tally = tallies.get(section) ?? { records: 0, sum: 0 };
    tallies.set(section, { records: tally.records + Number(met), sum: (tally.sum + metSum) | 0 });
  }
  await inParts.adopt?.({ ...selection, paths: new Set(tallies.keys()) }, context);
  for (const [path, tally] of tallies) await inParts.requireAll?.(path, tally, selection);
}

function contextOf({ onWarning, onProgress, strict }: ImportOptions, signal: AbortSignal): RunContext {
  const warned = new Set<string>();
  const warn = (message: string): void => {
    if (!warned.has(message)) onWarning?.(message);
    warned.add(message);
  };
  return {
    signal,
    async reject({ error }) {
      throw error;
    },
    isRejected: () => false,
    activity: (activity) => onProgress?.({ ...activity, path: "", records: 0, pathRecords: 0, bytes: 0 }),
    warn,
    leftOut(message) {
      warn(message);
      if (strict)
        throw new StorageError("E_LEFT_OUT", "the source holds what the run would leave out", { detail: message });
    },
  };
}

function interruption(signal: AbortSignal): unknown {
  return signal.reason instanceof StorageError
    ? signal.reason
    : new StorageError("E_INTERRUPTED", "the run was interrupted", {}, signal.reason);
}
