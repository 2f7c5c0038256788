/**
 * Parts: whatever the rows are, the parts that a source plans hold each of them once, in the order in which one source gives them; those
 * that are committed meanwhile are in none. PROPERTY_RUNS and PROPERTY_SEED choose another number of databases and repeat a run.
 */
import Database from "better-sqlite3";
import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tenantIndex } from "../../src/catalog/index.js";
import { createSqliteSource, type Source, StorageError } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Part, PartTally } from "../../src/records/parts.js";
import type { BatchLimits } from "../../src/records/record-batch.js";
import type { RunContext, Selection } from "../../src/records/run-context.js";
import type { PartedSource } from "../../src/sources/source.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { dataSetArbitrary } from "../helpers/arbitraries.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import { lines, load, read } from "./expectations.js";
import { everything, type MemoryRecord, recordsOf } from "./memory-store.js";
import { postgresCursorStore, postgresStore } from "./postgres-store.js";
import { inSourceOrder } from "./sample-memory.js";
import { sqliteStore } from "./sqlite-store.js";
import type { StoreFactory, TestStore } from "./store.js";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? scaled(6, 100));
const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);

interface PartOptions {
  readonly partBytes?: number;
  readonly snapshot?: object;
}
type Open = (options: PartOptions) => Source;

interface Read {
  readonly parts: readonly Part[];
  readonly records: readonly MemoryRecord[];
}

/** Reads all parts with two other sources in turns, as threads would. `meanwhile`: before each part. */
async function readInParts(
  open: Open,
  selection: Selection,
  partBytes: number,
  meanwhile = async () => {},
): Promise<Read> {
  const tallies = new Map<string, { records: number; sum: number }>();
  let tally: PartTally | undefined;
  const context: RunContext = {
    signal: new AbortController().signal,
    async reject({ error }) {
      throw error;
    },
    isRejected: () => false,
    warn: () => {},
    leftOut: () => {},
    cameOfPart: (came) => {
      tally = came;
    },
  };
  const source = open({ partBytes });
  const others: Source[] = [];
  const records: MemoryRecord[] = [];
  const parts: Part[] = [];
  try {
    await source.open(context, selection);
    const inParts = source.inParts as PartedSource;
    await inParts.share(async (snapshot) => {
      for (const other of others.splice(0)) await other.close();
      for (const _ of [1, 2]) others.push(open({ snapshot }));
      for (const other of others) await other.open(context, selection);
    }, context);
    for await (const part of inParts.plan(selection, context)) {
      await meanwhile();
      // It crosses threads as it is.
      const other = others[parts.length % 2] as Source;
      parts.push(part);
      tally = undefined;
      for await (const batch of other.read({ ...selection, part: structuredClone(part) }, context))
        records.push(...(await recordsOf(batch)));
      const sum = tallies.get(part.path) ?? { records: 0, sum: 0 };
      sum.records += (tally as PartTally | undefined)?.records ?? 0;
      sum.sum = (sum.sum + ((tally as PartTally | undefined)?.sum ?? 0)) | 0;
      tallies.set(part.path, sum);
    }
    for (const [path, came] of tallies) await inParts.requireAll?.(path, came, selection);
  } finally {
    for (const other of others) await other.close();
    await source.close();
  }
  return { parts, records };
}

function expectSame(one: readonly MemoryRecord[], other: readonly MemoryRecord[]): void {
  const [first, second] = [lines(one), lines(other)];
  const at = first.findIndex((line, i) => line !== second[i]);
  expect(at === -1 ? undefined : [first[at], second[at]]).toBe(undefined);
  expect(second.length).toBe(first.length);
}

/** Of some records the tenants, and one that is nobody's. */
function someTenants(records: readonly MemoryRecord[]): string[] {
  const all = records.map(({ kind, values }) => values[tenantIndex(kind)]?.toString("utf8") ?? "");
  return [...new Set(all.filter((tenant) => tenant !== ""))].filter((_, i) => i % 2 === 0).concat("nobody");
}

