/**
 * What llmspell's SQLite storage does, step by step, in our own words: one statement or one of its transactions each. Run on
 * a database, the steps give a transcript; that of a database of ours must be that of llmspell's own, errors included.
 */
import { createHash } from "node:crypto";
import type { Database } from "better-sqlite3";
import { deleteScope, deleteVector, insertVector, readScope, updateVectorMetadata } from "./sqlite-vectors.js";

/** Nobody else's records are in this tenant. */
const TENANT = "the application";
/** llmspell's graph and vectors know no other. */
const GRAPH_TENANT = "default";
const FOREVER = 9999999999;
const NOW = 1_750_000_000;
const PAST = 1_600_000_000;

export interface Step {
  readonly name: string;
  run(database: Database): unknown;
}

const steps: Step[] = [];
const step = (name: string, run: (database: Database) => unknown): void => void steps.push({ name, run });
/** The driver takes numbered parameters by their names. */
const bound = (sql: string, values: readonly unknown[]): unknown =>
  /\?\d/.test(sql) ? Object.fromEntries(values.map((value, i) => [i + 1, value])) : values;
const change =
  (sql: string, ...values: unknown[]) =>
  (database: Database) =>
    database.prepare(sql).run(bound(sql, values)).changes;
const rows =
  (sql: string, ...values: unknown[]) =>
  (database: Database) =>
    database.prepare(sql).raw().all(bound(sql, values));

// Sessions

const session = (id: string, data: string, expires: number | null = null) =>
  change(
    `INSERT INTO sessions (tenant_id, session_id, session_data, status, created_at, last_accessed_at, expires_at,
       artifact_count, updated_at) VALUES (?, ?, ?, 'active', ?, ?, ?, 0, ?)`,
    TENANT,
    id,
    data,
    NOW + Number(id.at(-1)),
    PAST,
    expires,
    NOW,
  );
step("create a session", session("s1", '{"a":1}'));
step("create another", session("s2", "{}", PAST));
step("create a session that is there", session("s1", "{}"));
step("create a session whose data is no JSON", session("s3", "{"));
step(
  "touch a session that was not touched for a minute",
  change(
    "UPDATE sessions SET last_accessed_at = ? WHERE tenant_id = ? AND session_id = 's1' AND (last_accessed_at IS NULL OR last_accessed_at < ?)",
    NOW,
    TENANT,
    NOW - 60,
  ),
);
step(
  "read a session",
  rows(
    "SELECT session_data, status, created_at, expires_at, artifact_count FROM sessions WHERE tenant_id = ? AND session_id = 's1'",
    TENANT,
  ),
);
step(
  "update a session",
  change(
    `UPDATE sessions SET session_data = '{"a":2}', status = 'archived', expires_at = NULL, artifact_count = 0, updated_at = ?
     WHERE tenant_id = ? AND session_id = 's1'`,
    NOW,
    TENANT,
  ),
);
step(
  "set a status that there is not",
  change("UPDATE sessions SET status = 'lost' WHERE tenant_id = ? AND session_id = 's1'", TENANT),
);
step(
  "list active sessions",
  rows("SELECT session_id FROM sessions WHERE tenant_id = ? AND status = 'active' ORDER BY created_at DESC", TENANT),
);
step(
  "clean expired sessions up",
  change("DELETE FROM sessions WHERE tenant_id = ? AND expires_at IS NOT NULL AND expires_at < ?", TENANT, NOW),
);

// Artifacts

function storeArtifact(database: Database, sessionId: string, content: string): unknown {
  const hash = createHash("sha256").update(content).digest("hex");
  const count = database
    .prepare("SELECT reference_count FROM artifact_content WHERE tenant_id = ? AND content_hash = ?")
    .pluck()
    .get(TENANT, hash);
  if (count === undefined)
    database
      .prepare(
        `INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes, is_compressed, reference_count)
         VALUES (?, ?, ?, ?, 0, 1)`,
      )
      .run(TENANT, hash, Buffer.from(content), content.length);
  else
    database
      .prepare(
        `UPDATE artifact_content SET reference_count = reference_count + 1, last_accessed_at = strftime('%s', 'now')
         WHERE tenant_id = ? AND content_hash = ?`,
      )
      .run(TENANT, hash);
  const sequence = database
    .prepare("SELECT coalesce(max(sequence), -1) + 1 FROM artifacts WHERE tenant_id = ? AND session_id = ?")
    .pluck()
    .get(TENANT, sessionId);
  database
    .prepare(
      `INSERT INTO artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type,
         mime_type, size_bytes, created_at, created_by, stored_at)
       VALUES (?, ?, ?, ?, ?, '{"type":"code"}', 'n', 'code', 'text/plain', ?, ?, NULL, strftime('%s', 'now'))`,
    )
    .run(TENANT, `${sessionId}:${sequence}:${hash}`, sessionId, sequence, hash, content.length, NOW);
  database
    .prepare("UPDATE sessions SET artifact_count = artifact_count + 1 WHERE tenant_id = ? AND session_id = ?")
    .run(TENANT, sessionId);
  return sequence;
}

