// The rows of every table, as SQLite holds them. json is written as PostgreSQL's jsonb prints it (keys by length, then by
// bytes), so that the `data` of an export is byte for byte the same from either backend.
import { createHash } from "node:crypto";
import { RowRandom } from "./random.mjs";

/** In an order that foreign keys permit. */
export const TABLES = [
  "vector_embeddings_384",
  "vector_embeddings_768",
  "vector_embeddings_1536",
  "vector_embeddings_3072",
  "entities",
  "relationships",
  "procedural_patterns",
  "agent_states",
  "kv_store",
  "workflow_states",
  "sessions",
  "artifact_content",
  "artifacts",
  "event_log",
  "hook_history",
];

const TENANTS = ["acme", "globex", "initech", "umbrella"];
/** 2025-03-01T00:00:00Z, and the six months after it. */
const START = 1_740_787_200;
const SPAN = 180 * 86_400;
const TO_2000 = 946_684_800;
const INFINITY = [9_999_999_999, 9223372036854775807n];

const tenant = (i) => TENANTS[i % TENANTS.length];
const uuid = (table, i) => new RowRandom(100 + TABLES.indexOf(table), i).uuid();
const contentHash = (i) => new RowRandom(200, i).hex(32);

/** A time as SQLite keeps it: [Unix seconds, microseconds since 2000]. */
function time(random, second = random.int(0, SPAN)) {
  return [START + second, (START + second - TO_2000) * 1_000_000 + random.int(0, 999_999)];
}

function times(names, pairs) {
  return Object.fromEntries(
    names.flatMap((name, i) => [
      [name, pairs[i][0]],
      [`${name}_us`, pairs[i][1]],
    ]),
  );
}

/** Of the n-th child among `count` parents: one of the same tenant. */
export function parent(i, nth, count) {
  const first = i % TENANTS.length;
  const ofTenant = Math.floor((count - first - 1) / TENANTS.length) + 1;
  return first + TENANTS.length * (nth % ofTenant);
}

function json(random, pools, length) {
  const note = random.chance(0.1) ? "naïve 用户 😀 " : "";
  return `{"n": ${random.int(0, 99999)}, "ok": ${random.chance(0.5)}, "text": "${note}${pools.text(random, length)}", "ratio": 0.${random.int(1, 99)}5}`;
}

function interval(random) {
  const [start, transaction] = [random.int(0, SPAN), random.int(0, SPAN)];
  return times(
    ["valid_time_start", "valid_time_end", "transaction_time_start", "transaction_time_end", "created_at"],
    [
      time(random, start),
      random.chance(0.5) ? INFINITY : time(random, start + 86_400),
      time(random, transaction),
      random.chance(0.8) ? INFINITY : time(random, transaction + 3600),
      time(random, transaction),
    ],
  );
}

const updated = (random) => times(["created_at", "updated_at"], [time(random), time(random)]);

