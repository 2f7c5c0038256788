/** Tables that an application or a person has changed: nothing fires, nothing is lost, what cannot be done is said. */
import Database from "better-sqlite3";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import type { Rejection } from "../../src/records/run-context.js";
import {
  createFolder,
  createMigrated,
  execute,
  kindOf,
  load,
  query,
  readAll,
  record,
  Token,
} from "./sqlite-support.js";

const folder = createFolder();
let path: string;
let files = 0;

beforeEach(async () => {
  path = folder.path(`${++files}.db`);
  await createMigrated(path);
});

afterAll(() => folder.remove());

const time = 1_700_000_000_000_000;
const id = (n: number): string => `00000000-0000-0000-0000-00000000000${n}`;

function session(n: number, status = "active", session_data: unknown = {}) {
  const times = { created_at: time, last_accessed_at: time, updated_at: time };
  return record("sessions", {
    tenant_id: "t",
    session_id: id(n),
    session_data,
    status,
    artifact_count: 0,
    ...times,
  });
}

function vector(n: number) {
  const embedding = Buffer.alloc(1536, n).toString("base64");
  const values = { id: id(n), tenant_id: "t", scope: "s", dimension: 384, embedding, metadata: {} };
  return record("vector_embeddings.384", { ...values, created_at: time, updated_at: time });
}

/** The sessions' table with another statement in its place. */
function remakeSessions(change: (sql: string) => string): void {
  const [[sql]] = query(path, "SELECT sql FROM sqlite_master WHERE name = 'sessions'") as [[string]];
  execute(path, `DROP TABLE sessions; ${change(sql)}`);
}

describe("triggers", () => {
  it.each([
    ["on a table that is spelled otherwise", "CREATE TRIGGER t AFTER INSERT ON SESSIONS"],
    [
      "on an embedding table",
      `CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB);
       CREATE TRIGGER t AFTER INSERT ON vec_embeddings_384`,
    ],
  ])("%s do not fire, and are there afterwards", async (_where, sql) => {
    execute(path, `CREATE TABLE fired (x); ${sql} BEGIN INSERT INTO fired VALUES (1); END`);
    const triggers = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name";
    const before = query(path, triggers);
    await load(path, [session(1), vector(1)]);
    expect(query(path, "SELECT * FROM fired")).toEqual([]);
    expect(query(path, triggers)).toEqual(before);
  });
});

