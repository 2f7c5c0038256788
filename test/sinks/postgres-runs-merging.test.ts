/** Runs into tables that have rows: what they merge, as one job would, how they are resumed, and how all of it is given back. */
import pg from "pg";
import { beforeAll, expect, it } from "vitest";
import {
  type ImportOptions,
  importStore,
  listRuns,
  StorageError,
  type Transform,
  undoRun,
  verifyStores,
} from "../../src/index.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { createRunStage, type RunStage } from "../helpers/run-stage.js";
import { dumpOf, largeObjectsOf, query, SMALL_PARTS, sorted, unfinishedState, useFurther } from "../helpers/runs.js";

describePostgres("a run into tables that have rows", () => {
  let targets: RunStage["targets"];
  let source: string;
  let document: string;
  /** A database that has been used since it got the source's records. */
  let used: string;
  let before: string;
  const stage = createRunStage({ records: 12, contentSizes: [1048576, 9, 1048577, 12] });
  beforeAll(async () => {
    ({ targets, source, document } = stage);
    used = await targets.next();
    await importStore({ from: document, to: used });
    await useFurther(used);
    before = sorted(dumpOf(used));
  });

  const run = (to: string, options: Partial<ImportOptions> = {}) =>
    importStore({ from: document, to, jobs: 2, ...options });
  const resume = (to: string, options: Partial<ImportOptions> = {}) =>
    importStore({ from: document, to, resume: true, ...options });
  const same = async (a: string, b: string): Promise<void> => {
    expect((await verifyStores({ a, b })).identical).toBe(true);
  };
  /** Tables of a run, and large objects that no row has. */
  const expectNothingLeft = async (url: string): Promise<void> => {
    const rows = await query(
      url,
      `SELECT relname::text FROM pg_class WHERE relname ~ '^storage_(staged|replaced)' UNION ALL
       SELECT oid::text FROM pg_largeobject_metadata m WHERE NOT EXISTS (SELECT FROM llmspell.artifact_content c WHERE c.large_object_oid = m.oid)`,
    );
    expect(rows).toEqual([]);
  };

  /** While others hold a lock that the run comes to late. */
  async function stopped(to: string, table: string, options: Partial<ImportOptions> = {}): Promise<void> {
    const other = new pg.Client({ connectionString: to });
    await other.connect();
    try {
      await other.query(`BEGIN; LOCK TABLE llmspell.${table} IN ROW EXCLUSIVE MODE`);
      await expect(run(to, { lockTimeoutSeconds: 0.3, ...options })).rejects.toMatchObject({ code: "E_LOCKED" });
      expect(await unfinishedState(to)).toBe("loading");
    } finally {
      await other.end();
    }
  }
  const merged = async (url: string): Promise<string[]> =>
    (
      await query<{ section: string }>(
        url,
        "SELECT section FROM llmspell.storage_parts WHERE digest = 'merged' ORDER BY 1",
      )
    ).map(({ section }) => section);

  it.each(["update", "skip"] as const)("brings what one job brings (%s), and counts it so", async (onConflict) => {
    const [one, many] = [await targets.next(used), await targets.next(used)];
    const expected = await importStore({ from: document, to: one, onConflict });
    const found = await run(many, { onConflict });
    expect(found.totals).toEqual(expected.totals);
    expect(found.kinds).toEqual(expected.kinds);
    await same(one, many);
    expect(dumpOf(many, true)).toBe(dumpOf(one, true));
    expect(await largeObjectsOf(many)).toBe(await largeObjectsOf(one));
    await expectNothingLeft(many);
    expect(found.notes.filter((line) => line.includes("raised"))).toEqual(
      expected.notes.filter((line) => line.includes("raised")),
    );
  });

  it("finds with --on-conflict error what is there, and is undone", async () => {
    const target = await targets.next(used);
    await expect(run(target, { onConflict: "error" })).rejects.toMatchObject({ code: "E_CONFLICT" });
    await undoRun(target);
    expect(sorted(dumpOf(target))).toBe(before);
    await expectNothingLeft(target);
  });

  it("is resumed behind the merges that it has made, and undone with all that they changed", async () => {
    const [target, other] = [await targets.next(used), await targets.next(used)];
    for (const each of [target, other]) await stopped(each, "event_log");
    const first = await merged(target);
    expect(first).toContain("artifacts.artifacts");
    expect(first).not.toContain("event_log");
    expect((await listRuns(target))[0]?.sectionsToMerge).toContain("event_log");
    const one = await targets.next(used);
    const expected = await importStore({ from: document, to: one });
    const found = await resume(target);
    expect(found.totals).toEqual(expected.totals);
    await same(one, target);
    await expectNothingLeft(target);
    const undone = await undoRun(other);
    expect(undone.kept).toEqual([]);
    expect(sorted(dumpOf(other))).toBe(before);
    await expectNothingLeft(other);
  });

  it("keeps and names what others have changed meanwhile, and gives the rest back", async () => {
    const target = await targets.next(used);
    await stopped(target, "event_log");
    const found = await query<{ changed: string; added: string }>(
      target,
      `SELECT (SELECT s.session_id::text FROM llmspell.sessions s JOIN llmspell.storage_replaced_sessions r USING (tenant_id, session_id) LIMIT 1) AS changed,
         (SELECT kv_id::text FROM llmspell.kv_store WHERE xmin::text = (SELECT (transaction::text::numeric % 4294967296)::text FROM llmspell.storage_parts
           WHERE section = 'kv_store' AND digest = 'merged') AND kv_id NOT IN (SELECT llmspell_key_0 FROM llmspell.storage_replaced_kv_store) LIMIT 1) AS added`,
    );
    const { changed = "", added = "" } = found[0] ?? {};
    await query(target, `UPDATE llmspell.sessions SET session_data = '{"mine": 1}' WHERE session_id = $1`, [changed]);
    await query(target, `UPDATE llmspell.kv_store SET value = 'mine' WHERE kv_id = $1`, [added]);
    const undone = await undoRun(target);
    expect(undone.kept.map((line) => line.replace(/ stays: .*/, "")).sort()).toEqual([
      "kv_store: 1 record, changed by others meanwhile,",
      "sessions: 1 record, changed by others meanwhile,",
    ]);
    expect(undone.kept.join()).toContain(changed);
    const rest = async (url: string): Promise<string> =>
      sorted(dumpOf(url))
        .split("\n")
        .filter((line) => !line.includes(changed) && !line.includes(added))
        .join("\n");
    expect(await rest(target)).toBe(await rest(used));
    await expectNothingLeft(target);
  });

  it("takes its merges back, and merges again, when it is resumed from a source that has changed", async () => {
    const [from, target, one] = [await targets.next(source), await targets.next(used), await targets.next(used)];
    await stopped(target, "event_log");
    await query(
      from,
      `SET session_replication_role = replica;
       DELETE FROM llmspell.kv_store WHERE ctid IN (SELECT ctid FROM llmspell.kv_store LIMIT 3);
       UPDATE llmspell.sessions SET status = 'active' WHERE ctid IN (SELECT ctid FROM llmspell.sessions LIMIT 3);
       DELETE FROM llmspell.artifacts WHERE ctid IN (SELECT ctid FROM llmspell.artifacts LIMIT 3);
       INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('own', 'own 1', 'theirs')`,
    );
    const expected = await importStore({ from, to: one });
    const found = await resume(target, { from });
    expect(found.kinds).toEqual(expected.kinds);
    await same(one, target);
    await expectNothingLeft(target);
  });

  it("names a row that cannot be given back, as others have its key by now, and gives back the others", async () => {
    const [from, target] = [await targets.next(source), await targets.next(used)];
    for (const [url, key] of [
      [target, "before"],
      [from, "after"],
    ] as const)
      await query(
        url,
        `INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value)
         SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'row', '${key} ' || n, 'x' FROM generate_series(1, 4) n`,
      );
    const rows = () =>
      query<{ key: string }>(
        target,
        "SELECT kv_id::text || ' ' || key AS key FROM llmspell.kv_store WHERE tenant_id = 'row' ORDER BY key",
      );
    await stopped(target, "event_log", { from, include: ["kv_store", "event_log"] });
    expect((await rows()).map(({ key }) => key.slice(35))).toEqual([
      "1 after 1",
      "2 after 2",
      "3 after 3",
      "4 after 4",
    ]);
    await query(target, "INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('row', 'before 3', 'theirs')");
    const { kept } = await undoRun(target);
    expect(kept).toEqual([
      expect.stringMatching(/^kv_store: 1 record, whose keys of before others have by now, stays: .*0003$/),
    ]);
    expect(
      (await rows()).map(({ key }) => key.slice(35)).filter((key) => key.length === 10 || key.includes("after")),
    ).toEqual(expect.arrayContaining(["3 after 3", "1 before 1", "2 before 2", "4 before 4"]));
    await expectNothingLeft(target);
  });

  it("leaves orphans out as one job does, and reports them, also when it is resumed", async () => {
    const [from, target, one] = [await targets.next(source), await targets.next(used), await targets.next(used)];
    // Artifacts whose session is in neither.
    const gone = "SELECT session_id FROM llmspell.artifacts ORDER BY session_id LIMIT 1";
    const [session] = await query<{ session_id: string }>(from, gone);
    for (const url of [from, target, one])
      await query(
        url,
        `SET session_replication_role = replica; DELETE FROM llmspell.sessions WHERE session_id = '${session?.session_id}'`,
      );
    for (const url of [target, one])
      await query(url, `DELETE FROM llmspell.artifacts WHERE session_id = '${session?.session_id}'`);
    await expect(run(target, { from })).rejects.toMatchObject({ code: "E_ORPHAN" });
    const expected = await importStore({ from, to: one, onOrphan: "drop" });
    const found = await resume(target, { from, onOrphan: "drop" });
    expect(found.totals.dropped).toBeGreaterThan(0);
    expect(found.kinds).toEqual(expected.kinds);
    await same(one, target);
    await expectNothingLeft(target);
  });

  it("holds rule 1 over all parts, naming both records", async () => {
    const twice = await targets.next(source);
    await query(
      twice,
      `ALTER TABLE llmspell.kv_store DROP CONSTRAINT unique_kv_key;
       INSERT INTO llmspell.kv_store (tenant_id, key, value) SELECT tenant_id, key, 'again' FROM llmspell.kv_store LIMIT 1`,
    );
    const target = await targets.next(used);
    process.env["LLMSPELL_STORAGE_PART_BYTES"] = "500";
    const error = await run(target, { from: twice }).catch((failure) => failure);
    Object.assign(process.env, SMALL_PARTS);
    expect(error).toMatchObject({ code: "E_KEY_CONFLICT", context: { section: "kv_store", key: expect.any(String) } });
    expect(error.context.detail).toContain("the other record is kv_id=");
    await undoRun(target);
    expect(sorted(dumpOf(target))).toBe(before);
  });

  it("names the record that the target refuses, and takes no table that others may write to", async () => {
    const target = await targets.next(used);
    await query(
      target,
      "ALTER TABLE llmspell.agent_states ADD CONSTRAINT mine CHECK (agent_type <> 'refused') NOT VALID",
    );
    const from = await targets.next(source);
    await query(
      from,
      "UPDATE llmspell.agent_states SET agent_type = 'refused' WHERE ctid = (SELECT max(ctid) FROM llmspell.agent_states)",
    );
    await expect(run(target, { from })).rejects.toMatchObject({
      code: "E_CHECK",
      context: { section: "agent_state", key: expect.stringContaining("state_id=") },
    });
    await query(target, "GRANT INSERT ON llmspell.storage_replaced_agent_states TO PUBLIC");
    for (const refused of [undoRun, resume])
      await expect(refused(target)).rejects.toMatchObject({
        code: "E_PERMISSION",
        message: expect.stringContaining("storage_replaced_agent_states"),
      });
    await query(target, "REVOKE INSERT ON llmspell.storage_replaced_agent_states FROM PUBLIC");
    await undoRun(target);
    await query(target, "ALTER TABLE llmspell.agent_states DROP CONSTRAINT mine");
    expect(sorted(dumpOf(target))).toBe(before);
  });

  it("keeps what a part was loaded into that is committed while the run is given up", async () => {
    const [from, target] = [await targets.next(), await targets.next()];
    const rows = (tenant: string): string => `
      INSERT INTO llmspell.kv_store (tenant_id, key, value) SELECT '${tenant}', 'k' || n, 'v' FROM generate_series(1, 2) n;
      INSERT INTO llmspell.sessions (tenant_id, session_id, session_data) VALUES ('${tenant}', gen_random_uuid(), '{}');`;
    await query(from, rows("new"));
    // The first part's commit waits, and its server does not look for its client.
    await query(
      target,
      `${rows("old")}
       CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         PERFORM set_config('client_connection_check_interval', '0', true), pg_advisory_xact_lock_shared(42);
         RETURN NULL;
       END $$;
       CREATE FUNCTION public.let_wait() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE made record; BEGIN
         FOR made IN SELECT object_identity AS name FROM pg_event_trigger_ddl_commands() WHERE object_identity ~ 'storage_staged_kv_store' LOOP
           EXECUTE format('CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON %1$s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.wait();
             ALTER TABLE %1$s ENABLE ALWAYS TRIGGER waits', made.name);
         END LOOP;
       END $$;
       CREATE EVENT TRIGGER stages ON ddl_command_end WHEN TAG IN ('CREATE TABLE AS') EXECUTE FUNCTION public.let_wait()`,
    );
    const holder = new pg.Client({ connectionString: target });
    await holder.connect();
    const waiting = async (advisory: boolean): Promise<void> => {
      const sql = `SELECT FROM pg_locks WHERE NOT granted AND (locktype = 'advisory') = ${advisory}`;
      while ((await holder.query(sql)).rowCount === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    };
    try {
      await holder.query("SELECT pg_advisory_lock(42)");
      process.env["LLMSPELL_STORAGE_PART_BYTES"] = "1";
      const failing: Transform = {
        name: "fails",
        async *apply(batches) {
          for await (const batch of batches) {
            if (batch.kind.path === "sessions") {
              await waiting(true);
              throw new StorageError("E_IO", "the source is gone");
            }
            yield batch;
          }
        },
      };
      const options = { from, jobs: 3, include: ["kv_store", "sessions"], transforms: [failing], cascade: false };
      const outcome = run(target, options).then(
        () => undefined,
        (error) => error,
      );
      await waiting(false);
      await holder.query("SELECT pg_advisory_unlock(42)");
      expect(await outcome).toMatchObject({ code: "E_IO", context: { hint: expect.stringContaining("storage undo") } });
      expect(await unfinishedState(target)).toBe("loading");
      await holder.query(
        "DROP EVENT TRIGGER stages; DROP TRIGGER waits ON llmspell.storage_staged_kv_store; DROP FUNCTION public.wait(), public.let_wait()",
      );
      await undoRun(target);
      await expectNothingLeft(target);
      expect(await query(target, "SELECT FROM llmspell.kv_store")).toHaveLength(2);
    } finally {
      Object.assign(process.env, SMALL_PARTS);
      await holder.end();
    }
  });
});
