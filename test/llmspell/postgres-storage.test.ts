/**
 * After the move llmspell goes on working: its storage classes' statements, as its own role, against databases that our
 * migrations made and our imports filled, in every time zone as on a database that llmspell made itself.
 */
import { expect, it } from "vitest";
import { createLlmspellPostgres, llmspellPostgresSql } from "../fixtures/index.js";
import { createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { largeObjects, load, record, sql } from "../sinks/postgres-support.js";
import { deleteArtifact } from "./postgres-artifact-steps.js";
import { inZone, migrate, ZONES } from "./postgres-event-log.js";
import { DIMENSIONS, LlmspellSession, MIB, perform, sha256, TENANT, uuid } from "./postgres-session.js";
import { STEPS } from "./postgres-steps.js";

/** Statements that fail on llmspell's own database, too, and how. */
const FAILS_IN_LLMSPELL: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    DIMENSIONS.map((dimension) => [`vector ${dimension} delete by ids of type text`, "error 42883"]),
  ),
  "key rotation of what is not there": "error P0001",
  "key rotation for a second time": "error 23505",
  "a row for another tenant": "error 42501",
};

const at = (text: string): number => Date.parse(text) * 1000;
const BEFORE = at("2024-01-01T00:00:00Z");
const LARGE = Buffer.alloc(MIB + 3, "imported");
const SHARED = Buffer.alloc(2 * MIB, "shared by two");
const times = { created_at: BEFORE, updated_at: BEFORE };

/** @param extra what the counts of references are more than the artifacts: 1 in llmspell's PostgreSQL, 0 in its SQLite */
function imported(extra: 0 | 1) {
  const vector = (dimension: number) => {
    const embedding = new Float32Array(dimension);
    embedding[7] = 1;
    const base64 = Buffer.from(embedding.buffer).toString("base64");
    return record(`vector_embeddings.${dimension}`, {
      id: uuid(7),
      tenant_id: TENANT,
      scope: "imported",
      dimension,
      embedding: base64,
      metadata: {},
      ...times,
    });
  };
  const entity = (n: number, from: string, to: string, more: object = {}) =>
    record("knowledge_graph.entities", {
      entity_id: uuid(n),
      tenant_id: TENANT,
      entity_type: "person",
      name: `entity ${n}`,
      properties: { from },
      valid_time_start: at(from),
      valid_time_end: to === "infinity" ? to : at(to),
      transaction_time_start: at(from),
      transaction_time_end: to === "infinity" ? to : at(to),
      created_at: at(from),
      ...more,
    });
  const content = (hash: string, data: Buffer, artifacts: number) =>
    record("artifacts.content", {
      tenant_id: TENANT,
      content_hash: hash,
      storage_type: data.length < MIB ? "bytea" : "large_object",
      data: data.toString("base64"),
      size_bytes: data.length,
      is_compressed: false,
      reference_count: artifacts + extra,
      created_at: BEFORE,
      last_accessed_at: BEFORE,
    });
  const artifact = (id: string, sequence: number, hash: string) =>
    record("artifacts.artifacts", {
      tenant_id: TENANT,
      artifact_id: id,
      session_id: uuid(30),
      sequence,
      content_hash: hash,
      metadata: {},
      name: "n",
      artifact_type: "text",
      mime_type: "text/plain",
      size_bytes: 3,
      created_at: BEFORE,
      version: 1,
      stored_at: BEFORE,
      updated_at: BEFORE,
    });
  const event = (n: number, time: string) =>
    record("event_log", {
      tenant_id: TENANT,
      event_id: uuid(n),
      event_type: "agent.imported",
      correlation_id: uuid(8),
      timestamp: at(time),
      sequence: n,
      language: "lua",
      payload: {},
    });
  const hook = (n: number, priority: number) =>
    record("hook_history", {
      execution_id: uuid(n),
      tenant_id: TENANT,
      hook_id: "h-old",
      hook_type: "post",
      correlation_id: uuid(8),
      hook_context: Buffer.from("old").toString("base64"),
      result_data: {},
      timestamp: BEFORE,
      duration_ms: 30,
      triggering_component: "c",
      component_id: "i",
      modified_operation: false,
      tags: ["old"],
      retention_priority: priority,
      context_size: 3,
      contains_sensitive_data: false,
      metadata: {},
      created_at: BEFORE,
    });
  return [
    ...DIMENSIONS.map(vector),
    entity(10, "2024-01-01T00:00:00Z", "infinity"),
    entity(11, "2024-01-01T00:00:00Z", "2024-07-01T00:00:00Z"),
    entity(11, "2024-07-01T00:00:00Z", "infinity"),
    record("knowledge_graph.relationships", {
      relationship_id: uuid(20),
      tenant_id: TENANT,
      source_entity_id: uuid(10),
      target_entity_id: uuid(11),
      relationship_type: "knows",
      properties: {},
      valid_time_start: BEFORE,
      valid_time_end: "infinity",
      transaction_time_start: BEFORE,
      transaction_time_end: "infinity",
      created_at: BEFORE,
    }),
    record("procedural_memory", {
      pattern_id: uuid(50),
      tenant_id: TENANT,
      scope: "s",
      key: "imported",
      value: "v",
      frequency: 4,
      first_seen: BEFORE,
      last_seen: BEFORE,
      ...times,
    }),
    record("agent_state", {
      state_id: uuid(51),
      tenant_id: TENANT,
      agent_id: "imported",
      agent_type: "chat",
      state_data: {},
      schema_version: 1,
      data_version: 6,
      checksum: sha256(Buffer.from("{}")),
      ...times,
    }),
    record("kv_store", { kv_id: uuid(52), tenant_id: TENANT, key: "k:imported", value: "", ...times }),
    record("workflow_states", {
      tenant_id: TENANT,
      workflow_id: "imported",
      state_data: {},
      current_step: 0,
      status: "running",
      last_updated: BEFORE,
      created_at: BEFORE,
    }),
    record("sessions", {
      tenant_id: TENANT,
      session_id: uuid(30),
      session_data: {},
      status: "active",
      created_at: BEFORE,
      last_accessed_at: BEFORE,
      artifact_count: 4,
      updated_at: BEFORE,
    }),
    content("imported-small", Buffer.from("small"), 1),
    content("imported-large", LARGE, 1),
    content("imported-shared", SHARED, 2),
    artifact("a:imported-small", 0, "imported-small"),
    artifact("a:imported-large", 1, "imported-large"),
    artifact("a:imported-shared-1", 2, "imported-shared"),
    artifact("a:imported-shared-2", 3, "imported-shared"),
    // At the ends of months, in one time zone or the other.
    event(70, "2020-01-31T23:30:00Z"),
    event(71, "2020-02-01T04:30:00Z"),
    event(72, "2020-02-29T18:45:00Z"),
    event(73, "2020-03-20T00:00:00Z"),
    hook(60, 1),
    hook(61, 9),
  ];
}

