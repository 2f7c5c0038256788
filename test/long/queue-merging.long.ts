/**
 * What dies at random moments of a run that two workers load and their coordinator merges into tables with rows: a worker, the
 * coordinator, the server. QUEUE_FAULTS=100 (or RUN_FAULTS=50): a hundred of each.
 */
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { type PostgresCluster, startPostgresCluster } from "../helpers/postgres-cluster.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { createQueueRuns, ended } from "../helpers/queue.js";
import {
  createTargets,
  dumpOf,
  largeObjectsOf,
  leftOfRuns,
  query,
  unfinishedState,
  useFurther,
} from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";

const TIMES = Number(process.env["QUEUE_FAULTS"] ?? 2 * Number(process.env["RUN_FAULTS"] ?? 1));
const MINUTES = 60_000;
const RECORDS = 60;
/** Rows that were given back stand elsewhere. */
const sorted = (dump: string): string => dump.split("\n").sort().join("\n");

describePostgres("a run that two workers load into tables with rows, of which something dies", () => {
  let workspace: Workspace;
  let cluster: PostgresCluster;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let source: string;
  let runs: ReturnType<typeof createQueueRuns>;

  beforeAll(async () => {
    workspace = createWorkspace();
    cluster = await startPostgresCluster();
    targets = await createTargets(cluster.url, workspace);
    source = await targets.next();
    await fillPostgres(source, { records: RECORDS, contentSizes: [1048576, 9, 1048577] });
    runs = createQueueRuns(workspace, { source, queue: await targets.next() });
    return () => {
      cluster.stop();
      workspace[Symbol.dispose]();
    };
  }, 2 * MINUTES);
  afterEach(() => runs.end());

  const moment = (): number => randomInt(800, 5000);

  describe("ends well", () => {
    /** What each target is a copy of, and what the run is to make of it. */
    let template: string;
    let expected: string;
    let before: string;

    beforeAll(async () => {
      template = await targets.next();
      await workspace.must(["storage", "migrate", "--from", source, "--to", template]);
      await useFurther(template);
      expected = await targets.next(template);
      await workspace.must(["storage", "migrate", "--from", source, "--to", expected]);
      before = sorted(dumpOf(template));
    }, 2 * MINUTES);

    /** Brings the run to its end, whatever of it is left. */
    async function finish(target: string): Promise<void> {
      for (let attempt = 0; attempt < 3; attempt++) {
        const state = await unfinishedState(target);
        const rows = await query<{ state: string }>(target, "SELECT state FROM llmspell.storage_runs");
        if (state === undefined && rows.length > 0) break;
        const { status, stderr } = await runs.outcome(target, state === undefined ? "migrate" : "resume");
        if (status !== 0 && attempt === 2) throw new Error(stderr);
      }
      expect((await verifyStores({ a: expected, b: target })).identical).toBe(true);
      const [sum] = await query<{ records: string }>(
        target,
        "SELECT sum(records) AS records FROM llmspell.storage_parts WHERE digest <> 'merged'",
      );
      expect(Number(sum?.records)).toBe(RECORDS * 15);
      expect(await query(target, "SELECT FROM llmspell.storage_steps WHERE what = 'index' AND NOT done")).toEqual([]);
      expect(await leftOfRuns(target)).toEqual([]);
      expect(dumpOf(target, true)).toBe(dumpOf(expected, true));
      expect(await largeObjectsOf(target)).toBe(await largeObjectsOf(expected));
    }

    /** A random moment; every other one is when some sections are merged. */
    async function wait(target: string, time: number): Promise<void> {
      if (time % 2 === 0) return sleep(moment());
      const least = randomInt(1, 10);
      const merges = "SELECT FROM llmspell.storage_parts WHERE digest = 'merged'";
      for (const end = Date.now() + MINUTES; Date.now() < end; await sleep(5))
        if ((await query(target, merges)).length >= least) break;
      await sleep(randomInt(0, 30));
    }

    it(
      `a worker, ${TIMES} times`,
      async () => {
        for (let time = 0; time < TIMES; time++) {
          const target = await targets.next(template);
          const hands = [runs.worker(target), runs.worker(target)];
          const outcome = outcomeOf(runs.coordinator(target, "migrate"));
          await sleep(moment());
          await ended(hands[0] as (typeof hands)[number], "SIGKILL");
          const { status, stderr } = await outcome;
          expect(status, stderr).toBe(0);
          await finish(target);
          await runs.end();
        }
      },
      TIMES * MINUTES,
    );

    it(
      `the coordinator, ${TIMES} times`,
      async () => {
        for (let time = 0; time < TIMES; time++) {
          const target = await targets.next(template);
          runs.worker(target, "--jobs", "2");
          const run = runs.silent(runs.coordinator(target, "migrate"));
          await wait(target, time);
          await ended(run, "SIGKILL");
          await finish(target);
          await runs.end();
        }
      },
      2 * TIMES * MINUTES,
    );

    it(
      `the server, ${TIMES} times`,
      async () => {
        for (let time = 0; time < TIMES; time++) {
          const target = await targets.next(template);
          runs.worker(target, "--jobs", "2");
          const outcome = outcomeOf(runs.coordinator(target, "migrate"));
          await wait(target, time);
          cluster.crash();
          await outcome;
          await finish(target);
          await runs.end();
        }
      },
      2 * TIMES * MINUTES,
    );

    it(
      `the coordinator, and then it is undone, ${TIMES} times`,
      async () => {
        for (let time = 0; time < TIMES; time++) {
          const target = await targets.next(template);
          const hand = runs.worker(target);
          const run = runs.silent(runs.coordinator(target, "migrate"));
          await wait(target, time);
          await ended(run, "SIGKILL");
          if ((await unfinishedState(target)) !== undefined) {
            await workspace.must(["storage", "undo", "--database", target]);
            expect(sorted(dumpOf(target))).toBe(before);
            expect(await leftOfRuns(target)).toEqual([]);
          }
          await ended(hand, "SIGTERM");
        }
      },
      2 * TIMES * MINUTES,
    );
  });
});
