import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { connectPostgres, type PostgresConnection } from "../../src/backends/postgres/session/connection.js";
import { listPostgresMigrations, migratePostgres } from "../../src/llmspell/schema/migrator.js";
import { readPostgresVersions } from "../../src/llmspell/schema/postgres/migrations-table.js";
import { createLlmspellPostgres, llmspellPostgresSql } from "../fixtures/index.js";
import { createTestDatabase, createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { introspect } from "./postgres-introspection.js";
import { temporaryPath } from "./sqlite-content.js";

const llmspellIds = Array.from({ length: 15 }, (_, index) => `V${index + 1}`);
/** Ours, in order. */
const ownIds = ["S1", "S2", "S3", "S4", "S5", "S6", "S7"];
const ids = (states: readonly { id: string }[]): string[] => states.map(({ id }) => id);

const ENTITY = "11111111-1111-1111-1111-111111111111";

/** A row in each table of llmspell's V4 to `level`, by llmspell's own columns. */
function fill(level: number): string {
  const rows: readonly (readonly [version: number, sql: string])[] = [
    [
      3,
      `INSERT INTO llmspell.vector_embeddings_384 (tenant_id, scope, embedding) VALUES ('a', 's', array_fill(0.5, ARRAY[384])::vector)`,
    ],
    [
      4,
      `INSERT INTO llmspell.entities (entity_id, tenant_id, entity_type, name, valid_time_start)
         VALUES ('${ENTITY}', 'a', 't', 'n', '-infinity')`,
    ],
    [
      4,
      `INSERT INTO llmspell.relationships (tenant_id, from_entity, to_entity, relationship_type, valid_time_start)
         VALUES ('a', '${ENTITY}', '${ENTITY}', 'self', '0044-03-15 BC')`,
    ],
    [
      5,
      `INSERT INTO llmspell.procedural_patterns (tenant_id, scope, key, value) VALUES ('a', 's', 'k', 'v')
         ON CONFLICT (tenant_id, scope, key, value) DO UPDATE SET frequency = procedural_patterns.frequency + 1`,
    ],
    [
      6,
      `INSERT INTO llmspell.agent_states (tenant_id, agent_id, agent_type, state_data, checksum) VALUES ('a', 'x', 't', '{}', 'c')
         ON CONFLICT (tenant_id, agent_id) DO UPDATE SET state_data = '{"n": 1}'`,
    ],
    [
      7,
      `INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('a', 'k', '\\x00')
         ON CONFLICT (tenant_id, key) DO UPDATE SET value = EXCLUDED.value`,
    ],
    [
      8,
      `INSERT INTO llmspell.workflow_states (tenant_id, workflow_id, state_data) VALUES ('a', 'w', '{}')
         ON CONFLICT (tenant_id, workflow_id) DO UPDATE SET status = 'running'`,
    ],
    [
      9,
      `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data) VALUES ('a', '${ENTITY}', '{}')
         ON CONFLICT (tenant_id, session_id) DO UPDATE SET status = 'archived'`,
    ],
    [
      10,
      `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, data, size_bytes)
          VALUES ('a', 'h', 'bytea', '\\x01', 1) ON CONFLICT (tenant_id, content_hash) DO NOTHING`,
    ],
    [
      10,
      `INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name,
            artifact_type, mime_type, size_bytes) VALUES ('a', 's:0:h', '${ENTITY}', 0, 'h', '{}', 'n', 't', 'm', 1)
          ON CONFLICT (tenant_id, artifact_id) DO UPDATE SET name = 'm'`,
    ],
    [
      11,
      `INSERT INTO llmspell.event_log VALUES ('a', gen_random_uuid(), 't', gen_random_uuid(), now(), 1, 'rust', '{}')`,
    ],
    [
      13,
      `INSERT INTO llmspell.hook_history (execution_id, tenant_id, hook_id, hook_type, correlation_id, hook_context, result_data,
            timestamp, duration_ms, triggering_component, component_id, context_size)
          VALUES (gen_random_uuid(), 'a', 'h', 't', gen_random_uuid(), '\\x00', '{}', now(), 1, 'c', 'i', 1)`,
    ],
  ];
  return rows
    .filter(([version]) => version <= level)
    .map(([, sql]) => `${sql};`)
    .join("\n");
}

async function contentOf(connection: PostgresConnection): Promise<string[]> {
  const { rows } = await connection.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p')
     AND NOT relispartition AND relname NOT LIKE 'storage_%' ORDER BY 1`,
  );
  const content: string[] = [];
  for (const { name } of rows) {
    const data = await connection.query<{ row: string }>(`SELECT t::text AS row FROM llmspell.${name} t ORDER BY 1`);
    content.push(...data.rows.map(({ row }) => `${name} ${row}`));
  }
  return content;
}

describePostgres("migrating PostgreSQL", () => {
  const open: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const connection of open.splice(0)) await connection.close();
  });
  const connect = async (url: string): Promise<PostgresConnection> => {
    const connection = await connectPostgres({ url });
    open.push(connection);
    return connection;
  };
  const migrated = async (database: TestDatabase): Promise<PostgresConnection> => {
    const connection = await connect(database.url);
    await migratePostgres(connection);
    return connection;
  };

  it("makes everything, once", async () => {
    await using database = await createTestDatabase();
    const connection = await connect(database.url);
    expect(await migratePostgres(connection)).toMatchObject({ warnings: [] });
    expect(await migratePostgres(connection)).toEqual({ applied: [], warnings: [] });
    expect(await readPostgresVersions(connection)).toEqual(llmspellIds);
    expect((await listPostgresMigrations(connection)).map(({ id, recordedBy }) => `${id} ${recordedBy}`)).toEqual(
      [...llmspellIds, ...ownIds].map((id) => `${id} llmspell-storage`),
    );
  });

  it("makes the schema that llmspell makes, and llmspell's own migrations change nothing in it", async () => {
    await using database = await createTestDatabase();
    await using theirs = await createTestDatabase();
    await createLlmspellPostgres(theirs.url);
    const expected = await introspect(await connect(theirs.url));
    const connection = await migrated(database);
    expect(await introspect(connection)).toEqual(expected);
    await connection.query(`BEGIN; ${fill(15)}; COMMIT`);
    const before = await contentOf(connection);
    await connection.query(`BEGIN; ${llmspellPostgresSql()}; COMMIT`);
    expect(await introspect(connection)).toEqual(expected);
    const after = (await contentOf(connection)).filter((row) => !row.startsWith("refinery_schema_history"));
    expect(after).toEqual(before);
    expect(await migratePostgres(connection)).toEqual({ applied: [], warnings: [] });
  });

  it.each([2, 4, 8, 11, 14, 15])(
    "continues llmspell's V%i: every row stays, and llmspell's record too",
    async (level) => {
      await using database = await createTestDatabase();
      await createLlmspellPostgres(database.url, level);
      const connection = await connect(database.url);
      await connection.query(fill(level) || "SELECT");
      const before = await contentOf(connection);
      expect(ids((await migratePostgres(connection)).applied)).toEqual([...llmspellIds.slice(level), ...ownIds]);
      expect(await contentOf(connection)).toEqual(before);
      // llmspell's statements go on working, its upserts among them.
      await connection.query(fill(15).replace(/INSERT INTO llmspell.(entities|relationships)[^;]*;/g, ""));
    },
  );

  it("gives the functions that llmspell made a search path of their own, and the user's none", async () => {
    await using database = await createTestDatabase();
    await createLlmspellPostgres(database.url);
    const connection = await connect(database.url);
    await connection.query(
      "CREATE FUNCTION llmspell.own() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    );
    await migratePostgres(connection);
    const { rows } = await connection.query(
      `SELECT proname::text AS name FROM pg_proc WHERE pronamespace = 'llmspell'::regnamespace
       AND proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']`,
    );
    expect(rows).toEqual([{ name: "own" }]);
  });

  it("two at once: one does the work, both succeed", async () => {
    await using database = await createTestDatabase();
    const both = await Promise.all([connect(database.url), connect(database.url)]);
    const reports = await Promise.all(both.map((connection) => migratePostgres(connection)));
    expect(reports.map(({ applied }) => applied.length).sort((a, b) => a - b)).toEqual([
      0,
      llmspellIds.length + ownIds.length,
    ]);
  });

  it("a failure leaves nothing: E_SCHEMA names the migration", async () => {
    await using database = await createTestDatabase();
    const connection = await connect(database.url);
    await connection.query("CREATE SCHEMA llmspell; CREATE VIEW llmspell.sessions AS SELECT 1 AS one");
    await expect(migratePostgres(connection)).rejects.toMatchObject({
      message: expect.stringContaining("V9 (sessions)"),
    });
    const { rows } = await connection.query(
      "SELECT relname FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace",
    );
    expect(rows).toEqual([{ relname: "sessions" }]);
  });

  it("refuses a database of a newer release: E_SCHEMA", async () => {
    await using database = await createTestDatabase();
    const connection = await migrated(database);
    await connection.query("INSERT INTO llmspell.storage_migrations (version, name) VALUES (999, 'future')");
    await expect(migratePostgres(connection)).rejects.toMatchObject({ code: "E_SCHEMA" });
  });

  it("as the database's owner, who is no superuser: the same schema; the role's absence would be a warning", async () => {
    await using database = await createTestDatabase();
    const admin = await connect(database.url);
    await using owner = await createTestRole(database);
    await admin.query(`ALTER DATABASE ${database.name} OWNER TO ${owner.name}`);
    await admin.query(`CREATE EXTENSION vector`);
    const connection = await connect(owner.url);
    const report = await migratePostgres(connection);
    expect(report.applied).toHaveLength(llmspellIds.length + ownIds.length);
    expect(report.warnings.filter((warning) => !warning.includes("llmspell_app"))).toEqual([]);
    expect(await migratePostgres(connection)).toEqual({ applied: [], warnings: [] });
    await connection.close();
    await admin.query(`ALTER DATABASE ${database.name} OWNER TO postgres`);
  });

  it("as an administrator in a database of llmspell's role: everything belongs to that role", async () => {
    await using database = await createTestDatabase();
    const admin = await connect(database.url);
    await admin.query('CREATE EXTENSION vector; CREATE EXTENSION "uuid-ossp"');
    await using owner = await createTestRole(database);
    await admin.query(`GRANT CREATE ON DATABASE ${database.name} TO ${owner.name}`);
    await admin.query(`CREATE SCHEMA llmspell AUTHORIZATION ${owner.name}; SET ROLE ${owner.name}`);
    await admin.query(`BEGIN; ${llmspellPostgresSql(8)}; COMMIT; RESET ROLE`);
    await migratePostgres(admin);
    const { rows } = await admin.query(`
      SELECT DISTINCT owner FROM (
        SELECT relowner::regrole::text FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace
        UNION ALL SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'llmspell'::regnamespace
      ) AS objects (owner)`);
    expect(rows).toEqual([{ owner: owner.name }]);
    const connection = await connect(owner.url);
    await connection.query("SELECT llmspell.create_event_log_partition('2001-01-01 UTC', '2001-02-01 UTC')");
    await connection.close();
  });

  it("as a role without rights: E_PERMISSION with what to do, and nothing is written", async () => {
    await using database = await createTestDatabase();
    await using stranger = await createTestRole(database);
    const connection = await connect(stranger.url);
    await expect(migratePostgres(connection)).rejects.toMatchObject({
      code: "E_PERMISSION",
      context: { hint: expect.stringContaining("CREATE EXTENSION vector") },
    });
    await connection.close();
  });

  it("shows each tenant its own rows only, through the tables, the partitions and the views", async () => {
    await using database = await createTestDatabase();
    const connection = await migrated(database);
    await connection.query(fill(15));
    await connection.query(fill(15).replaceAll("'a'", "'b'").replaceAll(ENTITY, ENTITY.replaceAll("1", "2")));
    const tables = (await introspect(connection))["security"] as string[];
    for (const line of tables) expect(line).toMatch(/,t,t\)$/);
    await connection.query("SET ROLE llmspell_app");
    const count = async (relation: string): Promise<number> =>
      Number((await connection.query<{ n: bigint }>(`SELECT count(*) AS n FROM llmspell.${relation}`)).rows[0]?.n);
    const relations = [
      "entities",
      "relationships",
      "sessions",
      "artifacts",
      "artifact_content",
      "event_log",
      "hook_history",
    ];
    const views = ["graph_entities", "graph_relationships", "embeddings_384"];
    for (const relation of [...relations, ...views]) expect(await count(relation), relation).toBe(0);
    await connection.query("SET app.current_tenant_id = 'b'");
    for (const relation of [...relations, ...views]) expect(await count(relation), relation).toBe(1);
    const { rows } = await connection.query(`SELECT r.tenant_id FROM llmspell.graph_relationships r
      JOIN llmspell.graph_entities e ON r.source_entity_id = e.entity_id AND r.target_entity_id = e.entity_id`);
    expect(rows).toEqual([{ tenant_id: "b" }]);
    const partition = `event_log_${new Date().toISOString().slice(0, 7).replace("-", "_")}`;
    expect(await count(partition)).toBe(0);
    await expect(
      connection.query("INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('a', 'other', '')"),
    ).rejects.toThrow();
    await expect(connection.query("DELETE FROM llmspell.storage_migrations")).rejects.toMatchObject({
      code: "E_PERMISSION",
    });
  });

  it("makes partitions that fit together whichever time zone the functions are called in", async () => {
    await using database = await createTestDatabase();
    const admin = await connect(database.url);
    await admin.query(`ALTER DATABASE ${database.name} SET timezone = 'UTC'`);
    const connection = await migrated(database);
    await connection.query("SET DateStyle = 'ISO'");
    const ensure = async (zone: string): Promise<readonly string[]> => {
      await connection.query(`SET TimeZone = '${zone}'; SET DateStyle = 'ISO'`);
      const { rows } = await connection.query<{ results: string[] }>(
        "SELECT llmspell.ensure_future_event_log_partitions() AS results",
      );
      return rows[0]?.results ?? [];
    };
    for (const line of await ensure("UTC")) expect(line).toMatch(/^SKIPPED/);
    const bounds = await connection.query<{ bound: string }>(
      "SELECT pg_get_expr(relpartbound, oid) AS bound FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY relname",
    );
    expect(bounds.rows).toHaveLength(4);
    for (const { bound } of bounds.rows) {
      expect(bound).toMatch(/FROM \('\d{4}-\d\d-01 00:00:00\+00'\) TO \('\d{4}-\d\d-01 00:00:00\+00'\)/);
    }
    // A month that is asked for in another zone gets what the others have left of it.
    const month = (n: number): string => `date_trunc('month', now()) + interval '${n} months'`;
    for (const zone of ["Asia/Kathmandu", "America/New_York"]) {
      await ensure(zone);
      await connection.query(`SELECT llmspell.create_event_log_partition(${month(4)}, ${month(5)})`);
    }
    const { rows: gaps } = await connection.query(
      `SELECT * FROM (
         SELECT bound, split_part(bound, '''', 2)::timestamptz AS first,
           lag(split_part(bound, '''', 4)::timestamptz) OVER (ORDER BY split_part(bound, '''', 2)::timestamptz) AS before
         FROM (SELECT pg_get_expr(relpartbound, oid) AS bound FROM pg_class WHERE relispartition AND relkind = 'r') AS bounds
       ) AS parts WHERE first <> before`,
    );
    expect(gaps).toEqual([]);
    await connection.query("SET TimeZone = 'UTC'");
    const { rows: none } = await connection.query(
      "SELECT llmspell.cleanup_old_event_log_partitions('2000-01-01') AS r",
    );
    expect(none).toEqual([{ r: ["No partitions to drop"] }]);
    const { rows: dropped } = await connection.query<{ r: string[] }>(
      "SELECT llmspell.cleanup_old_event_log_partitions(date_trunc('month', now()) + interval '33 days') AS r",
    );
    expect(dropped[0]?.r).toHaveLength(1);
    expect(dropped[0]?.r[0]).toMatch(/^DROPPED: event_log_\d{4}_\d\d$/);
  });
});

