/** What is stored in SQLite, asserted by SQL; and what its tables refuse. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { fieldIndex } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Rejection } from "../../src/records/run-context.js";
import { expectSameRecords, failureOf } from "../conformance/expectations.js";
import type { MemoryRecord } from "../conformance/memory-store.js";
import { inSourceOrder } from "../conformance/sample-memory.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { dataSetArbitrary } from "../helpers/arbitraries.js";
import {
  createFolder,
  createMigrated,
  execute,
  kindOf,
  load,
  query,
  readAll,
  record,
  Token,
} from "./sqlite-support.js";

const folder = createFolder();
const path = folder.path("values.db");
afterAll(() => folder.remove());
beforeEach(() => createMigrated(path));

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
/** Microseconds from 1970 to 2000. */
const EPOCH = 946684800000000n;

const kv = (n: number, more: Readonly<Record<string, unknown>> = {}): MemoryRecord =>
  record("kv_store", { kv_id: id(n), tenant_id: "t", key: `k${n}`, value: "", created_at: 0, updated_at: 0, ...more });

const session = (n: number, more: Readonly<Record<string, unknown>> = {}): MemoryRecord =>
  record("sessions", {
    tenant_id: "t",
    session_id: id(n),
    session_data: {},
    status: "active",
    created_at: 0,
    last_accessed_at: 0,
    expires_at: null,
    artifact_count: 0,
    updated_at: 0,
    ...more,
  });

const content = (hash: string, data: Buffer, more: Readonly<Record<string, unknown>> = {}): MemoryRecord =>
  record("artifacts.content", {
    tenant_id: "t",
    content_hash: hash,
    storage_type: data.length < 1048576 ? "bytea" : "large_object",
    data: data.toString("base64"),
    size_bytes: data.length,
    is_compressed: true,
    original_size_bytes: null,
    reference_count: 1,
    created_at: 0,
    last_accessed_at: 0,
    ...more,
  });

const artifact = (n: number, hash: string, more: Readonly<Record<string, unknown>> = {}): MemoryRecord =>
  record("artifacts.artifacts", {
    tenant_id: "t",
    artifact_id: `${id(n)}:0:${hash}`,
    session_id: id(n),
    sequence: 0,
    content_hash: hash,
    metadata: {},
    name: "a",
    artifact_type: "file",
    mime_type: "text/plain",
    size_bytes: 3,
    created_at: 0,
    created_by: null,
    version: 1,
    parent_artifact_id: null,
    tags: null,
    stored_at: 0,
    updated_at: 0,
    ...more,
  });

const agent = (n: number, more: Readonly<Record<string, unknown>> = {}): MemoryRecord =>
  record("agent_state", {
    state_id: id(n),
    tenant_id: "t",
    agent_id: `a${n}`,
    agent_type: "x",
    state_data: {},
    schema_version: 1,
    data_version: 7,
    checksum: "c".repeat(64),
    created_at: 0,
    updated_at: 5,
    ...more,
  });

const vector = (n: number, dimension: number, first: number): MemoryRecord => {
  const bytes = Buffer.alloc(dimension * 4, 1);
  bytes.writeInt32LE(first, 0);
  return record(`vector_embeddings.${dimension}`, {
    id: id(n),
    tenant_id: "t",
    scope: "s",
    embedding: bytes.toString("base64"),
    metadata: {},
    created_at: 0,
    updated_at: 0,
  });
};

