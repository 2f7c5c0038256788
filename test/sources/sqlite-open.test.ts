/** Opening a file to read it: what is refused, and that reading leaves no trace. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import Database from "better-sqlite3";
import { afterAll, describe, expect, it } from "vitest";
import { openSqliteForWriting } from "../../src/backends/sqlite/open.js";
import { failureOf } from "../conformance/expectations.js";
import { createFolder, createMigrated, execute, load, readAll, record } from "../sinks/sqlite-support.js";

const folder = createFolder();
const undo: (() => void)[] = [() => folder.remove()];
afterAll(() => {
  for (const step of undo.reverse()) step();
});

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const kv = (n: number) =>
  record("kv_store", { kv_id: id(n), tenant_id: "t", key: `k${n}`, value: "AA==", created_at: 1, updated_at: 2 });

async function createDatabase(name: string): Promise<string> {
  const path = folder.path(name);
  await createMigrated(path);
  await load(path, [kv(1), kv(2)]);
  return path;
}

/** The folder's files and their bytes. */
function contents(path: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(path)
      .sort()
      .map((name) => [
        name,
        createHash("sha256")
          .update(readFileSync(`${path}/${name}`))
          .digest("hex"),
      ]),
  );
}

/** Makes the folder one that nobody writes to; false where this machine does not permit that. */
function makeReadOnly(path: string): boolean {
  if (process.getuid?.() !== 0) {
    chmodSync(path, 0o555);
    undo.push(() => chmodSync(path, 0o755));
    return true;
  }
  // Permissions do not bind root: a read-only mount does.
  if (spawnSync("mount", ["--bind", path, path]).status !== 0) return false;
  undo.push(() => spawnSync("umount", [path]));
  return spawnSync("mount", ["-o", "remount,bind,ro", path]).status === 0;
}

/** Copies a database with its companions into a folder of its own. */
function isolated(path: string, name: string, suffixes: readonly string[]): string {
  const target = folder.path(name);
  mkdirSync(target);
  for (const suffix of ["", ...suffixes]) copyFileSync(path + suffix, `${target}/copy.db${suffix}`);
  return target;
}

describe("opening an SQLite file to read it", () => {
  it.each(["wal", "delete"])(
    "leaves a database in journal mode %s byte-identical, and nothing beside it",
    async (mode) => {
      const path = await createDatabase(`trace-${mode}.db`);
      execute(path, `PRAGMA journal_mode = ${mode}`);
      const target = isolated(path, `trace-${mode}`, []);
      const before = contents(target);
      expect((await readAll(`${target}/copy.db`)).records).toHaveLength(2);
      expect(contents(target)).toEqual(before);
      expect(Object.keys(before)).toEqual(["copy.db"]);
    },
  );

  it("sees what a live writer has committed, and leaves its log to it", async () => {
    const path = await createDatabase("live.db");
    const writer = new Database(path);
    try {
      writer.pragma("journal_mode = WAL");
      writer.exec("INSERT INTO kv_store (tenant_id, key, value) VALUES ('t', 'late', x'01')");
      const before = createHash("sha256").update(readFileSync(path)).digest("hex");
      const log = readFileSync(`${path}-wal`);
      writer.exec("BEGIN; INSERT INTO kv_store (tenant_id, key, value) VALUES ('t', 'uncommitted', x'01')");
      expect((await readAll(path)).records).toHaveLength(3);
      expect(createHash("sha256").update(readFileSync(path)).digest("hex")).toBe(before);
      expect(readFileSync(`${path}-wal`).subarray(0, log.length).equals(log)).toBe(true);
      writer.exec("COMMIT");
    } finally {
      writer.close();
    }
  });

  it("reads the rows of a log that a dead writer left, and changes neither file", async () => {
    const path = await createDatabase("dead.db");
    const writer = new Database(path);
    writer.pragma("journal_mode = WAL");
    writer.exec("INSERT INTO kv_store (tenant_id, key, value) VALUES ('t', 'late', x'01')");
    const target = isolated(path, "dead", ["-wal"]);
    writer.close();
    const before = contents(target);
    expect((await readAll(`${target}/copy.db`)).records).toHaveLength(3);
    expect(contents(target)).toMatchObject(before);
  });

  it("follows a symbolic link to the file's own log", async () => {
    const path = await createDatabase("linked.db");
    mkdirSync(folder.path("elsewhere"));
    const link = folder.path("elsewhere/link.db");
    symlinkSync(path, link);
    expect((await readAll(link)).records).toHaveLength(2);
    expect(readdirSync(folder.path("elsewhere"))).toEqual(["link.db"]);
  });

  it("says when there is no file, and makes none", async () => {
    const path = folder.path("nowhere.db");
    expect((await failureOf(readAll(path))).code).toBe("E_STORE_NOT_FOUND");
    expect(existsSync(path)).toBe(false);
    expect((await failureOf(readAll(folder.path("no/such/folder.db")))).code).toBe("E_STORE_NOT_FOUND");
  });

  it("says when it is no database", async () => {
    const path = folder.path("text.db");
    writeFileSync(path, "This is a text, and long enough to be taken for the header of a database file.".repeat(20));
    expect((await failureOf(readAll(path))).code).toBe("E_NOT_A_DATABASE");
    mkdirSync(folder.path("folder.db"));
    expect((await failureOf(readAll(folder.path("folder.db")))).code).toBe("E_NOT_A_DATABASE");
  });

  it("says when the database is damaged", async () => {
    const path = await createDatabase("damaged.db");
    const bytes = readFileSync(path);
    bytes.fill(0xab, 4096);
    rmSync(path);
    writeFileSync(path, bytes);
    expect((await failureOf(readAll(path))).code).toBe("E_NOT_A_DATABASE");
  });

  it("says when another process holds it", async () => {
    const path = await createDatabase("held.db");
    const holder = new Database(path);
    try {
      holder.pragma("journal_mode = DELETE");
      holder.exec("BEGIN EXCLUSIVE");
      expect((await failureOf(readAll(path))).code).toBe("E_LOCKED");
    } finally {
      holder.close();
    }
  });
});

