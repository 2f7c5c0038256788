/**
 * Databases whose tables llmspell itself made (SQLite at V13, PostgreSQL at V15 with forced row-level security and every
 * trigger), exported and imported without any preparation: every column of every row, by plain SQL.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { postgresDigest, sqliteDigest } from "../helpers/content-digest.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fillPostgres, fillSqlite } from "../helpers/sample-data.js";
import { id, MIB } from "./records.js";
import { type Columns, columnsOf, expectSameRows, normalised, storedRows } from "./stored-rows.js";
import { createPostgresStore, createSqliteStore, dataOf, load, type TestStore, unload } from "./support.js";

const RECORDS = 40;
const contentSizes = [0, 1, 256, MIB - 1, MIB, MIB + 17];

/** Triggers, constraints and row-level security of every table. */
const POSTGRES_STATE = `
  SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity,
    ARRAY(SELECT tgname || ' ' || tgenabled::text FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal ORDER BY 1)::text,
    ARRAY(SELECT conname || ' ' || convalidated::text FROM pg_constraint WHERE conrelid = c.oid ORDER BY 1)::text,
    ARRAY(SELECT indexrelid::regclass::text || ' ' || indisvalid FROM pg_index WHERE indrelid = c.oid ORDER BY 1)::text
  FROM pg_class c WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  ORDER BY 1`;
const SQLITE_TRIGGERS = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name";

const fileHash = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

