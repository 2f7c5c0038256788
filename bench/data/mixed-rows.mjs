// The rows of every table as llmspell itself writes them, before any migration of ours: Unix seconds without companions, ids
// in llmspell's own spellings, Unicode in every text, JSON of several shapes.
import { createHash } from "node:crypto";
import { Pools, RowRandom } from "./random.mjs";
import { contentLength, parent, TABLES } from "./rows.mjs";

const TENANTS = ["acme", "Müller & Söhne", "株式会社例", "кафе-☕"];
const START = 1_740_787_200;
const SPAN = 180 * 86_400;
const FOREVER = 9_999_999_999;

/** UTF-16 units. */
const TEXT_LENGTH = 4_000_000;
const WORDS = 4096;
/** The letters of a word, and how many words of a hundred are of them. */
const SCRIPTS = [
  [58, "etaoinshrdlucmfwypvbgk"],
  [20, "aeionrtsäöüßéèçñøåœšžł"],
  [8, "оеаинтсрвлкмдпуяыь"],
  [6, "用户的会话记录中文数据库工具"],
  [4, "こんにちはカタカナ"],
  [2, "مرحبا بالعالم"],
  [2, "😀🚀✨📎🧠🔥"],
];

const LETTERS = SCRIPTS.flatMap(([share, letters]) => Array.from({ length: share }, () => [...letters]));

/** Text of words of many scripts; the other pools are those of the standard set. */
export class MixedPools extends Pools {
  constructor() {
    super();
    const random = new RowRandom(2000, 0);
    const words = Array.from({ length: WORDS }, () => {
      const all = random.pick(LETTERS);
      return Array.from({ length: random.int(1, all.length < 8 ? 2 : 9) }, () => random.pick(all)).join("");
    });
    const parts = [];
    for (let length = 0; length < TEXT_LENGTH; length += parts.at(-1).length + 1) {
      const [x, y] = [random.uint32() / 2 ** 32, random.uint32() / 2 ** 32];
      parts.push(words[Math.floor(x * y * WORDS)]);
    }
    this.mixed = parts.join(" ").slice(0, TEXT_LENGTH);
  }

  /** About so many UTF-16 units, with a letter beyond ASCII in any case. */
  text(random, length) {
    const at = random.int(0, TEXT_LENGTH - length);
    const text = this.mixed.slice(at, at + length).replace(/^[\uDC00-\uDFFF]|[\uD800-\uDBFF]$/g, "");
    return `${random.pick(["é", "ß", "語", "ж", "✓"])}${text}`;
  }
}

const tenant = (i) => TENANTS[i % TENANTS.length];
const seeded = (table, i) => new RowRandom(400 + TABLES.indexOf(table), i);
const uuid = (table, i) => seeded(table, i).uuid();
/** As llmspell's DEFAULT (lower(hex(randomblob(16)))) makes them. */
const bareUuid = (table, i) => seeded(table, i).hex(16);
const contentHash = (i) => new RowRandom(500, i).hex(32);
const time = (random) => START + random.int(0, SPAN);

/** JSON objects in the shapes that applications and people give them. */
function json(random, pools, length) {
  const text = JSON.stringify(pools.text(random, length));
  const title = JSON.stringify(pools.text(random, 12));
  switch (random.int(0, 9)) {
    case 0:
      // Printed for people: the line breaks between its tokens are dropped.
      return `{\n  "title": ${title},\n  "flags": [\n    true,\n    null\n  ],\n  "text": ${text}\n}`;
    case 1:
      // Escaped as programs do that print ASCII only.
      return `{"title":${escaped(title)},"text":${escaped(text)}}`;
    case 2:
      return `{"values":[${Array.from({ length: 24 }, () => (random.uint32() / 2 ** 32).toFixed(6)).join(",")}],"text":${text}}`;
    case 3:
      return `{"steps":[${[1, 2, 3].map((n) => `{"n":${n},"name":${title},"nested":{"deep":{"er":[[],{}]}}}`).join(",")}],"text":${text}}`;
    case 4:
      return `{"code":${JSON.stringify(`line 1\n\tline "2" \\ ${random.int(0, 999)}\r\n`.repeat(3))},"text":${text}}`;
    default:
      return `{"count":${random.int(0, 99_999)},"naïve":${random.chance(0.5)},"text":${text},"title":${title}}`;
  }
}

