/** Tables of the user's own that refer to llmspell's: what would break them is left out and said, everything else goes on. */
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { compareSqliteSchema, listSqliteMigrations, migrateSqlite } from "../../src/llmspell/schema/migrator.js";
import type { Rejection } from "../../src/records/run-context.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { temporaryPath } from "../schema/sqlite-content.js";
import { execute, load, query, readAll, record } from "../sinks/sqlite-support.js";

const time = 1_700_000_000_000_000;
const infinity = "infinity";
const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

function entity(n: number, start = time, end: number | string = infinity) {
  const times = { valid_time_start: time, valid_time_end: infinity, transaction_time_start: start, created_at: time };
  const values = { entity_id: uuid(n), tenant_id: "t", entity_type: "person", name: `n${n}`, properties: {} };
  return record("knowledge_graph.entities", { ...values, ...times, transaction_time_end: end });
}

function relationship(n: number, from: number, to: number) {
  const times = { valid_time_start: time, valid_time_end: infinity, transaction_time_start: time, created_at: time };
  const ends = { source_entity_id: uuid(from), target_entity_id: uuid(to) };
  const values = { relationship_id: uuid(n), tenant_id: "t", relationship_type: "knows", properties: {} };
  return record("knowledge_graph.relationships", { ...values, ...ends, ...times, transaction_time_end: infinity });
}

/** llmspell's file with an entity, and a table of the user's own. */
function createWithNotes(notes: string): string {
  const path = temporaryPath();
  createLlmspellSqlite(path);
  execute(
    path,
    `INSERT INTO entities (entity_id, tenant_id, entity_type, name, valid_time_start, transaction_time_start)
     VALUES ('${uuid(1)}', 't', 'person', 'n1', 1700000000, 1700000000);
     INSERT INTO event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload)
     VALUES ('t', '${uuid(2)}', 'e', '${uuid(3)}', 1700000000, 1, 'lua', '{}');
     INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at)
     VALUES (5, '${uuid(4)}', 't', 's', 384, 1, 1);
     CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB);
     INSERT INTO vec_embeddings_384 VALUES (5, zeroblob(1536));
     ${notes}`,
  );
  return path;
}

function look<Result>(path: string, work: (database: Database.Database) => Result): Result {
  const database = new Database(path);
  try {
    database.pragma("foreign_keys = ON");
    return work(database);
  } finally {
    database.close();
  }
}

const leftOutOf = (path: string): string[] =>
  look(path, (database) =>
    listSqliteMigrations(database).flatMap(({ id, applied, leftOut }) =>
      leftOut === undefined ? [] : [`${id} ${applied} ${leftOut}`],
    ),
  );

