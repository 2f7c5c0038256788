/** Imports into SQLite that do not end well: the file is what it was. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { createSqliteSink, runPipeline } from "../../src/index.js";
import { failureOf } from "../conformance/expectations.js";
import { createMemorySource, everything, type MemoryRecord, memoryBatches } from "../conformance/memory-store.js";
import { createFolder, createMigrated, execute, load, query, record } from "./sqlite-support.js";

const folder = createFolder();
const path = folder.path("faults.db");
const undo: (() => void)[] = [() => folder.remove()];
afterAll(() => {
  for (const step of undo.reverse()) step();
});

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const kv = (n: number, value = ""): MemoryRecord =>
  record("kv_store", { kv_id: id(n), tenant_id: "t", key: `k${n}`, value, created_at: 0, updated_at: 0 });

/** Every row of every table, and the schema. */
function dump(file: string): unknown {
  const tables = query(file, "SELECT name, sql FROM sqlite_master ORDER BY type, name");
  const rows = query(file, "SELECT name FROM sqlite_master WHERE type = 'table'").map(([name]) =>
    query(file, `SELECT * FROM "${name}" ORDER BY rowid`),
  );
  return { tables, rows };
}

describe("an import into SQLite", () => {
  beforeEach(async () => {
    await createMigrated(path);
    await load(path, [kv(1), kv(2)]);
  });

  it("that is killed leaves the content as it was, and the next one succeeds", async () => {
    const before = dump(path);
    const script = fileURLToPath(new URL("sqlite-endless-import.ts", import.meta.url));
    const hooks = new URL("../helpers/typescript-hooks.mjs", import.meta.url).href;
    for (const wait of [0, 60, 300]) {
      const child = spawn(
        process.execPath,
        ["--experimental-transform-types", "--no-warnings", "--import", hooks, script, path],
        { stdio: ["ignore", "pipe", "inherit"] },
      );
      await once(child.stdout, "data");
      await new Promise((resolve) => setTimeout(resolve, wait));
      child.kill("SIGKILL");
      await once(child, "exit");
      expect(dump(path)).toEqual(before);
    }
    await load(path, [kv(3)]);
    expect(query(path, "SELECT count(*) FROM kv_store")).toEqual([[3n]]);
  });

  it("that is aborted by a signal stops between batches, and leaves the content as it was", async () => {
    const before = dump(path);
    const controller = new AbortController();
    function* endless(): Generator<MemoryRecord> {
      for (let n = 10; ; n++) yield kv(n);
    }
    setTimeout(() => controller.abort(), 100);
    const run = runPipeline({
      source: { ...createMemorySource([]), read: () => memoryBatches(endless(), { batchSize: 100 }) },
      sink: createSqliteSink({ path }),
      selection: everything(),
      signal: controller.signal,
    });
    expect((await failureOf(run)).code).toBe("E_INTERRUPTED");
    expect(dump(path)).toEqual(before);
  });

  it("beside another writer is E_LOCKED, and leaves the content as it was", async () => {
    const holder = new Database(path);
    try {
      holder.exec("BEGIN IMMEDIATE");
      expect((await failureOf(load(path, [kv(3)]))).code).toBe("E_LOCKED");
    } finally {
      holder.close();
    }
    expect(query(path, "SELECT count(*) FROM kv_store")).toEqual([[2n]]);
  });

  it("on a full disk is E_DISK_FULL, and leaves the content as it was", async ({ skip }) => {
    const small = folder.path("small/target.db");
    mkdirSync(dirname(small));
    // Only root can make a file system of its own.
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", dirname(small)]).status !== 0)
      skip("no file system of its own here");
    undo.push(() => spawnSync("umount", [dirname(small)]));
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)");
    copyFileSync(path, small);
    const before = dump(small);
    const value = Buffer.alloc(500000, 7).toString("base64");
    const records = Array.from({ length: 20 }, (_, n) => kv(n + 3, value));
    expect((await failureOf(load(small, records, { batchSize: 1 }))).code).toBe("E_DISK_FULL");
    expect(dump(small)).toEqual(before);
    await load(small, [kv(3)]);
    expect(query(small, "SELECT count(*) FROM kv_store")).toEqual([[3n]]);
  });

  it("leaves no -wal and no -shm beside a file that nobody else has open", async () => {
    await load(path, [kv(3)]);
    expect(readdirSync(dirname(path)).filter((name) => name.startsWith("faults.db"))).toEqual(["faults.db"]);
  });
});
