import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { postgresTime, SampleRandom, type SampleTime, sampleJson } from "../helpers/sample-values.js";

describePostgres("sample values, as PostgreSQL sees them", () => {
  let database: TestDatabase;
  let client: pg.Client;

  beforeAll(async () => {
    database = await createTestDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query("SET TimeZone = 'UTC'");
  });

  afterAll(async () => {
    await client.end();
    await database.drop();
  });

  it("writes json of the form jsonb exactly as jsonb prints it", async () => {
    const random = new SampleRandom("json");
    const texts = Array.from({ length: 400 }, () => sampleJson(random, "jsonb"));
    const { rows } = await client.query<{ text: string }>("SELECT t::jsonb::text AS text FROM unnest($1::text[]) t", [
      texts,
    ]);
    expect(rows.map((row) => row.text)).toEqual(texts);
  });

  it("writes free json that jsonb takes, and changes", async () => {
    const random = new SampleRandom("json");
    const texts = Array.from({ length: 400 }, () => sampleJson(random, "free"));
    const { rows } = await client.query<{ text: string }>("SELECT t::jsonb::text AS text FROM unnest($1::text[]) t", [
      texts,
    ]);
    const changed = rows.filter((row, i) => row.text !== texts[i]).length;
    expect(changed).toBeGreaterThan(200);
  });

  /** Microseconds from 1970 to 2000, from where PostgreSQL's own int64 counts. */
  const EPOCH = 946684800000000n;

  it.each<SampleTime>([
    -210866803200000000n, // 4713-11-24 BC
    9224318015999999999n, // the last microsecond of 294276
    -1n,
    0n,
    951782400123456n, // 2000-02-29
    253402300800000000n, // 10000-01-01
    -62135596800000001n, // the last microsecond of 1 BC
  ])("prints the time %s so that PostgreSQL reads it", async (time) => {
    const { rows } = await client.query<{ wire: Buffer }>("SELECT timestamptz_send($1::timestamptz) AS wire", [
      postgresTime(time),
    ]);
    expect(rows[0]?.wire.readBigInt64BE()).toBe((time as bigint) - EPOCH);
  });
});