describe("a rebuild that would take a key from a table of the user's own", () => {
  const tables = [
    [
      "entities",
      `CREATE TABLE notes (e TEXT REFERENCES Entities(entity_id)); INSERT INTO notes VALUES ('${uuid(1)}')`,
      ["S2 false notes(e) refers to entities(entity_id)"],
    ],
    [
      "entities, by their primary key",
      `CREATE TABLE notes (e TEXT REFERENCES entities); INSERT INTO notes VALUES ('${uuid(1)}')`,
      ["S2 false notes(e) refers to entities(entity_id)"],
    ],
    [
      "relationships, and so the entities' too",
      "CREATE TABLE notes (e TEXT REFERENCES relationships(relationship_id))",
      [
        "S2 false relationships(to_entity) refers to entities(entity_id)",
        "S3 false notes(e) refers to relationships(relationship_id)",
      ],
    ],
    [
      "event_log",
      `CREATE TABLE notes (t TEXT, e TEXT, FOREIGN KEY (t, e) REFERENCES event_log(tenant_id, event_id));
       INSERT INTO notes VALUES ('t', '${uuid(2)}')`,
      ["S4 false notes(t, e) refers to event_log(tenant_id, event_id)"],
    ],
    [
      "vector_metadata",
      `CREATE TABLE notes (e TEXT REFERENCES vector_metadata(id)); INSERT INTO notes VALUES ('${uuid(4)}')`,
      ["S5 false notes(e) refers to vector_metadata(id)"],
    ],
  ] as const;

  it.each(tables)("of %s is left out, and everything else is done, once", async (_table, notes, leftOut) => {
    const path = createWithNotes(notes);
    const { applied, warnings } = await migrateSqlite(path);
    expect(leftOutOf(path)).toEqual(leftOut);
    expect(warnings.length).toBe(leftOut.length);
    expect(warnings[0]).toContain("is left out, because ");
    const all = ["S1", "S2", "S3", "S4", "S5", "S6", "S7"];
    expect(applied.map(({ id }) => id)).toEqual(all.filter((id) => !leftOut.some((line) => line.startsWith(id))));
    const comparison = look(path, compareSqliteSchema);
    expect([comparison.missing, comparison.pending, comparison.broken]).toEqual([[], [], []]);
    expect(await migrateSqlite(path)).toEqual({ applied: [], warnings });
    // The user's table and llmspell's can be changed as before.
    look(path, (database) => {
      expect(database.pragma("foreign_key_check")).toEqual([]);
      expect(database.prepare("INSERT INTO notes SELECT * FROM notes").run().changes).toBeLessThan(2);
      for (const table of ["entities", "event_log", "vector_metadata"])
        database.exec(`DELETE FROM ${table} WHERE tenant_id = 'nobody'`);
    });
    execute(path, "DROP TABLE notes");
    const later = await migrateSqlite(path);
    expect(later.applied.map(({ id }) => id)).toEqual(leftOut.map((line) => line.slice(0, 2)));
    expect(leftOutOf(path)).toEqual([]);
  });

  it.each([
    "CREATE TABLE notes (e TEXT REFERENCES event_log(id))",
    "CREATE TABLE notes (e INTEGER REFERENCES vector_metadata(rowid))",
    "CREATE TABLE notes (t TEXT, e TEXT, FOREIGN KEY (t, e) REFERENCES sessions(tenant_id, session_id))",
  ])("is made where the key stays: %s", async (notes) => {
    const path = createWithNotes(notes);
    expect((await migrateSqlite(path)).applied.map(({ id }) => id)).toEqual(["S1", "S2", "S3", "S4", "S5", "S6", "S7"]);
    look(path, (database) => database.exec("INSERT INTO notes DEFAULT VALUES; DELETE FROM event_log"));
  });

  it("imports go on in llmspell's shape, and what does not fit is refused by name", async () => {
    const notes = "CREATE TABLE notes (e TEXT REFERENCES relationships(relationship_id))";
    const path = createWithNotes(notes);
    await migrateSqlite(path);
    const exact = time + 123_456;
    const rejections: Rejection[] = [];
    const records = [
      entity(2, exact),
      entity(2, exact + 5_000_000),
      entity(3, exact, exact + 1),
      entity(4),
      relationship(1, 1, 2),
      relationship(2, 2, 9),
      relationship(3, 9, 9),
      relationship(4, 4, 1),
    ];
    await load(path, records, { rejections });
    const times = `transaction_time_start=`;
    expect(
      rejections.map(({ error }) => [error.code, error.context.section, error.context.key?.split(",")[0]]),
    ).toEqual([
      ["E_CONSTRAINT", "knowledge_graph.entities", `entity_id=${uuid(2)}`],
      ["E_CHECK", "knowledge_graph.entities", `entity_id=${uuid(3)}`],
      ["E_ORPHAN", "knowledge_graph.relationships", `relationship_id=${uuid(2)}`],
      ["E_ORPHAN", "knowledge_graph.relationships", `relationship_id=${uuid(3)}`],
    ]);
    expect(rejections[0]?.error.context.key).toContain(times);
    expect(rejections[0]?.error.context.detail).toBe("UNIQUE constraint failed: entities.entity_id");
    expect(query(path, "SELECT entity_id FROM entities ORDER BY 1").flat()).toEqual([uuid(1), uuid(2), uuid(4)]);
    expect(query(path, "SELECT relationship_id FROM relationships ORDER BY 1").flat()).toEqual([uuid(1), uuid(4)]);
    expect(query(path, "PRAGMA foreign_key_check")).toEqual([]);
    // The exact time is there, and the same document again changes nothing.
    const { records: read } = await readAll(path);
    expect(read.filter(({ kind }) => kind.path === "knowledge_graph.entities").length).toBe(3);
    await load(path, [entity(2, exact), relationship(1, 1, 2)]);
    expect((await readAll(path)).records.length).toBe(read.length);
    await expect(load(path, [entity(2, exact + 5_000_000)])).rejects.toMatchObject({ code: "E_CONSTRAINT" });
    await load(path, [relationship(5, 9, 1)], { onOrphan: "drop" });
    expect(query(path, "SELECT count(*) FROM relationships")).toEqual([[2n]]);
    // An update that would take an entity's parent away is taken back.
    await load(path, [relationship(1, 9, 2)], { rejections });
    expect(query(path, `SELECT from_entity FROM relationships WHERE relationship_id = '${uuid(1)}'`)).toEqual([
      [uuid(1)],
    ]);
  });

  it("is said by migrate, health and migrations list, and an export is unaffected", async () => {
    using workspace = createWorkspace();
    const path = createWithNotes("CREATE TABLE notes (e TEXT REFERENCES entities(entity_id))");
    const before = await workspace.must(["storage", "export", "--database", path, "--output", "-"]);
    const migrate = await workspace.must(["database", "migrate", "--database", path]);
    expect(migrate.stderr).toContain(
      "S2 (entity-versions) is left out, because notes(e) refers to entities(entity_id)",
    );
    const list = await workspace.must(["database", "migrations", "list", "--database", path]);
    expect(list.stdout).toMatch(/S2 +left out +entity-versions \(notes\(e\) refers to entities\(entity_id\)\)/);
    expect(list.stdout).toContain("✅ The schema is up to date");
    const after = await workspace.must(["storage", "export", "--database", path, "--output", "-"]);
    const dataOf = (text: string): unknown => (JSON.parse(text) as { data: unknown }).data;
    expect(dataOf(after.stdout)).toEqual(dataOf(before.stdout));
  });
});

describe("a foreign key to what is no key any more", () => {
  it("is told: SQLite refuses every change of its table", async () => {
    const path = temporaryPath();
    await migrateSqlite(path);
    execute(path, "CREATE TABLE notes (e TEXT REFERENCES entities(entity_id))");
    const { broken } = look(path, compareSqliteSchema);
    expect(broken).toEqual([
      {
        object: "foreign key notes(e)",
        migration: "S2",
        repair: expect.stringContaining("entities(entity_id) is no key"),
      },
    ]);
  });
});
