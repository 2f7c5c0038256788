/** The owner of the tables, without superuser and BYPASSRLS, under forced row-level security: `--as-owner`, and tenants that are named. */
import { readFileSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  digestStore,
  type ExportOptions,
  exportStore,
  importStore,
  planTransfer,
  StorageError,
  storeInfo,
  type Transform,
} from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { collectDocument } from "../helpers/collect-document.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { createTestRole, describePostgres, type TestDatabase, type TestRole } from "../helpers/postgres-server.js";
import { fillPostgres } from "../helpers/sample-data.js";

/** Without what two exports of the same records differ in: their times, and whether they took some tenants, or all. */
const untimed = (document: string): string =>
  document.replace(/"exported_at":"[^"]*"/, '"exported_at":""').replace('"partial":["tenants"],\n', "");

async function exported(url: string, options: Partial<ExportOptions> = {}): Promise<string> {
  const { stream, text } = collectDocument();
  await exportStore({ ...options, from: url, to: stream });
  return untimed(text());
}

async function failureOf(work: Promise<unknown>): Promise<StorageError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StorageError);
  return error as StorageError;
}

const query = (url: string, sql: string): Promise<Record<string, unknown>[]> =>
  withClient(url, async (client) => {
    const results: pg.QueryResult | pg.QueryResult[] = await client.query(sql);
    return (Array.isArray(results) ? results.at(-1) : results)?.rows ?? [];
  });

