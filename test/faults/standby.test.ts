/** Exports from a hot standby, which ends them where its primary's changes cannot wait. */
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exportStore } from "../../src/api/transfer.js";
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
});