function escaped(text) {
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function interval(random) {
  const [start, transaction] = [time(random), time(random)];
  return {
    valid_time_start: start,
    valid_time_end: random.chance(0.5) ? FOREVER : start + 86_400,
    transaction_time_start: transaction,
    transaction_time_end: random.chance(0.8) ? FOREVER : transaction + 3600,
    created_at: transaction,
  };
}

const updated = (random) => ({ created_at: time(random), updated_at: time(random) });

const ROWS = {
  vector: (table, i, random, { pools }) => {
    const dimension = Number(table.slice("vector_embeddings_".length));
    return {
      id: uuid(table, i),
      tenant_id: tenant(i),
      scope: `session:${pools.text(random, 8)}`,
      dimension,
      metadata: json(random, pools, 60),
      ...updated(random),
      embedding: pools.vector(random, dimension),
    };
  },
  entities: (table, i, random, { pools }) => ({
    entity_id: uuid(table, i),
    tenant_id: tenant(i),
    entity_type: random.pick(["personne", "場所", "понятие", "datei-ä"]),
    name: pools.text(random, 24),
    properties: json(random, pools, 120),
    ...interval(random),
  }),
  relationships: (table, i, random, { pools, rows }) => ({
    relationship_id: uuid(table, i),
    tenant_id: tenant(i),
    from_entity: uuid("entities", parent(i, i >> 2, rows.entities)),
    to_entity: uuid("entities", parent(i, random.int(0, rows.entities), rows.entities)),
    relationship_type: random.pick(["kennt-für", "含む", "относится"]),
    properties: json(random, pools, 60),
    ...interval(random),
  }),
  procedural_patterns: (table, i, random, { pools }) => ({
    pattern_id: bareUuid(table, i),
    tenant_id: tenant(i),
    scope: random.pick(["global-é", "session:1-ß"]),
    key: `muster.ü.${i}`,
    value: pools.text(random, 80),
    frequency: random.int(1, 50),
    first_seen: time(random),
    last_seen: time(random),
    ...updated(random),
  }),
  agent_states: (table, i, random, { pools }) => {
    const text = JSON.stringify(pools.text(random, 400));
    const state = `{"history":[${text},${json(random, pools, 200)}],"metadata":{"name":"agent-é ${i}"},"state":{"execution_state":"${random.pick(["idle", "running"])}"}}`;
    return {
      state_id: bareUuid(table, i),
      tenant_id: tenant(i),
      agent_id: `agent-ø-${i}`,
      agent_type: random.pick(["planificateur-é", "コーダー", "рецензент"]),
      state_data: state,
      schema_version: 1,
      data_version: random.int(1, 9),
      checksum: createHash("sha256").update(state).digest("hex"),
      ...updated(random),
    };
  },
  kv_store: (table, i, random, { pools }) => ({
    kv_id: bareUuid(table, i),
    tenant_id: tenant(i),
    key: `zwischenspeicher/ä/${random.hex(8)}/${i}`,
    value: pools.bytes(random, random.int(200, 600), i % 2 === 0),
    metadata: i % 3 === 0 ? null : json(random, pools, 20),
    ...updated(random),
  }),
  workflow_states: (_, i, random, { pools }) => ({
    tenant_id: tenant(i),
    workflow_id: `ablauf-ü-${i}`,
    workflow_name: pools.text(random, 20),
    state_data: json(random, pools, 500),
    current_step: random.int(0, 12),
    status: random.pick(["pending", "running", "completed", "failed", "cancelled"]),
    started_at: time(random),
    completed_at: i % 2 === 0 ? null : time(random),
    last_updated: time(random),
    created_at: time(random),
  }),
  sessions: (table, i, random, { pools }) => ({
    tenant_id: tenant(i),
    session_id: uuid(table, i),
    session_data: json(random, pools, 300),
    status: random.pick(["active", "archived", "expired"]),
    created_at: time(random),
    last_accessed_at: time(random),
    expires_at: i % 2 === 0 ? null : time(random),
    artifact_count: random.int(0, 4),
    updated_at: time(random),
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
      created_at: time(random),
      last_accessed_at: time(random),
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
      name: `bericht-ä-${i}.txt`,
      artifact_type: random.pick(["file", "code", "image"]),
      mime_type: random.pick(["text/plain", "application/octet-stream"]),
      size_bytes: random.int(0, 1_000_000),
      created_by: i % 2 === 0 ? null : "агент",
      version: 1,
      parent_artifact_id: null,
      tags: '["entwurf","übersicht","下書き"]',
      created_at: time(random),
      stored_at: time(random),
      updated_at: time(random),
    };
  },
  event_log: (table, i, random, { pools, rows }) => ({
    tenant_id: tenant(i),
    event_id: uuid(table, i),
    event_type: random.pick(["agent.gestartet-ü", "tool.呼び出し", "llm.завершён"]),
    correlation_id: new RowRandom(600, i >> 3).uuid(),
    timestamp: START + Math.floor((i / rows.event_log) * SPAN),
    sequence: i,
    language: random.pick(["lua", "javascript", "rust"]),
    payload: `{"context":"${random.pick(["cli-é", "noyau"])}","details":${json(random, pools, 170)},"emitter":"composant-é-${i % 40}","level":"info"}`,
  }),
  hook_history: (table, i, random, { pools }) => {
    const context = pools.bytes(random, random.int(100, 400), true);
    return {
      execution_id: uuid(table, i),
      tenant_id: tenant(i),
      hook_id: `crochet-é-${i % 17}`,
      hook_type: random.pick(["avant-é", "后"]),
      correlation_id: new RowRandom(600, i).uuid(),
      hook_context: context,
      result_data: json(random, pools, 60),
      timestamp: time(random),
      duration_ms: random.int(0, 5000),
      triggering_component: "ядро",
      component_id: `composant-é-${i % 40}`,
      modified_operation: i % 2,
      tags: '["prüfung",null]',
      retention_priority: random.int(0, 10),
      context_size: context.length,
      contains_sensitive_data: 0,
      metadata: json(random, pools, 20),
      created_at: time(random),
    };
  },
};

/** The i-th row of a table: `{ column: value }`, always the same columns in the same order. */
export function row(table, i, context) {
  const make = table.startsWith("vector_embeddings_") ? ROWS.vector : ROWS[table];
  return make(table, i, new RowRandom(50 + TABLES.indexOf(table), i), context);
}
