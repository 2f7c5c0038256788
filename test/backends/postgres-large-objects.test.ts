import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { LARGE_VALUE_BYTES } from "../../src/catalog/index.js";
import { recordKey } from "../../src/records/record-key.js";
import type { RunContext } from "../../src/records/run-context.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { SampleRandom } from "../helpers/sample-values.js";
import { readPostgres, recordsAt, sourceOf } from "./postgres-reading.js";

const MIB = 1048576;
const path = "artifacts.content";
const paths: ReadonlySet<string> = new Set([path]);
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

const context: RunContext = {
  signal: new AbortController().signal,
  reject: async ({ error }) => {
    throw error;
  },
  isRejected: () => false,
  leftOut: () => {},
  warn: () => {},
};

type Storage = "bytea" | "large_object";

/** Inserts a content named `hash`; gives the large object's oid. */
async function insertContent(url: string, hash: string, storage: Storage, data: Buffer): Promise<number | undefined> {
  return withClient(url, async (client) => {
    await client.query("BEGIN");
    let oid: number | undefined;
    if (storage === "large_object") {
      oid = (await client.query<{ oid: number }>("SELECT lo_create(0) AS oid")).rows[0]?.oid as number;
      for (let at = 0; at < data.length; at += 4 * MIB)
        await client.query("SELECT lo_put($1, $2, $3)", [oid, at, data.subarray(at, at + 4 * MIB)]);
    }
    await client.query(
      `INSERT INTO llmspell.artifact_content
         (tenant_id, content_hash, storage_type, data, large_object_oid, size_bytes, created_at, last_accessed_at)
       VALUES ('t', $1, $2, $3, $4, 7, 'epoch', 'epoch')`,
      [hash, storage, oid === undefined ? data : null, oid ?? null],
    );
    await client.query("COMMIT");
    return oid;
  });
}

