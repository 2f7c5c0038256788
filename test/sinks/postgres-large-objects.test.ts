import { createHash } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { StorageError } from "../../src/errors.js";
import { createPostgresSink, runPipeline } from "../../src/index.js";
import { RecordBatch } from "../../src/records/record-batch.js";
import type { Rejection } from "../../src/records/run-context.js";
import { failureOf } from "../conformance/expectations.js";
import { createMemorySource, everything, memoryBatches } from "../conformance/memory-store.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { largeObjects, load, record, sql } from "./postgres-support.js";

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const MIB = 1048576;

function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + seed + (at >> 11)) & 255;
  return bytes;
}

const content = (hash: string, data: Buffer, more: Record<string, unknown> = {}) =>
  record("artifacts.content", {
    tenant_id: "t",
    content_hash: hash,
    storage_type: "bytea",
    data: data.toString("base64"),
    size_bytes: data.length,
    is_compressed: false,
    reference_count: 1,
    created_at: 1,
    last_accessed_at: 2,
    ...more,
  });
const artifact = (n: number, sequence: number, hash: string) =>
  record("artifacts.artifacts", {
    tenant_id: "t",
    artifact_id: `${id(n)}:${sequence}:${hash}`,
    session_id: id(n),
    sequence,
    content_hash: hash,
    metadata: {},
    name: "n",
    artifact_type: "x",
    mime_type: "y",
    size_bytes: 3,
    created_at: 3,
    version: 1,
    stored_at: 4,
    updated_at: 5,
  });
describePostgres("contents and large objects in PostgreSQL", () => {
  let database: TestDatabase;
  const url = (): string => database.url;

  beforeAll(async () => {
    database = await createDatabase("llmspell");
  });
  afterAll(() => database.drop());
  beforeEach(() =>
    sql(
      url(),
      `TRUNCATE llmspell.kv_store, llmspell.sessions, llmspell.artifacts, llmspell.artifact_content, llmspell.event_log;
       SELECT lo_unlink(oid) FROM pg_largeobject_metadata`,
    ),
  );

  /** Stored contents: how, and the SHA-256. */
  const contents = (): Promise<Record<string, unknown>[]> =>
    sql(
      url(),
      `SELECT content_hash AS hash, storage_type AS type, large_object_oid IS NOT NULL AS large, data IS NOT NULL AS inline,
         encode(sha256(coalesce(data, lo_get(large_object_oid))), 'hex') AS sha
       FROM llmspell.artifact_content ORDER BY 1`,
    );
  const stored = (hash: string, data: Buffer) => ({
    hash,
    type: data.length < MIB ? "bytea" : "large_object",
    large: data.length >= MIB,
    inline: data.length < MIB,
    sha: createHash("sha256").update(data).digest("hex"),
  });

  it.each(["copy", "insert"] as const)("stand on their side of 1 MiB, identical (%s)", async (method) => {
    const sizes = [0, 1, 256, MIB - 1, MIB, MIB + 1, 3 * MIB + 7];
    const records = sizes.map((size, n) => content(`h${n}`, bytesOf(size, n)));
    const expected = sizes.map((size, n) => stored(`h${n}`, bytesOf(size, n)));
    for (const policy of ["update", "update", "skip"] as const) {
      await load(url(), records, { method, onConflict: policy });
      expect(await contents()).toEqual(expected);
      expect(await largeObjects(url())).toBe(3);
    }
  });

  it("change their side when they are replaced, and leave no large object behind", async () => {
    const [small, large] = [bytesOf(5, 1), bytesOf(MIB + 5, 2)];
    await load(url(), [content("a", small), content("b", large), content("c", large)]);
    await load(url(), [content("a", large), content("b", small), content("c", large), content("d", large)]);
    expect(await contents()).toEqual([stored("a", large), stored("b", small), stored("c", large), stored("d", large)]);
    expect(await largeObjects(url())).toBe(3);
  });

  it("leave no large object behind when they are skipped, rejected, or the run fails or is dry", async () => {
    const large = bytesOf(MIB, 3);
    await load(url(), [content("a", large)]);
    await load(url(), [content("a", bytesOf(MIB, 4))], { onConflict: "skip" });
    expect(await contents()).toEqual([stored("a", large)]);
    const rejections: Rejection[] = [];
    const bad = [
      content("b", large, { reference_count: 0 }),
      content("c", large, { tenant_id: "u".repeat(256) }),
      content("d", large),
      content("d", bytesOf(MIB, 5)),
    ];
    await load(url(), bad, { rejections, dryRun: true });
    expect(rejections.map(({ error }) => error.code)).toEqual(["E_CHECK", "E_TOO_LONG", "E_KEY_CONFLICT"]);
    await failureOf(load(url(), bad));
    await failureOf(load(url(), [content("e", large), artifact(1, 0, "e")]));
    await failureOf(load(url(), [content("a", large)], { onConflict: "error" }));
    expect(await contents()).toEqual([stored("a", large)]);
    expect(await largeObjects(url())).toBe(1);
  });

  it.each([false, true])(
    "are unlinked with a record that is rejected, after its copy was written (merged: %s)",
    async (filled) => {
      if (filled) await load(url(), [content("z", Buffer.alloc(1))]);
      const data = bytesOf(2 * MIB + 1, 7);
      const rejected: string[] = [];
      await load(url(), [content("d", bytesOf(MIB, 6)), content("d", data)], { rejections: [], rejected });
      const [told] = rejected.map((text) => JSON.parse(text));
      expect(rejected).toHaveLength(1);
      expect([told.content_hash, told.storage_type]).toEqual(["d", "large_object"]);
      expect(Buffer.from(told.data, "base64").equals(data)).toBe(true);
      expect(await largeObjects(url())).toBe(1);
    },
  );

  it("survive a large object that is gone", async () => {
    await load(url(), [content("a", bytesOf(MIB, 1))]);
    await sql(url(), "SELECT lo_unlink(large_object_oid) FROM llmspell.artifact_content");
    await load(url(), [content("a", bytesOf(MIB, 2))]);
    expect(await contents()).toEqual([stored("a", bytesOf(MIB, 2))]);
    expect(await largeObjects(url())).toBe(1);
  });

  it("are no rejected records where the source breaks within one", async () => {
    const lost = new StorageError("E_CONNECTION_LOST", "the connection to the server broke");
    async function* broken() {
      for await (const { kind, rows, bytes, starts, lengths, large } of memoryBatches([
        content("a", bytesOf(3 * MIB, 1)),
      ])) {
        if (large === undefined) throw new Error("the content is not large");
        async function* chunks(): AsyncGenerator<Buffer> {
          yield bytesOf(MIB, 1);
          throw lost;
        }
        yield new RecordBatch(kind, rows, bytes, starts, lengths, { ...large, chunks });
      }
    }
    const rejections: Rejection[] = [];
    const run = runPipeline({
      source: { ...createMemorySource([]), read: broken },
      sink: createPostgresSink({ connect: () => connectPostgres({ url: url() }), name: "postgres" }),
      selection: everything(),
      onReject: (rejection) => void rejections.push(rejection),
    });
    expect(await failureOf(run)).toBe(lost);
    expect(rejections).toEqual([]);
    expect(await largeObjects(url())).toBe(0);
  });
});