describe("migrating the embedded PostgreSQL", () => {
  it("makes everything, once", async () => {
    const connection = await connectPostgres({ pglite: temporaryPath("store") }, { create: true });
    try {
      const report = await migratePostgres(connection, { appPassword: "pässword" });
      expect(ids(report.applied)).toEqual([...llmspellIds, ...ownIds]);
      expect(report.warnings).toEqual([]);
      expect(await migratePostgres(connection)).toEqual({ applied: [], warnings: [] });
      await connection.query(fill(15));
      // A role of a server of its own: here the password can be looked at.
      const { rows } = await connection.query<{ verifier: string }>(
        "SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 'llmspell_app'",
      );
      const [, iterations, salt, storedKey] =
        /^SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):/.exec(rows[0]?.verifier ?? "") ?? [];
      const salted = pbkdf2Sync("pässword", Buffer.from(salt ?? "", "base64"), Number(iterations), 32, "sha256");
      const clientKey = createHmac("sha256", salted).update("Client Key").digest();
      expect(createHash("sha256").update(clientKey).digest("base64")).toBe(storedKey);
    } finally {
      await connection.close();
    }
  });

  it("without the right to create roles: a warning; the rights follow when the role is there", async () => {
    const connection = await connectPostgres({ pglite: temporaryPath("store") }, { create: true });
    try {
      await connection.query('CREATE EXTENSION vector; CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION pgcrypto');
      await connection.query("CREATE ROLE keeper; GRANT CREATE ON DATABASE postgres TO keeper; SET ROLE keeper");
      const report = await migratePostgres(connection);
      expect(report.warnings).toEqual([expect.stringContaining("llmspell_app")]);
      expect(await migratePostgres(connection)).toEqual({ applied: [], warnings: [] });
      await connection.query("RESET ROLE; CREATE ROLE llmspell_app LOGIN; SET ROLE keeper");
      expect(ids((await migratePostgres(connection)).applied)).toEqual(["V12"]);
      const { rows } = await connection.query(`
        SELECT has_table_privilege('llmspell_app', 'llmspell.hook_history', 'INSERT') AS hooks,
               has_table_privilege('llmspell_app', 'llmspell.graph_entities', 'SELECT') AS views,
               has_table_privilege('llmspell_app', 'llmspell.storage_migrations', 'INSERT') AS ours`);
      expect(rows).toEqual([{ hooks: true, views: true, ours: false }]);
    } finally {
      await connection.close();
    }
  });
});
