/** Three ways through an SQLite table, along an index, by sorting it, as it lies: the first two give the same bytes, all the same records. */

import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSqliteForReading } from "../../src/backends/sqlite/open.js";
import { isSorted } from "../../src/backends/sqlite/reading/sort-choice.js";
import {
  digestStore,
  type ExportOptions,
  exportStore,
  importStore,
  validateDocument,
  verifyStores,
} from "../../src/index.js";
import type { Rejection } from "../../src/records/run-context.js";
import { failureOf } from "../conformance/expectations.js";
import { createLlmspellSqlite, llmspellSqliteSql } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { canMount, mountSmall, type SmallDisk } from "../helpers/small-disk.js";
import { createFolder, createMigrated, execute, kindOf } from "../sinks/sqlite-support.js";

const folder = createFolder();
afterAll(() => folder.remove());

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
/** In the order of random keys. */
const counts = { event_log: 2000, kv_store: 700 } as const;

/** llmspell's own tables with every spelling of ids, both shapes of vectors and large contents. */
function createOwn(path: string): void {
  createLlmspellSqlite(path);
  fillSqlite(path, { records: 40, counts, seed: "order", nul: true });
}

/** Keys that are not spelled alike, not UUIDs, not UTF-8; times that disagree with their companions; NULLs. */
async function createOdd(path: string): Promise<void> {
  await createMigrated(path);
  fillSqlite(path, { records: 20, counts, seed: "odd", nul: true });
  const database = new Database(path);
  const state = database.prepare(
    `INSERT INTO agent_states (state_id, tenant_id, agent_id, agent_type, state_data, checksum, created_at, updated_at)
     VALUES (CAST(? AS TEXT), 't', ?, 'x', '{}', '${"0".repeat(64)}', 1, 1)`,
  );
  const ids = [
    "zz",
    "ZZ",
    "a\0b",
    "a",
    "a\0",
    "",
    "é",
    "\u{1f600}",
    "\uffff",
    id(7).toUpperCase(),
    id(6).replaceAll("-", ""),
  ];
  for (const [n, one] of ids.entries()) state.run(Buffer.from(one, "utf8"), `odd ${n}`);
  for (const [n, bytes] of ["ff41", "fe", "efbfbd41", "efbfbd"].entries())
    state.run(Buffer.from(bytes, "hex"), `bad ${n}`);
  database.exec(`UPDATE event_log SET timestamp = timestamp + 1 WHERE rowid % 7 = 0;
    UPDATE event_log SET timestamp_us = NULL WHERE rowid % 5 = 0;
    UPDATE kv_store SET metadata = '{' WHERE rowid % 50 = 1;
    UPDATE event_log SET timestamp = 1.5 WHERE rowid IN (9, 1900);
    DELETE FROM kv_store WHERE rowid BETWEEN 100 AND 600`);
  database.close();
}

/** Text in UTF-16, whose surrogates sort otherwise than UTF-8's bytes. */
function createWide(path: string): void {
  const database = new Database(path);
  database.pragma("encoding = 'UTF-16le'");
  database.exec(llmspellSqliteSql());
  database.close();
  fillSqlite(path, { records: 10, seed: "wide" });
  execute(
    path,
    `INSERT INTO workflow_states (tenant_id, workflow_id, state_data, last_updated, created_at)
    VALUES ('t', '\u{1f600}', '{}', 1, 1), ('t', '\uffee', '{}', 1, 1), ('t', 'a', '{}', 1, 1)`,
  );
}

const DATABASES: [string, (path: string) => void | Promise<void>][] = [
  ["own", createOwn],
  ["odd", createOdd],
  ["wide", createWide],
];
beforeAll(async () => {
  for (const [name, create] of DATABASES) await create(folder.path(`${name}.db`));
});

interface Read {
  /** From `"data"` on; the head has a time. */
  readonly text: string;
  readonly rejected: readonly string[];
}

async function read(name: string, options: Partial<ExportOptions>): Promise<Read> {
  const path = folder.path(`${name}.json`);
  const rejected: string[] = [];
  const onReject = ({ error }: Rejection): void => void rejected.push(`${error.code} ${error.context.key}`);
  await exportStore({ from: folder.path(`${name}.db`), to: path, force: true, onReject, ...options });
  const text = readFileSync(path, "utf8");
  return { text: text.slice(text.indexOf('"data"')), rejected };
}