/** Deletes an artifact; its content goes with the last of them. */
function deleteArtifact(database: Database, sequence: number): unknown {
  const found = database
    .prepare(
      "SELECT artifact_id, content_hash FROM artifacts WHERE tenant_id = ? AND session_id = 's1' AND sequence = ?",
    )
    .raw()
    .get(TENANT, sequence) as [string, string] | undefined;
  if (found === undefined) return "not found";
  const removed = database
    .prepare("DELETE FROM artifacts WHERE tenant_id = ? AND artifact_id = ?")
    .run(TENANT, found[0]);
  const content = database
    .prepare("DELETE FROM artifact_content WHERE tenant_id = ? AND content_hash = ? AND reference_count = 1")
    .run(TENANT, found[1]);
  if (content.changes === 0)
    database
      .prepare(
        "UPDATE artifact_content SET reference_count = reference_count - 1 WHERE tenant_id = ? AND content_hash = ?",
      )
      .run(TENANT, found[1]);
  database
    .prepare(
      `UPDATE sessions SET artifact_count = CASE WHEN artifact_count > 0 THEN artifact_count - 1 ELSE 0 END
       WHERE tenant_id = ? AND session_id = 's1'`,
    )
    .run(TENANT);
  return [removed.changes, content.changes];
}

step("store an artifact", (database) => storeArtifact(database, "s1", "content"));
step("store its content again", (database) => storeArtifact(database, "s1", "content"));
step("store another content", (database) => storeArtifact(database, "s1", "other"));
step("store an artifact of no session", (database) => storeArtifact(database, "s9", "lost"));
step(
  "count references",
  rows("SELECT size_bytes, reference_count FROM artifact_content WHERE tenant_id = ? ORDER BY size_bytes", TENANT),
);
step(
  "read artifacts with their content",
  rows(
    `SELECT a.sequence, a.artifact_type, a.metadata, a.size_bytes, a.created_at, c.data FROM artifacts AS a
     JOIN artifact_content AS c ON c.tenant_id = a.tenant_id AND c.content_hash = a.content_hash
     WHERE a.tenant_id = ? ORDER BY a.sequence`,
    TENANT,
  ),
);
step(
  "touch the content of an artifact",
  change(
    `UPDATE artifact_content SET last_accessed_at = strftime('%s', 'now')
     WHERE tenant_id = ?1 AND content_hash = (SELECT content_hash FROM artifacts WHERE tenant_id = ?1 AND sequence = 0)
       AND last_accessed_at < strftime('%s', 'now', '-1 minute')`,
    TENANT,
  ),
);
step(
  "list a session's artifacts",
  rows("SELECT count(artifact_id) FROM artifacts WHERE tenant_id = ? AND session_id = 's1'", TENANT),
);
step(
  "sum a session's artifacts",
  rows(
    "SELECT count(*), coalesce(sum(size_bytes), 0) FROM artifacts WHERE tenant_id = ? AND session_id = 's1'",
    TENANT,
  ),
);
step(
  "delete content that artifacts refer to",
  change("DELETE FROM artifact_content WHERE tenant_id = ? AND size_bytes = 5", TENANT),
);
step("delete the first artifact", (database) => deleteArtifact(database, 0));
step("delete the second artifact, and its content", (database) => deleteArtifact(database, 1));
step("delete it again", (database) => deleteArtifact(database, 1));
step(
  "read the session's count",
  rows("SELECT artifact_count FROM sessions WHERE tenant_id = ? AND session_id = 's1'", TENANT),
);
step(
  "delete a session with its artifacts",
  change("DELETE FROM sessions WHERE tenant_id = ? AND session_id = 's1'", TENANT),
);
step("find no artifacts any more", rows("SELECT * FROM artifacts WHERE tenant_id = ?", TENANT));