describe("indexes of a table without rows", () => {
  const indexes = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name";
  const deep = new Token(`${"[".repeat(1001)}${"]".repeat(1001)}`);

  it("are there after the load, whoever made them, and hold every row", async () => {
    execute(
      path,
      `CREATE INDEX mine ON sessions(status DESC, tenant_id COLLATE NOCASE) WHERE status <> 'expired';
       CREATE INDEX "my (own)" ON sessions(upper(tenant_id));
       CREATE UNIQUE INDEX single ON sessions(session_id, status);
       CREATE INDEX extracted ON SESSIONS (json_extract(session_data, '$.a'))`,
    );
    const before = query(path, indexes);
    await load(path, [session(1), session(2, "archived"), session(3), vector(1), vector(2)], { batchSize: 1 });
    expect(query(path, indexes)).toEqual(before);
    expect(query(path, "PRAGMA integrity_check")).toEqual([["ok"]]);
    const hinted = "SELECT count(*) FROM sessions INDEXED BY mine WHERE status <> 'expired'";
    expect(query(path, hinted)).toEqual([[3n]]);
  });

  it("are there after a load that fails and after a dry run", async () => {
    const before = query(path, indexes);
    await expect(load(path, [session(1), session(1)])).rejects.toMatchObject({ code: "E_KEY_CONFLICT" });
    await load(path, [session(1)], { dryRun: true });
    expect(query(path, indexes)).toEqual(before);
    expect(query(path, "SELECT * FROM sessions")).toEqual([]);
  });

  it.each([1, 1000])("name the record whose json they do not take (%s records in a batch)", async (batchSize) => {
    const rejections: Rejection[] = [];
    await load(path, [session(1), session(2, "active", deep), session(3)], { batchSize, rejections });
    expect(rejections.map(({ error }) => [error.code, error.context])).toEqual([
      ["E_TARGET_LIMIT", { section: "sessions", key: `tenant_id=t, session_id=${id(2)}`, field: "session_data" }],
    ]);
    expect(query(path, "SELECT session_id FROM sessions ORDER BY 1")).toEqual([[id(1)], [id(3)]]);
    expect(query(path, "PRAGMA integrity_check")).toEqual([["ok"]]);
  });

  it.each([
    "CREATE INDEX arrow ON sessions(session_data ->> '$.a')",
    "CREATE INDEX arrow ON sessions(status) WHERE session_data -> 'a' IS NOT NULL",
  ])("name the record whose json an operator does not take: %s", async (statement) => {
    for (const [name] of query(path, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '%json%'"))
      execute(path, `DROP INDEX ${name}`);
    execute(path, statement);
    const rejections: Rejection[] = [];
    await load(path, [session(1), session(2, "active", deep)], { rejections });
    expect(rejections.map(({ error }) => error.context.key)).toEqual([`tenant_id=t, session_id=${id(2)}`]);
    expect(query(path, "SELECT session_id FROM sessions")).toEqual([[id(1)]]);
  });

  it("stay where this program could not make them again: with the double quotes of lax builds", async () => {
    execute(path, "CREATE INDEX lax ON sessions(status) WHERE status <> 'expired'");
    const database = new Database(path);
    database.unsafeMode(true);
    database.pragma("writable_schema = ON");
    database.exec(`UPDATE sqlite_master SET sql = replace(sql, '''expired''', '"expired"') WHERE name = 'lax'`);
    database.close();
    const before = query(path, indexes);
    await load(path, [session(1), session(2, "archived")]);
    expect(query(path, indexes)).toEqual(before);
    expect(query(path, "PRAGMA integrity_check")).toEqual([["ok"]]);
  });

  it("name the record when they extract from text that is no json", async () => {
    execute(path, "CREATE INDEX odd ON sessions(json_extract(tenant_id, '$.a'))");
    const rejections: Rejection[] = [];
    await load(path, [session(1)], { rejections });
    expect(rejections.map(({ error }) => error.context.key)).toEqual([`tenant_id=t, session_id=${id(1)}`]);
  });
});

describe("constraints that would drop records without a word", () => {
  it.each(["IGNORE", "REPLACE"])("ON CONFLICT %s does not act", async (action) => {
    remakeSessions((sql) => sql.replace("UNIQUE (tenant_id, session_id)", `$& ON CONFLICT ${action}`));
    await expect(load(path, [session(1), session(1, "archived")])).rejects.toMatchObject({ code: "E_KEY_CONFLICT" });
    expect(query(path, "SELECT * FROM sessions")).toEqual([]);
  });
});

describe("rowids that are used up", () => {
  it.each([
    [
      "sessions",
      9223372036854775807n,
      "INSERT INTO sessions (rowid, tenant_id, session_id, session_data) VALUES (?, 't', ?, '{}')",
    ],
    [
      "vector_metadata",
      385n * 2n ** 32n - 1n,
      `INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at)
       VALUES (?, ?, 't', 's', 768, 1, 1)`,
    ],
  ])("of %s refuse the load", async (table, last, sql) => {
    execute(path, sql.replace("?", String(last)).replace("?", `'${id(9)}'`));
    const loading = load(path, [session(1), session(1), vector(1)].slice(table === "sessions" ? 0 : 2));
    await expect(loading).rejects.toMatchObject({ code: "E_TARGET_LIMIT" });
    expect(query(path, `SELECT count(*) FROM ${table}`)).toEqual([[1n]]);
  });
});

describe("what has no rowids is E_SCHEMA, to read and to write", () => {
  it.each([
    ["a view", (sql: string) => `${sql.replace("sessions", "s")}; CREATE VIEW sessions AS SELECT * FROM s`],
    ["a table WITHOUT ROWID", (sql: string) => `${sql} WITHOUT ROWID`],
  ])("%s", async (what, change) => {
    remakeSessions(change);
    const refusal = { code: "E_SCHEMA", message: `sessions is ${what}` };
    await expect(load(path, [session(1)])).rejects.toMatchObject(refusal);
    await expect(readAll(path)).rejects.toMatchObject(refusal);
  });
});

it.each([
  ["an ordinary table", "CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB, note TEXT)"],
  ["vec0", "CREATE VIRTUAL TABLE vec_embeddings_384 USING vec0(embedding float[384], +note TEXT)"],
])("what people have put beside embeddings in %s stays, and a lost embedding comes back", async (_shape, sql) => {
  execute(path, sql);
  await load(path, [vector(1), vector(2)]);
  const first = 384n * 2n ** 32n + 1n;
  execute(path, `UPDATE vec_embeddings_384 SET note = 'mine' WHERE rowid = ${first}`);
  execute(path, `DELETE FROM vec_embeddings_384 WHERE rowid = ${first + 1n}`);
  const changed = vector(1).values.with(
    kindOf("vector_embeddings.384").fields.findIndex(({ type }) => type === "vector"),
    Buffer.alloc(1536, 7),
  );
  await load(path, [{ ...vector(1), values: changed }, vector(2)]);
  expect(query(path, "SELECT rowid, embedding, note FROM vec_embeddings_384 ORDER BY rowid")).toEqual([
    [first, Buffer.alloc(1536, 7), "mine"],
    [first + 1n, Buffer.alloc(1536, 2), null],
  ]);
});

it("STRICT tables and generated columns take records like others", async () => {
  remakeSessions((sql) => `${sql} STRICT`);
  execute(path, "ALTER TABLE sessions ADD COLUMN loud TEXT AS (status || '!')");
  await load(path, [session(1), session(2)]);
  await load(path, [session(2, "archived")]);
  const stored = "SELECT session_id, loud, typeof(created_at), typeof(created_at_us) FROM sessions ORDER BY 1";
  expect(query(path, stored)).toEqual([
    [id(1), "active!", "integer", "integer"],
    [id(2), "archived!", "integer", "integer"],
  ]);
});

describe("the planner's statistics", () => {
  const analyzed = (): unknown[] =>
    query(path, "SELECT tbl, max(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl ORDER BY tbl").map(
      ([table, rows]) => `${table} ${rows}`,
    );
  const sessions = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const times = { created_at: time, last_accessed_at: time, updated_at: time };
      const session_id = `00000000-0000-0000-0000-${String(from + i).padStart(12, "0")}`;
      const values = { tenant_id: "t", session_id, session_data: {}, status: "active", artifact_count: 0 };
      return record("sessions", { ...values, ...times });
    });

  it("are made of the tables that a load fills, and again when they have grown by a tenth", async () => {
    await load(path, [...sessions(0, 100), vector(1)]);
    expect(analyzed()).toEqual(["sessions 100", "vector_metadata 1"]);
    await load(path, sessions(100, 9));
    expect(analyzed()).toEqual(["sessions 100", "vector_metadata 1"]);
    await load(path, sessions(200, 11));
    expect(analyzed()).toEqual(["sessions 120", "vector_metadata 1"]);
    await load(path, sessions(0, 211), { dryRun: true });
    await load(path, sessions(0, 100));
    expect(analyzed()).toEqual(["sessions 120", "vector_metadata 1"]);
  });
});