describe("values stored in SQLite", () => {
  it.each([
    ["-1", -1n, -1n - EPOCH],
    ["-1000001", -2n, -1000001n - EPOCH],
    ["1999999", 1n, 1999999n - EPOCH],
    ['"infinity"', 9999999999n, 2n ** 63n - 1n],
    ['"-infinity"', -9999999999n, -(2n ** 63n)],
    ["9223372036854775807", 9223372036854n, 9223372036854775807n - EPOCH],
    ["9224318015999999999", 9224318015999n, 9223371331199999999n],
    ["-210866803200000000", -210866803200n, -210866803200000000n - EPOCH],
  ])("time %s: floored seconds and the exact value beside them", async (token, seconds, exact) => {
    await load(path, [kv(1, { created_at: new Token(token) })]);
    expect(
      query(path, "SELECT created_at, created_at_us, typeof(created_at), typeof(created_at_us) FROM kv_store"),
    ).toEqual([[seconds, exact, "integer", "integer"]]);
  });

  it("integers, booleans, NULLs and bytes are exact, and of their storage class", async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await load(path, [
      session(1, { artifact_count: 2147483647 }),
      content("h", all, { original_size_bytes: new Token("9223372036854775807") }),
      content("empty", Buffer.alloc(0)),
      artifact(1, "h", { sequence: new Token("9007199254740993"), size_bytes: new Token("-9223372036854775808") }),
    ]);
    expect(query(path, "SELECT sequence, size_bytes, typeof(sequence), created_by, tags FROM artifacts")).toEqual([
      [9007199254740993n, -(2n ** 63n), "integer", null, null],
    ]);
    expect(
      query(
        path,
        "SELECT data, typeof(data), is_compressed, typeof(is_compressed), original_size_bytes FROM artifact_content ORDER BY rowid",
      ),
    ).toEqual([
      [all, "blob", 1n, "integer", 9223372036854775807n],
      [Buffer.alloc(0), "blob", 1n, "integer", null],
    ]);
    expect(query(path, "SELECT artifact_count, expires_at, expires_at_us FROM sessions")).toEqual([
      [2147483647n, null, null],
    ]);
  });

  it("json and text are the text that came, U+0000 and lone surrogates in json too", async () => {
    const json = '{"b": 1.10,"a":[1e400,-0,12345678901234567890,0.1000000000000000055],"b":"\\u0000\\ud800"}';
    await load(path, [kv(1, { key: "a\0b \u{1F600}", metadata: new Token(json) }), kv(2, { metadata: null })]);
    expect(query(path, "SELECT key, metadata, typeof(key) FROM kv_store ORDER BY rowid")).toEqual([
      ["a\0b \u{1F600}", json, "text"],
      ["k2", "null", "text"],
    ]);
    expect(query(path, "SELECT hex(key) FROM kv_store LIMIT 1")).toEqual([["61006220F09F9880"]]);
  });

  it("tags: empty is not NULL, and NULL within is not 'NULL'", async () => {
    const tags = ["a,b", '"', "\\", "NULL", null, ""];
    await load(path, [
      session(1),
      content("h", Buffer.alloc(3)),
      artifact(1, "h", { tags }),
      artifact(1, "h", { artifact_id: "2", sequence: 1, tags: [] }),
    ]);
    expect(query(path, "SELECT tags FROM artifacts ORDER BY rowid")).toEqual([[JSON.stringify(tags)], ["[]"]]);
  });

  it("a state's checksum is that of the stored text, and the document's is kept beside it", async () => {
    const json = '{"a": 1e2}';
    await load(path, [agent(1, { state_data: new Token(json) })]);
    const sha256 = createHash("sha256").update(json).digest("hex");
    expect(query(path, "SELECT state_data, checksum, checksum_exported FROM agent_states")).toEqual([
      [json, sha256, "c".repeat(64)],
    ]);
    const { records } = await readAll(path);
    expectSameRecords(records, [agent(1, { state_data: new Token(json) })]);
  });

  it("a state that the application has changed gives the application's checksum", async () => {
    await load(path, [agent(1)]);
    const sha256 = createHash("sha256").update("[1]").digest("hex");
    execute(path, "UPDATE agent_states SET state_data = '[1]', checksum = ?", sha256);
    const { records } = await readAll(path);
    const at = fieldIndex(kindOf("agent_state"), "checksum");
    expect(records.map(({ values }) => values[at]?.toString())).toEqual([sha256]);
  });

  it("surrogate ids are made for new rows and stay with updated ones", async () => {
    await load(path, [session(1), session(2)]);
    const before = query(path, "SELECT rowid, id, session_id FROM sessions ORDER BY rowid");
    expect(before.map(([, surrogate]) => surrogate)).toEqual([
      expect.stringMatching(/^[0-9a-f]{32}$/),
      expect.stringMatching(/^[0-9a-f]{32}$/),
    ]);
    await load(path, [session(2, { status: "archived" }), session(1), session(3)]);
    expect(query(path, "SELECT rowid, id, session_id FROM sessions ORDER BY rowid LIMIT 2")).toEqual(before);
  });

  it("llmspell's triggers do not fire, and are there afterwards", async () => {
    const triggers = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name";
    const before = query(path, triggers);
    expect(before.length).toBeGreaterThan(0);
    await load(path, [agent(1)]);
    await load(path, [agent(1, { state_data: { changed: true } })]);
    expect(query(path, "SELECT data_version, updated_at_us FROM agent_states")).toEqual([[7n, 5n - EPOCH]]);
    expect(query(path, triggers)).toEqual(before);
  });
});

