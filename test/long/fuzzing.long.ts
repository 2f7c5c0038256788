/**
 * Fuzzing: `npm run test:long -- fuzzing` does a share of it, all of it takes hours: FUZZ_SHARE=1. FUZZ_RUNS sets the number of
 * cases of each test, FUZZ_SEED repeats; -t chooses a test. test/long/smoke.test.ts does a few of them in the ordinary suite.
 */
import { expect, it } from "vitest";
import { createTestDatabase, postgresAvailable } from "../helpers/postgres-server.js";
import { fuzzCommandLines } from "./command-lines.js";
import { fuzzDocuments } from "./documents.js";
import { endCommands } from "./ends.js";
import { type Findings, type FuzzOptions, fuzzOptions } from "./fuzz.js";
import { fuzzJqPrograms } from "./jq-programs.js";
import { fuzzSqliteFiles } from "./sqlite-files.js";

function judge(what: string, options: FuzzOptions, findings: Findings): void {
  console.log(findings.report(what, options));
  expect(findings.list.join("\n\n"), what).toBe("");
}

it("documents", async () => {
  const options = fuzzOptions(20000);
  await using database = postgresAvailable ? await createTestDatabase() : undefined;
  judge("documents", options, await fuzzDocuments(options, database?.url));
});

it("SQLite files", async () => {
  const options = fuzzOptions(5000);
  judge("SQLite files", options, await fuzzSqliteFiles(options, ["types", "pages", "truncated", "indexes"]));
});

it("jq programs", async () => {
  const options = fuzzOptions(5000);
  judge("jq programs", options, await fuzzJqPrograms(options));
});

it("command lines", async () => {
  const options = fuzzOptions(2000);
  judge("command lines", options, await fuzzCommandLines(options));
});

it("ends", async () => {
  const options = fuzzOptions(2000);
  judge("ends", options, await endCommands(options));
});
