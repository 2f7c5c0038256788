/** A run that somebody waits for (--max-lag): it begins no more parts until he has had his lock. */
import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createDocumentSource, importStore, type Source } from "../../src/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { query } from "../helpers/runs.js";

/** Three batches. */
const RECORDS = 9000;
/** A load looks once in a second. */
const LOOK_MILLISECONDS = 1000;

describePostgres("a run with --max-lag", () => {
  let database: TestDatabase;
  const clients: pg.Client[] = [];

  beforeAll(async () => {
    database = await createDatabase("migrated");
    // The first batch has some parts.
    process.env["LLMSPELL_STORAGE_PART_BYTES"] = "40000";
  });
  afterAll(async () => {
    delete process.env["LLMSPELL_STORAGE_PART_BYTES"];
    for (const client of clients) await client.end();
    await database?.[Symbol.asyncDispose]();
  });

  async function connected(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    clients.push(client);
    return client;
  }
  /** Until a session with a statement like that waits for a lock. */
  async function waiting(statement: string): Promise<void> {
    const sql = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ILIKE $1`;
    await expect.poll(async () => (await query(database.url, sql, [statement])).length, { timeout: 60_000 }).toBe(1);
  }

  it("pauses until who waits for a lock of it has had it", async () => {
    const holder = await connected();
    const waiter = await connected();
    // The run's first part waits for it, and has its table locked meanwhile.
    await holder.query("BEGIN; INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('t', 'k0', 'x')");
    let isLocked: Promise<unknown> | undefined;
    const records = Array.from(
      { length: RECORDS },
      (_, at) => `{"kv_id":"${randomUUID()}","tenant_id":"t","key":"k${at}","value":"AP/+","metadata":{},
        "created_at":1700000000000000,"updated_at":1700000000654321}`,
    );
    const text = `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{"kv_store":[${records}]}}`;
    const inner = createDocumentSource({ input: { stream: Readable.from([text]) } });
    const source: Source = {
      name: inner.name,
      open: (context, selection) => inner.open(context, selection),
      estimate: async () => undefined,
      async *read(selection, context) {
        for await (const batch of inner.read(selection, context)) {
          yield batch;
          if (isLocked !== undefined) continue;
          const looked = performance.now();
          await waiting("COPY%kv_store%");
          isLocked = waiter.query("BEGIN; LOCK TABLE llmspell.kv_store IN SHARE MODE; COMMIT");
          await waiting("BEGIN; LOCK%");
          await sleep(Math.max(0, LOOK_MILLISECONDS - (performance.now() - looked)) + 10);
        }
      },
      close: () => inner.close(),
    };
    const paused: string[] = [];
    let released: Promise<unknown> | undefined;
    const result = await importStore({
      from: source,
      to: database.url,
      jobs: 4,
      maxLag: { seconds: 60 },
      onProgress({ phase, waiting }) {
        if (phase !== "paused") return;
        paused.push(`${waiting}`);
        released ??= holder.query("ROLLBACK");
      },
    });
    await released;
    await isLocked;
    expect(paused[0]).toMatch(/^process \d+ \(BEGIN\) waits for a lock of this run$/);
    expect(result.notes).toEqual(expect.arrayContaining([expect.stringMatching(/^Paused \d+ times, \d+ s in all$/)]));
    expect(result.totals.inserted).toBe(RECORDS);
    expect(await query(database.url, "SELECT count(*)::int4 AS count FROM llmspell.kv_store")).toEqual([
      { count: RECORDS },
    ]);
    expect(await query(database.url, "SELECT state FROM llmspell.storage_runs")).toEqual([{ state: "done" }]);
  });
});
