/** The engine with a catalog that is not llmspell's: nothing of its own schema, names, tenants or keys is assumed. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { type Catalog, createCatalog, type RecordKind } from "../../src/catalog/index.js";
import { type PipelineOptions, runPipeline } from "../../src/pipeline.js";
import type { Rejection } from "../../src/records/run-context.js";
import { createDocumentSink } from "../../src/sinks/json-document.js";
import { createPostgresSink } from "../../src/sinks/postgres.js";
import type { Sink } from "../../src/sinks/sink.js";
import { createSqliteSink } from "../../src/sinks/sqlite.js";
import { createDocumentSource } from "../../src/sources/json-document.js";
import { createPostgresSource } from "../../src/sources/postgres.js";
import type { Source } from "../../src/sources/source.js";
import { createSqliteSource } from "../../src/sources/sqlite.js";
import { createTransforms } from "../../src/transforms/spec.js";
import { createTenantFilter } from "../../src/transforms/tenant-filter.js";
import { withClient } from "../helpers/content-digest.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { another, postgresSql, sqliteSql, WIDTH, withoutRowids } from "./another-catalog/catalog.js";
import { expectSameRecords, failureOf } from "./expectations.js";
import { createMemorySink, createMemorySource, everything, type MemoryRecord, memoryRecord } from "./memory-store.js";
import { temporaryFolder } from "./store.js";

const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const kindAt = (path: string, catalog: Catalog = another): RecordKind => catalog.byPath.get(path) as RecordKind;
const record = (path: string, tokens: Record<string, unknown>, catalog = another): MemoryRecord =>
  memoryRecord(
    kindAt(path, catalog),
    // Spelled as jsonb spells it.
    Object.fromEntries(
      Object.entries(tokens).map(([name, value]) => [name, JSON.stringify(value).replace('":', '": ')]),
    ),
  );
const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

/** In the document's order, by key. */
function sampleRecords(): MemoryRecord[] {
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
  return [
    ...["A.T", "a", 'c"h', "de", "\u{1f600}"].map((code, i) =>
      record("my.shop.countries", { code, tenant_id: i === 1 ? null : i, name: `Land ${i}` }),
    ),
    ...numbers(4).map((id) => record("departments", { id, head: id === 3 ? null : id + 1 })),
    ...numbers(300).map((id) =>
      record("employees", {
        id,
        department: id % 4,
        boss: id === 0 ? 299 : id - 1,
        country: id % 2 === 0 ? "a" : null,
      }),
    ),
    ...["", "acme", "zeta"].flatMap((owner) =>
      numbers(3).map((i) =>
        record("accounts.v2", {
          owner,
          number: uuid(i),
          opened: 1743372000123456 + i,
          tags: i === 0 ? null : ["a", null],
        }),
      ),
    ),
    // Twice the same, and nothing but NULLs.
    ...[5, 5, null, 1, 5].map((value) =>
      record("measurements", value === null ? {} : { station: "z", value, raw: "AA==" }),
    ),
    ...numbers(70).map((i) =>
      record("my.shop.order.items", {
        "order.no": i >> 3,
        'line "no"': i & 7,
        "unit.price": "1.10",
        details: { "a.b": i },
      }),
    ),
    ...numbers(130).map((i) =>
      record("wide", Object.fromEntries(numbers(WIDTH).map((n) => [`c${n}`, n === 0 ? i : n]))),
    ),
  ];
}

const place = ({ kind }: MemoryRecord): number => another.kinds.indexOf(kind);
const records = sampleRecords().sort((one, other) => place(one) - place(other));
const selection = everything(another);

function fresh(name: string, catalog = another): string {
  const path = join(folder, name);
  const database = new Database(path);
  database.exec(sqliteSql(catalog));
  database.close();
  return path;
}

const fromSqlite = (path: string, catalog = another): Source => createSqliteSource({ path, catalog });
const fromDocument = (path: string): Source => createDocumentSource({ input: { path }, catalog: another });
const toDocument = (path: string): Sink =>
  createDocumentSink({ output: { path }, producer: "test/1", exportedAt: new Date(0) });
/** It tells its kinds, as a source of the engine does. */
const fromMemory = (of: readonly MemoryRecord[]): Source =>
  createMemorySource(of, { header: { backend: "postgresql", migrations: ["V1"], catalog: another } });

async function copy(source: Source, sink: Sink, more: Partial<PipelineOptions> = {}) {
  return runPipeline({ source, sink, selection, ...more });
}

async function contentOf(source: Source, more: Partial<PipelineOptions> = {}): Promise<MemoryRecord[]> {
  const sink = createMemorySink();
  await copy(source, sink, more);
  return sink.records;
}

