/** `llmspell storage runs | resume | undo`: loads over several connections, when they have not come to their end. */
import { setTimeout as sleep } from "node:timers/promises";
import { listRuns, undoRun } from "../api/runs/known-runs.js";
import { formatBytes } from "../byte-size.js";
import { EXIT, StorageError } from "../errors.js";
import type { KnownRun, RunPlan } from "../stores/backend.js";
import { chooseStore, storeName } from "../stores/index.js";
import { type ImportFlags, type LoadFlags, runImport } from "./import.js";
import { runMigrate } from "./migrate.js";
import { formatCount } from "./shown/progress.js";
import {
  announcedConfig,
  announceResolved,
  type CommonFlags,
  outputFor,
  resolvedStore,
  type StoreFlags,
} from "./transfer.js";

export interface RunsFlags extends CommonFlags, StoreFlags {
  readonly watch?: boolean;
}

export interface UndoFlags extends CommonFlags, StoreFlags {
  readonly lockTimeout?: number;
}

export interface ResumeFlags extends LoadFlags, StoreFlags {
  readonly input?: string;
  readonly from?: string;
  readonly to?: string;
}

const WATCH_MILLISECONDS = 2000;

const STATES = { loading: "unfinished", undoing: "being undone", done: "done", undone: "undone" } as const;

/** Gives the exit status. */
export async function runRuns(flags: RunsFlags, signal: AbortSignal): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  const { location, because } = chooseStore(flags, config);
  announceResolved(resolvedStore(location, because), { flags, output, config });
  let before = "";
  for (;;) {
    const runs = await listRuns(location, { config, signal });
    const lines = runs.length === 0 ? ["No runs"] : runs.flatMap(runLines);
    if (lines.join("\n") !== before) {
      for (const line of lines) output.line(line);
      output.result({ database: storeName(location), runs });
    }
    before = lines.join("\n");
    if (!flags.watch || !runs.some(isUnfinished)) return EXIT.done;
    await sleep(WATCH_MILLISECONDS, undefined, { signal });
  }
}

function isUnfinished({ state }: KnownRun): boolean {
  return state === "loading" || state === "undoing";
}

function runLines(run: KnownRun): string[] {
  const { sections, sessions, indexesToBuild, sectionsToMerge } = run;
  const lines = [
    `Run ${run.run}: ${STATES[run.state]}; begun ${run.started} from ${run.source}, with ${run.jobs} jobs`,
  ];
  for (const [path, { parts, records, bytes }] of Object.entries(sections))
    lines.push(
      `  ${path}: ${formatCount(records)} record${records === 1 ? "" : "s"} in ${formatCount(parts)} part${parts === 1 ? "" : "s"}, ${formatBytes(bytes)}`,
    );
  if (!isUnfinished(run)) return lines;
  lines.push(`  last part or step: ${run.changed}; sessions that load now: ${sessions}`);
  if (run.plan !== undefined) lines.push(...planLines(run.plan));
  if (sectionsToMerge.length > 0) lines.push(`  sections to merge: ${sectionsToMerge.join(", ")}`);
  if (indexesToBuild.length > 0) lines.push(`  indexes to build: ${indexesToBuild.join(", ")}`);
  const undo = "`llmspell storage undo` takes it back";
  lines.push(
    run.state === "undoing"
      ? "  `llmspell storage undo` comes to its end"
      : `  \`llmspell storage resume\`, with the same options, goes on with it; ${undo}`,
  );
  return lines;
}

function planLines({ stage, parts, done, left, workers, failing }: RunPlan): string[] {
  return [
    `  workers' parts: ${formatCount(done)} of ${formatCount(parts)} done, ${formatCount(left)} left (${stage})`,
    ...workers.map(
      ({ worker, parts: at, gone }) =>
        `  worker ${worker}: part${at.length === 1 ? "" : "s"} ${at.join(", ")}${gone ? "; it has gone" : ""}`,
    ),
    ...failing.map(
      ({ part, section, attempts, error }) => `  part ${part} of ${section} failed ${attempts} times: ${error}`,
    ),
  ];
}

/** Gives the exit status. */
export async function runUndo(flags: UndoFlags, signal: AbortSignal): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  const { location, because } = chooseStore(flags, config);
  output.line(`Undoing the unfinished run of ${storeName(location)}...`);
  announceResolved(resolvedStore(location, because), { flags, output, config });
  const undone = await undoRun(location, {
    config,
    signal,
    onStep: (line) => output.info(line),
    ...(flags.lockTimeout === undefined ? {} : { lockTimeoutSeconds: flags.lockTimeout }),
  });
  for (const line of undone.kept) output.warn(line);
  const records = Object.values(undone.removed).reduce((sum, count) => sum + count, 0);
  output.line(`✅ Run ${undone.run} is undone: ${formatCount(records)} records were removed`);
  output.result({ database: storeName(location), ...undone });
  return EXIT.done;
}

/** Gives the exit status. */
export async function runResume(flags: ResumeFlags, signal: AbortSignal): Promise<number> {
  const { input, from, to, backend, database } = flags;
  if ((input === undefined) === (from === undefined))
    throw new StorageError("E_USAGE", "name the source of the run: --input FILE or --from STORE", {
      hint: "`llmspell storage runs` says what it was begun from.",
    });
  if (input !== undefined) {
    if (to !== undefined)
      throw new StorageError("E_USAGE", "--to goes with --from; --database or --backend with --input");
    if (flags.queue !== undefined) throw new StorageError("E_USAGE", "--queue goes with --from and --to");
    return runImport({ ...(flags as ImportFlags), resume: true }, signal);
  }
  if (backend !== undefined || (to !== undefined && database !== undefined))
    throw new StorageError("E_USAGE", "--backend goes with --input; --to with --from");
  const target = to ?? database;
  if (target === undefined) throw new StorageError("E_USAGE", "name the database that was loaded: --to STORE");
  return runMigrate({ ...flags, from: from as string, to: target, resume: true }, signal);
}
