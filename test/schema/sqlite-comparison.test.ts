/** A database with something dropped is told from a good one, migrated where that mends it, and refused by name where it does not. */
import { describe, expect, it } from "vitest";
import { migrateSqlite, readSqliteSchema, type SqliteComparison } from "../../src/llmspell/schema/migrator.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { fillLlmspellSqlite, schemaOf, temporaryPath, withDatabase } from "./sqlite-content.js";

const compare = (path: string): SqliteComparison => withDatabase(path, readSqliteSchema).comparison;
const objects = (differences: SqliteComparison["missing"]): string[] =>
  differences.map(({ object, migration }) => `${migration} ${object}`);

/** As llmspell made it and we migrated it. */
async function createContinued(): Promise<string> {
  const path = temporaryPath();
  createLlmspellSqlite(path);
  fillLlmspellSqlite(path);
  withDatabase(path, (database) => database.exec("DELETE FROM vector_metadata WHERE dimension = 768"));
  await migrateSqlite(path);
  return path;
}

describe("comparing an SQLite file with the migrations", () => {
  it("finds nothing in a good one, whoever made it", async () => {
    const none = { missing: [], pending: [], broken: [] };
    const own = temporaryPath();
    await migrateSqlite(own);
    expect(compare(own)).toMatchObject({ ...none, notes: [] });
    expect(compare(await createContinued())).toMatchObject(none);
  });

  it.each([3, 7, 13])("finds only what is ours, or later, pending in llmspell's V%i", (level) => {
    const path = temporaryPath();
    createLlmspellSqlite(path, level);
    const { missing, pending, broken } = compare(path);
    expect([missing, broken]).toEqual([[], []]);
    const early = pending.filter(({ migration }) => /^V/.test(migration) && Number(migration.slice(1)) <= level);
    expect(early).toEqual([]);
    expect(objects(pending)).toContain("S5 constraint vector_metadata.(id, dimension)");
    if (level === 7) expect(objects(pending)).toContain("V9 table sessions");
    expect(objects(pending).some((each) => each.includes("sessions."))).toBe(level === 13);
  });

  it("finds no schema at all pending", () => {
    const path = temporaryPath();
    withDatabase(path, () => {});
    const { missing, pending, broken } = compare(path);
    expect([missing, broken]).toEqual([[], []]);
    expect(objects(pending)).toContain("V4 table entities");
    expect(pending.every(({ object }) => object.startsWith("table "))).toBe(true);
  });

  it.each([
    ["an index", "DROP INDEX idx_sessions_status", "V9 index sessions.idx_sessions_status"],
    ["an index of a rebuilt table", "DROP INDEX idx_entities_type", "V4 index entities.idx_entities_type"],
    ["a trigger", "DROP TRIGGER trigger_agent_state_version", "V6 trigger agent_states.trigger_agent_state_version"],
    ["a table", "DROP TABLE hook_history", "V13 table hook_history"],
  ])("tells %s of llmspell's that is gone, and migrate makes it again", async (_what, sql, object) => {
    const path = await createContinued();
    const schema = schemaOf(path);
    withDatabase(path, (database) => database.exec(sql));
    const { missing, pending, broken } = compare(path);
    expect([objects(missing), pending, broken]).toEqual([[object], [], []]);
    const states = withDatabase(path, readSqliteSchema).migrations;
    const [id = ""] = object.split(" ");
    expect(states.filter(({ applied }) => !applied).map((state) => state.id)).toContain(id);
    await migrateSqlite(path);
    expect(compare(path)).toMatchObject({ missing: [], pending: [], broken: [] });
    expect(Object.keys(schema)).toEqual(expect.arrayContaining(Object.keys(schemaOf(path))));
  });

  it.each([
    ["a trigger", "DROP TRIGGER storage_entities_last", "S6 trigger entities.storage_entities_last"],
    ["an index", "DROP INDEX storage_event_log_seconds", "S4 index event_log.storage_event_log_seconds"],
    ["a column", "ALTER TABLE sessions DROP COLUMN expires_at_us", "S1 column sessions.expires_at_us"],
  ])("tells %s of ours that is gone, and migrate makes it again", async (_what, sql, object) => {
    const path = await createContinued();
    withDatabase(path, (database) => database.exec(sql));
    const { missing, pending, broken } = compare(path);
    expect([missing, objects(pending), broken]).toEqual([[], [object], []]);
    await migrateSqlite(path);
    expect(compare(path)).toMatchObject({ missing: [], pending: [], broken: [] });
  });

  it("tells what no migration makes in a database of ours alone as pending, not as llmspell's loss", async () => {
    const path = temporaryPath();
    await migrateSqlite(path);
    withDatabase(path, (database) => database.exec("DROP INDEX idx_sessions_status"));
    const { missing, pending } = compare(path);
    expect([missing, objects(pending)]).toEqual([[], ["V9 index sessions.idx_sessions_status"]]);
  });

  it("takes an index under another name for the same", async () => {
    const path = await createContinued();
    withDatabase(path, (database) =>
      database.exec(`DROP INDEX idx_sessions_expires; DROP INDEX idx_sessions_status; DROP INDEX idx_artifacts_metadata_type;
        CREATE INDEX mine ON "sessions" ( status );
        CREATE INDEX yours ON sessions(expires_at) WHERE expires_at IS NOT NULL;
        CREATE INDEX theirs ON artifacts(json_extract(metadata,'$.type'))`),
    );
    expect(compare(path).missing).toEqual([]);
  });

  it.each([
    ["created_at", `ALTER TABLE "sessions" ADD COLUMN "created_at" INTEGER NOT NULL DEFAULT 0`],
    ["session_data", `ALTER TABLE "sessions" ADD COLUMN "session_data" TEXT NOT NULL DEFAULT '{}'`],
    ["expires_at", `ALTER TABLE "sessions" ADD COLUMN "expires_at" INTEGER`],
  ])(
    "tells a dropped column of llmspell's (%s), and the statement that every command names works",
    async (column, repair) => {
      const path = await createContinued();
      withDatabase(path, (database) => {
        for (const name of database
          .prepare("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'sessions' AND sql LIKE ?")
          .pluck()
          .all(`%${column}%`))
          database.exec(`DROP INDEX ${name}`);
        database.exec(`ALTER TABLE sessions DROP COLUMN ${column}`);
      });
      const { broken } = compare(path);
      expect(broken).toEqual([{ object: `column sessions.${column}`, migration: "V9", repair }]);
      using workspace = createWorkspace();
      await workspace.bash(
        "llmspell database migrate --database e.db && llmspell storage export --database e.db --output d.json",
      );
      const schema = schemaOf(path);
      for (const words of [
        ["database", "migrate"],
        ["storage", "import", "--input", "d.json"],
      ]) {
        const { status, stderr } = await workspace.run([...words, "--database", path]);
        expect([status, stderr]).toEqual([5, expect.stringContaining(`${repair};`)]);
        expect(stderr).toContain(`column sessions.${column} is missing; its values are gone with it [E_SCHEMA]`);
      }
      expect(schemaOf(path)).toEqual(schema);
      withDatabase(path, (database) => database.exec(repair));
      await migrateSqlite(path);
      expect(compare(path)).toMatchObject({ missing: [], pending: [], broken: [] });
    },
  );

  it("tells a unique key that is gone, with the statement that makes it anew", async () => {
    const path = await createContinued();
    withDatabase(path, (database) => {
      const sql = database.prepare("SELECT sql FROM sqlite_master WHERE name = 'kv_store'").pluck().get() as string;
      database.exec(`DROP TABLE kv_store; ${sql.replace(/UNIQUE \(tenant_id, key\),?/, "").replace(/,\s*\)$/, ")")}`);
    });
    await migrateSqlite(path);
    const { missing, pending, broken } = compare(path);
    expect([missing, pending, objects(broken)]).toEqual([[], [], ["V7 constraint kv_store.(tenant_id, key)"]]);
    withDatabase(path, (database) => database.exec(broken[0]?.repair as string));
    expect(compare(path).broken).toEqual([]);
  });

  it("leaves out an index that a stored value does not let be made, and says so", async () => {
    const path = await createContinued();
    withDatabase(path, (database) =>
      database.exec(`DROP INDEX idx_sessions_data_status; DROP INDEX idx_sessions_data_artifact_count; DROP INDEX idx_sessions_status;
        UPDATE sessions SET session_data = '{'`),
    );
    for (const _time of [1, 2]) {
      const { warnings } = await migrateSqlite(path);
      expect(warnings).toEqual([
        expect.stringContaining("the index idx_sessions_data_status cannot be made"),
        expect.stringContaining("the index idx_sessions_data_artifact_count cannot be made"),
      ]);
    }
    expect(objects(compare(path).missing).length).toBe(2);
  });
});