describe("large content in SQLite", () => {
  const MIB = 1048576;
  const bytes = (length: number, seed: number): Buffer => {
    const made = Buffer.alloc(length);
    for (let i = 0; i < length; i++) made[i] = i * 31 + (i >> 8) * seed;
    return made;
  };
  const sha256 = (data: unknown): string =>
    createHash("sha256")
      .update(data as Buffer)
      .digest("hex");
  /** Of each row: comparing megabytes by toEqual takes a minute. */
  const digests = (): string[] =>
    query(path, "SELECT data FROM artifact_content ORDER BY rowid").map(([data]) => sha256(data));

  it.each([MIB - 1, MIB, MIB + 1, 3 * MIB + 17])(
    "of %i bytes is stored whole, and replaced in place",
    async (length) => {
      const [first, second] = [bytes(length, 3), bytes(length, 7)];
      await load(path, [session(1), content("h", first), artifact(1, "h")]);
      const before = query(path, "SELECT rowid, id FROM artifact_content");
      expect(digests()).toEqual([sha256(first)]);
      await load(path, [content("h", second, { reference_count: 4 })]);
      expect(digests()).toEqual([sha256(second)]);
      expect(query(path, "SELECT typeof(data) FROM artifact_content")).toEqual([["blob"]]);
      expect(query(path, "SELECT rowid, id FROM artifact_content")).toEqual(before);
      expect(query(path, "SELECT count(*) FROM artifacts")).toEqual([[1n]]);
      await load(path, [content("h", first)], { onConflict: "skip" });
      expect(digests()).toEqual([sha256(second)]);
    },
  );

  it("that is refused is rejected with its content, and the rest goes on", async () => {
    const big = bytes(MIB + 5, 3);
    const rejections: Rejection[] = [];
    await load(path, [content("h", big), content("h", bytes(MIB, 5)), content("i", big, { reference_count: 0 })], {
      rejections,
    });
    expect(rejections.map(({ error }) => [error.code, error.context.key])).toEqual([
      ["E_KEY_CONFLICT", "tenant_id=t, content_hash=h"],
      ["E_CHECK", "tenant_id=t, content_hash=i"],
    ]);
    const chunks: Uint8Array[] = [];
    for await (const chunk of rejections[1]?.record ?? []) chunks.push(chunk);
    expect(JSON.parse(Buffer.concat(chunks).toString()).data === big.toString("base64")).toBe(true);
    expect(query(path, "SELECT content_hash FROM artifact_content")).toEqual([["h"]]);
    expect(digests()).toEqual([sha256(big)]);
  });
});

