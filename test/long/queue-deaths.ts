/**
 * What dies at random moments of a run that two workers load: a worker, the coordinator, the server, the network. The workers live
 * through a whole series, where they are not what dies.
 */
import type { ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { afterEach, beforeAll, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { atMoments, type Moment, momentNumbers, type RunClock, reach, stateOf, timed } from "../helpers/moments.js";
import { startPostgresCluster } from "../helpers/postgres-cluster.js";
import { describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";
import { ended } from "../helpers/queue.js";
import {
  changeSource,
  createTargets,
  doAsOthers,
  dumpOf,
  largeObjectsOf,
  leftOfRuns,
  query,
  recordsOf,
  SMALL_PARTS,
  sorted,
  startNetwork,
  undoAsOthers,
  unfinishedState,
  useFurther,
} from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";

const TIMES = Number(process.env["QUEUE_FAULTS"] ?? 2 * Number(process.env["RUN_FAULTS"] ?? 1));
const UNDONE = Math.ceil(TIMES / 5);
const MINUTES = 60_000;
const RECORDS = 36;

/** Where a process finds the stores and the queue. */
interface Side {
  readonly env: Readonly<Record<string, string>>;
  readonly queue: string;
}

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

    /** A source, a queue, and the names of as many targets as there are moments, on one server. */
    async function createStage(adminUrl: string) {
      const targets = await createTargets(adminUrl, workspace);
      const [source, queue] = [await targets.next(), await targets.next()];
      await fillPostgres(source, { records: RECORDS, contentSizes: [1048576, 9, 1048577] });
      const template = merging ? await targets.next() : targets.template;
      if (merging) {
        await workspace.must(["storage", "migrate", "--from", source, "--to", template]);
        await useFurther(template);
      }
      const byOneJob = async (): Promise<string> => {
        const url = await targets.next(template);
        await workspace.must(["storage", "migrate", "--from", source, "--to", url]);
        return url;
      };
      let expected = await byOneJob();
      const schema = dumpOf(expected, true);
      const names = ["first", ...momentNumbers(TIMES).map((number) => `dst${number}`)];

      function side(name: string, through = (url: string): string => url): Side {
        const stores = [["src", source], ...names.map((each) => [each, targets.named(each)])] as [string, string][];
        const config = workspace.path(`${name}.toml`);
        writeFileSync(config, stores.map(([store, url]) => `[stores.${store}]\nurl = "${through(url)}"\n`).join(""));
        return { env: { ...SMALL_PARTS, LLMSPELL_CONFIG: config }, queue: through(queue) };
      }
      function start({ env }: Side, args: readonly string[]): ChildProcess {
        const child = workspace.start(args, { env });
        started.add(child);
        return child;
      }
      function silent(child: ChildProcess): ChildProcess {
        child.stdout?.resume();
        child.stderr?.resume();
        return child;
      }
      const direct = side("direct");
      const coordinator = (
        name: string,
        { command = "migrate", at = direct }: { command?: "migrate" | "resume"; at?: Side } = {},
      ): ChildProcess => start(at, ["storage", command, "--from", "src", "--to", name, "--queue", at.queue, "--quiet"]);

      /** It is what one job makes of it: all of the source is there, once, with every index, trigger and large object. */
      async function expectLoaded(target: string): Promise<void> {
        expect((await verifyStores({ a: merging ? expected : source, b: target })).identical).toBe(true);
        const [sum] = await query<{ records: string }>(
          target,
          "SELECT sum(records) AS records FROM llmspell.storage_parts WHERE digest IS DISTINCT FROM 'merged'",
        );
        expect(Number(sum?.records)).toBe(await recordsOf(source));
        expect(dumpOf(target, true)).toBe(schema);
        expect(await largeObjectsOf(target)).toBe(await largeObjectsOf(expected));
        expect(await leftOfRuns(target)).toEqual([]);
      }

      /** Brings the run to its end, whatever of it is left. */
      async function finish(name: string): Promise<void> {
        const target = targets.named(name);
        for (let attempt = 1; ; attempt++) {
          const state = await unfinishedState(target);
          const rows = await query(target, "SELECT FROM llmspell.storage_runs WHERE state = 'done'");
          if (state === undefined && rows.length > 0) break;
          const command = state === undefined ? "migrate" : "resume";
          const { status, stderr } = await outcomeOf(coordinator(name, { command }));
          if (status !== 0 && attempt === 3) throw new Error(stderr);
        }
        await expectLoaded(target);
      }

      const stage = {
        template,
        side,
        coordinator,
        silent,
        finish,
        async changeSource(mark: string): Promise<void> {
          await changeSource(source, mark);
          if (merging) await targets.remove(expected);
          if (merging) expected = await byOneJob();
        },
        /** Two of them, or as many as are wanted. */
        workers: (count = 2, at = direct): ChildProcess[] =>
          Array.from({ length: count }, () => silent(start(at, ["storage", "worker", "--queue", at.queue]))),
        async target(moment: Moment): Promise<{ name: string; url: string }> {
          const name = `dst${moment.number}`;
          await targets.make(targets.named(name), template);
          return { name, url: targets.named(name) };
        },
        /** Nothing of the run stays behind: jobs of a database that has gone would be tried for hours. */
        async leave(url: string): Promise<void> {
          await query(queue, "DELETE FROM llmspell_queue.job");
          await targets.remove(url);
        },
        async clock(): Promise<RunClock> {
          const target = targets.named("first");
          await targets.make(target, template);
          const clock = await timed(target, silent(coordinator("first")));
          await expectLoaded(target);
          await this.leave(target);
          return clock;
        },
        drop: () => targets.drop(),
      };
      return stage;
    }

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
      TIMES * MINUTES,
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
      TIMES * MINUTES,
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
      TIMES * MINUTES,
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
      TIMES * MINUTES,
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
      UNDONE * MINUTES,
    );
  });
}
