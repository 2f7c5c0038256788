/** Runs: what they refuse, how they are resumed from a source that has changed, and undone among others' rows. */
import { readFileSync, writeFileSync } from "node:fs";
import pg from "pg";
import { beforeAll, expect, it } from "vitest";
import {
  connectPostgres,
  createDocumentSource,
  createPostgresSource,
  digestStore,
  exportStore,
  type ImportOptions,
  importStore,
  listRuns,
  migrateDatabase,
  planTransfer,
  type RecordBatch,
  type Source,
  StorageError,
  storeInfo,
  type Transform,
  undoRun,
  verifyStores,
} from "../../src/index.js";
import type { Workspace } from "../helpers/llmspell.js";
import { startPooler } from "../helpers/pgbouncer.js";
import { createTestRole, describePostgres, sessionsEnd } from "../helpers/postgres-server.js";
import { until } from "../helpers/queue.js";
import { createRunStage, type RunStage } from "../helpers/run-stage.js";
import { dumpOf, query, SMALL_PARTS, unfinishedState } from "../helpers/runs.js";
import { fillPostgres } from "../helpers/sample-data.js";
import { describeWithTools } from "../helpers/system-tools.js";

describePostgres("runs", () => {
  let workspace: Workspace;
  let targets: RunStage["targets"];
  let source: string;
  let document: string;
  let before: string;
  const stage = createRunStage({ records: 30, contentSizes: [1048576, 9, 1048577] });
  beforeAll(() => {
    ({ workspace, targets, source, document } = stage);
    before = dumpOf(targets.template);
  });

  const run = (to: string, options: Partial<ImportOptions> = {}) =>
    importStore({ from: document, to, jobs: 2, ...options });
  const resume = (to: string, options: Partial<ImportOptions> = {}) =>
    importStore({ from: document, to, resume: true, ...options });
  const same = async (a: string, b: string): Promise<void> => {
    expect((await verifyStores({ a, b })).identical).toBe(true);
  };
  const ledger = async (url: string): Promise<number> => (await query(url, "SELECT FROM llmspell.storage_runs")).length;

  /** The source, which ends the run when it has given so many records, and the sections before the one at hand are loaded. */
  function endingWhenLoaded(from: string, to: string, records: number, controller: AbortController): Source {
    const inner = from.startsWith("postgresql:")
      ? createPostgresSource({ connect: () => connectPostgres({ url: from }), name: from })
      : createDocumentSource({ input: { path: from } });
    const reading = inner.read.bind(inner);
    const loaded =
      "SELECT count(*)::int AS parts, coalesce(sum(records), 0)::int AS records FROM llmspell.storage_parts";
    async function* read(...given: Parameters<Source["read"]>): AsyncGenerator<RecordBatch> {
      let [section, before, came] = ["", 0, 0];
      for await (const batch of reading(...given)) {
        if (batch.kind.path !== section) [section, before] = [batch.kind.path, came];
        came += batch.rows;
        yield batch;
        if (came < records || controller.signal.aborted) continue;
        await until(async () => {
          const [found] = await query<{ parts: number; records: number }>(to, loaded);
          return (found?.parts ?? 0) > 0 && (found?.records ?? 0) >= before;
        });
        controller.abort();
      }
    }
    return Object.assign(inner, { read });
  }

  /** A run that ends early, when so many records have been handed on; `atOnce`: with parts under way. */
  async function interrupted(
    to: string,
    records: number,
    { from = document, ...options }: { from?: string } & Omit<Partial<ImportOptions>, "from"> = {},
    atOnce = false,
  ): Promise<string> {
    const controller = new AbortController();
    const error = await run(to, {
      signal: controller.signal,
      from: atOnce ? from : endingWhenLoaded(from, to, records, controller),
      onProgress: (progress) => void (atOnce && progress.records >= records && controller.abort()),
      ...options,
    }).then(
      () => undefined,
      (failure) => failure,
    );
    expect(error).toMatchObject({ code: "E_INTERRUPTED" });
    expect(await unfinishedState(to)).toBe("loading");
    return error.context.hint;
  }

  it("loads nothing of a document or a directory that is not what was written", async () => {
    const digests = { digests: true };
    await exportStore({ from: source, to: workspace.path("many/"), partBytes: 20_000, ...digests });
    await exportStore({ from: source, to: workspace.path("sealed.json"), ...digests });
    // Another program printed it, and changed a record.
    const sealed = readFileSync(workspace.path("sealed.json"), "utf8");
    const anew = `{ ${sealed.slice(1)}`.replace(/("kv_store":\[[\s\S]*?"updated_at":)-?\d+/, "$12");
    writeFileSync(workspace.path("anew.json"), anew);
    const { files } = JSON.parse(readFileSync(workspace.path("many/manifest.json"), "utf8"));
    const last = workspace.path(`many/${files.at(-1).name}`);
    writeFileSync(
      last,
      readFileSync(last, "utf8").replace(/\d(?=[^\d]*$)/, (digit) => (digit === "1" ? "2" : "1")),
    );
    // Each file is what was written, and the manifest says otherwise of two of them.
    await exportStore({ from: source, to: workspace.path("counted/"), partBytes: 20_000 });
    const counted = workspace.path("counted/manifest.json");
    const manifest = JSON.parse(readFileSync(counted, "utf8"));
    type Sections = Record<string, { records: number }>;
    const path = "event_log";
    const two = manifest.files.filter(({ sections }: { sections: Sections }) => path in sections).slice(-2);
    for (const [i, { sections }] of two.entries()) sections[path].records += i === 0 ? 1 : -1;
    writeFileSync(counted, JSON.stringify(manifest));
    const target = await targets.next();
    for (const from of [workspace.path("many/"), workspace.path("anew.json"), workspace.path("counted/")]) {
      await expect(run(target, { from })).rejects.toMatchObject({ code: "E_DOCUMENT_MANIFEST" });
      expect([await ledger(target), dumpOf(target)]).toEqual([0, before]);
    }
    // What is not selected is not looked at.
    await run(target, { from: workspace.path("many/"), include: ["kv_store"] });
    expect(await ledger(target)).toBe(1);
  });

  it("say first what they are, load everything, and are listed", async () => {
    const target = await targets.next();
    const { stdout } = await workspace.must(
      ["storage", "import", "--database", target, "--input", document, "--jobs", "2"],
      { env: SMALL_PARTS },
    );
    expect(stdout.split("\n", 1)[0]).toMatch(/^A run with 2 jobs, not one transaction: .*storage resume.*storage undo/);
    expect(stdout).toContain("✅ Imported 450 total records");
    await same(document, target);
    const [listed] = await listRuns(target);
    expect(listed).toMatchObject({ run: 1, state: "done", jobs: 2, source: document, indexesToBuild: [] });
    const records = Object.values(listed?.sections ?? {}).reduce((sum, section) => sum + section.records, 0);
    expect(records).toBe(450);
    expect(Object.values(listed?.sections ?? {}).some(({ parts }) => parts > 2)).toBe(true);
    const shown = await workspace.must(["storage", "runs", "--database", target]);
    expect(shown.stdout).toMatch(/^Run 1: done; begun .* from .*source\.json, with 2 jobs$/m);
    await expect(undoRun(target)).rejects.toMatchObject({ code: "E_USAGE" });
    await expect(resume(target)).rejects.toMatchObject({ code: "E_USAGE" });
  });

  it("tell digests of records as the target has them, behind what spells them otherwise", async () => {
    const { manifest: _manifest, ...text } = JSON.parse(readFileSync(document, "utf8"));
    for (const record of text.data.vector_embeddings["384"]) record.scope = "tenant:acme";
    writeFileSync(workspace.path("scopes.json"), JSON.stringify({ ...text, source_backend: "sqlite" }));
    const target = await targets.next();
    const options = { from: workspace.path("scopes.json"), include: ["vector_embeddings.384"], translate: "llmspell" };
    const { digests } = await run(target, { ...options, digests: true });
    expect(await query(target, "SELECT DISTINCT scope FROM llmspell.vector_embeddings_384")).toEqual([
      { scope: "custom:tenant:acme" },
    ]);
    const { sections, total } = await digestStore(target);
    expect(digests).toEqual({ sections, total });
  });

  it.each<[string, Partial<ImportOptions>]>([
    ["dryRun", { dryRun: true }],
    ["prune", { prune: true }],
    ["requireEmpty", { requireEmpty: true }],
    ["limit", { limit: 3 }],
    ["onReject", { onReject: () => {} }],
    ["idMap", { idMap: "/nowhere/ids" }],
    ["artifacts without their contents", { exclude: ["artifacts.content"] }],
    ["no jobs", { jobs: 0 }],
  ])("do not go with %s", async (_name, options) => {
    const target = targets.template;
    await expect(run(target, options)).rejects.toMatchObject({ code: "E_USAGE" });
    expect(await ledger(target)).toBe(0);
  });

  it("that have written nothing give their numbers back, but no fence that their sessions could pass", async () => {
    const target = await targets.next();
    const fences: unknown[] = [];
    const failing: Transform = {
      name: "fails",
      // biome-ignore lint/correctness/useYield: it fails before its first batch
      async *apply() {
        fences.push(...(await query(target, "SELECT run, epoch FROM llmspell.storage_runs")));
        throw new StorageError("E_IO", "the source is gone");
      },
    };
    for (let time = 0; time < 2; time++) {
      await expect(run(target, { transforms: [failing], cascade: false })).rejects.toMatchObject({ code: "E_IO" });
      expect(await ledger(target)).toBe(0);
    }
    const [first, second] = fences as { run: number; epoch: number }[];
    expect(first?.run).toBe(second?.run);
    expect(first?.epoch).not.toBe(second?.epoch);
  });

  it("are for servers only", async () => {
    const refused = { code: "E_USAGE", message: expect.stringContaining("is loaded in one transaction") };
    await expect(run(workspace.path("target.db"), { resume: true })).rejects.toMatchObject(refused);
    await expect(run(`pglite:${workspace.path("embedded")}`, { resume: true })).rejects.toMatchObject(refused);
    await expect(listRuns(workspace.path("target.db"))).rejects.toMatchObject({ code: "E_USAGE" });
  });

  it("write nothing where somebody has a table locked that comes late", async () => {
    const target = await targets.next();
    const holder = new pg.Client({ connectionString: target });
    await holder.connect();
    try {
      await holder.query("BEGIN; LOCK TABLE llmspell.hook_history IN SHARE MODE");
      const refused = { code: "E_LOCKED", context: { section: "hook_history" } };
      await expect(run(target, { lockTimeoutSeconds: 0.3 })).rejects.toMatchObject(refused);
      expect(await ledger(target)).toBe(0);
      // What is not brought may be locked.
      await run(target, { lockTimeoutSeconds: 0.3, include: ["kv_store"] });
    } finally {
      await holder.end();
    }
  });

  it("find a damaged document before anything is written", async () => {
    const target = await targets.next();
    const damaged = workspace.path("damaged.json");
    const text = readFileSync(document, "utf8");
    const at = text.lastIndexOf('"tenant_id":"') + 13;
    writeFileSync(damaged, `${text.slice(0, at)}x${text.slice(at + 1)}`);
    await expect(run(target, { from: damaged })).rejects.toMatchObject({ code: "E_DOCUMENT_MANIFEST" });
    expect(await ledger(target)).toBe(0);
    expect(dumpOf(target)).toBe(before);
  });

  it("that are unfinished are told of, and refuse another and other options", async () => {
    const target = await targets.next();
    const hint = await interrupted(target, 300);
    expect(hint).toMatch(/The run 1 is unfinished.*storage resume.*storage undo/);
    const unfinished = { code: "E_RUN_UNFINISHED", context: { hint: expect.stringContaining("storage resume") } };
    await expect(run(target)).rejects.toMatchObject(unfinished);
    // One job, too, and migrations, which would make the indexes that it has dropped.
    for (const prune of [false, true])
      await expect(importStore({ from: document, to: target, prune })).rejects.toMatchObject(unfinished);
    const plan = await planTransfer({ from: document, to: target });
    expect(plan.refusals).toContainEqual(expect.objectContaining({ code: "E_RUN_UNFINISHED" }));
    await query(target, "DROP INDEX llmspell.idx_kv_store_tenant");
    await expect(migrateDatabase(target)).rejects.toMatchObject(unfinished);
    await query(target, "CREATE INDEX idx_kv_store_tenant ON llmspell.kv_store (tenant_id)");
    await expect(resume(target, { tenants: ["somebody"] })).rejects.toMatchObject({
      code: "E_USAGE",
      message: expect.stringContaining("another --tenant"),
    });
    const warnings: string[] = [];
    const onWarning = (message: string): void => void warnings.push(message);
    await storeInfo(target, { onWarning });
    expect(warnings.join()).toMatch(/has a run that is unfinished \(run 1, begun .*source\.json/);
    warnings.length = 0;
    await exportStore({ from: target, to: workspace.path("half.json"), onWarning });
    expect(warnings.join()).toContain("only some of its records may be here");
    const health = await workspace.must(["database", "health", "--database", target]);
    expect(health.stdout).toContain("Unfinished: the database has a run that is unfinished");
    const shown = await workspace.must(["storage", "runs", "--database", target]);
    expect(shown.stdout).toContain("storage undo");
    const result = await resume(target);
    expect(result.totals.inserted).toBe(450);
    expect(result.notes.join()).toMatch(/^[1-9]\d* of \d+ parts were there already$/m);
    await same(document, target);
    expect(dumpOf(target, true)).toBe(await schemaOfOneJob());
  });

  let oneJob: string | undefined;
  async function schemaOfOneJob(): Promise<string> {
    if (oneJob === undefined) {
      const target = await targets.next();
      await importStore({ from: document, to: target });
      oneJob = dumpOf(target, true);
    }
    return oneJob;
  }

  it("are resumed from a source that has changed, also in what was loaded", async () => {
    const [from, target] = [await targets.next(), await targets.next()];
    await fillPostgres(from, { records: 30, contentSizes: [1048576, 9, 1048577], seed: "changing" });
    await interrupted(target, 420, { from });
    const changes = [
      "DELETE FROM llmspell.vector_embeddings_384 WHERE ctid = (SELECT min(ctid) FROM llmspell.vector_embeddings_384)",
      "UPDATE llmspell.agent_states SET state_data = '{\"changed\": true}' WHERE ctid IN (SELECT ctid FROM llmspell.agent_states LIMIT 3)",
      "UPDATE llmspell.artifact_content SET is_compressed = NOT is_compressed WHERE large_object_oid IS NOT NULL",
      "INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('a new tenant', 'a new key', 'new')",
      // Natural keys that move from one record to another.
      `UPDATE llmspell.kv_store k SET key = o.key || '-' FROM (SELECT kv_id, key FROM llmspell.kv_store LIMIT 2) o WHERE o.kv_id = k.kv_id`,
      `WITH two AS (SELECT kv_id, tenant_id, key, row_number() OVER () AS n FROM llmspell.kv_store WHERE tenant_id = (SELECT tenant_id FROM llmspell.kv_store GROUP BY 1 ORDER BY count(*) DESC LIMIT 1) LIMIT 2)
       DELETE FROM llmspell.kv_store k USING two WHERE two.kv_id = k.kv_id AND two.n = 2`,
    ];
    await query(from, `SET session_replication_role = replica; ${changes.join("; ")}`);
    await resume(target, { from });
    await same(from, target);
    const [{ objects, named } = { objects: 0, named: 1 }] = await query<{ objects: number; named: number }>(
      target,
      `SELECT (SELECT count(*)::int FROM pg_largeobject_metadata) AS objects,
        (SELECT count(large_object_oid)::int FROM llmspell.artifact_content) AS named`,
    );
    expect(objects).toBe(named);
  });

  it("are resumed past records that others have changed, in parts that the source has changed", async () => {
    const [from, target] = [await targets.next(source), await targets.next()];
    await interrupted(target, 420, { from });
    const mine = (table: string, set: string, key: string) =>
      query<{ key: string }>(
        target,
        `UPDATE llmspell.${table} SET ${set} WHERE ctid = (SELECT min(ctid) FROM llmspell.${table}) RETURNING ${key}::text AS key`,
      );
    const [state] = await mine("agent_states", "state_data = '{\"mine\": 1}'", "state_id");
    const [content] = await mine("artifact_content", "is_compressed = NOT is_compressed", "content_hash");
    // All of the others, so that no part is as it was.
    await query(
      from,
      `SET session_replication_role = replica;
       UPDATE llmspell.agent_states SET state_data = '{"theirs": 1}';
       UPDATE llmspell.artifact_content SET is_compressed = NOT is_compressed WHERE content_hash <> '${content?.key}'`,
    );
    const warnings: string[] = [];
    await resume(target, { from, onWarning: (line) => void warnings.push(line) });
    expect(warnings.join("\n")).toContain(state?.key);
    const rows = await query<{ mine: number; all: number; lost: number }>(
      target,
      `SELECT count(*) FILTER (WHERE state_data ? 'mine')::int AS mine, count(*)::int AS all,
         (SELECT count(*)::int FROM pg_largeobject_metadata m WHERE NOT EXISTS
           (SELECT FROM llmspell.artifact_content c WHERE c.large_object_oid = m.oid)) AS lost FROM llmspell.agent_states`,
    );
    expect(rows).toEqual([{ mine: 1, all: 30, lost: 0 }]);
    const { identical, sections } = await verifyStores({ a: from, b: target });
    expect(identical).toBe(false);
    const different = sections.flatMap((section) => (section.different > 0 ? [section.path] : []));
    expect(different.sort()).toEqual(["agent_state", "artifacts.content"]);
  });

  it("build the indexes of partitioned tables in each partition, and have those of one job", async () => {
    const [from, one, several, resumed] = [
      await targets.next(),
      await targets.next(),
      await targets.next(),
      await targets.next(),
    ];
    const events = (first: number, last: number): string =>
      `INSERT INTO llmspell.event_log (event_id, tenant_id, event_type, correlation_id, timestamp, sequence, language, payload)
       SELECT gen_random_uuid(), 't', 'type ' || n % 7, gen_random_uuid(), '2024-01-15'::timestamptz + make_interval(months => n % 3), n, 'lua', jsonb_build_object('n', n)
       FROM generate_series(${first}, ${last}) AS n`;
    const months = [1, 2, 3].map(
      (month) =>
        `SELECT llmspell.create_event_log_partition('2024-0${month}-01'::timestamp AT TIME ZONE 'UTC', '2024-0${month + 1}-01'::timestamp AT TIME ZONE 'UTC')`,
    );
    await query(from, [...months, events(1, 15_000), "ANALYZE"].join("; "));
    const options = { from, include: ["event_log"] };
    await importStore({ ...options, to: one });
    await run(several, options);
    await same(from, several);
    expect(dumpOf(several, true)).toBe(dumpOf(one, true));
    await interrupted(resumed, 8000, options);
    // As one leaves it that is killed between a partition's index and the table's.
    const [partition] = await query<{ name: string }>(
      resumed,
      "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'llmspell.event_log'::regclass AND pg_relation_size(inhrelid) > 0",
    );
    await query(resumed, `CREATE INDEX ON ${partition?.name} USING gin (payload)`);
    await resume(resumed, options);
    await same(from, resumed);
    expect(dumpOf(resumed, true)).toBe(dumpOf(one, true));
  });

  it("are undone as if they had not been, but for what others did meanwhile", async () => {
    const target = await targets.next();
    await interrupted(target, 400);
    await query(target, "VACUUM (FREEZE)");
    const untouched = await targets.next();
    await interrupted(untouched, 400, {}, true);
    await undoRun(untouched);
    expect(dumpOf(untouched)).toBe(before);

    const session = "(SELECT ctid FROM llmspell.sessions ORDER BY session_id LIMIT 1)";
    await query(
      target,
      `UPDATE llmspell.agent_states SET agent_type = 'changed' WHERE ctid = (SELECT min(ctid) FROM llmspell.agent_states);
       INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('another', 'mine', 'x');
       INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, data, size_bytes)
         SELECT tenant_id, repeat('f', 64), 'bytea', 'x', 1 FROM llmspell.sessions WHERE ctid = ${session};
       INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type, mime_type, size_bytes)
         SELECT tenant_id, 'mine', session_id, 999999, repeat('f', 64), '{}', 'n', 't', 'm', 1 FROM llmspell.sessions WHERE ctid = ${session}`,
    );
    // Somebody's own table.
    await query(
      target,
      `ALTER TABLE llmspell.workflow_states ADD CONSTRAINT pair UNIQUE (tenant_id, workflow_id);
       CREATE TABLE own (tenant varchar, workflow varchar, FOREIGN KEY (tenant, workflow) REFERENCES llmspell.workflow_states (tenant_id, workflow_id));
       INSERT INTO own SELECT tenant_id, workflow_id FROM llmspell.workflow_states LIMIT 1`,
    );
    const undone = await undoRun(target);
    expect(
      (
        await query(
          target,
          "SELECT FROM own JOIN llmspell.workflow_states ON tenant = tenant_id AND workflow = workflow_id",
        )
      ).length,
    ).toBe(1);
    await query(target, "DROP TABLE own; ALTER TABLE llmspell.workflow_states DROP CONSTRAINT pair");
    expect(undone.kept.map((line) => line.replace(/:.*/s, "")).sort()).toEqual([
      "agent_state",
      "artifacts.artifacts",
      "artifacts.content",
      "kv_store",
      "sessions",
      "workflow_states",
    ]);
    const left = await query<{ n: number }>(
      target,
      `SELECT count(*)::int AS n FROM llmspell.artifacts a JOIN llmspell.sessions s USING (tenant_id, session_id)
       JOIN llmspell.artifact_content c ON c.tenant_id = a.tenant_id AND c.content_hash = a.content_hash`,
    );
    expect(left).toEqual([{ n: 1 }]);
    expect(dumpOf(target, true)).toBe(dumpOf(targets.template, true));
    // The next run loads the rest.
    await run(target, { include: ["hook_history", "event_log"] });
  });

  it("are undone also where a session of a dead machine still holds a part", async () => {
    const target = await targets.next();
    await interrupted(target, 400, {}, true);
    const dead = new pg.Client({ connectionString: target });
    dead.on("error", () => {});
    await dead.connect();
    await dead.query("BEGIN; SELECT FROM llmspell.storage_runs FOR SHARE");
    await undoRun(target);
    expect(dumpOf(target)).toBe(before);
    await dead.end().catch(() => {});
  });

  it("run nothing that a ledger was made to say", async () => {
    const target = await targets.next();
    await interrupted(target, 400);
    const evil = JSON.stringify({
      definition: "CREATE INDEX i ON llmspell.sessions USING btree (tenant_id); DROP TABLE llmspell.kv_store",
      class: "other",
      parts: [],
    });
    await query(
      target,
      `INSERT INTO llmspell.storage_steps (run, step, what, section, name, definition) VALUES (1, 5000, 'index', 'sessions', 'i', $1)`,
      [evil],
    );
    await query(
      target,
      `INSERT INTO llmspell.storage_steps (run, step, what, section, name) VALUES (1, 5001, 'partition', 'event_log', 'kv_store')`,
    );
    await expect(undoRun(target)).rejects.toMatchObject({ code: "E_RUN_UNFINISHED" });
    expect((await query(target, "SELECT FROM pg_class WHERE relname IN ('kv_store')")).length).toBe(1);
    expect(await unfinishedState(target)).toBe("undoing");
    await expect(resume(target)).rejects.toMatchObject({ code: "E_RUN_UNFINISHED" });
    await query(target, "DELETE FROM llmspell.storage_steps WHERE step = 5000");
    await undoRun(target);
    expect(dumpOf(target)).toBe(before);
  });

  it("trust no ledger that others may write, nor one of another database", async () => {
    const target = await targets.next();
    await interrupted(target, 400);
    await query(target, "GRANT INSERT ON llmspell.storage_parts TO PUBLIC");
    for (const refused of [undoRun, resume, listRuns])
      await expect(refused(target)).rejects.toMatchObject({
        code: "E_PERMISSION",
        message: expect.stringContaining("storage_parts"),
      });
    await query(target, "REVOKE INSERT ON llmspell.storage_parts FROM PUBLIC");
    await query(
      target,
      "UPDATE llmspell.storage_parts SET transaction = (transaction::text::numeric + 4294967296)::text::xid8",
    );
    await expect(undoRun(target)).rejects.toMatchObject({ code: "E_RUN_UNFINISHED" });
    await query(
      target,
      "UPDATE llmspell.storage_parts SET transaction = (transaction::text::numeric - 4294967296)::text::xid8",
    );
    await query(target, "UPDATE llmspell.storage_runs SET place = 'elsewhere'");
    const lost = { code: "E_RUN_UNFINISHED", message: expect.stringContaining("cannot be told any more") };
    await expect(undoRun(target)).rejects.toMatchObject(lost);
    await expect(resume(target)).rejects.toMatchObject(lost);
  });

  it("end at a record that cannot be, naming it, and nothing of its part stays", async () => {
    const target = await targets.next();
    const twice = workspace.path("twice.json");
    // Two records of one natural key, parts of others between.
    await exportStore({ from: source, to: twice, include: ["kv_store"] });
    const lines = readFileSync(twice, "utf8").split("\n");
    const [first, last] = [
      lines.findIndex((line) => line.includes('"kv_id"')),
      lines.findLastIndex((line) => line.includes('"kv_id"')),
    ];
    const id = /"kv_id":"[^"]*"/;
    const key = /"tenant_id":"(?:[^"\\]|\\.)*"|"key":"(?:[^"\\]|\\.)*"/g;
    const own = [...(lines[first] as string).matchAll(key)].map(([text]) => text);
    let at = 0;
    lines[last] = (lines[last] as string).replaceAll(key, () => own[at++] as string);
    expect(id.exec(lines[first] as string)?.[0]).not.toBe(id.exec(lines[last] as string)?.[0]);
    writeFileSync(twice, lines.join("\n"));
    process.env["LLMSPELL_STORAGE_PART_BYTES"] = "1000";
    const error = await run(target, { from: twice, verifyManifest: false }).catch((failure) => failure);
    Object.assign(process.env, SMALL_PARTS);
    expect(error).toMatchObject({
      code: "E_KEY_CONFLICT",
      context: { section: "kv_store", key: expect.stringContaining("=") },
    });
    expect(await unfinishedState(target)).toBeDefined();
    await undoRun(target);
    expect(dumpOf(target)).toBe(before);
  });

  it("leave orphans to be resumed with --on-orphan drop, or undone", async () => {
    const target = await targets.next();
    const orphans = { exclude: ["sessions"], invalidUuid: "error" } as const;
    const error = await run(target, orphans).catch((failure) => failure);
    expect(error).toMatchObject({ code: "E_USAGE" });
    const from = await targets.next();
    await fillPostgres(from, { records: 20, contentSizes: [1048576] });
    await query(
      from,
      "SET session_replication_role = replica; DELETE FROM llmspell.artifact_content WHERE ctid IN (SELECT ctid FROM llmspell.artifact_content LIMIT 5)",
    );
    await expect(run(target, { from })).rejects.toMatchObject({
      code: "E_ORPHAN",
      context: { section: "artifacts.artifacts" },
    });
    const result = await resume(target, { from, onOrphan: "drop" });
    expect(result.totals.dropped).toBeGreaterThan(0);
    expect(await unfinishedState(target)).toBeUndefined();
    const other = await targets.next();
    await importStore({ from, to: other, onOrphan: "drop" });
    await same(other, target);
  });

  it("need a role that no trigger and no policy stops, and the connections that it may have", async () => {
    const target = await targets.next();
    const database = { url: target, name: new URL(target).pathname.slice(1) } as never;
    await using plain = await createTestRole(database);
    await using bypassing = await createTestRole(database, { attributes: "BYPASSRLS" });
    await query(
      target,
      `GRANT USAGE, CREATE ON SCHEMA llmspell TO ${plain.name}, ${bypassing.name};
       GRANT ALL ON ALL TABLES IN SCHEMA llmspell TO ${plain.name};
       REVOKE ALL ON llmspell.storage_runs, llmspell.storage_parts, llmspell.storage_steps FROM ${plain.name}`,
    );
    const [server] = await query<{ version: string }>(target, "SHOW server_version_num");
    if (Number(Object.values(server ?? {})[0]) < 150000) {
      // Nobody can be given the right there: only superusers load over several connections.
      for (const { name, url } of [plain, bypassing])
        await expect(run(url)).rejects.toMatchObject({
          code: "E_PERMISSION",
          context: { hint: expect.stringContaining(`ALTER ROLE "${name}" SUPERUSER`) },
        });
      expect(await ledger(target)).toBe(0);
      return;
    }
    await query(target, `GRANT SET ON PARAMETER session_replication_role TO ${bypassing.name}`);
    try {
      await expect(run(plain.url)).rejects.toMatchObject({
        code: "E_PERMISSION",
        context: { hint: expect.stringContaining("session_replication_role") },
      });
      await expect(run(bypassing.url)).rejects.toMatchObject({
        code: "E_PERMISSION",
        message: expect.stringContaining("belongs to another role"),
      });
      expect(await ledger(target)).toBe(0);
      // The owner of all of it, who may have three sessions.
      const tables = "c.relnamespace = 'llmspell'::regnamespace AND c.relkind IN ('r', 'p')";
      await query(
        target,
        `DO $$ DECLARE each record; BEGIN FOR each IN SELECT c.oid::regclass AS name FROM pg_class c WHERE ${tables} LOOP
           EXECUTE format('ALTER TABLE %s OWNER TO ${bypassing.name}', each.name); END LOOP; END $$;
         ALTER ROLE ${bypassing.name} CONNECTION LIMIT 3`,
      );
      const warnings: string[] = [];
      // Those of the refused runs would count while they end.
      await sessionsEnd(target);
      await run(bypassing.url, { jobs: 5, onWarning: (message) => void warnings.push(message) });
      expect(warnings).toContain("the server has 2 of 5 connections left: the run goes with 2");
      await same(document, target);
    } finally {
      await query(target, `REVOKE SET ON PARAMETER session_replication_role FROM ${bypassing.name}`);
      await query(target, `REASSIGN OWNED BY ${bypassing.name} TO CURRENT_USER`);
    }
  });

  describeWithTools(["pgbouncer"], "behind a pooler", () => {
    it("that shares sessions nothing is begun", async () => {
      const target = await targets.next();
      await using pooler = await startPooler();
      await expect(run(pooler.url(new URL(target).pathname.slice(1)))).rejects.toMatchObject({
        code: "E_USAGE",
        message: expect.stringContaining("pooler"),
      });
      expect(await ledger(target)).toBe(0);
    });
  });
});
