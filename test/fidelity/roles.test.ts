/**
 * The real CLI as superuser, as owner without superuser, and as llmspell_app, under forced row-level security: all
 * records, one tenant, or a clear stop; never a part of them with status 0.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createWorkspace, type Outcome, type Workspace } from "../helpers/llmspell.js";
import { createTestRole, describePostgres, type TestRole } from "../helpers/postgres-server.js";
import type { Fields, Sections } from "./records.js";
import * as records from "./records.js";
import { createPostgresStore, documentText, load, type PostgresTestStore, recordsOf } from "./support.js";

/** Both tenants have a session with an artifact, a content in a large object, and an event of a month without partition. */
const of = (tenant_id: string, n: number): Sections => {
  const mine = (fields: Fields): Fields => ({ ...fields, tenant_id });
  return {
    sessions: [mine(records.session(n, { artifact_count: 5 }))],
    "artifacts.content": [mine(records.content(`h${n}`, Buffer.alloc(records.MIB, n), { reference_count: 7 }))],
    "artifacts.artifacts": [mine(records.artifact(n, 0, `h${n}`))],
    event_log: [mine(records.event(n, { timestamp: 1e15 + n }))],
  };
};
const BOTH: Sections = Object.fromEntries(
  Object.entries(of("t", 1)).map(([path, each]) => [path, [...each, ...(of("u", 2)[path] ?? [])]]),
);
const PATHS = Object.keys(BOTH);

