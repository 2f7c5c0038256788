/** Exports from a hot standby, which ends them where its primary's changes cannot wait; loads that it is not to be left behind by. */
import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exportStore, importStore } from "../../src/api/transfer.js";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { LoadHoldReasons } from "../../src/backends/postgres/session/standbys.js";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { collectDocument } from "../helpers/collect-document.js";
import { withClient } from "../helpers/content-digest.js";
import { type PostgresCluster, startPostgresCluster, startStandby } from "../helpers/postgres-cluster.js";
import { describePostgres } from "../helpers/postgres-server.js";

const RECORDS = 300;

async function waitForReplay(primary: string, standby: string): Promise<void> {
  const { rows } = await withClient(primary, (client) => client.query("SELECT pg_current_wal_lsn() AS lsn"));
  await withClient(standby, async (client) => {
    for (;;) {
      const replayed = await client.query("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS done", [rows[0].lsn]);
      if (replayed.rows[0].done) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
}

async function openClient(url: string): Promise<{ readonly client: pg.Client } & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return { client, [Symbol.asyncDispose]: () => client.end() };
}

describePostgres("a hot standby", () => {
  let primary: PostgresCluster;
  let standby: PostgresCluster;

  beforeAll(async () => {
    primary = await startPostgresCluster();
    standby = await startStandby(primary, "max_standby_streaming_delay = 0");
    await createLlmspellPostgres(primary.url);
    await withClient(primary.url, (client) =>
      client.query(
        `INSERT INTO llmspell.kv_store (tenant_id, key, value) SELECT 't', 'k' || i, '' FROM generate_series(1, ${RECORDS}) i`,
      ),
    );
    await waitForReplay(primary.url, standby.url);
  });
  afterAll(() => {
    standby?.stop();
    primary?.stop();
  });

  it("is exported like any other server", async () => {
    for (const sourceMode of ["copy", "cursor"] as const) {
      const result = await exportStore({ from: standby.url, to: collectDocument().stream, sourceMode });
      expect(result.totals.read).toBe(RECORDS);
    }
  });

  it("does not let the owner past row-level security, and says where he is let", async () => {
    const failed = exportStore({ from: standby.url, to: collectDocument().stream, asOwner: true });
    await expect(failed).rejects.toMatchObject({
      code: "E_READ_ONLY",
      context: { hint: expect.stringContaining("Name the primary") },
    });
  });

  it("ends an export that keeps it from following its primary, and says what can be done", async () => {
    const client = new pg.Client({ connectionString: primary.url });
    await client.connect();
    let truncated: Promise<unknown> | undefined;
    const failed = exportStore({
      from: standby.url,
      to: collectDocument().stream,
      sourceMode: "cursor",
      transforms: [
        {
          name: "slow",
          async *apply(batches) {
            for await (const batch of batches) {
              truncated ??= client.query("TRUNCATE llmspell.hook_history");
              await truncated;
              await waitForReplay(primary.url, standby.url);
              yield batch;
            }
          },
        },
      ],
    });
    await expect(failed).rejects.toMatchObject({
      code: "E_LOCKED",
      context: { hint: expect.stringContaining("hot_standby_feedback") },
    });
    await client.end();
  });

  describe("that falls behind a load (maxLag)", () => {
    const document = (prefix: string, count: number): Readable =>
      Readable.from([
        '{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{"kv_store":[',
        Array.from(
          { length: count },
          (_, at) => `{"kv_id":"${randomUUID()}","tenant_id":"${prefix}","key":"k${at}","value":"AP/+",
            "metadata":{},"created_at":1700000000000000,"updated_at":1700000000654321}`,
        ).join(","),
        "]}}",
      ]);
    const count = async (prefix: string): Promise<number> => {
      const { rows } = await withClient(primary.url, (client) =>
        client.query("SELECT count(*)::int4 AS count FROM llmspell.kv_store WHERE tenant_id = $1", [prefix]),
      );
      return rows[0].count;
    };

    /** The standby stands still, and the log has gone on. */
    const fallBehind = async (): Promise<void> => {
      await withClient(standby.url, async (client) => {
        await client.query("SELECT pg_wal_replay_pause()");
        // What is asked for comes when the record at hand is replayed.
        const state = async () => (await client.query("SELECT pg_get_wal_replay_pause_state() AS state")).rows[0].state;
        await expect.poll(state, { timeout: 60_000 }).toBe("paused");
      });
      await withClient(primary.url, (client) => client.query("CREATE TABLE behind (); DROP TABLE behind"));
    };

    it.each([{ bytes: 1 }, { seconds: 0.05 }])("pauses it until it has caught up: %o", async (maxLag) => {
      const tenant = JSON.stringify(maxLag).replace(/\W/g, "");
      await fallBehind();
      const paused: string[] = [];
      const result = await importStore({
        from: document(tenant, 9000),
        to: primary.url,
        // Some batches, a second apart: a load looks once in a second.
        bytesPerSecond: 400_000,
        maxLag,
        onProgress({ phase, waiting }) {
          if (phase !== "paused") return;
          paused.push(`${waiting}`);
          if (paused.length === 2)
            void withClient(standby.url, (client) => client.query("SELECT pg_wal_replay_resume()"));
        },
      });
      expect(paused[0]).toMatch(/^the standby walreceiver is .* behind \(--max-lag /);
      expect(result.notes).toEqual(expect.arrayContaining([expect.stringMatching(/^Paused \d+ times, \d+ s in all$/)]));
      expect([result.totals.inserted, await count(tenant)]).toEqual([9000, 9000]);
    });

    it("is interrupted at once while it pauses, and writes nothing", async () => {
      await fallBehind();
      const controller = new AbortController();
      const failed = importStore({
        from: document("interrupted", 10),
        to: primary.url,
        maxLag: { bytes: 1 },
        signal: controller.signal,
        onProgress: ({ phase }) => phase === "paused" && controller.abort(),
      });
      await expect(failed).rejects.toMatchObject({ code: "E_INTERRUPTED" });
      await withClient(standby.url, (client) => client.query("SELECT pg_wal_replay_resume()"));
      expect(await count("interrupted")).toBe(0);
    });

    it("refuses a role that may not see standbys, before anything is written", async () => {
      await withClient(primary.url, (client) =>
        client.query(
          "CREATE ROLE loader LOGIN BYPASSRLS; GRANT USAGE ON SCHEMA llmspell TO loader; GRANT ALL ON ALL TABLES IN SCHEMA llmspell TO loader; GRANT SET ON PARAMETER session_replication_role TO loader",
        ),
      );
      const to = primary.url.replace("postgres@", "loader@");
      const load = () => importStore({ from: document("rights", 1), to, maxLag: { seconds: 60 } });
      await expect(load()).rejects.toMatchObject({
        code: "E_PERMISSION",
        context: { hint: expect.stringContaining("GRANT pg_monitor TO") },
      });
      expect(await count("rights")).toBe(0);
      await withClient(primary.url, (client) => client.query("GRANT pg_monitor TO loader"));
      expect((await load()).totals.inserted).toBe(1);
    });

    it("tells who waits for a load that a pause would not help, and pauses one that commits part by part", async () => {
      await using holder = await openClient(primary.url);
      await using waiter = await openClient(primary.url);
      await holder.client.query("CREATE TABLE wanted ()");
      await holder.client.query("BEGIN; LOCK TABLE wanted");
      const { rows } = await holder.client.query("SELECT pg_backend_pid() AS pid");
      const waiting = waiter.client.query("ALTER TABLE wanted ADD COLUMN one int4");
      const bound = { seconds: 60 };
      const connect = () => connectPostgres({ url: primary.url });
      const sessions = new Set<number>([rows[0].pid]);
      const whole = new LoadHoldReasons({ connect, bound, sessions, releasesLocks: false });
      const parted = new LoadHoldReasons({ connect, bound, sessions, releasesLocks: true });
      try {
        let reason: string | undefined;
        while (reason === undefined) reason = await parted.reason();
        expect(reason).toMatch(/^process \d+ \(ALTER\) waits for a lock of this run$/);
        expect(await parted.warning()).toBeUndefined();
        expect(await whole.reason()).toBeUndefined();
        expect(await whole.warning()).toMatch(/^others wait for locks that this load holds .*: ALTER\)/);
        await holder.client.query("COMMIT");
        await waiting;
        expect(await parted.reason()).toBeUndefined();
        expect(await whole.warning()).toBeUndefined();
      } finally {
        await whole.close();
        await parted.close();
      }
    });
  });
});
