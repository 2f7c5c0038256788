/** The partitions of the release that cut months in UTC: `database migrate` makes llmspell able to go on with them. */
import { expect, it } from "vitest";
import { describePostgres } from "../helpers/postgres-server.js";
import { load, sql } from "../sinks/postgres-support.js";
import {
  DROP_ALL,
  event,
  insertAsLlmspell,
  inZone,
  LLMSPELL_FUNCTIONS,
  migrate,
  notes,
  now,
  partitions,
  UTC_FUNCTIONS,
  utcMonth,
  WHOLE_MONTH,
  ZONES,
} from "./postgres-event-log.js";

describePostgres("the event log after the release that cut months in UTC", () => {
  it.each(ZONES)("%s: what the release before made is repaired, whichever months are filled", async (zone) => {
    await using database = await inZone(zone);
    await migrate(database);
    for (const filled of [[], [0, 1, 2, 3], [1, 7]]) {
      await sql(
        database.url,
        `${DROP_ALL} ${UTC_FUNCTIONS} ${[0, 1, 2, 3, 7].map(utcMonth).join(" ")}
         DELETE FROM llmspell.storage_migrations WHERE version = 102;`,
      );
      const middle = (offset: number): number => {
        const day = new Date();
        return Date.UTC(day.getUTCFullYear(), day.getUTCMonth() + offset, 15) * 1000;
      };
      await load(
        database.url,
        filled.map((offset, n) => event(n, middle(offset))),
      );
      const before = await sql(database.url, "SELECT event_id, timestamp FROM llmspell.event_log ORDER BY 1");
      expect(await notes(database)).toHaveLength(zone === "UTC" ? 0 : 1);
      expect((await migrate(database)).applied.map(({ id: migration }) => migration)).toEqual(["V11", "S2"]);
      expect(await sql(database.url, "SELECT event_id, timestamp FROM llmspell.event_log ORDER BY 1")).toEqual(before);
      if (filled.length === 0) {
        for (const bounds of Object.values(await partitions(database))) expect(bounds).toMatch(WHOLE_MONTH);
      }
      await sql(database.url, LLMSPELL_FUNCTIONS);
      expect(await insertAsLlmspell(database)).toBe("");
      expect(await notes(database)).toEqual([]);
      expect(await migrate(database)).toEqual({ applied: [], warnings: [] });
    }
  });

  it("an import before `database migrate` cuts months as the functions do that are still there", async () => {
    await using database = await inZone("Europe/Berlin");
    await migrate(database);
    const asLlmspell = `SET ROLE llmspell_app; SET app.current_tenant_id = 't'; SELECT llmspell.ensure_future_event_log_partitions()`;
    await sql(database.url, `${DROP_ALL} ${UTC_FUNCTIONS}`);
    await load(database.url, [event(1, now())]);
    await sql(database.url, asLlmspell);
    expect(await notes(database)).toHaveLength(1);
    await migrate(database);
    await sql(database.url, asLlmspell);
    expect(await insertAsLlmspell(database)).toBe("");
  });

  it("ends the last filled UTC month with a part of the next that ends where llmspell's month does", async () => {
    await using database = await inZone("Europe/Berlin");
    await migrate(database);
    await sql(
      database.url,
      `${DROP_ALL}
       CREATE TABLE llmspell.event_log_2031_03 PARTITION OF llmspell.event_log FOR VALUES FROM ('2031-03-01Z') TO ('2031-04-01Z');
       CREATE TABLE llmspell.event_log_2031_04 PARTITION OF llmspell.event_log FOR VALUES FROM ('2031-04-01Z') TO ('2031-05-01Z')`,
    );
    await load(database.url, [event(1, Date.UTC(2031, 2, 20) * 1000)]);
    expect((await migrate(database)).applied.map(({ id: migration }) => migration)).toEqual(["S2"]);
    const made = await partitions(database);
    expect(Object.entries(made).filter(([name]) => name.startsWith("event_log_2031"))).toEqual([
      ["event_log_2031_03", "FROM ('2031-03-01 01:00:00+01') TO ('2031-04-01 02:00:00+02')"],
      ["event_log_2031_03_2", "FROM ('2031-03-01 00:00:00+01') TO ('2031-03-01 01:00:00+01')"],
      ["event_log_2031_04", "FROM ('2031-04-01 02:00:00+02') TO ('2031-05-01 00:00:00+02')"],
    ]);
  });

  it("leaves partitions alone that others made, and rows that a load took back do not count", async () => {
    await using database = await inZone("America/New_York");
    await migrate(database);
    await sql(
      database.url,
      `${DROP_ALL}
       CREATE TABLE llmspell.archive PARTITION OF llmspell.event_log FOR VALUES FROM (MINVALUE) TO ('2020-01-05Z');
       CREATE TABLE llmspell.event_log_2031_03 PARTITION OF llmspell.event_log FOR VALUES FROM ('2031-03-01Z') TO ('2031-04-01Z')`,
    );
    await load(database.url, [event(1, Date.UTC(2031, 2, 20) * 1000)]);
    await sql(database.url, "DELETE FROM llmspell.event_log");
    await migrate(database);
    const made = await partitions(database);
    expect(made["archive"]).toContain("FROM (MINVALUE)");
    expect(made["event_log_2031_03"]).toBe("FROM ('2031-03-01 00:00:00-05') TO ('2031-04-01 00:00:00-04')");
    expect(await notes(database)).toEqual([]);
  });
});