const ROWS = {
  vector: (table, i, random, { pools }) => {
    const dimension = Number(table.slice("vector_embeddings_".length));
    return {
      id: uuid(table, i),
      tenant_id: tenant(i),
      scope: `session:${i % 500}`,
      dimension,
      metadata: json(random, pools, 60),
      ...updated(random),
      embedding: pools.vector(random, dimension),
    };
  },
  entities: (table, i, random, { pools }) => ({
    entity_id: uuid(table, i),
    tenant_id: tenant(i),
    entity_type: random.pick(["person", "place", "concept", "file"]),
    name: pools.text(random, 24),
    properties: json(random, pools, 120),
    ...interval(random),
  }),
  relationships: (table, i, random, { pools, rows }) => ({
    relationship_id: uuid(table, i),
    tenant_id: tenant(i),
    from_entity: uuid("entities", parent(i, i >> 2, rows.entities)),
    to_entity: uuid("entities", parent(i, random.int(0, rows.entities), rows.entities)),
    relationship_type: random.pick(["knows", "contains", "refers_to", "derived_from"]),
    properties: json(random, pools, 60),
    ...interval(random),
  }),
  procedural_patterns: (table, i, random, { pools }) => ({
    pattern_id: uuid(table, i),
    tenant_id: tenant(i),
    scope: random.pick(["global", "session:1", "project"]),
    key: `pattern.${i}`,
    value: pools.text(random, 80),
    frequency: random.int(1, 50),
    ...times(["first_seen", "last_seen"], [time(random), time(random)]),
    ...updated(random),
  }),
  agent_states: (table, i, random, { pools }) => {
    const state = `{"state": {"execution_state": "${random.pick(["idle", "running"])}"}, "history": ["${pools.text(random, 600)}"], "metadata": {"name": "agent ${i}"}}`;
    return {
      state_id: uuid(table, i),
      tenant_id: tenant(i),
      agent_id: `agent-${i}`,
      agent_type: random.pick(["planner", "coder", "reviewer"]),
      state_data: state,
      schema_version: 1,
      data_version: random.int(1, 9),
      checksum: createHash("sha256").update(state).digest("hex"),
      ...updated(random),
    };
  },
  kv_store: (table, i, random, { pools }) => ({
    kv_id: uuid(table, i),
    tenant_id: tenant(i),
    key: `cache/${i % 97}/${random.hex(8)}/${i}`,
    value: pools.bytes(random, random.int(200, 600), i % 2 === 0),
    metadata: i % 3 === 0 ? null : `{"ttl": ${random.int(1, 3600)}, "codec": "raw"}`,
    ...updated(random),
  }),
  workflow_states: (_, i, random, { pools }) => ({
    tenant_id: tenant(i),
    workflow_id: `workflow-${i}`,
    workflow_name: pools.text(random, 20),
    state_data: json(random, pools, 500),
    current_step: random.int(0, 12),
    status: random.pick(["pending", "running", "completed", "failed", "cancelled"]),
    ...times(
      ["started_at", "completed_at", "last_updated", "created_at"],
      [time(random), i % 2 === 0 ? [null, null] : time(random), time(random), time(random)],
    ),
  }),
  sessions: (table, i, random, { pools }) => ({
    tenant_id: tenant(i),
    session_id: uuid(table, i),
    session_data: json(random, pools, 300),
    status: random.pick(["active", "archived", "expired"]),
    ...times(
      ["created_at", "last_accessed_at", "expires_at", "updated_at"],
      [time(random), time(random), i % 2 === 0 ? [null, null] : time(random), time(random)],
    ),
    artifact_count: random.int(0, 4),
  }),
  artifact_content: (_, i, random, { pools, content }) => {
    const length = contentLength(i, random, content);
    return {
      tenant_id: tenant(i),
      content_hash: contentHash(i),
      data: pools.bytes(random, length, i % 2 === 0),
      size_bytes: length,
      is_compressed: 0,
      original_size_bytes: length,
      reference_count: random.int(1, 3),
      ...times(["created_at", "last_accessed_at"], [time(random), time(random)]),
    };
  },
  artifacts: (_, i, random, { pools, rows }) => {
    const nth = Math.floor(i / TENANTS.length);
    const session = uuid("sessions", parent(i, nth >> 2, rows.sessions));
    const hash = contentHash(parent(i, nth, rows.artifact_content));
    return {
      tenant_id: tenant(i),
      artifact_id: `${session}:${nth}:${hash}`,
      session_id: session,
      sequence: nth,
      content_hash: hash,
      metadata: json(random, pools, 100),
      name: `report-${i}.txt`,
      artifact_type: random.pick(["file", "code", "image"]),
      mime_type: random.pick(["text/plain", "application/octet-stream"]),
      size_bytes: random.int(0, 1_000_000),
      created_by: i % 2 === 0 ? null : "agent",
      version: 1,
      parent_artifact_id: null,
      tags: '["draft","übersicht"]',
      ...times(["created_at", "stored_at", "updated_at"], [time(random), time(random), time(random)]),
    };
  },
  event_log: (table, i, random, { pools, rows }) => ({
    tenant_id: tenant(i),
    event_id: uuid(table, i),
    event_type: random.pick(["agent.started", "agent.finished", "tool.called", "llm.completed", "hook.fired"]),
    correlation_id: new RowRandom(300, i >> 3).uuid(),
    ...times(["timestamp"], [time(random, Math.floor((i / rows.event_log) * SPAN))]),
    sequence: i,
    language: random.pick(["lua", "javascript", "rust"]),
    payload: `{"level": "${random.pick(["info", "warn"])}", "context": "${random.pick(["cli", "kernel"])}", "details": ${json(random, pools, 170)}, "emitter": "component-${i % 40}"}`,
  }),
  hook_history: (table, i, random, { pools }) => {
    const context = pools.bytes(random, random.int(100, 400), true);
    return {
      execution_id: uuid(table, i),
      tenant_id: tenant(i),
      hook_id: `hook-${i % 17}`,
      hook_type: random.pick(["before", "after"]),
      correlation_id: new RowRandom(300, i).uuid(),
      hook_context: context,
      result_data: json(random, pools, 60),
      ...times(["timestamp", "created_at"], [time(random), time(random)]),
      duration_ms: random.int(0, 5000),
      triggering_component: "kernel",
      component_id: `component-${i % 40}`,
      modified_operation: i % 2,
      tags: '["audit"]',
      retention_priority: random.int(0, 10),
      context_size: context.length,
      contains_sensitive_data: 0,
      metadata: json(random, pools, 20),
    };
  },
};

/** Log-uniform between the bounds; the first may have a length of its own. */
export function contentLength(i, random, { from, to, first }) {
  if (i === 0 && first !== undefined) return first;
  return Math.round(from * (to / from) ** (random.uint32() / 2 ** 32));
}

/** The i-th row of a table: `{ column: value }`, always the same columns in the same order. */
export function row(table, i, context) {
  const make = table.startsWith("vector_embeddings_") ? ROWS.vector : ROWS[table];
  return make(table, i, new RowRandom(TABLES.indexOf(table), i), context);
}
