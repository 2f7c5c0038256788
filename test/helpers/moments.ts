/**
 * Random moments of runs, in a run's own time (its parts) rather than the machine's. Each has a seed: FAULT_SEED=S FAULT_FIRST=N
 * with a count of one repeats it as far as a clock allows. FAULT_LOG=FILE gets a line for each.
 */
import type { ChildProcess } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { query } from "./runs.js";
import { SampleRandom } from "./sample-values.js";

const SEED = process.env["FAULT_SEED"] ?? String(randomInt(2 ** 30));
const FIRST = Number(process.env["FAULT_FIRST"] ?? 0);
const POLL_MILLISECONDS = 15;

export interface Moment {
  readonly number: number;
  readonly random: SampleRandom;
}

/** How long so many may take, milliseconds: for what hangs, as in vitest.config.ts. */
export const timeLimit = (times: number): number => (3 + 2 * times) * 60_000;

/** What a run takes to which nothing happens. Milliseconds before its first part and behind its last one. */
export interface RunClock {
  readonly begins: number;
  readonly parts: number;
  /** Sections that were merged; each counts as one of the parts, behind those that load. */
  readonly merges: number;
  readonly ends: number;
}

/** The numbers of so many moments. */
export const momentNumbers = (times: number): number[] => Array.from({ length: times }, (_, at) => FIRST + at);

/** Does something at so many moments, all of them whatever fails; the failures name what repeats them. */
export async function atMoments(
  series: string,
  times: number,
  work: (moment: Moment) => Promise<string>,
): Promise<void> {
  const failures: string[] = [];
  for (const number of momentNumbers(times)) {
    const started = performance.now();
    const told = (what: string): void => {
      const { FAULT_LOG } = process.env;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      if (FAULT_LOG !== undefined) appendFileSync(FAULT_LOG, `${series} ${SEED}/${number} ${seconds} s: ${what}\n`);
    };
    try {
      told(`ok, ${await work({ number, random: new SampleRandom(`${SEED}/${number}`) })}`);
    } catch (error) {
      const line = `FAULT_SEED=${SEED} FAULT_FIRST=${number}: ${(error as Error).message}`;
      told(`FAILED, ${line}`);
      failures.push(line);
    }
  }
  if (failures.length > 0) throw new Error(`${series}: ${failures.length} of ${times}:\n${failures.join("\n\n")}`);
}

const isOver = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;
const PARTS = "SELECT count(*)::int4 AS parts FROM llmspell.storage_parts";
const MERGES = `${PARTS} WHERE digest = 'merged'`;

async function watching<Result>(url: string, work: (parts: () => Promise<number>) => Promise<Result>): Promise<Result> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  client.on("error", () => {});
  await client.connect();
  try {
    return await work(async () => (await client.query<{ parts: number }>(PARTS)).rows[0]?.parts ?? 0);
  } finally {
    await client.end();
  }
}

/** Times a run that goes to its end. */
export async function timed(url: string, child: ChildProcess): Promise<RunClock> {
  return watching(url, async (count) => {
    const started = performance.now();
    let [first, last, parts] = [0, 0, 0];
    while (!isOver(child)) {
      const now = await count();
      if (now > 0 && parts === 0) first = performance.now();
      if (now > parts) [parts, last] = [now, performance.now()];
      await sleep(POLL_MILLISECONDS);
    }
    return {
      begins: Math.max(1, Math.round(first - started)),
      parts,
      merges: (await query<{ parts: number }>(url, MERGES))[0]?.parts ?? 0,
      ends: Math.max(1, Math.round(performance.now() - last)),
    };
  });
}

/**
 * Waits for a moment of the run: of ten one before its first part, two behind its last one; of a run that merges five when it
 * does. Says which it was.
 */
export async function reach({ random }: Moment, clock: RunClock, url: string, child: ChildProcess): Promise<string> {
  const tenth = random.int(0, 9);
  const least = clock.merges > 0 && tenth >= 3 ? clock.parts - clock.merges : 1;
  const parts = tenth < 1 ? 0 : tenth < 8 ? random.int(least, clock.parts) : clock.parts;
  const milliseconds = random.int(0, tenth < 1 ? clock.begins : tenth < 8 ? 30 : clock.ends);
  if (parts > 0)
    await watching(url, async (count) => {
      while (!isOver(child) && (await count()) < parts) await sleep(POLL_MILLISECONDS);
    });
  if (!isOver(child)) await Promise.race([once(child, "exit"), sleep(milliseconds)]);
  return `${parts}/${clock.parts} parts + ${milliseconds} ms`;
}

/** What the ledger says, for the log. */
export async function stateOf(url: string): Promise<string> {
  const [row] = await query<{ state: string | null; parts: number; merges: number; indexes: number }>(
    url,
    `SELECT (SELECT state FROM llmspell.storage_runs ORDER BY run DESC LIMIT 1) AS state,
       (${PARTS}) AS parts, (${MERGES}) AS merges,
       (SELECT count(*)::int4 FROM llmspell.storage_steps WHERE what = 'index' AND NOT done) AS indexes`,
  );
  return `${row?.state ?? "no run"} with ${row?.parts} parts${row?.merges ? ` (${row.merges} merges)` : ""}, ${row?.indexes} indexes to build`;
}
