/** docs/adding-a-backend.md, carried out: a source, a sink and one object, and records move to and from the new backend. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  backends,
  createDocumentSink,
  exportStore,
  importStore,
  migrateDatabase,
  readRecords,
  runPipeline,
  storeInfo,
} from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Rejection } from "../../src/records/run-context.js";
import { dropMemory, makeMemory } from "./added-backend/backends/memory/database.js";
import { createMemorySink } from "./added-backend/sinks/memory.js";
import { createMemorySource } from "./added-backend/sources/memory.js";
import { memory } from "./added-backend/stores/memory.js";
import { conflictCases, type Records } from "./conflict-cases.js";
import { documentStore } from "./document-store.js";
import { contentOf, failureOf, lines, load } from "./expectations.js";
import { everything, type MemoryRecord, memoryRecord } from "./memory-store.js";
import { registerRoundTripTests } from "./round-trip-tests.js";
import { sampleMemoryRecords } from "./sample-memory.js";
import { sqliteStore } from "./sqlite-store.js";
import type { StoreFactory } from "./store.js";
import { registerBackendTests } from "./stores.js";

const FILES = ["backends/memory/database.ts", "sources/memory.ts", "sinks/memory.ts", "stores/memory.ts"];

it("is what docs/adding-a-backend.md shows", () => {
  const page = readFileSync(new URL("../../docs/adding-a-backend.md", import.meta.url), "utf8");
  const shown = [...page.matchAll(/^`src\/(\S+)`:\n\n```ts\n(.*?)^```/gms)].map(([, file, code]) => [file, code]);
  expect(shown).toEqual(FILES.map((file) => [file, asInSrc(file)]));
});

/** A file's text, as it would be in src. */
function asInSrc(file: string): string {
  const text = readFileSync(new URL(`added-backend/${file}`, import.meta.url), "utf8");
  return text.replace(/"(?:\.\.\/)+src\/([^"]+)"/g, (_, target: string) => {
    const path = relative(dirname(file), target);
    return JSON.stringify(path.startsWith(".") ? path : `./${path}`);
  });
}

let opened = 0;

const memoryStore: StoreFactory = {
  name: "memory",
  database: true,
  async open() {
    const name = `test ${opened++}`;
    const clear = async (): Promise<void> => {
      dropMemory(name);
      makeMemory(name);
    };
    await clear();
    return {
      source: (limits = {}) => createMemorySource({ name, catalog, ...limits }),
      sink: (options = {}) => createMemorySink({ name, catalog, ...options }),
      clear,
      close: async () => dropMemory(name),
    };
  },
};

registerBackendTests(memory, [memoryStore]);
registerRoundTripTests(memoryStore, documentStore);
registerRoundTripTests(memoryStore, sqliteStore);
registerRoundTripTests(sqliteStore, memoryStore);

function recordsOf(records: Records): MemoryRecord[] {
  return Object.entries(records).flatMap(([path, rows]) =>
    rows.map((row) => {
      const kind = catalog.byPath.get(path);
      if (kind === undefined) throw new Error(`no kind ${path}`);
      const given = Object.entries(row).filter(([name, value]) => {
        const field = kind.fields.find((each) => each.name === name);
        return value !== null || (field?.type === "json" && field.nullable !== true);
      });
      return memoryRecord(kind, Object.fromEntries(given.map(([name, value]) => [name, JSON.stringify(value)])));
    }),
  );
}

describe("conflicts in memory", () => {
  it.each(conflictCases)("$name", async ({ existing, incoming, onConflict, refused = [], counts, rows }) => {
    const store = await memoryStore.open();
    await load(store, recordsOf(existing));
    const rejections: Rejection[] = [];
    const { report } = await load(store, recordsOf(incoming), { onConflict, rejections });
    const told = rejections.map(({ error: { code, context } }) => ({
      code,
      section: context.section,
      key: context.key,
    }));
    expect(told).toEqual(refused.map(({ code, section, key }) => ({ code, section, key })));
    for (const [path, [inserted, updated, skipped]] of Object.entries(counts))
      expect(report.counts.get(path)).toEqual({ inserted, updated, skipped, dropped: 0 });
    const held = (await contentOf(store)).filter(({ kind }) => kind.path in rows);
    expect(lines(held).sort()).toEqual(lines(recordsOf(rows)).sort());
    await store.close();
  });
});

describe("a STORE of the added backend", () => {
  const folder = mkdtempSync(join(tmpdir(), "llmspell-added-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const list = [...backends, memory];

  it("is written and read by every function of the library", async () => {
    const records = sampleMemoryRecords({ records: 5 });
    const [file, first, second] = [join(folder, "a.db"), join(folder, "a.json"), join(folder, "b.json")] as const;
    const seed = await sqliteStore.open();
    await load(seed, records);
    await runPipeline({
      source: seed.source(),
      sink: createDocumentSink({ output: { path: first }, producer: "llmspell-storage/test" }),
      selection: everything(),
    });
    await seed.close();
    await migrateDatabase("memory:a", { backends: list });
    expect((await importStore({ from: first, to: "memory:a", backends: list })).totals.inserted).toBe(records.length);
    await exportStore({ from: "memory:a", to: second, backends: list });
    const data = (path: string): unknown => JSON.parse(readFileSync(path, "utf8")).data;
    expect(data(second)).toEqual(data(first));
    expect((await importStore({ from: "memory:a", to: file, backends: list })).totals.inserted).toBe(records.length);
    expect((await storeInfo("memory:a", { backends: list })).records).toBe(records.length);
    let read = 0;
    for await (const _ of readRecords("memory:a", { backends: list })) read++;
    expect(read).toBe(records.length);
    dropMemory("a");
  });

  it("is refused where it is the other side, too, and where the list does not have it", async () => {
    makeMemory("b");
    const same = await failureOf(importStore({ from: "memory:b", to: "memory:b", backends: list }));
    expect([same.code, same.message]).toEqual(["E_USAGE", "source and target are the same store"]);
    const unknown = await failureOf(importStore({ from: "memory:b", to: join(folder, "b.db") }));
    expect([unknown.code, unknown.message]).toEqual(["E_USAGE", "not a store: memory:b"]);
    const hint = (await failureOf(importStore({ from: "nothing", to: "x.db", backends: list }))).context.hint;
    expect(hint).toContain("memory:NAME");
    const missing = await failureOf(
      exportStore({ from: "memory:none", to: join(folder, "none.json"), backends: list }),
    );
    expect(missing.code).toBe("E_STORE_NOT_FOUND");
    const only = await failureOf(migrateDatabase("memory:b", { repairRowids: true, backends: list }));
    expect([only.code, only.message]).toEqual(["E_USAGE", "--repair-rowids is for SQLite databases"]);
    dropMemory("b");
  });
});
