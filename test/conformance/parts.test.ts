/**
 * Parts: whatever the rows are, the parts that a source plans hold each of them once, in the order in which one source gives them; those
 * that are committed meanwhile are in none. PROPERTY_RUNS and PROPERTY_SEED choose another number of databases and repeat a run.
 */
import Database from "better-sqlite3";
import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSqliteSource, StorageError } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { BatchLimits } from "../../src/records/record-batch.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { dataSetArbitrary } from "../helpers/arbitraries.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import { load, read } from "./expectations.js";
import { everything } from "./memory-store.js";
import { expectSame, type Open, ROWS, readInParts, rowsOf, SHAPES, someTenants } from "./parts-reading.js";
import { postgresCursorStore, postgresStore } from "./postgres-store.js";
import { inSourceOrder } from "./sample-memory.js";
import { sqliteStore } from "./sqlite-store.js";
import type { StoreFactory, TestStore } from "./store.js";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? scaled(6, 100));
const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);

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
registerSuite(
  {
    ...sqliteStore,
    name: "sqlite as ranges of keys",
    async open() {
      const store = await sqliteStore.open();
      return { ...store, source: (limits = {}) => store.source({ ...limits, rangesFrom: 1 } as BatchLimits) };
    },
  },
  false,
);
describePostgres("on a server", () => {
  registerSuite(postgresStore, true);
  registerSuite(postgresCursorStore, true);
});

describe.each([
  ["lists", Number.MAX_SAFE_INTEGER],
  ["ranges", 1],
])("parts of skewed SQLite tables, as %s", (form, rangesFrom) => {
  it.each(SHAPES)("hold each row once: %s", async (_, tenant) => {
    using workspace = createWorkspace();
    const path = workspace.path("a.db");
    createLlmspellSqlite(path);
    const database = new Database(path);
    database.exec(rowsOf(tenant, "sqlite"));
    database.close();
    const open: Open = (options) => createSqliteSource({ path, rangesFrom, ...options } as never);
    const { parts, records } = await readInParts(open, everything(), 20_000);
    expectSame(records, await read(createSqliteSource({ path })));
    expect(records.length).toBe(3 * ROWS);
    expect(parts.length).toBeGreaterThan(10);
    // The ids of some workflows are none whose order an index has.
    const ofTables = parts.filter(({ path }) => path !== "workflow_states");
    expect(new Set(ofTables.map(({ rows }) => "columns" in (rows as object)))).toEqual(new Set([form === "ranges"]));
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
      const { records } = await readInParts((options) => store.source(options as BatchLimits), everything(), 20_000, {
        meanwhile: grow,
      });
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
    expectSame((await readInParts(open, everything(), 20_000, { meanwhile: grow })).records, before);
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
    const { parts, records } = await readInParts(open, everything(), 20_000, { meanwhile: grow });
    expectSame(records, before);
    expect(refused).toBe(parts.length);
  });
});