describe("the catalog", () => {
  it("puts kinds that refer to each other in a cycle together, parents before children", () => {
    expect(another.importGroups.map((group) => group.map(({ path }) => path))).toEqual([
      ["my.shop.countries"],
      // Sections stand together, whatever the order in which their kinds were given.
      ["my.shop.order.items"],
      ["departments", "employees"],
      ["accounts.v2"],
      ["measurements"],
      ["wide"],
    ]);
  });

  it("refuses what contradicts itself", () => {
    const kind = kindAt("departments");
    const refused = (change: Partial<RecordKind>) => () =>
      createCatalog(another.kinds.map((each) => (each === kind ? { ...kind, ...change } : each)));
    expect(refused({ key: [] })).toThrow("departments has no key, and is not keyless");
    expect(refused({ keyless: true })).toThrow("departments has a key, and is keyless");
    expect(refused({ location: ["a", "b"] })).toThrow("departments is not where its location says");
    expect(
      refused({ foreignKeys: [{ ...(kind.foreignKeys[0] as (typeof kind.foreignKeys)[0]), onDrop: "cascade" }] }),
    ).toThrow("within a cycle");
    expect(() => createCatalog([{ ...kindAt("wide"), path: "my.shop" }, kindAt("my.shop.countries")])).toThrow(
      "my.shop.countries is in my.shop",
    );
  });
});

it("has no catalog of its own", async () => {
  const run = { sink: createMemorySink(), selection };
  expect((await failureOf(runPipeline({ source: createMemorySource([]), ...run }))).code).toBe("E_USAGE");
  await runPipeline({ source: createMemorySource(records), ...run, catalog: another });
  expectSameRecords(run.sink.records, records);
  const context = { signal: new AbortController().signal, isRejected: () => false, warn: () => {}, leftOut: () => {} };
  const open = toDocument(join(folder, "none.json")).open(
    { backend: "sqlite", migrations: [] },
    { ...context, reject: async () => {} },
  );
  expect((await failureOf(open)).code).toBe("E_USAGE");
});

describe("with SQLite and documents", () => {
  it("moves all records there and back, to the byte", async () => {
    const [first, second] = [join(folder, "a.json"), join(folder, "b.json")];
    await copy(fromMemory(records), toDocument(first));
    const database = fresh("a.db");
    const { report } = await copy(fromDocument(first), createSqliteSink({ path: database }));
    expect(report.counts.get("wide")?.inserted).toBe(130);
    expectSameRecords(await contentOf(fromSqlite(database)), records);
    await copy(fromSqlite(database), toDocument(second));
    expect(readFileSync(second, "utf8").replace('"sqlite"', '"postgresql"')).toBe(readFileSync(first, "utf8"));
  });

  it("reads a table WITHOUT ROWID in the order of its key, the first few, and what is not UTF-8", async () => {
    const path = fresh("keys.db", withoutRowids);
    const database = new Database(path);
    const insert = database.prepare("INSERT INTO countries VALUES (?, ?, ?)");
    for (const [code, number] of [
      ["b", 1],
      ["B", null],
      ["\ufffd", 2],
      ["a", 3],
    ])
      insert.run(code, number, `of ${code}`);
    database.close();
    const paths = new Set(["my.shop.countries"]);
    const codes = (of: readonly MemoryRecord[]) => of.map(({ values }) => values[0]?.toString("utf8"));
    const read = (more: Partial<PipelineOptions> = {}) =>
      contentOf(fromSqlite(path, withoutRowids), { selection: { paths }, ...more });
    expect(codes(await read())).toEqual(["B", "a", "b", "\ufffd"]);
    expect(codes(await read({ limit: 2 }))).toEqual(["B", "a"]);
    const again = new Database(path);
    again.exec("INSERT INTO departments VALUES (1, NULL); INSERT INTO employees VALUES (1, 1, NULL, 'b')");
    // The first one has no room beside the one that is referred to.
    const wanted = await read({ limit: 1, selection: { paths: new Set([...paths, "employees"]) } });
    expect(codes(wanted.filter(({ kind }) => paths.has(kind.path)))).toEqual(["b"]);
    again.exec("UPDATE countries SET name = CAST(x'ff' AS TEXT) WHERE code = 'a'");
    again.close();
    const error = await failureOf(read());
    expect([error.code, error.context.key, error.context.field]).toEqual(["E_INVALID_UTF8", "code=a", "name"]);
  });

  it("takes records without a key into an empty table only", async () => {
    const path = fresh("keyless.db");
    await copy(fromMemory(records), createSqliteSink({ path }));
    const error = await failureOf(copy(fromMemory(records), createSqliteSink({ path })));
    expect([error.code, error.context.section]).toEqual(["E_CONFLICT", "measurements"]);
    expectSameRecords(await contentOf(fromSqlite(path)), records);
  });

  it("gives the records of kinds without tenants with each tenant's", async () => {
    const path = fresh("tenants.db");
    await copy(fromMemory(records), createSqliteSink({ path }));
    const wanted = records.filter(
      ({ kind, values }) => kind.path !== "accounts.v2" || values[0]?.toString("utf8") === "acme",
    );
    const ofAcme = { selection: { ...selection, tenants: ["acme"] } };
    expectSameRecords(await contentOf(fromSqlite(path), ofAcme), wanted);
    expectSameRecords(await contentOf(fromMemory(records), { transforms: [createTenantFilter(["acme"])] }), wanted);
    const document = join(folder, "tenants.json");
    await copy(fromSqlite(path), toDocument(document));
    expectSameRecords(await contentOf(fromDocument(document), ofAcme), wanted);
  });

  it("makes transforms from the source's catalog, and renames its tenants", async () => {
    const path = fresh("transforms.db");
    await copy(fromMemory(records), createSqliteSink({ path }));
    const renamed = await contentOf(fromSqlite(path), {
      transforms: (catalog) =>
        createTransforms(
          [
            { type: "map-tenant", from: "acme", to: "other" },
            { type: "jq", expression: '.data["my.shop"]["order.items"][] |= (.["unit.price"] = "2")' },
            { type: "mask", rule: '"my.shop".countries.name=redact' },
          ],
          { catalog },
        ),
    });
    const at = (path: string, field: number): Set<string | undefined> =>
      new Set(renamed.filter(({ kind }) => kind.path === path).map(({ values }) => values[field]?.toString("utf8")));
    expect(at("accounts.v2", 0)).toEqual(new Set(["", "other", "zeta"]));
    expect(at("my.shop.order.items", 2)).toEqual(new Set(["2"]));
  });

  it("comes to an end with limits and drops where foreign keys go round", async () => {
    const first = await contentOf(fromMemory(records), { limit: 2 });
    expect(first.filter(({ kind }) => kind.path === "wide").length).toBe(2);
    const dropped = await contentOf(fromMemory(records), {
      transforms: (catalog) =>
        createTransforms([{ type: "jq", expression: "employees: select(.id > 0)" }], { catalog }),
    });
    expect(dropped.length).toBe(records.length - 1);
  });
});