describePostgres("roles", () => {
  let workspace: Workspace;
  let full: PostgresTestStore;
  let empty: PostgresTestStore;
  /** The owner of both databases' schema, and a member of llmspell_app that may set session_replication_role. */
  let owner: TestRole;
  let granted: TestRole;

  const urlOf = (store: PostgresTestStore, role: string): string => {
    const url = new URL(store.store);
    url.username = role;
    url.password = "";
    return url.href;
  };

  beforeAll(async () => {
    workspace = createWorkspace();
    full = await createPostgresStore();
    empty = await createPostgresStore();
    await load(BOTH, full);
    owner = await createTestRole(full.database, { attributes: "NOSUPERUSER NOBYPASSRLS" });
    granted = await createTestRole(empty.database, { attributes: "NOSUPERUSER NOBYPASSRLS IN ROLE llmspell_app" });
    for (const store of [full, empty])
      await store.run(
        `ALTER SCHEMA llmspell OWNER TO ${owner.name};
         DO $$ DECLARE name regclass; m oid; BEGIN
           FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p')
           LOOP EXECUTE format('ALTER TABLE %s OWNER TO ${owner.name}', name); END LOOP;
           FOR m IN SELECT oid FROM pg_largeobject_metadata
           LOOP EXECUTE format('GRANT SELECT, UPDATE ON LARGE OBJECT %s TO ${owner.name}', m); END LOOP; END $$`,
      );
    await empty.run(`GRANT SET ON PARAMETER session_replication_role TO ${granted.name}`);
    await workspace.bash(`cat > both.json`, { stdin: documentText(BOTH) });
  });
  beforeEach(() => empty.clear());
  afterAll(async () => {
    await granted?.drop();
    // The owner owns things in both databases.
    await empty?.run(`REASSIGN OWNED BY ${owner.name} TO CURRENT_USER; DROP OWNED BY ${owner.name}`);
    await owner?.drop();
    await full?.drop();
    await empty?.drop();
    workspace?.[Symbol.dispose]();
  });

  let names = 0;
  const exportAs = async (role: string, ...words: string[]): Promise<[Outcome, Record<string, string[]>]> => {
    const output = workspace.path(`${++names}.json`);
    const outcome = await workspace.run([
      ...["storage", "export", "--database", urlOf(full, role), "--output", output, ...words],
    ]);
    if (outcome.status !== 0) return [outcome, {}];
    const document = readFileSync(output, "utf8");
    const tenants = PATHS.map((path) => [path, recordsOf(document, path).map((each) => each["tenant_id"] as string)]);
    return [outcome, Object.fromEntries(tenants) as Record<string, string[]>];
  };
  const importAs = (role: string, ...words: string[]): Promise<Outcome> =>
    workspace.run(["storage", "import", "--database", urlOf(empty, role), "--input", "both.json", ...words]);
  const superuser = (): string => new URL(full.store).username;

  /** What is stored of each tenant: counters as exported, content whole, the event in a partition of its month. */
  const stored = (): Promise<unknown[][]> =>
    empty.rows(
      `SELECT s.tenant_id, artifact_count, reference_count, length(lo_get(large_object_oid)), c.last_accessed_at, e.tableoid::regclass::text
       FROM llmspell.sessions s JOIN llmspell.artifacts a USING (tenant_id, session_id)
         JOIN llmspell.artifact_content c USING (tenant_id, content_hash) JOIN llmspell.event_log e USING (tenant_id)
       ORDER BY 1`,
    );
  const expected = (...tenants: string[]): unknown[][] =>
    tenants.map((tenant) => [
      ...[tenant, 5n, 7n, BigInt(records.MIB), "2026-01-01 00:00:00.000002+00", "llmspell.event_log_2001_09"],
    ]);
  const each = (...tenants: string[]) => Object.fromEntries(PATHS.map((path) => [path, tenants]));

  it("a superuser exports every tenant", async () => {
    const [outcome, tenants] = await exportAs(superuser());
    expect([outcome.status, tenants]).toEqual([0, each("t", "u")]);
  });

  it("the owner without superuser, and llmspell_app, are stopped with what to grant, or export tenants that they name whole", async () => {
    for (const role of [owner.name, "llmspell_app"]) {
      const [stopped] = await exportAs(role);
      expect(stopped.status).toBe(3);
      expect(stopped.stderr).toContain("[E_ROW_SECURITY]");
      expect(stopped.stderr).toContain(`ALTER ROLE "${role}" BYPASSRLS`);
      expect(stopped.stderr).toContain("--tenant");
      const [outcome, tenants] = await exportAs(role, "--tenant", "u");
      expect([role, outcome.status, tenants]).toEqual([role, 0, each("u")]);
      const [both, theirs] = await exportAs(role, "--tenant", "t", "--tenant", "u");
      expect([both.status, theirs]).toEqual([0, each("t", "u")]);
    }
  });

  it("a superuser imports every tenant", async () => {
    expect((await importAs(superuser())).status).toBe(0);
    expect(await stored()).toEqual(expected("t", "u"));
  });

  it("the owner without superuser imports every tenant, its triggers silent, its row-level security as it was", async () => {
    const state = `SELECT relname::text, relrowsecurity, relforcerowsecurity,
        ARRAY(SELECT tgname || tgenabled::text FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal ORDER BY 1)::text
      FROM pg_class c WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1`;
    const before = await empty.rows(state);
    for (let run = 0; run < 2; run++) {
      const { status, stderr } = await importAs(owner.name);
      expect([status, stderr.includes("Error")]).toEqual([0, false]);
      expect(await stored()).toEqual(expected("t", "u"));
      expect(await empty.rows(state)).toEqual(before);
    }
  });

  it("llmspell_app is stopped with the GRANT that it needs, and nothing is written", async () => {
    for (const words of [[], ["--tenant", "t"]]) {
      const { status, stderr } = await importAs("llmspell_app", ...words);
      expect(status).toBe(3);
      expect(stderr).toContain("GRANT SET ON PARAMETER session_replication_role TO");
      expect(await stored()).toEqual([]);
    }
  });

  it("with that GRANT llmspell_app imports one tenant, and is stopped before more", async () => {
    const stopped = await importAs(granted.name);
    expect(stopped.status).toBe(3);
    expect(stopped.stderr).toContain("[E_ROW_SECURITY]");
    expect(stopped.stderr).toContain("--tenant");
    expect(await stored()).toEqual([]);
    // A partition is its owner's to make.
    await empty.run(
      `CREATE TABLE IF NOT EXISTS llmspell.event_log_2001_09 PARTITION OF llmspell.event_log FOR VALUES FROM ('2001-09-01 00:00:00+00') TO ('2001-10-01 00:00:00+00')`,
    );
    for (let run = 0; run < 2; run++) {
      const { status, stdout } = await importAs(granted.name, "--tenant", "t");
      expect([status, stdout.includes("Imported 4 total records")]).toEqual([0, true]);
      expect(await stored()).toEqual(expected("t"));
    }
  });

  it("with that GRANT llmspell_app imports one tenant's records as another's", async () => {
    await empty.run(
      `CREATE TABLE IF NOT EXISTS llmspell.event_log_2001_09 PARTITION OF llmspell.event_log FOR VALUES FROM ('2001-09-01 00:00:00+00') TO ('2001-10-01 00:00:00+00')`,
    );
    const { status } = await importAs(granted.name, "--tenant", "t", "--map-tenant", "t=v", "--map-tenant", "v=w");
    expect([status, await stored()]).toEqual([0, expected("w")]);
  });
});
