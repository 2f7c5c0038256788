/** What a program does beside exportStore and importStore: schemas, and what a store holds. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  connectPostgres,
  createDocumentSink,
  createDocumentSource,
  createPostgresSink,
  createPostgresSource,
  createSqliteSink,
  createSqliteSource,
  exportStore,
  importStore,
  migrateDatabase,
  readRecords,
  runPipeline,
  StorageError,
  type StoredRecord,
  storeInfo,
} from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";

let folder: string;
let source: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-library-"));
  source = join(folder, "source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 4 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function refusal(run: Promise<unknown>): Promise<{ code: string; message: string; hint: string | undefined }> {
  const error = await run.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StorageError);
  const { code, message, context } = error as StorageError;
  return { code, message, hint: context.hint };
}

describe("migrateDatabase", () => {
  it("makes an SQLite file, and does nothing the second time", async () => {
    const target = join(folder, "new.db");
    expect((await migrateDatabase(target)).applied.map(({ id }) => id)).toContain("V13");
    expect(existsSync(target)).toBe(true);
    expect((await migrateDatabase({ type: "sqlite", path: target })).applied).toEqual([]);
  });

  it("refuses what has no schema", async () => {
    expect(await refusal(migrateDatabase(join(folder, "x.json")))).toMatchObject({ code: "E_USAGE" });
  });
});

describePostgres("migrateDatabase", () => {
  it("makes the schema that importStore needs", async () => {
    await using database = await createTestDatabase();
    expect((await migrateDatabase(database.url)).applied.length).toBeGreaterThan(10);
    await importStore({ from: source, to: database.url, invalidUuid: "derive" });
    const { facts, records, sections } = await storeInfo(database.url);
    expect(facts).toMatchObject({ serverVersion: expect.any(String), pgvectorVersion: expect.any(String) });
    expect(records).toBe((await storeInfo(source)).records);
    expect(sections.find(({ path }) => path === "sessions")).toMatchObject({ label: "Sessions", records: 4 });
  });
});

describe("storeInfo", () => {
  it("counts each tenant's records when asked to", async () => {
    const { tenants = [], records } = await storeInfo(source, { tenants: true });
    expect(tenants.map(({ tenant }) => tenant)).toEqual([...new Set(tenants.map(({ tenant }) => tenant))].sort());
    expect(tenants.reduce((sum, each) => sum + each.records, 0)).toBe(records);
    expect((await storeInfo(source)).tenants).toBeUndefined();
    expect(await refusal(storeInfo(source, { tenants: ["acme"] } as never))).toMatchObject({ code: "E_USAGE" });
  });

  it("says what `llmspell storage info --json` says, and prints nothing", async () => {
    const write = vi.spyOn(process.stdout, "write");
    const info = await storeInfo(source);
    expect(write.mock.calls).toEqual([]);
    vi.restoreAllMocks();
    using workspace = createWorkspace();
    const told = JSON.parse((await workspace.must(["storage", "info", source, "--json"])).stdout);
    const { store, facts, backend, migrations, records, sections, rejected, obstacles, leftOut } = info;
    expect(told).toEqual({
      store,
      ...facts,
      sourceBackend: backend,
      migrations,
      records,
      sections: Object.fromEntries(sections.map(({ path, ...section }) => [path, section])),
      rejected,
      obstacles,
      warnings: [],
      leftOut,
    });
    expect(records).toBe(60);
  });

  it("counts the records that an export could not take", async () => {
    const damaged = join(folder, "damaged.db");
    writeFileSync(damaged, readFileSync(source));
    const database = new Database(damaged);
    database.exec("UPDATE kv_store SET key = CAST(x'ff' || key AS TEXT) WHERE rowid <= 2");
    database.close();
    const { obstacles, rejected } = await storeInfo(damaged);
    expect(obstacles).toMatchObject([{ code: "E_INVALID_UTF8", section: "kv_store", field: "key", count: 2 }]);
    expect(rejected).toBe(2);
  });
});

describe("readRecords", () => {
  it("gives what a document has, in its order, and records that can be kept", async () => {
    const kept: StoredRecord[] = [];
    for await (const one of readRecords(source)) kept.push(one);
    const document = join(folder, "all.json");
    await exportStore({ from: source, to: document });
    const { data } = JSON.parse(readFileSync(document, "utf8"));
    const expected = Object.entries(data as Record<string, object>).flatMap(([name, section]) =>
      Array.isArray(section)
        ? section.map((record) => [name, record])
        : Object.entries(section).flatMap(([part, records]) => records.map((r: object) => [`${name}.${part}`, r])),
    );
    expect(kept.map(({ section }) => section)).toEqual(expected.map(([section]) => section));
    for (const [at, [, record]] of expected.entries()) {
      const found = kept[at]?.record ?? {};
      // SQL NULL is undefined in a json field, which a document leaves out.
      const present = Object.entries(found).filter(([, value]) => value !== undefined);
      expect(present.map(([name]) => name)).toEqual(Object.keys(record));
      for (const [name, value] of Object.entries(found)) {
        if (typeof value === "string" && name !== "data") expect(value).toBe(record[name]);
        if (Buffer.isBuffer(value)) expect(value.toString("base64")).toBe(record[name]);
      }
    }
  });

  it("holds large content whole", async () => {
    const large = join(folder, "large.db");
    createLlmspellSqlite(large);
    fillSqlite(large, { records: 3, contentSizes: [2_000_000] });
    const sizes: number[] = [];
    for await (const { record } of readRecords(large, { include: ["artifacts.content"] })) {
      expect((record["data"] as Buffer).length).toBe(record["size_bytes"]);
      sizes.push(record["size_bytes"]);
    }
    expect(sizes).toHaveLength(3);
    expect(Math.max(...sizes)).toBe(2_000_000);
  });

  it("takes the options of an export, and ends when the loop is left", async () => {
    let seen = 0;
    for await (const { section, record } of readRecords(source, {
      include: ["sessions"],
      transforms: [{ type: "jq", expression: '.data.sessions[].status = "archived"' }],
    })) {
      expect([section, record["status"]]).toEqual(["sessions", "archived"]);
      if (++seen === 2) break;
    }
    expect(seen).toBe(2);
  });

  it("ends with the error of a bad record, and of a signal", async () => {
    const consume = async (from: string, options = {}): Promise<void> => {
      for await (const _ of readRecords(from, options));
    };
    expect(await refusal(consume(join(folder, "damaged.db")))).toMatchObject({ code: "E_INVALID_UTF8" });
    expect(await refusal(consume(source, { signal: AbortSignal.abort() }))).toMatchObject({ code: "E_INTERRUPTED" });
    expect(await refusal(consume(join(folder, "none.db")))).toMatchObject({ code: "E_STORE_NOT_FOUND" });
  });
});

describe("an option that there is not", () => {
  it.each([
    [
      "exportStore",
      () => exportStore({ from: source, to: join(folder, "a.json"), tenant: ["acme"] } as never),
      "tenants",
    ],
    ["importStore", () => importStore({ from: source, to: join(folder, "b.db"), dryrun: true } as never), "dryRun"],
    ["migrateDatabase", () => migrateDatabase(join(folder, "c.db"), { timeout: 1 } as never), "signal"],
    ["storeInfo", () => storeInfo(source, { include: ["sessions"] } as never), "onProgress"],
    [
      "createSqliteSource",
      async () => createSqliteSource({ path: source, lockTimeout: 1 } as never),
      "lockTimeoutSeconds",
    ],
    ["createPostgresSource", async () => createPostgresSource({ name: "x", sourceMode: "copy" } as never), "mode"],
    [
      "createDocumentSource",
      async () => createDocumentSource({ input: source, verify: false } as never),
      "verifyManifest",
    ],
    ["createSqliteSink", async () => createSqliteSink({ path: join(folder, "c.db"), dryrun: true } as never), "dryRun"],
    ["createPostgresSink", async () => createPostgresSink({ name: "x", onConflicts: "skip" } as never), "onConflict"],
    ["createDocumentSink", async () => createDocumentSink({ output: {}, compression: "gzip" } as never), "compress"],
    ["runPipeline", () => runPipeline({ transform: [] } as never), "transforms"],
    [
      "connectPostgres",
      () => connectPostgres({ url: "postgresql://127.0.0.1:1/x" }, { timeout: 1 } as never),
      "signal",
    ],
  ])("is refused by name, and nothing is written: %s", async (name, run, known) => {
    const { code, message, hint } = await refusal(run());
    expect([code, message]).toEqual(["E_USAGE", expect.stringMatching(new RegExp(`^${name} has no option \\w+$`))]);
    expect(hint).toContain(known);
    expect(["a.json", "b.db", "c.db"].filter((file) => existsSync(join(folder, file)))).toEqual([]);
  });
});