describe("embeddings stored in SQLite", () => {
  /** NaN with a payload, -0, a denormal, Infinity. */
  const FIRSTS = [0x7fc12345, -0x80000000, 1, 0x7f800000];
  const stored = (n: number, dimension: number): Buffer => {
    const bytes = Buffer.alloc(dimension * 4, 1);
    bytes.writeInt32LE(FIRSTS[n] as number, 0);
    return bytes;
  };
  const vectors = [384, 768, 1536, 3072].flatMap((dimension) => FIRSTS.map((first, n) => vector(n, dimension, first)));

  it.each([
    ["blob", "CREATE TABLE"],
    ["vec0", "CREATE VIRTUAL TABLE"],
  ] as const)("are bit-identical as %s, with rowids of their own", async (vectorsAs, sql) => {
    await load(path, vectors, { vectorsAs });
    for (const dimension of [384, 768, 1536, 3072]) {
      const rows = query(
        path,
        `SELECT m.id, e.embedding FROM vector_metadata m JOIN vec_embeddings_${dimension} e ON e.rowid = m.rowid
         WHERE m.dimension = ${dimension} ORDER BY m.id`,
      );
      expect(rows).toEqual(FIRSTS.map((_, n) => [id(n), stored(n, dimension)]));
      expect(
        query(path, "SELECT sql FROM sqlite_master WHERE name = ?", `vec_embeddings_${dimension}`)[0]?.[0],
      ).toContain(sql);
    }
    await load(path, vectors);
    expectSameRecords((await readAll(path)).records, vectors);
    const last = 3072n * 2n ** 32n + 4n;
    expect(query(path, "SELECT count(DISTINCT rowid), max(rowid) FROM vector_metadata")).toEqual([[16n, last]]);
  });

  it.each([
    ["CREATE VIRTUAL TABLE vec_embeddings_384 USING vec0(embedding float[384])", "blob"],
    ["CREATE TABLE vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB)", "vec0"],
  ] as const)("keep the shape of %s", async (sql, vectorsAs) => {
    execute(path, sql);
    const taken = 384n * 2n ** 32n + 41n;
    execute(path, "INSERT INTO vec_embeddings_384 (rowid, embedding) VALUES (?, ?)", taken, stored(1, 384));
    await load(path, [vector(0, 384, 5)], { vectorsAs });
    await load(path, [vector(0, 384, 6)], { vectorsAs });
    // The one before belongs to an embedding without metadata.
    expect(query(path, "SELECT rowid FROM vector_metadata")).toEqual([[taken + 1n]]);
    expect(query(path, "SELECT sql FROM sqlite_master WHERE name = 'vec_embeddings_384'")).toEqual([[sql]]);
    expectSameRecords((await readAll(path)).records, [vector(0, 384, 6)]);
  });

  it("of a run that is rolled back leave no table and no row", async () => {
    await failureOf(load(path, [...vectors, kv(1), kv(1)], { vectorsAs: "vec0" }));
    expect(query(path, "SELECT name FROM sqlite_master WHERE name LIKE 'vec_%'")).toEqual([["vector_metadata"]]);
    expect(query(path, "SELECT count(*) FROM vector_metadata")).toEqual([[0n]]);
  });
});

