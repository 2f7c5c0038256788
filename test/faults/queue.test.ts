/** Runs whose parts workers load: processes of their own, a queue on a server, and what dies meanwhile. */
import pg from "pg";
import { beforeAll, expect, it } from "vitest";
import { listRuns, verifyStores } from "../../src/index.js";
import { outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { ended, until } from "../helpers/queue.js";
import { createQueueStage, type QueueStage } from "../helpers/run-stage.js";
import { dumpOf, largeObjectsOf, query, unfinishedState } from "../helpers/runs.js";

/** Building indexes takes most of the time of small runs. */
const AS_THEY_ARE = ["--defer-indexes", "never"];
const PLANNED = "SELECT part, section, bounds FROM llmspell.storage_plan_parts ORDER BY part";
const LOADABLE = `SELECT FROM llmspell.storage_plan_parts p WHERE section <> 'event_log' AND NOT EXISTS
  (SELECT FROM llmspell.storage_parts l WHERE l.part = p.part)`;

describePostgres("runs whose parts workers load", () => {
  let workspace: Workspace;
  let targets: QueueStage["targets"];
  let source: string;
  let queue: string;
  let runs: QueueStage["runs"];
  const stage = createQueueStage({ records: 36, contentSizes: [1048576, 9, 1048577] });
  beforeAll(() => {
    ({ workspace, targets, source, queue, runs } = stage);
  });

  const indexesOf = (url: string): string[] =>
    dumpOf(url, true)
      .split("\n")
      .filter((line) => /^CREATE (UNIQUE )?INDEX/.test(line) && !line.includes(" event_log_"));

  async function same(target: string): Promise<void> {
    expect((await verifyStores({ a: source, b: target })).identical).toBe(true);
    expect(await unfinishedState(target)).toBeUndefined();
    expect((await largeObjectsOf(target)).split(" ")[0]).toBe((await largeObjectsOf(source)).split(" ")[0]);
    expect(indexesOf(target)).toEqual(indexesOf(source));
  }

  it("load everything with two workers, one of which is killed and one of which comes late", async () => {
    const target = await targets.next();
    const first = runs.worker(target);
    const run = runs.coordinator(target, "migrate");
    const outcome = outcomeOf(run);
    await runs.loadedParts(target, 3);
    await ended(first, "SIGKILL");
    const second = runs.worker(target, "--jobs", "2");
    expect(await outcome).toMatchObject({ status: 0 });
    await same(target);
    expect(await ended(second, "SIGTERM")).toBe(0);
    // Large objects are no part of the rows that the others are judged by.
    const large = "SELECT FROM llmspell.storage_plan_parts WHERE section = 'artifacts.content'";
    expect((await query(target, large)).length).toBeGreaterThan(2);
  });

  it("go on when the coordinator was killed and the source has changed since", async () => {
    const target = await targets.next();
    const hand = runs.worker(target);
    const run = runs.silent(runs.coordinator(target, "migrate", ...AS_THEY_ARE));
    await runs.loadedParts(target, 20);
    await ended(run, "SIGKILL");
    await query(
      source,
      "DELETE FROM llmspell.vector_embeddings_384 WHERE id IN (SELECT id FROM llmspell.vector_embeddings_384 ORDER BY id LIMIT 3)",
    );
    await query(
      source,
      "UPDATE llmspell.kv_store SET key = key || '!' WHERE key IN (SELECT key FROM llmspell.kv_store LIMIT 5)",
    );
    await query(
      source,
      "INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('a tenant that came later', 'k', 'v')",
    );
    const other = await runs.outcome(target, "migrate", ...AS_THEY_ARE);
    expect(other).toMatchObject({ status: 5, stderr: expect.stringContaining("E_RUN_UNFINISHED") });
    expect(await runs.outcome(target, "resume", ...AS_THEY_ARE)).toMatchObject({ status: 0 });
    await same(target);
    await ended(hand, "SIGTERM");
  });

  it("load parts while others are planned, and are planned on from a source that has changed", async () => {
    const target = await targets.next();
    const blocker = new pg.Client({ connectionString: target });
    await blocker.connect();
    const hand = runs.worker(target, "--jobs", "3");
    try {
      // The second kind cannot be begun: its row of the ledger is at somebody else's hand.
      await blocker.query(
        "BEGIN; SET LOCAL session_replication_role = replica; INSERT INTO llmspell.storage_steps (run, step, what, section, name) VALUES (1, 2, 'section', '', '')",
      );
      const run = runs.silent(runs.coordinator(target, "migrate", ...AS_THEY_ARE));
      await until(async () => (await query(target, PLANNED)).length > 0);
      await runs.loadedParts(target, 1);
      await until(async () => (await query(target, LOADABLE)).length === 0);
      expect(await query(target, "SELECT stage FROM llmspell.storage_plans")).toEqual([{ stage: "planning" }]);
      await ended(run, "SIGKILL");
    } finally {
      await blocker.end();
    }
    await query(
      source,
      `UPDATE llmspell.kv_store SET key = key || '?' WHERE key IN (SELECT key FROM llmspell.kv_store LIMIT 5);
       DELETE FROM llmspell.agent_states WHERE agent_id IN (SELECT agent_id FROM llmspell.agent_states LIMIT 2);
       INSERT INTO llmspell.sessions (tenant_id, session_id, session_data) VALUES ('a tenant that came later', gen_random_uuid(), '{}')`,
    );
    const before = await query<{ part: number }>(target, PLANNED);
    expect(await runs.outcome(target, "resume", ...AS_THEY_ARE)).toMatchObject({ status: 0 });
    const after = await query<{ part: number }>(target, PLANNED);
    expect(after.length).toBeGreaterThan(before.length);
    // What was planned is as it was.
    expect(after.slice(0, before.length)).toEqual(before);
    await same(target);
    await ended(hand, "SIGTERM");
  });

  it("leave records that others have changed meanwhile, though the source has changed beside them", async () => {
    const target = await targets.next();
    const include = ["--include", "kv_store", "--verify-parts", ...AS_THEY_ARE];
    const hand = runs.worker(target);
    const run = runs.silent(runs.coordinator(target, "migrate", ...include));
    await runs.loadedParts(target, 1);
    await ended(run, "SIGKILL");
    await ended(hand, "SIGTERM");
    const first = "(SELECT kv_id FROM llmspell.kv_store ORDER BY kv_id LIMIT 1)";
    const [theirs] = await query<{ id: string }>(
      target,
      `UPDATE llmspell.kv_store SET value = 'theirs' WHERE kv_id IN ${first} RETURNING kv_id AS id`,
    );
    await query(source, "UPDATE llmspell.kv_store SET value = value || 'later'::bytea");
    const other = runs.worker(target, "--jobs", "2");
    const { status, stderr } = await runs.outcome(target, "resume", ...include);
    expect(status, stderr).toBe(0);
    expect(stderr).toMatch(/kv_store: 1 of the source's records stay as others have changed/);
    await ended(other, "SIGTERM");
    const rows = (url: string) =>
      query<{ id: string }>(url, "SELECT kv_id AS id, value::text FROM llmspell.kv_store ORDER BY 1");
    const [expected, found] = [await rows(source), await rows(target)];
    const differing = found.filter((row, at) => JSON.stringify(row) !== JSON.stringify(expected[at]));
    expect([found.length, differing.map(({ id }) => id)]).toEqual([expected.length, [theirs?.id]]);
  });

  it("are undone when they came to no end", async () => {
    const target = await targets.next();
    const blocker = new pg.Client({ connectionString: target });
    await blocker.connect();
    const run = runs.coordinator(target, "migrate", ...AS_THEY_ARE);
    const outcome = outcomeOf(run);
    await runs.planned(target);
    // The worker has a part at hand that comes to no end.
    await blocker.query("BEGIN; LOCK TABLE llmspell.hook_history IN SHARE MODE");
    const hand = runs.worker(target, "--lock-timeout", "600");
    await runs.loadedParts(target, 10);
    let shown: Awaited<ReturnType<typeof listRuns>>[number] | undefined;
    await until(async () => {
      [shown] = await listRuns(target);
      return (shown?.plan?.workers.length ?? 0) > 0;
    });
    expect(shown).toMatchObject({ state: "loading", plan: { stage: "loading", failing: [] } });
    expect(shown?.plan?.workers[0]?.worker).toMatch(/:\d+$/);
    expect((shown?.plan?.done ?? 0) + (shown?.plan?.left ?? 0)).toBe(shown?.plan?.parts);
    run.kill("SIGINT");
    expect(await outcome).toMatchObject({ status: 130, stderr: expect.stringContaining("storage resume") });
    await blocker.end();
    await workspace.must(["storage", "undo", "--database", target]);
    expect(dumpOf(target)).toBe(dumpOf(targets.template));
    await ended(hand, "SIGTERM");
  });

  it("mask what only some parts have, and are not done where no part has it", async () => {
    await query(
      source,
      `INSERT INTO llmspell.kv_store (tenant_id, key, value, metadata)
       SELECT 'large', 'k' || n, convert_to(repeat(md5(n::text), 50), 'UTF8'), CASE n WHEN 7 THEN '{"secret": "s"}' ELSE '{}' END::jsonb FROM generate_series(1, 60) n`,
    );
    const mask = ["--mask", "kv_store.metadata.secret=redact"];
    const target = await targets.next();
    const hand = runs.worker(target, ...mask);
    const { status, stderr } = await runs.outcome(target, "migrate", ...mask, ...AS_THEY_ARE);
    expect(status, stderr).toBe(0);
    const parts = "SELECT FROM llmspell.storage_plan_parts WHERE section = 'kv_store'";
    expect((await query(target, parts)).length).toBeGreaterThan(2);
    const left = await query(target, "SELECT FROM llmspell.kv_store WHERE metadata ->> 'secret' = 's'");
    const masked = await query(target, "SELECT FROM llmspell.kv_store WHERE metadata ? 'secret'");
    expect([left.length, masked.length]).toEqual([0, 1]);
    await ended(hand, "SIGTERM");
    const misspelt = ["--mask", "kv_store.metadata.sekret=redact"];
    const other = await targets.next();
    const second = runs.worker(other, ...misspelt);
    const failed = await runs.outcome(other, "migrate", ...misspelt, ...AS_THEY_ARE);
    expect(failed).toMatchObject({ status: 2, stderr: expect.stringMatching(/E_NO_EFFECT/) });
    expect(failed.stderr).toContain("storage undo");
    expect(await unfinishedState(other)).toBe("loading");
    await ended(second, "SIGTERM");
  });

  it("end with the error of a record that the target refuses", async () => {
    const target = await targets.next();
    await query(target, "ALTER TABLE llmspell.kv_store ADD CHECK (key NOT LIKE '%7%')");
    const hand = runs.worker(target);
    const failed = await runs.outcome(target, "migrate", ...AS_THEY_ARE);
    expect(failed.status).not.toBe(0);
    expect(failed.stderr).toMatch(/E_CHECK/);
    expect(failed.stderr).toMatch(/kv_store/);
    await ended(hand, "SIGTERM");
  });

  it("are begun by no forged job, and by no forged row of the ledger", async () => {
    const target = await targets.next();
    const hand = runs.worker(target, "--json");
    const run = runs.silent(runs.coordinator(target, "migrate", ...AS_THEY_ARE));
    await runs.loadedParts(target, 5);
    await ended(run, "SIGKILL");
    await ended(hand, "SIGKILL");
    const before = await query(target, "SELECT count(*) FROM llmspell.storage_parts");
    const [plan] = await query<{ token: string; run: number; epoch: number; part: number }>(
      target,
      `SELECT p.token, r.run, r.epoch, (SELECT min(part) FROM llmspell.storage_plan_parts q WHERE NOT EXISTS
         (SELECT FROM llmspell.storage_parts s WHERE s.part = q.part)) AS part
       FROM llmspell.storage_plans p JOIN llmspell.storage_runs r USING (run)`,
    );
    await query(queue, "DELETE FROM llmspell_queue.job");
    const forged = [
      { ...plan, token: "00000000-0000-0000-0000-000000000000", from: "src", to: "dst" },
      { ...plan, epoch: 7, from: "src", to: "dst" },
      { ...plan, part: 4000, from: "src", to: "dst" },
      { ...plan, from: "src", to: "dst", sql: "DROP TABLE llmspell.kv_store" },
      { ...plan, from: "src", to: source },
      { ...plan, from: "src", to: "dst", part: "1; DROP TABLE llmspell.kv_store" },
      ["DROP"],
    ];
    for (const data of forged)
      await query(queue, "INSERT INTO llmspell_queue.job (name, data) VALUES ('parts', $1)", [JSON.stringify(data)]);
    // A part whose bounds are no values of a key.
    for (const [bounds, section] of [
      ['{"slices":[{"above":["x) OR true --"]}]}', "kv_store"],
      ['{"slices":[{"upTo":[1,2]}]}', "kv_store"],
      ['{"places":[{"tableoid":1,"ctid":"(0,1)"}]}', "kv_store"],
      ["nothing", "kv_store"],
      ["", "pg_authid"],
    ]) {
      const [row] = await query<{ part: number }>(
        target,
        `INSERT INTO llmspell.storage_plan_parts (run, part, section, bounds)
         SELECT run, max(part) + 1, $2, $1 FROM llmspell.storage_plan_parts GROUP BY run RETURNING part`,
        [bounds, section],
      );
      const job = JSON.stringify({ ...plan, part: row?.part, from: "src", to: "dst" });
      await query(queue, "INSERT INTO llmspell_queue.job (name, data) VALUES ('parts', $1)", [job]);
    }
    const dropping = runs.worker(target, "--json");
    await until(async () => {
      const rows = await query(queue, "SELECT FROM llmspell_queue.job WHERE name = 'parts' AND state < 'active'");
      return rows.length === 0;
    });
    await ended(dropping, "SIGTERM");
    expect(await query(target, "SELECT count(*) FROM llmspell.storage_parts")).toEqual(before);
    // A ledger that is open to others is nobody's.
    await query(target, "GRANT INSERT ON llmspell.storage_plan_parts TO PUBLIC");
    const job = JSON.stringify({ ...plan, from: "src", to: "dst" });
    await query(queue, "INSERT INTO llmspell_queue.job (name, data) VALUES ('parts', $1)", [job]);
    const refusing = runs.worker(target);
    await until(
      async () =>
        (await query(queue, "SELECT FROM llmspell_queue.job WHERE name = 'parts' AND retry_count > 0")).length > 0,
    );
    await ended(refusing, "SIGTERM");
    expect(await query(target, "SELECT count(*) FROM llmspell.storage_parts")).toEqual(before);
    await query(queue, "DELETE FROM llmspell_queue.job");
  });

  it("write nothing where somebody has a table locked that comes late", async () => {
    const target = await targets.next();
    const blocker = new pg.Client({ connectionString: target });
    await blocker.connect();
    const hand = runs.worker(target);
    try {
      await blocker.query("BEGIN; LOCK TABLE llmspell.hook_history IN SHARE MODE");
      const waits = ["--lock-timeout", "1"];
      const refused = await runs.outcome(target, "migrate", ...AS_THEY_ARE, ...waits);
      expect([refused.status, refused.stderr]).toEqual([3, expect.stringMatching(/\[?E_LOCKED/)]);
      expect(refused.stderr).toContain("hook_history");
      expect(await query(target, "SELECT FROM llmspell.storage_runs")).toEqual([]);
      expect(await query(target, "SELECT FROM llmspell.kv_store")).toEqual([]);
      await blocker.query("ROLLBACK");
      expect((await runs.outcome(target, "migrate", ...AS_THEY_ARE)).status).toBe(0);
    } finally {
      await blocker.end();
    }
    await ended(hand, "SIGTERM");
  });

  it("are refused before anything is written, with the reason", async () => {
    const target = await targets.next();
    const migrate = (from: string, to: string, ...args: string[]) =>
      workspace.run(["storage", "migrate", "--from", from, "--to", to, "--queue", queue, ...args], {
        env: runs.env(target),
      });
    const refusals: [string[], RegExp][] = [
      [["copy.db", "dst"], /two PostgreSQL servers, and the source is none/],
      [["src", "copy.db"], /E_USAGE/],
      [["src", "pglite:there"], /two PostgreSQL servers, and the target is none/],
      [[source, "dst"], /name of the configuration/],
      [["src", "dst", "--limit", "3"], /--limit/],
      [["src", "dst", "--jq", 'del(.data.sessions[] | select(.status == "x"))'], /--queue/],
      [["src", "dst", "--as-owner"], /--as-owner/],
      [["src", "dst", "--rate", "3"], /--rate/],
      [["src", "dst", "--max-lag", "3"], /--max-lag/],
    ];
    for (const [[from = "", to = "", ...args], reason] of refusals) {
      const { status, stderr } = await migrate(from, to, ...args);
      expect(stderr).toMatch(reason);
      expect(status).toBe(2);
    }
    expect(await query(target, "SELECT FROM llmspell.storage_runs")).toEqual([]);
    // Of what only the target knows, too: not even a queue is made.
    await query(target, "GRANT INSERT ON llmspell.storage_plan_parts TO PUBLIC");
    const args = ["storage", "migrate", "--from", "src", "--to", "dst", "--queue", target];
    const open = await workspace.run(args, { env: runs.env(target) });
    expect(open.stderr).toMatch(/open to other roles.*\[E_PERMISSION\]/);
    expect(open.status).toBe(3);
    expect(await query(target, "SELECT FROM llmspell.storage_runs")).toEqual([]);
    expect(await query(target, "SELECT FROM pg_namespace WHERE nspname = 'llmspell_queue'")).toEqual([]);
    const own = { url: target, name: new URL(target).pathname.slice(1) } as TestDatabase;
    await using role = await createTestRole(own, { attributes: "BYPASSRLS" });
    await query(
      target,
      `GRANT SET ON PARAMETER session_replication_role TO ${role.name}; GRANT USAGE ON SCHEMA llmspell TO ${role.name};
       GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA llmspell TO ${role.name};
       REVOKE ALL ON llmspell.storage_plans, llmspell.storage_plan_parts FROM ${role.name}`,
    );
    const foreign = await workspace.run(args, { env: { ...runs.env(target), DST_URL: role.url } });
    expect(foreign.stderr).toMatch(
      /E_PERMISSION.*GRANT .* llmspell\.storage_plans, llmspell\.storage_plan_parts, llmspell\.storage_plan_sums to/s,
    );
    expect(foreign.status).toBe(3);
    expect(await query(target, "SELECT FROM llmspell.storage_runs")).toEqual([]);
    expect(await query(target, "SELECT FROM pg_namespace WHERE nspname = 'llmspell_queue'")).toEqual([]);
  });
});
