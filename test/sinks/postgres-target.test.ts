import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, connect as dial } from "node:net";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Rejection } from "../../src/records/run-context.js";
import { failureOf } from "../conformance/expectations.js";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { refusingCopy } from "../helpers/refusing-copy.js";
import { load, record, rowsOf, sql, Token } from "./postgres-support.js";

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
const session = (n: number, more: Record<string, unknown> = {}) =>
  record("sessions", {
    tenant_id: "t",
    session_id: id(n),
    session_data: {},
    status: "active",
    created_at: 0,
    last_accessed_at: 0,
    artifact_count: 0,
    updated_at: 1,
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
const kv = (n: number, more: Record<string, unknown> = {}) =>
  record("kv_store", { kv_id: id(n), tenant_id: "t", key: `k${n}`, value: "", created_at: 0, updated_at: 0, ...more });

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

describePostgres("a PostgreSQL target", () => {
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

  it("that knows no COPY is loaded by INSERT, and its refusals still are records", async () => {
    const refused = { copies: 0 };
    const proxy = await refusingCopy(url(), refused);
    try {
      const through = new URL(url());
      through.host = `127.0.0.1:${(proxy.address() as { port: number }).port}`;
      for (const round of [1, 2]) {
        const rejections: Rejection[] = [];
        const records = [kv(1), kv(2, { metadata: new Token('{"n":1e200000}') }), kv(3), session(1)];
        const { report } = await load(through.href, records, { rejections, batchSize: 2 });
        expect(rejections.map(({ error }) => [error.code, error.context.key])).toEqual([
          ["E_OUT_OF_RANGE", `kv_id=${id(2)}`],
        ]);
        expect(report.counts.get("kv_store")).toMatchObject(
          round === 1 ? { inserted: 2, updated: 0 } : { inserted: 0, updated: 2 },
        );
        // Once for each kind.
        expect(refused.copies).toBe(round * 2);
      }
    } finally {
      proxy.close();
    }
    expect(await rowsOf(url(), "kv_store")).toHaveLength(2);
  });

  describe("foreign keys", () => {
    it("are checked against parents that the target had before", async () => {
      await load(url(), [session(1), content("h", Buffer.alloc(3))]);
      await load(url(), [artifact(1, 0, "h")]);
      const error = await failureOf(load(url(), [artifact(1, 1, "h"), artifact(2, 0, "h"), artifact(2, 1, "x")]));
      expect(error.code).toBe("E_ORPHAN");
      expect(error.context).toMatchObject({
        section: "artifacts.artifacts",
        key: `tenant_id=t, artifact_id=${id(2)}:1:x`,
      });
      expect(`${error.message} ${error.context.detail}`).toMatch(/\b2 records/);
      expect(await rowsOf(url(), "artifacts.artifacts")).toHaveLength(1);
    });

    it.each([false, true])("orphans are dropped or rejected one by one (target has artifacts: %s)", async (filled) => {
      if (filled) await load(url(), [session(9), content("z", Buffer.alloc(1)), artifact(9, 0, "z")]);
      const before = (await rowsOf(url(), "artifacts.artifacts")).length;
      const records = [
        artifact(2, 0, "h"),
        artifact(1, 0, "h"),
        artifact(1, 1, "gone"),
        session(1),
        content("h", Buffer.alloc(3)),
      ];
      const rejections: Rejection[] = [];
      await load(url(), records, { rejections, dryRun: true });
      expect(rejections.map(({ error }) => [error.code, error.context.key, error.context.field]).sort()).toEqual([
        ["E_ORPHAN", `tenant_id=t, artifact_id=${id(1)}:1:gone`, "content_hash"],
        ["E_ORPHAN", `tenant_id=t, artifact_id=${id(2)}:0:h`, "session_id"],
      ]);
      const { report } = await load(url(), records, { onOrphan: "drop" });
      expect(report.counts.get("artifacts.artifacts")).toEqual({ inserted: 1, updated: 0, skipped: 0, dropped: 2 });
      expect(await rowsOf(url(), "artifacts.artifacts")).toHaveLength(before + 1);
    });

    it("children of a rejected parent are rejected, unless the target has the parent", async () => {
      const records = [session(1, { status: "gone" }), artifact(1, 0, "h"), content("h", Buffer.alloc(3))];
      const rejections: Rejection[] = [];
      await load(url(), records, { rejections, onOrphan: "drop" });
      expect(rejections.map(({ error }) => error.code)).toEqual(["E_CHECK", "E_PARENT_REJECTED"]);
      expect(await rowsOf(url(), "artifacts.artifacts")).toEqual([]);
      await load(url(), [session(1)]);
      rejections.length = 0;
      await load(url(), records, { rejections });
      expect(rejections.map(({ error }) => error.code)).toEqual(["E_CHECK"]);
      expect(await rowsOf(url(), "artifacts.artifacts")).toHaveLength(1);
    });
  });

  it("a parent cannot be deleted between the check of its children and the commit", async () => {
    await load(url(), [session(1), content("h", Buffer.alloc(3))]);
    // A trigger that waits at the commit for a lock that the test holds.
    await sql(
      url(),
      `CREATE FUNCTION llmspell.wait() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END';
       CREATE CONSTRAINT TRIGGER waiting AFTER INSERT ON llmspell.artifacts DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION llmspell.wait();
       ALTER TABLE llmspell.artifacts ENABLE ALWAYS TRIGGER waiting`,
    );
    const holder = new pg.Client({ connectionString: url() });
    await holder.connect();
    try {
      await holder.query("SELECT pg_advisory_lock(4711)");
      const run = load(url(), [artifact(1, 0, "h")]);
      const waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()";
      await until(async () => (await sql(url(), waiting)).length === 1);
      await expect(
        sql(url(), "SET lock_timeout = '200ms'; DELETE FROM llmspell.sessions"),
        "the session is held",
      ).rejects.toMatchObject({ code: "55P03" });
      await holder.query("SELECT pg_advisory_unlock(4711)");
      await run;
      expect(await rowsOf(url(), "artifacts.artifacts")).toHaveLength(1);
    } finally {
      await holder.end();
      await sql(url(), "DROP FUNCTION llmspell.wait CASCADE");
    }
  });

  it("a parent that comes alone counts at least the children that the target has", async () => {
    const family = [session(1, { artifact_count: 2 }), content("h", Buffer.alloc(3), { reference_count: 5 })];
    await load(url(), [...family, artifact(1, 0, "h"), artifact(1, 1, "h")]);
    const { report } = await load(url(), [
      session(1, { artifact_count: 1 }),
      content("h", Buffer.alloc(3), { reference_count: 3 }),
    ]);
    expect(report.notes).toEqual([expect.stringMatching(/^artifact_count of 1 session was raised/)]);
    expect(
      await sql(url(), "SELECT artifact_count, reference_count FROM llmspell.sessions, llmspell.artifact_content"),
    ).toEqual([{ artifact_count: 2, reference_count: 3 }]);
  });

  it("one bad record among many is found, and the others arrive", async () => {
    const records = Array.from({ length: 3000 }, (_, n) =>
      kv(n, n === 1717 ? { metadata: new Token("1e400000") } : {}),
    );
    const rejections: Rejection[] = [];
    const { report } = await load(url(), records, { rejections });
    expect(rejections.map(({ error }) => error.context.key)).toEqual([`kv_id=${id(1717)}`]);
    expect(report.counts.get("kv_store")).toEqual({ inserted: 2999, updated: 0, skipped: 0, dropped: 0 });
    expect(await sql(url(), "SELECT count(*)::int AS n FROM llmspell.kv_store")).toEqual([{ n: 2999 }]);
  });

  it("a user's own unique index is a coded error", async () => {
    await sql(url(), "CREATE UNIQUE INDEX own_index ON llmspell.kv_store (created_at)");
    try {
      for (const filled of [false, true]) {
        if (filled) await load(url(), [kv(9, { created_at: 9 })]);
        const error = await failureOf(load(url(), [kv(1), kv(2)]));
        expect([error.code, error.context.section]).toEqual(["E_CONSTRAINT", "kv_store"]);
        expect(error.context.detail).toContain("own_index");
      }
    } finally {
      await sql(url(), "DROP INDEX llmspell.own_index");
    }
  });

  it.each([
    ["a table", "ALTER TABLE llmspell.hook_history RENAME TO gone", "ALTER TABLE llmspell.gone RENAME TO hook_history"],
    [
      "a column",
      "ALTER TABLE llmspell.sessions RENAME expires_at TO gone",
      "ALTER TABLE llmspell.sessions RENAME gone TO expires_at",
    ],
  ])("%s that is missing is E_NOT_MIGRATED", async (_, remove, restore) => {
    await sql(url(), remove);
    try {
      const error = await failureOf(load(url(), [kv(1)]));
      expect([error.code, error.exitStatus]).toEqual(["E_NOT_MIGRATED", 5]);
      expect(error.context.hint).toContain("llmspell database migrate");
    } finally {
      await sql(url(), restore);
    }
  });

  it("a database without a schema, or below V15, is E_NOT_MIGRATED", async () => {
    await using empty = await createTestDatabase();
    expect((await failureOf(load(empty.url, [kv(1)]))).code).toBe("E_NOT_MIGRATED");
    await createLlmspellPostgres(empty.url, 14);
    const error = await failureOf(load(empty.url, [kv(1)]));
    expect([error.code, error.context.section]).toEqual(["E_NOT_MIGRATED", "knowledge_graph.entities"]);
  });

  describe("a run that ends early", () => {
    const digest = (): Promise<unknown[]> =>
      sql(
        url(),
        `SELECT (SELECT count(*) FROM llmspell.kv_store) AS kv, (SELECT count(*) FROM llmspell.artifact_content) AS content,
           (SELECT count(*) FROM pg_largeobject_metadata) AS large,
           (SELECT count(*) FROM pg_inherits WHERE inhparent = 'llmspell.event_log'::regclass) AS partitions`,
      );
    const sessionsOf = (): Promise<{ pid: number }[]> =>
      sql(
        url(),
        `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
         AND application_name = 'llmspell-storage'`,
      );
    beforeEach(() => load(url(), [kv(1), content("a", bytesOf(MIB, 1))]));

    it("by SIGKILL leaves nothing: no row, large object, partition, lock or session", async () => {
      const before = await digest();
      const script = fileURLToPath(new URL("postgres-endless-import.ts", import.meta.url));
      const hooks = new URL("../../scripts/from-source.mjs", import.meta.url).href;
      for (const wait of [0, 40, 130]) {
        const child = spawn(
          process.execPath,
          ["--experimental-transform-types", "--no-warnings", "--import", hooks, script, url()],
          {
            stdio: ["ignore", "pipe", "inherit"],
          },
        );
        await once(child.stdout, "data");
        await new Promise((resolve) => setTimeout(resolve, wait));
        child.kill("SIGKILL");
        await once(child, "exit");
        await until(async () => (await sessionsOf()).length === 0);
        expect(await digest()).toEqual(before);
      }
      await load(url(), [kv(2)]);
    });

    it("at the COMMIT says that nobody knows what became of it", async () => {
      const target = new URL(url());
      const server = createServer((socket) => {
        const upstream = dial(Number(target.port), target.hostname);
        socket.on("data", (chunk) => (chunk.includes("COMMIT\0") ? socket.destroy() : upstream.write(chunk)));
        socket.on("close", () => upstream.destroy());
        upstream.on("error", () => socket.destroy());
        upstream.pipe(socket);
      }).listen(0, "127.0.0.1");
      await once(server, "listening");
      try {
        const through = new URL(url());
        through.host = `127.0.0.1:${(server.address() as { port: number }).port}`;
        const error = await failureOf(load(through.href, [kv(1)]));
        expect([error.code, error.exitStatus]).toEqual(["E_CONNECTION_LOST", 3]);
        expect(error.message).toMatch(/committing/);
        expect(error.context.hint).toMatch(/again/);
      } finally {
        server.close();
      }
    });

    it("because the server ended the session is E_CONNECTION_LOST", async () => {
      const before = await digest();
      const records = function* () {
        for (let n = 0; n < 100_000; n++) yield kv(n + 100);
      };
      const run = failureOf(load(url(), records(), { batchSize: 10 }));
      await until(async () => (await sessionsOf()).length > 0);
      await sql(
        url(),
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
         AND application_name = 'llmspell-storage'`,
      );
      const error = await run;
      expect([error.code, error.exitStatus]).toEqual(["E_CONNECTION_LOST", 3]);
      expect(await digest()).toEqual(before);
    });
  });
});
