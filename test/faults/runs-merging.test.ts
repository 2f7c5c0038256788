/** What dies in the middle of a run that merges: resumed, the target is what one job makes of it; undone, it is as it was before. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { timeLimit } from "../helpers/moments.js";
import { startPostgresCluster } from "../helpers/postgres-cluster.js";
import { describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";
import { createUsed } from "../helpers/run-stage.js";
import {
  createTargets,
  dumpOf,
  killed,
  killedWhenMerged,
  largeObjectsOf,
  leftOfRuns,
  query,
  SMALL_PARTS,
  sorted,
  startNetwork,
  unfinishedState,
  useFurther,
} from "../helpers/runs.js";
import { scaled } from "../helpers/scale.js";

/** RUN_FAULTS=20: a hundred kills. */
const MORE = Number(process.env["RUN_FAULTS"] ?? 1);
const KILLS = scaled(1, 5 * MORE);
const UNDONE = scaled(0, 2 * MORE);
const CUTS = scaled(0, 5 * MORE);
const CRASHES = scaled(0, 5 * MORE);
const ENV = { env: SMALL_PARTS };

describePostgres("a run that merges, of which something dies", () => {
  let workspace: Workspace;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let document: string;
  /** A database that has been used since it got the document's records, and what one job makes of it. */
  let used: string;
  let expected: string;
  let before: string;
  let schema: string;
  let largeObjects: string;
  /** Milliseconds of a run that nothing happens to. */
  let duration: number;

  beforeAll(async () => {
    workspace = createWorkspace();
    targets = await createTargets(postgresAdminUrl(), workspace);
    ({ document, used, before, expected } = await createUsed(workspace, targets, {
      records: scaled(20, 60),
      contentSizes: [1048576, 9, 2 * 1048576, 1048577],
    }));
    schema = dumpOf(expected, true);
    largeObjects = await largeObjectsOf(expected);
    const target = await targets.next(used);
    const started = performance.now();
    await workspace.must(importInto(target), ENV);
    duration = performance.now() - started;
    await expectMerged(target);
  });
  afterAll(async () => {
    await targets?.drop();
    workspace?.[Symbol.dispose]();
  });

  const importInto = (url: string): string[] => [
    "storage",
    "import",
    "--database",
    url,
    "--input",
    document,
    "--jobs",
    "3",
  ];
  const resume = (url: string): string[] => ["storage", "resume", "--database", url, "--input", document];
  const undo = (url: string): string[] => ["storage", "undo", "--database", url];
  /** Every other one is late, when sections are merged. */
  const moment = (number: number): number =>
    randomInt(Math.floor(duration * (number % 2 === 0 ? 0.6 : 0.2)), Math.floor(duration));
  /** When some of the eleven sections are merged that have rows. */
  const between = (url: string) => ({ url, merged: randomInt(1, 10), milliseconds: randomInt(0, 30) });
  async function expectMerged(url: string): Promise<void> {
    const { stdout } = await workspace.must(["storage", "verify", expected, url]);
    expect(stdout).toContain("Identical");
    expect(dumpOf(url, true)).toBe(schema);
    expect(await largeObjectsOf(url)).toBe(largeObjects);
    await expectNothingLeft(url);
  }

  async function expectNothingLeft(url: string): Promise<void> {
    const left = await leftOfRuns(url);
    expect(left).toEqual([]);
    expect(await unfinishedState(url)).toBeUndefined();
  }

  /** Begins it anew where nothing of it is there, or goes on with it. */
  async function finish(url: string): Promise<void> {
    if ((await unfinishedState(url)) !== undefined) await workspace.must(resume(url), ENV);
    else if ((await query(url, "SELECT FROM llmspell.storage_runs")).length === 0)
      await workspace.must(importInto(url), ENV);
  }

  it(
    `is resumed to its end after SIGKILL, ${KILLS} times`,
    async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        const target = await targets.next(used);
        const moments = [moment(kill), moment(kill)] as const;
        if (kill % 2 === 1) await killed(workspace, importInto(target), moments[0]);
        else await killedWhenMerged(workspace, importInto(target), between(target));
        if ((await unfinishedState(target)) !== undefined) await killed(workspace, resume(target), moments[1]);
        await finish(target);
        await expectMerged(target).catch((error: Error) => {
          error.message = `killed after ${moments.join(" and ")} ms: ${error.message}`;
          throw error;
        });
      }
    },
    timeLimit(KILLS),
  );

  it.runIf(UNDONE > 0)(
    `is undone after SIGKILL, ${UNDONE} times, also when the undoing is killed`,
    async () => {
      for (let kill = 0; kill < UNDONE; kill++) {
        const target = await targets.next(used);
        const at = between(target);
        expect(await killedWhenMerged(workspace, importInto(target), at)).toBeGreaterThan(0);
        if ((await unfinishedState(target)) === undefined) continue;
        await killed(workspace, undo(target), randomInt(200, 1500));
        if ((await unfinishedState(target)) !== undefined) {
          const { stderr } = await workspace.must(undo(target));
          expect(stderr).not.toContain("Warning");
        }
        expect(sorted(dumpOf(target)), `killed after ${at.merged} merges`).toBe(before);
        await expectNothingLeft(target);
      }
    },
    timeLimit(UNDONE),
  );

  it.runIf(CUTS > 0)(
    `is resumed after the network was cut, ${CUTS} times`,
    async () => {
      for (let cut = 0; cut < CUTS; cut++) {
        const target = await targets.next(used);
        const network = await startNetwork(target);
        try {
          const child = workspace.start(importInto(network.url(target)), ENV);
          const closed = once(child, "close") as Promise<[number | null]>;
          child.stdout?.resume();
          child.stderr?.resume();
          await Promise.race([closed, sleep(moment(cut))]);
          network.cut();
          await closed;
          await finish(target);
          await expectMerged(target);
        } finally {
          await network.close();
        }
      }
    },
    timeLimit(CUTS),
  );

  it.runIf(CRASHES > 0)(
    `is resumed or undone after the server crashed, ${CRASHES} times`,
    async () => {
      const cluster = await startPostgresCluster({ settings: "fsync = on\nfull_page_writes = on\n" });
      const own = await createTargets(cluster.url, workspace);
      try {
        const filled = await own.next();
        await workspace.must(["storage", "import", "--database", filled, "--input", document]);
        await useFurther(filled);
        const then = sorted(dumpOf(filled));
        const one = await own.next(filled);
        await workspace.must(["storage", "import", "--database", one, "--input", document]);
        for (let crash = 0; crash < CRASHES; crash++) {
          const target = await own.next(filled);
          const child = workspace.start(importInto(target), ENV);
          const closed = once(child, "close") as Promise<[number | null]>;
          child.stdout?.resume();
          child.stderr?.resume();
          await Promise.race([closed, sleep(moment(crash))]);
          cluster.crash();
          await closed;
          if (crash % 4 === 1 && (await unfinishedState(target)) !== undefined) {
            await workspace.must(undo(target));
            expect(sorted(dumpOf(target))).toBe(then);
          } else {
            await finish(target);
            const { stdout } = await workspace.must(["storage", "verify", one, target]);
            expect(stdout).toContain("Identical");
          }
          await expectNothingLeft(target);
        }
      } finally {
        cluster.stop();
      }
    },
    timeLimit(CRASHES),
  );
});
