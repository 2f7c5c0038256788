/**
 * llmspell makes the partitions of the current month and the next three before every insert, in its session's time zone. It
 * must be able to after our migrations and imports.
 */
import { expect, it } from "vitest";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { load, sql } from "../sinks/postgres-support.js";
import {
  DAY,
  DROP_ALL,
  event,
  insertAsLlmspell,
  inZone,
  LLMSPELL_FUNCTIONS,
  migrate,
  notes,
  now,
  partitions,
  utcMonth,
  WHOLE_MONTH,
  ZONES,
} from "./postgres-event-log.js";

describePostgres("the event log in llmspell's time zone", () => {
  it("begins with the fault: llmspell fails where months were cut in UTC", async () => {
    await using database = await inZone("Europe/Berlin");
    await createLlmspellPostgres(database.url);
    await sql(database.url, `${DROP_ALL} ${utcMonth(0)}`);
    expect(await insertAsLlmspell(database).catch((error: Error) => error.message)).toContain(
      "would overlap partition",
    );
  });

  it.each(ZONES)("%s: our migrations make what llmspell would", async (zone) => {
    await using database = await inZone(zone);
    await using theirs = await inZone(zone);
    await migrate(database);
    await createLlmspellPostgres(theirs.url);
    expect(await partitions(database)).toEqual(await partitions(theirs));
    expect(await notes(database)).toEqual([]);
    await sql(database.url, LLMSPELL_FUNCTIONS);
    expect(await insertAsLlmspell(database)).toBe("");
    expect(await migrate(database)).toEqual({ applied: [], warnings: [] });
  });

  it.each(ZONES)("%s: an import makes whole months of it, and llmspell goes on after them", async (zone) => {
    await using database = await inZone(zone);
    await createLlmspellPostgres(database.url);
    await sql(database.url, DROP_ALL);
    await load(database.url, [event(1, now()), event(2, now() - 400 * DAY), event(3, now() + 200 * DAY)]);
    const made = await partitions(database);
    expect(Object.keys(made)).toHaveLength(3);
    for (const bounds of Object.values(made)) expect(bounds).toMatch(WHOLE_MONTH);
    expect(await insertAsLlmspell(database)).toBe("");
    expect(await notes(database)).toEqual([]);
  });
});
