/** What llmspell's own tables may hold, row by row: read exactly, or rejected with a code, section, key and field. */
import Database from "better-sqlite3";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { fieldIndex } from "../../src/catalog/index.js";
import { deriveUuid, uuidDigits } from "../../src/codecs/uuid.js";
import { createSqliteSource } from "../../src/index.js";
import { everything, type MemoryRecord, tokensOf } from "../conformance/memory-store.js";
import { createLlmspellSqlite, llmspellSqliteSql } from "../fixtures/index.js";
import { collectingContext } from "../helpers/documents.js";
import { createFolder, createMigrated, execute, kindOf, type ReadResult, readAll } from "../sinks/sqlite-support.js";

const folder = createFolder();
const path = folder.path("values.db");
afterAll(() => folder.remove());

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
/** Microseconds from 1970 to 2000. */
const EPOCH = 946684800000000n;

function tokens(result: ReadResult, name: string): (string | undefined)[] {
  return result.records.map((record) => tokensOf(record)[name]);
}

function value(record: MemoryRecord | undefined, name: string): Buffer | null | undefined {
  return record?.values[fieldIndex(record.kind, name)];
}

function refusals(result: ReadResult): unknown[][] {
  return result.rejections.map(({ error }) => [
    error.code,
    error.context.section,
    error.context.key,
    error.context.field,
  ]);
}

function insert(table: string, row: Readonly<Record<string, unknown>>): void {
  const names = Object.keys(row);
  execute(
    path,
    `INSERT INTO ${table} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`,
    ...Object.values(row),
  );
}

const kv = (n: number, more: Readonly<Record<string, unknown>> = {}): void =>
  insert("kv_store", {
    kv_id: id(n),
    tenant_id: "t",
    key: `k${n}`,
    value: Buffer.alloc(0),
    created_at: 5n,
    updated_at: 6n,
    ...more,
  });

describe("times in SQLite", () => {
  beforeEach(() => createMigrated(path));

  it("are their seconds where there is no companion, and their companion where it agrees", async () => {
    kv(1);
    kv(2, { created_at: 5n, created_at_us: 5123456n - EPOCH });
    kv(3, { created_at: -1n, created_at_us: -1n - EPOCH });
    kv(4, { created_at: 6n, created_at_us: 5123456n - EPOCH });
    kv(5, { created_at: 9999999999n, created_at_us: 2n ** 63n - 1n });
    kv(6, { created_at: 9999999999n, created_at_us: 9999999999999999n - EPOCH });
    kv(7, { created_at: 9999999999n });
    kv(8, { created_at: -9999999999n, created_at_us: -(2n ** 63n) });
    kv(9, { created_at: -9999999999n, created_at_us: -9999999999000000n - EPOCH });
    kv(10, { created_at: 9224318015999n, created_at_us: 9223371331199999999n });
    expect(tokens(await readAll(path), "created_at")).toEqual([
      "5000000",
      "5123456",
      "-1",
      "6000000",
      '"infinity"',
      "9999999999999999",
      '"infinity"',
      '"-infinity"',
      "-9999999999000000",
      "9224318015999999999",
    ]);
  });

  it("sort by their exact value, whatever mixture of seconds and companions holds it", async () => {
    const times: readonly (readonly [bigint, bigint | null])[] = [
      [-9999999999n, null],
      [-62135596801n, -62135596800000001n - EPOCH],
      [4n, 4999999n - EPOCH],
      [5n, null],
      [5n, 5000001n - EPOCH],
      [6n, 5000000n - EPOCH],
      [9999999999n, 9999999999000000n - EPOCH],
      [32503680000n, null],
      [9999999999n, null],
    ];
    const order = [3, 8, 0, 5, 7, 2, 6, 4, 1];
    for (const at of order) {
      const [seconds, exact] = times[at] as readonly [bigint, bigint | null];
      insert("event_log", {
        tenant_id: "t",
        event_id: id(at),
        event_type: "e",
        correlation_id: id(0),
        timestamp: seconds,
        timestamp_us: exact,
        sequence: 1n,
        language: "lua",
        payload: "null",
      });
    }
    // Before the -62135596801 of year 0 comes -infinity; the rest is in order already.
    expect(tokens(await readAll(path), "event_id")).toEqual(times.map((_, at) => JSON.stringify(id(at))));
  });
});