// Keys and values

const set = (key: string, value: Buffer) =>
  change(
    `INSERT INTO kv_store (tenant_id, key, value, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`,
    TENANT,
    key,
    value,
    NOW,
    NOW,
  );
step("set a key", set("a:1", Buffer.from([0, 255])));
step("set another", set("a:2", Buffer.from("x")));
step("set it again", set("a:1", Buffer.from("y")));
step("get a key", rows("SELECT value, length(kv_id) FROM kv_store WHERE tenant_id = ? AND key = 'a:1'", TENANT));
step("find a key", rows("SELECT 1 FROM kv_store WHERE tenant_id = ? AND key = 'a:2' LIMIT 1", TENANT));
step("list keys", rows("SELECT key FROM kv_store WHERE tenant_id = ? AND key LIKE 'a:%' ORDER BY key", TENANT));
step("delete a key", change("DELETE FROM kv_store WHERE tenant_id = ? AND key = 'a:1'", TENANT));
step("clear the keys", change("DELETE FROM kv_store WHERE tenant_id = ?", TENANT));

// Agent states

const saveAgent = (data: string, checksum = createHash("sha256").update(data).digest("hex")) =>
  change(
    `INSERT INTO agent_states (tenant_id, agent_id, agent_type, state_data, checksum, created_at, updated_at)
     VALUES (?, 'agent', 'basic', ?, ?, ?, ?) ON CONFLICT (tenant_id, agent_id) DO UPDATE SET
       agent_type = excluded.agent_type, state_data = excluded.state_data, checksum = excluded.checksum,
       updated_at = excluded.updated_at`,
    TENANT,
    data,
    checksum,
    NOW,
    NOW,
  );

/** llmspell loads a state only if its checksum is that of its text. */
export function loadAgent(database: Database, tenant: string, agent: string): string {
  const [data, checksum] = database
    .prepare("SELECT state_data, checksum FROM agent_states WHERE tenant_id = ? AND agent_id = ?")
    .raw()
    .get(tenant, agent) as [string, string];
  if (createHash("sha256").update(data).digest("hex") !== checksum) throw new Error(`checksum mismatch of ${agent}`);
  return data;
}

step("save an agent", saveAgent('{"state":{"execution_state":"idle"}}'));
step("save it as it is", saveAgent('{"state":{"execution_state":"idle"}}'));
step("save it changed", saveAgent('{"metadata":{"name":"n"}}'));
step("save it with a checksum that is none", saveAgent("{}", "short"));
step("load an agent", (database) => loadAgent(database, TENANT, "agent"));
step("read its versions", rows("SELECT schema_version, data_version FROM agent_states WHERE tenant_id = ?", TENANT));
step(
  "list agents",
  rows("SELECT agent_id FROM agent_states WHERE tenant_id = ? AND agent_id LIKE 'a%' ORDER BY agent_id", TENANT),
);
step("delete an agent", change("DELETE FROM agent_states WHERE tenant_id = ? AND agent_id = 'agent'", TENANT));

// Workflow states

const saveWorkflow = (status: string, started: number | null) =>
  change(
    `INSERT INTO workflow_states (tenant_id, workflow_id, workflow_name, state_data, current_step, status, started_at,
       completed_at, last_updated, created_at) VALUES (?, 'w', 'name', '{}', 1, ?, ?, NULL, ?, ?)
     ON CONFLICT (tenant_id, workflow_id) DO UPDATE SET workflow_name = excluded.workflow_name,
       state_data = excluded.state_data, current_step = excluded.current_step, status = excluded.status,
       started_at = coalesce(excluded.started_at, workflow_states.started_at),
       completed_at = coalesce(excluded.completed_at, workflow_states.completed_at), last_updated = excluded.last_updated`,
    TENANT,
    status,
    started,
    NOW,
    NOW,
  );
const setStatus = (status: string) =>
  change(
    "UPDATE workflow_states SET status = ?, last_updated = ? WHERE tenant_id = ? AND workflow_id = 'w'",
    status,
    NOW,
    TENANT,
  );
