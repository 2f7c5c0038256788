import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestRole, describePostgres, type TestDatabase, type TestRole } from "../helpers/postgres-server.js";
import { load, record, rowsOf, sql } from "./postgres-support.js";

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const MIB = 1048576;

/** A session with an artifact and its content, of a tenant. */
function family(n: number, tenant_id = "t", bytes = 3) {
  return [
    record("artifacts.artifacts", {
      tenant_id,
      artifact_id: `a${n}`,
      session_id: id(n),
      sequence: 0,
      content_hash: `h${n}`,
      metadata: {},
      name: "n",
      artifact_type: "x",
      mime_type: "y",
      size_bytes: bytes,
      created_at: 3,
      version: 1,
      stored_at: 4,
      updated_at: 5,
    }),
    record("artifacts.content", {
      tenant_id,
      content_hash: `h${n}`,
      storage_type: "bytea",
      data: Buffer.alloc(bytes, n).toString("base64"),
      size_bytes: bytes,
      is_compressed: false,
      reference_count: 7,
      created_at: 1,
      last_accessed_at: 2,
    }),
    record("sessions", {
      tenant_id,
      session_id: id(n),
      session_data: {},
      status: "active",
      created_at: 0,
      last_accessed_at: 0,
      artifact_count: 3,
      updated_at: 1,
    }),
    record("event_log", {
      tenant_id,
      event_id: id(n),
      event_type: "e",
      correlation_id: id(n),
      timestamp: 1e15 + n,
      sequence: 1,
      language: "lua",
      payload: {},
    }),
  ];
}

const PATHS = ["artifacts.artifacts", "artifacts.content", "sessions", "event_log"];

/** Triggers, constraints and row-level security of every table, as the catalogs have them. */
const STATE = `
  SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
    ARRAY(SELECT tgname || ' ' || tgenabled::text FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal ORDER BY 1) AS triggers,
    ARRAY(SELECT conname || ' ' || convalidated::text || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
      WHERE conrelid = c.oid ORDER BY 1) AS constraints
  FROM pg_class c WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  ORDER BY 1`;