describe("INTEGERs in SQLite", () => {
  beforeEach(() => createMigrated(path));

  const event = (n: number, more: Readonly<Record<string, unknown>>): void =>
    insert("event_log", {
      tenant_id: "t",
      event_id: id(n),
      event_type: "e",
      correlation_id: id(0),
      timestamp: BigInt(n),
      sequence: 1n,
      language: "lua",
      payload: "null",
      ...more,
    });
  /** Neighbours of them are the same Number. */
  const EXACT = [2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 53n, 2n ** 53n - 1n, 2n ** 63n - 1n, -(2n ** 63n), 0n];

  it("come exactly, however large", async () => {
    for (const [n, sequence] of EXACT.entries()) event(n, { sequence });
    expect(tokens(await readAll(path), "sequence")).toEqual(EXACT.map(String));
  });

  it("come exactly where rowids are larger than a Number can tell apart", async () => {
    for (const [n, sequence] of EXACT.entries()) event(n, { sequence, rowid: 2n ** 60n + BigInt(n) });
    expect(tokens(await readAll(path), "sequence")).toEqual(EXACT.map(String));
  });

  it("are told from REALs: those that a column of theirs keeps, and whole ones where it has no type, or any", async () => {
    event(1, { sequence: 1.5 });
    event(2, { sequence: 1e300 });
    event(3, { sequence: 4.0 });
    const [result, wrong] = [await readAll(path), ["E_FIELD_TYPE", "event_log"]];
    expect(refusals(result).map((refusal) => [refusal[0], refusal[1], refusal[3]])).toEqual([
      [...wrong, "sequence"],
      [...wrong, "sequence"],
    ]);
    expect(tokens(result, "sequence")).toEqual(["4"]);
    execute(path, "CREATE TABLE kept AS SELECT * FROM event_log WHERE sequence = 4");
    for (const [type, strict] of [["", ""] as const, ["ANY", "STRICT"] as const]) {
      execute(
        path,
        `DROP TABLE event_log;
         CREATE TABLE event_log (tenant_id TEXT, event_id TEXT, event_type TEXT, correlation_id TEXT, timestamp ${type}, timestamp_us ${type},
           sequence ${type}, language TEXT, payload TEXT, created_at ${type}, created_at_us ${type}) ${strict};
         INSERT INTO event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload, created_at)
           SELECT tenant_id, event_id, event_type, correlation_id, timestamp, 4.0, language, payload, 1 FROM kept`,
      );
      expect(refusals(await readAll(path)).map((refusal) => [refusal[0], refusal[1], refusal[3]])).toEqual([
        [...wrong, "sequence"],
      ]);
    }
  });
});

