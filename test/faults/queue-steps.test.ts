/** What workers do to records on their way, and what their coordinator says of records that it has not met. */
import { writeFileSync } from "node:fs";
import { beforeAll, expect, it } from "vitest";
import { verifyStores } from "../../src/index.js";
import { outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { ended } from "../helpers/queue.js";
import { createQueueStage, type QueueStage } from "../helpers/run-stage.js";
import { query } from "../helpers/runs.js";

/** Of a result: what does not depend on times. */
const saidBy = ({ total, sections, digests, read, valueBytes }: Record<string, unknown>) => ({
  ...{ total, sections, digests, read, valueBytes },
});
const AS_THEY_ARE = ["--defer-indexes", "never"];
const plugin = (word: string): string => `import { word } from "./word.mjs";
export default { name: "stamp", sections: ["kv_store"], drops: false, parallel: true,
  transform: (record) => ({ ...record, metadata: { ...record.metadata, word, ${word}: true } }) };`;

describePostgres("the steps of workers", () => {
  let workspace: Workspace;
  let targets: QueueStage["targets"];
  let source: string;
  let queue: string;
  let runs: QueueStage["runs"];
  const stage = createQueueStage({ records: 24, contentSizes: [1048576, 9] });
  beforeAll(async () => {
    ({ workspace, targets, source, queue, runs } = stage);
    // One record of all has what is masked: most parts have none.
    await query(
      source,
      "INSERT INTO llmspell.kv_store (tenant_id, key, value, metadata) VALUES ('t', 'secret', 'v', '{\"password\": \"p\"}')",
    );
    writeFileSync(workspace.path("stamp.mjs"), plugin("one"));
    writeFileSync(workspace.path("word.mjs"), 'export const word = "here";');
  });

  const STEPS = ["--plugin", "./stamp.mjs", "--mask", "kv_store.metadata.password=redact"];

  it("are plugins and masks, which have an effect on all parts together; digests and bytes are those of one job", async () => {
    const one = await targets.next();
    const args = ["--digests", ...STEPS];
    const { stdout } = await workspace.must(["storage", "migrate", "--from", source, "--to", one, "--json", ...args]);
    const target = await targets.next();
    const hand = runs.worker(target, ...STEPS);
    const outcome = await runs.outcome(target, "migrate", "--verify-parts", ...AS_THEY_ARE, ...args);
    expect(outcome.status, outcome.stderr).toBe(0);
    await ended(hand, "SIGTERM");
    const [expected, found] = [stdout, outcome.stdout].map((text) => JSON.parse(text));
    expect(saidBy(found)).toEqual(saidBy(expected));
    expect(found.valueBytes).toBeGreaterThan(1048576);
    expect(found.digests.total).toBeDefined();
    expect((await verifyStores({ a: one, b: target })).identical).toBe(true);
  });

  it("end the run where they had no effect in any part, and tell of tenants that no part has", async () => {
    const target = await targets.next();
    const mask = ["--mask", "kv_store.metadata.passwort=redact"];
    const hand = runs.worker(target, ...mask);
    const { status, stderr } = await runs.outcome(target, "migrate", ...AS_THEY_ARE, ...mask);
    expect(stderr).toMatch(/none of the .* records of kv_store has the path .*E_NO_EFFECT/s);
    expect(status).not.toBe(0);
    await ended(hand, "SIGTERM");
    await workspace.must(["storage", "undo", "--database", target]);
    const other = runs.worker(target);
    const some = ["--include", "kv_store", "--tenant", "t", "--tenant", "nobody"];
    const found = await runs.outcome(target, "migrate", ...AS_THEY_ARE, ...some);
    expect(found.status, found.stderr).toBe(0);
    expect(found.stderr).toMatch(/no record of the tenant "nobody"/);
    expect(found.stderr).not.toMatch(/tenant "t"/);
    await ended(other, "SIGTERM");
  });

  it("must be the run's: a worker whose plugin has another file loads nothing", async () => {
    const target = await targets.next();
    const run = runs.coordinator(target, "migrate", ...AS_THEY_ARE, ...STEPS);
    const outcome = outcomeOf(run);
    try {
      await runs.planned(target);
      writeFileSync(workspace.path("word.mjs"), 'export const word = "other";');
      const hand = runs.worker(target, ...STEPS);
      expect(await runs.exited(hand)).toBe(2);
      expect(await query(target, "SELECT FROM llmspell.storage_parts")).toEqual([]);
    } finally {
      writeFileSync(workspace.path("word.mjs"), 'export const word = "here";');
      run.kill("SIGINT");
    }
    expect((await outcome).status).toBe(130);
  });

  it("that no worker can have are refused before anything is written, with a way on", async () => {
    const target = await targets.next();
    writeFileSync(workspace.path("serial.mjs"), plugin("one").replace("parallel: true,", ""));
    writeFileSync(
      workspace.path("drops.mjs"),
      plugin("one").replace("drops: false,", "").replace("kv_store", "sessions"),
    );
    const refusals: [string[], RegExp][] = [
      [["--plugin", "./serial.mjs"], /needs all records in order.*Migrate without --queue/s],
      [["--plugin", "./drops.mjs"], /may drop sessions or artifacts.*--no-cascade/s],
      [["--as-owner"], /--as-owner .*Migrate without --queue/s],
      [["--order", "table"], /--order table .*Migrate without --queue/s],
      [["--rate", "5"], /--rate .*Each worker has a --rate/s],
      [["--max-lag", "5"], /--max-lag .*Migrate without --queue/s],
    ];
    for (const [args, reason] of refusals) {
      const { status, stderr } = await runs.outcome(target, "migrate", ...args);
      expect(stderr).toMatch(reason);
      expect(stderr).toMatch(/E_USAGE/);
      expect(status).toBe(2);
    }
    expect(await query(target, "SELECT FROM llmspell.storage_runs")).toEqual([]);
    const serial = await outcomeOf(
      workspace.start(["storage", "worker", "--queue", queue, "--plugin", "./serial.mjs"], { env: runs.env(target) }),
    );
    expect([serial.status, serial.stderr]).toEqual([2, expect.stringMatching(/needs all records in order/)]);
  });
});