describe.each(DATABASES.map(([name]) => name))("the database %s", (name) => {
  it.each<[string, Partial<ExportOptions>]>([
    ["whole", {}],
    ["of two tenants", { tenants: ["tenant-a", "租户 😀"] }],
    ["with ids that become UUIDs", { invalidUuid: "derive" }],
    ["with ids that have to be UUIDs", { invalidUuid: "error" }],
    ["its first records", { limit: 5 }],
  ])("sorted, it gives the same bytes and the same rejects: %s", async (_what, options) => {
    const indexed = await read(name, { ...options, orderBy: "index" });
    const sorted = await read(name, { ...options, orderBy: "sort" });
    expect(sorted.text === indexed.text).toBe(true);
    expect(sorted.rejected).toEqual(indexed.rejected);
    expect(indexed.text.length).toBeGreaterThan(1000);
  });

  it("as its tables have them, the same records come", async () => {
    const indexed = await read(name, { orderBy: "index", digests: true });
    const asTheyLie = await read(name, { order: "table", digests: true });
    const lines = ({ text }: Read): string[] => text.slice(0, text.indexOf('"manifest"')).split(/,?\n/).sort();
    expect(lines(asTheyLie)).toEqual(lines(indexed));
    expect(asTheyLie.rejected.toSorted()).toEqual(indexed.rejected.toSorted());
    expect(asTheyLie.text).not.toBe(indexed.text);
    const manifest = ({ text }: Read) => JSON.parse(`{${text.slice(text.indexOf('"manifest"'))}`).manifest;
    const { order, records, digest } = manifest(asTheyLie).event_log;
    expect([order, records, digest]).toEqual([
      "table",
      manifest(indexed).event_log.records,
      manifest(indexed).event_log.digest,
    ]);
    expect(manifest(indexed).event_log.order).toBeUndefined();
  });
});

it("a document in another order is verified, validated, digested and imported as any other", async () => {
  const [from, document, target] = [folder.path("own.db"), folder.path("table.json"), folder.path("target.db")];
  await exportStore({ from, to: document, order: "table" });
  expect((await verifyStores({ a: from, b: document })).identical).toBe(true);
  expect((await verifyStores({ a: document, b: from, orderBy: "sort" })).identical).toBe(true);
  expect((await validateDocument(document)).findings).toBe(0);
  const [ofDocument, ofDatabase] = [await digestStore(document), await digestStore(from, { order: "table" })];
  expect(ofDocument.total).toEqual(ofDatabase.total);
  await importStore({ from: document, to: target });
  execute(target, "DELETE FROM kv_store WHERE rowid % 2 = 0");
  execute(
    target,
    `INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES ('${id(1)}', 'new', 'k', x'00', 1, 1)`,
  );
  // What a whole document does not have goes, whatever its order.
  await importStore({ from: document, to: target, prune: true });
  expect((await verifyStores({ a: from, b: target })).identical).toBe(true);
  // A database's own order does as well.
  execute(target, "DELETE FROM event_log");
  await importStore({ from, to: target, order: "table", prune: true });
  expect((await verifyStores({ a: from, b: target })).identical).toBe(true);
});

describe("a damaged table or index", () => {
  const path = folder.path("damaged.db");
  const intact = folder.path("intact.db");
  beforeAll(async () => {
    await createMigrated(intact);
    const database = new Database(intact);
    const insert = database.prepare(
      "INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES (?, 't', ?, zeroblob(900), 1, 1)",
    );
    database.exec("BEGIN");
    for (let n = 0; n < 400; n++) insert.run(id((n * 7919) % 400), `k${n}`);
    database.exec("COMMIT; VACUUM");
    database.close();
  });

  /** Changes pages of a b-tree, which are told by their own numbers. */
  function damage(tree: string, change: (bytes: Buffer, pages: readonly number[], size: number) => void): void {
    const database = new Database(intact);
    const size = database.pragma("page_size", { simple: true }) as number;
    const pages = database
      .prepare("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path")
      .pluck()
      .all(tree) as number[];
    database.close();
    const bytes = Buffer.from(readFileSync(intact));
    change(bytes, pages, size);
    rmSync(path, { force: true });
    writeFileSync(path, bytes);
  }

  it.each<[string, string, (bytes: Buffer, pages: readonly number[], size: number) => void]>([
    [
      "a leaf of the table without its last row",
      "kv_store",
      (bytes, [, page = 0], size) => {
        const at = (page - 1) * size + 3;
        bytes.writeUInt16BE(bytes.readUInt16BE(at) - 1, at);
      },
    ],
    [
      "a leaf of the table twice, and another one not at all",
      "kv_store",
      (bytes, [, one = 0, other = 0], size) => bytes.copy(bytes, (other - 1) * size, (one - 1) * size, one * size),
    ],
    [
      "a leaf of the key's index without its last entry",
      "sqlite_autoindex_kv_store_1",
      (bytes, [page = 0], size) => {
        const at = (page - 1) * size + 3;
        bytes.writeUInt16BE(bytes.readUInt16BE(at) - 1, at);
      },
    ],
  ])("%s: E_SOURCE_DAMAGED on every way, and no document", async (_name, tree, change) => {
    damage(tree, change);
    for (const options of [{ orderBy: "index" }, { orderBy: "sort" }, { order: "table" }] as const) {
      const to = `${path}.json`;
      const error = await failureOf(exportStore({ from: path, to, include: ["kv_store"], ...options }));
      expect([options, error.code], `${error.message} ${error.context.detail}`).toEqual([options, "E_SOURCE_DAMAGED"]);
      expect(existsSync(to)).toBe(false);
    }
  });
});