describePostgres("roles of a PostgreSQL target", () => {
  let database: TestDatabase;
  let role: TestRole;
  const as = async (attributes: string): Promise<void> => {
    role = await createTestRole(database, { attributes });
  };

  beforeEach(async () => {
    database = await createDatabase("llmspell");
  });
  afterEach(async () => {
    await role.drop();
    await database.drop();
  });

  async function ownEverything(): Promise<void> {
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
  }
  const grantTables = (): Promise<unknown> =>
    sql(
      database.url,
      `GRANT USAGE ON SCHEMA llmspell TO ${role.name};
       GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA llmspell TO ${role.name}`,
    );
  const mayReplicate = (): Promise<unknown> =>
    sql(database.url, `GRANT SET ON PARAMETER session_replication_role TO ${role.name}`);
  const revokeReplicate = (): Promise<unknown> =>
    sql(database.url, `REVOKE SET ON PARAMETER session_replication_role FROM ${role.name}`);

  describe("the owner without superuser, under forced row-level security", () => {
    beforeEach(async () => {
      await as("NOSUPERUSER NOBYPASSRLS");
      await ownEverything();
    });

    it("loads every tenant, fires no trigger, and leaves the tables as they were", async () => {
      const before = await sql(database.url, STATE);
      await load(role.url, [...family(1), ...family(2, "u")]);
      expect(await sql(database.url, STATE)).toEqual(before);
      for (const path of PATHS) expect(await rowsOf(database.url, path)).toHaveLength(2);
      expect(
        await sql(
          database.url,
          "SELECT reference_count, artifact_count FROM llmspell.artifact_content, llmspell.sessions",
        ),
      ).toEqual(Array(4).fill({ reference_count: 7, artifact_count: 3 }));
      await load(role.url, [...family(1), ...family(2, "u")]);
      expect(await sql(database.url, STATE)).toEqual(before);
      expect(await sql(database.url, "SELECT reference_count FROM llmspell.artifact_content")).toEqual(
        Array(2).fill({ reference_count: 7 }),
      );
    });

    it("refuses orphans, also of a tenant that nobody is set to, and leaves the tables as they were", async () => {
      const before = await sql(database.url, STATE);
      const [artifact, content] = family(1);
      const error = await failureOf(load(role.url, [artifact, content] as ReturnType<typeof family>));
      expect([error.code, error.context.section]).toEqual(["E_ORPHAN", "artifacts.artifacts"]);
      expect(await sql(database.url, STATE)).toEqual(before);
      expect(await rowsOf(database.url, "artifacts.content")).toEqual([]);
    });

    it("keeps triggers that were disabled or always fire as they are", async () => {
      await sql(
        database.url,
        `CREATE FUNCTION llmspell.noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER always_on BEFORE INSERT ON llmspell.sessions FOR EACH ROW EXECUTE FUNCTION llmspell.noop();
         CREATE TRIGGER turned_off BEFORE INSERT ON llmspell.sessions FOR EACH ROW EXECUTE FUNCTION llmspell.noop();
         ALTER TABLE llmspell.sessions ENABLE ALWAYS TRIGGER always_on;
         ALTER TABLE llmspell.sessions DISABLE TRIGGER turned_off`,
      );
      const before = await sql(database.url, STATE);
      await load(role.url, family(1));
      expect(await sql(database.url, STATE)).toEqual(before);
    });

    it("takes the superuser's way where it was granted, without dropping foreign keys", async () => {
      await mayReplicate();
      const before = await sql(database.url, STATE);
      await load(role.url, [...family(1), ...family(2, "u")]);
      expect(await sql(database.url, STATE)).toEqual(before);
      expect(await rowsOf(database.url, "sessions")).toHaveLength(2);
      await revokeReplicate();
    });
  });

  it("a role that may neither is told what to grant, and nothing is written", async () => {
    await as("NOSUPERUSER NOBYPASSRLS");
    await grantTables();
    const error = await failureOf(load(role.url, family(1)));
    expect([error.code, error.exitStatus]).toEqual(["E_PERMISSION", 3]);
    expect(error.context.hint).toContain(`GRANT SET ON PARAMETER session_replication_role TO "${role.name}"`);
    expect(await rowsOf(database.url, "sessions")).toEqual([]);
  });

  describe("a role with the GRANT, bound by row-level security", () => {
    beforeEach(async () => {
      await as("NOSUPERUSER NOBYPASSRLS");
      await grantTables();
      await mayReplicate();
      // The partition that its events need; only the owner can make one.
      await sql(
        database.url,
        "CREATE TABLE llmspell.early PARTITION OF llmspell.event_log FOR VALUES FROM ('2000-01-01') TO ('2020-01-01')",
      );
    });
    afterEach(revokeReplicate);

    it("is stopped rather than given a part of the rows", async () => {
      const error = await failureOf(load(role.url, family(1)));
      expect([error.code, error.exitStatus]).toEqual(["E_ROW_SECURITY", 3]);
      expect(error.context.hint).toContain("BYPASSRLS");
    });

    it("loads one tenant, beside rows of others that it cannot see", async () => {
      await load(database.url, family(2, "u", MIB));
      await load(role.url, family(1, "t", MIB), { tenant: "t" });
      await load(role.url, family(1, "t", MIB), { tenant: "t" });
      for (const path of PATHS) expect(await rowsOf(database.url, path)).toHaveLength(2);
      // kv_id 1 is taken by a row of another tenant, which the role does not see.
      const kv = (tenant_id: string) =>
        record("kv_store", { kv_id: id(1), tenant_id, key: "k", value: "", created_at: 0, updated_at: 0 });
      await load(database.url, [kv("u")]);
      const error = await failureOf(load(role.url, [kv("t")], { tenant: "t" }));
      expect([error.code, error.context.key]).toEqual(["E_TENANT_CONFLICT", `kv_id=${id(1)}`]);
    });

    it("does not let another tenant's record in", async () => {
      const error = await failureOf(load(role.url, family(1, "u"), { tenant: "t" }));
      expect(error.code).toBe("E_ROW_SECURITY");
      for (const path of PATHS) expect(await rowsOf(database.url, path)).toEqual([]);
    });

    it("is told which partition it may not make", async () => {
      await sql(database.url, `ALTER ROLE ${role.name} BYPASSRLS; DROP TABLE llmspell.early`);
      const error = await failureOf(load(role.url, family(1)));
      expect([error.code, error.context.section]).toEqual(["E_PERMISSION", "event_log"]);
      expect(error.context.hint).toContain(`CREATE TABLE llmspell."event_log_2001_09" PARTITION OF`);
    });

    it("needs no tenant with BYPASSRLS", async () => {
      await sql(database.url, `ALTER ROLE ${role.name} BYPASSRLS`);
      await load(role.url, [...family(1), ...family(2, "u")]);
      for (const path of PATHS) expect(await rowsOf(database.url, path)).toHaveLength(2);
    });
  });

  it("large objects and partitions made by a superuser are usable by the owner and by who may use the table", async () => {
    await as("NOSUPERUSER");
    await ownEverything();
    const reader = await createTestRole(database);
    try {
      await sql(
        database.url,
        `GRANT USAGE ON SCHEMA llmspell TO ${reader.name}; GRANT SELECT ON llmspell.artifact_content TO ${reader.name}`,
      );
      await load(database.url, family(1, "t", MIB));
      const [row] = await sql(database.url, "SELECT large_object_oid AS oid FROM llmspell.artifact_content");
      expect(await sql(reader.url, "SELECT length(lo_get($1))", [row?.["oid"]])).toEqual([{ length: MIB }]);
      await expect(sql(reader.url, "SELECT lo_put($1, 0, 'x')", [row?.["oid"]])).rejects.toMatchObject({
        code: "42501",
      });
      expect(await sql(database.url, "SELECT pg_get_userbyid(lomowner) AS owner FROM pg_largeobject_metadata")).toEqual(
        [{ owner: "llmspell_app" }],
      );
      expect(await sql(role.url, "SELECT length(lo_get($1))", [row?.["oid"]])).toEqual([{ length: MIB }]);
      expect(
        await sql(
          database.url,
          `SELECT DISTINCT pg_get_userbyid(c.relowner) AS owner, c.relforcerowsecurity AS forced
           FROM llmspell.event_log e JOIN pg_class c ON c.oid = e.tableoid`,
        ),
      ).toEqual([{ owner: role.name, forced: true }]);
    } finally {
      await reader.drop();
    }
  });
});
