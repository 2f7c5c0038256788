import type pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { StorageError } from "../../src/errors.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { RunContext } from "../../src/records/run-context.js";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { refusingCopy } from "../helpers/refusing-copy.js";
import { fillPostgres } from "../helpers/sample-data.js";
import { readPostgres, recordsAt, sourceOf } from "./postgres-reading.js";

const paths = (...names: string[]): ReadonlySet<string> => new Set(names);
const everything = { paths: new Set(catalog.kinds.map((kind) => kind.path)) };
const uuid = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;

function contextOf(signal = new AbortController().signal): RunContext {
  const reject: RunContext["reject"] = async ({ error }) => {
    throw error;
  };
  return { signal, reject, isRejected: () => false, warn: () => {}, leftOut: () => {} };
}

async function failureOf(work: Promise<unknown>): Promise<StorageError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StorageError);
  return error as StorageError;
}

/** Runs statements as the superuser, without llmspell's triggers. */
async function run(url: string, ...statements: string[]): Promise<void> {
  await withClient(url, async (client) => {
    await client.query("SET session_replication_role = replica");
    for (const statement of statements) await client.query(statement);
  });
}

const session = (n: number, tenant = "t", more = ""): string =>
  `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data, created_at, last_accessed_at, updated_at)
   VALUES ('${tenant}', '${uuid(n)}', '{"n": ${n}}', 'epoch', 'epoch', 'epoch')${more}`;

const kv = (n: number, key: string, value: string, metadata: string): string =>
  `INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value, metadata, created_at, updated_at)
   VALUES ('${uuid(n)}', 't', ${key}, ${value}, ${metadata}, 'epoch', 'epoch')`;

