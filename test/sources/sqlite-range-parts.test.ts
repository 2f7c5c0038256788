/**
 * Ranges of keys in SQLite: whatever the keys are, by type, spelling and collation, each row is in one of the ranges, and they follow one
 * another in the order of the index. PROPERTY_RUNS and PROPERTY_SEED choose another number of tables and repeat a run.
 */
import Database from "better-sqlite3";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cutRanges, type KeyRange, rowsOfRange } from "../../src/backends/sqlite/reading/range-parts.js";
import { createRowReader, type RowReader } from "../../src/backends/sqlite/reading/row-reader.js";
import type { RecordKind } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { scaled } from "../helpers/scale.js";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? scaled(40, 1000));
const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);

const kind = catalog.byPath.get("kv_store") as RecordKind;
const signal = new AbortController().signal;

/** The columns of the key, as they are declared, and its index. */
const TABLES = [
  ["TEXT", "TEXT", "UNIQUE INDEX i ON kv_store (kv_id, tenant_id)"],
  ["TEXT COLLATE NOCASE", "", "INDEX i ON kv_store (kv_id, tenant_id)"],
  ["TEXT", "TEXT COLLATE RTRIM", "INDEX i ON kv_store (kv_id, tenant_id)"],
  ["INTEGER", "REAL", "INDEX i ON kv_store (kv_id, tenant_id)"],
  ["", "BLOB", "INDEX i ON kv_store (kv_id, tenant_id)"],
  ["NUMERIC", "TEXT", "INDEX i ON kv_store (kv_id, tenant_id)"],
] as const;

function tableOf([first, second, index]: readonly string[], keys: readonly (readonly unknown[])[], gap: number) {
  const database = new Database(":memory:");
  database.exec(
    `CREATE TABLE kv_store (kv_id ${first}, tenant_id ${second}, key TEXT, value BLOB, metadata TEXT, created_at INTEGER, updated_at INTEGER);
     CREATE ${index}`,
  );
  const insert = database.prepare("INSERT INTO kv_store (rowid, kv_id, tenant_id, value) VALUES (?, ?, ?, ?)");
  for (const [i, key] of keys.entries()) insert.run(1 + i * gap, ...key, Buffer.alloc((i * 7919) % 300));
  return database;
}

const TERMS = ['"kv_id"', '"tenant_id"'];

function cut(database: Database.Database, partBytes: number): Promise<KeyRange[] | undefined> {
  const bytes = "ifnull(octet_length(t.value), 0) + 20";
  return cutRanges(database, kind, { terms: TERMS, partBytes, leastRows: 1, bytes, signal });
}

function rowidsOf(database: Database.Database, ranges: readonly KeyRange[]): number[] {
  const reader = createRowReader(database, kind) as RowReader;
  return ranges.flatMap((range) => {
    // They cross threads as they are.
    const rows = rowsOfRange(database, kind, reader, structuredClone(range));
    const rowids = [...rows.rows()].map((row) => {
      rows.saw(row);
      return Number(row[0]);
    });
    expect(rows.came.rows).toBe(rowids.length);
    return rowids;
  });
}

const value = fc.oneof(
  fc.constantFrom("", "a", "A", "a ", "é", "É", "\u{1F600}", "a\0b", "10", "9", "1e1", "0x10", " 7"),
  fc.string({ unit: "grapheme", maxLength: 4 }),
  fc.integer({ min: -20, max: 20 }),
  fc.constantFrom(2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, 0.5, -0.5, 1e300, Infinity, -Infinity),
  fc.uint8Array({ maxLength: 3 }).map((bytes) => Buffer.from(bytes)),
);

describe("ranges of keys in SQLite", () => {
  it(`hold each row once, in the order of the index (seed ${SEED})`, async () => {
    let many = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...TABLES),
        fc.uniqueArray(fc.tuple(value, value), { minLength: 1, maxLength: 60, selector: String }),
        fc.constantFrom(1, 500, 3000, 1e9),
        fc.constantFrom(1, 2),
        async (table, keys, partBytes, gap) => {
          const database = tableOf(table, table[2].startsWith("UNIQUE") ? keys : [...keys, ...keys.slice(0, 5)], gap);
          const ranges = (await cut(database, partBytes)) as KeyRange[];
          const all = database.prepare(`SELECT rowid FROM kv_store ORDER BY kv_id, tenant_id, rowid`).pluck().all();
          expect(rowidsOf(database, ranges)).toEqual(all);
          if (ranges.length > 3) many++;
          database.close();
        },
      ),
      { numRuns: RUNS, seed: SEED },
    );
    expect(many).toBeGreaterThan(0);
  });

  it("have the size that they are to have, also where rowids are spread like hashes", async () => {
    const keys = Array.from({ length: 20_000 }, (_, i) => [`k${i}`, "t"]);
    const database = tableOf(TABLES[0], keys, 1);
    const close = (await cut(database, 200_000))?.length as number;
    expect(close).toBeGreaterThan(10);
    database.exec("UPDATE kv_store SET rowid = rowid * 1103515245 % 2147483647 * 1048576 + rowid");
    const spread = await cut(database, 200_000);
    expect(spread?.length).toBeGreaterThan(close / 2);
    expect(spread?.length).toBeLessThan(close * 2);
    expect(rowidsOf(database, spread as KeyRange[])).toHaveLength(keys.length);
  });

  it("are none where a key is NULL, where no index has the order, and where the rowids are far apart", async () => {
    const keys = Array.from({ length: 50 }, (_, i) => [`k${i}`, "t"]);
    const plain = tableOf(TABLES[0], keys, 1);
    expect(await cut(plain, 500)).toHaveLength(15);
    plain.exec("UPDATE kv_store SET tenant_id = NULL WHERE rowid = 7");
    expect(await cut(plain, 500)).toBeUndefined();
    const unordered = tableOf(["TEXT", "TEXT", "INDEX i ON kv_store (kv_id DESC, tenant_id)"], keys, 1);
    expect(await cut(unordered, 500)).toBeUndefined();
    const partial = tableOf(["TEXT", "TEXT", "INDEX i ON kv_store (kv_id, tenant_id) WHERE key IS NULL"], keys, 1);
    expect(await cut(partial, 500)).toBeUndefined();
    const crowded = tableOf(TABLES[0], keys, 1);
    crowded.exec("UPDATE kv_store SET rowid = 9000000000000000000 WHERE rowid = 50");
    expect(await cut(crowded, 500)).toBeUndefined();
  });
});
