/** Digests of stores of every kind that hold the same. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type DigestStoreOptions, digestStore, exportStore, importStore, verifyStores } from "../../src/index.js";
import { pgliteStore } from "../conformance/postgres-store.js";
import { MIB } from "../fidelity/records.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fillPostgres, fillSqlite } from "../helpers/sample-data.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-digest-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function digestLines(store: string, options: DigestStoreOptions = {}): Promise<string[]> {
  const { sections, total } = await digestStore(store, options);
  return [...sections, { path: "total", ...total }].map(({ path, records, digest }) => `${path} ${records} ${digest}`);
}

describePostgres("the digests of stores that hold the same", () => {
  it("are equal, whatever each made of it: SQLite, documents, PostgreSQL, PGlite", async () => {
    const source = join(folder, "free.db");
    createLlmspellSqlite(source);
    fillSqlite(source, { records: 3, contentSizes: [0, 256, MIB - 1, MIB + 1] });
    await using database = await createDatabase("llmspell");
    const moved = await importStore({ from: source, to: database.url, digests: true, invalidUuid: "derive" });
    const expected = await digestLines(source, { invalidUuid: "derive" });
    const lines = await digestLines(database.url);
    expect(lines).toEqual(expected);
    expect(await digestLines(database.url, { sourceMode: "cursor" })).toEqual(expected);
    expect(moved.digests?.total?.digest).toBe(expected.at(-1)?.split(" ").at(-1));
    const document = join(folder, "from-postgres.json");
    await exportStore({ from: database.url, to: document });
    expect(await digestLines(document)).toEqual(expected);
    const embedded = await pgliteStore.open();
    try {
      await importStore({ from: document, to: embedded.sink() });
      const { sections, total } = await digestStore(embedded.source());
      expect(moved.digests).toEqual({ sections, total });
    } finally {
      await embedded.close();
    }
  });

  it("differ where the databases do", async () => {
    await using database = await createDatabase("llmspell");
    await fillPostgres(database.url, { records: 5 });
    const target = join(folder, "from-postgres.db");
    await importStore({ from: database.url, to: target, digests: true });
    expect(await digestLines(target)).toEqual(await digestLines(database.url));
    const sqlite = new Database(target);
    sqlite.exec("UPDATE sessions SET session_data = session_data || ' '");
    sqlite.close();
    expect(await digestLines(target)).toEqual(await digestLines(database.url));
    const again = new Database(target);
    again.exec(
      "UPDATE sessions SET updated_at_us = updated_at_us + 1 WHERE rowid = (SELECT min(rowid) FROM sessions WHERE updated_at_us % 1000000 < 999999)",
    );
    again.close();
    const different = (await digestLines(target)).slice(0, -1);
    const same = await digestLines(database.url);
    expect(different.filter((line) => !same.includes(line)).map((line) => line.split(" ")[0])).toEqual(["sessions"]);
  });

  it("are equal for json of every spelling, numbers that jsonb writes out among it", async () => {
    await using database = await createDatabase("llmspell");
    await fillPostgres(database.url, { records: 5 });
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query(
      String.raw`UPDATE llmspell.sessions SET session_data = ('{"bb": 1e60, "a": [1.5e-50, -0.0, 12345678901234567890.10], "b": "\t\/é", "b": {}}')::jsonb`,
    );
    await client.end();
    const [sqlite, document] = [join(folder, "spelled.db"), join(folder, "spelled.json")];
    await importStore({ from: database.url, to: sqlite });
    const copy = new Database(sqlite);
    copy.exec("UPDATE sessions SET session_data = '{\"b\":{} , ' || substr(replace(session_data, ': ', ':'), 2)");
    copy.close();
    const exported = await exportStore({ from: database.url, to: document, digests: true });
    const lines = await digestLines(database.url);
    expect(lines).toHaveLength((exported.digests?.sections.length ?? 0) + 1);
    expect(await digestLines(document)).toEqual(lines);
    expect(await digestLines(sqlite)).toEqual(lines);
    expect(exported.digests?.total?.digest).toBe(lines.at(-1)?.split(" ").at(-1));
    const { identical, sections } = await verifyStores({ a: sqlite, b: database.url });
    expect(identical).toBe(false);
    expect(sections.filter(({ different }) => different > 0)).toEqual([]);
    expect(sections.find(({ path }) => path === "sessions")).toMatchObject({ byMeaning: 5, different: 0 });
  });
});
