import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { onTestFinished } from "vitest";

/** A path for a database in a folder that goes with the test. */
export function temporaryPath(name = "llmspell.db"): string {
  const folder = mkdtempSync(join(tmpdir(), "llmspell-schema-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, name);
}

export function withDatabase<Result>(path: string, work: (database: Database.Database) => Result): Result {
  const database = new Database(path);
  try {
    return work(database);
  } finally {
    database.close();
  }
}

/** Rows that llmspell's own columns hold, in every table of its V1 to `level`; among them what a careless copy would alter. */
export function fillLlmspellSqlite(path: string, level = 13, events = 3): void {
  withDatabase(path, (database) => {
    database.exec("BEGIN");
    if (level >= 3) {
      database.exec(`
        INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, metadata, created_at, updated_at) VALUES (7, 'v1', 'a', 'global', 384, '{"n": 1.10}', 1700000000, 1700000001),
          (9000000000000000000, 'v2', 'a', 'global', 768, '{}', 1700000000, 1700000001);
        CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB);
        INSERT INTO vec_embeddings_384 VALUES (7, '[0.1]');`);
    }
    if (level >= 4) {
      database.exec(`
        INSERT INTO entities (entity_id, tenant_id, entity_type, name, properties, valid_time_start) VALUES
          ('e1', 'a', 'person', 'Ada' || char(0) || 'x', '{}', 1700000000),
          ('e2', 'a', 'person', CAST(x'ff80' AS TEXT), '{"k": [1, 2]}', -1),
          (NULL, 'a', 'person', 'no id', '{}', 1700000000),
          ('e3', 'a', 'person', x'0001ff', '{}', 1700000000.5);
        INSERT INTO relationships (relationship_id, tenant_id, from_entity, to_entity, relationship_type, valid_time_start)
          VALUES ('r1', 'a', 'e1', 'e2', 'knows', 1700000000);`);
    }
    if (level >= 5) {
      database.exec(`INSERT INTO procedural_patterns (tenant_id, scope, key, value) VALUES ('a', 's', 'k', 'v')`);
    }
    if (level >= 6) {
      database.exec(`INSERT INTO agent_states (tenant_id, agent_id, agent_type, state_data, checksum)
        VALUES ('a', 'agent', 'basic', '{"state": 1}', '${"0".repeat(64)}')`);
    }
    if (level >= 7) database.exec(`INSERT INTO kv_store (tenant_id, key, value) VALUES ('a', 'k', x'00ff')`);
    if (level >= 8)
      database.exec(`INSERT INTO workflow_states (tenant_id, workflow_id, state_data) VALUES ('a', 'w', '{}')`);
    if (level >= 9) database.exec(`INSERT INTO sessions (tenant_id, session_id, session_data) VALUES ('a', 's', '{}')`);
    if (level >= 10) {
      database.exec(`
        INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes) VALUES ('a', 'h', x'010203', 3);
        INSERT INTO artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type,
          mime_type, size_bytes) VALUES ('a', 's:0:h', 's', 0, 'h', '{}', 'n', 't', 'm', 3)`);
    }
    if (level >= 11) {
      const insert =
        database.prepare(`INSERT INTO event_log (tenant_id, event_id, event_type, correlation_id, timestamp,
        sequence, language, payload) VALUES ('a', ?, 'e', 'c', ?, ?, 'rust', '{"context": 1}')`);
      for (let sequence = 1; sequence <= events; sequence += 1) {
        insert.run(randomBytes(16).toString("hex"), 1700000000 + sequence, sequence);
      }
    }
    if (level >= 13) {
      database.exec(`INSERT INTO hook_history (execution_id, tenant_id, hook_id, hook_type, correlation_id, hook_context,
        result_data, timestamp, duration_ms, triggering_component, component_id, context_size)
        VALUES ('x', 'a', 'h', 't', 'c', x'00', '{}', 1700000000, 5, 'tc', 'ci', 1)`);
    }
    database.exec("COMMIT");
  });
}

/** Every value of the columns that are listed (or of all), exactly: rowid, storage class and bytes. */
export type Content = Record<string, { columns: string[]; rows: unknown[][] }>;

export function contentOf(path: string, like?: Content): Content {
  return withDatabase(path, (database) => {
    const tables =
      like === undefined
        ? (
            database
              .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name")
              .raw()
              .all() as [string][]
          ).map(([name]) => name)
        : Object.keys(like);
    const content: Content = {};
    for (const table of tables) {
      const columns =
        like?.[table]?.columns ??
        (database.prepare("SELECT name FROM pragma_table_info(?)").raw().all(table) as [string][]).map(
          ([name]) => name,
        );
      const cells = columns.map((column) => `typeof("${column}"), hex(CAST("${column}" AS BLOB))`).join(", ");
      const rows = database
        .prepare(`SELECT CAST(rowid AS TEXT), ${cells} FROM "${table}" ORDER BY rowid`)
        .raw()
        .all() as unknown[][];
      content[table] = { columns, rows };
    }
    return content;
  });
}

/** The SQL of everything in the schema, by name. */
export function schemaOf(path: string): Record<string, string | null> {
  return withDatabase(path, (database) =>
    Object.fromEntries(
      database.prepare("SELECT type || ' ' || name, sql FROM sqlite_master ORDER BY 1").raw().all() as [
        string,
        string,
      ][],
    ),
  );
}
