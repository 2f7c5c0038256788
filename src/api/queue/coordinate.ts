/**
 * A run whose parts workers load, on this and other machines: plans the parts of one snapshot, puts their numbers into the queue,
 * and does what needs all of them. Only the ledger says what is done: a job is a reminder.
 */
import type { JobQueue } from "../../backends/postgres/queue/job-queue.js";
import { StorageError } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import { jobsOf } from "../../parallel/jobs.js";
import type { RunContext, Selection } from "../../records/run-context.js";
import type { InvalidUuidPolicy } from "../../sinks/ids.js";
import type { PlanState, QueueRun, SaidFacts } from "../../sinks/postgres-queue-run.js";
import type { PartedSource, Source } from "../../sources/source.js";
import type { AnyLocation } from "../../stores/backend.js";
import { sessionOptions } from "../../stores/index.js";
import type { Transform } from "../../transforms/transform.js";
import { VERSION } from "../../version.js";
import type { ImportOptions } from "../options.js";
import type { TransferResult } from "../results.js";
import { selectPaths } from "../run.js";
import { requireRuns, settingsOf, withWayOn } from "../runs/load-run.js";
import type { Found } from "../transfer.js";
import { digestOfSteps, readSaid, type SaidAlike } from "./alike.js";
import { attend, send } from "./attend.js";
import { openQueue, type QueueChoice } from "./open-queue.js";
import { resultOf } from "./result.js";
import { notShared, requireShared } from "./shared-stores.js";
import { RunSums } from "./told.js";

export interface Coordinating extends Pick<Found, "config" | "list"> {
  readonly queue: QueueChoice;
  readonly source: Source;
  readonly from: Source | AnyLocation;
  readonly to: AnyLocation;
  readonly transforms: readonly Transform[];
  readonly invalidUuid: InvalidUuidPolicy;
}

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
  const leftOut = new Set<string>();
  const notes = new Set<string>();
  const context = contextOf(options, signal, { leftOut, notes });
  const {
    tenants,
    digests = false,
    resume = false,
    onConflict,
    onOrphan,
    deferIndexes,
    indexJobs,
    verifyParts,
  } = options;
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
    ...{ onConflict, onOrphan, deferIndexes, indexJobs, verifyParts },
    from: choice.from,
    to: choice.to,
    said: (facts) => said(options, given, facts),
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
    const state = await run.open();
    queue = await openQueue(choice, "coordinator", { config, signal, onWarning: context.warn });
    const opened = { run, queue, inParts, selection, context, options, choice };
    if (state === "none") await planAndLoad(opened);
    else await goOn(opened, state);
    const sums = await sumUp(opened, transforms);
    const report = await run.finish();
    await run.close();
    return resultOf(header, report, {
      ...{ source, to: choice.to, started, sums, digests },
      ...{ leftOut: [...leftOut], notes: [...notes] },
    });
  } catch (error) {
    await run.close();
    throw withWayOn(signal.aborted ? interruption(signal) : error, run);
  } finally {
    await queue?.close();
    await run.close();
    await source.close();
  }
}

/** What workers have to do alike, as JSON. E_USAGE where a run goes on with other steps than it was begun with. */
function said(
  { tenants, translate, sourceMode, sourceCheck, verifyParts, digests }: ImportOptions,
  { transforms, invalidUuid }: Pick<Coordinating, "transforms" | "invalidUuid">,
  { token, before, amongOthers }: SaidFacts,
): string {
  const steps = digestOfSteps(transforms, token);
  const known = before === undefined ? undefined : readSaid(before);
  if (known !== undefined && known.steps !== steps)
    throw new StorageError("E_USAGE", "the run was begun with other keys of its masks, or other files of its plugins", {
      hint: "Resume it with those that it was begun with, or undo it (`llmspell storage undo`).",
    });
  const alike: SaidAlike = {
    ...{ tenants, invalidUuid, translate, sourceMode, sourceCheck, verifyParts, digests, amongOthers, steps },
    // Parts that are there already have the time at which it was begun.
    now: known?.now ?? Date.now() / 1000,
    version: VERSION,
  };
  return JSON.stringify(alike);
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

/** Has workers load the parts as they are planned. */
async function planAndLoad(opened: Opened): Promise<void> {
  const { run, context } = opened;
  await run.beginPlan(await snapshotOf(opened));
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const both = { ...opened, context: { ...context, signal } };
  const planning = { isOver: false };
  const plan = async (): Promise<void> => {
    await addParts(both, new Map(), (numbers) => send(both, numbers));
    await run.completePlan();
    planning.isOver = true;
  };
  // Whichever fails has the other stop; neither is left at work.
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown): void => {
    failure ??= { error };
    stop.abort();
  };
  context.activity?.({ phase: "rows" });
  await Promise.all([plan().catch(fail), attend(both, "loading", planning).catch(fail)]);
  if (failure !== undefined) throw failure.error;
  await run.setStage("ending");
}

/** Goes on with what an earlier process has planned and had loaded: that is held against the source first. */
async function goOn(opened: Opened, state: Exclude<PlanState, "none">): Promise<void> {
  const { run, context } = opened;
  const snapshot = await snapshotOf(opened);
  if (state === "begun") {
    await run.adopt(undefined);
    await addParts(opened, await run.planned(), async () => {});
  }
  await run.adopt(snapshot);
  await attend(opened, "comparing");
  await run.setStage("ending");
  await run.removeStale();
  context.activity?.({ phase: "rows" });
  await run.setStage("loading");
  await attend(opened, "loading");
  await run.setStage("ending");
}

async function snapshotOf({ inParts, context }: Opened): Promise<object> {
  let snapshot: object = {};
  await inParts.share(async (shared) => {
    snapshot = shared;
  }, context);
  return snapshot;
}

/** Plans what is not planned yet. */
async function addParts(
  { run, inParts, selection, context }: Opened,
  planned: ReadonlyMap<string, object | undefined>,
  onParts: (numbers: readonly number[]) => Promise<void>,
): Promise<void> {
  const parts = inParts.planKeys?.(selection, context, run.id.partBytes, planned);
  if (parts !== undefined) await run.addParts(parts, context.signal, onParts);
}

/** What came of the parts is what the tables have, in the same snapshot, and the steps have had an effect. Gives what workers told of it. */
async function sumUp({ run, inParts, selection, context }: Opened, transforms: readonly Transform[]): Promise<RunSums> {
  context.activity?.({ phase: "checking" });
  const tallies = await run.progress((plan, { run: number }) => plan.tallies(number));
  await inParts.adopt?.({ ...selection, paths: new Set(tallies.keys()) }, context);
  for (const [path, tally] of tallies) await inParts.requireAll?.(path, tally, selection);
  const sums = new RunSums(transforms, selection.tenants ?? []);
  for (let behind = 0; ; ) {
    context.signal.throwIfAborted();
    const page = await run.progress((plan, { run: number }) => plan.told(number, behind));
    if (page.length === 0) break;
    for (const part of page) for (const line of sums.add(part)) context.warn(line);
    behind = page.at(-1)?.part as number;
  }
  await sums.settle(context);
  return sums;
}

function contextOf(
  { onWarning, onProgress, strict }: ImportOptions,
  signal: AbortSignal,
  { leftOut, notes }: { readonly leftOut: Set<string>; readonly notes: Set<string> },
): RunContext {
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
    note: (message) => void notes.add(message),
    leftOut(message) {
      leftOut.add(message);
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
