/** The list of backends: each has a store and a file of tests here, and tells its own STORE texts from the others'. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, describe, expect, it } from "vitest";
import type { Config } from "../../src/config/index.js";
import { backendOf, backends, parseStore, type StoreLocation, storeName } from "../../src/stores/index.js";
import { failureOf } from "./expectations.js";
import { SHARED, stores } from "./stores.js";

const folder = mkdtempSync(join(tmpdir(), "llmspell-backends-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config: Config = {
  backend: undefined,
  sqlite: { path: "/default.db", because: "a test", vectors: "blob" },
  postgresql: { url: "postgresql://u:secret@h/d", because: "a test", connectionTimeoutSeconds: 1 },
  warnings: [],
  announcements: [],
};

/** A store of each backend that is not there, and the STORE text that means it; a program's stream has none. */
const ABSENT: Readonly<Record<string, readonly [location: StoreLocation, text?: string]>> = {
  postgres: [{ type: "postgres", url: "postgresql://127.0.0.1:1/none" }, "postgresql://127.0.0.1:1/none"],
  pglite: [{ type: "pglite", directory: join(folder, "none") }, `pglite:${join(folder, "none")}`],
  sqlite: [{ type: "sqlite", path: join(folder, "none.db") }, join(folder, "none.db")],
  directory: [{ type: "directory", path: join(folder, "none") }, `${join(folder, "none")}/`],
  document: [{ type: "document", path: join(folder, "none.json") }, join(folder, "none.json")],
  stream: [{ type: "stream", stream: new PassThrough() }],
};

describe.each(backends.map((backend) => [backend.type, backend] as const))("the backend %s", (type, backend) => {
  it("has stores and a file of tests among the conformance suites", () => {
    const tested = SHARED[type] ?? type;
    const factories = stores[tested] ?? [];
    expect(factories.length).toBeGreaterThan(0);
    expect(existsSync(new URL(`${tested}.test.ts`, import.meta.url))).toBe(true);
    for (const { database } of factories) expect(database).toBe(backend.database !== undefined);
  });

  it("reads its own STORE text, and no other backend does", () => {
    const [location, text] = ABSENT[type] ?? [];
    expect(location).toBeDefined();
    expect(backendOf(location as StoreLocation)).toBe(backend);
    if (text === undefined) {
      expect(backend.locations.forms).toEqual([]);
      return;
    }
    expect(parseStore(text, () => config)).toEqual(location);
    expect(backends.filter(({ locations }) => locations.parse(text) !== undefined)).toEqual([backend]);
    expect(storeName(location as StoreLocation)).toContain("none");
  });

  it("gives databases an order of keys, and configured ones a place", () => {
    expect(backend.order).toBe(backend.database === undefined ? "none" : "key");
    const located = backend.configured?.locate?.(config).location;
    if (located !== undefined) expect(located.type).toBe(type);
  });

  it.runIf(backend.database !== undefined)("tells of a database that is not there", async () => {
    const [location] = ABSENT[type] as [StoreLocation];
    const { catalog } = await import("../../src/llmspell/catalog/index.js");
    const options = { catalog, connectionTimeoutSeconds: 0.1 };
    for (const work of [backend.readFacts(location, options), backend.database?.inspect(location, options)])
      expect(["E_STORE_NOT_FOUND", "E_CONNECT", "E_CONNECTION_TIMEOUT"]).toContain(
        (await failureOf(work as Promise<unknown>)).code,
      );
    expect(existsSync(join(folder, "none"))).toBe(false);
  });
});
