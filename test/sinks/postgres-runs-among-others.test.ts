/** Runs among others: what a run removes is what it wrote, and nothing that it has written is lost on the way. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { beforeAll, expect, it } from "vitest";
import { type ImportOptions, importStore, listRuns, undoRun, verifyStores } from "../../src/index.js";
import { createTestRole, describePostgres } from "../helpers/postgres-server.js";
import { createRunStage, type RunStage } from "../helpers/run-stage.js";
import { dumpOf, query, unfinishedState } from "../helpers/runs.js";

describePostgres("a run among others", () => {
  let targets: RunStage["targets"];
  let source: string;
  let document: string;
  let before: string;
  const stage = createRunStage({ records: 30, contentSizes: [1048576, 9, 1048577] });
  beforeAll(() => {
    ({ targets, source, document } = stage);
    before = dumpOf(targets.template);
  });

  const resume = (to: string, options: Partial<ImportOptions> = {}) =>
    importStore({ from: document, to, resume: true, ...options });

  /** A run that ends when its records are there, but for the last. */
  async function interrupted(to: string): Promise<void> {
    const controller = new AbortController();
    await expect(
      importStore({
        from: document,
        to,
        jobs: 2,
        signal: controller.signal,
        onProgress: ({ records }) => void (records >= 440 && controller.abort()),
      }),
    ).rejects.toMatchObject({ code: "E_INTERRUPTED" });
    expect(await unfinishedState(to)).toBe("loading");
  }

  async function during(url: string, sql: string, work: () => Promise<void>): Promise<void> {
    const other = new pg.Client({ connectionString: url });
    await other.connect();
    try {
      await other.query(`BEGIN; ${sql}`);
      await work();
      await other.query("ROLLBACK");
    } finally {
      await other.end();
    }
  }

  it("takes no part for loaded some of whose contents were removed already", async () => {
    const target = await targets.next();
    await interrupted(target);
    const changed = await targets.next();
    await importStore({ from: document, to: changed });
    await query(
      changed,
      "SET session_replication_role = replica; UPDATE llmspell.artifact_content SET is_compressed = NOT is_compressed",
    );
    // A resume ends while it removes the parts that have changed, ...
    const parts = "SELECT FROM llmspell.storage_parts WHERE section = 'artifacts.content' FOR UPDATE";
    await during(target, parts, async () => {
      const ended = resume(target, { from: changed, lockTimeoutSeconds: 1 });
      await expect(ended).rejects.toMatchObject({ code: "E_LOCKED" });
    });
    // ... and the next has the source as it was.
    await resume(target);
    expect((await verifyStores({ a: document, b: target })).identical).toBe(true);
  });

  it("is resumed to what the source has also where others have emptied a table, and tells of what they changed", async () => {
    const target = await targets.next();
    await interrupted(target);
    await query(
      target,
      `TRUNCATE llmspell.kv_store; INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('another', 'mine', 'x');
       SET session_replication_role = replica; DELETE FROM llmspell.artifact_content`,
    );
    await query(
      target,
      "UPDATE llmspell.agent_states SET agent_type = 'theirs' WHERE ctid = (SELECT min(ctid) FROM llmspell.agent_states)",
    );
    const warnings: string[] = [];
    await resume(target, { onWarning: (message) => void warnings.push(message) });
    expect(warnings.join("\n")).toMatch(
      /^agent_state: 1 of the source's records stay as others have changed .*state_id=/,
    );
    const theirs = await query(target, "DELETE FROM llmspell.kv_store WHERE key = 'mine' RETURNING key");
    expect(theirs.length).toBe(1);
    const { sections } = await verifyStores({ a: document, b: target });
    expect(sections.filter(({ identical }) => identical < 30).map(({ path }) => path)).toEqual(["agent_state"]);
  });

  it("is resumed with what others have removed, however many records of their own they have added", async () => {
    const target = await targets.next();
    await interrupted(target);
    await query(
      target,
      `DELETE FROM llmspell.kv_store WHERE ctid IN (SELECT ctid FROM llmspell.kv_store LIMIT 2);
       UPDATE llmspell.kv_store SET value = 'theirs' WHERE ctid = (SELECT max(ctid) FROM llmspell.kv_store);
       INSERT INTO llmspell.kv_store (tenant_id, key, value) SELECT 'another', 'mine ' || n, 'x' FROM generate_series(1, 9) n`,
    );
    await resume(target);
    expect(await query(target, "DELETE FROM llmspell.kv_store WHERE tenant_id = 'another' RETURNING key")).toHaveLength(
      9,
    );
    const { sections } = await verifyStores({ a: document, b: target });
    expect(sections.find(({ path }) => path === "kv_store")).toMatchObject({ identical: 29, onlyInA: 0, onlyInB: 0 });
  });

  it("tells, when it is resumed, of records that the source has no more and others need", async () => {
    const target = await targets.next();
    await interrupted(target);
    await query(
      target,
      `CREATE TABLE own (tenant varchar, artifact varchar,
         FOREIGN KEY (tenant, artifact) REFERENCES llmspell.artifacts (tenant_id, artifact_id));
       INSERT INTO own SELECT tenant_id, artifact_id FROM llmspell.artifacts LIMIT 1`,
    );
    const changed = await targets.next();
    await importStore({ from: document, to: changed });
    await query(changed, "SET session_replication_role = replica; DELETE FROM llmspell.artifacts");
    const warnings: string[] = [];
    await resume(target, { from: changed, onWarning: (message) => void warnings.push(message) });
    expect(warnings).toContainEqual(
      expect.stringMatching(/^artifacts\.artifacts: 1 of the records that the run has loaded .* stay/),
    );
  });

  it("leaves, when it is undone, all that a record of others needs, through records of its own too", async () => {
    const target = await targets.next();
    await interrupted(target);
    await query(
      target,
      `CREATE TABLE own (tenant varchar, artifact varchar,
         FOREIGN KEY (tenant, artifact) REFERENCES llmspell.artifacts (tenant_id, artifact_id));
       INSERT INTO own SELECT tenant_id, artifact_id FROM llmspell.artifacts ORDER BY size_bytes DESC LIMIT 1`,
    );
    const whole = `SELECT length(lo_get(c.large_object_oid)) AS length FROM own JOIN llmspell.artifacts a ON tenant = a.tenant_id AND artifact = a.artifact_id
      JOIN llmspell.sessions s USING (tenant_id, session_id)
      JOIN llmspell.artifact_content c ON c.tenant_id = a.tenant_id AND c.content_hash = a.content_hash`;
    const found = await query(target, whole);
    expect(found.length).toBe(1);
    const { kept } = await undoRun(target);
    expect(await query(target, whole)).toEqual(found);
    expect(kept.map((line) => line.replace(/:.*/s, "")).sort()).toEqual([
      "artifacts.artifacts",
      "artifacts.content",
      "sessions",
    ]);
  });

  it("unlinks, when it is undone, no large object that a record of others has too, and misses none", async () => {
    const target = await targets.next();
    await interrupted(target);
    const objects = "SELECT large_object_oid AS oid FROM llmspell.artifact_content WHERE large_object_oid IS NOT NULL";
    const [shared, gone] = await query<{ oid: number }>(target, `${objects} ORDER BY 1`);
    await query(
      target,
      `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, large_object_oid, size_bytes)
         SELECT 'another', content_hash, storage_type, large_object_oid, size_bytes FROM llmspell.artifact_content
         WHERE large_object_oid = ${shared?.oid};
       SELECT lo_unlink(${gone?.oid})`,
    );
    await undoRun(target);
    expect(await query(target, "SELECT oid FROM pg_largeobject_metadata")).toEqual([{ oid: shared?.oid }]);
    expect(await query(target, objects)).toEqual([{ oid: shared?.oid }]);
  });

  it("ends at a table that lets nothing be deleted, and keeps its contents", async () => {
    const target = await targets.next();
    await interrupted(target);
    await query(
      target,
      `CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
       CREATE TRIGGER keep BEFORE DELETE ON llmspell.artifact_content FOR EACH ROW EXECUTE FUNCTION keep();
       ALTER TABLE llmspell.artifact_content ENABLE ALWAYS TRIGGER keep`,
    );
    const objects = "SELECT count(*)::int FROM pg_largeobject_metadata";
    const found = await query(target, objects);
    await expect(undoRun(target)).rejects.toMatchObject({ code: "E_CONSTRAINT" });
    expect(await query(target, objects)).toEqual(found);
    await query(target, "DROP TRIGGER keep ON llmspell.artifact_content; DROP FUNCTION keep()");
    await undoRun(target);
    expect(dumpOf(target)).toBe(before);
  });

  it("is not ended by a server that ends idle sessions", async ({ skip }) => {
    const target = await targets.next();
    const [known] = await query(target, "SELECT FROM pg_settings WHERE name = 'idle_session_timeout'");
    skip(known === undefined, "servers before 14 end none");
    await query(target, `ALTER DATABASE ${new URL(target).pathname.slice(1)} SET idle_session_timeout = '200ms'`);
    let work: Promise<unknown> = Promise.resolve();
    // A record that cannot be written for a while lets the other connections idle.
    const [record] = await query<{ id: string }>(source, "SELECT kv_id::text AS id FROM llmspell.kv_store LIMIT 1");
    const held = `INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value) VALUES ('${record?.id}', 't', 'held', '')`;
    await during(target, held, async () => {
      work = importStore({ from: source, to: target, jobs: 2 });
      work.catch(() => {});
      const parts = "SELECT FROM llmspell.storage_parts";
      while ((await query(target, parts)).length === 0) await sleep(50);
      await sleep(600);
    });
    await work;
    expect((await verifyStores({ a: document, b: target })).identical).toBe(true);
  });

  it("trusts no ledger with a column that others may write, or rows of another table", async () => {
    const target = await targets.next();
    await interrupted(target);
    const [parts] = await query<{ count: string }>(target, "SELECT count(*) FROM llmspell.storage_parts");
    for (const [open, close] of [
      [
        "GRANT UPDATE (transaction) ON llmspell.storage_parts TO PUBLIC",
        "REVOKE ALL ON llmspell.storage_parts FROM PUBLIC",
      ],
      ["CREATE TABLE public.more () INHERITS (llmspell.storage_parts)", "DROP TABLE public.more"],
    ] as const) {
      await query(target, open);
      for (const refused of [undoRun, resume, listRuns])
        await expect(refused(target), open).rejects.toMatchObject({
          code: "E_PERMISSION",
          message: expect.stringContaining("storage_parts"),
        });
      await query(target, close);
    }
    // Numbers that no run has.
    for (const number of ["jobs = 0", "part_bytes = -1", "part_bytes = 2147483647"]) {
      await query(target, `UPDATE llmspell.storage_runs SET ${number}`);
      await expect(resume(target), number).rejects.toMatchObject({ code: "E_RUN_UNFINISHED" });
      await query(target, "UPDATE llmspell.storage_runs SET jobs = 2, part_bytes = 20000");
    }
    expect(await query(target, "SELECT count(*) FROM llmspell.storage_parts")).toEqual([parts]);
    await undoRun(target);
    expect(dumpOf(target)).toBe(before);
  });

  it("reads back what it has loaded, and ends where it is not what was sent", async () => {
    const verified = await targets.next();
    await importStore({ from: document, to: verified, jobs: 2, verifyParts: true, indexJobs: 3 });
    expect((await verifyStores({ a: document, b: verified })).identical).toBe(true);
    // The same into tables that have rows: what waits to be merged.
    await importStore({ from: document, to: verified, jobs: 2, verifyParts: true, indexJobs: 1 });
    expect((await verifyStores({ a: document, b: verified })).identical).toBe(true);
    const target = await targets.next();
    const [{ key = "" } = {}] = await query<{ key: string }>(
      source,
      "SELECT kv_id::text AS key FROM llmspell.kv_store ORDER BY random() LIMIT 1",
    );
    await query(
      target,
      `CREATE FUNCTION llmspell.spoil() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF NEW.kv_id = '${key}' THEN NEW.metadata = '{"spoilt": 1}'; END IF; RETURN NEW; END $$;
       CREATE TRIGGER spoil BEFORE INSERT ON llmspell.kv_store FOR EACH ROW EXECUTE FUNCTION llmspell.spoil();
       ALTER TABLE llmspell.kv_store ENABLE ALWAYS TRIGGER spoil`,
    );
    await expect(importStore({ from: document, to: target, jobs: 2, verifyParts: true })).rejects.toMatchObject({
      code: "E_READ_BACK",
      context: { section: "kv_store", key: expect.stringContaining(key), field: "metadata" },
    });
    expect(await query(target, "SELECT FROM llmspell.kv_store WHERE metadata ? 'spoilt'")).toEqual([]);
    await query(target, "DROP FUNCTION llmspell.spoil CASCADE");
    await resume(target, { verifyParts: true });
    expect((await verifyStores({ a: document, b: target })).identical).toBe(true);
  });

  it("takes options of runs for runs only", async () => {
    const target = await targets.next();
    for (const options of [{ verifyParts: true }, { indexJobs: 2 }, { jobs: 2, indexJobs: 0 }])
      await expect(importStore({ from: document, to: target, ...options })).rejects.toMatchObject({ code: "E_USAGE" });
  });

  it("loads as a role that does not own the tables, keeps the indexes, and says so", async () => {
    const target = await targets.next();
    const database = { url: target, name: new URL(target).pathname.slice(1) } as never;
    await using loader = await createTestRole(database, { attributes: "BYPASSRLS" });
    await using plain = await createTestRole(database);
    // As docs/runs.md says it.
    await query(
      target,
      `GRANT SET ON PARAMETER session_replication_role TO ${loader.name};
       GRANT USAGE, CREATE ON SCHEMA llmspell TO ${loader.name};
       GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA llmspell TO ${loader.name}`,
    );
    // The owner makes the partitions.
    await importStore({ from: document, to: target, include: ["event_log"] });
    await query(target, "DELETE FROM llmspell.event_log");
    const [given, schema] = [dumpOf(target), dumpOf(target, true)];
    try {
      const warnings: string[] = [];
      const options = {
        jobs: 2,
        deferIndexes: "always",
        onWarning: (line: string) => void warnings.push(line),
      } as const;
      const bad = await targets.next(source);
      await query(
        bad,
        "SET session_replication_role = replica; DELETE FROM llmspell.artifact_content WHERE size_bytes = 9",
      );
      await expect(importStore({ from: bad, to: loader.url, ...options })).rejects.toMatchObject({ code: "E_ORPHAN" });
      expect(warnings.join()).toContain("does not own the table");
      await undoRun(loader.url);
      expect(dumpOf(target)).toBe(given);
      await importStore({ from: document, to: loader.url, ...options });
      // Once more: what is there is merged.
      await importStore({ from: document, to: loader.url, ...options });
      expect((await verifyStores({ a: document, b: target })).identical).toBe(true);
      expect(dumpOf(target, true)).toBe(schema);
      // Whom policies bind could have others delete what it may not.
      await query(target, `GRANT SELECT, INSERT ON llmspell.storage_parts TO ${plain.name}`);
      for (const url of [loader.url, target])
        await expect(importStore({ from: document, to: url, jobs: 2 })).rejects.toMatchObject({
          code: "E_PERMISSION",
          message: expect.stringContaining("is open to other roles"),
        });
    } finally {
      await query(
        target,
        `REVOKE SET ON PARAMETER session_replication_role FROM ${loader.name};
         REASSIGN OWNED BY ${loader.name} TO CURRENT_USER; DROP OWNED BY ${loader.name}; DROP OWNED BY ${plain.name}`,
      );
    }
  });
});
