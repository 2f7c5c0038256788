/** What the tests of the event log's partitions share: databases in a time zone, and llmspell at work on them. */
import { readFileSync } from "node:fs";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { migratePostgres, readPostgresSchema } from "../../src/llmspell/schema/migrator.js";
import { llmspellPostgresSql } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createTestDatabase, type TestDatabase } from "../helpers/postgres-server.js";
import { record, sql } from "../sinks/postgres-support.js";

export const ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"];

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
export const event = (n: number, microseconds: number) =>
  record("event_log", {
    tenant_id: "t",
    event_id: id(n),
    event_type: "e",
    correlation_id: id(n),
    timestamp: microseconds,
    sequence: n,
    language: "lua",
    payload: {},
  });

/** llmspell's own functions, as its migrations would put them over ours. */
export const LLMSPELL_FUNCTIONS = llmspellPostgresSql(11)
  .split("CREATE OR REPLACE FUNCTION")
  .filter((text) => / llmspell\.\w+_event_log_partitions?\(/.test(text.slice(0, 60)))
  .map((text) => `CREATE OR REPLACE FUNCTION${text.slice(0, text.indexOf("END $$;") + 7)}`)
  .join("\n");

/** The functions of the release that cut months in UTC. */
export const UTC_FUNCTIONS = readFileSync(new URL("../fixtures/utc-partitions.sql", import.meta.url), "utf8");

/** Partition of one whole UTC month, `offset` from the current one. */
export const utcMonth = (offset: number): string => {
  const today = new Date();
  const at = (months: number): string =>
    new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + months, 1)).toISOString();
  const name = `event_log_${at(offset).slice(0, 7).replace("-", "_")}`;
  return `CREATE TABLE llmspell.${name} PARTITION OF llmspell.event_log FOR VALUES FROM ('${at(offset)}') TO ('${at(offset + 1)}');`;
};

export const DROP_ALL = `DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'llmspell.event_log'::regclass
  LOOP EXECUTE 'DROP TABLE ' || name; END LOOP; END $$;`;

/**
 * llmspell at work for a year: before each month's inserts the calls that it makes there (its function takes the month from
 * the clock, so here its inner one does), then events at the month's ends and at each change of the clocks.
 */
const LLMSPELL_AT_WORK = `
DO $$
DECLARE
  failures text[] := '{}';
  start timestamptz;
  at timestamptz;
BEGIN
  FOR month IN 0..12 LOOP
    FOR ahead IN 0..3 LOOP
      BEGIN
        start := date_trunc('month', now()) + make_interval(months => month + ahead);
        PERFORM llmspell.create_event_log_partition(start, start + '1 month'::interval);
      EXCEPTION WHEN OTHERS THEN failures := failures || format('month %s: %s', month + ahead, SQLERRM);
      END;
    END LOOP;
    start := date_trunc('month', now()) + make_interval(months => month);
    FOR at IN
      SELECT start UNION ALL SELECT start + interval '1 month' - interval '1 microsecond'
      UNION ALL SELECT hour FROM generate_series(start, start + interval '1 month' - interval '1 hour', interval '1 hour') AS hour
        WHERE extract(timezone FROM hour) <> extract(timezone FROM hour + interval '1 hour')
    LOOP
      BEGIN
        INSERT INTO llmspell.event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload)
        VALUES ('t', gen_random_uuid(), 'e', gen_random_uuid(), at, 1, 'lua', '{}');
      EXCEPTION WHEN OTHERS THEN failures := failures || format('%s: %s', at, SQLERRM);
      END;
    END LOOP;
  END LOOP;
  PERFORM set_config('test.failures', array_to_string(failures, '; '), false);
END $$`;

export async function insertAsLlmspell(database: TestDatabase): Promise<string> {
  return withClient(database.url, async (client) => {
    await client.query("SET ROLE llmspell_app; SET app.current_tenant_id = 't'");
    await client.query("SELECT llmspell.ensure_future_event_log_partitions()");
    await client.query(LLMSPELL_AT_WORK);
    const { rows } = await client.query<{ failures: string }>("SELECT current_setting('test.failures') AS failures");
    return rows[0]?.failures ?? "";
  });
}

/** By name: bounds in the zone of the database, with the number of rows. */
export async function partitions(database: TestDatabase): Promise<Record<string, string>> {
  return withClient(database.url, async (client) => {
    const { rows } = await client.query<{ name: string; bounds: string }>(
      `SELECT c.relname AS name, regexp_replace(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES ', '') AS bounds
       FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'llmspell.event_log'::regclass ORDER BY 1`,
    );
    return Object.fromEntries(rows.map(({ name, bounds }) => [name, bounds]));
  });
}

export async function inZone(zone: string): Promise<TestDatabase> {
  const database = await createTestDatabase();
  // Of the test server's own the functions of llmspell's shape would make IST in Kolkata, and read it as Israel's.
  await sql(
    database.url,
    `ALTER DATABASE ${database.name} SET timezone = '${zone}'; ALTER DATABASE ${database.name} SET datestyle = 'ISO'`,
  );
  return database;
}

export async function migrate(database: TestDatabase) {
  const connection = await connectPostgres({ url: database.url });
  try {
    return await migratePostgres(connection);
  } finally {
    await connection.close();
  }
}

export async function notes(database: TestDatabase): Promise<readonly string[]> {
  const connection = await connectPostgres({ url: database.url });
  try {
    return (await readPostgresSchema(connection)).comparison.notes;
  } finally {
    await connection.close();
  }
}

export const WHOLE_MONTH = /^FROM \('\d{4}-\d\d-01 00:00:00[^']*'\) TO \('\d{4}-\d\d-01 00:00:00/;
export const now = (): number => Date.now() * 1000;
export const DAY = 86400_000_000;
