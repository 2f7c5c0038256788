/** Runs with workers some of which stand still: a machine that sleeps, or that lost its power and left its sessions behind. */
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";
import pg from "pg";
import { beforeAll, expect, it } from "vitest";
import { JobQueue, type PartJob, type TakenJob } from "../../src/backends/postgres/queue/job-queue.js";
import { verifyStores } from "../../src/index.js";
import { outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { ended, until } from "../helpers/queue.js";
import { createQueueStage, type QueueStage } from "../helpers/run-stage.js";
import { query, unfinishedState } from "../helpers/runs.js";

const AS_THEY_ARE = ["--defer-indexes", "never"];

describePostgres("runs with workers that stand still", () => {
  let workspace: Workspace;
  let targets: QueueStage["targets"];
  let source: string;
  let queue: string;
  let runs: QueueStage["runs"];
  const stage = createQueueStage({ records: 36, contentSizes: [9, 1048577] });
  beforeAll(() => {
    ({ workspace, targets, source, queue, runs } = stage);
  });

  /** Stops the worker when it waits for a lock on the table. */
  async function stoppedAt(target: string, hand: ChildProcess, table: string): Promise<void> {
    const waits = `SELECT FROM pg_locks WHERE NOT granted AND relation = 'llmspell.${table}'::regclass`;
    await until(async () => (await query(target, waits)).length > 0);
    hand.kill("SIGSTOP");
  }

  it.each([
    ["has a part at hand", "kv_store", "SHARE"],
    ["makes a partition", "event_log", "ACCESS SHARE"],
  ])("end though a worker that %s is not heard of any more", async (_, table, mode) => {
    const target = await targets.next();
    const blocker = new pg.Client({ connectionString: target });
    await blocker.connect();
    const run = runs.coordinator(target, "migrate", ...AS_THEY_ARE);
    const outcome = outcomeOf(run);
    // A run tries all locks before it begins.
    await runs.planned(target);
    await blocker.query(`BEGIN; LOCK TABLE llmspell.${table} IN ${mode} MODE`);
    const hand = runs.worker(target);
    try {
      await stoppedAt(target, hand, table);
      await blocker.query("COMMIT");
      const other = runs.worker(target, "--lock-timeout", "2");
      const { status, stderr } = await outcome;
      expect(status, stderr).toBe(0);
      hand.kill("SIGCONT");
      expect((await verifyStores({ a: source, b: target })).identical).toBe(true);
      // What it had at hand is not brought again, and it takes others' work as before.
      expect(await ended(hand, "SIGTERM")).toBe(0);
      expect((await verifyStores({ a: source, b: target })).identical).toBe(true);
      expect(await ended(other, "SIGTERM")).toBe(0);
      expect(await unfinishedState(target)).toBeUndefined();
    } finally {
      await blocker.end();
    }
  });

  it("end when the session is lost that holds the source's snapshot, and are resumed with another", async () => {
    const target = await targets.next();
    const outcome = outcomeOf(runs.coordinator(target, "migrate", ...AS_THEY_ARE));
    const hand = runs.worker(target);
    await runs.loadedParts(target, 3);
    await query(
      source,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    const { status, stderr } = await outcome;
    expect(stderr).toMatch(/E_CONNECTION_LOST/);
    expect(stderr).toContain("storage resume");
    expect(status).toBe(3);
    // Each machine has the stores by these names by now.
    appendFileSync(
      workspace.path("config.toml"),
      '[stores.renamed]\nurl_env = "SRC_URL"\n[stores.there]\nurl_env = "DST_URL"\n',
    );
    await ended(hand, "SIGTERM");
    const next = runs.worker(target);
    const names = ["--from", "renamed", "--to", "there"];
    expect(await runs.outcome(target, "resume", ...names, ...AS_THEY_ARE)).toMatchObject({ status: 0 });
    expect((await verifyStores({ a: source, b: target })).identical).toBe(true);
    expect(await ended(next, "SIGTERM")).toBe(0);
  });

  it("are another coordinator's when that has resumed them: the first comes to no end", async () => {
    const target = await targets.next();
    const first = outcomeOf(runs.coordinator(target, "migrate", ...AS_THEY_ARE));
    await until(async () => (await query(queue, "SELECT FROM llmspell_queue.job WHERE state = 'created'")).length > 0);
    const second = runs.outcome(target, "resume", ...AS_THEY_ARE);
    const hand = runs.worker(target);
    expect(await second).toMatchObject({ status: 0 });
    expect((await first).stderr).toMatch(/E_RUN_TAKEN/);
    expect((await verifyStores({ a: source, b: target })).identical).toBe(true);
    expect(await ended(hand, "SIGTERM")).toBe(0);
  });

  it("say in each job how long a worker may not be heard of, whoever made the queue", async () => {
    const target = await targets.next();
    const run = runs.silent(runs.coordinator(target, "migrate", "--worker-timeout", "33", ...AS_THEY_ARE));
    const jobs = "SELECT DISTINCT heartbeat_seconds AS seconds FROM llmspell_queue.job WHERE state = 'created'";
    await until(async () => (await query(queue, jobs)).length > 0);
    expect(await query(queue, jobs)).toEqual([{ seconds: 33 }]);
    await ended(run, "SIGKILL");
    await query(queue, "DELETE FROM llmspell_queue.job");
  });

  it("hear of jobs that come while they wait, and of none that are not there", async () => {
    const { signal } = new AbortController();
    const job: PartJob = { token: randomUUID(), run: 1, epoch: 1, part: 1, from: "src", to: "dst" };
    const coordinator = await JobQueue.open({ url: queue }, "coordinator");
    const worker = await JobQueue.open({ url: queue }, "worker");
    try {
      expect(await worker.take()).toBeUndefined();
      // Far longer than the test may take.
      const heard = worker.wait(40 * 60_000, signal);
      await coordinator.send([job]);
      await heard;
      const taken = await worker.take();
      expect(taken?.job).toEqual(job);
      await worker.complete(taken as TakenJob);
      await worker.wait(1, signal);
      expect(await worker.take()).toBeUndefined();
    } finally {
      await worker.close();
      await coordinator.close();
    }
  });
});