/** An orphan pulls its whole chain along. */
function cycleWithOrphan(): MemoryRecord[] {
  return [
    record("departments", { id: 1010, head: 1011 }),
    record("employees", { id: 1011, department: 1010, boss: 1012, country: null }),
    record("employees", { id: 1012, department: 1010, boss: null, country: "nowhere" }),
    record("departments", { id: 1020, head: 1021 }),
    record("employees", { id: 1021, department: 1020, boss: null, country: null }),
  ];
}

function registerCycles(name: string, target: () => Promise<{ source(): Source; sink(drop?: boolean): Sink }>): void {
  describe(`cycles in ${name}`, () => {
    it("are loaded, into empty tables and again, and orphans go with all that refers to them", async () => {
      const store = await target();
      const staff = records.filter(({ kind }) => ["my.shop.countries", "departments", "employees"].includes(kind.path));
      for (const count of ["inserted", "updated"] as const) {
        const { report } = await copy(fromMemory(staff), store.sink());
        expect(report.counts.get("employees")?.[count]).toBe(300);
      }
      expect((await failureOf(copy(fromMemory(cycleWithOrphan()), store.sink()))).code).toMatch(
        /E_ORPHAN|E_PARENT_REJECTED/,
      );
      const { report } = await copy(fromMemory(cycleWithOrphan()), store.sink(true));
      expect(report.counts.get("departments")).toMatchObject({ inserted: 1, dropped: 1 });
      expect(report.counts.get("employees")).toMatchObject({ inserted: 1, dropped: 2 });
      expect((await contentOf(store.source())).length).toBe(staff.length + 2);
      const rejections: Rejection[] = [];
      const onReject = (rejection: Rejection): void => void rejections.push(rejection);
      await copy(fromMemory(cycleWithOrphan()), store.sink(), { onReject });
      expect(rejections.length).toBe(3);
      expect((await contentOf(store.source())).length).toBe(staff.length + 2);
    });
  });
}