describe("ids in SQLite", () => {
  beforeEach(() => createMigrated(path));

  const entity = (entity_id: string): void =>
    insert("entities", { entity_id, tenant_id: "t", entity_type: "p", name: "n", valid_time_start: 1n });
  const BARE = "a0000000000040008000000000000000";
  const CAPITALS = "B0000000-0000-4000-8000-00000000000A";

  it("that llmspell generates are canonical in every spelling, and sort as such, free text among them", async () => {
    const texts = [CAPITALS, BARE, id(3), "C".repeat(32), "b", "a0000000-", "a0000000-z", "{}", ""];
    for (const [n, kv_id] of texts.entries()) kv(n, { kv_id });
    const found = tokens(await readAll(path), "kv_id").map((token) => JSON.parse(token as string) as string);
    expect(found).toEqual([
      "",
      id(3),
      "a0000000-",
      "a0000000-0000-4000-8000-000000000000",
      "a0000000-z",
      "b",
      "b0000000-0000-4000-8000-00000000000a",
      "cccccccc-cccc-cccc-cccc-cccccccccccc",
      "{}",
    ]);
  });

  it("that applications choose keep their text, and sort as such", async () => {
    const texts = [
      "",
      CAPITALS,
      CAPITALS.toLowerCase(),
      "a",
      BARE,
      BARE.toUpperCase(),
      "doc1",
      id(1),
      "é",
      "\ud834\udd1e",
      "\uffff",
    ];
    for (const text of texts) entity(text);
    const found = tokens(await readAll(path), "entity_id").map((token) => JSON.parse(token as string) as string);
    expect(found).toEqual([...texts].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
  });

  it("sort as the UUIDs that a later stage makes of them, where one does", async () => {
    const texts = ["doc1", CAPITALS, BARE, id(1), "ünï"];
    for (const text of texts) entity(text);
    const digits = (text: string): string => uuidDigits(text)?.toLowerCase() ?? deriveUuid(text).toString("hex");
    const found = tokens(await readAll(path, { idOrder: "derived" }), "entity_id");
    expect(found.map((token) => JSON.parse(token as string))).toEqual(
      [...texts].sort((a, b) => (digits(a) < digits(b) ? -1 : 1)),
    );
  });

  it("that are no UUIDs are counted before anything is read, by section and tenant", async () => {
    const looksLike = [
      "0123456-789ab-cdef-0123-456789abcdef",
      "-".repeat(36),
      "0".repeat(31),
      `${id(1)}\0`,
      "g".repeat(32),
    ];
    for (const text of [...looksLike, id(1), BARE, CAPITALS, "A".repeat(32)]) entity(text);
    kv(1, { kv_id: "doc1", tenant_id: "other" });
    const source = createSqliteSource({ path });
    await source.open(collectingContext(false));
    const count = (tenants?: string[]) =>
      source.countInvalidUuids?.({
        paths: new Set(["kv_store", "knowledge_graph.entities"]),
        ...(tenants && { tenants }),
      });
    try {
      expect([...((await count()) ?? [])]).toEqual([
        ["knowledge_graph.entities", looksLike.length],
        ["kv_store", 1],
      ]);
      expect([...((await count(["other"])) ?? [])]).toEqual([["kv_store", 1]]);
    } finally {
      await source.close();
    }
  });
});

describe("SQLite's dynamic typing", () => {
  beforeEach(() => createMigrated(path));

  it.each([
    ["text in a time", { created_at: "yesterday" }, "E_FIELD_TYPE", "created_at"],
    ["a real in a time", { created_at: 1.5 }, "E_FIELD_TYPE", "created_at"],
    ["a time that no PostgreSQL holds", { created_at: 2n ** 62n }, "E_OUT_OF_RANGE", "created_at"],
    ["a blob where text belongs", { key: Buffer.from("k") }, "E_FIELD_TYPE", "key"],
    ["text where a blob belongs", { value: "text" }, "E_FIELD_TYPE", "value"],
    ["an integer where a blob belongs", { value: 5n }, "E_FIELD_TYPE", "value"],
    ["text that is no JSON", { metadata: "{'a':1}" }, "E_INVALID_JSON", "metadata"],
    ["JSON5, which SQLite's functions take", { metadata: "{a:1}" }, "E_INVALID_JSON", "metadata"],
    ["a blob as JSON", { metadata: Buffer.from("{}") }, "E_FIELD_TYPE", "metadata"],
  ])("%s is refused", async (_name, more, code, field) => {
    kv(1);
    kv(2, more);
    const result = await readAll(path);
    expect(result.records).toHaveLength(1);
    expect(refusals(result)).toEqual([[code, "kv_store", `kv_id=${id(2)}`, field]]);
    expect(JSON.parse(result.rejected[0] as string)).toMatchObject({ kv_id: id(2), tenant_id: "t" });
  });

  it("a key that is NULL is refused", async () => {
    kv(1, { kv_id: null });
    expect(refusals(await readAll(path))).toEqual([["E_MISSING_FIELD", "kv_store", "kv_id=?", "kv_id"]]);
  });

  it.each([
    ["a boolean of 2", { modified_operation: 2n }, "E_OUT_OF_RANGE", "modified_operation"],
    ["a boolean that is text", { modified_operation: "true" }, "E_FIELD_TYPE", "modified_operation"],
    ["an int4 of 2^31", { duration_ms: 2n ** 31n }, "E_OUT_OF_RANGE", "duration_ms"],
    ["tags that are no list", { tags: '{"a":1}' }, "E_FIELD_TYPE", "tags"],
    ["tags with a number", { tags: '["a",1]' }, "E_FIELD_TYPE", "tags"],
    ["tags within tags", { tags: '[["a"]]' }, "E_FIELD_TYPE", "tags"],
  ])("%s is refused", async (_name, more, code, field) => {
    insert("hook_history", {
      execution_id: id(1),
      tenant_id: "t",
      hook_id: "h",
      hook_type: "x",
      correlation_id: id(2),
      hook_context: Buffer.alloc(0),
      result_data: "null",
      timestamp: 1n,
      duration_ms: 1n,
      triggering_component: "",
      component_id: "",
      context_size: 0n,
      ...more,
    });
    expect(refusals(await readAll(path))).toEqual([[code, "hook_history", `execution_id=${id(1)}`, field]]);
  });

  it("invalid UTF-8 is refused, in text and in json, and a genuine U+FFFD is none", async () => {
    kv(1, { key: "\uFFFD" });
    kv(2);
    execute(path, `UPDATE kv_store SET key = CAST(x'61ff62' AS TEXT) WHERE kv_id = '${id(2)}'`);
    kv(3);
    execute(path, `UPDATE kv_store SET metadata = CAST(x'22eda08022' AS TEXT) WHERE kv_id = '${id(3)}'`);
    const result = await readAll(path);
    expect(tokens(result, "key")).toEqual(['"\uFFFD"']);
    expect(refusals(result)).toEqual([
      ["E_INVALID_UTF8", "kv_store", `kv_id=${id(2)}`, "key"],
      ["E_INVALID_UTF8", "kv_store", `kv_id=${id(3)}`, "metadata"],
    ]);
  });

  it("U+0000, empty text, SQL NULL and JSON null are told apart", async () => {
    kv(1, { key: "a\0b", metadata: "null" });
    kv(2, { key: "" });
    kv(3, { metadata: '"\\u0000"' });
    const result = await readAll(path);
    expect(tokens(result, "key")).toEqual(['"a\\u0000b"', '""', '"k3"']);
    expect(tokens(result, "metadata")).toEqual(["null", undefined, '"\\u0000"']);
  });

  it("json is the text that is stored, without its line breaks", async () => {
    const json = '{"b":1.10,"a":[1e400,-0,\n\t12345678901234567890],\r\n"b":2}';
    kv(1, { metadata: json });
    expect(tokens(await readAll(path), "metadata")).toEqual([json.replace(/[\r\n]/g, "")]);
  });
});

describe("embeddings in SQLite", () => {
  const vector = Float32Array.from({ length: 384 }, (_, i) => (i === 0 ? -0 : i / 7));
  const raw = Buffer.from(vector.buffer);
  const text = Buffer.from(`[${Array.from(vector, (each) => (Object.is(each, -0) ? "-0.0" : String(each))).join()}]`);

  beforeEach(() => createMigrated(path));

  function metadata(rowid: number, dimension = 384): void {
    insert("vector_metadata", {
      rowid: BigInt(rowid),
      id: id(100 - rowid),
      tenant_id: "t",
      scope: "s",
      dimension: BigInt(dimension),
      created_at: 1n,
      updated_at: 1n,
    });
  }

  it("are the same from raw float32, from JSON text, and from vec0", async () => {
    for (const n of [1, 2, 3]) metadata(n);
    execute(path, "CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB)");
    insert("vec_embeddings_384", { rowid: 1n, embedding: raw });
    insert("vec_embeddings_384", { rowid: 2n, embedding: text });
    insert("vec_embeddings_384", { rowid: 3n, embedding: text.toString() });
    const ordinary = await readAll(path);
    expect(ordinary.records.map((each) => value(each, "embedding"))).toEqual([raw, raw, raw]);
    execute(
      path,
      "DROP TABLE vec_embeddings_384; CREATE VIRTUAL TABLE vec_embeddings_384 USING vec0(embedding float[384])",
    );
    for (const n of [3n, 1n, 2n]) insert("vec_embeddings_384", { rowid: n, embedding: raw });
    const virtual = await readAll(path);
    expect(virtual.records).toEqual(ordinary.records);
    expect(tokens(virtual, "id")).toEqual([97, 98, 99].map((n) => `"${id(n)}"`));
  });

  it.each([
    ["an ordinary table", "CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB)"],
    ["a vec0 table", "CREATE VIRTUAL TABLE vec_embeddings_384 USING vec0(embedding float[384])"],
    ["no table at all", undefined],
  ])("that are missing are rejected records, from %s", async (_name, sql) => {
    metadata(1);
    metadata(2);
    if (sql !== undefined) {
      execute(path, sql);
      insert("vec_embeddings_384", { rowid: 1n, embedding: raw });
      insert("vec_embeddings_384", { rowid: 7n, embedding: raw });
    }
    const result = await readAll(path);
    const refused = sql === undefined ? [98, 99] : [98];
    expect(refusals(result)).toEqual(
      refused.map((n) => ["E_INVALID_EMBEDDING", "vector_embeddings.384", `id=${id(n)}`, "embedding"]),
    );
    expect(result.warnings).toEqual(
      sql === undefined ? [] : [expect.stringMatching(/^1 embeddings in vec_embeddings_384/)],
    );
  });

  it("of another dimension, or of none, are rejected", async () => {
    metadata(1);
    metadata(2);
    metadata(3);
    execute(path, "CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB)");
    insert("vec_embeddings_384", { rowid: 1n, embedding: Buffer.alloc(4 * 383) });
    insert("vec_embeddings_384", { rowid: 2n, embedding: Buffer.alloc(0) });
    insert("vec_embeddings_384", { rowid: 3n, embedding: Buffer.alloc(5) });
    expect((await readAll(path)).rejections.map(({ error }) => [error.code, error.message])).toEqual([
      ["E_INVALID_EMBEDDING", expect.any(String)],
      ["E_INVALID_EMBEDDING", expect.any(String)],
      ["E_DIMENSION_MISMATCH", "Dimension mismatch: expected 384, got 383"],
    ]);
  });
});

describe("agent states in SQLite", () => {
  it("give the checksum that was imported, until the application changes the state", async () => {
    await createMigrated(path);
    const state = (n: number, state_data: string, checksum: string): void =>
      insert("agent_states", {
        state_id: id(n),
        tenant_id: "t",
        agent_id: `a${n}`,
        agent_type: "x",
        state_data,
        checksum,
        checksum_exported: "original",
      });
    const sha256 = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"; // of {}
    state(1, "{}", sha256);
    state(2, '{"a":1}', sha256);
    state(3, "{}", "f".repeat(64));
    expect(tokens(await readAll(path), "checksum")).toEqual(['"original"', `"${sha256}"`, `"${"f".repeat(64)}"`]);
  });
});

describe("databases at llmspell's own levels", () => {
  it.each([3, 4, 5, 6, 7, 8, 9, 10, 11, 13])("are read at V%i", async (level) => {
    const old = folder.path(`level-${level}.db`);
    createLlmspellSqlite(old, level);
    execute(
      old,
      `INSERT INTO vector_metadata VALUES (1, '${id(1)}', 't', 's', 384, '{}', 5, 6);
       CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB);
       INSERT INTO vec_embeddings_384 VALUES (1, zeroblob(1536))`,
    );
    const result = await readAll(old);
    expect(result.rejections).toEqual([]);
    expect(tokens(result, "created_at")).toEqual(["5000000"]);
  });

  it("without one of their columns are refused", async () => {
    const old = folder.path("lacking.db");
    createLlmspellSqlite(old);
    execute(old, "ALTER TABLE workflow_states DROP COLUMN workflow_name; DROP TABLE event_log");
    await expect(readAll(old)).rejects.toMatchObject({ code: "E_SCHEMA" });
  });

  it("sort text by its UTF-8 bytes, also in a UTF-16 database", async () => {
    const wide = folder.path("utf16.db");
    const database = new Database(wide);
    database.pragma("encoding = 'UTF-16le'");
    database.exec(
      `CREATE TABLE workflow_states (tenant_id TEXT, workflow_id TEXT, workflow_name TEXT, state_data TEXT, current_step INTEGER,
         status TEXT, started_at INTEGER, completed_at INTEGER, last_updated INTEGER, created_at INTEGER)`,
    );
    const add = database.prepare(
      "INSERT INTO workflow_states VALUES ('t', ?, NULL, '{}', 0, 'pending', NULL, NULL, 1, 1)",
    );
    for (const text of ["\u{1F600}", "\uFFFD", "a", "é"]) add.run(text);
    database.close();
    expect(tokens(await readAll(wide), "workflow_id")).toEqual(['"a"', '"é"', '"\uFFFD"', '"\u{1F600}"']);
  });

  it("sort ids as they are usually spelled, also in a UTF-16 database: bare digits stand before a text that begins like them", async () => {
    for (const encoding of ["UTF-8", "UTF-16le"]) {
      const mixed = folder.path(`${encoding}.db`);
      const database = new Database(mixed);
      database.pragma(`encoding = '${encoding}'`);
      database.exec(llmspellSqliteSql());
      const add = database.prepare(
        `INSERT INTO agent_states (state_id, tenant_id, agent_id, agent_type, state_data, checksum, created_at, updated_at)
         VALUES (?, 't', ?, 'x', '{}', '${"0".repeat(64)}', 1, 1)`,
      );
      const text = `aaaaaaaa0${"z".repeat(23)}`;
      for (const one of [text, "a".repeat(32)]) add.run(one, one);
      database.close();
      expect(tokens(await readAll(mixed), "agent_id")).toEqual([`"${"a".repeat(32)}"`, `"${text}"`]);
    }
  });

  it("refuse a lone surrogate in a UTF-16 database, of which SQLite makes another character", async () => {
    const wide = folder.path("surrogates.db");
    execute(
      wide,
      `PRAGMA encoding = 'UTF-16le';
       CREATE TABLE kv_store (kv_id TEXT, tenant_id TEXT, key TEXT, value BLOB, metadata TEXT, created_at INTEGER, updated_at INTEGER);
       INSERT INTO kv_store VALUES ('${id(1)}', 't', CAST(x'3dd861006200' AS TEXT), x'', NULL, 1, 1),
         ('${id(2)}', 't', CAST(x'610000dc' AS TEXT), x'', NULL, 1, 1), ('${id(3)}', 't', 'é\u{1F600}', x'', NULL, 1, 1)`,
    );
    const result = await readAll(wide);
    expect(tokens(result, "key")).toEqual(['"é\u{1F600}"']);
    expect(refusals(result)).toEqual([
      ["E_INVALID_UTF8", "kv_store", `kv_id=${id(1)}`, "key"],
      ["E_INVALID_UTF8", "kv_store", `kv_id=${id(2)}`, "key"],
    ]);
  });

  it("give only the tenants that are selected", async () => {
    await createMigrated(path);
    kv(1);
    kv(2, { tenant_id: "T" });
    kv(3, { tenant_id: "u'; --" });
    const selected = await readAll(path, {}, { ...everything(), tenants: ["T", "u'; --", "none"] });
    expect(selected.records.map((each) => value(each, "tenant_id")?.toString())).toEqual(["T", "u'; --"]);
    expect(kindOf("kv_store").path).toBe(selected.records[0]?.kind.path);
  });
});
