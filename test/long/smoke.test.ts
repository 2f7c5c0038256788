/** A few cases of each fuzzing test (fuzzing.long.ts), the same each time: that they still run. */
import { expect, it } from "vitest";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { describeWithTools } from "../helpers/system-tools.js";
import { fuzzCommandLines } from "./command-lines.js";
import { fuzzDocuments } from "./documents.js";
import { endCommands } from "./ends.js";
import { fuzzJqPrograms } from "./jq-programs.js";
import { fuzzSqliteFiles } from "./sqlite-files.js";

const seed = 1;

describePostgres("mutated documents", () => {
  it("are imported whole, or refused", async () => {
    await using database = await createTestDatabase();
    expect((await fuzzDocuments({ runs: 8, seed }, database.url)).list).toEqual([]);
  });
});

describeWithTools(["sqlite3"], "damaged SQLite files, and those with strange types", () => {
  it("are exported whole, or refused", async () => {
    expect((await fuzzSqliteFiles({ runs: 8, seed }, ["types", "pages", "truncated", "indexes"])).list).toEqual([]);
  });
});

it("jq programs come to an end", async () => {
  expect((await fuzzJqPrograms({ runs: 8, seed })).list).toEqual([]);
});

it("command lines end with a documented status", async () => {
  expect((await fuzzCommandLines({ runs: 6, seed })).list).toEqual([]);
});

it("commands come to an end", async () => {
  expect((await endCommands({ runs: 5, seed })).list).toEqual([]);
});
