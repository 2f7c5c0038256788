/**
 * The disk of the target's server is full while a run loads and merges, or that of its WAL, when the server ends: a coded error;
 * resumed when there is room, or undone.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { createWorkspace, type Outcome, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";
import { createQueueRuns, ended } from "../helpers/queue.js";
import { createUsed, type UsedStage } from "../helpers/run-stage.js";
import { createTargets, dumpOf, leftOfRuns, query, SMALL_PARTS, sorted, unfinishedState } from "../helpers/runs.js";
import { canMount, command, mountSmall, type SmallDisk } from "../helpers/small-disk.js";
import { type SmallWal, startWithSmallWal } from "../helpers/small-wal.js";

const ENV = { env: SMALL_PARTS };
const SAMPLE = {
  records: 100,
  contentSizes: [1048576, 9, 2 * 1048576, 1048577],
  counts: { kv_store: 2000, agent_states: 2000 },
  padding: 1000,
};
/** KiB that are left: for some of the parts, for all of them but not for the merges. With less the server lets nobody connect. */
const LEFT = [2000, 9000, 14_000];
/** Of the WAL: for some of the parts, for some of the merges. */
const WAL_LEFT = [2000, 11_000];

describePostgres("a run whose target's disk is full", () => {
  let workspace: Workspace;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let stage: UsedStage;

  beforeAll(async () => {
    workspace = createWorkspace();
    targets = await createTargets(postgresAdminUrl(), workspace);
    stage = await createUsed(workspace, targets, SAMPLE);
  });
  afterAll(async () => {
    await targets?.drop();
    workspace?.[Symbol.dispose]();
  });

  it.runIf(canMount).each(LEFT.flatMap((left) => (["resume", "undo"] as const).map((way) => [left, way] as const)))(
    "%i KiB left: %s",
    async (left, way) => {
      using small = mountSmall(300) as SmallDisk;
      const folder = join(small.folder, "tablespace");
      mkdirSync(folder);
      expect(command("chown", "-R", "postgres", small.folder)).toBe(true);
      const name = `full_${process.pid}`;
      await query(postgresAdminUrl(), `CREATE TABLESPACE ${name} LOCATION '${folder}'`);
      const target = await targets.next(stage.used);
      try {
        await query(postgresAdminUrl(), `ALTER DATABASE ${new URL(target).pathname.slice(1)} SET TABLESPACE ${name}`);
        small.fill(left);
        const load = ["storage", "import", "--database", target, "--input", stage.document, "--jobs", "3"];
        const { status, stderr } = await workspace.run(load, ENV);
        expect(stderr).toContain("[E_DISK_FULL]");
        expect(status).toBe(1);
        const again = ["storage", way, "--database", target, ...(way === "resume" ? ["--input", stage.document] : [])];
        // The disk is still full: it says so again, or does not need the room; or nothing was begun, or nobody may connect.
        const still = await workspace.run(again, ENV);
        if (still.status !== 0) expect(still.stderr).toMatch(/\[E_(DISK_FULL|USAGE)\]/);
        rmSync(join(small.folder, "ballast"));
        if ((await unfinishedState(target)) !== undefined) await workspace.must(again, ENV);
        else if (still.status !== 0 && way === "resume") await workspace.must(load, ENV);
        expect(await unfinishedState(target)).toBeUndefined();
        if (way === "undo") expect(sorted(dumpOf(target))).toBe(stage.before);
        else expect((await verifyStores({ a: stage.expected, b: target })).identical).toBe(true);
        expect(await leftOfRuns(target)).toEqual([]);
      } finally {
        await targets.remove(target);
        await query(postgresAdminUrl(), `DROP TABLESPACE ${name}`);
      }
    },
  );
});

describePostgres("a run whose target's server has no room for its WAL", () => {
  let workspace: Workspace;
  let wal: SmallWal;
  let targets: Awaited<ReturnType<typeof createTargets>>;
  let stage: UsedStage;
  let runs: ReturnType<typeof createQueueRuns>;

  beforeAll(async () => {
    if (!canMount) return;
    workspace = createWorkspace();
    wal = await startWithSmallWal(300);
    targets = await createTargets(wal.cluster.url, workspace);
    stage = await createUsed(workspace, targets, SAMPLE);
    runs = createQueueRuns(workspace, { source: stage.source, queue: await targets.next() });
  });
  afterEach(() => runs?.end());
  afterAll(() => {
    wal?.[Symbol.dispose]();
    workspace?.[Symbol.dispose]();
  });

  const cases = WAL_LEFT.flatMap((left) =>
    (["jobs", "workers"] as const).flatMap((whose) =>
      (["resume", "undo"] as const).map((way) => [left, whose, way] as const),
    ),
  );
  it.runIf(canMount).each(cases)("%i KiB left, %s: %s", async (left, whose, way) => {
    // The test before this one may have left it where it was.
    wal.restart();
    const target = await targets.next(stage.used);
    const load = ["storage", "import", "--database", target, "--input", stage.document, "--jobs", "3"];
    const hands = whose === "workers" ? [runs.worker(target), runs.worker(target)] : [];
    const begin = (): Promise<Outcome> =>
      whose === "jobs" ? workspace.run(load, ENV) : outcomeOf(runs.coordinator(target, "migrate"));
    await wal.fill(left);
    const { status, stderr } = await begin();
    expect(stderr).toMatch(/\[E_(DISK_FULL|CONNECTION_LOST)\]/);
    expect(stderr).toMatch(/Hint: .*(pg_wal|server's log)/);
    expect(stderr).not.toContain("Run the import again");
    expect([1, 3]).toContain(status);
    wal.restart();
    const state = await unfinishedState(target);
    if (state !== undefined) {
      expect(stderr).toMatch(/Hint: .*storage resume/);
      const again = ["storage", way, "--database", target];
      if (way === "undo") await workspace.must(again, ENV);
      else if (whose === "jobs") await workspace.must([...again, "--input", stage.document], ENV);
      else expect(await runs.outcome(target, "resume")).toMatchObject({ status: 0 });
    } else if (way === "resume") expect(await begin()).toMatchObject({ status: 0 });
    // What the workers lost they find again.
    for (const hand of hands) expect(await ended(hand, "SIGTERM")).toBe(0);
    expect(await unfinishedState(target)).toBeUndefined();
    if (way === "undo") expect(sorted(dumpOf(target))).toBe(stage.before);
    else expect((await verifyStores({ a: stage.expected, b: target })).identical).toBe(true);
    expect(await leftOfRuns(target)).toEqual([]);
    await targets.remove(target);
  });
});
