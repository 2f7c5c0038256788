/** `--invalid-uuid`, `--id-map` and `--times` on the command line. */
import { readFileSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";

let workspace: Workspace;
beforeAll(async () => {
  workspace = createWorkspace();
  const source = workspace.path("llmspell.db");
  createLlmspellSqlite(source);
  const database = new Database(source);
  database.exec(
    `INSERT INTO sessions (tenant_id, session_id, session_data) VALUES ('t', 'support chat', '{}'), ('t', '0123456789ABCDEF0123456789abcdef', '{}');
     INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes) VALUES ('t', 'h', x'00', 1);
     INSERT INTO artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type, mime_type, size_bytes)
       VALUES ('t', 'support chat:0:h', 'support chat', 0, 'h', '{}', 'n', 'file', 'text/plain', 1)`,
  );
  database.close();
});
afterAll(() => workspace[Symbol.dispose]());

const dataOf = (path: string): string => {
  const text = readFileSync(workspace.path(path), "utf8");
  return text.slice(text.indexOf('"data":'), text.indexOf('"manifest":'));
};

describePostgres("ids on the command line", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase("migrated");
  });
  afterAll(() => database.drop());

  it("go to PostgreSQL and back by a map, as the guide says", async () => {
    await workspace.must(["storage", "export", "--database", "llmspell.db", "--output", "first.json"]);
    const migrate = ["storage", "migrate", "--from", "llmspell.db", "--to", database.url];
    for (const words of [migrate, ["storage", "import", "--database", database.url, "--input", "first.json"]]) {
      const refused = await workspace.run(words);
      expect([refused.status, refused.stderr]).toEqual([4, expect.stringContaining("[E_INVALID_UUID]")]);
      expect(refused.stderr).toContain("ids that are no UUIDs: sessions 1, artifacts.artifacts 1");
      expect(refused.stderr).toContain("--invalid-uuid derive");
    }
    expect((await workspace.run([...migrate, "--invalid-uuid", "keep"])).status).toBe(2);

    const there = await workspace.must([...migrate, "--invalid-uuid", "derive", "--id-map", "ids.ndjson"]);
    expect(there.stderr).toContain("sessions: 1 id is no UUID");
    await workspace.must(["storage", "migrate", "--from", database.url, "--to", "back.db", "--id-map", "ids.ndjson"]);
    await workspace.must(["storage", "export", "--database", "back.db", "--output", "back.json"]);
    expect(dataOf("back.json")).toBe(dataOf("first.json"));
  });

  it("a map does not overwrite what the run reads, nor anything that is no map", async () => {
    const words = [
      "storage",
      "import",
      "--database",
      database.url,
      "--invalid-uuid",
      "derive",
      "--input",
      "first.json",
    ];
    const before = dataOf("first.json");
    for (const map of ["first.json", "llmspell.db"]) {
      const { status, stderr } = await workspace.run([...words, "--id-map", map]);
      expect([status, stderr]).toEqual([2, expect.stringMatching(/E_USAGE|E_OUTPUT_EXISTS/)]);
    }
    // In both directions with a way on.
    const back = ["storage", "export", "--database", database.url, "--output", "back.json"];
    for (const [run, code, hint] of [
      [words, "E_OUTPUT_EXISTS", "Hint: Give it the map of an earlier run, or a new name"],
      [back, "E_DOCUMENT_SHAPE", "Hint: Give it the map that was written where ids became UUIDs"],
    ] as const) {
      const { status, stderr } = await workspace.run([...run, "--id-map", "llmspell.db"]);
      expect(status).not.toBe(0);
      expect(stderr).toContain("--id-map names a file that is no id map");
      expect(stderr).toContain(`[${code}]`);
      expect(stderr).toContain(hint);
    }
    const { stderr } = await workspace.run([...back, "--id-map", "none.ndjson"]);
    expect(stderr).toMatch(/the id map .*none.ndjson does not exist \[E_INPUT_NOT_FOUND\]\n.*Hint: /s);
    expect(dataOf("first.json")).toBe(before);
  });
});

describe("--times", () => {
  it("says what a document does not tell", async () => {
    const event = {
      tenant_id: "t",
      event_id: "e",
      event_type: "e",
      correlation_id: "c",
      sequence: 1,
      language: "lua",
      payload: {},
    };
    const document = {
      version: "1.0",
      source_backend: "sqlite",
      data: { event_log: [{ ...event, timestamp: 1800000000 }] },
    };
    writeFileSync(workspace.path("plain.json"), JSON.stringify(document));
    const words = (target: string) => ["storage", "import", "--database", target, "--input", "plain.json"];
    const refused = await workspace.run(words("none.db"));
    expect([refused.status, refused.stderr]).toEqual([4, expect.stringContaining("--times")]);
    for (const [times, seconds] of [
      ["s", 1800000000],
      ["us", 1800],
    ] as const) {
      await workspace.must([...words(`${times}.db`), "--times", times]);
      const target = new Database(workspace.path(`${times}.db`), { readonly: true });
      expect(target.prepare("SELECT timestamp FROM event_log").pluck().all()).toEqual([seconds]);
      target.close();
    }
  });
});
