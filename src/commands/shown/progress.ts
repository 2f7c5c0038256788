/** Progress on stderr: one line that changes on a terminal, otherwise a line every few seconds. */
import { formatBytes } from "../../byte-size.js";
import type { Progress } from "../../pipeline.js";
import type { Output } from "./output.js";
import { TerminalLine } from "./terminal-line.js";
import { visibleText } from "./visible-text.js";

/** While records come. */
const ROWS_MILLISECONDS = 5000;
/** In every other phase: nobody waits longer for a sign of life. */
const LINE_MILLISECONDS = 10_000;
/** How often is looked whether a line is due; also keeps a terminal's seconds going. */
const TICK_MILLISECONDS = 1000;

export interface ProgressDisplay {
  /** `estimate`: records per path, where the source can tell. */
  start(estimate: ReadonlyMap<string, number> | undefined): void;
  update(progress: Progress): void;
  stop(): void;
}

/** `1,234`. Without Intl, which takes as long to load as a small command runs. */
export function formatCount(count: number): string {
  return `${count}`.replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Never none: work is left. */
function formatSeconds(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.ceil(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const WHAT: Readonly<Record<Exclude<Progress["phase"], "rows" | "indexes">, string>> = {
  connecting: "connecting",
  planning: "planning",
  paused: "paused",
  checking: "checking foreign keys and merging",
  committing: "committing",
  comparing: "comparing what was read",
  searching: "searching for the nearest embeddings",
};

/** Since when the run, its phase, and what was last told of it have lasted. Seconds. */
export interface Elapsed {
  readonly run: number;
  readonly phase: number;
  readonly told?: number;
}

/**
 * `artifacts.content: 1,200 of about 5,000 records, 3.1 MB, 400 records/s, about 10 s left`, or what else the run is at.
 * `estimate` is left out where it has been exceeded.
 */
export function progressText(progress: Progress, seconds: number | Elapsed, estimate: number | undefined): string {
  return progressParts(
    progress,
    typeof seconds === "number" ? { run: seconds, phase: seconds } : seconds,
    estimate,
  ).join(", ");
}

/** The parts of the line, those that a narrow terminal can do without behind the others. */
function progressParts(progress: Progress, elapsed: Elapsed, estimate: number | undefined): string[] {
  const { phase, waiting } = progress;
  if (phase === "paused" && waiting !== undefined) return [`paused: ${waiting}`];
  if (waiting !== undefined) return [`waiting for ${waiting}`];
  if (phase === "rows") return rowsParts(progress, elapsed.run, estimate);
  if (phase === "indexes") return indexParts(progress, elapsed);
  return [WHAT[phase], ...(elapsed.phase < 2 ? [] : [`for ${formatSeconds(elapsed.phase)}`])];
}

function rowsParts(progress: Progress, seconds: number, estimate: number | undefined): string[] {
  const { path, records, bytes, indexesToBuild } = progress;
  const rate = seconds > 0 ? records / seconds : 0;
  const total = estimate === undefined || estimate < records ? undefined : estimate;
  const parts = [
    `${path}: ${formatCount(records)}${total === undefined ? "" : ` of about ${formatCount(total)}`} records`,
    formatBytes(bytes),
    `${formatCount(Math.round(rate))} records/s`,
  ];
  const indexes =
    indexesToBuild === undefined ? "" : `, then ${indexesToBuild} ${indexesToBuild === 1 ? "index" : "indexes"}`;
  if (total !== undefined && rate > 0) parts.push(`about ${formatSeconds((total - records) / rate)} left${indexes}`);
  return parts;
}

function indexParts({ index, fraction, left }: Progress, { phase, told = 0 }: Elapsed): string[] {
  if (index === undefined) return ["building indexes"];
  const parts = [`building index ${index.number} of ${index.of}`, index.name];
  if (fraction !== undefined) parts.push(`${Math.floor(fraction * 100)} %`);
  const isKnown = left !== undefined && left.most > told;
  parts.push(isKnown ? leftText(left.least - told, left.most - told) : `for ${formatSeconds(phase)}`);
  return parts;
}

/** `about 40 s left`, or between what and what where that is a guess. */
function leftText(least: number, most: number): string {
  if (most <= 1.5 * least || most <= 2) return `about ${formatSeconds((least + most) / 2)} left`;
  if (least < 1) return `at most about ${formatSeconds(most)} left`;
  return `about ${formatSeconds(least)} to ${formatSeconds(most)} left`;
}

/** The line at a terminal's width: without what does not fit, what is last and first said most. */
export function narrowText(progress: Progress, elapsed: Elapsed, estimate: number | undefined, width: number): string {
  const parts = progressParts(progress, elapsed, estimate);
  const { phase, section, records } = progress;
  if (phase === "rows" && section !== undefined) {
    const percent =
      estimate === undefined || estimate < records
        ? formatCount(records)
        : `${Math.floor((records * 100) / estimate)} %`;
    const narrow = [`${progress.path} (${section.number} of ${section.of})`, percent, ...parts.slice(2)];
    const wide = [...parts];
    if (wide.join(", ").length > width) parts.splice(0, parts.length, ...narrow);
  }
  while (parts.length > 1 && parts.join(", ").length > width) parts.splice(parts.length > 2 ? -2 : -1, 1);
  const text = parts.join(", ");
  return text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text;
}

/** A display that shows nothing. */
const NONE: ProgressDisplay = { start() {}, update() {}, stop() {} };

export async function createProgressDisplay(
  output: Output,
  options: {
    readonly quiet?: boolean | undefined;
    readonly progress?: boolean | undefined;
    readonly logFormat?: "text" | "json" | undefined;
  },
): Promise<ProgressDisplay> {
  if (options.quiet || options.progress === false) return NONE;
  const terminal = process.stderr.isTTY && options.logFormat !== "json";
  return terminal ? barDisplay() : lineDisplay(output);
}

/** Since when the run, and what it is at now, have lasted. */
class Clock {
  private readonly started = performance.now();
  private phaseStarted = this.started;
  private progress: Progress | undefined;
  private told = this.started;

  at(progress: Progress): Elapsed {
    const now = performance.now();
    if (progress.phase !== this.progress?.phase) this.phaseStarted = now;
    if (progress !== this.progress) this.told = now;
    this.progress = progress;
    const seconds = (since: number): number => (now - since) / 1000;
    return { run: seconds(this.started), phase: seconds(this.phaseStarted), told: seconds(this.told) };
  }
}

function lineDisplay(output: Output): ProgressDisplay {
  const clock = new Clock();
  const started = performance.now();
  let shown = started;
  let told: string | undefined;
  let total: number | undefined;
  let last: Progress | undefined;
  const show = (progress: Progress): void => {
    const elapsed = clock.at(progress);
    shown = performance.now();
    told = progress.waiting;
    const { path, records, bytes, phase, index, fraction, left, waiting } = progress;
    const fields = {
      phase,
      section: path,
      records,
      bytes,
      seconds: elapsed.run,
      index: index?.name,
      fraction,
      left,
      waiting,
    };
    output.info(progressText(progress, elapsed, total), fields);
  };
  const timer = setInterval(() => {
    if (last !== undefined && performance.now() - shown >= LINE_MILLISECONDS) show(last);
  }, TICK_MILLISECONDS);
  timer.unref();
  return {
    start(estimate) {
      total = sum(estimate);
    },
    update(progress) {
      clock.at(progress);
      const goesOn = last !== undefined && (last.phase !== progress.phase || last.index?.name !== progress.index?.name);
      last = progress;
      const silent = performance.now() - shown;
      const isLong = performance.now() - started >= ROWS_MILLISECONDS;
      const isNews = progress.waiting !== undefined && progress.waiting !== told;
      if (
        isNews ||
        silent >= ROWS_MILLISECONDS ||
        (goesOn && isLong && silent >= TICK_MILLISECONDS && progress.phase === "indexes")
      )
        show(progress);
    },
    stop() {
      clearInterval(timer);
    },
  };
}

const BAR_WIDTH = 20;

function barDisplay(): ProgressDisplay {
  const clock = new Clock();
  let total: number | undefined;
  let last: Progress | undefined;
  const line = new TerminalLine(process.stderr, () => {
    if (last === undefined) return "starting";
    const columns = (process.stderr.columns ?? 80) - 1;
    const withBar = last.phase === "rows" && last.waiting === undefined && total !== undefined && columns >= 100;
    const width = withBar ? columns - BAR_WIDTH - 3 : columns;
    const text = visibleText(narrowText(last, clock.at(last), total, width)).slice(0, width);
    if (!withBar) return text;
    const share = total === 0 ? 1 : Math.min(1, last.records / (total ?? 1));
    const filled = Math.round(share * BAR_WIDTH);
    return `[${"=".repeat(filled)}${" ".repeat(BAR_WIDTH - filled)}] ${text}`;
  });
  /** A second Ctrl-C ends the process at once; the cursor is hidden until the line stops. */
  const onExit = (): void => line.stop();
  const begin = (): void => {
    if (line.isShown) return;
    process.once("exit", onExit);
    line.start();
  };
  return {
    start(estimate) {
      total = sum(estimate);
      begin();
    },
    update(progress) {
      last = progress;
      begin();
    },
    stop() {
      process.removeListener("exit", onExit);
      line.stop();
    },
  };
}

function sum(estimate: ReadonlyMap<string, number> | undefined): number | undefined {
  return estimate === undefined ? undefined : [...estimate.values()].reduce((total, count) => total + count, 0);
}
