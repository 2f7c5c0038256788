/** Digests of stores of every kind that hold the same. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type DigestStoreOptions, digestStore, exportStore, importStore } from "../../src/index.js";
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
});
