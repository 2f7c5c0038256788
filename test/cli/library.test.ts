/** What a program does beside exportStore and importStore: schemas, and what a store holds. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { exportStore, importStore, migrateDatabase, StorageError, storeInfo } from "../../src/index.js";
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

describe("an option that there is not", () => {
  it.each([
    [
      "exportStore",
      () => exportStore({ from: source, to: join(folder, "a.json"), tenant: ["acme"] } as never),
      "tenants",
    ],
    ["importStore", () => importStore({ from: source, to: join(folder, "b.db"), dryrun: true } as never), "dryRun"],
    ["migrateDatabase", () => migrateDatabase(join(folder, "c.db"), { timeout: 1 } as never), "signal"],
    ["storeInfo", () => storeInfo(source, { tenants: ["acme"] } as never), "onProgress"],
  ])("is refused by name, and nothing is written: %s", async (name, run, known) => {
    const { code, message, hint } = await refusal(run());
    expect([code, message]).toEqual(["E_USAGE", expect.stringMatching(new RegExp(`^${name} has no option \\w+$`))]);
    expect(hint).toContain(known);
    expect(["a.json", "b.db", "c.db"].filter((file) => existsSync(join(folder, file)))).toEqual([]);
  });
});
