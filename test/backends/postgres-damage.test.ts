/** Databases with damaged indexes and values: what is read is complete, or the reading stops. */
import { readdirSync, readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { expect, it } from "vitest";
import { exportStore, importStore } from "../../src/api/transfer.js";
import type { StorageError } from "../../src/errors.js";
import type { RecordBatch } from "../../src/records/record-batch.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { createTestRole, describePostgres, postgresAdminUrl, type TestDatabase } from "../helpers/postgres-server.js";
import { type ReadingOptions, readPostgres, recordsAt } from "./postgres-reading.js";

const uuid = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;

async function fresh(): Promise<TestDatabase> {
  const database = await createDatabase("llmspell");
  return database;
}

/** Runs statements one by one as the superuser, without llmspell's triggers. */
async function run(url: string, ...statements: string[]): Promise<void> {
  await withClient(url, async (client) => {
    await client.query("SET session_replication_role = replica; SET allow_system_table_mods = on");
    for (const statement of statements) await client.query(statement);
  });
}

const session = (n: number, tenant = "t"): string =>
  `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data, created_at, last_accessed_at, updated_at)
   VALUES ('${tenant}', '${uuid(n)}', '{"n": ${n}}', 'epoch', 'epoch', 'epoch')`;

const kv = (n: number, bytes: number, metadata = "NULL", tenant = "t"): string =>
  `INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value, metadata, created_at, updated_at)
   SELECT '${uuid(n)}', '${tenant}', 'k${n}', string_agg(sha256(i::text::bytea), ''), ${metadata}, 'epoch', 'epoch'
   FROM generate_series(1, ${bytes / 32}) i`;

/** Whether the table's indexes learn of new rows, and VACUUM goes through them. */
const indexes = (table: string, kept: boolean): string =>
  `UPDATE pg_index SET indisready = ${kept} WHERE indrelid = 'llmspell.${table}'::regclass`;

/** Rows 1 to 5; with `lacking` the indexes lack row 3, with `twice` they give row 6 twice. */
async function damageSessions(url: string, { lacking = false, twice = false, tenant = "t" }): Promise<void> {
  await run(url, ...[1, 2, 4, 5].map((n) => session(n, tenant)));
  if (twice)
    await run(
      url,
      indexes("sessions", false),
      `DELETE FROM llmspell.sessions WHERE session_id = '${uuid(5)}'`,
      "VACUUM llmspell.sessions",
      indexes("sessions", true),
      "UPDATE pg_class SET relhasindex = true WHERE oid = 'llmspell.sessions'::regclass",
      // It takes the place of row 5, to which the indexes still lead.
      session(6, tenant),
    );
  if (lacking) await run(url, indexes("sessions", false), session(3, tenant), indexes("sessions", true));
}

async function failureOf(url: string, options: ReadingOptions = {}): Promise<StorageError> {
  return readPostgres({ url }, options).then(
    (reading) => Promise.reject(new Error(`${reading.records.length} records came`)),
    (error: StorageError) => error,
  );
}

const sessions = new Set(["sessions"]);
const kvStore = new Set(["kv_store"]);
const modes = ["copy", "cursor"] as const;

/** Takes away a piece of the table's n-th value that is kept out of line; a piece has 1996 bytes. */
const cutValue = (table: string, n: number, piece = 1): readonly string[] => {
  const kind = (letter: string): string => `UPDATE pg_class SET relkind = '${letter}'
    WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'llmspell.${table}'::regclass)`;
  const cut = `DO $$ BEGIN
    EXECUTE format('DELETE FROM %1$s WHERE chunk_seq = ${piece} AND chunk_id = (
      SELECT chunk_id FROM %1$s WHERE chunk_seq = 0 ORDER BY chunk_id OFFSET ${n - 1} LIMIT 1)',
      (SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'llmspell.${table}'::regclass));
  END $$`;
  // A piece that is only deleted can still be read.
  return [kind("r"), cut, kind("t"), `VACUUM llmspell.${table}`];
};

/** Gives a role the schema and its tables. */
const owning = (role: string): string => `DO $$ DECLARE name regclass; BEGIN
  ALTER SCHEMA llmspell OWNER TO ${role};
  FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p')
  LOOP EXECUTE format('ALTER TABLE %s OWNER TO ${role}', name); END LOOP; END $$`;

describePostgres("a damaged PostgreSQL database", () => {
  it.each([
    ["lacks a row", { lacking: true }, "the table has 5 rows, and along its index came 4"],
    ["gives a row twice", { twice: true }, "the table has 4 rows, and along its index came 5"],
    ["lacks one row and gives another twice", { lacking: true, twice: true }, "of the table's 5 rows some came twice"],
  ])("whose index %s is not read as if it were whole", async (_, damage, detail) => {
    await using other = await fresh();
    await damageSessions(other.url, damage);
    for (const mode of modes)
      expect(await failureOf(other.url, { mode })).toMatchObject({
        code: "E_SOURCE_DAMAGED",
        context: {
          section: "sessions",
          detail: expect.stringContaining(detail),
          hint: expect.stringContaining("REINDEX TABLE llmspell.sessions"),
        },
      });
    expect((await failureOf(other.url, { tenants: ["t"] })).code).toBe("E_SOURCE_DAMAGED");
    expect((await failureOf(other.url, { tenants: ["a", "t"], paths: sessions })).code).toBe("E_SOURCE_DAMAGED");
    expect((await readPostgres(other, { tenants: ["a"] })).records).toEqual([]);
    expect((await readPostgres(other, { paths: new Set(["kv_store"]) })).records).toEqual([]);
    await run(other.url, "REINDEX TABLE llmspell.sessions");
    expect((await readPostgres(other)).records).toHaveLength("lacking" in damage ? 5 : 4);
  });

  it("whose index lacks all rows of a tenant, or rows of a partition, is not read as if it were whole", async () => {
    await using other = await fresh();
    await run(other.url, session(1, "a"), indexes("sessions", false), session(2, "b"), indexes("sessions", true));
    expect((await failureOf(other.url)).code).toBe("E_SOURCE_DAMAGED");
    await using parted = await fresh();
    const event = (n: number, month: number): string =>
      `INSERT INTO llmspell.event_log VALUES ('t', '${uuid(n)}', 'e', '${uuid(n)}', '2025-0${month}-05Z', 1, 'lua', '{}')`;
    await run(
      parted.url,
      "CREATE TABLE llmspell.event_log_x PARTITION OF llmspell.event_log FOR VALUES FROM ('2025-01-01Z') TO ('2025-02-01Z')",
      "CREATE TABLE llmspell.event_log_y PARTITION OF llmspell.event_log FOR VALUES FROM ('2025-02-01Z') TO ('2025-03-01Z')",
      event(1, 1),
      event(2, 2),
    );
    expect((await readPostgres(parted)).records).toHaveLength(2);
    await run(parted.url, indexes("event_log_y", false), event(3, 2), indexes("event_log_y", true));
    expect((await failureOf(parted.url)).context).toMatchObject({ section: "event_log" });
  });

  it("gives so many records as a limit asks for, also where its index lacks some", async () => {
    await using other = await fresh();
    await damageSessions(other.url, { lacking: true });
    await run(
      other.url,
      `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, data, size_bytes) VALUES ('t', repeat('0', 64), 'bytea', '\\x00', 1)`,
      `INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type, mime_type, size_bytes)
       VALUES ('t', 'a', '${uuid(3)}', 1, repeat('0', 64), '{}', 'n', 'file', 'text/plain', 1)`,
    );
    const limited = async (limit: number): Promise<unknown> => {
      const keys: string[] = [];
      await exportStore({
        from: other.url,
        to: {
          name: "keys",
          async open() {},
          async write(batch: RecordBatch) {
            if (batch.kind.path === "sessions")
              for (let row = 0; row < batch.rows; row++) keys.push(batch.value(row, 1).toString("hex").slice(-1));
          },
          async finish() {
            return { counts: new Map(), notes: [] };
          },
          async abort() {},
        },
        limit,
      });
      return keys;
    };
    // The artifact's session is the one that the index lacks.
    expect(await limited(1)).toEqual(["3"]);
    expect(await limited(3)).toEqual(["1", "2", "3"]);
    expect(await limited(9)).toEqual(["1", "2", "3", "4", "5"]);
  });

  it("says so in `storage info`, and leaves no document", async () => {
    await using other = await fresh();
    await damageSessions(other.url, { lacking: true });
    using workspace = createWorkspace();
    const exported = await workspace.run(["storage", "export", "--database", other.url, "--output", "a.json"]);
    expect(exported).toMatchObject({ status: 4, stderr: expect.stringContaining("[E_SOURCE_DAMAGED]") });
    expect(readdirSync(workspace.folder).filter((name) => name.includes("a.json"))).toEqual([]);
    const info = await workspace.run(["storage", "info", other.url]);
    expect(info).toMatchObject({ status: 4, stderr: expect.stringContaining("REINDEX TABLE llmspell.sessions") });
    // Who trusts the index has what it gives.
    const trusting = ["--source-check", "none", "--output", "a.json"];
    await workspace.must(["storage", "export", "--database", other.url, ...trusting]);
    expect(JSON.parse(readFileSync(workspace.path("a.json"), "utf8")).data.sessions).toHaveLength(4);
  });

  it("is found for a role that row-level security binds to one tenant", async () => {
    await using other = await fresh();
    await run(other.url, session(9, "a"));
    await damageSessions(other.url, { lacking: true });
    await using role = await createTestRole(other);
    await run(
      other.url,
      `GRANT USAGE ON SCHEMA llmspell TO ${role.name}`,
      `GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO ${role.name}`,
    );
    expect((await readPostgres({ url: role.url }, { tenants: ["a"] })).records).toHaveLength(1);
    expect((await failureOf(role.url, { tenants: ["t"] })).code).toBe("E_SOURCE_DAMAGED");
  });

  it("gets no record twice by an import that finds it in no index", async () => {
    await using other = await fresh();
    await run(
      other.url,
      `INSERT INTO llmspell.kv_store (tenant_id, key, value) SELECT 't', 'o' || i, '' FROM generate_series(1, 20000) i`,
      "ANALYZE llmspell.kv_store",
      indexes("kv_store", false),
      kv(1, 32),
      indexes("kv_store", true),
    );
    const entry = `{"kv_id":"${uuid(1)}","tenant_id":"t","key":"k1","value":"AAAA","created_at":1,"updated_at":1}`;
    const document = `{"version":"1.0","source_backend":"sqlite","migrations":["V1"],"data":{"kv_store":[${entry}]}}`;
    const { totals } = await importStore({ from: Readable.from([document]), to: other.url });
    expect(totals).toMatchObject({ inserted: 0, updated: 1 });
    const { rows } = await withClient(other.url, (client) =>
      client.query("SELECT value FROM llmspell.kv_store WHERE key || '' = 'k1'"),
    );
    expect(rows).toEqual([{ value: Buffer.alloc(3) }]);
  });

  it("rejects content that cannot be read from its beginning, and ends at content that breaks off", async () => {
    await using other = await fresh();
    const content = (n: number): string => `INSERT INTO llmspell.artifact_content
      (tenant_id, content_hash, storage_type, data, size_bytes) SELECT 't', 'h${n}', 'bytea', string_agg(sha256((i + ${n})::text::bytea), ''), 3200000
      FROM generate_series(1, 100000) i`;
    await run(other.url, content(1), content(2), content(3), ...cutValue("artifact_content", 2));
    for (const mode of modes) {
      const reading = await readPostgres(other, { mode });
      expect(recordsAt(reading, "artifacts.content").map(({ content_hash }) => content_hash)).toEqual(['"h1"', '"h3"']);
      expect(reading.rejected.map(({ error: { code, context } }) => [code, context.key, context.field])).toEqual([
        ["E_SOURCE_DAMAGED", "tenant_id=t, content_hash=h2", "data"],
      ]);
      expect(JSON.parse(reading.rejected[0]?.record as string)).toMatchObject({ data: null });
    }
    await run(other.url, ...cutValue("artifact_content", 3, 1400));
    // A cursor had not given its beginning yet.
    expect((await readPostgres(other, { mode: "cursor" })).rejected).toHaveLength(2);
    expect(await failureOf(other.url, { mode: "copy" })).toMatchObject({
      code: "E_SOURCE_DAMAGED",
      context: { section: "artifacts.content", key: "tenant_id=t, content_hash=h3", field: "data" },
    });
  });

  it("names a page that cannot be read, and goes on with the others", async () => {
    await using other = await fresh();
    const file = await withClient(other.url, async (client) => {
      await client.query(`INSERT INTO llmspell.kv_store (tenant_id, key, value)
        SELECT 't' || i % 3, 'k' || i, sha256(i::text::bytea) FROM generate_series(1, 400) i`);
      const { rows } = await client.query(`SELECT pg_relation_filepath('llmspell.kv_store') AS path,
        (SELECT count(*)::int4 FROM llmspell.kv_store WHERE ctid >= '(2,0)' AND ctid < '(3,0)') AS lost`);
      // Whoever reads rows for the first time, or vacuums them, writes to their pages.
      await client.query("ALTER TABLE llmspell.kv_store SET (autovacuum_enabled = off)");
      await client.query("CHECKPOINT");
      const spoil = `cat >/dev/null; dd if=/dev/urandom of=${rows[0].path} bs=8192 seek=2 count=1 conv=notrunc 2>/dev/null`;
      await client.query(`COPY (SELECT) TO PROGRAM '${spoil}'`);
      return rows[0] as { lost: number };
    });
    // The server still has the page in memory: a copy of the files has not.
    const name = `${other.name}_copy`;
    const url = other.url.replace(other.name, name);
    await withClient(postgresAdminUrl(), async (admin) => {
      await admin.query(`CREATE DATABASE ${name} TEMPLATE ${other.name} STRATEGY file_copy`);
      try {
        for (const options of [{ mode: "copy" }, { mode: "cursor" }, { tenants: ["t0", "t1", "t2"] }] as const) {
          const reading = await readPostgres({ url }, options);
          const keys = recordsAt(reading, "kv_store").map(({ kv_id }) => kv_id);
          expect(keys).toHaveLength(400 - file.lost);
          expect(new Set(keys).size).toBe(keys.length);
          expect(reading.rejected.map(({ error: { code, context } }) => [code, context.section, context.key])).toEqual([
            ["E_SOURCE_DAMAGED", "kv_store", "page 2 of llmspell.kv_store"],
          ]);
          expect((await failureOf(url, { ...options, stopAtFirst: true })).code).toBe("E_SOURCE_DAMAGED");
        }
        // Whoever plans parts looks at rows all over the table.
        const reading = await readPostgres({ url }, { paths: kvStore, partBytes: 1000 });
        expect(reading.parts).toEqual([{ path: "kv_store" }]);
        expect(reading.records).toHaveLength(400 - file.lost);
        expect(reading.rejected.map(({ error }) => error.context.key)).toEqual(["page 2 of llmspell.kv_store"]);
        await using owner = await createTestRole(other);
        await run(url, owning(owner.name));
        const asOwner = { asOwner: true, paths: new Set(["kv_store"]) };
        const error = await failureOf(owner.url.replace(other.name, name), asOwner);
        expect(error).toMatchObject({ code: "E_SOURCE_DAMAGED", context: { section: "kv_store" } });
        await run(url, `DROP OWNED BY ${owner.name} CASCADE`);
      } finally {
        await admin.query(`DROP DATABASE ${name} WITH (FORCE)`);
      }
    });
  });

  it("names the record and the field of a value that cannot be read, and goes on with the others", async () => {
    await using other = await fresh();
    await run(other.url, ...[1, 2, 3, 4, 5, 6].map((n) => kv(n, n % 2 === 0 ? 8000 : 32)), ...cutValue("kv_store", 2));
    for (const mode of modes) {
      const reading = await readPostgres(other, { mode });
      expect(recordsAt(reading, "kv_store").map(({ key }) => key)).toEqual(
        ["1", "2", "3", "5", "6"].map((n) => `"k${n}"`),
      );
      expect(reading.rejected).toMatchObject([
        {
          path: "kv_store",
          error: {
            code: "E_SOURCE_DAMAGED",
            context: {
              section: "kv_store",
              key: expect.stringContaining(uuid(4)),
              field: "value",
              detail: expect.stringContaining("XX001"),
            },
          },
        },
      ]);
      expect(JSON.parse(reading.rejected[0]?.record as string)).toMatchObject({ key: "k4", tenant_id: "t" });
      expect((await failureOf(other.url, { mode, stopAtFirst: true })).context).toMatchObject({
        key: expect.stringContaining(uuid(4)),
        field: "value",
      });
    }
  });

  it("names it also where the owner reads tenant by tenant, along the key's index or in one order", async () => {
    await using other = await fresh();
    const workflow = (n: number, bytes: number, tenant: string): string =>
      `INSERT INTO llmspell.workflow_states (tenant_id, workflow_id, state_data, current_step, status)
       SELECT '${tenant}', 'w${n}', jsonb_build_object('x', string_agg(md5(i::text), '')), 0, 'pending'
       FROM generate_series(1, ${bytes / 32}) i`;
    const numbers = [1, 2, 3, 4, 5, 6, 7, 8];
    const of = (n: number): [number, string] => [n % 2 === 0 ? 8000 : 32, n % 3 === 0 ? "t" : "u"];
    await using owner = await createTestRole(other, { attributes: "NOSUPERUSER NOBYPASSRLS" });
    await run(
      other.url,
      ...numbers.map((n) => kv(n, of(n)[0], "NULL", of(n)[1])),
      ...numbers.map((n) => workflow(n, ...of(n))),
      ...cutValue("kv_store", 2),
      ...cutValue("workflow_states", 1),
      owning(owner.name),
    );
    const paths = new Set(["kv_store", "workflow_states"]);
    for (const mode of modes) {
      const whole = await readPostgres(other, { mode, paths });
      expect(whole.records).toHaveLength(2 * numbers.length - 2);
      const own = await readPostgres({ url: owner.url }, { mode, paths, asOwner: true });
      expect(own.records).toEqual(whole.records);
      expect(own.rejected).toEqual(whole.rejected);
      const named = await readPostgres({ url: owner.url }, { mode, paths, tenants: ["t", "u"] });
      expect(named.records).toEqual(whole.records);
      expect(named.rejected).toEqual(whole.rejected);
    }
  });
});
