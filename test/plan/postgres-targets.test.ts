/** A plan foretells what the run then does, on every kind of target; and it writes nothing, and locks as a reader does. */
import { copyFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import type { StorageError } from "../../src/errors.js";
import {
  createSqliteSource,
  exportStore,
  type ImportOptions,
  importStore,
  planTransfer,
  type Source,
  type TransferPlan,
  type TransferResult,
} from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { createTestRole, describePostgres, type TestDatabase, type TestRole } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { sql } from "../sinks/postgres-support.js";

/** Tables by their content and shape, as the server tells them. */
const STATE = `
  SELECT c.relname, c.relforcerowsecurity, pg_relation_filenode(c.oid) AS file,
    (xpath('/row/h/text()', query_to_xml(format('SELECT md5(string_agg(md5(t::text) || ctid::text || xmin::text, '''' ORDER BY md5(t::text))) AS h FROM llmspell.%I t', c.relname), false, true, '')))[1]::text AS content
  FROM pg_class c WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relkind = 'r' ORDER BY 1`;

interface Lock {
  readonly relation: string;
  readonly mode: string;
}

describePostgres("storage plan of a load into PostgreSQL", () => {
  let workspace: Workspace;
  let source: string;
  let database: TestDatabase;

  beforeAll(() => {
    workspace = createWorkspace();
    source = workspace.path("source.db");
    createLlmspellSqlite(source);
    fillSqlite(source, { records: 8, counts: { kv_store: 2100 }, contentSizes: [0, 5, 1048577] });
  });
  afterAll(() => workspace[Symbol.dispose]());
  beforeEach(async () => {
    database = await createDatabase("llmspell");
  });
  afterEach(() => database.drop());

  /** Other sessions' locks on tables and indexes of llmspell; the server's own vacuuming is nobody's. */
  const locks = (): Promise<Lock[]> =>
    sql<{ relation: string; mode: string }>(
      database.url,
      `SELECT c.relname AS relation, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
       WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid()
         AND c.relnamespace = 'llmspell'::regnamespace
         AND l.pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend')`,
    );

  /** The SQLite file as a source; what others hold when its last record has been taken is in `held`. */
  function watched(path: string): { from: Source; held: Lock[] } {
    const inner = createSqliteSource({ path });
    const held: Lock[] = [];
    const from: Source = {
      name: inner.name,
      open: (context, selection) => inner.open(context, selection),
      estimate: (selection) => inner.estimate(selection),
      async *read(selection, context) {
        yield* inner.read(selection, context);
        held.push(...(await locks()));
      },
      close: () => inner.close(),
    };
    return { from, held };
  }

  interface Both {
    readonly plan: TransferPlan;
    readonly result: TransferResult | undefined;
    readonly error: StorageError | undefined;
    /** Indexes that the run built. */
    readonly built: string[];
  }

  /** Plans, and then runs; what every plan must keep to is checked. */
  async function planAndRun(
    to: string,
    options: Omit<Partial<ImportOptions>, "from" | "to"> = {},
    path = source,
    dryRun = false,
  ): Promise<Both> {
    const before = await sql(database.url, STATE).catch(() => undefined);
    const planning = watched(path);
    const plan = await planTransfer({ ...options, from: planning.from, to, exact: true });
    for (const { mode } of planning.held) expect(mode).toBe("AccessShareLock");
    expect(await sql(database.url, STATE).catch(() => undefined)).toEqual(before);
    expect(await locks()).toEqual([]);
    const built: string[] = [];
    const running = watched(path);
    let result: TransferResult | undefined;
    let error: StorageError | undefined;
    try {
      result = await importStore({
        ...options,
        dryRun,
        from: running.from,
        to,
        onProgress: ({ index }) => {
          if (index !== undefined && !built.includes(index.name)) built.push(index.name);
        },
      });
    } catch (thrown) {
      error = thrown as StorageError;
    }
    expect([plan.refused?.code, plan.refused?.exitStatus]).toEqual([error?.code, error?.exitStatus]);
    if (result === undefined) return { plan, result, error, built };
    for (const { path, read, inserted, updated, unchanged, skipped, dropped } of result.kinds) {
      const planned = plan.sections.find((section) => section.path === path);
      const { records, new: added, same = 0, changed = 0, dropped: left } = planned ?? {};
      const met = options.onConflict === "skip" ? [0, 0, same + changed] : [same + changed, same, 0];
      expect([path, records, added, ...met, left]).toEqual([
        path,
        read,
        inserted,
        updated,
        unchanged,
        skipped,
        dropped,
      ]);
    }
    const rebuilds = plan.sections.flatMap((section) => section.rebuilds);
    expect(rebuilds.sort()).toEqual(built.toSorted());
    // A table that is loaded directly is locked from its first record on; one that is merged is not yet.
    const locked = new Set(
      running.held.filter(({ mode }) => mode === "ShareRowExclusiveLock").map(({ relation }) => relation),
    );
    const kinds = new Map(
      result.kinds.map(({ path }) => [path, plan.sections.find((section) => section.path === path)]),
    );
    for (const [path, section] of kinds)
      if (section?.into !== "unknown" && path === "kv_store")
        expect([path, section?.into]).toEqual([path, locked.has("kv_store") ? "direct" : "merge"]);
    return { plan, result, error, built };
  }

  const change = (path: string, statement: string): string => {
    const copy = workspace.path(path);
    copyFileSync(source, copy);
    const file = new Database(copy);
    file.pragma("ignore_check_constraints = ON");
    file.exec(statement);
    file.close();
    return copy;
  };

  const forceOwner = async (role: TestRole): Promise<void> => {
    await sql(
      database.url,
      `DO $$ DECLARE name text; BEGIN
         FOR name IN SELECT c.oid::regclass FROM pg_class c
           WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p') LOOP
           EXECUTE 'ALTER TABLE ' || name || ' OWNER TO ${role.name}';
         END LOOP;
       END $$`,
    );
    await sql(database.url, `GRANT USAGE, CREATE ON SCHEMA llmspell TO ${role.name}`);
  };

  it("empty tables", async () => {
    const { plan, built } = await planAndRun(database.url);
    expect(plan.sections.find(({ path }) => path === "kv_store")).toMatchObject({
      into: "direct",
      new: 2100,
      there: 0,
    });
    expect(built.length).toBeGreaterThan(0);
    expect(plan.targetSpace.free).toBeUndefined();
  });

  it("the same records again, some of them changed, some only there; and each policy", async () => {
    await importStore({ from: source, to: database.url });
    await sql(
      database.url,
      `SET session_replication_role = replica;
       UPDATE llmspell.kv_store SET value = '\\x01' WHERE key IN (SELECT key FROM llmspell.kv_store ORDER BY key LIMIT 7);
       INSERT INTO llmspell.kv_store (tenant_id, key, value, created_at, updated_at) VALUES ('only', 'there', '', now(), now());
       DELETE FROM llmspell.hook_history WHERE execution_id IN (SELECT execution_id FROM llmspell.hook_history LIMIT 3)`,
    );
    const { plan } = await planAndRun(database.url, {}, source, true);
    expect(plan.sections.find(({ path }) => path === "kv_store")).toMatchObject({
      into: "merge",
      new: 0,
      same: 2093,
      changed: 7,
      onlyThere: 1,
      there: 2101,
    });
    expect(plan.sections.find(({ path }) => path === "hook_history")?.new).toBe(3);
    await planAndRun(database.url, { onConflict: "error" });
    await planAndRun(database.url, { onConflict: "skip" });
  });

  it("half there", async () => {
    await importStore({ from: source, to: database.url, include: ["sessions", "kv_store"], limit: 10 });
    await planAndRun(database.url);
  });

  it("the owner under forced row-level security, empty and filled", async () => {
    const role = await createTestRole(database, { attributes: "NOSUPERUSER NOBYPASSRLS" });
    try {
      await forceOwner(role);
      const { plan } = await planAndRun(role.url);
      expect(plan.notes.join("\n")).toContain("row-level security is forced on the owner");
      await sql(
        database.url,
        `SET session_replication_role = replica; UPDATE llmspell.kv_store SET value = '\\x02' WHERE key = (SELECT min(key) FROM llmspell.kv_store)`,
      );
      const filled = await planAndRun(role.url);
      expect(filled.plan.sections.find(({ path }) => path === "kv_store")).toMatchObject({
        into: "unknown",
        changed: 1,
        onlyThere: undefined,
      });
    } finally {
      await role.drop();
    }
  });

  it("a role without the grants, each of which is named, and then with them", async () => {
    const role = await createTestRole(database, { attributes: "NOSUPERUSER BYPASSRLS" });
    try {
      await sql(database.url, `GRANT USAGE ON SCHEMA llmspell TO ${role.name}`);
      const { plan } = await planAndRun(role.url);
      expect(plan.refused?.code).toBe("E_PERMISSION");
      expect(plan.grants.join("\n")).toContain("GRANT SET ON PARAMETER session_replication_role");
      await sql(database.url, plan.grants.find((grant) => grant.includes("session_replication_role")) as string);
      const half = await planAndRun(role.url);
      expect(half.plan.refused?.code).toBe("E_PERMISSION");
      for (const grant of half.plan.grants) await sql(database.url, grant);
      expect((await planAndRun(role.url, { exclude: ["event_log"] })).plan.refused).toBeUndefined();
      await sql(database.url, `REVOKE SET ON PARAMETER session_replication_role FROM ${role.name}`);
    } finally {
      await role.drop();
    }
  });

  it("no extension, columns too narrow, indexes that are not valid", async () => {
    await sql(database.url, "ALTER TABLE llmspell.sessions ALTER status TYPE varchar(2)");
    expect((await planAndRun(database.url)).plan.refused?.code).toBe("E_SCHEMA");
    await sql(database.url, "ALTER TABLE llmspell.sessions ALTER status TYPE varchar(50)");
    await sql(
      database.url,
      "UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT indexrelid FROM pg_index WHERE indrelid = 'llmspell.kv_store'::regclass AND NOT indisunique LIMIT 1)",
    );
    const { plan } = await planAndRun(database.url, { include: ["kv_store"] });
    expect(plan.notes.join("\n")).toMatch(/index kv_store\.\w+ .*REINDEX/);
    await sql(
      database.url,
      "UPDATE pg_index SET indisvalid = false WHERE indrelid = 'llmspell.kv_store'::regclass AND indisunique",
    );
    expect((await planAndRun(database.url)).plan.refused?.code).toBe("E_NOT_MIGRATED");
    await sql(database.url, "DROP EXTENSION vector CASCADE");
    const without = await planAndRun(database.url);
    expect(without.plan.refused?.code).toBe("E_NOT_MIGRATED");
    expect(without.plan.notes.join("\n")).toContain("CREATE EXTENSION vector");
  });

  it("records that it refuses: NUL, a CHECK, a number, an id that is no UUID, orphans", async () => {
    const cases: [string, string][] = [
      ["nul", "UPDATE kv_store SET metadata = '\"\\u0000\"' WHERE rowid = 5"],
      ["long", "UPDATE sessions SET status = 'active' || hex(zeroblob(60)) WHERE rowid = 2"],
      ["number", "UPDATE kv_store SET metadata = '1e999999' WHERE rowid = 5"],
      ["uuid", "UPDATE kv_store SET kv_id = 'no uuid' WHERE rowid = 5"],
      [
        "orphan",
        "PRAGMA foreign_keys = OFF; DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM artifacts LIMIT 1)",
      ],
    ];
    const codes: (string | undefined)[] = [];
    for (const [name, statement] of cases) {
      const { plan } = await planAndRun(database.url, {}, change(`${name}.db`, statement));
      codes.push(plan.refused?.code);
      expect(plan.obstacles.length).toBeGreaterThan(0);
    }
    expect(codes).not.toContain(undefined);
    const orphans = workspace.path("orphan.db");
    await planAndRun(database.url, { onOrphan: "drop" }, orphans, true);
    const rejected: string[] = [];
    const skipping = { onReject: ({ error }: { error: StorageError }) => void rejected.push(error.code) };
    const plan = await planTransfer({ ...skipping, from: orphans, to: database.url, exact: true });
    expect([plan.refused?.code, rejected]).toEqual(["E_REJECTED", []]);
    const result = await importStore({ ...skipping, from: orphans, to: database.url });
    expect(plan.obstacles.reduce((sum, { count }) => sum + count, 0)).toBe(result.totals.rejected);
  });

  it("is what the command prints and exits with, and export documents are sources, too", async () => {
    const document = workspace.path("document.json");
    await exportStore({ from: source, to: document });
    const args = ["--input", document, "--database", database.url, "--exact", "--json", "--no-progress"];
    const planned = await workspace.must(["storage", "plan", ...args]);
    const flagged = await workspace.must(["storage", "import", ...args, "--plan"]);
    const sections = JSON.parse(planned.stdout).sections;
    expect(JSON.parse(flagged.stdout).sections).toEqual(sections);
    await withClient(database.url, async (client) => {
      expect((await client.query("SELECT count(*)::int AS n FROM llmspell.kv_store")).rows).toEqual([{ n: 0 }]);
    });
    await importStore({ from: document, to: database.url });
    const again = JSON.parse((await workspace.must(["storage", "plan", ...args])).stdout);
    // A content of 1 MiB and more is written again by every run.
    for (const { path, records, same } of again.sections)
      expect([path, same]).toEqual([path, records - (path === "artifacts.content" ? 1 : 0)]);
  });
});