it("tells rows of before from those of the run where SQLite's rowids are keys", async () => {
  const path = fresh("rowids.db");
  const database = new Database(path);
  database.exec("CREATE UNIQUE INDEX heads ON departments (head)");
  database.close();
  const kinds = another.kinds.map((kind) =>
    kind.path === "departments" ? { ...kind, uniqueKeys: [["head"]], foreignKeys: [] } : kind,
  );
  const catalog = createCatalog(kinds);
  const department = (id: number, head: number): MemoryRecord => ({
    ...record("departments", { id, head }),
    kind: kindAt("departments", catalog),
  });
  const load = (of: readonly MemoryRecord[]) =>
    copy(
      createMemorySource(of, { header: { backend: "sqlite", migrations: [], catalog } }),
      createSqliteSink({ path }),
    );
  await load([department(1000, 1), department(2000, 2)]);
  // Before the last one, and twice.
  const error = await failureOf(load([department(5, 3), department(5, 4)]));
  expect([error.code, error.message]).toEqual(["E_KEY_CONFLICT", "two records of the run meet on one unique key"]);
  const { report } = await load([department(7, 1), department(3000, 5), department(8, 9)]);
  expect(report.counts.get("departments")).toMatchObject({ inserted: 2, updated: 1 });
  const heads = (await contentOf(fromSqlite(path, catalog))).map(({ values }) =>
    values.map((v) => v?.readBigInt64BE()),
  );
  expect(heads).toEqual([
    [7n, 1n],
    [8n, 9n],
    [2000n, 2n],
    [3000n, 5n],
  ]);
});

registerCycles("SQLite", async () => {
  const path = fresh("cycles.db");
  return {
    source: () => fromSqlite(path),
    sink: (drop = false) => createSqliteSink({ path, onOrphan: drop ? "drop" : "error" }),
  };
});

describePostgres("with a server", () => {
  let database: TestDatabase;
  const connect = () => connectPostgres({ url: database.url });
  const source = (more = {}): Source => createPostgresSource({ connect, name: "postgres", catalog: another, ...more });
  const sink = (more = {}): Sink => createPostgresSink({ connect, name: "postgres", ...more });

  beforeAll(async () => {
    database = await createTestDatabase();
    await withClient(database.url, (client) => client.query(postgresSql()));
  });
  afterAll(() => database.drop());

  it("moves a document to SQLite, on to PostgreSQL and back, to the byte", async () => {
    const [first, second] = [join(folder, "c.json"), join(folder, "d.json")];
    await copy(fromMemory(records), toDocument(first));
    const path = fresh("c.db");
    await copy(fromDocument(first), createSqliteSink({ path }));
    await copy(fromSqlite(path), sink());
    for (const mode of ["copy", "cursor"]) expectSameRecords(await contentOf(source({ mode })), records);
    await copy(source(), toDocument(second));
    expect(readFileSync(second, "utf8")).toBe(readFileSync(first, "utf8"));
  });

  it("updates what is there, but not records without a key, and takes one tenant's", async () => {
    const error = await failureOf(copy(fromMemory(records), sink()));
    expect([error.code, error.context.section]).toEqual(["E_CONFLICT", "measurements"]);
    const keyed = records.filter(({ kind }) => kind.path !== "measurements");
    const { report } = await copy(fromMemory(keyed), sink());
    expect(report.counts.get("wide")).toMatchObject({ inserted: 0, updated: 130 });
    const wanted = records.filter(
      ({ kind, values }) => kind.path !== "accounts.v2" || values[0]?.toString("utf8") === "acme",
    );
    expectSameRecords(await contentOf(source(), { selection: { ...selection, tenants: ["acme"] } }), wanted);
  });

  it("knows a type by more than its name", async () => {
    await withClient(database.url, async (client) => {
      await client.query(`CREATE SCHEMA fake; CREATE TYPE fake.int8 AS ENUM ('1')`);
      await client.query(`ALTER TABLE "my.""shop"".v1".measurements DROP COLUMN value, ADD COLUMN value fake.int8`);
    });
    const error = await failureOf(contentOf(source()));
    expect(error.code).toBe("E_SCHEMA");
    expect(error.message).toContain("fake.int8, expected int8");
  });

  describe("of its own", () => {
    registerCycles("PostgreSQL", async () => {
      await withClient(database.url, (client) =>
        client.query('TRUNCATE "my.""shop"".v1".countries, "my.""shop"".v1".departments, "my.""shop"".v1".employees'),
      );
      const own = createCatalog(
        another.kinds.filter(
          ({ path }) =>
            path !== "measurements" && path !== "wide" && path !== "accounts.v2" && path !== "my.shop.order.items",
        ),
      );
      return {
        source: () => createPostgresSource({ connect, name: "postgres", catalog: own }),
        sink: (drop = false) => sink({ catalog: own, onOrphan: drop ? "drop" : "error" }),
      };
    });
  });
});