it("a database that is written has its commits on the disk", async () => {
  const database = openSqliteForWriting(await createDatabase("durable.db"));
  try {
    // 2 is FULL: NORMAL would leave them in the system's memory while another process has the database open.
    expect(database.pragma("synchronous", { simple: true })).toBe(2);
  } finally {
    database.close();
  }
});

describe("a read-only medium", () => {
  async function readOnly(name: string, prepare: (path: string) => readonly string[]): Promise<string | undefined> {
    const path = await createDatabase(`${name}.db`);
    const target = isolated(path, name, prepare(path));
    return makeReadOnly(target) ? `${target}/copy.db` : undefined;
  }

  it.for(["wal", "delete"])("is read in journal mode %s", async (mode, { skip }) => {
    const path = await readOnly(`medium-${mode}`, (each) => {
      execute(each, `PRAGMA journal_mode = ${mode}`);
      return [];
    });
    if (path === undefined) return skip("no read-only mount here");
    const { records } = await readAll(path);
    expect(records.map(({ values }) => values[2]?.toString())).toEqual(["k1", "k2"]);
  });

  it.for([
    ["-wal without -shm", ["-wal"]],
    ["-shm without -wal", ["-shm"]],
  ] as const)("with %s is refused", async ([, suffixes], { skip }) => {
    const path = await createDatabase(`lone${suffixes[0]}.db`);
    const writer = new Database(path);
    writer.exec("INSERT INTO kv_store (tenant_id, key, value) VALUES ('t', 'late', x'01')");
    const target = isolated(path, `lone${suffixes[0]}`, suffixes);
    writer.close();
    if (!makeReadOnly(target)) return skip("no read-only mount here");
    expect((await failureOf(readAll(`${target}/copy.db`))).code).toBe("E_HOT_JOURNAL");
  });

  it("with -wal and -shm is read with the log's rows", async ({ skip }) => {
    const path = await createDatabase("both.db");
    const writer = new Database(path);
    writer.exec("INSERT INTO kv_store (tenant_id, key, value) VALUES ('t', 'late', x'01')");
    const target = isolated(path, "both", ["-wal", "-shm"]);
    writer.close();
    if (!makeReadOnly(target)) return skip("no read-only mount here");
    expect((await readAll(`${target}/copy.db`)).records).toHaveLength(3);
  });

  it("with a hot journal is refused", async ({ skip }) => {
    const path = await createDatabase("hot.db");
    execute(path, "PRAGMA journal_mode = DELETE");
    const writer = new Database(path);
    // A small cache, so that changed pages reach the file before the commit.
    writer.pragma("cache_size = 1");
    writer.exec(
      "BEGIN; INSERT INTO kv_store (tenant_id, key, value) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT 't', i, randomblob(200) FROM n",
    );
    const target = isolated(path, "hot", ["-journal"]);
    writer.exec("ROLLBACK");
    writer.close();
    if (!makeReadOnly(target)) return skip("no read-only mount here");
    expect((await failureOf(readAll(`${target}/copy.db`))).code).toBe("E_HOT_JOURNAL");
  });

  it("takes no import", async ({ skip }) => {
    const path = await readOnly("no-import", () => []);
    if (path === undefined) return skip("no read-only mount here");
    expect((await failureOf(load(path, [kv(3)]))).code).toBe("E_READ_ONLY");
  });
});