describe("references in SQLite", () => {
  it("use the spelling in which the row they name is stored", async () => {
    const name = id(1).replaceAll("-", "").toUpperCase();
    execute(path, "INSERT INTO sessions (tenant_id, session_id, session_data) VALUES ('t', ?, '{}')", name);
    execute(
      path,
      "INSERT INTO entities (entity_id, tenant_id, entity_type, name, valid_time_start) VALUES (?, 't', 'p', 'n', 1)",
      name,
    );
    const relationship = record("knowledge_graph.relationships", {
      relationship_id: id(7),
      tenant_id: "t",
      source_entity_id: id(1),
      target_entity_id: id(2),
      relationship_type: "x",
      properties: {},
      valid_time_start: 0,
      valid_time_end: "infinity",
      transaction_time_start: 0,
      transaction_time_end: "infinity",
      created_at: 0,
    });
    await load(path, [artifact(1, "h"), relationship, content("h", Buffer.alloc(3)), session(1)]);
    expect(query(path, "SELECT session_id FROM sessions")).toEqual([[name]]);
    expect(query(path, "SELECT session_id FROM artifacts")).toEqual([[name]]);
    expect(query(path, "SELECT from_entity, to_entity FROM relationships")).toEqual([[name, id(2)]]);
    expect(query(path, "PRAGMA foreign_key_check")).toEqual([]);
  });

  it("dropped with --on-orphan: the target's own row is what it was", async () => {
    await load(path, [session(1), content("h", Buffer.alloc(3)), artifact(1, "h")]);
    const before = query(path, "SELECT rowid, * FROM artifacts");
    const moved = artifact(1, "h", { session_id: id(2) });
    const { report } = await load(path, [moved, artifact(1, "h", { artifact_id: "x", session_id: id(3) })], {
      onOrphan: "drop",
    });
    expect(report.counts.get("artifacts.artifacts")).toEqual({ inserted: 0, updated: 0, skipped: 0, dropped: 2 });
    expect(query(path, "SELECT rowid, * FROM artifacts")).toEqual(before);
  });

  it("E_ORPHAN names the first and counts all", async () => {
    const error = await failureOf(load(path, [artifact(1, "h"), content("h", Buffer.alloc(3)), artifact(2, "h")]));
    expect(error).toMatchObject({
      code: "E_ORPHAN",
      context: { section: "artifacts.artifacts", key: `tenant_id=t, artifact_id=${id(1)}:0:h`, field: "session_id" },
    });
    expect(error.context.detail).toMatch(/: 2$/);
  });
});

describe("times in keys", () => {
  const entity = (micros: string, name: string): MemoryRecord =>
    record("knowledge_graph.entities", {
      entity_id: id(1),
      tenant_id: "t",
      entity_type: "p",
      name,
      properties: {},
      valid_time_start: 0,
      valid_time_end: "infinity",
      transaction_time_start: new Token(micros),
      transaction_time_end: "infinity",
      created_at: 0,
    });

  it("match llmspell's rows, which have seconds only, and rows whose seconds it has edited", async () => {
    const columns =
      "entity_id, tenant_id, entity_type, name, valid_time_start, transaction_time_start, transaction_time_start_us, transaction_time_end";
    const rows: readonly (readonly [name: string, seconds: bigint, exact: bigint | null])[] = [
      ["seconds", 5n, null],
      ["edited", 7n, 6000001n - EPOCH],
      ["exact", 8n, 8000001n - EPOCH],
      ["infinite", -9999999999n, null],
    ];
    for (const [name, seconds, exact] of rows)
      execute(
        path,
        `INSERT INTO entities (${columns}) VALUES (?, 't', 'p', ?, 1, ?, ?, 9)`,
        id(1),
        name,
        seconds,
        exact,
      );
    const { report } = await load(path, [
      entity("5000000", "a"),
      entity("7000000", "b"),
      entity("8000001", "c"),
      entity('"-infinity"', "d"),
      entity("5000001", "e"),
      entity("6000001", "f"),
      entity("8000000", "g"),
    ]);
    expect(report.counts.get("knowledge_graph.entities")).toMatchObject({ inserted: 3, updated: 4 });
    expect(query(path, "SELECT name FROM entities ORDER BY rowid").flat()).toEqual(["a", "b", "c", "d", "e", "f", "g"]);
  });
});

