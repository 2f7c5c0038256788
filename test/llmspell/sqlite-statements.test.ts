/** llmspell goes on working: every step of its storage gives on our databases what it gives on its own. */
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { migrateSqlite } from "../../src/llmspell/schema/migrator.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { execute, load, query, record } from "../sinks/sqlite-support.js";
import { loadAgent, transcribe } from "./sqlite-application.js";
import { DIMENSIONS, insertVector, readScope } from "./sqlite-vectors.js";

let workspace: Workspace;
/** What the steps give on a fresh database of llmspell's own. */
let expected: string[];

beforeAll(() => {
  workspace = createWorkspace();
  createLlmspellSqlite(workspace.path("own.db"));
  expected = open("own.db", transcribe);
});
afterAll(() => workspace[Symbol.dispose]());

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

function open<Result>(name: string, work: (database: Database.Database) => Result): Result {
  const database = new Database(workspace.path(name));
  try {
    database.pragma("foreign_keys = ON");
    return work(database);
  } finally {
    database.close();
  }
}

/** A document with records of every kind; several versions of entities, relationships without them, times below the second. */
function createDocument(): Promise<string> {
  document ??= makeDocument();
  return document;
}

let document: Promise<string> | undefined;

async function makeDocument(): Promise<string> {
  const source = workspace.path("source.db");
  await migrateSqlite(source);
  fillSqlite(source, { records: 40, contentSizes: [0, 10, 1_048_576] });
  const start = 1_700_000_000_123_456;
  const times = { valid_time_start: start, valid_time_end: "infinity", created_at: start };
  const entity = (n: number, from: number, to: number | string) =>
    record("knowledge_graph.entities", {
      ...{ entity_id: uuid(n), tenant_id: "imported", entity_type: "person", name: "n", properties: {} },
      ...{ ...times, transaction_time_start: from, transaction_time_end: to },
    });
  const relationship = (n: number, from: number, to: number) =>
    record("knowledge_graph.relationships", {
      ...{ relationship_id: uuid(n), tenant_id: "imported", relationship_type: "knows", properties: {} },
      ...{ source_entity_id: uuid(from), target_entity_id: uuid(to) },
      ...{ ...times, transaction_time_start: start, transaction_time_end: "infinity" },
    });
  await load(source, [
    ...[entity(1, start, start + 1), entity(1, start + 1, start + 2), entity(1, start + 9_000_000, "infinity")],
    ...[entity(2, start, start + 1), relationship(1, 1, 2), relationship(2, 2, 9), relationship(3, 9, 9)],
  ]);
  await workspace.must(["storage", "export", "--database", source, "--output", "sample.json"]);
  return workspace.path("sample.json");
}

it("llmspell's own fresh database refuses three of its hook statements, and what breaks a rule", () => {
  const refused = expected.filter((line) => line.includes(": Error: "));
  expect(refused).toEqual([
    "create a session that is there: Error: UNIQUE constraint failed: sessions.tenant_id, sessions.session_id",
    "create a session whose data is no JSON: Error: malformed JSON",
    "set a status that there is not: Error: CHECK constraint failed: status IN ('active', 'archived', 'expired')",
    "store an artifact of no session: Error: FOREIGN KEY constraint failed",
    "delete content that artifacts refer to: Error: FOREIGN KEY constraint failed",
    "save it with a checksum that is none: Error: CHECK constraint failed: length(checksum) = 64",
    expect.stringMatching(/^set a status that no workflow has: Error: CHECK constraint failed: status IN/),
    "log an event that is there: Error: UNIQUE constraint failed: event_log.tenant_id, event_log.event_id",
    "log an event whose payload is no JSON: Error: malformed JSON",
    "record a hook's execution: Error: table hook_history has no column named hook_name",
    "read executions of a type: Error: no such column: executed_at",
    "sum executions: Error: no such column: context_data",
    "add an entity that is there: Error: UNIQUE constraint failed: entities.entity_id",
    "add an entity that is there, in the same second: Error: UNIQUE constraint failed: entities.entity_id",
    "add one that is there: Error: UNIQUE constraint failed: relationships.relationship_id",
    "add one from an entity that is not there: Error: FOREIGN KEY constraint failed",
    "add one to an entity that is not there: Error: FOREIGN KEY constraint failed",
    "move one to an entity that is not there: Error: FOREIGN KEY constraint failed",
    "insert a vector that is there: Error: UNIQUE constraint failed: vector_metadata.id",
  ]);
});