describePostgres("the PostgreSQL source", () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createDatabase("llmspell");
  });
  afterAll(() => database?.drop());

  async function fresh(level = 15): Promise<TestDatabase> {
    if (level === 15) return createDatabase("llmspell");
    const other = await createTestDatabase();
    await createLlmspellPostgres(other.url, level);
    return other;
  }

  it("gives the same batches by COPY and by a cursor, for every kind, in every batch size", async () => {
    await using other = await fresh();
    await fillPostgres(other.url, { records: 60, seed: "modes" });
    // Autovacuum would, in the midst of it: the estimates are compared, too.
    await withClient(other.url, (client) => client.query("ANALYZE"));
    const copy = await readPostgres(other, { mode: "copy" });
    expect(new Set(copy.records.map(({ path }) => path)).size).toBe(catalog.kinds.length);
    expect(await readPostgres(other, { mode: "cursor" })).toEqual(copy);
    expect(await readPostgres(other, { mode: "cursor", batchSize: 1 })).toEqual(copy);
    expect(await readPostgres(other, { batchBytes: 1000 })).toEqual(copy);
    expect(copy.rejected).toEqual([]);
    expect(copy.header.backend).toBe("postgresql");
    expect(copy.header.migrations.slice(0, 2)).toEqual(["V1", "V2"]);
    expect(copy.header.migrations.at(-1)).toBe("V15");
  });

  it("takes a cursor where the server refuses COPY", async () => {
    await using other = await fresh();
    await fillPostgres(other.url, { records: 5 });
    const refused = { copies: 0 };
    const proxy = await refusingCopy(other.url, refused);
    try {
      const url = new URL(other.url);
      url.host = `127.0.0.1:${(proxy.address() as { port: number }).port}`;
      const reading = await readPostgres({ url: url.href });
      expect(reading.records).toEqual((await readPostgres(other, { mode: "copy" })).records);
      expect(refused.copies).toBe(1);
      expect((await failureOf(readPostgres({ url: url.href }, { mode: "copy" }))).code).toBe("E_UNEXPECTED");
    } finally {
      proxy.close();
    }
  });

  it("does not rely on indexes of text once the server's collation has changed", async () => {
    await using other = await fresh();
    // As a new version of the C library leaves it: a look-up misses rows that are there.
    const indexes = (ready: boolean): string =>
      `UPDATE pg_index SET indisready = ${ready} WHERE indrelid = 'llmspell.sessions'::regclass`;
    await run(other.url, session(1, "a"), indexes(false));
    await run(other.url, session(2, "a"), session(3, "b"), indexes(true));
    await run(other.url, `UPDATE pg_database SET datcollversion = 'old' WHERE datname = current_database()`);
    const tenants = async (options = {}): Promise<unknown[]> =>
      (await readPostgres(other, { paths: paths("sessions"), ...options })).records.map(
        ({ tokens }) => tokens["tenant_id"],
      );
    expect(await tenants()).toEqual(['"a"', '"a"', '"b"']);
    expect(await tenants({ tenants: ["a"] })).toEqual(['"a"', '"a"']);
    expect(await tenants({ tenants: ["b", "a"] })).toEqual(['"a"', '"a"', '"b"']);
    expect((await readPostgres(other)).warnings).toEqual([expect.stringContaining("REINDEX")]);
  });

  it("keeps times exact at their edges, and integers beyond 2^53", async () => {
    await using other = await fresh();
    const times: readonly (readonly [string, string])[] = [
      ["-infinity", '"-infinity"'],
      ["4714-11-24 00:00:00+00 BC", "-210866803200000000"],
      ["0044-03-15 12:00:00.000001+00 BC", "-63517780799999999"],
      ["1999-12-31 23:59:59.999999+00", "946684799999999"],
      ["2026-11-22 10:30:00.123456+00", "1795343400123456"],
      ["10000-01-01 00:00:00.000001+00", "253402300800000001"],
      ["294276-12-31 23:59:59.999999+00", "9224318015999999999"],
      ["infinity", '"infinity"'],
    ];
    await run(
      other.url,
      "CREATE TABLE llmspell.event_log_all PARTITION OF llmspell.event_log DEFAULT",
      ...times.map(
        ([time], n) => `INSERT INTO llmspell.event_log VALUES
          ('t', '${uuid(n)}', 'e', '${uuid(n)}', '${time}', ${n % 2 === 0 ? "9223372036854775807" : "-9223372036854775808"}, 'lua', '{}')`,
      ),
    );
    for (const mode of ["copy", "cursor"] as const) {
      const events = recordsAt(await readPostgres(other, { mode, paths: paths("event_log") }), "event_log");
      expect(events.map(({ timestamp }) => timestamp)).toEqual(times.map(([, token]) => token));
      expect(events.map(({ sequence }) => sequence).slice(0, 2)).toEqual([
        "9223372036854775807",
        "-9223372036854775808",
      ]);
    }
  });

  it("keeps json, bytes, arrays, NULLs and vectors as they are", async () => {
    await using other = await fresh();
    const numbers =
      '{"a": 12345678901234567890, "b": 1.10, "c": 0.1000000000000000055, "d": 100000000000000000000000000000000}';
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString("hex");
    await run(
      other.url,
      kv(1, "'k1'", `'\\x${all}'`, `'${numbers}'`),
      kv(2, "'k2'", "'\\x'", "'null'"),
      kv(3, "E'\\u0001\"\\\\\\\\\\n\\U0001F9D1'", "'\\x00'", "NULL"),
      ...[`ARRAY['a,b', '"', E'\\\\', NULL, 'NULL', '', E'\\n']`, "'{}'", "NULL", "ARRAY['{x}', ' ']"].map(
        (tags, n) => `INSERT INTO llmspell.hook_history (execution_id, tenant_id, hook_id, hook_type, correlation_id,
          hook_context, result_data, timestamp, duration_ms, triggering_component, component_id, tags, context_size)
          VALUES ('${uuid(n)}', 't', 'h', 'y', '${uuid(n)}', '', '[]', 'epoch', -2147483648, '', '', ${tags}, 2147483647)`,
      ),
      `INSERT INTO llmspell.vector_embeddings_384 (id, tenant_id, scope, embedding)
       SELECT '${uuid(1)}', 't', 's', array_agg(CASE i % 4 WHEN 0 THEN '-0'::float4 WHEN 1 THEN 1.4e-45::float4
         WHEN 2 THEN 3.4028235e38::float4 ELSE i::float4 / 3 END ORDER BY i)::vector FROM generate_series(1, 384) i`,
    );
    const expected = Buffer.alloc(384 * 4);
    for (let i = 1; i <= 384; i++)
      expected.writeFloatLE([-0, 1.4e-45, 3.4028234663852886e38, Math.fround(i / 3)][i % 4] as number, (i - 1) * 4);
    for (const mode of ["copy", "cursor"] as const) {
      const reading = await readPostgres(other, { mode });
      const [first, second, third] = recordsAt(reading, "kv_store");
      expect(first).toMatchObject({ metadata: numbers, value: `"${Buffer.from(all, "hex").toString("base64")}"` });
      expect(second).toMatchObject({ metadata: "null", value: '""' });
      expect(third).not.toHaveProperty("metadata");
      expect(JSON.parse(third?.["key"] as string)).toBe('\u0001"\\\\\n🧑');
      expect(recordsAt(reading, "hook_history").map(({ tags }) => tags)).toEqual([
        '["a,b","\\"","\\\\",null,"NULL","","\\n"]',
        "[]",
        undefined,
        '["{x}"," "]',
      ]);
      expect(recordsAt(reading, "hook_history")[0]).toMatchObject({
        duration_ms: "-2147483648",
        context_size: "2147483647",
      });
      const [vector] = recordsAt(reading, "vector_embeddings.384");
      expect(vector).toMatchObject({ dimension: "384", embedding: `"${expected.toString("base64")}"`, metadata: "{}" });
    }
  });

  it("orders text by its UTF-8 bytes, whatever the collation", async () => {
    await using other = await fresh();
    const tenants = ["b", "B", "a", "é", "z", "Z", "😀", "\uffff", "a b", "a-b", "_", ""];
    await run(
      other.url,
      ...tenants.map((tenant, n) => session(n, tenant)),
      ...tenants.map(
        (id) => `INSERT INTO llmspell.workflow_states (tenant_id, workflow_id, state_data, last_updated, created_at)
                 VALUES ('t', '${id}', '{}', 'epoch', 'epoch')`,
      ),
    );
    const sorted = [...tenants].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const reading = await readPostgres(other);
    expect(recordsAt(reading, "sessions").map((each) => JSON.parse(each["tenant_id"] as string))).toEqual(sorted);
    expect(recordsAt(reading, "workflow_states").map((each) => JSON.parse(each["workflow_id"] as string))).toEqual(
      sorted,
    );
  });

  it("reads more tenants than it has statements for, in the same order", async () => {
    await using other = await fresh();
    await run(
      other.url,
      `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data, created_at, last_accessed_at, updated_at)
       SELECT 't' || n, ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '{}', 'epoch', 'epoch', 'epoch'
       FROM generate_series(1, 1500) n`,
    );
    const tenants = recordsAt(await readPostgres(other), "sessions").map((each) => each["tenant_id"] as string);
    expect(tenants).toHaveLength(1500);
    expect(tenants).toEqual([...tenants].sort());
  });

  it("gives the selected kinds and tenants only", async () => {
    await using other = await fresh();
    await fillPostgres(other.url, { records: 40 });
    const all = await readPostgres(other);
    const tenants = [...new Set(all.records.map(({ tokens }) => tokens["tenant_id"] as string))].sort();
    expect(tenants.length).toBeGreaterThan(1);
    const wanted = tenants.slice(1).map((token) => JSON.parse(token) as string);
    const some = await readPostgres(other, {
      tenants: [...wanted, ...wanted, "o'brien\\", "nobody\0", "\ud800"],
      paths: paths("sessions", "kv_store", "event_log", "artifacts.content"),
    });
    expect(some.records).toEqual(
      all.records.filter(
        ({ path, tokens }) =>
          ["sessions", "kv_store", "event_log", "artifacts.content"].includes(path) &&
          tenants.indexOf(tokens["tenant_id"] as string) > 0,
      ),
    );
    expect((await readPostgres(other, { tenants: ["\0"] })).records).toEqual([]);
    expect((await readPostgres(other, { tenants: [] })).records).toEqual([]);
  });

  it.each([3, 4, 8, 10, 11, 13])("reads llmspell's database at V%i: what is not there yet is empty", async (level) => {
    await using other = await fresh(level);
    await run(
      other.url,
      `INSERT INTO llmspell.vector_embeddings_384 (id, tenant_id, scope, embedding)
       VALUES ('${uuid(1)}', 't', 's', array_fill(0.5, ARRAY[384])::vector)`,
    );
    const reading = await readPostgres(other);
    expect(reading.records.map(({ path }) => path)).toEqual(["vector_embeddings.384"]);
    expect(reading.header.migrations.at(-1)).toBe(`V${level}`);
  });

  it("gives every version of an entity, those without end last", async () => {
    await using other = await fresh();
    const entity = (n: number, start: string): string =>
      `INSERT INTO llmspell.entities (entity_id, tenant_id, entity_type, name, valid_time_start, transaction_time_start)
       VALUES ('${uuid(n)}', 't', 'x', 'n', 'epoch', '${start}')`;
    await run(
      other.url,
      entity(2, "2020-01-01Z"),
      entity(1, "2021-01-01Z"),
      entity(1, "-infinity"),
      entity(1, "2020-01-01Z"),
    );
    const entities = recordsAt(await readPostgres(other), "knowledge_graph.entities");
    expect(entities.map((each) => [each["entity_id"]?.slice(-2, -1), each["transaction_time_start"]])).toEqual([
      ["1", '"-infinity"'],
      ["1", "1577836800000000"],
      ["1", "1609459200000000"],
      ["2", "1577836800000000"],
    ]);
  });

  it("stops at a table that lacks a column or has one of another type, naming it", async () => {
    await using other = await fresh();
    await run(other.url, "ALTER TABLE llmspell.sessions DROP COLUMN expires_at");
    expect(await failureOf(readPostgres(other))).toMatchObject({
      code: "E_SCHEMA",
      message: "llmspell.sessions has no column expires_at",
      context: { section: "sessions", field: "expires_at" },
    });
    expect((await readPostgres(other, { paths: paths("kv_store") })).records).toEqual([]);
    await run(
      other.url,
      `DO $$ DECLARE name regclass; BEGIN
         FOR name IN SELECT indexrelid FROM pg_index WHERE indrelid = 'llmspell.kv_store'::regclass AND NOT indisprimary AND NOT indisunique
         LOOP EXECUTE 'DROP INDEX ' || name; END LOOP; END $$`,
      "ALTER TABLE llmspell.kv_store ALTER COLUMN metadata TYPE text",
    );
    expect(await failureOf(readPostgres(other, { paths: paths("kv_store") }))).toMatchObject({
      code: "E_SCHEMA",
      message: "llmspell.kv_store.metadata is text, expected jsonb",
    });
  });

  it("says so when the database is none of llmspell's", async () => {
    await using empty = await createTestDatabase();
    expect((await failureOf(readPostgres(empty))).code).toBe("E_NOT_MIGRATED");
  });

  it("rejects what no document can hold, by section, key and field, with what can be read of it", async () => {
    await using other = await fresh();
    const artifact = (n: number, tags: string): string =>
      `INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name,
         artifact_type, mime_type, size_bytes, created_at, tags, stored_at, updated_at)
       VALUES ('t', 'a${n}', '${uuid(1)}', ${n}, 'h', '{"n": ${n}}', 'n', 'x', 'y', 1, 'epoch', ${tags}, 'epoch', 'epoch')`;
    await run(
      other.url,
      session(1),
      artifact(1, "'{a}'"),
      artifact(2, "'{{a,b},{c,d}}'"),
      artifact(3, "'[0:1]={a,b}'"),
      artifact(4, "'{}'"),
      "ALTER TABLE llmspell.sessions ALTER COLUMN session_data DROP NOT NULL",
      "UPDATE llmspell.sessions SET session_data = NULL",
    );
    for (const mode of ["copy", "cursor"] as const) {
      const reading = await readPostgres(other, { mode });
      expect(recordsAt(reading, "artifacts.artifacts").map((each) => each["artifact_id"])).toEqual(['"a1"', '"a4"']);
      const [first, second, third] = reading.rejected;
      expect(reading.rejected).toHaveLength(3);
      expect(first).toMatchObject({
        path: "sessions",
        error: {
          code: "E_MISSING_FIELD",
          context: { section: "sessions", field: "session_data", key: `tenant_id=t, session_id=${uuid(1)}` },
        },
      });
      expect(second?.error).toMatchObject({
        code: "E_FIELD_TYPE",
        context: { section: "artifacts.artifacts", key: "tenant_id=t, artifact_id=a2", field: "tags" },
      });
      expect(third?.error.context).toMatchObject({ key: "tenant_id=t, artifact_id=a3", field: "tags" });
      expect(JSON.parse(second?.record as string)).toMatchObject({ artifact_id: "a2", tags: null, metadata: { n: 2 } });
      const stopped = await failureOf(readPostgres(other, { mode, stopAtFirst: true }));
      expect(stopped.context).toMatchObject({ section: "sessions", field: "session_data" });
    }
  });

  it("warns once of rows that are never exported", async () => {
    await using other = await fresh();
    expect((await readPostgres(other)).warnings).toEqual([]);
    await run(
      other.url,
      "INSERT INTO llmspell.test_data (tenant_id, value) VALUES ('t', 'v')",
      `INSERT INTO llmspell.api_keys (key_id, tenant_id, service, encrypted_key, created_at) VALUES ('k', 't', 's', 'secret', now())`,
    );
    const { warnings } = await readPostgres(other);
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain("api_keys has rows");
    expect(warnings[1]).toContain("test_data has rows");
  });

  it("estimates from the planner's statistics, partitions included", async () => {
    await using other = await fresh();
    await fillPostgres(other.url, { records: 50 });
    expect((await readPostgres(other)).estimate?.get("sessions") ?? 0).toBe(0);
    await run(other.url, "ANALYZE");
    const { estimate } = await readPostgres(other, { paths: paths("sessions", "event_log") });
    expect(estimate).toEqual(
      new Map([
        ["sessions", 50],
        ["event_log", 50],
      ]),
    );
    expect((await readPostgres(other, { tenants: ["x"] })).estimate).toBeUndefined();
  });

  it("is one snapshot over all tables while others write", async () => {
    await using other = await fresh();
    await run(
      other.url,
      ...Array.from({ length: 20 }, (_, n) => session(n)),
      kv(1, "'k'", "''", "NULL"),
      `INSERT INTO llmspell.hook_history (execution_id, tenant_id, hook_id, hook_type, correlation_id, hook_context,
         result_data, timestamp, duration_ms, triggering_component, component_id, context_size)
       VALUES ('${uuid(1)}', 't', 'h', 'y', '${uuid(1)}', '', '[]', 'epoch', 1, '', '', 1)`,
    );
    const source = sourceOf(other, { batchSize: 1 });
    const context = contextOf();
    await source.open(context);
    const seen: string[] = [];
    // They do not keep to snapshots, and so wait until the reader is done.
    const rewrites: Promise<void>[] = [];
    for await (const batch of source.read(everything, context)) {
      if (seen.length === 0)
        await run(
          other.url,
          "DELETE FROM llmspell.sessions WHERE session_data->>'n' > '5'",
          "UPDATE llmspell.sessions SET status = 'expired'",
          session(99),
          `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, data, size_bytes, created_at, last_accessed_at)
           VALUES ('t', 'h', 'bytea', '', 0, now(), now())`,
        );
      if (seen.length === 0)
        rewrites.push(
          run(other.url, "TRUNCATE llmspell.hook_history"),
          run(other.url, "ALTER TABLE llmspell.agent_states ALTER COLUMN data_version TYPE bigint"),
          run(other.url, "CLUSTER llmspell.sessions USING sessions_pkey"),
        );
      seen.push(`${batch.kind.path}/${batch.kind.path === "sessions" ? batch.value(0, 3).toString() : ""}`);
    }
    await source.close();
    expect(seen).toEqual(["kv_store/", ...Array.from({ length: 20 }, () => "sessions/active"), "hook_history/"]);
    await Promise.all(rewrites);
    expect((await readPostgres(other, { paths: paths("hook_history") })).records).toEqual([]);
  });

  it("never writes, and closes its session when the reader leaves early", async () => {
    await using other = await fresh();
    await fillPostgres(other.url, { records: 300, contentSizes: [5 << 20] });
    for (const mode of ["copy", "cursor"] as const) {
      for (const path of ["event_log", "artifacts.content"]) {
        const source = sourceOf(other, { mode, batchSize: 1 });
        const context = contextOf();
        await source.open(context);
        for await (const batch of source.read({ paths: paths(path) }, context)) {
          if (batch.large !== undefined) for await (const _ of batch.large.chunks()) break;
          break;
        }
        await source.close();
        await source.close();
      }
    }
    await withClient(other.url, noSessionLeft);
  });

  it("ends when the run is interrupted, and leaves no session", async () => {
    await using other = await fresh();
    await fillPostgres(other.url, { records: 300 });
    for (const mode of ["copy", "cursor"] as const) {
      const abort = new AbortController();
      const source = sourceOf(other, { mode, batchSize: 1 });
      const context = contextOf(abort.signal);
      await source.open(context);
      const reading = (async () => {
        for await (const _ of source.read(everything, context)) abort.abort();
      })();
      expect((await failureOf(reading)).code).toBe("E_CONNECTION_LOST");
      await source.close();
      await expect(sourceOf(other).open(context)).rejects.toThrow();
    }
    await withClient(other.url, noSessionLeft);
  });

  it("reports a server that goes away in the middle", async () => {
    await using other = await fresh();
    await fillPostgres(other.url, { records: 300 });
    for (const mode of ["copy", "cursor"] as const) {
      const source = sourceOf(other, { mode, batchSize: 1 });
      const context = contextOf();
      await source.open(context);
      let killed = false;
      const reading = (async () => {
        for await (const _ of source.read(everything, context)) {
          if (!killed)
            await withClient(other.url, (client) =>
              client.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'llmspell-storage' AND datname = current_database()",
              ),
            );
          killed = true;
        }
      })();
      expect((await failureOf(reading)).code).toBe("E_CONNECTION_LOST");
      await source.close();
    }
  });

  it("finds bytes that are no UTF-8 where the server does not know its encoding", async () => {
    await using other = await createTestDatabase();
    const name = `${other.name}_ascii`;
    await withClient(other.url, (client) =>
      client.query(
        `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'`,
      ),
    );
    const url = new URL(other.url);
    url.pathname = `/${name}`;
    try {
      await createLlmspellPostgres(url.href);
      await run(
        url.href,
        session(1),
        session(2).replace("'t'", "E'\\xfe'"),
        kv(1, "'good \u00e9'", "''", "NULL"),
        kv(2, "E'bad \\xff'", "''", "NULL"),
      );
      const reading = await readPostgres({ url: url.href });
      expect(recordsAt(reading, "kv_store").map(({ key }) => key)).toEqual(['"good é"']);
      expect(reading.rejected.map(({ error }) => [error.code, error.context.key, error.context.field])).toEqual([
        ["E_INVALID_UTF8", `kv_id=${uuid(2)}`, "key"],
        ["E_INVALID_UTF8", `tenant_id=?, session_id=${uuid(2)}`, "tenant_id"],
      ]);
    } finally {
      await withClient(other.url, (client) => client.query(`DROP DATABASE ${name} WITH (FORCE)`));
    }
  });

  it("needs the right to read, and says which", async () => {
    const connection = await connectPostgres({ url: database.url });
    await connection.query("CREATE ROLE reader_without_rights LOGIN BYPASSRLS").catch(() => {});
    const url = new URL(database.url);
    url.username = "reader_without_rights";
    try {
      const error = await failureOf(readPostgres({ url: url.href }));
      expect(error.code).toBe("E_PERMISSION");
      expect(error.context.hint).toContain('GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO "reader_without_rights"');
      await connection.query("GRANT USAGE ON SCHEMA llmspell TO reader_without_rights");
      await connection.query("GRANT SELECT ON llmspell.kv_store TO reader_without_rights");
      expect((await readPostgres({ url: url.href }, { paths: paths("kv_store") })).records).toEqual([]);
      expect((await failureOf(readPostgres({ url: url.href }))).code).toBe("E_PERMISSION");
    } finally {
      await connection.query("DROP OWNED BY reader_without_rights; DROP ROLE reader_without_rights");
      await connection.close();
    }
  });
});

async function noSessionLeft(client: pg.Client): Promise<void> {
  const sql = `SELECT FROM pg_stat_activity WHERE application_name = 'llmspell-storage' AND datname = current_database()`;
  while ((await client.query(sql)).rowCount !== 0);
}