describe("counters of parents in SQLite", () => {
  it("without children in the run are at least what the target has", async () => {
    const data = Buffer.alloc(3);
    await load(path, [session(1, { artifact_count: 5 }), content("h", data), artifact(1, "h")]);
    const { report } = await load(path, [
      session(1, { artifact_count: 0 }),
      content("h", data, { reference_count: 4 }),
    ]);
    expect(query(path, "SELECT artifact_count FROM sessions")).toEqual([[1n]]);
    expect(query(path, "SELECT reference_count FROM artifact_content")).toEqual([[4n]]);
    expect(report.notes).toEqual([
      "artifact_count of 1 session was raised: source and target both have artifacts of it",
    ]);
  });

  it("that stay are raised by the children that come to them, new or from elsewhere", async () => {
    const data = Buffer.alloc(3);
    await load(path, [session(1, { artifact_count: 1 }), content("h", data), content("i", data), artifact(1, "h")]);
    await load(path, [artifact(1, "i"), artifact(1, "i", { artifact_id: "new", sequence: 1 })]);
    expect(query(path, "SELECT content_hash, reference_count FROM artifact_content ORDER BY 1")).toEqual([
      ["h", 1n],
      ["i", 3n],
    ]);
    expect(query(path, "SELECT artifact_count FROM sessions")).toEqual([[2n]]);
  });
});

describe("what SQLite refuses", () => {
  it("JSON that is nested deeper than its json_extract indexes take", async () => {
    const deep = new Token(`${"[".repeat(1001)}${"]".repeat(1001)}`);
    const rejections: Rejection[] = [];
    await load(path, [agent(1), agent(2, { state_data: deep }), agent(3), kv(1, { metadata: deep })], { rejections });
    expect(rejections.map(({ error }) => [error.code, error.context])).toEqual([
      ["E_TARGET_LIMIT", { section: "agent_state", key: `state_id=${id(2)}`, field: "state_data" }],
    ]);
    expect(query(path, "SELECT agent_id FROM agent_states")).toEqual([["a1"], ["a3"]]);
    // kv_store has no such index.
    expect(query(path, "SELECT json_valid('[]'), count(*) FROM kv_store")).toEqual([[1n, 1n]]);
    await load(path, [agent(3)]);
    const again = await failureOf(load(path, [agent(3, { state_data: deep })]));
    expect(again.code).toBe("E_TARGET_LIMIT");
  });

  it("nothing, for want of a migration: a database of llmspell's own, an empty one, none", async () => {
    const old = folder.path("unmigrated.db");
    createLlmspellSqlite(old);
    const error = await failureOf(load(old, [kv(1)]));
    expect(error.code).toBe("E_NOT_MIGRATED");
    expect(error.context.hint).toContain("database migrate");
    expect((await failureOf(load(folder.path("none.db"), [kv(1)]))).code).toBe("E_STORE_NOT_FOUND");
    execute(path, "DROP TABLE hook_history");
    expect((await failureOf(load(path, [kv(1)]))).code).toBe("E_NOT_MIGRATED");
  });
});

describe("arbitrary records", () => {
  it("come out of SQLite as they went in, in the order of their keys", async () => {
    let total = 0;
    await fc.assert(
      fc.asyncProperty(dataSetArbitrary(catalog, { recordsPerKind: 4 }), fc.boolean(), async (data, twice) => {
        await createMigrated(path);
        const records = catalog.kinds.flatMap((kind) =>
          (data.get(kind.path) ?? []).map((values): MemoryRecord => ({ kind, values })),
        );
        const rejections: Rejection[] = [];
        await load(path, [...records].reverse(), { rejections, batchSize: 3 });
        if (twice) await load(path, records, { rejections });
        const refused = new Set(rejections.map(({ error }) => `${error.context.section} ${error.context.key}`));
        // The only thing that SQLite cannot hold is JSON that is too deep for its indexes.
        expect(
          [...rejections].filter(({ error }) => error.code !== "E_TARGET_LIMIT" && error.code !== "E_PARENT_REJECTED"),
        ).toEqual([]);
        total += records.length;
        if (refused.size > 0) return;
        expectSameRecords((await readAll(path)).records, inSourceOrder(records));
      }),
      { numRuns: 60 },
    );
    console.log(`${total} arbitrary records`);
  });
});