const workflow = rows(
  `SELECT workflow_name, state_data, current_step, status, started_at IS NULL, completed_at IS NULL
   FROM workflow_states WHERE tenant_id = ? AND workflow_id = 'w'`,
  TENANT,
);
step("save a workflow", saveWorkflow("pending", null));
step("start it", setStatus("running"));
step("load it as it runs", workflow);
step("save it as it runs", saveWorkflow("running", PAST));
step("complete it", setStatus("completed"));
step("load it as it is done", workflow);
step("read when it started", rows("SELECT started_at FROM workflow_states WHERE tenant_id = ?", TENANT));
step("set a status that no workflow has", setStatus("lost"));
step(
  "list completed workflows",
  rows("SELECT workflow_id FROM workflow_states WHERE tenant_id = ? AND status = 'completed'", TENANT),
);
step("delete a workflow", change("DELETE FROM workflow_states WHERE tenant_id = ? AND workflow_id = 'w'", TENANT));

// Patterns

const transition = (value: string) =>
  rows(
    `INSERT INTO procedural_patterns (tenant_id, scope, key, value, frequency, last_seen)
     VALUES (?, 'global', 'k', ?, 1, strftime('%s', 'now')) ON CONFLICT (tenant_id, scope, key, value) DO UPDATE SET
       frequency = frequency + 1, last_seen = strftime('%s', 'now'), updated_at = strftime('%s', 'now')
     RETURNING frequency`,
    TENANT,
    value,
  );
for (const value of ["a", "a", "b", "a"]) step(`record a transition to ${value}`, transition(value));
step(
  "read a pattern's frequency",
  rows(
    "SELECT frequency FROM procedural_patterns WHERE tenant_id = ? AND scope = 'global' AND key = 'k' AND value = 'a'",
    TENANT,
  ),
);
step(
  "read learned patterns",
  rows(
    `SELECT scope, key, value, frequency, typeof(first_seen), typeof(last_seen) FROM procedural_patterns
     WHERE tenant_id = ? AND frequency >= 3 ORDER BY frequency DESC`,
    TENANT,
  ),
);

// Events

const event = (n: number, time: number) => (database: Database) => {
  const sequence = database
    .prepare("SELECT coalesce(max(sequence), -1) + 1 FROM event_log WHERE tenant_id = ?")
    .pluck()
    .get(TENANT);
  database
    .prepare(
      `INSERT INTO event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload)
       VALUES (?, ?, ?, 'c', ?, ?, 'lua', ?)`,
    )
    .run(TENANT, `event ${n}`, `agent.${n}`, time, sequence, `{"n":${n}}`);
  return sequence;
};
step("log an event", event(1, NOW));
step("log another in the same second", event(2, NOW));
step("log an event that is there", event(2, NOW));
step("log an old one", event(3, PAST));
step("log an event whose payload is no JSON", (database) =>
  database
    .prepare(
      `INSERT INTO event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload)
       VALUES (?, 'bad', 'e', 'c', 1, 99, 'lua', '{')`,
    )
    .run(TENANT),
);
step(
  "find events by a pattern",
  rows(
    "SELECT payload FROM event_log WHERE tenant_id = ? AND event_type LIKE 'agent.%' ORDER BY timestamp DESC, event_id",
    TENANT,
  ),
);
step(
  "find events of a time",
  rows(
    "SELECT payload FROM event_log WHERE tenant_id = ? AND timestamp >= ? AND timestamp <= ? ORDER BY timestamp DESC, event_id",
    TENANT,
    NOW - 1,
    NOW,
  ),
);
step(
  "find events that belong together",
  rows(
    "SELECT payload FROM event_log WHERE tenant_id = ? AND correlation_id = 'c' ORDER BY timestamp DESC, event_id",
    TENANT,
  ),
);
step("clean old events up", change("DELETE FROM event_log WHERE tenant_id = ? AND timestamp < ?", TENANT, NOW));
step(
  "count events",
  rows("SELECT count(*), min(timestamp), max(timestamp) FROM event_log WHERE tenant_id = ?", TENANT),
);
step(
  "count events by type",
  rows("SELECT event_type, count(*) FROM event_log WHERE tenant_id = ? GROUP BY event_type ORDER BY 1", TENANT),
);

// Hooks: llmspell's own statements name columns that its own table does not have.

