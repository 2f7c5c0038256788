/** A merge leaves rows alone that have the record's values already, and only those. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { MemoryRecord } from "../conformance/memory-store.js";
import { CLEAR_POSTGRES } from "../conformance/postgres-store.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { events, hooks, id, MANY } from "./postgres-indexed-records.js";
import { load, record, rowsOf, sql, Token } from "./postgres-support.js";

const vector = (first: string) =>
  record("vector_embeddings.384", {
    id: id(1),
    tenant_id: "t",
    scope: "s",
    dimension: 384,
    embedding: new Token(`[${first}${",1".repeat(383)}]`),
    metadata: {},
    created_at: 0,
    updated_at: 0,
  });

const entry = (metadata: Token | undefined) =>
  record("kv_store", { kv_id: id(1), tenant_id: "t", key: "k", value: "", metadata, created_at: 0, updated_at: 0 });

describePostgres("rows that a merge finds unchanged in PostgreSQL", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase("llmspell");
  });
  afterAll(() => database.drop());
  beforeEach(() => sql(database.url, CLEAR_POSTGRES));

  /** Which version of which row the table has. */
  const versions = async (table: string, condition = "true") =>
    (
      await sql<{ version: string }>(
        database.url,
        `SELECT tableoid || ' ' || ctid::text || ' ' || xmin::text AS version FROM llmspell.${table} WHERE ${condition} ORDER BY 1`,
      )
    ).map(({ version }) => version);

  const indexes = (table: string) =>
    sql(database.url, `SELECT indexrelid FROM pg_index WHERE indrelid = 'llmspell.${table}'::regclass ORDER BY 1`);

  it("are not written, count as updated, and keep their indexes", async () => {
    await load(database.url, [...events(1, 50), ...hooks(1, MANY)]);
    const before = [await versions("event_log"), await versions("hook_history"), await indexes("hook_history")];
    const { report } = await load(database.url, [...events(1, 50), ...hooks(1, MANY)], { deferIndexes: "auto" });
    expect([await versions("event_log"), await versions("hook_history"), await indexes("hook_history")]).toEqual(
      before,
    );
    expect(report.counts.get("event_log")).toEqual({ inserted: 0, updated: 50, skipped: 0, dropped: 0 });
    expect(report.counts.get("hook_history")).toEqual({ inserted: 0, updated: MANY, skipped: 0, dropped: 0 });
  });

  it("are told from those that another record of the run changes", async () => {
    await load(database.url, hooks(1, 10));
    const before = await versions("hook_history");
    const { report } = await load(database.url, [...hooks(1, 12).toSpliced(3, 1), ...hooks(4, 1, 77)]);
    const after = await versions("hook_history");
    expect(before.filter((version) => !after.includes(version))).toHaveLength(1);
    expect(await versions("hook_history", "duration_ms = 77")).toHaveLength(1);
    expect(report.counts.get("hook_history")).toEqual({ inserted: 2, updated: 10, skipped: 0, dropped: 0 });
  });

  it("keep their indexes when a merge skips them", async () => {
    await load(database.url, hooks(1, MANY));
    const before = await indexes("hook_history");
    const { report } = await load(database.url, hooks(1, MANY), { onConflict: "skip" });
    expect(await indexes("hook_history")).toEqual(before);
    expect(report.counts.get("hook_history")).toEqual({ inserted: 0, updated: 0, skipped: MANY, dropped: 0 });
  });

  const equalButNotSame: readonly [string, string, MemoryRecord, MemoryRecord][] = [
    ["-0 beside 0 in a vector", "vector_embeddings.384", vector("0"), vector("-0.0")],
    ["0 beside -0 in a vector", "vector_embeddings.384", vector("-0.0"), vector("0")],
    ["1 beside 1.0 in json", "kv_store", entry(new Token('{"n":1}')), entry(new Token('{"n":1.0}'))],
    ["null beside no value in json", "kv_store", entry(new Token("null")), entry(undefined)],
  ];
  for (const [name, path, first, second] of equalButNotSame)
    it(`do not include ${name}`, async () => {
      await load(database.url, [first]);
      const before = await rowsOf(database.url, path);
      await load(database.url, [second]);
      const after = await rowsOf(database.url, path);
      expect(after).not.toEqual(before);
      await sql(database.url, CLEAR_POSTGRES);
      await load(database.url, [second]);
      expect(after).toEqual(await rowsOf(database.url, path));
    });
});