function registerSuite(factory: StoreFactory, storable: boolean): void {
  describe(`parts of ${factory.name}`, () => {
    let store: TestStore;
    beforeAll(async () => {
      store = await factory.open();
    });
    afterAll(() => store.close());
    const open: Open = (options) => store.source(options as BatchLimits);

    it(`hold each record of arbitrary databases once, in order (seed ${SEED})`, async () => {
      const databases = dataSetArbitrary(catalog, { recordsPerKind: 12, storable, idTexts: !storable });
      await fc.assert(
        fc.asyncProperty(databases, fc.constantFrom(1, 200, 3000, 1e9), async (data, partBytes) => {
          await store.clear();
          const records = inSourceOrder(
            catalog.kinds.flatMap((kind) => (data.get(kind.path) ?? []).map((values) => ({ kind, values }))),
          );
          await load(store, records, { onOrphan: "drop", rejections: [] });
          const whole = await read(store.source());
          const { parts, records: came } = await readInParts(open, everything(), partBytes);
          expectSame(came, whole);
          expect(parts.length).toBeLessThanOrEqual(whole.length + catalog.kinds.length);
          const selection = { ...everything(), tenants: someTenants(whole) };
          expectSame((await readInParts(open, selection, partBytes)).records, await read(store.source(), selection));
        }),
        { numRuns: RUNS, seed: SEED },
      );
    });

    it("are none, or one for each kind, of an empty database", async () => {
      await store.clear();
      const { parts, records } = await readInParts(open, everything(), 1);
      expect(records).toEqual([]);
      expect(parts.length).toBeLessThanOrEqual(catalog.kinds.length);
    });
  });
}

registerSuite(sqliteStore, false);
describePostgres("on a server", () => {
  registerSuite(postgresStore, true);
  registerSuite(postgresCursorStore, true);
});

/** Tables whose keys are as skewed as they come: rows by tenant. */
const SHAPES: readonly (readonly [name: string, tenantOf: string])[] = [
  ["one tenant", "'only'"],
  ["thousands of tenants", "'t' || n"],
  ["some hundreds of tenants", "'t' || (n % 300)"],
  ["one large tenant among small ones", "CASE WHEN n % 10 = 0 THEN 'ß' || n ELSE 'Large' END"],
];
const ROWS = scaled(1500, 20000);

function rowsOf(tenant: string, backend: "sqlite" | "postgresql"): string {
  const schema = backend === "sqlite" ? "" : "llmspell.";
  const numbers =
    backend === "sqlite"
      ? `(WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < ${ROWS}) SELECT n FROM r)`
      : `(SELECT n FROM generate_series(1, ${ROWS}) AS n) r`;
  const [hex, time] =
    backend === "sqlite"
      ? ["printf('%04x0000-0000-4000-8000-%012x', n * 40503 % 65521, n)", "1767225600 + n % 7"]
      : [
          "(lpad(to_hex(n * 40503 % 65521), 4, '0') || '0000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
          "to_timestamp(1767225600 + n % 7)",
        ];
  const value = backend === "sqlite" ? "CAST('v' AS BLOB)" : "'v'::bytea";
  return `
    INSERT INTO ${schema}kv_store (kv_id, tenant_id, key, value, metadata, created_at, updated_at)
      SELECT ${hex}, ${tenant}, 'k' || n, ${value}, '{}', ${time}, ${time} FROM ${numbers};
    INSERT INTO ${schema}sessions (tenant_id, session_id, session_data, status, created_at, last_accessed_at, artifact_count, updated_at)
      SELECT ${tenant}, ${hex}, '{}', 'active', ${time}, ${time}, 0, ${time} FROM ${numbers};
    INSERT INTO ${schema}workflow_states (tenant_id, workflow_id, workflow_name, state_data, current_step, status, last_updated, created_at)
      SELECT ${tenant}, 'w' || (n * 7919 % 10007) || CASE n % 3 WHEN 0 THEN 'É' WHEN 1 THEN 'e' ELSE 'Z' END, 'w', '{}', 0, 'running', ${time}, ${time} FROM ${numbers};`;
}

describe("parts of skewed SQLite tables", () => {
  it.each(SHAPES)("hold each row once: %s", async (_, tenant) => {
    using workspace = createWorkspace();
    const path = workspace.path("a.db");
    createLlmspellSqlite(path);
    const database = new Database(path);
    database.exec(rowsOf(tenant, "sqlite"));
    database.close();
    const open: Open = (options) => createSqliteSource({ path, ...options } as never);
    const { parts, records } = await readInParts(open, everything(), 20_000);
    expectSame(records, await read(createSqliteSource({ path })));
    expect(records.length).toBe(3 * ROWS);
    expect(parts.length).toBeGreaterThan(10);
  });
});

