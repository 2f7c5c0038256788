import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { openSqliteForReading } from "../../src/backends/sqlite/open.js";
import { listSqliteMigrations, migrateSqlite } from "../../src/llmspell/schema/migrator.js";
import { createLlmspellSqlite, llmspellSqliteSql } from "../fixtures/index.js";
import { contentOf, fillLlmspellSqlite, schemaOf, temporaryPath, withDatabase } from "./sqlite-content.js";

const llmspellIds = ["V1", "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V10", "V11", "V13"];
const ownIds = ["S1", "S2", "S3", "S4", "S5", "S6", "S7"];
const ids = (states: readonly { id: string }[]): string[] => states.map(({ id }) => id);

/** Runs a migration in a process of its own. */
function migrateInChild(path: string, fatalLook?: number): Promise<{ applied: string[]; signal: string | null }> {
  const hooks = new URL("./typescript-hooks.mjs", import.meta.url).href;
  const script = fileURLToPath(new URL("./migrate-sqlite-child.ts", import.meta.url));
  const args = ["--no-warnings", "--experimental-transform-types", "--import", hooks, script, path];
  const child = spawn(process.execPath, fatalLook === undefined ? args : [...args, String(fatalLook)], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 50_000,
  });
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code !== 0 && signal === null) reject(new Error(`the child ended with status ${code}`));
      else resolve({ applied: output === "" ? [] : JSON.parse(output), signal });
    });
  });
}

