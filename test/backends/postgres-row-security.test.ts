import { afterAll, beforeAll, expect, it } from "vitest";
import { StorageError } from "../../src/errors.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestRole, describePostgres, type TestDatabase, type TestRole } from "../helpers/postgres-server.js";
import { fillPostgres } from "../helpers/sample-data.js";
import { type Reading, readPostgres } from "./postgres-reading.js";

async function failureOf(work: Promise<unknown>): Promise<StorageError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StorageError);
  return error as StorageError;
}

describePostgres("row-level security while reading", () => {
  let database: TestDatabase;
  let owner: TestRole;
  let plain: TestRole;
  let all: Reading;
  /** The tenant of most records. */
  let tenant: string;

  const asRole = (name: string): { url: string } => {
    const url = new URL(database.url);
    url.username = name;
    url.password = "";
    return { url: url.href };
  };

  async function run(...statements: string[]): Promise<void> {
    await withClient(database.url, async (client) => {
      for (const statement of statements) await client.query(statement);
    });
  }

  const without = (reading: Reading) => ({ records: reading.records, rejected: reading.rejected });
  const ofTenant = () => all.records.filter(({ tokens }) => tokens["tenant_id"] === JSON.stringify(tenant));

  beforeAll(async () => {
    database = await createDatabase("llmspell");
    await fillPostgres(database.url, { records: 40, contentSizes: [0, 10, 1048576 + 5] });
    owner = await createTestRole(database, { attributes: "NOSUPERUSER NOBYPASSRLS" });
    plain = await createTestRole(database, { attributes: "NOSUPERUSER BYPASSRLS" });
    await run(
      `ALTER SCHEMA llmspell OWNER TO ${owner.name}`,
      `DO $$ DECLARE name regclass; BEGIN
         FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p')
         LOOP EXECUTE format('ALTER TABLE %s OWNER TO ${owner.name}', name); END LOOP; END $$`,
      `GRANT USAGE ON SCHEMA llmspell TO ${plain.name}`,
      `GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO ${plain.name}`,
      `DO $$ DECLARE m oid; BEGIN FOR m IN SELECT oid FROM pg_largeobject_metadata
         LOOP EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO ${owner.name}, ${plain.name}, llmspell_app', m); END LOOP; END $$`,
    );
    all = await readPostgres(database);
    const counts = new Map<string, number>();
    for (const { tokens } of all.records) {
      const id = JSON.parse(tokens["tenant_id"] as string) as string;
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    tenant = [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] as string;
    expect(counts.size).toBeGreaterThan(1);
  });

  afterAll(async () => {
    await owner?.drop();
    await plain?.drop();
    await database?.drop();
  });

  it("does not hold for a superuser or a role with BYPASSRLS: every record is read", async () => {
    expect(new Set(all.records.map(({ path }) => path)).size).toBe(catalog.kinds.length);
    expect(without(await readPostgres({ url: plain.url }))).toEqual(without(all));
  });

  it.each(["the owner", "llmspell_app"])("stops %s, with what to grant, also for tables without rows", async (who) => {
    const target = who === "the owner" ? { url: owner.url } : asRole("llmspell_app");
    const role = who === "the owner" ? owner.name : "llmspell_app";
    for (const paths of [undefined, new Set(["hook_history"])]) {
      const error = await failureOf(readPostgres(target, paths === undefined ? {} : { paths }));
      expect(error.code).toBe("E_ROW_SECURITY");
      expect(error.exitStatus).toBe(3);
      expect(error.context.hint).toContain(`ALTER ROLE "${role}" BYPASSRLS`);
      expect(error.context.hint).toContain("--tenant");
    }
  });

  it.each(["the owner", "llmspell_app"])("lets %s read one tenant, all of it and nothing else", async (who) => {
    const target = who === "the owner" ? { url: owner.url } : asRole("llmspell_app");
    for (const mode of ["copy", "cursor"] as const) {
      const reading = await readPostgres(target, { mode, tenants: [tenant] });
      expect(reading.records).toEqual(ofTenant());
      expect(reading.rejected).toEqual([]);
    }
    expect((await readPostgres(target, { tenants: ["nobody"] })).records).toEqual([]);
    expect((await readPostgres(target, { tenants: ["nobody", tenant] })).records).toEqual(ofTenant());
  });

  it("does not hold for the owner where it is not forced", async () => {
    await run("ALTER TABLE llmspell.kv_store NO FORCE ROW LEVEL SECURITY");
    try {
      const paths = new Set(["kv_store"]);
      const { records } = await readPostgres({ url: owner.url }, { paths });
      expect(records).toEqual(all.records.filter(({ path }) => path === "kv_store"));
      expect((await failureOf(readPostgres(asRole("llmspell_app"), { paths }))).code).toBe("E_ROW_SECURITY");
    } finally {
      await run("ALTER TABLE llmspell.kv_store FORCE ROW LEVEL SECURITY");
    }
  });

  it("stops a tenant's export where other policies than llmspell's would hide rows", async () => {
    const paths = new Set(["kv_store"]);
    for (const policy of ["AS RESTRICTIVE FOR SELECT USING (key <> 'hidden')", "FOR ALL USING (false)"]) {
      await run(`CREATE POLICY extra ON llmspell.kv_store ${policy}`);
      try {
        const error = await failureOf(readPostgres(asRole("llmspell_app"), { paths, tenants: [tenant] }));
        expect(error).toMatchObject({ code: "E_ROW_SECURITY", context: { section: "kv_store" } });
      } finally {
        await run("DROP POLICY extra ON llmspell.kv_store");
      }
    }
    await run(`CREATE POLICY foreign_role ON llmspell.kv_store TO ${plain.name} USING (false)`);
    try {
      const { records } = await readPostgres(asRole("llmspell_app"), { paths, tenants: [tenant] });
      expect(records).toEqual(ofTenant().filter(({ path }) => path === "kv_store"));
    } finally {
      await run("DROP POLICY foreign_role ON llmspell.kv_store");
    }
  });
});
