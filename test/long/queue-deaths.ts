/**
 * What dies at random moments of a run that two workers load: a worker, the coordinator, the server, the network. The workers live
 * through a whole series, where they are not what dies.
 */
import type { ChildProcess } from "node:child_process";
import { afterEach, beforeAll, expect, it } from "vitest";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { atMoments, reach, stateOf, timeLimit } from "../helpers/moments.js";
import { startPostgresCluster } from "../helpers/postgres-cluster.js";
import { describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";
import { ended } from "../helpers/queue.js";
import { doAsOthers, dumpOf, leftOfRuns, sorted, startNetwork, undoAsOthers } from "../helpers/runs.js";
import { createStage as createQueueStage } from "./queue-stage.js";

const TIMES = Number(process.env["QUEUE_FAULTS"] ?? 2 * Number(process.env["RUN_FAULTS"] ?? 1));
const UNDONE = Math.ceil(TIMES / 5);

export interface Deaths {
  /** What the series are called in FAULT_LOG. */
  readonly series: string;
  /** Whether the targets have rows: what one job makes of them is what the run is to make. */
  readonly merging: boolean;
}

/** The five series of one kind of run. QUEUE_FAULTS=100: a hundred moments of each, and twenty of undo. */
export function describeDeaths(what: string, { series, merging }: Deaths): void {
  describePostgres(what, () => {
    let workspace: Workspace;
    const started = new Set<ChildProcess>();

    beforeAll(() => {
      workspace = createWorkspace();
      return () => workspace[Symbol.dispose]();
    });
    afterEach(async () => {
      for (const child of started) await ended(child, "SIGKILL");
      started.clear();
    });

    const createStage = (adminUrl: string) => createQueueStage(adminUrl, { workspace, started, times: TIMES, merging });
    const alive = (hands: readonly ChildProcess[]): void => {
      for (const { exitCode, signalCode } of hands) expect([exitCode, signalCode]).toEqual([null, null]);
    };

    it(
      `a worker, ${TIMES} times`,
      async () => {
        const stage = await createStage(postgresAdminUrl());
        const hands = stage.workers();
        const clock = await stage.clock();
        // Once all is loaded, workers have nothing to do.
        const loading = { ...clock, parts: clock.parts - clock.merges, merges: 0 };
        await atMoments(`${series}: a worker`, TIMES, async (moment) => {
          const { name, url } = await stage.target(moment);
          const run = stage.coordinator(name);
          const done = outcomeOf(run);
          const at = await reach(moment, loading, url, run);
          await ended(hands.shift() as ChildProcess, "SIGKILL");
          const state = await stateOf(url);
          // Another comes late, or at once.
          if (moment.random.chance(0.5)) hands.push(...stage.workers(1));
          const { status, stderr } = await done;
          expect(status, stderr).toBe(0);
          await stage.finish(name);
          if (hands.length === 1) hands.push(...stage.workers(1));
          alive(hands);
          await stage.leave(url);
          return `${at}: ${state}`;
        });
        await stage.drop();
      },
      timeLimit(TIMES),
    );

    it(
      `the coordinator, ${TIMES} times, every other time with a source that changes before it is resumed`,
      async () => {
        const stage = await createStage(postgresAdminUrl());
        const hands = stage.workers();
        const clock = await stage.clock();
        await atMoments(`${series}: the coordinator`, TIMES, async (moment) => {
          const { name, url } = await stage.target(moment);
          const run = stage.silent(stage.coordinator(name));
          const at = await reach(moment, clock, url, run);
          await ended(run, "SIGKILL");
          const state = await stateOf(url);
          const isChanged = moment.number % 2 === 1 && !state.startsWith("done");
          if (isChanged) await stage.changeSource(`${moment.number} ${moment.random.uint32()}`);
          await stage.finish(name);
          alive(hands);
          await stage.leave(url);
          return `${at}: ${state}${isChanged ? "; changed" : ""}`;
        });
        await stage.drop();
      },
      timeLimit(TIMES),
    );

    it(
      `the server, ${TIMES} times`,
      async () => {
        const cluster = await startPostgresCluster();
        try {
          const stage = await createStage(cluster.url);
          const hands = stage.workers();
          const clock = await stage.clock();
          await atMoments(`${series}: the server`, TIMES, async (moment) => {
            const { name, url } = await stage.target(moment);
            const run = stage.coordinator(name);
            const done = outcomeOf(run);
            const at = await reach(moment, clock, url, run);
            cluster.crash();
            const { status } = await done;
            const state = await stateOf(url);
            await stage.finish(name);
            alive(hands);
            await stage.leave(url);
            return `${at}: ${state}; status ${status}`;
          });
        } finally {
          for (const child of started) await ended(child, "SIGKILL");
          cluster.stop();
        }
      },
      timeLimit(TIMES),
    );

    it(
      `the network, ${TIMES} times: the links of the workers, those of the coordinator, all of them`,
      async () => {
        const stage = await createStage(postgresAdminUrl());
        const [near, far] = [await startNetwork(postgresAdminUrl()), await startNetwork(postgresAdminUrl())];
        try {
          const coordinating = stage.side("coordinator", near.url);
          const hands = stage.workers(2, stage.side("workers", far.url));
          const clock = await stage.clock();
          await atMoments(`${series}: the network`, TIMES, async (moment) => {
            const { name, url } = await stage.target(moment);
            const run = stage.coordinator(name, { at: coordinating });
            const done = outcomeOf(run);
            const at = await reach(moment, clock, url, run);
            const whose = (["workers", "coordinator", "all"] as const)[moment.number % 3];
            if (whose !== "coordinator") far.cut();
            if (whose !== "workers") near.cut();
            const { status, stderr } = await done;
            // What workers lose they find again; a coordinator is resumed.
            if (whose === "workers") expect(status, stderr).toBe(0);
            else if (status !== 0) expect(stderr).toMatch(/\[E_(CONNECTION_LOST|CONNECT)\]/);
            const state = await stateOf(url);
            await stage.finish(name);
            alive(hands);
            await stage.leave(url);
            return `${at}: ${whose}; ${state}; status ${status}`;
          });
        } finally {
          for (const child of started) await ended(child, "SIGKILL");
          await near.close();
          await far.close();
          await stage.drop();
        }
      },
      timeLimit(TIMES),
    );

    it(
      `the coordinator, and then it is undone, ${UNDONE} times, while the workers go on; what others did stays, and is named`,
      async () => {
        const stage = await createStage(postgresAdminUrl());
        // Rows that a merge replaced stand elsewhere when they have been given back.
        const shown = merging ? (url: string) => sorted(dumpOf(url)) : dumpOf;
        const before = shown(stage.template);
        const hands = stage.workers();
        const clock = await stage.clock();
        await atMoments(`${series}: undo`, UNDONE, async (moment) => {
          const { name, url } = await stage.target(moment);
          const run = stage.silent(stage.coordinator(name));
          const at = await reach(moment, clock, url, run);
          await ended(run, "SIGKILL");
          const state = await stateOf(url);
          if (state.startsWith("loading")) {
            const others = moment.number % 2 === 1 ? await doAsOthers(url, merging) : undefined;
            const undo = workspace.start(["storage", "undo", "--database", url]);
            started.add(undo);
            const { status, stderr } = await outcomeOf(undo);
            expect(status, stderr).toBe(0);
            if (others === undefined) expect(stderr).not.toContain("Warning");
            for (const key of others?.named ?? []) expect(stderr).toContain(key);
            if (others !== undefined) await undoAsOthers(url, others);
            expect(shown(url)).toBe(before);
            expect(await leftOfRuns(url)).toEqual([]);
          }
          alive(hands);
          await stage.leave(url);
          return `${at}: ${state}`;
        });
        await stage.drop();
      },
      timeLimit(UNDONE),
    );
  });
}
