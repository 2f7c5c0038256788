/** Progress on stderr: a bar on a terminal, otherwise one line every few seconds. */
import type { SingleBar } from "cli-progress";
import { formatBytes } from "../../byte-size.js";
import type { Progress } from "../../pipeline.js";
import type { Output } from "./output.js";
import { visibleText } from "./visible-text.js";

const LINE_MILLISECONDS = 5000;

export interface ProgressDisplay {
  /** `estimate`: records per path, where the source can tell. */
  start(estimate: ReadonlyMap<string, number> | undefined): void;
  update(progress: Progress): void;
  stop(): void;
}

export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

function formatSeconds(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/**
 * `artifacts.content: 1,200 of about 5,000 records, 3.1 MB, 400 records/s, about 10 s left`. `estimate` is left out where it
 * has been exceeded.
 */
export function progressText(
  { path, records, bytes }: Progress,
  seconds: number,
  estimate: number | undefined,
): string {
  const rate = seconds > 0 ? records / seconds : 0;
  const total = estimate === undefined || estimate < records ? undefined : estimate;
  const parts = [
    `${formatCount(records)}${total === undefined ? "" : ` of about ${formatCount(total)}`} records`,
    formatBytes(bytes),
    `${formatCount(Math.round(rate))} records/s`,
  ];
  if (total !== undefined && rate > 0) parts.push(`about ${formatSeconds((total - records) / rate)} left`);
  return `${path}: ${parts.join(", ")}`;
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
  return terminal ? barDisplay((await import("cli-progress")).default.SingleBar) : lineDisplay(output);
}

function lineDisplay(output: Output): ProgressDisplay {
  const started = performance.now();
  let shown = started;
  let total: number | undefined;
  return {
    start(estimate) {
      total = sum(estimate);
    },
    update(progress) {
      const now = performance.now();
      if (now - shown < LINE_MILLISECONDS) return;
      shown = now;
      const seconds = (now - started) / 1000;
      const { path, records, bytes } = progress;
      output.info(progressText(progress, seconds, total), { section: path, records, bytes, seconds });
    },
    stop() {},
  };
}

function barDisplay(Bar: typeof SingleBar): ProgressDisplay {
  const started = performance.now();
  let total: number | undefined;
  /** A second Ctrl-C ends the process at once; the cursor is hidden until the bar stops. */
  const onExit = (): void => bar.stop();
  const bar = new Bar({
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
    fps: 5,
    linewrap: null,
    format: (_options, params, payload: { progress?: Progress }) => {
      const { progress } = payload;
      if (progress === undefined) return "starting";
      const text = visibleText(progressText(progress, (performance.now() - started) / 1000, total));
      if (total === undefined) return text;
      const filled = Math.round(Math.min(1, params.progress) * 20);
      return `[${"=".repeat(filled)}${" ".repeat(20 - filled)}] ${text}`;
    },
  });
  return {
    start(estimate) {
      total = sum(estimate);
      process.once("exit", onExit);
      bar.start(total ?? 1, 0, {});
    },
    update(progress) {
      bar.update(Math.min(progress.records, total ?? 0), { progress });
    },
    stop() {
      process.removeListener("exit", onExit);
      bar.stop();
    },
  };
}

function sum(estimate: ReadonlyMap<string, number> | undefined): number | undefined {
  return estimate === undefined ? undefined : [...estimate.values()].reduce((total, count) => total + count, 0);
}
