/** What dies in the middle of a run: resumed, the target holds what the source does; undone, it is as it was before. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { startPostgresCluster } from "../helpers/postgres-cluster.js";
import { describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";
import {
  createTargets,
  dumpOf,
  killed,
  largeObjectsOf,
  query,
  SMALL_PARTS,
  startNetwork,
  unfinishedState,
} from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";
import { scaled } from "../helpers/scale.js";

/** RUN_FAULTS=5: a hundred kills. */
const MORE = Number(process.env["RUN_FAULTS"] ?? 1);
const KILLS = scaled(2, 20 * MORE);
const UNDONE = scaled(1, 4 * MORE);
const CUTS = scaled(1, 20 * MORE);
const CRASHES = scaled(1, 10 * MORE);
const MINUTES = 60_000;

const ENV = { env: SMALL_PARTS };

describePostgres("a run of which something dies", () => {
  let workspace: Workspace;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let document: string;
  let before: string;
  /** After an import by one job. */
  let schema: string;
  let largeObjects: string;
  /** Milliseconds of a run that nothing happens to. */
  let duration: number;

  beforeAll(async () => {
    workspace = createWorkspace();
    targets = await createTargets(postgresAdminUrl(), workspace);
    const source = await targets.next();
    await fillPostgres(source, { records: 60, contentSizes: [1048576, 9, 2 * 1048576, 1048577, 1048576, 1048576] });
    document = workspace.path("source.json");
    await workspace.must(["storage", "export", "--database", source, "--output", document]);
    const alone = await targets.next();
    before = dumpOf(alone);
    await workspace.must(["storage", "import", "--database", alone, "--input", document]);
    schema = dumpOf(alone, true);
    largeObjects = await largeObjectsOf(alone);
    const target = await targets.next();
    const started = performance.now();
    await workspace.must(importInto(target), ENV);
    duration = performance.now() - started;
    await expectLoaded(target);
  }, 2 * MINUTES);
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
  const moment = (): number => randomInt(Math.floor(duration * 0.2), Math.floor(duration));

  async function expectLoaded(url: string): Promise<void> {
    const { stdout } = await workspace.must(["storage", "verify", document, url]);
    expect(stdout).toContain("Identical");
    expect(dumpOf(url, true)).toBe(schema);
    expect(await largeObjectsOf(url)).toBe(largeObjects);
    expect(await unfinishedState(url)).toBeUndefined();
  }

  it(
    `is resumed to its end after SIGKILL, ${KILLS} times, no part twice`,
    async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        const target = await targets.next();
        const [first, second] = [moment(), moment()];
        await killed(workspace, importInto(target), first);
        const state = await unfinishedState(target);
        if (state === undefined) {
          // Before it began, or after its end.
          const rows = await query<{ state: string }>(target, "SELECT state FROM llmspell.storage_runs");
          if (rows.length === 0) await workspace.must(importInto(target), ENV);
        } else {
          await killed(workspace, resume(target), second);
          if ((await unfinishedState(target)) !== undefined) await workspace.must(resume(target), ENV);
        }
        await expectLoaded(target);
        const parts = await query<{ records: string }>(
          target,
          "SELECT sum(records) AS records FROM llmspell.storage_parts",
        );
        expect(Number(parts[0]?.records), `killed after ${first} and ${second} ms`).toBe(60 * 15);
      }
    },
    KILLS * MINUTES,
  );

  it(
    `is undone after SIGKILL, ${UNDONE} times, also when the undoing is killed`,
    async () => {
      for (let kill = 0; kill < UNDONE; kill++) {
        const target = await targets.next();
        const at = moment();
        await killed(workspace, importInto(target), at);
        if ((await unfinishedState(target)) === undefined) continue;
        const undo = ["storage", "undo", "--database", target];
        await killed(workspace, undo, randomInt(200, 1200));
        if ((await unfinishedState(target)) !== undefined) {
          const { stderr } = await workspace.must(undo);
          expect(stderr).not.toContain("Warning");
        }
        expect(dumpOf(target), `killed after ${at} ms`).toBe(before);
      }
    },
    UNDONE * MINUTES,
  );

  it(
    "is taken over from a process that only stood still, which then loads nothing more",
    async () => {
      const target = await targets.next();
      const child = workspace.start(importInto(target), ENV);
      const closed = once(child, "close") as Promise<[number | null]>;
      let errors = "";
      child.stdout?.resume();
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        errors += text;
      });
      const parts = async (): Promise<number> => (await query(target, "SELECT FROM llmspell.storage_parts")).length;
      while ((await parts()) < 3 && child.exitCode === null) await sleep(20);
      child.kill("SIGSTOP");
      expect(await unfinishedState(target)).toBe("loading");
      await workspace.must(resume(target), ENV);
      const loaded = await parts();
      child.kill("SIGCONT");
      const [status] = await closed;
      expect(status).not.toBe(0);
      expect(errors).toMatch(/\[E_(RUN_TAKEN|CONNECTION_LOST)\]/);
      expect(await parts()).toBe(loaded);
      await expectLoaded(target);
    },
    2 * MINUTES,
  );

  it(
    `is resumed after the network was cut, ${CUTS} times`,
    async () => {
      for (let cut = 0; cut < CUTS; cut++) {
        const target = await targets.next();
        const network = await startNetwork(target);
        try {
          const child = workspace.start(importInto(network.url(target)), ENV);
          const closed = once(child, "close") as Promise<[number | null]>;
          let errors = "";
          child.stdout?.resume();
          child.stderr?.setEncoding("utf8").on("data", (text: string) => {
            errors += text;
          });
          await Promise.race([closed, sleep(moment())]);
          network.cut();
          const [status] = await closed;
          if (status !== 0) expect(errors).toMatch(/\[E_(CONNECTION_LOST|CONNECT)\]/);
          if ((await unfinishedState(target)) !== undefined) await workspace.must(resume(target), ENV);
          else if (status !== 0) await workspace.must(importInto(target), ENV);
          await expectLoaded(target);
        } finally {
          await network.close();
        }
      }
    },
    CUTS * MINUTES,
  );

  it(
    `is resumed or undone after the server crashed, ${CRASHES} times`,
    async () => {
      const cluster = await startPostgresCluster({ settings: "fsync = on\nfull_page_writes = on\n" });
      const own = await createTargets(cluster.url, workspace);
      try {
        for (let crash = 0; crash < CRASHES; crash++) {
          const target = await own.next();
          const child = workspace.start(importInto(target), ENV);
          const closed = once(child, "close") as Promise<[number | null]>;
          child.stdout?.resume();
          child.stderr?.resume();
          await Promise.race([closed, sleep(moment())]);
          cluster.crash();
          await closed;
          if (crash % 2 === 1 && (await unfinishedState(target)) !== undefined) {
            await workspace.must(["storage", "undo", "--database", target]);
            expect(dumpOf(target)).toBe(dumpOf(own.template));
            continue;
          }
          const rows = await query(target, "SELECT FROM llmspell.storage_runs");
          if ((await unfinishedState(target)) !== undefined) await workspace.must(resume(target), ENV);
          else if (rows.length === 0) await workspace.must(importInto(target), ENV);
          const { stdout } = await workspace.must(["storage", "verify", document, target]);
          expect(stdout).toContain("Identical");
        }
      } finally {
        cluster.stop();
      }
    },
    CRASHES * 2 * MINUTES,
  );
});