describePostgres("artifact content in PostgreSQL", () => {
  let database: TestDatabase;
  const random = new SampleRandom("large objects");

  beforeAll(async () => {
    database = await createDatabase("llmspell");
  });
  afterAll(() => database?.drop());

  async function fresh(): Promise<TestDatabase> {
    const other = await createDatabase("llmspell");
    return other;
  }

  it("arrives whole, on both sides of the 1 MiB line, wherever it is stored", async () => {
    await using other = await fresh();
    const sizes = [0, 1, 2047, 2048, 8000, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB, 3 * MIB + 17];
    const expected = new Map<string, Buffer>();
    for (const size of sizes)
      for (const storage of ["bytea", "large_object"] as const) {
        const hash = `${String(size).padStart(9, "0")}-${storage}`;
        // What compresses is kept compressed by the server.
        const data = size % 2 === 0 ? random.bytes(size) : Buffer.alloc(size, "llmspell ");
        expected.set(hash, data);
        await insertContent(other.url, hash, storage, data);
      }
    for (const mode of ["copy", "cursor"] as const) {
      const reading = await readPostgres(other, { mode, paths });
      const records = recordsAt(reading, path);
      expect(records.map((record) => JSON.parse(record["content_hash"] as string))).toEqual([...expected.keys()]);
      for (const record of records) {
        const hash = JSON.parse(record["content_hash"] as string) as string;
        const data = Buffer.from(JSON.parse(record["data"] as string) as string, "base64");
        expect([hash, data.length, sha256(data)]).toEqual([
          hash,
          expected.get(hash)?.length,
          sha256(expected.get(hash) as Buffer),
        ]);
        expect(record["storage_type"]).toBe(data.length < MIB ? '"bytea"' : '"large_object"');
        expect(record["size_bytes"]).toBe("7");
      }
      expect(reading.rejected).toEqual([]);
    }
  });

  it("may have holes, which are zeros", async () => {
    await using other = await fresh();
    const oid = await insertContent(other.url, "sparse", "large_object", Buffer.from("a"));
    await withClient(other.url, (client) => client.query("SELECT lo_put($1, $2, 'z')", [oid, 5 * MIB]));
    for (const mode of ["copy", "cursor"] as const) {
      const [record] = recordsAt(await readPostgres(other, { mode, paths }), path);
      const data = Buffer.from(JSON.parse(record?.["data"] as string) as string, "base64");
      const expected = Buffer.alloc(5 * MIB + 1);
      expected.write("a");
      expected.write("z", 5 * MIB);
      expect([data.length, sha256(data)]).toEqual([expected.length, sha256(expected)]);
    }
  });

  it("travels in chunks, which may be left unread, in part or whole", async () => {
    await using other = await fresh();
    for (const n of [1, 2, 3, 4]) await insertContent(other.url, `h${n}`, "large_object", random.bytes(3 * MIB + n));
    await insertContent(other.url, "h5", "bytea", Buffer.from("small"));
    for (const mode of ["copy", "cursor"] as const) {
      const source = sourceOf(other, { mode });
      await source.open(context);
      const seen: string[] = [];
      for await (const batch of source.read({ paths }, context)) {
        const { large } = batch;
        seen.push(recordKey(batch, 0));
        if (large === undefined) continue;
        const lengths: number[] = [];
        // h1: not at all; h2: discarded; h3: one chunk; h4: all
        if (seen.length === 2) await large.discard();
        if (seen.length === 3) for await (const _ of large.chunks()) break;
        if (seen.length !== 4) continue;
        for await (const chunk of large.chunks()) lengths.push(chunk.length);
        expect(lengths).toEqual([LARGE_VALUE_BYTES, LARGE_VALUE_BYTES, LARGE_VALUE_BYTES, 4]);
        await expect(large.chunks()[Symbol.asyncIterator]().next()).rejects.toThrow("read once");
      }
      expect(seen).toEqual([1, 2, 3, 4, 5].map((n) => `tenant_id=t, content_hash=h${n}`));
      await source.close();
    }
  });

  it("is of the snapshot, also when its large object is unlinked meanwhile and the space is taken back", async () => {
    await using other = await fresh();
    const data = random.bytes(2 * MIB + 9);
    const oids = [];
    for (const n of [1, 2, 3]) oids.push(await insertContent(other.url, `h${n}`, "large_object", data));
    for (const mode of ["copy", "cursor"] as const) {
      const source = sourceOf(other, { mode });
      await source.open(context);
      let read = 0;
      for await (const batch of source.read({ paths }, context)) {
        if (read === 0 && mode === "copy") {
          await withClient(other.url, async (client) => {
            await client.query("SELECT lo_unlink(oid) FROM pg_largeobject_metadata");
            await client.query("VACUUM pg_largeobject");
          });
        }
        const chunks: Buffer[] = [];
        for await (const chunk of batch.large?.chunks() ?? []) chunks.push(Buffer.from(chunk));
        if (mode === "copy") expect(sha256(Buffer.concat(chunks))).toBe(sha256(data));
        read++;
      }
      await source.close().catch(() => {});
      expect(read).toBe(3);
      if (mode === "copy") {
        await withClient(other.url, (client) => client.query("TRUNCATE llmspell.artifact_content CASCADE"));
        for (const n of [1, 2, 3]) await insertContent(other.url, `h${n}`, "large_object", data);
      }
    }
    expect(oids).toHaveLength(3);
  });

  it("that is gone, or that the role may not read, is a rejected record, and the rest goes on", async () => {
    await using other = await fresh();
    await using role = await createTestRole(other, { attributes: "NOSUPERUSER BYPASSRLS" });
    const gone = await insertContent(other.url, "h1-gone", "large_object", random.bytes(2 * MIB));
    const own = await insertContent(other.url, "h2-granted", "large_object", random.bytes(2 * MIB));
    await insertContent(other.url, "h3-forbidden", "large_object", random.bytes(2 * MIB));
    const open = await insertContent(other.url, "h4-public", "large_object", random.bytes(5));
    await insertContent(other.url, "h5-inline", "bytea", Buffer.from("x"));
    await withClient(other.url, async (client) => {
      await client.query("SELECT lo_unlink($1)", [gone]);
      await client.query(`GRANT SELECT ON LARGE OBJECT ${own} TO ${role.name}`);
      await client.query(`GRANT SELECT ON LARGE OBJECT ${open} TO PUBLIC`);
      await client.query(`GRANT USAGE ON SCHEMA llmspell TO ${role.name}`);
      await client.query(`GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO ${role.name}`);
    });
    for (const mode of ["copy", "cursor"] as const) {
      const reading = await readPostgres({ url: role.url }, { mode, paths });
      expect(recordsAt(reading, path).map((record) => record["content_hash"])).toEqual([
        '"h2-granted"',
        '"h4-public"',
        '"h5-inline"',
      ]);
      expect(reading.rejected.map(({ error }) => [error.code, error.context.key, error.context.field])).toEqual([
        ["E_LARGE_OBJECT_MISSING", "tenant_id=t, content_hash=h1-gone", "data"],
        ["E_PERMISSION", "tenant_id=t, content_hash=h3-forbidden", "data"],
      ]);
      expect(reading.rejected[1]?.error.context.hint).toContain("GRANT SELECT ON LARGE OBJECT");
      expect(JSON.parse(reading.rejected[0]?.record as string)).toMatchObject({
        content_hash: "h1-gone",
        data: null,
        size_bytes: 7,
      });
      const asSuperuser = await readPostgres(other, { mode, paths });
      expect(asSuperuser.rejected.map(({ error }) => error.context.key)).toEqual(["tenant_id=t, content_hash=h1-gone"]);
    }
    await withClient(other.url, (client) => client.query(`ALTER ROLE ${role.name} SET lo_compat_privileges = on`));
    expect((await readPostgres({ url: role.url }, { paths })).rejected).toHaveLength(1);
  });

  it("is rejected with its content when another field of a large record cannot be read", async () => {
    await using other = await fresh();
    const data = random.bytes(MIB + 1);
    await insertContent(other.url, "h1", "large_object", data);
    await insertContent(other.url, "h2", "large_object", data);
    await withClient(other.url, async (client) => {
      await client.query("ALTER TABLE llmspell.artifact_content ALTER COLUMN is_compressed DROP NOT NULL");
      await client.query("UPDATE llmspell.artifact_content SET is_compressed = NULL WHERE content_hash = 'h1'");
    });
    const reading = await readPostgres(other, { paths });
    expect(recordsAt(reading, path)).toHaveLength(1);
    const [rejected] = reading.rejected;
    expect(rejected?.error.context).toMatchObject({ field: "is_compressed", key: "tenant_id=t, content_hash=h1" });
    const record = JSON.parse(rejected?.record as string) as { data: string; storage_type: string };
    expect(record.storage_type).toBe("large_object");
    expect(sha256(Buffer.from(record.data, "base64"))).toBe(sha256(data));
  });

  it("of 100 MiB is never held whole", async () => {
    await using other = await fresh();
    const data = random.bytes(100 * MIB);
    await insertContent(other.url, "huge", "large_object", data);
    const expected = sha256(data);
    const source = sourceOf(other);
    await source.open(context);
    const hash = createHash("sha256");
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    for await (const batch of source.read({ paths }, context))
      for await (const chunk of batch.large?.chunks() ?? []) {
        expect(chunk.length).toBeLessThanOrEqual(MIB);
        hash.update(chunk);
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
      }
    await source.close();
    expect(hash.digest("hex")).toBe(expected);
    expect(most).toBeLessThan(64 * MIB);
  });

  it("leaves no descriptor open on the server, however many there are", async () => {
    await using other = await fresh();
    await withClient(other.url, (client) =>
      client.query(
        `INSERT INTO llmspell.artifact_content
           (tenant_id, content_hash, storage_type, large_object_oid, size_bytes, created_at, last_accessed_at)
         SELECT 't', 'h' || n, 'large_object', lo_from_bytea(0, 'x'), 1, 'epoch', 'epoch' FROM generate_series(1, 3000) n`,
      ),
    );
    const reading = await readPostgres(other, { paths });
    expect(recordsAt(reading, path)).toHaveLength(3000);
    const connection = await connectPostgres(other);
    await connection.query("BEGIN");
    const { rows } = await connection.query("SELECT lo_open(oid, 262144) AS fd FROM pg_largeobject_metadata LIMIT 1");
    expect(rows).toEqual([{ fd: 0 }]);
    await connection.close();
  });
});
