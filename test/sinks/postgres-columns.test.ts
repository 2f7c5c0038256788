import { afterAll, beforeAll, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { load, record, sql } from "./postgres-support.js";

const kv = () =>
  record("kv_store", {
    kv_id: "00000000-0000-4000-8000-000000000001",
    tenant_id: "t",
    key: "k   ",
    value: "AAAA",
    created_at: 1700000000123456,
    updated_at: 1,
  });

describePostgres("a PostgreSQL target's own columns", () => {
  let database: TestDatabase;
  const url = (): string => database.url;
  const alter = (how: string): Promise<unknown> => sql(url(), `ALTER TABLE llmspell.kv_store ${how}`);

  beforeAll(async () => {
    database = await createDatabase("llmspell");
  });
  afterAll(() => database.drop());

  it.each([
    // PostgreSQL would cut blanks, round times, and take jsonb's bytes for text: all without an error.
    ["ALTER key TYPE varchar(2)", "ALTER key TYPE varchar(500)", '"key" holds 2 characters', "key"],
    [
      "ALTER created_at TYPE timestamptz(3)",
      "ALTER created_at TYPE timestamptz",
      '"created_at" holds no',
      "created_at",
    ],
    ["DROP metadata, ADD metadata text", "DROP metadata, ADD metadata jsonb", '"metadata" is text', "metadata"],
    ["ADD extra int NOT NULL", "DROP extra", '"extra" needs a value', undefined],
  ])(
    "that would alter or refuse its records are told before anything is written: %s",
    async (change, back, told, field) => {
      await alter(change);
      const error = await failureOf(load(url(), [kv()]));
      await alter(back);
      expect([error.code, error.exitStatus]).toEqual(["E_SCHEMA", 5]);
      expect(error.message).toContain(told);
      expect(error.context).toMatchObject({ section: "kv_store", ...(field === undefined ? {} : { field }) });
      expect(await sql(url(), "SELECT FROM llmspell.kv_store")).toEqual([]);
    },
  );

  it("are left to themselves where they need no value", async () => {
    await alter(`ADD counted int NOT NULL DEFAULT 7, ADD note text, ADD number int GENERATED ALWAYS AS IDENTITY,
      ADD twice int NOT NULL GENERATED ALWAYS AS (octet_length(value) * 2) STORED,
      ALTER key TYPE text, ALTER created_at TYPE timestamptz(6)`);
    await load(url(), [kv()]);
    await sql(url(), "UPDATE llmspell.kv_store SET note = 'mine', counted = 8");
    await load(url(), [kv()]);
    expect(await sql(url(), "SELECT key, counted, note, number, twice FROM llmspell.kv_store")).toEqual([
      { key: "k   ", counted: 8, note: "mine", number: 1, twice: 6 },
    ]);
  });
});
