/** Locks that a run and others wait for: parts are not begun while somebody waits (--max-lag), and no lock is waited for too long. */
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createDocumentSource, importStore, type Source, verifyStores } from "../../src/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { until } from "../helpers/queue.js";
import { dumpOf, query, unfinishedState } from "../helpers/runs.js";

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

  it("ends where indexes that are built early wait too long for a table, and is resumed", async () => {
    await using own = await createDatabase("migrated");
    using workspace = createWorkspace();
    const before = dumpOf(own.url, true);
    const value = Buffer.alloc(1000, 7).toString("base64");
    const records = Array.from(
      { length: 200 },
      (_, at) => `{"kv_id":"${randomUUID()}","tenant_id":"t","key":"k${at}","value":"${value}","metadata":{},
        "created_at":1700000000000000,"updated_at":1700000000654321}`,
    );
    const session = `{"tenant_id":"t","session_id":"${randomUUID()}","session_data":{},"status":"active","created_at":1,
      "last_accessed_at":1,"expires_at":null,"artifact_count":0,"updated_at":1}`;
    const document = workspace.path("a.json");
    writeFileSync(
      document,
      `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{"kv_store":[${records}],"sessions":[${session}]}}`,
    );
    const holder = new pg.Client({ connectionString: own.url });
    await holder.connect();
    const inner = createDocumentSource({ input: { path: document } });
    const reading = inner.read.bind(inner);
    let isBuilding = false;
    async function* read(...given: Parameters<Source["read"]>): ReturnType<Source["read"]> {
      for await (const batch of reading(...given)) {
        const isLast = batch.kind.path === "sessions";
        if (isLast) await holder.query("BEGIN; LOCK TABLE llmspell.kv_store IN ROW EXCLUSIVE MODE");
        yield batch;
        if (!isLast) continue;
        // All of the records have come, and the run does not know that yet.
        const waits =
          "SELECT FROM pg_locks WHERE NOT granted AND mode = 'ShareLock' AND relation = 'llmspell.kv_store'::regclass";
        await until(async () => (await query(own.url, waits)).length > 0);
        isBuilding = true;
      }
    }
    const options = { to: own.url, deferIndexes: "always" } as const;
    try {
      const run = importStore({ ...options, from: Object.assign(inner, { read }), jobs: 2, lockTimeoutSeconds: 5 });
      await expect(run).rejects.toMatchObject({
        code: "E_LOCKED",
        context: { section: "kv_store", hint: expect.stringContaining("storage resume") },
      });
      expect([isBuilding, await unfinishedState(own.url)]).toEqual([true, "loading"]);
      expect(dumpOf(own.url, true)).not.toBe(before);
    } finally {
      await holder.end();
    }
    await importStore({ ...options, from: document, resume: true });
    expect(dumpOf(own.url, true)).toBe(before);
    expect((await verifyStores({ a: document, b: own.url })).identical).toBe(true);
  });
});
