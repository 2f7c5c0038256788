/** objects.json, with which a database's schema is compared, is what the migrations make. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPostgres, type PostgresConnection } from "../../src/backends/postgres/session/connection.js";
import { objectParts } from "../../src/llmspell/schema/comparison.js";
import { loadMigrations, migrationId } from "../../src/llmspell/schema/migration.js";
import { migratePostgres, readPostgresSchema } from "../../src/llmspell/schema/migrator.js";
import { readSchemaObjects } from "../../src/llmspell/schema/postgres/schema-objects.js";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { introspect } from "./postgres-introspection.js";

const migrations = loadMigrations("postgres");

/** The migration that makes the object: the file that names it, or its table. */
function makerOf(object: string): string {
  const { kind, table, name } = objectParts(object);
  if (/unlink_(content_)?large_object|keep_(content_)?refcount/.test(name)) return "S3";
  if (kind === "policy") return { hook_history: "V13", api_keys: "V14" }[table ?? ""] ?? "V12";
  if (/\.idx_\w+_id_lookup$|^constraint (entities|relationships)\.\w+_pkey$/.test(object)) return "V15";
  if (kind === "view" || (table ?? name).startsWith("vector_embeddings_")) return kind === "view" ? "S1" : "V3";
  const text =
    kind === "function"
      ? `FUNCTION llmspell.${name.replace(/\(.*/, "(")}`
      : `CREATE TABLE IF NOT EXISTS llmspell.${table ?? name} (`;
  return migrationId(migrations.find(({ sql }) => sql.includes(text))?.version ?? Number.NaN);
}

