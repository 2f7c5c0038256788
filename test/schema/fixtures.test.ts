import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import pg from "pg";
import { describe, expect, it, onTestFinished } from "vitest";
import { readPostgresVersions } from "../../src/llmspell/schema/postgres/migrations-table.js";
import { readSqliteVersions } from "../../src/llmspell/schema/sqlite/migrations-table.js";
import { createLlmspellPostgres, createLlmspellSqlite } from "../fixtures/index.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";

const sqliteVersions = ["V1", "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V10", "V11", "V13"];
const postgresVersions = Array.from({ length: 15 }, (_, index) => `V${index + 1}`);

describe("llmspell's SQLite database", () => {
  it.each([3, 8, 13])("at V%i says its versions, read-only, V3 from its table", (level) => {
    const folder = mkdtempSync(join(tmpdir(), "llmspell-fixture-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, "llmspell.db");
    createLlmspellSqlite(path, level);
    const database = new Database(path, { readonly: true });
    try {
      expect(readSqliteVersions(database)).toEqual(sqliteVersions.filter((v) => Number(v.slice(1)) <= level));
    } finally {
      database.close();
    }
  });
});

describePostgres("llmspell's PostgreSQL database", () => {
  it.each([3, 8, 11, 15])("at V%i says its versions in a read-only transaction", async (level) => {
    await using database = await createTestDatabase();
    await createLlmspellPostgres(database.url, level);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      expect(await readPostgresVersions(client)).toEqual(postgresVersions.slice(0, level));
      await client.query("COMMIT");
    } finally {
      await client.end();
    }
  });

  it("of which nothing is there yet says V1 alone", async () => {
    await using database = await createTestDatabase();
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      expect(await readPostgresVersions(client)).toEqual(["V1"]);
    } finally {
      await client.end();
    }
  });
});
