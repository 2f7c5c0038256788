/** Workers whose target has records already: what they load waits in tables of the run, and their coordinator merges it. */
import { beforeAll, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { ended, until } from "../helpers/queue.js";
import { createQueueStage, type QueueStage } from "../helpers/run-stage.js";
import { dumpOf, largeObjectsOf, leftOfRuns, query, sorted, unfinishedState, useFurther } from "../helpers/runs.js";

describePostgres("workers that merge into tables with rows", () => {
  let workspace: Workspace;
  let targets: QueueStage["targets"];
  let source: string;
  /** A database that has been used since it got the source's records. */
  let used: string;
  let runs: QueueStage["runs"];
  const stage = createQueueStage({ records: 24, contentSizes: [1048576, 9, 1048577] });
  beforeAll(async () => {
    ({ workspace, targets, source, runs } = stage);
    used = await targets.next();
    await workspace.must(["storage", "migrate", "--from", source, "--to", used]);
    await useFurther(used);
  });

  /** What one job makes of a copy of the used database, and what it says of it. */
  async function byOneJob(...args: string[]) {
    const url = await targets.next(used);
    const { stdout } = await workspace.must(["storage", "migrate", "--from", source, "--to", url, "--json", ...args]);
    return { url, said: saidBy(stdout) };
  }
  const saidBy = (stdout: string) => {
    const { total, sections, digests, read, valueBytes, unchanged } = JSON.parse(stdout);
    return { total, sections, digests, read, valueBytes, unchanged };
  };

  async function expectSame(target: string, expected: string): Promise<void> {
    expect((await verifyStores({ a: expected, b: target })).identical).toBe(true);
    expect(dumpOf(target, true)).toBe(dumpOf(expected, true));
    expect(await largeObjectsOf(target)).toBe(await largeObjectsOf(expected));
    expect(await leftOfRuns(target)).toEqual([]);
    expect(await unfinishedState(target)).toBeUndefined();
  }

  async function merged(target: string, least: number): Promise<void> {
    await until(async () => {
      const found = await query(target, "SELECT FROM llmspell.storage_parts WHERE digest = 'merged'");
      return found.length >= least;
    });
  }

  it("make of it what one job does, and say the same, though one of them is killed", async () => {
    const one = await byOneJob("--digests");
    const target = await targets.next(used);
    const first = runs.worker(target);
    const outcome = outcomeOf(runs.coordinator(target, "migrate", "--digests"));
    await runs.loadedParts(target, 3);
    await ended(first, "SIGKILL");
    const second = runs.worker(target, "--jobs", "2");
    const { status, stdout, stderr } = await outcome;
    expect(status, stderr).toBe(0);
    expect(saidBy(stdout)).toEqual(one.said);
    await expectSame(target, one.url);
    expect(await ended(second, "SIGTERM")).toBe(0);
  });

  it("go on when the coordinator was killed between two merges and the source has changed since", async () => {
    const target = await targets.next(used);
    const hand = runs.worker(target, "--jobs", "2");
    const run = runs.silent(runs.coordinator(target, "migrate", "--on-conflict", "skip"));
    await merged(target, 2);
    await ended(run, "SIGKILL");
    await query(
      source,
      `DELETE FROM llmspell.kv_store WHERE key IN (SELECT key FROM llmspell.kv_store ORDER BY key LIMIT 3);
       UPDATE llmspell.kv_store SET value = 'changed' WHERE key IN (SELECT key FROM llmspell.kv_store ORDER BY key DESC LIMIT 3);
       INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('a tenant that came later', 'k', 'v')`,
    );
    const resumed = await runs.outcome(target, "resume", "--on-conflict", "skip");
    expect(resumed.status, resumed.stderr).toBe(0);
    await ended(hand, "SIGTERM");
    await expectSame(target, (await byOneJob("--on-conflict", "skip")).url);
  });

  it("leave nothing behind when a merging run is undone", async () => {
    const target = await targets.next(used);
    const hand = runs.worker(target, "--jobs", "2");
    const run = runs.silent(runs.coordinator(target, "migrate"));
    await merged(target, 3);
    await ended(run, "SIGKILL");
    await ended(hand, "SIGTERM");
    if ((await unfinishedState(target)) === undefined) return;
    await workspace.must(["storage", "undo", "--database", target]);
    expect(sorted(dumpOf(target))).toBe(sorted(dumpOf(used)));
    expect(await leftOfRuns(target)).toEqual([]);
  });

  it("are refused where the role may not make the run's tables, before anything is written", async () => {
    const target = await targets.next(used);
    const name = `loader_${new URL(target).pathname.slice(1)}`;
    await query(
      target,
      `CREATE ROLE ${name} LOGIN BYPASSRLS PASSWORD 'secret'; GRANT SET ON PARAMETER session_replication_role TO ${name};
       GRANT USAGE ON SCHEMA llmspell TO ${name};
       GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA llmspell TO ${name}`,
    );
    try {
      const url = Object.assign(new URL(target), { username: name, password: "secret" }).href;
      const { status, stderr } = await runs.outcome(url, "migrate");
      expect(stderr).toMatch(/E_PERMISSION.*GRANT CREATE ON SCHEMA/s);
      expect(status).toBe(3);
      expect(await query(target, "SELECT FROM llmspell.storage_runs")).toEqual([]);
    } finally {
      await query(target, `DROP OWNED BY ${name}; DROP ROLE ${name}`);
    }
  });
});
