/** No import orphans a large object: pg_largeobject_metadata is counted before and after everything that can happen to one. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { describePostgres } from "../helpers/postgres-server.js";
import * as records from "./records.js";
import { MIB, type Sections } from "./records.js";
import { createPostgresStore, createSqliteStore, load, postgresRows, type TestStore, unload } from "./support.js";

const bytesOf = (length: number, seed: number): Buffer => {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + seed + (i >> 9);
  return bytes;
};
const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Three contents in large objects, one beside them in the row, and an artifact. */
const family = (seed: number, more: Sections = {}): Sections => ({
  sessions: [records.session(1)],
  "artifacts.content": [
    ...["a", "b", "c"].map((hash, n) => records.content(hash, bytesOf(MIB + n, seed + n))),
    records.content("small", bytesOf(MIB - 1, seed)),
  ],
  "artifacts.artifacts": [records.artifact(1, 0, "a")],
  ...more,
});
const HASHES = (seed: number): unknown[][] =>
  ["a", "b", "c"]
    .map((hash, n) => [hash, "large_object", sha(bytesOf(MIB + n, seed + n))])
    .concat([["small", "bytea", sha(bytesOf(MIB - 1, seed))]]);

describePostgres("large objects", () => {
  let target: TestStore;
  beforeAll(async () => {
    target = await createPostgresStore();
  });
  beforeEach(() => target.clear());
  afterAll(() => target.drop());

  const count = async (): Promise<bigint> =>
    (await target.rows("SELECT count(*) FROM pg_largeobject_metadata"))[0]?.[0] as bigint;
  const contents = (): Promise<unknown[][]> =>
    target.rows(
      `SELECT content_hash, storage_type, encode(sha256(coalesce(data, lo_get(large_object_oid))), 'hex')
       FROM llmspell.artifact_content ORDER BY 1`,
    );
  /** Every large object belongs to a row, and every row to one of its own. */
  const referred = async (): Promise<bigint> =>
    (
      await target.rows(
        `SELECT count(DISTINCT m.oid) FROM pg_largeobject_metadata m JOIN llmspell.artifact_content c ON c.large_object_oid = m.oid`,
      )
    )[0]?.[0] as bigint;

  it("are as many after an upsert, a re-import, a skip and a dry run", async () => {
    await load(family(1), target);
    expect([await count(), await referred(), await contents()]).toEqual([3n, 3n, HASHES(1)]);
    await load(family(1), target);
    expect([await count(), await referred(), await contents()]).toEqual([3n, 3n, HASHES(1)]);
    await load(family(5), target);
    expect([await count(), await referred(), await contents()]).toEqual([3n, 3n, HASHES(5)]);
    await load(family(7), target, { onConflict: "skip" });
    expect([await count(), await referred(), await contents()]).toEqual([3n, 3n, HASHES(5)]);
    await load(family(8), target, { dryRun: true });
    expect([await count(), await referred(), await contents()]).toEqual([3n, 3n, HASHES(5)]);
  });

  it("are as many after a run that is rolled back, into an empty database and into a filled one", async () => {
    const bad: Sections = { hook_history: [records.hook(1, { duration_ms: 2147483648 })] };
    const orphan: Sections = { "artifacts.artifacts": [records.artifact(1, 0, "gone")] };
    for (const [objects, hashes] of [
      [0n, []],
      [3n, HASHES(1)],
    ] as const) {
      for (const more of [bad, orphan]) expect((await failureOf(load(family(2, more), target))).code).toMatch(/^E_/);
      expect([await count(), await contents()]).toEqual([objects, hashes]);
      if (objects === 3n)
        expect((await failureOf(load(family(2), target, { onConflict: "error" }))).code).toBe("E_CONFLICT");
      expect([await count(), await contents()]).toEqual([objects, hashes]);
      await load(family(1), target);
    }
  });

  it("go with records that are rejected, and with content that shrinks", async () => {
    await load(family(1), target);
    const { rejected } = await load(
      {
        "artifacts.content": [
          records.content("d", bytesOf(MIB, 1), { reference_count: 0 }),
          records.content("e", bytesOf(MIB, 1)),
          records.content("e", bytesOf(MIB, 2)),
          records.content("b", bytesOf(5, 1)),
        ],
      },
      target,
      { skip: true },
    );
    expect(rejected.map(({ error }) => error.code)).toEqual(["E_CHECK", "E_KEY_CONFLICT"]);
    expect([await count(), await referred()]).toEqual([3n, 3n]);
    expect((await contents()).map(([hash, type]) => [hash, type])).toEqual([
      ["a", "large_object"],
      ["b", "bytea"],
      ["c", "large_object"],
      ["e", "large_object"],
      ["small", "bytea"],
    ]);
  });

  it("made by an administrator can be read by llmspell_app", async () => {
    await load(family(1), target);
    const url = new URL(target.store);
    url.username = "llmspell_app";
    url.password = "";
    expect(
      await postgresRows(url.href, `SELECT set_config('app.current_tenant_id', 't', false) IS NOT NULL`),
    ).toHaveLength(1);
    const [oid] = (
      await target.rows("SELECT large_object_oid::text FROM llmspell.artifact_content WHERE content_hash = 'a'")
    )[0] as [string];
    expect(await postgresRows(url.href, `SELECT encode(sha256(lo_get(${oid})), 'hex')`)).toEqual([
      [sha(bytesOf(MIB, 1))],
    ]);
  });

  it("are exported with their content, and one that is gone is a coded error", async () => {
    await load(family(1), target);
    const sqlite = createSqliteStore();
    try {
      await load(target, sqlite);
      const rows = await sqlite.rows("SELECT content_hash, data FROM artifact_content ORDER BY 1");
      expect(rows.map(([hash, data]) => [hash, sha(data as Buffer)])).toEqual(
        HASHES(1).map(([hash, , digest]) => [hash, digest]),
      );
      await target.run("SELECT lo_unlink(large_object_oid) FROM llmspell.artifact_content WHERE content_hash = 'b'");
      const error = await failureOf(unload(target));
      expect([error.code, error.context.section, error.context.key]).toEqual([
        "E_LARGE_OBJECT_MISSING",
        "artifacts.content",
        "tenant_id=t, content_hash=b",
      ]);
      expect((await unload(target, { skip: true })).result.totals).toMatchObject({ read: 5, rejected: 1 });
    } finally {
      await sqlite.drop();
    }
  });
});
