/** Runs whose parts workers load, for tests: processes of their own, with the stores in a configuration. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type Outcome, outcomeOf, type Workspace } from "./llmspell.js";
import { query, SMALL_PARTS } from "./runs.js";

const CONFIG = '[stores.src]\nurl_env = "SRC_URL"\n[stores.dst]\nurl_env = "DST_URL"\n';
const WAIT_MILLISECONDS = 100_000;

/** `source`, `queue`: the URLs of their databases. */
export function createQueueRuns(workspace: Workspace, { source, queue }: { source: string; queue: string }) {
  writeFileSync(workspace.path("config.toml"), CONFIG);
  const started = new Set<ChildProcess>();
  const env = (target: string) => ({
    ...SMALL_PARTS,
    SRC_URL: source,
    DST_URL: target,
    LLMSPELL_CONFIG: workspace.path("config.toml"),
  });
  function start(target: string, args: readonly string[]): ChildProcess {
    const child = workspace.start(args, { env: env(target) });
    started.add(child);
    return child;
  }
  const coordinator = (target: string, command: string, ...args: string[]): ChildProcess =>
    start(target, ["storage", command, "--from", "src", "--to", "dst", "--queue", queue, "--json", ...args]);
  /** Nobody reads what it says. */
  function silent(child: ChildProcess): ChildProcess {
    child.stdout?.resume();
    child.stderr?.resume();
    return child;
  }
  return {
    env,
    coordinator,
    silent,
    outcome: (target: string, command: string, ...args: string[]): Promise<Outcome> =>
      outcomeOf(coordinator(target, command, ...args)),
    worker: (target: string, ...args: string[]): ChildProcess =>
      silent(start(target, ["storage", "worker", "--queue", queue, ...args])),
    async loadedParts(target: string, least: number): Promise<void> {
      await until(async () => {
        const [row] = await query<{ parts: number }>(
          target,
          "SELECT count(*)::int4 AS parts FROM llmspell.storage_parts",
        );
        return (row?.parts ?? 0) >= least;
      });
    },
    /** Until the run's parts are known, and workers may take them. */
    async planned(target: string): Promise<void> {
      await until(async () => {
        const rows = await query(target, "SELECT FROM llmspell.storage_plans WHERE stage = 'loading'");
        return rows.length > 0;
      });
    },
    async exited(child: ChildProcess): Promise<number | null> {
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      return child.exitCode;
    },
    async end(): Promise<void> {
      for (const child of started) await ended(child, "SIGKILL");
      started.clear();
    },
  };
}

export async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const closed = once(child, "exit");
  child.kill(signal);
  await closed;
  return child.exitCode;
}

export async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + WAIT_MILLISECONDS; Date.now() < end; await sleep(20)) if (await isSo()) return;
  throw new Error("it does not come to that");
}