async function atWork(database: TestDatabase): Promise<Record<string, unknown>> {
  const session = await LlmspellSession.open(database.url);
  try {
    return await perform(session, STEPS);
  } finally {
    await session.close();
  }
}

/** What fails, and is not llmspell's own fault. */
function failures(outcomes: Record<string, unknown>): Record<string, unknown> {
  const failed = Object.entries(outcomes).filter(([, outcome]) => String(outcome).startsWith("error "));
  return Object.fromEntries(failed);
}

describePostgres("llmspell's statements", () => {
  it.each(ZONES)("%s: do on a database of ours what they do on llmspell's own", async (zone) => {
    await using theirs = await inZone(zone);
    await createLlmspellPostgres(theirs.url);
    await load(theirs.url, imported(1));
    await using ours = await inZone(zone);
    await migrate(ours);
    await load(ours.url, imported(1));
    const expected = await atWork(theirs);
    expect(failures(expected)).toEqual(FAILS_IN_LLMSPELL);
    const outcomes = await atWork(ours);
    expect(outcomes).toEqual(expected);
    expect(outcomes).toMatchObject({
      "entity update of what was imported": [1, 1],
      "pattern that was imported": [[5]],
      "hook archive keeps what is new and what has a higher priority": [[1]],
      "artifact delete, imported and large": "content deleted",
      "artifact delete, imported, the first of two": "content stays",
      "artifact read, the second of two": sha256(SHARED),
      "contents that are left": [],
      "another tenant's rows": ["0", "0", "0", "0", "0", "0", "0"],
    });
    for (const database of [ours, theirs]) expect(await largeObjects(database.url)).toBe(0);
  });

  it("go on when llmspell has run its own migrations over ours, and when an import came afterwards", async () => {
    await using ours = await inZone("Europe/Berlin");
    await migrate(ours);
    await load(ours.url, imported(1));
    await sql(ours.url, `BEGIN; ${llmspellPostgresSql()}; COMMIT`);
    await load(ours.url, imported(1));
    expect(failures(await atWork(ours))).toEqual(FAILS_IN_LLMSPELL);
    expect(await largeObjects(ours.url)).toBe(0);
    expect(await migrate(ours)).toEqual({ applied: [], warnings: [] });
  });

  it("delete artifacts whose references were counted by llmspell's SQLite, and nobody else's content", async () => {
    await using ours = await inZone("UTC");
    await migrate(ours);
    await load(ours.url, imported(0));
    const stored = "SELECT reference_count AS n FROM llmspell.artifact_content ORDER BY content_hash";
    expect(await sql(ours.url, stored)).toEqual([{ n: 1 }, { n: 2 }, { n: 1 }]);
    expect(failures(await atWork(ours))).toEqual(FAILS_IN_LLMSPELL);
    expect(await largeObjects(ours.url)).toBe(0);
  });

  it("leave no large object behind either where an owner imported that may not give it away", async () => {
    await using ours = await inZone("UTC");
    await migrate(ours);
    await using owner = await createTestRole(ours, { attributes: "NOSUPERUSER" });
    await sql(
      ours.url,
      `GRANT CREATE, USAGE ON SCHEMA llmspell TO ${owner.name};
       DO $$ DECLARE name regclass; BEGIN
         FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'llmspell'::regnamespace AND relkind IN ('r', 'p')
         LOOP EXECUTE format('ALTER TABLE %s OWNER TO ${owner.name}', name); END LOOP;
       END $$;
       ALTER FUNCTION llmspell.unlink_content_large_object() OWNER TO ${owner.name}`,
    );
    const { report } = await load(owner.url, imported(1));
    expect(report.notes).toEqual([]);
    const owners = "SELECT DISTINCT pg_get_userbyid(lomowner) AS owner FROM pg_largeobject_metadata";
    expect(await sql(ours.url, owners)).toEqual([{ owner: owner.name }]);
    const session = await LlmspellSession.open(ours.url);
    for (const id of ["large", "shared-1", "shared-2"]) await deleteArtifact(session, `a:imported-${id}`);
    await session.close();
    expect(await largeObjects(ours.url)).toBe(0);
  });

  it("would leave them on a database that has not seen our migrations, and the import says so", async () => {
    await using theirs = await inZone("UTC");
    await createLlmspellPostgres(theirs.url);
    await using importer = await createTestRole(theirs, { attributes: "NOSUPERUSER BYPASSRLS" });
    const noted = async (): Promise<readonly string[]> => {
      const { report } = await load(importer.url, imported(1));
      return report.notes.filter((note) => note.includes("large contents"));
    };
    await load(
      theirs.url,
      imported(1).filter((one) => one.kind.path === "event_log"),
    );
    await sql(
      theirs.url,
      `GRANT USAGE ON SCHEMA llmspell TO ${importer.name}; GRANT ALL ON ALL TABLES IN SCHEMA llmspell TO ${importer.name};
       GRANT SET ON PARAMETER session_replication_role TO ${importer.name}`,
    );
    expect(await noted()).toEqual([expect.stringContaining("`llmspell database migrate`")]);
    await migrate(theirs);
    expect(await noted()).toEqual([]);
  });

  it("count nothing where there is nothing, instead of failing at NULL as on llmspell's own", async () => {
    await using ours = await inZone("UTC");
    await migrate(ours);
    const session = await LlmspellSession.open(ours.url, "nobody");
    expect(await session.rows("SELECT * FROM llmspell.get_hook_history_stats()")).toEqual([
      ["0", "0", {}, {}, null, null, "0"],
    ]);
    expect(await session.rows("SELECT * FROM llmspell.get_api_key_stats()")).toEqual([["0", "0", "0", {}, "0", "0"]]);
    await session.close();
  });
});
