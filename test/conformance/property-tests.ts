/**
 * Arbitrary databases of the whole catalog, moved SQLite -> PostgreSQL -> SQLite -> PostgreSQL: every value arrives
 * identically (json as PostgreSQL's jsonb prints it), or its record is reported with code, section and key.
 *
 * PROPERTY_RUNS and PROPERTY_SEED choose another number of databases and repeat a run. Two test files share them, so that
 * they run side by side.
 */
import fc from "fast-check";
import type pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runPipeline } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Rejection } from "../../src/records/run-context.js";
import { type DataSet, dataSetArbitrary } from "../helpers/arbitraries.js";
import { withClient } from "../helpers/content-digest.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import { type Accounts, account, nameOf, newAccounts, unstorableInPostgres } from "./accounting.js";
import { contentOf, load } from "./expectations.js";
import { everything, type MemoryRecord } from "./memory-store.js";
import { lastingPostgresStore } from "./postgres-store.js";
import { inSourceOrder } from "./sample-memory.js";
import { sqliteStore } from "./sqlite-store.js";
import type { TestStore } from "./store.js";

const RUNS = Math.ceil(Number(process.env["PROPERTY_RUNS"] ?? scaled(80, 1000)) / 2);
const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);

const databases = fc.oneof(
  dataSetArbitrary(catalog, { recordsPerKind: 2 }),
  dataSetArbitrary(catalog, { recordsPerKind: 2, storable: true }),
);

function recordsOf(data: DataSet): MemoryRecord[] {
  return inSourceOrder(
    catalog.kinds.flatMap((kind) => (data.get(kind.path) ?? []).map((values) => ({ kind, values }))),
  );
}

/** Moves everything, and gives what was rejected. */
async function move(from: TestStore, to: TestStore): Promise<Rejection[]> {
  const rejections: Rejection[] = [];
  await runPipeline({
    source: from.source(),
    sink: to.sink(),
    selection: everything(),
    onReject: (rejection) => void rejections.push(rejection),
  });
  return rejections;
}

/** Moves everything, and gives what arrived and what was rejected. */
async function moved(from: TestStore, to: TestStore): Promise<[MemoryRecord[], Rejection[]]> {
  const rejections = await move(from, to);
  return [await contentOf(to), rejections];
}

/** The records as jsonb changes their json, by PostgreSQL itself. */
async function normalised(client: pg.Client, records: readonly MemoryRecord[]): Promise<MemoryRecord[]> {
  const texts: string[] = [];
  for (const { kind, values } of records)
    for (const [i, value] of values.entries())
      if (kind.fields[i]?.type === "json" && value) texts.push(value.toString("utf8"));
  const { rows } = await client.query<{ text: string }>(
    "SELECT t::jsonb::text AS text FROM unnest($1::text[]) WITH ORDINALITY AS u (t, n) ORDER BY n",
    [texts],
  );
  let next = 0;
  return records.map(({ kind, values }) => ({
    kind,
    values: values.map((value, i) =>
      kind.fields[i]?.type === "json" && value ? Buffer.from(rows[next++]?.text as string) : value,
    ),
  }));
}

/** A record may be refused only for a reason that is there, or with its parent. */
function unfounded(records: readonly MemoryRecord[], rejections: readonly Rejection[]): string[] {
  const reasons = new Map(records.map((record) => [nameOf(record), unstorableInPostgres(record)]));
  return rejections
    .map(({ error }) => ({ name: `${error.context.section} ${error.context.key}`, code: error.code }))
    .filter(({ name, code }) => code !== "E_PARENT_REJECTED" && reasons.get(name) === undefined)
    .map(({ name, code }) => `${name}: ${code} without a reason`);
}

/** Moves one half of the databases. */
export function registerPropertyTests(half: "first" | "second"): void {
  const seed = half === "first" ? SEED : SEED + 1;
  describePostgres(`arbitrary databases, the ${half} half`, () => defineTests(seed));
}

function defineTests(seed: number): void {
  let first: TestStore;
  let second: TestStore;
  let postgres: TestStore;
  let url: string;

  beforeAll(async () => {
    first = await sqliteStore.open();
    second = await sqliteStore.open();
    postgres = await lastingPostgresStore.open();
    url = postgres.url as string;
  });

  afterAll(async () => {
    await first.close();
    await second.close();
    await postgres.close();
  });

  async function runOne(client: pg.Client, records: readonly MemoryRecord[], accounts: Accounts): Promise<void> {
    for (const store of [first, second, postgres]) await store.clear();
    const refused: Rejection[] = [];
    await load(first, records, { rejections: refused });
    const inFirst = await contentOf(first);
    account(accounts, records, inFirst, refused);
    expect(
      refused.map(({ error }) => error.message),
      "SQLite holds everything",
    ).toEqual([]);

    const unstorable = await move(first, postgres);
    expect(unfounded(inFirst, unstorable)).toEqual([]);
    const inPostgres = await contentOf(postgres);
    const names = new Set(unstorable.map(({ error }) => `${error.context.section} ${error.context.key}`));
    const kept = await normalised(
      client,
      inFirst.filter((record) => !names.has(nameOf(record))),
    );
    account(accounts, kept, inPostgres, []);
    account(
      accounts,
      inFirst.filter((record) => names.has(nameOf(record))),
      inPostgres.filter((record) => names.has(nameOf(record))),
      unstorable,
    );

    account(accounts, inPostgres, ...(await moved(postgres, second)));
    await postgres.clear();
    account(accounts, inPostgres, ...(await moved(second, postgres)));
  }

  it(
    "arrive identically, or are reported",
    async () => {
      const accounts = newAccounts();
      let runs = 0;
      await withClient(url, (client) =>
        fc.assert(
          fc.asyncProperty(databases, async (data) => {
            runs++;
            accounts.silent.length = 0;
            await runOne(client, recordsOf(data), accounts);
            expect(accounts.silent).toEqual([]);
          }),
          { numRuns: RUNS, seed },
        ),
      );
      const codes = [...accounts.rejected].map(([code, count]) => `${count} ${code}`).join(", ");
      process.stdout.write(
        `${runs} databases (seed ${seed}): ${accounts.identical} records and ${accounts.values} values arrived ` +
          `identically over four moves; reported: ${codes || "none"}; silent differences: ${accounts.silent.length}\n`,
      );
      expect(accounts.identical).toBeGreaterThan(RUNS);
    },
    60 * 60_000,
  );
}
