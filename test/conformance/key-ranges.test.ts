/**
 * The ranges of keys that workers read (docs/scale.md): whatever a table holds, and whatever it holds when a run is resumed, each of
 * its rows is in exactly one. PROPERTY_RUNS and PROPERTY_SEED choose another number of databases and repeat a run.
 */
import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Part } from "../../src/records/parts.js";
import type { BatchLimits } from "../../src/records/record-batch.js";
import { dataSetArbitrary } from "../helpers/arbitraries.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import { load, read } from "./expectations.js";
import { everything } from "./memory-store.js";
import { expectSame, type Open, planBehind, ROWS, readInParts, rowsOf, SHAPES, someTenants } from "./parts-reading.js";
import { postgresStore } from "./postgres-store.js";
import { inSourceOrder } from "./sample-memory.js";
import type { TestStore } from "./store.js";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? scaled(2, 100));
const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);

describePostgres("ranges of keys", () => {
  let store: TestStore;
  let client: pg.Client;
  beforeAll(async () => {
    store = await postgresStore.open();
    client = new pg.Client({ connectionString: store.url });
    await client.connect();
  });
  afterAll(async () => {
    await client.end();
    await store.close();
  });
  const open: Open = (options) => store.source(options as BatchLimits);
  const planned = (partBytes: number) => readInParts(open, everything(), partBytes, { byKeys: true });
  const again = (parts: readonly Part[]) => readInParts(open, everything(), 1, { byKeys: true, parts });

  /** What the store holds, read by ranges of the bounds that are given, and by such as are planned now. */
  async function expectEachOnce(parts: readonly Part[], partBytes: number): Promise<readonly Part[]> {
    const whole = await read(store.source());
    expectSame((await again(parts)).records, whole, true);
    // A plan that was begun when the store held something else, and came to no end.
    const first = parts.slice(0, Math.ceil(parts.length / 2));
    const behind = await planBehind(open, everything(), partBytes, first);
    expectSame((await again([...first, ...behind])).records, whole, true);
    const now = await planned(partBytes);
    expectSame(now.records, whole, true);
    return now.parts;
  }

  it(`hold each record of arbitrary databases once, and of others that they were not planned for (seed ${SEED})`, async () => {
    const databases = dataSetArbitrary(catalog, { recordsPerKind: 12, storable: true });
    let parts: readonly Part[] = catalog.kinds.map(({ path }) => ({ path }));
    await fc.assert(
      fc.asyncProperty(databases, fc.constantFrom(1, 200, 3000), async (data, partBytes) => {
        await store.clear();
        const records = catalog.kinds.flatMap((kind) =>
          (data.get(kind.path) ?? []).map((values) => ({ kind, values })),
        );
        await load(store, inSourceOrder(records), { onOrphan: "drop", rejections: [] });
        parts = await expectEachOnce(parts, partBytes);
        const selection = { ...everything(), tenants: someTenants(records) };
        const some = await readInParts(open, selection, partBytes, { byKeys: true });
        const theirs = await read(store.source(), selection);
        expectSame(some.records, theirs, true);
        const first = some.parts.slice(0, Math.ceil(some.parts.length / 2));
        const behind = await planBehind(open, selection, partBytes, first);
        const all = { byKeys: true, parts: [...first, ...behind] };
        expectSame((await readInParts(open, selection, 1, all)).records, theirs, true);
      }),
      { numRuns: RUNS, seed: SEED },
    );
  });

  it.each(SHAPES)("hold each row of a table once, also when it has grown and shrunk: %s", async (_, tenant) => {
    await store.clear();
    await client.query(rowsOf(tenant, "postgresql"));
    const { parts, records } = await planned(20_000);
    expect(records.length).toBe(3 * ROWS);
    expect(parts.length).toBeGreaterThan(10);
    // Keys before, between and behind all that there were; bounds that are gone; keys that have moved.
    await client.query(
      `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data)
         SELECT t, gen_random_uuid(), '{}' FROM unnest(ARRAY['', ' ', '!', 'T', 't1', 'ÿ', '😀', 'Large']) t, generate_series(1, 40);
       INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value)
         SELECT u, 'edge', 'k' || u, 'v' FROM unnest(ARRAY['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff']::uuid[]) u;
       DELETE FROM llmspell.kv_store WHERE kv_id IN (SELECT kv_id FROM (SELECT kv_id, row_number() OVER (ORDER BY kv_id) n FROM llmspell.kv_store) r WHERE n % 3 = 0);
       UPDATE llmspell.workflow_states SET workflow_id = upper(workflow_id) || '~' WHERE workflow_id LIKE '%1%'`,
    );
    await expectEachOnce(parts, 20_000);
  });

  it.each([
    ["bytes", "C"],
    ["a language", "und-x-icu"],
    ["neither case nor accents", "llmspell.without_case"],
  ])("hold texts once that the database compares by %s", async (_, collation) => {
    await store.clear();
    await client.query(
      "CREATE COLLATION IF NOT EXISTS llmspell.without_case (provider = icu, locale = 'und-u-ks-level1', deterministic = false)",
    );
    const quoted = collation.includes(".") ? collation : `"${collation}"`;
    const type = (name: string): string => `ALTER COLUMN ${name} TYPE varchar(255) COLLATE ${quoted}`;
    await client.query(`ALTER TABLE llmspell.workflow_states ${type("workflow_id")}`);
    try {
      await client.query(
        `INSERT INTO llmspell.workflow_states (tenant_id, workflow_id, workflow_name, state_data)
         SELECT CASE n % 3 WHEN 0 THEN 'one' ELSE 'two' END, w, 'w', '{}'
         FROM generate_series(1, 900) n, LATERAL (SELECT CASE n % 4 WHEN 0 THEN 'é' WHEN 1 THEN 'Z' WHEN 2 THEN '' ELSE '''"\\ ' END || n * 7919 % 10007 AS w) v`,
      );
      const { parts } = await planned(3000);
      expect(parts.filter(({ path }) => path === "workflow_states").length).toBeGreaterThan(10);
      await client.query(
        `UPDATE llmspell.workflow_states SET workflow_id = 'Ä' || workflow_id WHERE workflow_id LIKE '%1%' COLLATE "C"`,
      );
      await expectEachOnce(parts, 3000);
    } finally {
      await client.query(
        'ALTER TABLE llmspell.workflow_states ALTER COLUMN workflow_id TYPE varchar(255) COLLATE "default"',
      );
    }
  });

  it("let no row be lost that has no key: what came is not what the table has", async () => {
    await store.clear();
    await client.query(rowsOf("'t'", "postgresql"));
    await client.query(
      `ALTER TABLE llmspell.workflow_states DROP CONSTRAINT workflow_states_pkey;
       ALTER TABLE llmspell.workflow_states ALTER COLUMN workflow_id DROP NOT NULL;
       INSERT INTO llmspell.workflow_states (tenant_id, workflow_id, workflow_name, state_data) VALUES ('t', NULL, 'w', '{}')`,
    );
    try {
      await expect(planned(20_000)).rejects.toMatchObject({ code: expect.stringMatching(/^E_/) });
    } finally {
      await client.query(
        `DELETE FROM llmspell.workflow_states;
         ALTER TABLE llmspell.workflow_states ADD PRIMARY KEY (tenant_id, workflow_id)`,
      );
    }
  });
});