/** Waits for what other sessions do. */
async function until(url: string, condition: string): Promise<void> {
  for (;;) {
    const [row] = await query(url, `SELECT (${condition}) AS done`);
    if (row?.["done"] === true) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A transform that changes nothing, and runs `work` once, when the source has given the first records. */
function whenReading(work: () => Promise<void>): Transform {
  let ran = false;
  return {
    name: "look",
    mayDrop: () => false,
    async *apply(batches) {
      for await (const batch of batches) {
        if (!ran) await work();
        ran = true;
        yield batch;
      }
    },
  };
}

const session = (tenant: string, n: number): string =>
  `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data) VALUES ('${tenant}', '00000000-0000-4000-8000-${String(n).padStart(12, "0")}', '{}')`;

describePostgres("the owner under forced row-level security", () => {
  let workspace: Workspace;
  let database: TestDatabase;
  let owner: TestRole;
  /** What a superuser exports. */
  let whole: string;
  let tenants: string[];
  let forced: Record<string, unknown>[];

  const admin = (sql: string): Promise<Record<string, unknown>[]> => query(database.url, sql);
  const state = (): Promise<Record<string, unknown>[]> =>
    admin(
      `SELECT relname::text, relrowsecurity, relforcerowsecurity FROM pg_class
       WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1`,
    );
  const asApplication = (): string => {
    const url = new URL(database.url);
    url.username = "llmspell_app";
    url.password = "";
    return url.href;
  };

  beforeAll(async () => {
    workspace = createWorkspace();
    database = await createDatabase("llmspell");
    await fillPostgres(database.url, { records: 40, contentSizes: [0, 10, 1048576 + 5] });
    owner = await createTestRole(database, { attributes: "NOSUPERUSER NOBYPASSRLS" });
    await admin(
      `ALTER SCHEMA llmspell OWNER TO ${owner.name};
       DO $$ DECLARE name regclass; m oid; BEGIN
         FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p')
         LOOP EXECUTE format('ALTER TABLE %s OWNER TO ${owner.name}', name); END LOOP;
         FOR m IN SELECT oid FROM pg_largeobject_metadata
         LOOP EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO ${owner.name}, llmspell_app', m); END LOOP; END $$`,
    );
    whole = await exported(database.url);
    tenants = ((await storeInfo(database.url, { tenants: true })).tenants ?? []).map(({ tenant }) => tenant);
    expect(tenants.length).toBeGreaterThan(2);
    forced = await state();
    expect(forced.filter((table) => table["relforcerowsecurity"]).length).toBeGreaterThan(14);
  });
  afterAll(async () => {
    await owner?.drop();
    await database?.drop();
    workspace?.[Symbol.dispose]();
  });

  it.each(["copy", "cursor"] as const)(
    "exports the same bytes as a superuser (%s), and leaves it forced",
    async (sourceMode) => {
      expect(await exported(owner.url, { asOwner: true, sourceMode })).toBe(whole);
      expect(await state()).toEqual(forced);
    },
  );

  it("exports the same bytes with a limit, with some tenants, and where indexes are trusted", async () => {
    for (const options of [{ limit: 3 }, { tenants: tenants.slice(1, 3) }, { sourceCheck: "none" }] as const)
      expect(await exported(owner.url, { ...options, asOwner: true })).toBe(await exported(database.url, options));
  });

  it("is told of --as-owner when it is stopped", async () => {
    const error = await failureOf(exported(owner.url));
    expect(error.code).toBe("E_ROW_SECURITY");
    expect(error.context.hint).toMatch(/^Give --as-owner, for the role owns the table; or, as a superuser: ALTER ROLE/);
    const { stdout } = await workspace.run(["database", "health", "--database", owner.url]);
    expect(stdout).toContain("  export: yes, all tenants, with --as-owner\n");
    expect((await failureOf(exported(asApplication()))).context.hint).toMatch(/^As a superuser: (?!.*--as-owner)/);
  });

  it("sees info with the counts of each tenant, as a superuser does and as of the document", async () => {
    const output = workspace.path("whole.json");
    await workspace.must(["storage", "export", "--database", owner.url, "--as-owner", "--output", output]);
    expect(untimed(readFileSync(output, "utf8"))).toBe(whole);
    const infos = [];
    await workspace.must(["storage", "migrate", "--from", owner.url, "--as-owner", "--to", "whole.db"]);
    for (const words of [[database.url], [owner.url, "--as-owner"], ["whole.json"], ["whole.db"]]) {
      const { stdout } = await workspace.must(["storage", "info", "--tenants", "--json", ...words]);
      const { records, sections, tenants: counted } = JSON.parse(stdout);
      infos.push({ records, sections, tenants: counted });
    }
    expect(infos[1]).toEqual(infos[0]);
    expect(infos[2]).toEqual(infos[0]);
    expect(infos[3]?.tenants).toEqual(infos[0]?.tenants);
    const digestOf = async (...words: string[]): Promise<string> =>
      JSON.parse((await workspace.must(["storage", "digest", "--json", ...words])).stdout).total.digest;
    expect(await digestOf(owner.url, "--as-owner")).toMatch(/\w{16}/);
    expect(await digestOf(owner.url, "--as-owner")).toBe(await digestOf("whole.json"));
    const verify = ["storage", "verify", owner.url, "whole.json", "--as-owner"];
    await workspace.must(verify);
    expect((await workspace.run([...verify, "--search", "1"])).stderr).toContain("[E_USAGE]");
    const counted = infos[0]?.tenants as { tenant: string; records: number }[];
    expect(counted.reduce((sum, { records }) => sum + records, 0)).toBe(infos[0]?.records);
    expect((await workspace.must(["storage", "info", "whole.json", "--tenants"])).stdout).toContain(
      `Tenants: ${counted.length}\n`,
    );
  });

  it("plans, prunes and digests as a superuser does; what the policies hide is not pruned", async () => {
    const to = workspace.path("copy.db");
    await importStore({ from: database.url, to });
    const file = new Database(to);
    file.exec(
      "INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES ('00000000-0000-4000-8000-0000000000ee', 't', 'only here', '', 0, 0)",
    );
    file.close();
    expect((await failureOf(importStore({ from: owner.url, to, prune: true }))).code).toBe("E_ROW_SECURITY");
    const plan = await planTransfer({ from: owner.url, to, asOwner: true, exact: true });
    const plain = await planTransfer({ from: database.url, to, exact: true });
    expect(plan.sections).toEqual(plain.sections);
    expect(plan.sections.find(({ path }) => path === "kv_store")).toMatchObject({ new: 0, onlyThere: 1 });
    expect((await failureOf(planTransfer({ from: owner.url, to }))).code).toBe("E_ROW_SECURITY");
    expect(await state()).toEqual(forced);
    const result = await importStore({ from: owner.url, to, asOwner: true, prune: true, digests: true });
    expect(result.totals).toMatchObject({ pruned: 1, inserted: 0, dropped: 0 });
    const { total } = await digestStore(database.url);
    expect(result.digests?.total).toEqual(total);
    expect((await digestStore(to)).total).toEqual(total);
    expect(await state()).toEqual(forced);
  });

  it("reads one moment, and stands in nobody's way while it reads", async () => {
    const meanwhile = whenReading(async () => {
      expect(await state()).toEqual(forced);
      const tables = forced.map(({ relname }) => `SELECT count(*) FROM llmspell."${relname}";`);
      await admin(`SET lock_timeout = '2s'; ${tables.join("")} ${session("added meanwhile", 7)}`);
      await query(owner.url, "SET lock_timeout = '2s'; SELECT count(*) FROM llmspell.sessions");
    });
    try {
      expect(await exported(owner.url, { asOwner: true, transforms: [meanwhile] })).toBe(whole);
      expect(await exported(owner.url, { asOwner: true })).toContain("added meanwhile");
    } finally {
      await admin("DELETE FROM llmspell.sessions WHERE tenant_id = 'added meanwhile'");
    }
  });

  it("names the table that others read, and leaves it forced when it is killed", async () => {
    const reader = new pg.Client({ connectionString: database.url });
    await reader.connect();
    await reader.query("BEGIN; SELECT count(*) FROM llmspell.hook_history");
    const waiting = `EXISTS (SELECT FROM pg_stat_activity WHERE usename = '${owner.name}' AND wait_event_type = 'Lock')`;
    try {
      const error = await failureOf(exported(owner.url, { asOwner: true, lockTimeoutSeconds: 0.2 }));
      expect(error).toMatchObject({ code: "E_LOCKED", context: { section: "hook_history" } });
      expect(error.message).toContain("llmspell.hook_history");
      expect(await state()).toEqual(forced);

      const words = ["--database", owner.url, "--as-owner", "--lock-timeout", "600", "--output", "killed.json"];
      const child = workspace.start(["storage", "export", ...words]);
      const ended = new Promise((resolve) => child.once("close", resolve));
      await until(database.url, waiting);
      child.kill("SIGKILL");
      await ended;
      await until(database.url, `NOT ${waiting}`);
    } finally {
      await reader.end();
    }
    await until(database.url, `NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '${owner.name}')`);
    expect(await state()).toEqual(forced);
  });

  it("stops where rows have no tenant, and takes the tenants that are named", async () => {
    await admin(
      `ALTER TABLE llmspell.kv_store ALTER tenant_id DROP NOT NULL;
       INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES (NULL, 'hidden', '')`,
    );
    try {
      const error = await failureOf(exported(owner.url, { asOwner: true }));
      expect(error).toMatchObject({ code: "E_ROW_SECURITY", context: { section: "kv_store" } });
      expect(error.context.detail).toMatch(/^1 of llmspell\.kv_store/);
      const some = { tenants: tenants.slice(0, 2) };
      expect(await exported(owner.url, { ...some, asOwner: true })).toBe(await exported(database.url, some));
    } finally {
      await admin("DELETE FROM llmspell.kv_store WHERE tenant_id IS NULL");
      await admin("ALTER TABLE llmspell.kv_store ALTER tenant_id SET NOT NULL");
    }
  });

  it("finds that the passes lack a row which it counted, also where indexes are trusted", async () => {
    const kept = (ready: boolean): string =>
      `UPDATE pg_index SET indisready = ${ready} WHERE indrelid = 'llmspell.sessions'::regclass`;
    await admin(kept(false));
    await admin(session("not in the index", 8));
    await admin(kept(true));
    try {
      const error = await failureOf(exported(owner.url, { asOwner: true, sourceCheck: "none" }));
      expect(error).toMatchObject({ code: "E_SOURCE_DAMAGED", context: { section: "sessions" } });
    } finally {
      await admin("REINDEX TABLE llmspell.sessions");
      await admin("DELETE FROM llmspell.sessions WHERE tenant_id = 'not in the index'");
    }
  });

  it("tells of columns and tables that stay behind, as a superuser is told", async () => {
    await admin(
      `ALTER TABLE llmspell.kv_store ADD COLUMN extra text DEFAULT 'x';
       INSERT INTO llmspell.api_keys (key_id, service, encrypted_key, tenant_id) VALUES ('k', 's', '', 't')`,
    );
    try {
      const told = async (url: string, asOwner: boolean): Promise<[readonly string[], readonly string[]]> => {
        const warnings: string[] = [];
        const onWarning = (line: string): void => void warnings.push(line);
        const { leftOut } = await exportStore({ from: url, to: collectDocument().stream, asOwner, onWarning });
        return [warnings, leftOut];
      };
      const [warnings, leftOut] = await told(database.url, false);
      expect(warnings.join()).toContain("api_keys has rows");
      expect(leftOut.join()).toContain("column extra of llmspell.kv_store");
      expect(await told(owner.url, true)).toEqual([warnings, leftOut]);
    } finally {
      await admin("ALTER TABLE llmspell.kv_store DROP COLUMN extra; DELETE FROM llmspell.api_keys");
    }
  });

  it("is nobody but the owner: others are told whose the tables are", async () => {
    const error = await failureOf(exported(asApplication(), { asOwner: true }));
    expect(error).toMatchObject({ code: "E_ROW_SECURITY", context: { detail: `it belongs to ${owner.name}` } });
    expect(error.context.hint).toContain("--tenants-from FILE");
    // A superuser is bound by nothing.
    expect(await exported(database.url, { asOwner: true })).toBe(whole);
    createLlmspellSqlite(workspace.path("a.db"));
    expect((await failureOf(exported(workspace.path("a.db"), { asOwner: true }))).code).toBe("E_USAGE");
  });

  it("reads the tenants of a file under the policies, and warns that nobody knows whether these are all", async () => {
    writeFileSync(workspace.path("tenants"), `${tenants.join("\r\n")}\n\n`);
    for (const url of [owner.url, asApplication()]) {
      const words = ["storage", "export", "--database", url, "--tenants-from", "tenants", "--output"];
      const { stderr } = await workspace.must([...words, "named.json"]);
      expect(untimed(readFileSync(workspace.path("named.json"), "utf8"))).toBe(whole);
      expect(stderr).toContain("is not proven");
      // The same for what compares: the policies let these roles see no other rows.
      const verify = ["storage", "verify", "named.json", url, "--tenants-from", "tenants"];
      expect(await workspace.run(verify)).toMatchObject({
        stderr: expect.stringContaining("is not proven"),
        stdout: expect.stringMatching(/sessions: 40 identical\n(.*identical\n)* {2}hook_history: 40 identical\n/),
      });
      const digest = await workspace.must(["storage", "digest", url, "--tenants-from", "tenants"]);
      expect(digest.stdout).toBe((await workspace.must(["storage", "digest", "named.json"])).stdout);
      expect(digest.stderr).toContain("is not proven");
    }
    const words = ["storage", "export", "--database", owner.url, "--output", "none.json", "--tenants-from"];
    writeFileSync(workspace.path("empty"), "\n");
    for (const [file, code, ...more] of [
      ["empty", "E_USAGE"],
      ["no such file", "E_INPUT_NOT_FOUND"],
      ["tenants", "E_USAGE", "--as-owner"],
    ] as const) {
      const { status, stderr } = await workspace.run([...words, file, ...more]);
      expect([status, stderr.includes(`[${code}]`)]).toEqual([2, true]);
    }
  });
});
