/** What dies at random moments of a run that two workers load: a worker, the coordinator, the server. RUN_FAULTS=25: a hundred of each. */
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { type PostgresCluster, startPostgresCluster } from "../helpers/postgres-cluster.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { createQueueRuns, ended } from "../helpers/queue.js";
import { createTargets, dumpOf, query, unfinishedState } from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";

const TIMES = Number(process.env["QUEUE_FAULTS"] ?? 2 * Number(process.env["RUN_FAULTS"] ?? 1));
const MINUTES = 60_000;
const RECORDS = 60;

describePostgres("a run that two workers load, of which something dies", () => {
  let workspace: Workspace;
  let cluster: PostgresCluster;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let source: string;
  let runs: ReturnType<typeof createQueueRuns>;
  let before: string;

  beforeAll(async () => {
    workspace = createWorkspace();
    cluster = await startPostgresCluster();
    targets = await createTargets(cluster.url, workspace);
    source = await targets.next();
    await fillPostgres(source, { records: RECORDS, contentSizes: [1048576, 9, 1048577] });
    runs = createQueueRuns(workspace, { source, queue: await targets.next() });
    before = dumpOf(targets.template);
    return () => {
      cluster.stop();
      workspace[Symbol.dispose]();
    };
  }, 2 * MINUTES);
  afterEach(() => runs.end());

  /** Brings the run to its end, whatever of it is left. */
  async function finish(target: string): Promise<void> {
    for (let attempt = 0; attempt < 3; attempt++) {
      const state = await unfinishedState(target);
      const rows = await query<{ state: string }>(target, "SELECT state FROM llmspell.storage_runs");
      if (state === undefined && rows.length > 0) break;
      const { status, stderr } = await runs.outcome(target, state === undefined ? "migrate" : "resume");
      if (status !== 0 && attempt === 2) throw new Error(stderr);
    }
    expect((await verifyStores({ a: source, b: target })).identical).toBe(true);
    const [sum] = await query<{ records: string }>(
      target,
      "SELECT sum(records) AS records FROM llmspell.storage_parts",
    );
    expect(Number(sum?.records)).toBe(RECORDS * 15);
    expect(await query(target, "SELECT FROM llmspell.storage_steps WHERE what = 'index' AND NOT done")).toEqual([]);
  }
  const moment = (): number => randomInt(800, 5000);

  it(
    `a worker, ${TIMES} times`,
    async () => {
      for (let time = 0; time < TIMES; time++) {
        const target = await targets.next();
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
        const target = await targets.next();
        runs.worker(target, "--jobs", "2");
        const run = runs.silent(runs.coordinator(target, "migrate"));
        await sleep(moment());
        await ended(run, "SIGKILL");
        await finish(target);
        await runs.end();
      }
    },
    TIMES * MINUTES,
  );

  it(
    `the server, ${TIMES} times`,
    async () => {
      for (let time = 0; time < TIMES; time++) {
        const target = await targets.next();
        runs.worker(target, "--jobs", "2");
        const outcome = outcomeOf(runs.coordinator(target, "migrate"));
        await sleep(moment());
        cluster.crash();
        await outcome;
        await finish(target);
        await runs.end();
      }
    },
    TIMES * MINUTES,
  );

  it(
    `the coordinator, and then it is undone, ${TIMES} times`,
    async () => {
      for (let time = 0; time < TIMES; time++) {
        const target = await targets.next();
        const hand = runs.worker(target);
        const run = runs.silent(runs.coordinator(target, "migrate"));
        await sleep(moment());
        await ended(run, "SIGKILL");
        if ((await unfinishedState(target)) !== undefined) {
          await workspace.must(["storage", "undo", "--database", target]);
          expect(dumpOf(target)).toBe(before);
        }
        await ended(hand, "SIGTERM");
      }
    },
    TIMES * MINUTES,
  );
});
