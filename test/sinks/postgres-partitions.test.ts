import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { fromPostgresError } from "../../src/backends/postgres/session/errors.js";
import { failureOf } from "../conformance/expectations.js";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestDatabase, createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { load, record, rowsOf, sql, Token } from "./postgres-support.js";

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const event = (n: number, timestamp: unknown) =>
  record("event_log", {
    tenant_id: "t",
    event_id: id(n),
    event_type: "e",
    correlation_id: id(n),
    timestamp,
    sequence: 1,
    language: "lua",
    payload: {},
  });
const kv = (n: number, more: Record<string, unknown> = {}) =>
  record("kv_store", { kv_id: id(n), tenant_id: "t", key: `k${n}`, value: "", created_at: 0, updated_at: 0, ...more });

describePostgres("partitions of the event log", () => {
  let database: TestDatabase;
  const url = (): string => database.url;

  beforeAll(async () => {
    database = await createTestDatabase();
    await sql(database.url, `ALTER DATABASE ${database.name} SET timezone = 'UTC'`);
    await createLlmspellPostgres(database.url);
  });
  afterAll(() => database.drop());
  beforeEach(() =>
    sql(
      url(),
      `TRUNCATE llmspell.kv_store, llmspell.sessions, llmspell.artifacts, llmspell.artifact_content, llmspell.event_log;
       SELECT lo_unlink(oid) FROM pg_largeobject_metadata`,
    ),
  );

  const bounds = (): Promise<Record<string, unknown>[]> =>
    sql(
      url(),
      `SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds FROM pg_inherits i
       JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'llmspell.event_log'::regclass ORDER BY 1`,
    );
  beforeEach(() =>
    sql(
      url(),
      `DO $$ DECLARE name text; BEGIN
         FOR name IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'llmspell.event_log'::regclass
         LOOP EXECUTE 'DROP TABLE ' || name; END LOOP; END $$`,
    ),
  );

  it("are made for the months that the events need, and no others", async () => {
    const times: unknown[] = [
      "infinity",
      "-infinity",
      new Token("-210866803200000000"),
      new Token("9224318015999999999"),
      0,
      -1,
      951782400000000, // 2000-02-29
      253402300799999999n.toString(),
    ].map((time) => (typeof time === "string" && /^\d+$/.test(time) ? new Token(time) : time));
    const records = times.map((time, n) => event(n, time));
    await load(url(), records);
    expect(await bounds()).toEqual([
      {
        name: "event_log_1969_12",
        bounds: "FOR VALUES FROM ('1969-12-01 00:00:00+00') TO ('1970-01-01 00:00:00+00')",
      },
      {
        name: "event_log_1970_01",
        bounds: "FOR VALUES FROM ('1970-01-01 00:00:00+00') TO ('1970-02-01 00:00:00+00')",
      },
      {
        name: "event_log_2000_02",
        bounds: "FOR VALUES FROM ('2000-02-01 00:00:00+00') TO ('2000-03-01 00:00:00+00')",
      },
      {
        name: "event_log_9999_12",
        bounds: "FOR VALUES FROM ('9999-12-01 00:00:00+00') TO ('10000-01-01 00:00:00+00')",
      },
      { name: "event_log_after_9999", bounds: "FOR VALUES FROM ('10000-01-01 00:00:00+00') TO (MAXVALUE)" },
      { name: "event_log_before_0001", bounds: "FOR VALUES FROM (MINVALUE) TO ('0001-01-01 00:00:00+00')" },
    ]);
    expect(await rowsOf(url(), "event_log")).toHaveLength(times.length);
    const { report } = await load(url(), records);
    expect(report.counts.get("event_log")).toMatchObject({ inserted: 0, updated: times.length });
    expect(await bounds()).toHaveLength(6);
  });

  it("fill the gaps between those that are there, whatever their names and bounds", async () => {
    await sql(
      url(),
      `CREATE TABLE llmspell.event_log_2020_01 PARTITION OF llmspell.event_log
         FOR VALUES FROM ('2020-01-01 05:45:00+05:45') TO ('2020-01-20 00:00:00+05:45');
       CREATE TABLE llmspell.event_log_2020_02 PARTITION OF llmspell.event_log
         FOR VALUES FROM ('2021-01-01 00:00:00+00') TO ('2021-02-01 00:00:00+00')`,
    );
    const at = (text: string): number => Date.parse(text) * 1000;
    await load(url(), [
      event(1, at("2020-01-05T00:00:00Z")),
      event(2, at("2020-01-25T00:00:00Z")),
      event(3, at("2020-02-25T00:00:00Z")),
      event(4, at("2021-01-25T00:00:00Z")),
    ]);
    expect(await bounds()).toEqual([
      {
        name: "event_log_2020_01",
        bounds: "FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-19 18:15:00+00')",
      },
      {
        name: "event_log_2020_01_2",
        bounds: "FOR VALUES FROM ('2020-01-19 18:15:00+00') TO ('2020-02-01 00:00:00+00')",
      },
      {
        name: "event_log_2020_02",
        bounds: "FOR VALUES FROM ('2021-01-01 00:00:00+00') TO ('2021-02-01 00:00:00+00')",
      },
      {
        name: "event_log_2020_02_2",
        bounds: "FOR VALUES FROM ('2020-02-01 00:00:00+00') TO ('2020-03-01 00:00:00+00')",
      },
    ]);
  });

  it("are not made where a default partition takes everything", async () => {
    await sql(url(), "CREATE TABLE llmspell.other_events PARTITION OF llmspell.event_log DEFAULT");
    await load(url(), [event(1, 0), event(2, "infinity")]);
    expect(await bounds()).toEqual([{ name: "other_events", bounds: "DEFAULT" }]);
    expect(await rowsOf(url(), "event_log")).toHaveLength(2);
  });

  it("fill the gaps beside partitions that end or begin at infinity", async () => {
    await sql(
      url(),
      `CREATE TABLE llmspell.future_events PARTITION OF llmspell.event_log FOR VALUES FROM ('2030-01-01 00:00:00+00') TO ('infinity');
       CREATE TABLE llmspell.least_event PARTITION OF llmspell.event_log FOR VALUES FROM (MINVALUE) TO ('-infinity')`,
    );
    const times = ["infinity", "-infinity", new Token("-210866803200000000"), new Token("9224318015999999999")];
    await load(
      url(),
      times.map((time, n) => event(n, time)),
    );
    expect(await bounds()).toEqual([
      { name: "event_log_after_9999", bounds: "FOR VALUES FROM ('infinity') TO (MAXVALUE)" },
      { name: "event_log_before_0001", bounds: "FOR VALUES FROM ('-infinity') TO ('0001-01-01 00:00:00+00')" },
      { name: "future_events", bounds: "FOR VALUES FROM ('2030-01-01 00:00:00+00') TO ('infinity')" },
      { name: "least_event", bounds: "FOR VALUES FROM (MINVALUE) TO ('-infinity')" },
    ]);
    expect(await rowsOf(url(), "event_log")).toHaveLength(times.length);
  });

  it("belong to the table's owner, whatever its name", async () => {
    const owner = `odd "$$" '\\ ${database.name}`;
    const quoted = `"${owner.replaceAll('"', '""')}"`;
    await sql(url(), `CREATE ROLE ${quoted}; ALTER TABLE llmspell.event_log OWNER TO ${quoted}`);
    try {
      await sql(url(), `GRANT CREATE ON SCHEMA llmspell TO ${quoted}`);
      await load(url(), [event(1, 0)]);
      expect(await sql(url(), "SELECT tableowner FROM pg_tables WHERE tablename = 'event_log_1970_01'")).toEqual([
        { tableowner: owner },
      ]);
    } finally {
      await sql(url(), `REASSIGN OWNED BY ${quoted} TO current_user; DROP OWNED BY ${quoted}; DROP ROLE ${quoted}`);
    }
  });

  it("name the server's setting where their locks are too many", async () => {
    expect(
      fromPostgresError(Object.assign(new Error("out of shared memory"), { code: "53200", severity: "ERROR" })),
    ).toMatchObject({
      code: "E_TARGET_LIMIT",
      context: { hint: expect.stringContaining("max_locks_per_transaction") },
    });
  });

  it("are gone with a run that fails", async () => {
    await failureOf(load(url(), [event(1, 0), kv(1), kv(1)]));
    expect(await bounds()).toEqual([]);
  });

  it("are not needed by a table that is not partitioned", async () => {
    await using other = await createDatabase("llmspell");
    await sql(
      other.url,
      `CREATE TABLE llmspell.plain (LIKE llmspell.event_log INCLUDING ALL);
       DROP TABLE llmspell.event_log; ALTER TABLE llmspell.plain RENAME TO event_log`,
    );
    await load(other.url, [event(1, 0), event(2, "infinity")]);
    expect(await rowsOf(other.url, "event_log")).toHaveLength(2);
  });

  it("begin and end with the calendar's months", async () => {
    const at = (year: number, month: number): string =>
      `${String(year).padStart(4, "0")}-${String(month).padStart(2, "0")}-01 00:00:00+00`;
    const months = [1, 4, 1583, 1900, 2000, 2023, 2024, 2100, 9998].flatMap((year) =>
      [1, 2, 3, 6, 11, 12].map((month) => [year, month] as const),
    );
    const micros = (year: number, month: number): bigint => {
      const date = new Date(0);
      date.setUTCFullYear(year, month - 1, 1);
      return BigInt(date.getTime()) * 1000n;
    };
    // The last microsecond of one month and the first of the next are in two.
    const times = months.flatMap(([year, month]) => [micros(year, month), micros(year, month + 1) - 1n]);
    await load(
      url(),
      times.map((time, n) => event(n, new Token(String(time)))),
    );
    const next = (year: number, month: number): string => (month === 12 ? at(year + 1, 1) : at(year, month + 1));
    expect((await bounds()).map((row) => row["bounds"]).sort()).toEqual(
      months.map(([year, month]) => `FOR VALUES FROM ('${at(year, month)}') TO ('${next(year, month)}')`).sort(),
    );
  });

  it("are cut in the time zone that llmspell's role gets, whatever the importing session has", async () => {
    await using other = await createDatabase("llmspell");
    await using importer = await createTestRole(other, { attributes: "SUPERUSER" });
    const drop = "DROP TABLE IF EXISTS llmspell.event_log_2020_01, llmspell.event_log_2019_12";
    const cut = async (through: string): Promise<unknown> => {
      await sql(other.url, drop);
      await load(through, [event(1, Date.UTC(2020, 0, 15) * 1000)]);
      const [row] = await sql<{ bounds: string }>(
        other.url,
        `SELECT pg_get_expr(relpartbound, oid) AS bounds FROM pg_class WHERE relname = 'event_log_2020_01'`,
      );
      await sql(other.url, "TRUNCATE llmspell.event_log");
      return row?.bounds;
    };
    const from = (text: string) => expect.stringContaining(`FROM ('${text}:00+00')`);
    // The test server's own zone, whose offset is 5:45; the sessions of other roles are not asked.
    const [server] = await sql<{ zone: string }>(
      other.url,
      "SELECT setting AS zone FROM pg_file_settings WHERE lower(name) = 'timezone' AND applied",
    );
    const [first] = await sql<{ first: string }>(
      other.url,
      "SELECT to_char('2020-01-01'::timestamp AT TIME ZONE $1, 'YYYY-MM-DD HH24:MI') AS first",
      [server?.zone ?? "GMT"],
    );
    const own = from(first?.first as string);
    expect(await cut(other.url)).toEqual(own);
    await sql(other.url, `ALTER ROLE ${importer.name} SET timezone = 'Asia/Tokyo'`);
    expect(await cut(importer.url)).toEqual(own);
    expect(await cut(`${other.url}?options=-c%20timezone%3DAsia/Tokyo`)).toEqual(own);
    await sql(other.url, `ALTER DATABASE ${other.name} SET timezone = 'Europe/Berlin'`);
    expect(await cut(importer.url)).toEqual(from("2019-12-31 23:00"));
    await sql(other.url, `ALTER ROLE llmspell_app IN DATABASE ${other.name} SET timezone = 'America/New_York'`);
    expect(await cut(importer.url)).toEqual(from("2020-01-01 05:00"));
    // An abbreviation is a zone's name in SET, and summer time is kept.
    await sql(other.url, `ALTER ROLE llmspell_app IN DATABASE ${other.name} SET timezone = 'CET'`);
    expect(await cut(importer.url)).toEqual(from("2019-12-31 23:00"));
  });
});