/** One id may be in several dimensions with us, which names the constraint otherwise. */
const sameButFor = (lines: readonly string[]): string[] =>
  lines.map((line) => line.replace("vector_metadata.id, vector_metadata.dimension", "vector_metadata.id"));

describe("every step gives what it gives there", () => {
  it("on a database that our migrations made", async () => {
    await migrateSqlite(workspace.path("made.db"));
    expect(sameButFor(open("made.db", transcribe))).toEqual(expected);
  });

  it("on one that llmspell made and we migrated", async () => {
    createLlmspellSqlite(workspace.path("continued.db"));
    await migrateSqlite(workspace.path("continued.db"));
    expect(sameButFor(open("continued.db", transcribe))).toEqual(expected);
  });

  it("on one whose rebuilds are left out for a table of the user's own", async () => {
    createLlmspellSqlite(workspace.path("left-out.db"));
    execute(
      workspace.path("left-out.db"),
      `CREATE TABLE a (x REFERENCES relationships(relationship_id)); CREATE TABLE b (x REFERENCES vector_metadata(id));
       CREATE TABLE c (t, x, FOREIGN KEY (t, x) REFERENCES event_log(tenant_id, event_id))`,
    );
    await migrateSqlite(workspace.path("left-out.db"));
    expect(open("left-out.db", transcribe)).toEqual(expected);
  });

  it.each(["blob", "vec0"])("on one that an import made and filled, and after another import (%s)", async (shape) => {
    const path = workspace.path(`imported-${shape}.db`);
    const words = ["storage", "import", "--database", path, "--input", await createDocument(), "--vectors-as", shape];
    await workspace.must(words);
    // llmspell 0.14 cannot read vec0 tables.
    const steps = (lines: readonly string[]): string[] =>
      shape === "blob"
        ? [...lines]
        : lines.slice(0, lines.indexOf(lines.find((line) => line.startsWith("insert vectors")) ?? ""));
    expect(steps(sameButFor(open(`imported-${shape}.db`, transcribe)))).toEqual(steps(expected));
    await workspace.must(words);
    expect(query(path, "PRAGMA integrity_check")).toEqual([["ok"]]);
  });

  it("on one that llmspell filled and an import then filled", async () => {
    const path = workspace.path("merged.db");
    createLlmspellSqlite(path);
    fillSqlite(path, {
      records: 20,
      contentSizes: [10],
      seed: "another",
      counts: { vector_embeddings_768: 0, vector_embeddings_1536: 0, vector_embeddings_3072: 0 },
    });
    await workspace.must(["storage", "import", "--database", path, "--input", await createDocument()]);
    expect(sameButFor(open("merged.db", transcribe))).toEqual(expected);
  });
});