step("record a hook's execution", (database) =>
  database
    .prepare(
      `INSERT INTO hook_history (id, execution_id, tenant_id, hook_id, hook_name, context_data, status, created_at, executed_at)
       VALUES ('i', 'e', ?, 'h', 'n', x'', 'completed', ?, 1) ON CONFLICT (tenant_id, hook_id) DO UPDATE SET
         context_data = excluded.context_data, status = excluded.status, executed_at = excluded.executed_at`,
    )
    .run(TENANT, NOW),
);
step("read executions of a type", (database) =>
  database
    .prepare(
      `SELECT id, execution_id, hook_id, hook_type, correlation_id, hook_context, result_data, timestamp, duration_ms,
         triggering_component, component_id, modified_operation, executed_at FROM hook_history
       WHERE tenant_id = ? AND hook_type = 't' AND timestamp BETWEEN 0 AND ? ORDER BY timestamp DESC LIMIT 100`,
    )
    .all(TENANT, NOW),
);
step("archive executions", change("DELETE FROM hook_history WHERE tenant_id = ? AND timestamp < ?", TENANT, NOW));
step("sum executions", (database) =>
  database.prepare("SELECT count(*), sum(length(context_data)) FROM hook_history WHERE tenant_id = ?").get(TENANT),
);

// The graph

const addEntity = (id: string, time = NOW) =>
  change(
    `INSERT INTO entities (entity_id, tenant_id, entity_type, name, properties, valid_time_start, valid_time_end,
       transaction_time_start, transaction_time_end, created_at)
     VALUES (?1, ?2, 'person', 'name of ' || ?1, '{"a":1}', ?3, ${FOREVER}, ?3, ${FOREVER}, ?3)`,
    id,
    GRAPH_TENANT,
    time,
  );
const addRelationship = (id: string, from: string, to: string) =>
  change(
    `INSERT INTO relationships (relationship_id, tenant_id, from_entity, to_entity, relationship_type, properties,
       valid_time_start, valid_time_end, transaction_time_start, transaction_time_end, created_at)
     VALUES (?1, ?2, ?3, ?4, 'knows', '{}', ?5, ${FOREVER}, ?5, ${FOREVER}, ?5)`,
    id,
    GRAPH_TENANT,
    from,
    to,
    NOW,
  );