describePostgres("the schema's objects", () => {
  let database: TestDatabase;
  let connection: PostgresConnection;
  beforeAll(async () => {
    database = await createTestDatabase();
    connection = await connectPostgres({ url: database.url });
    await migratePostgres(connection);
  });
  afterAll(async () => {
    await connection?.close();
    await database?.drop();
  });

  it("are those of objects.json (vitest -u writes it)", async () => {
    const made: Record<string, Record<string, string>> = {};
    for (const { version } of migrations) made[migrationId(version)] = {};
    for (const { object, definition } of await readSchemaObjects(connection)) {
      const maker = makerOf(object);
      made[maker] = { ...made[maker], [object]: definition };
    }
    const text = `${JSON.stringify(made, (_, value) => (JSON.stringify(value) === "{}" ? undefined : value), 2)}\n`;
    await expect(text).toMatchFileSnapshot("../../src/llmspell/schema/postgres/objects.json");
  });

  it("are all there in a database of llmspell's own, but for what is ours", async () => {
    await using theirs = await createTestDatabase();
    await createLlmspellPostgres(theirs.url);
    const looking = await connectPostgres({ url: theirs.url });
    const { comparison } = await readPostgresSchema(looking);
    await looking.close();
    expect({
      ...comparison,
      pending: comparison.pending.filter(({ migration }) => !migration.startsWith("S")),
    }).toEqual({
      missing: [],
      pending: [],
      broken: [],
      notes: [],
    });
  });

  it("come back one by one where they can be made again, and are told apart until then", async () => {
    const before = await introspect(connection);
    const { rows } = await connection.query<{ statement: string; object: string }>(`
      SELECT 'DROP FUNCTION ' || oid::regprocedure || ' CASCADE' AS statement,
             format('function %s(%s)', proname, pg_get_function_identity_arguments(oid)) AS object
        FROM pg_proc WHERE pronamespace = 'llmspell'::regnamespace
      UNION ALL SELECT format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass), format('trigger %s.%s', relname, tgname)
        FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
        WHERE relnamespace = 'llmspell'::regnamespace AND NOT tgisinternal
      UNION ALL SELECT format('DROP POLICY %I ON %s', polname, polrelid::regclass), format('policy %s.%s', relname, polname)
        FROM pg_policy p JOIN pg_class c ON c.oid = polrelid WHERE relnamespace = 'llmspell'::regnamespace
      UNION ALL SELECT 'DROP INDEX ' || indexrelid::regclass, format('index %s.%s', t.relname, c.relname)
        FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
        WHERE t.relnamespace = 'llmspell'::regnamespace AND NOT t.relispartition
          AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid) AND t.relname NOT LIKE 'storage\\_%'
      UNION ALL SELECT 'DROP VIEW ' || oid::regclass, 'view ' || relname
        FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace AND relkind = 'v'`);
    expect(rows.length).toBeGreaterThan(150);
    for (const { statement, object } of rows) {
      await connection.query(`BEGIN; ${statement}`);
      const found = new Set((await readSchemaObjects(connection)).map((row) => row.object));
      expect([object, found.has(object)]).toEqual([object, false]);
      await connection.query("ROLLBACK");
    }
    for (const { statement } of rows.filter(({ object }) => !object.startsWith("trigger "))) {
      await connection.query(statement.replace("DROP FUNCTION", "DROP FUNCTION IF EXISTS"));
    }
    const lost = (await readPostgresSchema(connection)).comparison.pending.map(({ object }) => object);
    expect(lost.sort()).toEqual(rows.map(({ object }) => object).sort());
    await migratePostgres(connection);
    expect(await introspect(connection)).toEqual(before);
    expect(await migratePostgres(connection)).toEqual({ applied: [], warnings: [] });
  });

  it("that are gone for good are broken, with the statement that makes them anew", async () => {
    await using other = await createTestDatabase();
    const changed = await connectPostgres({ url: other.url });
    await migratePostgres(changed);
    const broken = async () =>
      (await readPostgresSchema(changed)).comparison.broken.map(({ object, migration }) => `${migration} ${object}`);
    const repairs = async () => (await readPostgresSchema(changed)).comparison.broken.map(({ repair }) => repair);
    await changed.query(`ALTER TABLE llmspell.sessions DROP COLUMN updated_at;
      ALTER TABLE llmspell.artifact_content DROP CONSTRAINT max_artifact_size;
      ALTER TABLE llmspell.artifacts DISABLE TRIGGER trigger_increment_refcount`);
    expect(await broken()).toEqual([
      "V9 column sessions.updated_at",
      "V10 constraint artifact_content.max_artifact_size",
      "V10 trigger artifacts.trigger_increment_refcount",
    ]);
    await expect(migratePostgres(changed)).rejects.toMatchObject({
      code: "E_SCHEMA",
      message: expect.stringContaining("column sessions.updated_at"),
      context: {
        hint: expect.stringContaining("ADD COLUMN updated_at timestamp with time zone NOT NULL DEFAULT now()"),
      },
    });
    const statements = await repairs();
    await changed.query(statements[0] as string);
    expect(await migratePostgres(changed)).toEqual({
      applied: [],
      warnings: [
        expect.stringContaining("constraint artifact_content.max_artifact_size"),
        expect.stringContaining("trigger artifacts.trigger_increment_refcount"),
      ],
      broken: ["constraint artifact_content.max_artifact_size", "trigger artifacts.trigger_increment_refcount"],
    });
    for (const statement of statements.slice(1)) await changed.query(statement as string);
    expect(await broken()).toEqual([]);
    await changed.query("ALTER TABLE llmspell.hook_history DROP CONSTRAINT hook_history_pkey");
    await expect(migratePostgres(changed)).rejects.toMatchObject({
      code: "E_SCHEMA",
      context: { hint: expect.stringContaining("ADD CONSTRAINT hook_history_pkey PRIMARY KEY (execution_id)") },
    });
    await changed.query((await repairs())[0] as string);
    // The same key under another name is as good.
    await changed.query("ALTER TABLE llmspell.kv_store RENAME CONSTRAINT unique_kv_key TO another_name");
    expect(await broken()).toEqual([]);
    await changed.close();
  });
});