describe("records that an import brought", () => {
  beforeAll(async () => {
    const words = ["storage", "import", "--database", workspace.path("filled.db"), "--input", await createDocument()];
    await workspace.must(words);
  });

  it("have the storage classes that llmspell reads, and states that it loads", () => {
    open("filled.db", (database) => {
      const classes = (table: string, columns: string): unknown =>
        database
          .prepare(
            `SELECT DISTINCT ${columns
              .split(", ")
              .map((each) => `typeof(${each})`)
              .join(", ")} FROM ${table}`,
          )
          .raw()
          .all();
      expect(classes("sessions", "session_id, session_data, created_at, artifact_count")).toEqual([
        ["text", "text", "integer", "integer"],
      ]);
      expect(classes("agent_states", "state_data, checksum, data_version")).toEqual([["text", "text", "integer"]]);
      expect(classes("kv_store", "value")).toEqual([["blob"]]);
      expect(classes("artifact_content", "data, size_bytes, is_compressed")).toEqual([["blob", "integer", "integer"]]);
      expect(classes("artifacts", "metadata, created_at")).toEqual([["text", "integer"]]);
      expect(classes("event_log", "payload, timestamp, sequence")).toEqual([["text", "integer", "integer"]]);
      expect(classes("hook_history", "hook_context, timestamp, duration_ms")).toEqual([["blob", "integer", "integer"]]);
      expect(classes("entities", "properties, valid_time_start, transaction_time_end")).toEqual([
        ["text", "integer", "integer"],
      ]);
      expect(classes("procedural_patterns", "frequency, first_seen")).toEqual([["integer", "integer"]]);
      expect(classes("workflow_states", "state_data, current_step")).toEqual([["text", "integer"]]);
      const agents = database.prepare("SELECT tenant_id, agent_id FROM agent_states").raw().all() as [string, string][];
      expect(agents.length).toBe(40);
      for (const [tenant, agent] of agents) expect(() => loadAgent(database, tenant, agent)).not.toThrow();
    });
  });

  it("of all dimensions are read for their index, and have room for more", () => {
    open("filled.db", (database) => {
      const scopes = database.prepare("SELECT DISTINCT scope FROM vector_metadata").pluck().all() as string[];
      for (const dimension of DIMENSIONS) {
        const count = (): number => scopes.reduce((sum, scope) => sum + readScope(database, dimension, scope).size, 0);
        expect(count()).toBe(40);
        for (const n of [1, 2]) insertVector(database, dimension, `${dimension} ${n}`, scopes[0]);
        expect(count()).toBe(42);
      }
    });
  });

  it("lose an entity's relationships with its last version, and not before", () => {
    open("filled.db", (database) => {
      const id = uuid(1);
      database.exec("BEGIN");
      const left = (): unknown =>
        database.prepare("SELECT count(*) FROM relationships WHERE ? IN (from_entity, to_entity)").pluck().get(id);
      const before = left();
      const versions = database.prepare("SELECT rowid FROM entities WHERE entity_id = ?").pluck().all(id) as number[];
      const others = database.prepare("SELECT count(*) FROM relationships").pluck().get() as number;
      for (const version of versions.slice(1)) database.prepare("DELETE FROM entities WHERE rowid = ?").run(version);
      expect([versions.length, before, left()]).toEqual([3, 1, 1]);
      database.prepare("DELETE FROM entities WHERE rowid = ?").run(versions[0]);
      expect(left()).toBe(0);
      expect(database.prepare("SELECT count(*) FROM relationships").pluck().get()).toBe(others - Number(before));
      // An id without a current version is free.
      const add = database.prepare(
        "INSERT INTO entities (entity_id, tenant_id, entity_type, name, valid_time_start) VALUES (?, 't', 'p', 'n', 1)",
      );
      expect(add.run(id).changes).toBe(1);
      expect(() => add.run(id)).toThrow("UNIQUE constraint failed: entities.entity_id");
      database.exec("ROLLBACK");
    });
  });

  it("bring the triggers of a release that knew none into its databases", async () => {
    const path = workspace.path("earlier.db");
    createLlmspellSqlite(path);
    await migrateSqlite(path);
    const triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'storage_%' ORDER BY 1";
    const all = query(path, triggers);
    for (const [name] of all) execute(path, `DROP TRIGGER ${name}`);
    execute(path, "DELETE FROM _storage_migrations WHERE version > 105");
    await workspace.must(["storage", "import", "--database", path, "--input", await createDocument()]);
    expect([all.length, query(path, triggers)]).toEqual([6, all]);
    expect(sameButFor(open("earlier.db", transcribe))).toEqual(expected);
  });
});
