/** The engine stands without llmspell, and without all that is built on it: it compiles alone, and moves another application's records. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { withClient } from "../helpers/content-digest.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const library = "test/infrastructure/library";

/** As ARCHITECTURE.md has it; folders.ts says where the home folder and temporary files are. */
const ENGINE = [
  "backends",
  "byte-size.ts",
  "catalog",
  "codecs",
  "document",
  "errors.ts",
  "folders.ts",
  "pipeline.ts",
  "records",
  "sinks",
  "sources",
  "transforms",
].map((name) => join("src", name));

const id = (n: number): string => `00000000-0000-4000-8000-00000000000${n}`;
const data = {
  loans: [
    { loan_id: -1, member_id: id(1), isbn: "0-306-40615-2", due: 1743372000123456 },
    { loan_id: 2, member_id: id(2), isbn: "0-306-40615-2", due: null },
  ],
  members: [
    { member_id: id(1), name: "Ada 😀", since: "infinity", settings: { shelf: [1, null] } },
    { member_id: id(2), name: "Bo", since: -1 },
  ],
  shelves: {
    books: [
      {
        isbn: "0-306-40615-2",

        pages: 312,
        lendable: true,
        cover: "AAEC/w==",
        subjects: ["a,b", null],
      },
      { isbn: "9", pages: null, lendable: false, cover: null, subjects: [] },
    ],
  },
};

describePostgres("the engine alone", () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "llmspell-engine-"));
    for (const part of [...ENGINE, library]) {
      mkdirSync(dirname(join(folder, part)), { recursive: true });
      cpSync(join(root, part), join(folder, part), { recursive: true });
    }
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    cpSync(join(root, "tsconfig.json"), join(folder, "tsconfig.base.json"));
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    const compilerOptions = { noEmit: false, outDir: "dist", rootDir: "." };
    const config = { extends: "./tsconfig.base.json", compilerOptions, include: ["src", library] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("compiles, and moves three kinds through a document, SQLite and PostgreSQL", async () => {
    const compiled = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", folder], { encoding: "utf8" });
    expect(compiled.stdout).toBe("");
    expect(compiled.status).toBe(0);

    await using database = await createTestDatabase();
    await withClient(database.url, (client) => client.query(readFileSync(join(root, library, "postgres.sql"), "utf8")));
    new Database(join(folder, "library.db")).exec(readFileSync(join(root, library, "sqlite.sql"), "utf8")).close();
    const header = { version: "1.0", exported_at: "", source_backend: "sqlite", producer: "library/1", migrations: [] };
    writeFileSync(join(folder, "in.json"), JSON.stringify({ ...header, data }));

    const program = join(folder, "dist", library, "move.js");
    const moved = spawnSync(process.execPath, [program, folder, database.url], { encoding: "utf8" });
    expect(moved.stderr).toBe("");
    expect(moved.stdout).toBe("loans 2, members 2, shelves.books 2\n".repeat(3));
    expect(moved.status).toBe(0);
    expect(JSON.parse(readFileSync(join(folder, "out.json"), "utf8")).data).toEqual(data);
  });
});