describePostgres("parts of skewed PostgreSQL tables", () => {
  let store: TestStore;
  beforeAll(async () => {
    store = await postgresStore.open();
  });
  afterAll(() => store.close());

  it.each(SHAPES)("hold each row once: %s", async (_, tenant) => {
    await store.clear();
    const client = new pg.Client({ connectionString: store.url });
    await client.connect();
    await client.query(rowsOf(tenant, "postgresql"));
    await client.end();
    const { parts, records } = await readInParts(
      (options) => store.source(options as BatchLimits),
      everything(),
      20_000,
    );
    expectSame(records, await read(store.source()));
    expect(records.length).toBe(3 * ROWS);
    expect(parts.length).toBeGreaterThan(10);
  });

  it("do not see what is committed while they are planned and read", async () => {
    const client = new pg.Client({ connectionString: store.url });
    await client.connect();
    try {
      const before = await read(store.source());
      let n = 0;
      const grow = async (): Promise<void> => {
        // Each is a walk through the table: a hundred are enough.
        if (++n > 100) return;
        await client.query(
          `INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value) VALUES (gen_random_uuid(), 'new', 'n${n}', 'x');
           DELETE FROM llmspell.kv_store WHERE ctid = (SELECT min(ctid) FROM llmspell.kv_store);
           UPDATE llmspell.sessions SET artifact_count = artifact_count + 1 WHERE ctid = (SELECT min(ctid) FROM llmspell.sessions)`,
        );
      };
      const { records } = await readInParts(
        (options) => store.source(options as BatchLimits),
        everything(),
        20_000,
        grow,
      );
      expectSame(records, before);
      expect(n).toBeGreaterThan(10);
    } finally {
      await client.end();
    }
  });
});

describe("parts of an SQLite database that others write", () => {
  function withWriter(journal: string) {
    const workspace = createWorkspace();
    const path = workspace.path("a.db");
    createLlmspellSqlite(path);
    const writer = new Database(path);
    writer.pragma(`journal_mode = ${journal}`);
    writer.exec(rowsOf("'t' || (n % 5)", "sqlite"));
    return {
      path,
      writer,
      [Symbol.dispose]() {
        writer.close();
        workspace[Symbol.dispose]();
      },
    };
  }

  it("do not see what is committed while they are planned and read", async () => {
    using made = withWriter("wal");
    const { path, writer } = made;
    const before = await read(createSqliteSource({ path }));
    const change = writer.prepare("UPDATE kv_store SET metadata = '{\"changed\":true}' WHERE rowid = ?");
    const remove = writer.prepare("DELETE FROM sessions WHERE rowid = ?");
    let n = 0;
    const grow = async (): Promise<void> => {
      n++;
      change.run(n);
      remove.run(n);
    };
    const open: Open = (options) => createSqliteSource({ path, ...options } as never);
    expectSame((await readInParts(open, everything(), 20_000, grow)).records, before);
    expect(n).toBeGreaterThan(10);
  });

  it("are of one snapshot: where somebody commits while the sources open, they open again", async () => {
    using made = withWriter("wal");
    const { path, writer } = made;
    let commits = 0;
    const open: Open = (options) => {
      // Between the first source's transaction and the others'.
      if (options.snapshot !== undefined && commits < 3) {
        commits++;
        writer.exec("DELETE FROM kv_store WHERE rowid = (SELECT max(rowid) FROM kv_store)");
      }
      return createSqliteSource({ path, ...options } as never);
    };
    const { records } = await readInParts(open, everything(), 20_000);
    expect(commits).toBe(3);
    expectSame(records, await read(createSqliteSource({ path })));
  });

  it("are none where it never comes to rest: E_LOCKED", async () => {
    using made = withWriter("wal");
    const { path, writer } = made;
    const open: Open = (options) => {
      if (options.snapshot !== undefined)
        writer.exec("UPDATE kv_store SET updated_at = updated_at + 1 WHERE rowid = 1");
      return createSqliteSource({ path, ...options } as never);
    };
    const failure = await readInParts(open, everything(), 20_000).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(StorageError);
    expect((failure as StorageError).code).toBe("E_LOCKED");
    expect((failure as StorageError).message).toContain("changes all the time");
  });

  it("keep the locks that hold a database with a rollback journal", async () => {
    using made = withWriter("delete");
    const { path, writer } = made;
    writer.pragma("busy_timeout = 0");
    const before = await read(createSqliteSource({ path }));
    let refused = 0;
    const open: Open = (options) => createSqliteSource({ path, ...options } as never);
    const grow = async (): Promise<void> => {
      try {
        writer.exec("DELETE FROM kv_store WHERE rowid = 1");
      } catch {
        refused++;
      }
    };
    const { parts, records } = await readInParts(open, everything(), 20_000, grow);
    expectSame(records, before);
    expect(refused).toBe(parts.length);
  });
});
