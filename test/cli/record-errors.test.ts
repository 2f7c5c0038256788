/** What a record's error says beside its place: how to go on without such records, and which steps it came through. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
  const record = (value: string): string =>
    `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{"kv_store":[
    {"kv_id":"22222220-1111-4111-8111-111111111111","tenant_id":"acme","key":"k","value":${value},"metadata":{},
     "created_at":1700000000123456,"updated_at":1700000000654321}]}}`;
  writeFileSync(workspace.path("good.json"), record('"AP/+"'));
  writeFileSync(workspace.path("bad.json"), record("7"));
  writeFileSync(
    workspace.path("spoil.mjs"),
    'export default { name: "spoil", sections: ["kv_store"], transform: (record) => ({ ...record, key: "a\\0b" }) };',
  );
});
afterAll(() => workspace[Symbol.dispose]());

const WAY_ON =
  "Hint: --on-error skip --rejects FILE (onReject) leaves such records out, writes them to FILE, and goes on.";

async function failure(words: readonly string[], input = "good.json"): Promise<string[]> {
  const { status, stderr } = await workspace.run(["storage", "import", "--input", input, "--quiet", ...words]);
  expect(status).toBeGreaterThan(3);
  return stderr.trimEnd().split("\n");
}

it("a bad record of the source names no step, and the way on without it", async () => {
  expect(await failure(["--database", "a.db", "--map-tenant", "acme=b"], "bad.json")).toEqual([
    "Error: expected a string, found a number [E_FIELD_TYPE]",
    "  at section kv_store, record kv_id=22222220-1111-4111-8111-111111111111, field value",
    WAY_ON,
  ]);
});

it("an error with a better hint keeps that", async () => {
  await workspace.must(["storage", "import", "--input", "good.json", "--database", "twice.db"]);
  const lines = await failure(["--database", "twice.db", "--on-conflict", "error", "--mask", "kv_store.metadata=null"]);
  expect(lines.at(-1)).toBe("Hint: --on-conflict update replaces it, --on-conflict skip leaves it.");
});

describePostgres("a step that spoils a field", () => {
  const target = async (): Promise<AsyncDisposable & { readonly url: string }> => {
    const database = await createDatabase("migrated");
    return database;
  };

  it("is named in the error, among those that may have changed it", async () => {
    await using database = await target();
    const spoil = '.data.kv_store[].key = "a\\u0000b"';
    const steps = ["--map-tenant", "acme=b", "--mask", "kv_store.metadata.x=redact", "--jq", spoil];
    const lines = await failure(["--database", database.url, ...steps]);
    expect(lines[0]).toMatch(/ \[E_NUL_CHARACTER\]$/);
    expect(lines[1]).toMatch(/^ {2}at section kv_store, record .*, field key$/);
    expect(lines[2]).toBe(`Caused by: the record came through jq ${spoil}`);
    expect(lines[3]).toBe(WAY_ON);
    expect(lines).toHaveLength(4);
  });

  it("is named with --json, and in the rejects", async () => {
    await using database = await target();
    const words = ["--database", database.url, "--plugin", "./spoil.mjs", "--jq", ".data.sessions = []"];
    const json = await workspace.run(["storage", "import", "--input", "good.json", "--json", ...words]);
    expect((JSON.parse(json.stdout) as { error: unknown }).error).toMatchObject({
      code: "E_NUL_CHARACTER",
      causes: ["the record came through plugin spoil"],
    });
    const skip = ["--on-error", "skip", "--rejects", "rejects.ndjson"];
    expect((await workspace.run(["storage", "import", "--input", "good.json", ...words, ...skip])).status).toBe(6);
    expect(JSON.parse(readFileSync(workspace.path("rejects.ndjson"), "utf8"))).toMatchObject({
      code: "E_NUL_CHARACTER",
      field: "key",
      reason: expect.stringMatching(/; the record came through plugin spoil$/),
    });
  });
});