describe("a table of several runs", () => {
  let workspace: Workspace;
  let path: string;
  const ROWS = 400;
  beforeAll(async () => {
    workspace = createWorkspace();
    mkdirSync(workspace.path("tmp"));
    path = workspace.path("long.db");
    await createMigrated(path);
    const database = new Database(path);
    const insert = database.prepare(
      "INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES (?, 't', ?, zeroblob(?), 1, 1)",
    );
    database.exec("BEGIN");
    // One value is longer than a run.
    for (let n = 0; n < ROWS; n++) insert.run(id((n * 7919) % ROWS), `k${n}`, n === 100 ? 9_000_000 : 50_000 + n);
    database.exec("COMMIT");
    database.close();
  });
  afterAll(() => workspace[Symbol.dispose]());

  const words = (output: string, way = "sort"): string[] => [
    ...["storage", "export", "--database", path, "--output", output, "--order-by", way],
  ];
  const data = (output: string): string =>
    readFileSync(workspace.path(output), "utf8").replace(/^"exported_at.*$/m, "");

  it("gives the same bytes, and leaves nothing in TMPDIR, also where it is killed", async () => {
    const env = { TMPDIR: workspace.path("tmp") };
    await workspace.must(words("sorted.json"), { env });
    await workspace.must(words("indexed.json", "index"), { env });
    expect(data("sorted.json") === data("indexed.json")).toBe(true);
    expect(readdirSync(workspace.path("tmp"))).toEqual([]);
    const child = workspace.start([...words("killed.json"), "--verbose"], { env });
    const closed = once(child, "close");
    // The first words come when the run has begun.
    await once(child.stdout ?? child, "data");
    child.kill("SIGKILL");
    await closed;
    expect(readdirSync(workspace.path("tmp"))).toEqual([]);
  });

  it.runIf(canMount)("a full disk is E_DISK_FULL, and no document", async () => {
    using disk = mountSmall(4) as SmallDisk;
    const { status, stderr } = await workspace.run(words("full.json"), { env: { TMPDIR: disk.folder } });
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/no space is left for temporary files \[E_DISK_FULL\]/),
    ]);
    expect(stderr).toContain("Set TMPDIR");
    expect(existsSync(workspace.path("full.json"))).toBe(false);
    expect(readdirSync(disk.folder)).toEqual([]);
  });
});

describe("which way is taken", () => {
  const chosen = (path: string, kind: string, memory: number, orderBy?: "auto" | "index" | "sort"): boolean => {
    const database = openSqliteForReading(path);
    try {
      return isSorted(database, kindOf(kind), {}, orderBy, memory);
    } finally {
      database.close();
    }
  };

  it("a table larger than the memory is sorted, unless its rows lie as their keys do", async () => {
    const path = folder.path("choice.db");
    await createMigrated(path);
    const database = new Database(path);
    const insert = database.prepare(
      "INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES (?, 't', ?, zeroblob(500), 1, 1)",
    );
    const clustered = database.prepare(
      "INSERT INTO agent_states (state_id, tenant_id, agent_id, agent_type, state_data, checksum, created_at, updated_at) VALUES (?, 't', ?, 'x', ?, ?, 1, 1)",
    );
    for (let n = 0; n < 3000; n++) {
      insert.run(id((n * 7919) % 3000), `k${n}`);
      clustered.run(id(n), `a${n}`, JSON.stringify("x".repeat(500)), "0".repeat(64));
    }
    database.close();
    expect(chosen(path, "kv_store", 500_000)).toBe(true);
    expect(chosen(path, "agent_state", 500_000)).toBe(false);
    expect(chosen(path, "sessions", 500_000)).toBe(false);
    expect(chosen(path, "kv_store", 2 ** 40)).toBe(false);
    expect(chosen(path, "kv_store", 500_000, "index")).toBe(false);
    expect(chosen(path, "agent_state", 2 ** 40, "sort")).toBe(true);
  });
});
