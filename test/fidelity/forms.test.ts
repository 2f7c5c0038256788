/** Every form in which the same value is stored or written: shapes of embedding tables, 100 MiB of content, llmspell's own documents. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { describePostgres } from "../helpers/postgres-server.js";
import { float32, id, MIB, vector } from "./records.js";
import { createPostgresStore, createSqliteStore, load, type TestStore } from "./support.js";

const DIMENSIONS = [384, 768, 1536, 3072];
/** -0, 0.1, the smallest and the largest numbers; their bytes begin with '['. */
const BITS = [0x3f80005b, 0x80000000, 0x3dcccccd, 1, 0x80000001, 0x7f7fffff, 0xff7fffff];
const BIG_ENDIAN = Buffer.from(float32(...BITS))
  .swap32()
  .toString("hex");
const ofText = (text: Buffer): Buffer =>
  Buffer.from(Float32Array.from(JSON.parse(text.toString("latin1")) as number[]).buffer);
const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

describePostgres("forms of one value", () => {
  let sqlite: TestStore;
  let other: TestStore;
  let postgres: TestStore;
  beforeAll(async () => {
    [sqlite, other, postgres] = [createSqliteStore(), createSqliteStore(), await createPostgresStore()];
  });
  beforeEach(async () => {
    for (const store of [sqlite, other, postgres]) await store.clear();
  });
  afterAll(async () => {
    for (const store of [sqlite, other, postgres]) await store.drop();
  });

  it("a vector has the same bits from raw float32, JSON text and vec0, in every dimension, and into each", async () => {
    for (const dimension of DIMENSIONS) {
      const { embedding } = vector(1, dimension, float32(...BITS)) as unknown as { embedding: Buffer };
      const numbers = Array.from({ length: dimension }, (_, i) => embedding.readFloatLE(i * 4));
      const text = `[${numbers.map((number) => (Object.is(number, -0) ? "-0.0" : String(number))).join(", ")}]`;
      const vec0 = dimension === 768;
      const add = (n: number, value: string): string =>
        `INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at)
           VALUES (${dimension + n}, '${id(dimension + n)}', 't', 's', ${dimension}, 1, 1);
         INSERT INTO vec_embeddings_${dimension} (rowid, embedding) VALUES (${dimension + n}, ${value});`;
      await sqlite.run(
        `${vec0 ? `CREATE VIRTUAL TABLE vec_embeddings_768 USING vec0(embedding float[768])` : `CREATE TABLE vec_embeddings_${dimension} (rowid INTEGER PRIMARY KEY, embedding BLOB)`};
         ${add(1, `x'${embedding.toString("hex")}'`)}
         ${vec0 ? add(2, `x'${embedding.toString("hex")}'`) : add(2, `x'${Buffer.from(text).toString("hex")}'`)}`,
      );
    }
    await load(sqlite, postgres);
    for (const dimension of DIMENSIONS)
      expect(
        await postgres.rows(
          `SELECT encode(substr(vector_send(embedding), 5, ${BITS.length * 4}), 'hex'), vector_dims(embedding)
           FROM llmspell.vector_embeddings_${dimension}`,
        ),
      ).toEqual([1, 2].map(() => [BIG_ENDIAN, BigInt(dimension)]));
    for (const vectorsAs of ["blob", "vec0"] as const) {
      await other.clear();
      await load(postgres, other, { vectorsAs });
      for (const dimension of DIMENSIONS) {
        const rows = (await other.rows(
          `SELECT embedding FROM vec_embeddings_${dimension}
           WHERE rowid IN (SELECT rowid FROM vector_metadata WHERE dimension = ${dimension})`,
        )) as [Buffer][];
        const embedding = vector(1, dimension, float32(...BITS))["embedding"] as Buffer;
        // As text in an ordinary table, because llmspell takes what begins with '[' for JSON.
        const bits = rows.map(([stored]) => (vectorsAs === "vec0" ? stored : ofText(stored)).toString("hex"));
        expect(bits).toEqual([1, 2].map(() => embedding.toString("hex")));
        const [[sql]] = (await other.rows(
          `SELECT sql FROM sqlite_master WHERE name = 'vec_embeddings_${dimension}'`,
        )) as [[string]];
        expect(sql.includes("vec0")).toBe(vectorsAs === "vec0");
      }
    }
  });

  it("100 MiB of content have the same hash in SQLite, in PostgreSQL's large object, and in SQLite again", async () => {
    const bytes = randomBytes(MIB);
    const data = Buffer.concat(Array.from({ length: 100 }, (_, i) => Buffer.from(bytes).fill(i, 0, 8)));
    await sqlite.run(
      `INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes)
       VALUES ('t', 'h', x'${data.toString("hex")}', ${data.length})`,
    );
    await load(sqlite, postgres);
    expect(
      await postgres.rows(
        `SELECT storage_type, length(lo_get(large_object_oid)), encode(sha256(lo_get(large_object_oid)), 'hex') FROM llmspell.artifact_content`,
      ),
    ).toEqual([["large_object", BigInt(data.length), sha(data)]]);
    await load(postgres, other);
    const [row] = await other.rows("SELECT data FROM artifact_content");
    expect(sha(row?.[0] as Buffer)).toBe(sha(data));
  });

  it("a document that llmspell wrote arrives in both databases: seconds, sentinels, four forms of embeddings, missing fields", async () => {
    const document = readFileSync(new URL("../golden/legacy-0.14.json", import.meta.url), "utf8");
    const [first] = (JSON.parse(document) as { data: { vector_embeddings: { "384": { embedding: string }[] } } }).data
      .vector_embeddings["384"];
    const bits = Buffer.from(first?.embedding as string, "base64");
    for (const target of [other, postgres]) {
      const { warnings, result } = await load(document, target);
      expect([warnings, result.totals.rejected]).toEqual([[], 0]);
    }
    const time = "2024-11-22 10:30:00+00";
    expect(
      await postgres.rows(
        `SELECT name, valid_time_start, valid_time_end, transaction_time_end, created_at FROM llmspell.entities ORDER BY name`,
      ),
    ).toEqual([
      ["Max", time, "infinity", "infinity", time],
      ["Zoë", time, "infinity", "infinity", time],
    ]);
    const seconds = [1732271400n, 785586600000000n];
    const infinity = [9999999999n, 9223372036854775807n];
    expect(
      await other.rows(
        `SELECT name, valid_time_start, valid_time_start_us, valid_time_end, valid_time_end_us, transaction_time_end,
           transaction_time_end_us FROM entities ORDER BY name`,
      ),
    ).toEqual(["Max", "Zoë"].map((name) => [name, ...seconds, ...infinity, ...infinity]));
    for (const [target, prefix] of [
      [other, ""],
      [postgres, "llmspell."],
    ] as const) {
      expect(
        await target.rows(
          `SELECT triggering_component, component_id, context_size, retention_priority, CAST(modified_operation AS INTEGER),
             CAST(contains_sensitive_data AS INTEGER), CAST(metadata AS TEXT) FROM ${prefix}hook_history`,
        ),
      ).toEqual([["", "", 3n, 0n, 0n, 0n, "{}"]]);
      expect(await target.rows(`SELECT pattern_id FROM ${prefix}procedural_patterns`)).toEqual([[id(20)]]);
    }
    expect(await other.rows("SELECT metadata FROM kv_store ORDER BY key")).toEqual([
      ['{"b": [1.10,2]}'],
      [null],
      [expect.stringMatching(/^\{ *"x": 1 *\}$/)],
    ]);
    expect(await postgres.rows("SELECT metadata FROM llmspell.kv_store ORDER BY key")).toEqual([
      ['{"b": [1.10, 2]}'],
      [null],
      ['{"x": 1}'],
    ]);
    const embeddings = await other.rows("SELECT embedding FROM vec_embeddings_384");
    expect(embeddings).toHaveLength(4);
    for (const [embedding] of embeddings) expect((embedding as Buffer).equals(bits)).toBe(true);
    expect(
      await postgres.rows(
        "SELECT DISTINCT encode(substr(vector_send(embedding), 5), 'hex') FROM llmspell.vector_embeddings_384",
      ),
    ).toEqual([[Buffer.from(bits).swap32().toString("hex")]]);
  });
});
