/** `--on-error` and `--rejects` with the real CLI: a bad record among good ones, told, left out, repaired, imported. */
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { describeWithTools } from "../helpers/system-tools.js";
import * as records from "./records.js";
import { id, type Sections } from "./records.js";
import { type Columns, columnsOf, expectSameRows, normalised, storedRows } from "./stored-rows.js";
import { createPostgresStore, createSqliteStore, documentText, Json, load, type TestStore } from "./support.js";

const PRECISE = new Json('{"n":[12345678901234567890,1.10,"\\u00e9"]}');

/** `bad`: a content whose count is below 1 (its artifact goes with it), a status that there is not, a key that is no UUID. */
function sections(bad: boolean): Sections {
  return {
    kv_store: [records.kv(1, { metadata: PRECISE }), records.kv(2), records.kv(3, bad ? { kv_id: "third" } : {})],
    sessions: [records.session(1), records.session(2, bad ? { status: "gone" } : {})],
    "artifacts.content": [
      records.content("h", Buffer.from("abc")),
      records.content("i", Buffer.from("xyz"), bad ? { reference_count: 0 } : {}),
    ],
    "artifacts.artifacts": [
      records.artifact(1, 0, "h"),
      records.artifact(1, 1, "i", { metadata: PRECISE, tags: ["a", null] }),
    ],
  };
}

/** What docs/errors.md says, for sections of both depths, and a repair of each record. */
const REPAIR = `
  jq -s '[.[] | select(.record != null)] | {version: "1.0", source_backend: "sqlite", migrations: ["V1"], data: {
      kv_store: [.[] | select(.section == "kv_store") | .record | .kv_id = "${id(3)}"],
      sessions: [.[] | select(.section == "sessions") | .record | .status = "active"],
      artifacts: {content: [.[] | select(.section == "artifacts.content") | .record | .reference_count = 1],
                  artifacts: [.[] | select(.section == "artifacts.artifacts") | .record]}}}' rejects.ndjson > repaired.json`;

function registerRejectTests(backend: string, open: () => Promise<TestStore>): void {
  describe(`into ${backend}`, () => {
    let workspace: Workspace;
    let target: TestStore;
    let reference: TestStore;
    let columns: Columns;
    beforeAll(async () => {
      workspace = createWorkspace();
      target = await open();
      reference = await createPostgresStore();
      columns = await columnsOf(reference);
      writeFileSync(workspace.path("bad.json"), documentText(sections(true)));
    });
    beforeEach(() => target.clear());
    afterAll(async () => {
      await target.drop();
      await reference.drop();
      workspace[Symbol.dispose]();
    });

    const database = (): string => (backend === "SQLite" ? `sqlite:${target.store}` : target.store);
    const words = (...more: string[]): string[] => [
      // An id that is no UUID is bad for PostgreSQL; SQLite could keep it.
      ...["storage", "import", "--database", database(), "--input", "bad.json", "--invalid-uuid", "error", ...more],
    ];

    it("the first bad record stops the import, is named, and nothing has changed", async () => {
      const { status, stdout, stderr } = await workspace.run(words("--on-error", "stop"));
      expect(status).toBe(4);
      expect(stderr).toContain("[E_INVALID_UUID]");
      expect(stderr).toContain("at section kv_store, record kv_id=third, field kv_id");
      expect(stdout).not.toContain("Imported");
      expect(await storedRows(target, columns)).toEqual([]);
    });

    it("bad records are skipped and written down, and after repair they import: as if they had been good", async () => {
      writeFileSync(workspace.path("rejects.ndjson"), '{"section":"of the last run"}\n');
      chmodSync(workspace.path("rejects.ndjson"), 0o644);
      const { status, stdout, stderr } = await workspace.run(
        words("--on-error", "skip", "--rejects", "rejects.ndjson"),
      );
      expect(status).toBe(6);
      expect(stdout).toContain("✅ Imported 5 total records:");
      expect(stdout).toContain("Rejected: 4\n");
      expect(stderr).toContain("[E_REJECTED]");
      expect(statSync(workspace.path("rejects.ndjson")).mode & 0o777).toBe(0o600);
      const lines = readFileSync(workspace.path("rejects.ndjson"), "utf8").trimEnd().split("\n");
      const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(told.map(({ section, key, field, code }) => [section, key, field, code])).toEqual([
        ["kv_store", "kv_id=third", "kv_id", "E_INVALID_UUID"],
        ["sessions", `tenant_id=t, session_id=${id(2)}`, "status", "E_CHECK"],
        ["artifacts.content", "tenant_id=t, content_hash=i", "reference_count", "E_CHECK"],
        ["artifacts.artifacts", `tenant_id=t, artifact_id=${id(1)}:1:i`, "content_hash", "E_PARENT_REJECTED"],
      ]);
      for (const { reason } of told) expect(String(reason).length).toBeGreaterThan(10);
      // The values are as they came, to the digit.
      expect(lines[3]).toContain("12345678901234567890");
      expect(lines[3]).toContain("1.10");
      const good = (await storedRows(target, columns)).length;
      expect(good).toBe(5);

      const repaired = await workspace.bash(
        `${REPAIR}\n llmspell storage import --database ${database()} --input repaired.json`,
      );
      expect(repaired.stdout + repaired.stderr).toMatch(/artifact_count of 1 .*raised/);
      await load(sections(false), reference);
      // The artifact came to a session that was there already, and the report said so.
      await reference.run(
        `SET session_replication_role = replica; UPDATE llmspell.sessions SET artifact_count = 1 WHERE session_id = '${id(1)}'`,
      );
      const expected = await storedRows(reference, columns);
      const actual = await normalised(await storedRows(target, columns), reference, columns);
      // jq before 1.7 rounds integers beyond 2^53; that record was repaired with jq.
      const withoutPrecise = (rows: string[]): string[] =>
        rows.map((row) => row.replace(/12345678901234567\d{3}|1\.10?\b/g, "n"));
      expectSameRows(withoutPrecise(actual), withoutPrecise(expected));
    });
  });
}

describeWithTools(["jq"], "rejected records", () => {
  describePostgres("with a server", () => {
    registerRejectTests("SQLite", async () => createSqliteStore());
    registerRejectTests("PostgreSQL", createPostgresStore);
  });
});