describePostgres("databases that llmspell made", () => {
  const made: TestStore[] = [];
  let sqlite: TestStore;
  let postgres: TestStore;
  let columns: Columns;
  const newSqlite = (): TestStore => {
    const store = createSqliteStore();
    made.push(store);
    return store;
  };
  const newPostgres = async (): Promise<TestStore> => {
    const store = await createPostgresStore();
    made.push(store);
    return store;
  };

  beforeAll(async () => {
    sqlite = newSqlite();
    fillSqlite(sqlite.store, { records: RECORDS, contentSizes });
    await sqlite.run("PRAGMA wal_checkpoint(TRUNCATE)");
    postgres = await newPostgres();
    await fillPostgres(postgres.store, { records: RECORDS, contentSizes, json: "free" });
    columns = await columnsOf(postgres);
  });
  afterAll(async () => {
    for (const store of made) await store.drop();
  });

  it("SQLite's rows arrive in PostgreSQL column by column, and SQLite's file keeps every byte", async () => {
    const before = fileHash(sqlite.store);
    const target = await newPostgres();
    const state = await target.rows(POSTGRES_STATE);
    expect(state.filter(([, enabled, forced]) => enabled === "t" && forced === "t").length).toBeGreaterThan(14);
    expect(JSON.stringify(state)).toMatch(/trigger_artifacts_\w*/);
    const { result, warnings } = await load(sqlite, target);
    expect([result.totals.inserted, result.totals.rejected, warnings]).toEqual([15 * RECORDS, 0, []]);
    const expected = await storedRows(sqlite, columns);
    expect(expected).toHaveLength(15 * RECORDS);
    expectSameRows(await storedRows(target, columns), await normalised(expected, target, columns));
    expect(await target.rows(POSTGRES_STATE)).toEqual(state);
    expect(fileHash(sqlite.store)).toBe(before);
  });

  it("PostgreSQL's rows arrive in SQLite column by column, and PostgreSQL is not written", async () => {
    const before = await postgresDigest(postgres.store);
    const target = newSqlite();
    const triggers = await target.rows(SQLITE_TRIGGERS);
    expect(triggers.length).toBeGreaterThan(1);
    const { result, warnings } = await load(postgres, target);
    expect([result.totals.inserted, result.totals.rejected, warnings]).toEqual([15 * RECORDS, 0, []]);
    const expected = await storedRows(postgres, columns);
    expect(expected).toHaveLength(15 * RECORDS);
    // llmspell's own checksum is of the text that SQLite holds; PostgreSQL's is beside it.
    const arrived = await storedRows(target, columns);
    const exported = await target.rows("SELECT state_id, checksum, checksum_exported FROM agent_states");
    const own = new Map(exported.map(([state, checksum, kept]) => [`${state} ${checksum}`, kept]));
    const withExported = arrived.map((line) => {
      if (!line.startsWith("agent_states ")) return line;
      const row = JSON.parse(line.slice("agent_states ".length)) as Record<string, string>;
      return `agent_states ${JSON.stringify({ ...row, checksum: own.get(`${row["state_id"]} ${row["checksum"]}`) })}`;
    });
    expectSameRows(withExported, expected);
    // The import has completed the schema, with triggers of ours.
    expect(await target.rows(SQLITE_TRIGGERS)).toEqual(expect.arrayContaining(triggers));
    expect(await postgresDigest(postgres.store)).toBe(before);
  });

  it("reference_count, updated_at, data_version and last_accessed_at arrive as exported, new and over other rows", async () => {
    for (const target of [newSqlite(), await newPostgres()]) {
      const prefix = target.backend === "sqlite" ? "" : "llmspell.";
      const { document } = await unload(postgres);
      await load(document, target);
      const first = await storedRows(target, columns);
      // What an application does in the meantime, its triggers firing.
      await target.run(
        `UPDATE ${prefix}sessions SET status = 'expired', artifact_count = 0;
         UPDATE ${prefix}agent_states SET state_data = '{}';
         UPDATE ${prefix}kv_store SET value = ${target.backend === "sqlite" ? "x'00'" : "'\\x00'"};
         UPDATE ${prefix}artifacts SET name = 'changed';
         UPDATE ${prefix}workflow_states SET status = 'failed';
         UPDATE ${prefix}artifact_content SET reference_count = 99;`,
      );
      const changed = await storedRows(target, columns);
      expect(changed.filter((line, n) => line !== first[n]).length).toBeGreaterThan(5 * RECORDS);
      const versions = `SELECT count(*) FROM ${prefix}agent_states WHERE data_version > 9`;
      expect((await target.rows(versions))[0]?.[0]).not.toBe(0n);
      const { result } = await load(document, target);
      // The other backend spells scopes otherwise: that is said (test/cli/translate.test.ts), and nothing else.
      const notes = result.notes.filter((note) => !note.includes("--translate llmspell"));
      expect([target.backend, result.totals.updated, notes]).toEqual([target.backend, 15 * RECORDS, []]);
      expectSameRows(await storedRows(target, columns), first);
    }
  });

  it("the same import twice changes nothing", async () => {
    for (const source of [sqlite, postgres])
      for (const target of [newSqlite(), await newPostgres()]) {
        const { document } = await unload(source);
        const prefix = target.backend === "sqlite" ? "" : "llmspell.";
        const state = async (): Promise<unknown[]> => [
          target.backend === "sqlite" ? sqliteDigest(target.store) : await target.rows(POSTGRES_STATE),
          target.backend === "sqlite"
            ? []
            : await target.rows("SELECT count(*) FROM pg_largeobject_metadata UNION ALL SELECT count(*) FROM pg_class"),
          // Surrogate keys stay, or nothing outside could refer to them.
          target.backend === "sqlite" ? await target.rows(`SELECT id, rowid FROM ${prefix}sessions ORDER BY 1`) : [],
        ];
        await load(document, target);
        const rows = await storedRows(target, columns);
        const before = await state();
        for (const onConflict of ["update", "skip"] as const) {
          const { result } = await load(document, target, { onConflict });
          expect(result.totals).toMatchObject({
            inserted: 0,
            [onConflict === "update" ? "updated" : "skipped"]: 15 * RECORDS,
          });
          expectSameRows(await storedRows(target, columns), rows);
          expect(await state()).toEqual(before);
        }
        const again = await unload(target);
        expect(again.document.length).toBeGreaterThan(1e6);
      }
  });

  it("a backup imported over the database that it came from changes no value", async () => {
    for (const source of [sqlite, postgres]) {
      const target = source === sqlite ? newSqlite() : await newPostgres();
      // Line breaks between the tokens of json, which a document drops, are the one thing that would change.
      if (source === sqlite) fillSqlite(target.store, { records: RECORDS, contentSizes, json: "jsonb" });
      else await fillPostgres(target.store, { records: RECORDS, contentSizes, json: "free" });
      const before = await storedRows(target, columns);
      // In SQLite: over rows that have no exact times yet, and UUIDs in every spelling.
      const { document } = await unload(target);
      const { result } = await load(document, target);
      expect([result.totals.updated, result.totals.inserted, result.notes]).toEqual([15 * RECORDS, 0, []]);
      expectSameRows(await storedRows(target, columns), before);
      expect(dataOf((await unload(target)).document) === dataOf(document)).toBe(true);
    }
  });

  it("triggers fire again for the application afterwards", async () => {
    const target = await newPostgres();
    await load(postgres, target);
    const [row] = await target.rows(
      "SELECT tenant_id, content_hash, reference_count FROM llmspell.artifact_content ORDER BY 2 LIMIT 1",
    );
    const [tenant, hash, count] = row as [string, string, bigint];
    const quoted = tenant.replaceAll("'", "''");
    await target.run(
      `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data, created_at, last_accessed_at)
         VALUES ('${quoted}', '${id(1)}', '{}', now(), now());
       INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type, mime_type, size_bytes, created_at)
         VALUES ('${quoted}', 'new', '${id(1)}', 0, '${hash}', '{}', 'n', 'file', 'text/plain', 1, now())`,
    );
    expect(
      await target.rows(
        `SELECT reference_count FROM llmspell.artifact_content WHERE content_hash = '${hash}' AND tenant_id = '${quoted}'`,
      ),
    ).toEqual([[count + 1n]]);

    const other = newSqlite();
    await load(sqlite, other);
    const versions = "SELECT data_version FROM agent_states ORDER BY state_id";
    const before = await other.rows(versions);
    await other.run(`UPDATE agent_states SET state_data = '{"new":true}'`);
    expect(await other.rows(versions)).toEqual(before.map(([version]) => [(version as bigint) + 1n]));
  });

  it("an application's later edit of the seconds wins over the exact companion", async () => {
    const target = newSqlite();
    await load(
      {
        kv_store: [1, 2].map((n) => ({
          kv_id: id(n),
          tenant_id: "t",
          key: `k${n}`,
          value: "",
          created_at: 1500001,
          updated_at: "infinity",
        })),
      },
      target,
    );
    await target.run(`UPDATE kv_store SET updated_at = 1767225600, created_at = 1 WHERE kv_id = '${id(1)}'`);
    const there = await newPostgres();
    await load(target, there);
    // The edit that set the same second again is no edit.
    expect(await there.rows("SELECT created_at, updated_at FROM llmspell.kv_store ORDER BY kv_id")).toEqual([
      ["1970-01-01 00:00:01.500001+00", "2026-01-01 00:00:00+00"],
      ["1970-01-01 00:00:01.500001+00", "infinity"],
    ]);
  });

  it("a document from PostgreSQL stays the same to the byte through SQLite and PostgreSQL", async () => {
    const first = await unload(postgres);
    const [middle, last] = [newSqlite(), await newPostgres()];
    await load(first.document, middle);
    const second = await unload(middle);
    await load(second.document, last);
    const third = await unload(last);
    expect(dataOf(second.document) === dataOf(first.document)).toBe(true);
    expect(dataOf(third.document) === dataOf(first.document)).toBe(true);
  });
});