describe("migrating SQLite", () => {
  it("makes the file, its folder and every table, in WAL mode, once", async () => {
    const path = temporaryPath("a/b/new.db");
    expect(ids((await migrateSqlite(path)).applied)).toEqual([...llmspellIds, ...ownIds]);
    const before = readFileSync(path);
    expect(await migrateSqlite(path)).toEqual({ applied: [], warnings: [] });
    expect(readFileSync(path).equals(before)).toBe(true);
    withDatabase(path, (database) => {
      expect(database.pragma("journal_mode", { simple: true })).toBe("wal");
      expect(database.pragma("integrity_check", { simple: true })).toBe("ok");
    });
  });

  it.each([3, 4, 7, 10, 11, 13])(
    "continues llmspell's V%i: every row stays, and llmspell's record too",
    async (level) => {
      const path = temporaryPath();
      createLlmspellSqlite(path, level);
      fillLlmspellSqlite(path, level);
      const before = contentOf(path);
      const missing = llmspellIds.filter((id) => Number(id.slice(1)) > level);
      expect(ids((await migrateSqlite(path)).applied)).toEqual([...missing, ...ownIds]);
      expect(contentOf(path, before)).toEqual(before);
      expect(ids((await migrateSqlite(path)).applied)).toEqual([]);
    },
  );

  it("says what is applied and who recorded it", async () => {
    const path = temporaryPath();
    createLlmspellSqlite(path, 4);
    const list = (): string[] => {
      const database = openSqliteForReading(path);
      try {
        return listSqliteMigrations(database).map(
          ({ id, applied, recordedBy }) => `${id} ${applied ? (recordedBy ?? "found") : "pending"}`,
        );
      } finally {
        database.close();
      }
    };
    expect(list().slice(0, 4)).toEqual(["V1 llmspell", "V3 found", "V4 llmspell", "V5 pending"]);
    await migrateSqlite(path);
    expect(list().slice(0, 4)).toEqual(["V1 llmspell", "V3 found", "V4 llmspell", "V5 llmspell-storage"]);
    expect(list().slice(-7)).toEqual(ownIds.map((id) => `${id} llmspell-storage`));
  });

  it("leaves indexes, triggers, views and foreign columns where they were", async () => {
    const path = temporaryPath();
    createLlmspellSqlite(path);
    withDatabase(path, (database) =>
      database.exec(`
        ALTER TABLE entities ADD COLUMN colour TEXT DEFAULT 'red';
        CREATE INDEX mine ON entities(colour);
        CREATE TABLE noticed (entity_id TEXT);
        CREATE TRIGGER notice AFTER INSERT ON entities BEGIN INSERT INTO noticed VALUES (NEW.entity_id); END;
        CREATE VIEW people AS SELECT * FROM entities WHERE entity_type = 'person';
        CREATE TRIGGER elsewhere AFTER DELETE ON noticed BEGIN DELETE FROM event_log WHERE event_id = OLD.entity_id; END;`),
    );
    fillLlmspellSqlite(path);
    const before = contentOf(path);
    const schema = schemaOf(path);
    await migrateSqlite(path);
    expect(contentOf(path, before)).toEqual(before);
    const after = schemaOf(path);
    for (const [name, sql] of Object.entries(schema)) {
      if (!name.startsWith("table") && !name.includes("autoindex")) expect(after).toHaveProperty([name], sql);
    }
    withDatabase(path, (database) => {
      database.exec(
        "INSERT INTO entities (entity_id, tenant_id, entity_type, name, valid_time_start) VALUES ('n', 'a', 'person', 'n', 1)",
      );
      expect(database.prepare("SELECT colour FROM people WHERE entity_id = 'n'").pluck().get()).toBe("red");
      expect(database.prepare("SELECT count(*) FROM noticed WHERE entity_id = 'n'").pluck().get()).toBe(1);
      expect(database.pragma("integrity_check", { simple: true })).toBe("ok");
    });
  });

  it("gives the rebuilt tables their new keys", async () => {
    const path = temporaryPath();
    await migrateSqlite(path);
    withDatabase(path, (database) => {
      database.pragma("foreign_keys = ON");
      const entity = database.prepare(
        `INSERT INTO entities (entity_id, tenant_id, entity_type, name, valid_time_start, valid_time_end,
          transaction_time_start, transaction_time_end, transaction_time_start_us) VALUES ('e', 'a', 't', 'n', 32503680000, 9999999999, 5, 5, ?)`,
      );
      entity.run(1);
      entity.run(2);
      expect(() => entity.run(2)).toThrow(/UNIQUE/);
      entity.run(null);
      expect(() => entity.run(null)).toThrow(/UNIQUE/);
      const relationship = database.prepare(
        `INSERT INTO relationships (relationship_id, tenant_id, from_entity, to_entity, relationship_type, valid_time_start,
          transaction_time_start, transaction_time_end, transaction_time_start_us) VALUES ('r', 'a', 'e', 'e', 'knows', 1, 5, 5, ?)`,
      );
      relationship.run(1);
      relationship.run(2);
      expect(() => relationship.run(2)).toThrow(/UNIQUE/);
      const event = database.prepare(
        `INSERT INTO event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload,
          timestamp_us) VALUES ('a', 'e', 't', 'c', 1, 1, 'rust', '{}', ?)`,
      );
      event.run(1);
      event.run(2);
      expect(() => event.run(1)).toThrow(/UNIQUE/);
      expect(() => event.run(null)).toThrow(/UNIQUE/);
      const vector = database.prepare(
        `INSERT INTO vector_metadata (id, tenant_id, scope, dimension, created_at, updated_at) VALUES ('v', 'a', 's', ?, 1, 1)`,
      );
      vector.run(384);
      vector.run(768);
      expect(() => vector.run(384)).toThrow(/UNIQUE/);
    });
  });

  it("leaves llmspell's statements working, its migrations too", async () => {
    const path = temporaryPath();
    await migrateSqlite(path);
    withDatabase(path, (database) => {
      database.pragma("foreign_keys = ON");
      const schema = schemaOf(path);
      database.exec(llmspellSqliteSql());
      expect(schemaOf(path)).toMatchObject(schema);
    });
    fillLlmspellSqlite(path);
    withDatabase(path, (database) => {
      const upserts = [
        `INSERT INTO procedural_patterns (tenant_id, scope, key, value) VALUES ('a', 's', 'k', 'v')
         ON CONFLICT(tenant_id, scope, key, value) DO UPDATE SET frequency = frequency + 1`,
        `INSERT INTO agent_states (tenant_id, agent_id, agent_type, state_data, checksum)
         VALUES ('a', 'agent', 'basic', '{"state": 2}', '${"1".repeat(64)}')
         ON CONFLICT(tenant_id, agent_id) DO UPDATE SET state_data = excluded.state_data, checksum = excluded.checksum`,
        `INSERT INTO kv_store (tenant_id, key, value) VALUES ('a', 'k', x'01')
         ON CONFLICT(tenant_id, key) DO UPDATE SET value = excluded.value`,
        `INSERT INTO workflow_states (tenant_id, workflow_id, state_data, status) VALUES ('a', 'w', '{}', 'running')
         ON CONFLICT(tenant_id, workflow_id) DO UPDATE SET status = excluded.status`,
        `INSERT INTO sessions (tenant_id, session_id, session_data) VALUES ('a', 's', '[]')
         ON CONFLICT(tenant_id, session_id) DO UPDATE SET session_data = excluded.session_data`,
        `INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes) VALUES ('a', 'h', x'010203', 3)
         ON CONFLICT(tenant_id, content_hash) DO UPDATE SET reference_count = reference_count + 1`,
        `UPDATE entities SET properties = '{"x":1}' WHERE entity_id = 'e1' AND transaction_time_end = 9999999999`,
      ];
      for (const statement of upserts) expect(database.prepare(statement).run().changes).toBe(1);
      const value = (sql: string): unknown => database.prepare(sql).pluck().get();
      expect(value("SELECT data_version FROM agent_states")).toBe(2);
      expect(value("SELECT started_at IS NOT NULL FROM workflow_states")).toBe(1);
      expect(value("SELECT reference_count FROM artifact_content")).toBe(2);
      expect(value("SELECT frequency FROM procedural_patterns")).toBe(2);
    });
  });

  it("brings back the exact columns when another program has lost them", async () => {
    const path = temporaryPath();
    await migrateSqlite(path);
    withDatabase(path, (database) => {
      database.exec("ALTER TABLE kv_store DROP COLUMN updated_at_us");
      database.exec(`ALTER TABLE event_log RENAME TO old; DROP TABLE old`);
      database.exec(llmspellSqliteSql(11));
    });
    expect(ids((await migrateSqlite(path)).applied)).toEqual(["S1", "S4", "S6"]);
    expect(ids((await migrateSqlite(path)).applied)).toEqual([]);
  });

  it("lets triggers look rows up by their keys, also where SQLite has no statistics", async () => {
    const path = temporaryPath();
    await migrateSqlite(path);
    const database = new Database(path);
    const triggers = database.prepare("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'storage_%'");
    const lookups = (triggers.pluck().all() as string[]).flatMap((sql) => sql.match(/SELECT 1 FROM [^()]+/g) ?? []);
    expect(lookups).toHaveLength(9);
    for (const lookup of lookups) {
      const query = lookup.replace(/--.*$/gm, "").replace(/(NEW|OLD)\.\w+/g, "'x'");
      const [plan] = database.prepare(`EXPLAIN QUERY PLAN ${query}`).all() as { detail: string }[];
      expect(plan?.detail).toMatch(/\((entity_id|relationship_id)=\?|event_id=\?\)|timestamp_us>\?\)/);
    }
    database.close();
  });

  it("two processes at once: one does the work, both succeed", async () => {
    const path = temporaryPath();
    createLlmspellSqlite(path);
    fillLlmspellSqlite(path, 13, 30_000);
    const before = contentOf(path);
    const runs = await Promise.all([migrateInChild(path), migrateInChild(path)]);
    expect(runs.map(({ applied }) => applied).sort((a, b) => a.length - b.length)).toEqual([[], ownIds]);
    expect(contentOf(path, before)).toEqual(before);
  });

  it("a process killed in a rebuild leaves the database as it was, and the next run succeeds", async () => {
    const path = temporaryPath();
    createLlmspellSqlite(path);
    fillLlmspellSqlite(path, 13, 50_000);
    const [content, schema] = [contentOf(path), schemaOf(path)];
    // Looks: 1 to begin, 3 for each small table, then one after every 20,000 events copied or digested.
    for (const look of [2, 6, 9, 11, 13]) {
      expect((await migrateInChild(path, look)).signal).toBe("SIGKILL");
      expect(schemaOf(path)).toEqual(schema);
      expect(contentOf(path)).toEqual(content);
    }
    expect((await migrateInChild(path)).applied).toEqual(ownIds);
    expect(contentOf(path, content)).toEqual(content);
  });

  it("rolls back when it is aborted", async () => {
    const path = temporaryPath();
    createLlmspellSqlite(path);
    fillLlmspellSqlite(path, 13, 50_000);
    const schema = schemaOf(path);
    const controller = new AbortController();
    const reason = new Error("enough");
    setImmediate(() => controller.abort(reason));
    await expect(migrateSqlite(path, { signal: controller.signal })).rejects.toBe(reason);
    expect(schemaOf(path)).toEqual(schema);
  });

  it("gives up on a lock that another holds: E_LOCKED", async () => {
    const path = temporaryPath();
    createLlmspellSqlite(path);
    const holder = new Database(path);
    try {
      holder.exec("BEGIN IMMEDIATE");
      await expect(migrateSqlite(path, { lockTimeoutSeconds: 0.3 })).rejects.toMatchObject({ code: "E_LOCKED" });
    } finally {
      holder.close();
    }
  });

  it("refuses a database of a newer release, and what is no database: nothing is written", async () => {
    const path = temporaryPath();
    await migrateSqlite(path);
    withDatabase(path, (database) =>
      database.exec("INSERT INTO _storage_migrations (version, name) VALUES (999, 'future')"),
    );
    await expect(migrateSqlite(path)).rejects.toMatchObject({ code: "E_SCHEMA" });
    const text = join(dirname(path), "notes.db");
    writeFileSync(text, "this is a text file, and no database at all; it is longer than a header");
    const before = readFileSync(text);
    await expect(migrateSqlite(text)).rejects.toMatchObject({ code: "E_NOT_A_DATABASE" });
    expect(readFileSync(text).equals(before)).toBe(true);
  });

  it("a rebuild that would change a row is refused, and rolled back", async () => {
    const path = temporaryPath();
    createLlmspellSqlite(path);
    fillLlmspellSqlite(path);
    // A column without affinity keeps a text of digits; the rebuilt column would make an integer of it.
    withDatabase(path, (database) => {
      database.exec(`
        PRAGMA foreign_keys = OFF;
        ALTER TABLE event_log RENAME TO original;
        CREATE TABLE event_log (id TEXT PRIMARY KEY, tenant_id, event_id, event_type, correlation_id, timestamp, sequence,
          language, payload);
        INSERT INTO event_log SELECT * FROM original;
        UPDATE event_log SET sequence = '1';
        DROP TABLE original;`);
    });
    const before = [schemaOf(path), contentOf(path)];
    await expect(migrateSqlite(path)).rejects.toMatchObject({
      code: "E_SCHEMA",
      message: expect.stringContaining("event_log"),
    });
    expect([schemaOf(path), contentOf(path)]).toEqual(before);
  });
});
