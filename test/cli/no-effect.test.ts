/** What has no effect is never silent: masks, jq, tenants, sections, a program's options. Through the binary and the library. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  digestStore,
  exportStore,
  importStore,
  migrateDatabase,
  planTransfer,
  readRecords,
  rewriteDocument,
  type StorageError,
  type StoreLocation,
  storeInfo,
  type TransformSpec,
  validateDocument,
  verifyStores,
} from "../../src/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Outcome, type Workspace, withoutTimes } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";

const SESSION = (n: number, data: string): string =>
  `{"tenant_id":"acme","session_id":"1111111${n}-1111-4111-8111-111111111111","session_data":${data},
    "status":"active","created_at":1,"last_accessed_at":1,"expires_at":null,"artifact_count":0,"updated_at":1}`;
const HOOK = `{"execution_id":"22222222-1111-4111-8111-111111111111","tenant_id":"acme","hook_id":"h","hook_type":"t",
  "correlation_id":"33333333-1111-4111-8111-111111111111","hook_context":"","result_data":{"list":[]},"timestamp":1,
  "duration_ms":1,"triggering_component":"","component_id":"","modified_operation":false,"tags":null,
  "retention_priority":1,"context_size":0,"contains_sensitive_data":false,"metadata":{},"created_at":1}`;

let workspace: Workspace;
let store: string;
let names = 0;
const fresh = (suffix: string): string => workspace.path(`${++names}${suffix}`);

beforeAll(async () => {
  workspace = createWorkspace();
  store = workspace.path("store.db");
  writeFileSync(
    workspace.path("given.json"),
    `{"version":"1.0","source_backend":"sqlite","producer":"t","migrations":["V1"],"data":{
      "sessions":[${SESSION(1, '{"email":"a@b.c","e":null}')},${SESSION(2, '{"name":"x"}')}],"hook_history":[${HOOK}]}}`,
  );
  await workspace.must(["storage", "import", "--database", store, "--input", "given.json"]);
});
afterAll(() => workspace[Symbol.dispose]());

const exporting = (output: string, ...words: string[]): Promise<Outcome> =>
  workspace.run(["storage", "export", "--database", store, "--output", output, "--no-progress", ...words]);
const codeOf = (run: Promise<unknown>): Promise<string | undefined> =>
  run.then(
    () => undefined,
    (error: StorageError) => error.code,
  );

describe("a mask whose path no record has", () => {
  const RULE = "sessions.session_data.emial=redact";

  it("ends an export with E_NO_EFFECT, and the document that was there stays", async () => {
    const output = fresh(".json");
    expect((await exporting(output)).status).toBe(0);
    const before = readFileSync(output);
    const { status, stderr } = await exporting(output, "--mask", RULE);
    expect([status, stderr]).toEqual([2, expect.stringContaining("none of the 2 records of sessions has the path")]);
    expect(stderr).toContain("[E_NO_EFFECT]");
    expect(stderr).toContain("--mask-optional");
    expect(readFileSync(output).equals(before)).toBe(true);
    const other = fresh(".json");
    expect((await exporting(other, "--mask", RULE)).status).toBe(2);
    expect(existsSync(other)).toBe(false);
  });

  it("leaves what every reader refuses on a pipe", async () => {
    const { status, stdout } = await exporting("-", "--mask", RULE);
    expect(status).toBe(2);
    expect(() => JSON.parse(stdout)).toThrow();
    writeFileSync(workspace.path("piped.json"), stdout);
    const read = await workspace.run(["storage", "import", "--database", fresh(".db"), "--input", "piped.json"]);
    expect([read.status, read.stderr]).toEqual([4, expect.stringContaining("E_DOCUMENT_TRUNCATED")]);
  });

  it.each(["import", "migrate"])("rolls back an %s", async (command) => {
    const target = fresh(".db");
    await workspace.must(["storage", "import", "--database", target, "--input", "given.json", "--limit", "1"]);
    const words =
      command === "import"
        ? ["storage", "import", "--input", "given.json", "--database", target]
        : ["storage", "migrate", "--from", store, "--to", target];
    expect((await workspace.run([...words, "--mask", RULE])).status).toBe(2);
    const database = new Database(target, { readonly: true });
    expect(database.prepare("SELECT count(*) FROM sessions").pluck().get()).toBe(1);
    database.close();
    const absent = fresh(".db");
    words[words.indexOf(target)] = absent;
    expect((await workspace.run([...words, "--mask", RULE])).status).toBe(2);
    expect(existsSync(absent)).toBe(false);
  });

  it("is said and no error with --mask-optional, mask_optional and optional", async () => {
    const { status, stdout } = await exporting(fresh(".json"), "--mask-optional", RULE);
    expect([status, stdout]).toEqual([0, expect.stringContaining("none of the 2 records of sessions has the path")]);
    writeFileSync(
      workspace.path("steps.toml"),
      `[transforms]\non = ["export"]\nsteps = [{ mask_optional = "${RULE}" }]\n`,
    );
    const configured = await exporting(fresh(".json"), "--config", "steps.toml");
    expect([configured.status, configured.stdout]).toEqual([0, expect.stringContaining("mask-optional sessions")]);
    writeFileSync(workspace.path("steps.toml"), `[transforms]\non = ["export"]\nsteps = [{ mask = "${RULE}" }]\n`);
    expect((await exporting(fresh(".json"), "--config", "steps.toml")).status).toBe(2);
    const to: StoreLocation = { type: "document", path: fresh(".json") };
    const { notes } = await exportStore({
      from: store,
      to,
      transforms: [{ type: "mask", rule: RULE, optional: true }],
    });
    expect(notes.join()).toContain("has the path");
    expect(await codeOf(exportStore({ from: store, to, transforms: [{ type: "mask", rule: RULE }] }))).toBe(
      "E_NO_EFFECT",
    );
  });

  it.each([
    "sessions.session_data.email=redact",
    // The path is there; its value is null.
    "sessions.session_data.e=redact",
    // A field of its own is there, be it NULL.
    "sessions.expires_at=null",
    "hook_history.tags[]=redact",
    // There is nothing in the list that could be misspelt.
    "hook_history.result_data.list[]=redact",
  ])("is not %s", async (rule) => {
    const { status, stdout } = await exporting(fresh(".json"), "--mask", rule);
    expect([status, stdout]).toEqual([0, expect.not.stringContaining("mask")]);
  });

  it("counts when a step before it took the path away, and with --on-error skip", async () => {
    const rule = "sessions.session_data.email=redact";
    const words = ["--jq", "sessions: del(.session_data.email)", "--mask", rule];
    expect((await exporting(fresh(".json"), ...words)).status).toBe(2);
    expect((await exporting(fresh(".json"), ...words, "--on-error", "skip")).status).toBe(2);
    // Sessions may be dropped: the records come twice.
    const filtered = ["--jq", 'sessions: select(.status == "active")', "--mask", rule];
    expect((await exporting(fresh(".json"), ...filtered)).status).toBe(0);
  });

  it("is a note where its section has no records, or is not selected", async () => {
    for (const words of [
      ["--mask", "kv_store.metadata.a=redact"],
      ["--exclude", "sessions", "--mask", RULE],
    ]) {
      const { status, stdout } = await exporting(fresh(".json"), ...words);
      expect([status, stdout]).toEqual([0, expect.stringMatching(/no record of (kv_store|sessions) was there/)]);
    }
  });
});

it("info --tenants lists names as they are, whatever they look like", async () => {
  const names = ["a@b:c@d/e", "password=x", "postgresql://u:p@h/d"];
  const sessions = names.map((name) => SESSION(1, "{}").replace('"acme"', JSON.stringify(name)));
  writeFileSync(
    workspace.path("named.json"),
    `{"version":"1.0","source_backend":"sqlite","producer":"t","migrations":["V1"],"data":{"sessions":[${sessions}]}}`,
  );
  const { stdout } = await workspace.must(["storage", "info", "named.json", "--tenants"]);
  for (const name of names) expect(stdout).toContain(`  1  ${name}\n`);
});

describe("a step without effect", () => {
  it("is said by digest and verify as by an export", async () => {
    const none = ["--mask", "kv_store.metadata.a=redact"];
    const said = "no record of kv_store was there to be masked";
    const digest = await workspace.run(["storage", "digest", store, ...none]);
    expect([digest.status, digest.stderr]).toEqual([0, expect.stringContaining(said)]);
    // Which is compared with others'.
    expect(digest.stdout).toBe((await workspace.must(["storage", "digest", store])).stdout);
    const copy = fresh(".json");
    await exporting(copy);
    const verify = await workspace.run(["storage", "verify", store, copy, ...none]);
    expect([verify.status, verify.stdout]).toEqual([0, expect.stringContaining(said)]);
    const json = await workspace.run(["storage", "verify", store, copy, ...none, "--json"]);
    expect(JSON.parse(json.stdout).notes).toEqual([expect.stringContaining(said)]);
    const misspelt = ["--mask", "sessions.session_data.emial=redact"];
    for (const words of [
      ["digest", store],
      ["verify", store, copy],
    ])
      expect((await workspace.run(["storage", ...words, ...misspelt])).stderr).toContain("[E_NO_EFFECT]");
  });
});

describePostgres("a mask whose path no record has, into PostgreSQL", () => {
  it("rolls back", async () => {
    await using database = await createDatabase("migrated");
    const words = ["storage", "import", "--database", database.url, "--input", "given.json"];
    const refused = await workspace.run([...words, "--mask", "sessions.session_data.emial=redact"]);
    expect([refused.status, refused.stderr]).toEqual([2, expect.stringContaining("E_NO_EFFECT")]);
    const { stdout } = await workspace.must([...words, "--mask", "sessions.session_data.email=redact", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ total: 3, inserted: 3 });
  });
});

describe("jq", () => {
  it.each([
    ["sessions: del(.session_dta)", "session_dta"],
    ['sessions: select(.stauts == "active")', "stauts"],
    ["del(.data.sessions[].session_dta.email)", "session_dta"],
    ['del(.data.sessions[] | select(.tenant == "acme"))', "tenant"],
    ["artifacts: del(.nothing)", "nothing"],
  ])("%s: a field that no record can have is refused before anything is opened", async (expression, name) => {
    const words = ["storage", "export", "--database", "missing.db", "--output", fresh(".json"), "--jq", expression];
    const { status, stderr } = await workspace.run(words);
    expect([status, stderr]).toEqual([2, expect.stringContaining(`have no field ${name} [E_USAGE]`)]);
    expect(stderr).toContain("tenant_id");
  });

  it("takes what the expression makes for itself, tests or asks for with ?", async () => {
    for (const expression of [
      "sessions: .tmp = .status | .status = .tmp | del(.tmp)",
      'sessions: if has("nothing") then empty else . end',
      "sessions: select(.nothing? == null)",
      "artifacts: del(.created_by?)",
    ])
      expect(await exporting(fresh(".json"), "--jq", expression)).toMatchObject({ status: 0 });
  });

  it("warns where no record of its section came, and says where it changed none", async () => {
    const { status, stderr } = await exporting(fresh(".json"), "--jq", 'kv_store: select(.key == "x")');
    expect([status, stderr]).toEqual([
      0,
      expect.stringMatching(/Warning: jq .*: none of the 3 records is of kv_store/),
    ]);
    const kept = await exporting(fresh(".json"), "--jq", 'sessions: select(.tenant_id != "acne")');
    expect([kept.status, kept.stderr, kept.stdout]).toEqual([
      0,
      "",
      expect.stringContaining("none of the 2 records of sessions was changed or left out"),
    ]);
    expect((await exporting(fresh(".json"), "--jq", 'sessions: .status = "archived"')).stdout).not.toContain("none of");
  });
});

describe("tenants and sections", () => {
  it("--map-tenant of a tenant without records is warned of", async () => {
    const { status, stderr } = await exporting(fresh(".json"), "--map-tenant", "acne=x");
    expect([status, stderr]).toEqual([
      0,
      expect.stringContaining('Warning: map-tenant acne=x: none of the 3 records has the tenant "acne"'),
    ]);
    expect((await exporting(fresh(".json"), "--map-tenant", "acme=x")).stderr).toBe("");
  });

  it("--include of a section without records is warned of, in the result too", async () => {
    const words = ["--include", "sessions", "--include", "artifacts", "--json"];
    const { status, stderr, stdout } = await exporting(fresh(".json"), ...words);
    expect([status, withoutTimes(stderr)]).toEqual([0, "Warning: no record of the section artifacts was found\n"]);
    expect(JSON.parse(stdout).warnings).toEqual(["no record of the section artifacts was found"]);
  });
});

describe("a program's options", () => {
  const to = (): StoreLocation => ({ type: "document", path: fresh(".json") });

  it.each([
    { type: "maks", rule: "sessions.session_data=redact" },
    { type: "mask", rule: "sessions.session_data=redact", optoinal: true },
    { type: "mask", rules: "sessions.session_data=redact" },
    { type: "mask" },
    { type: "map-tenant", from: "a", too: "b" },
    { type: "map-tenant", from: "a" },
    { type: "jq", expression: ".", timeout: 3 },
    { type: "plugin", modul: "./x.mjs" },
  ])("a step %j is E_USAGE", async (step) => {
    expect(await codeOf(exportStore({ from: store, to: to(), transforms: [step as unknown as TransformSpec] }))).toBe(
      "E_USAGE",
    );
  });

  it.each([{ tenants: "acme" }, { include: "sessions" }, { exclude: "sessions" }, { transforms: {} }])(
    "a text or an object in place of a list is E_USAGE: %j",
    async (wrong) => {
      const given = wrong as object;
      expect(await codeOf(exportStore({ from: store, to: to(), ...given }))).toBe("E_USAGE");
      expect(await codeOf(importStore({ from: store, to: fresh(".db"), ...given }))).toBe("E_USAGE");
      expect(await codeOf(verifyStores({ a: store, b: fresh(".json"), ...given }))).toBe("E_USAGE");
      expect(await codeOf(digestStore(store, given))).toBe("E_USAGE");
    },
  );

  it("a store that is not there is E_USAGE, as all that a program without types may get wrong", async () => {
    const wrong = [
      undefined,
      null,
      {},
      { from: store },
      { to: store },
      { a: store },
      { a: 1, b: 2 },
      { from: "", to: "" },
    ];
    for (const run of [exportStore, importStore, verifyStores, planTransfer, rewriteDocument])
      for (const options of wrong)
        expect([run.name, options, await codeOf(run(options as never))]).toEqual([run.name, options, "E_USAGE"]);
    for (const run of [digestStore, storeInfo, migrateDatabase, validateDocument])
      for (const given of [undefined, null, 1, ""])
        expect([run.name, await codeOf(run(given as never))]).toEqual([run.name, "E_USAGE"]);
    expect(() => readRecords(undefined as never)).toThrow("readRecords needs a store");
  });

  it("a misspelt one of a function is E_USAGE", async () => {
    const misspelt = { tenant: ["acme"] } as object;
    expect(await codeOf(exportStore({ from: store, to: to(), ...misspelt }))).toBe("E_USAGE");
    expect(await codeOf(importStore({ from: store, to: fresh(".db"), ...misspelt }))).toBe("E_USAGE");
    expect(() => readRecords(store, misspelt)).toThrow("readRecords has no option tenant");
    expect(await codeOf(exportStore({ from: store, to: { type: "file", path: fresh(".json") } as never }))).toBe(
      "E_USAGE",
    );
  });
});