const relationships = rows("SELECT relationship_id FROM relationships WHERE relationship_id LIKE 'app %' ORDER BY 1");
for (const name of ["a", "b", "c"]) step(`add entity ${name}`, addEntity(`app ${name}`));
step("add an old entity", addEntity("app old", PAST));
step("add an entity that is there", addEntity("app a", NOW + 1));
step("add an entity that is there, in the same second", addEntity("app a"));
step(
  "update an entity",
  change(
    `UPDATE entities SET properties = '{"a":2}' WHERE entity_id = 'app a' AND tenant_id = ? AND transaction_time_end = ${FOREVER}`,
    GRAPH_TENANT,
  ),
);
step(
  "get an entity",
  rows(
    `SELECT entity_id, name, entity_type, properties, valid_time_start, transaction_time_start FROM entities
     WHERE entity_id = 'app a' AND tenant_id = ? AND transaction_time_end = ${FOREVER} LIMIT 1`,
    GRAPH_TENANT,
  ),
);
step(
  "get an entity at a time",
  rows(
    `SELECT name FROM entities WHERE entity_id = 'app a' AND tenant_id = ?1 AND valid_time_start <= ?2 AND valid_time_end > ?2
       AND transaction_time_end = ${FOREVER} LIMIT 1`,
    GRAPH_TENANT,
    NOW + 5,
  ),
);
step("add a relationship", addRelationship("app 1", "app a", "app b"));
step("add another", addRelationship("app 2", "app b", "app c"));
step("add one of an old entity", addRelationship("app 3", "app old", "app a"));
step("add one to an old entity", addRelationship("app 4", "app c", "app old"));
step("add one that is there", addRelationship("app 1", "app a", "app c"));
step("add one from an entity that is not there", addRelationship("app 5", "app nobody", "app a"));
step("add one to an entity that is not there", addRelationship("app 5", "app a", "app nobody"));
step(
  "move one to an entity that is not there",
  change("UPDATE relationships SET to_entity = 'nobody' WHERE relationship_id = 'app 1'"),
);
step(
  "get related entities",
  rows(
    `SELECT e.entity_id, e.name FROM relationships AS r JOIN entities AS e ON e.entity_id = r.to_entity
     WHERE r.from_entity = 'app a' AND r.tenant_id = ?1 AND r.relationship_type = 'knows'
       AND r.valid_time_start <= ?2 AND r.valid_time_end > ?2 AND r.transaction_time_end = ${FOREVER}
       AND e.valid_time_start <= ?2 AND e.valid_time_end > ?2 AND e.transaction_time_end = ${FOREVER}`,
    GRAPH_TENANT,
    NOW + 5,
  ),
);
step(
  "get an entity's relationships",
  rows(
    `SELECT relationship_id, from_entity, to_entity, properties FROM relationships
     WHERE (from_entity = 'app a' OR to_entity = 'app a') AND tenant_id = ?1 AND valid_time_start <= ?2
       AND valid_time_end > ?2 AND transaction_time_end = ${FOREVER} ORDER BY 1`,
    GRAPH_TENANT,
    NOW + 5,
  ),
);
step(
  "query entities of a time",
  rows(
    `SELECT entity_id FROM entities WHERE tenant_id = ? AND transaction_time_end = ${FOREVER} AND entity_type = 'person'
       AND valid_time_end > ? AND valid_time_start < ? AND transaction_time_start >= ? AND transaction_time_start < ?
       AND entity_id LIKE 'app %' ORDER BY transaction_time_start DESC, entity_id LIMIT 10`,
    GRAPH_TENANT,
    NOW,
    NOW + 9,
    PAST,
    NOW + 9,
  ),
);
step(
  "traverse the graph",
  rows(
    `WITH RECURSIVE reached(entity, depth, path) AS (
       SELECT entity_id, 0, json_array(entity_id) FROM entities
       WHERE entity_id = 'app a' AND tenant_id = ?1 AND valid_time_start <= ?2 AND valid_time_end > ?2
         AND transaction_time_end = ${FOREVER}
       UNION ALL
       SELECT r.to_entity, reached.depth + 1, json_array(r.to_entity)
       FROM reached JOIN relationships AS r ON r.from_entity = reached.entity
       WHERE reached.depth < 4 AND r.tenant_id = ?1 AND r.valid_time_start <= ?2 AND r.valid_time_end > ?2
         AND r.transaction_time_end = ${FOREVER} AND r.to_entity <> reached.entity
     )
     SELECT depth, entity_id FROM reached JOIN entities ON entity_id = entity
     WHERE tenant_id = ?1 AND transaction_time_end = ${FOREVER} ORDER BY depth, entity_id`,
    GRAPH_TENANT,
    NOW + 5,
  ),
);
step(
  "delete entities before a time",
  change("DELETE FROM entities WHERE tenant_id = ? AND transaction_time_start < ?", GRAPH_TENANT, NOW),
);
step("find their relationships gone with them", relationships);
step("add a deleted entity again", addEntity("app old"));
step("delete an entity", change("DELETE FROM entities WHERE entity_id = 'app b' AND tenant_id = ?", GRAPH_TENANT));
step("find no relationship left", relationships);

// Vectors of one dimension: llmspell's own file fails on the first of a second one.

step("insert vectors", (database) => [1, 2, 3].map((n) => typeof insertVector(database, 384, `app ${n}`, "user:app")));
step("insert a vector that is there", (database) => insertVector(database, 384, "app 1", "user:app"));
step("read a scope for its index", (database) => readScope(database, 384, "user:app").size);
step("update a vector's metadata", (database) => updateVectorMetadata(database, "app 1", '{"a":1}'));
step("delete a vector", (database) => deleteVector(database, 384, "app 1"));
step("count a scope", rows("SELECT count(*) FROM vector_metadata WHERE scope = 'user:app' AND dimension = 384"));
step("delete a scope", (database) => deleteScope(database, 384, "user:app"));
step("insert into it again", (database) => typeof insertVector(database, 384, "app 4", "user:app"));

/** What each step gives, a line each. */
export function transcribe(database: Database): string[] {
  database.pragma("foreign_keys = ON");
  return steps.map(({ name, run }) => {
    let outcome: string;
    try {
      outcome = JSON.stringify(run(database)) ?? "done";
    } catch (error) {
      outcome = `Error: ${(error as Error).message}`;
    }
    return `${name}: ${outcome}`;
  });
}
