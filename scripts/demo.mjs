// A migration there and back: a sample SQLite database -> document -> PostgreSQL (embedded) -> document -> SQLite -> document.
// Then the three documents are compared. Needs nothing but this repository: `npm run demo`.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";

const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "llmspell-demo-"));

function llmspell(...words) {
  console.log(`\n$ llmspell ${words.join(" ")}`);
  const { status, signal } = spawnSync(process.execPath, [cli, ...words], { cwd: folder, stdio: "inherit" });
  if (status !== 0) throw new Error(`llmspell ended with ${signal ?? `status ${status}`}`);
}

const uuid = (kind, number) =>
  `${kind.toString(16).padStart(8, "0")}-0000-4000-8000-${String(number).padStart(12, "0")}`;
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const START = 1_760_000_000;
const MICROSECONDS_TO_2000 = 946_684_800_000_000n;
/** The exact value that stands beside a time's seconds. */
const exact = (seconds, microseconds) => BigInt(seconds) * 1_000_000n + BigInt(microseconds) - MICROSECONDS_TO_2000;

/** Some records of every kind, as an application would have inserted them. */
function fillSample(path) {
  const database = new Database(path);
  const insert = (table, row) => {
    const columns = Object.keys(row);
    return database
      .prepare(`INSERT INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`)
      .run(...Object.values(row));
  };
  const tenant_id = "demo";
  database.transaction(() => {
    for (const dimension of [384, 768, 1536, 3072]) {
      // llmspell makes a dimension's table when it is first needed.
      database.exec(
        `CREATE TABLE IF NOT EXISTS vec_embeddings_${dimension} (rowid INTEGER PRIMARY KEY, embedding BLOB NOT NULL)`,
      );
      for (let number = 1; number <= 25; number++) {
        const times = { created_at: START + number, updated_at: START + number };
        const metadata = JSON.stringify({ text: `Straße № ${number} 🦀`, number });
        const row = { id: uuid(dimension, number), tenant_id, scope: "memory", dimension, metadata, ...times };
        const { lastInsertRowid: rowid } = insert("vector_metadata", row);
        const vector = Float32Array.from({ length: dimension }, (_, at) => Math.sin(number * 1000 + at));
        insert(`vec_embeddings_${dimension}`, { rowid, embedding: Buffer.from(vector.buffer) });
      }
    }
    const validity = { valid_time_start: START, transaction_time_start: START, created_at: START };
    const numbers = Array.from({ length: 20 }, (_, at) => at + 1);
    for (const number of numbers) {
      const entity = { entity_id: uuid(1, number), tenant_id, entity_type: "person", name: `Person ${number}` };
      insert("entities", { ...entity, properties: '{"exact":12345678901234567890,"price":1.10}', ...validity });
      // A second version of the same entity, within the same second.
      const later = { transaction_time_start_us: exact(START, 250_000 + number) };
      insert("entities", { ...entity, properties: '{"corrected":true}', ...validity, ...later });
    }
    for (const number of numbers) {
      const ends = { from_entity: uuid(1, number), to_entity: uuid(1, (number % 20) + 1), relationship_type: "knows" };
      insert("relationships", { relationship_id: uuid(2, number), tenant_id, ...ends, properties: "{}", ...validity });
      const times = { created_at: START, updated_at: START + number };
      const pattern = { scope: "global", key: "style", value: `pattern ${number}`, frequency: number };
      insert("procedural_patterns", {
        pattern_id: uuid(3, number),
        tenant_id,
        ...pattern,
        first_seen: START,
        last_seen: START,
        ...times,
      });
      const state_data = JSON.stringify({ state: { execution_state: "idle" }, step: number });
      const agent = {
        state_id: uuid(4, number),
        tenant_id,
        agent_id: `agent-${number}`,
        agent_type: "llm",
        state_data,
      };
      insert("agent_states", {
        ...agent,
        schema_version: 1,
        data_version: number,
        checksum: sha256(state_data),
        ...times,
      });
      const value = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      insert("kv_store", {
        kv_id: uuid(5, number),
        tenant_id,
        key: `key/${number}`,
        value,
        metadata: number % 2 ? "null" : null,
        ...times,
      });
      const flow = {
        workflow_id: `workflow-${number}`,
        workflow_name: null,
        state_data: "{}",
        current_step: number,
        status: "running",
      };
      insert("workflow_states", { tenant_id, ...flow, started_at: START, last_updated: START, created_at: START });
      const session = { session_id: uuid(6, number), session_data: "{}", status: "active", artifact_count: 1 };
      insert("sessions", { tenant_id, ...session, created_at: START, last_accessed_at: START, updated_at: START });
      // The last one is 1.5 MiB: a large object in PostgreSQL.
      const data = Buffer.alloc(number === 20 ? 1_572_864 : number * 100, number);
      const content_hash = sha256(data);
      insert("artifact_content", {
        tenant_id,
        content_hash,
        data,
        size_bytes: data.length,
        is_compressed: 0,
        reference_count: 1,
        created_at: START,
        last_accessed_at: START,
      });
      const artifact = {
        artifact_id: `${uuid(6, number)}:1:${content_hash}`,
        session_id: uuid(6, number),
        sequence: 1,
        content_hash,
      };
      const described = {
        metadata: "{}",
        name: `file ${number}.bin`,
        artifact_type: "file",
        mime_type: "application/octet-stream",
      };
      const tags = number % 2 ? '["a,b","NULL",null]' : null;
      insert("artifacts", {
        tenant_id,
        ...artifact,
        ...described,
        size_bytes: data.length,
        created_at: START,
        version: 1,
        tags,
        stored_at: START,
        updated_at: START,
      });
      const event = {
        event_id: uuid(7, number),
        event_type: "demo.event",
        correlation_id: uuid(8, number),
        sequence: number,
      };
      const timestamp = START + number * 86_400;
      insert("event_log", {
        tenant_id,
        ...event,
        timestamp,
        timestamp_us: exact(timestamp, number),
        language: "lua",
        payload: "{}",
      });
      const hook = {
        execution_id: uuid(9, number),
        hook_id: "logger",
        hook_type: "BeforeToolCall",
        correlation_id: uuid(8, number),
      };
      const run = {
        hook_context: value,
        result_data: "{}",
        timestamp: START,
        duration_ms: number,
        context_size: value.length,
      };
      const cause = { triggering_component: "tool", component_id: "calculator", created_at: START };
      insert("hook_history", { tenant_id, ...hook, ...run, ...cause, metadata: "{}" });
    }
  })();
  database.close();
}

/** The arrays of a document's data, by path. */
function sectionsOf(data, path = "") {
  if (Array.isArray(data)) return [[path, data]];
  return Object.entries(data).flatMap(([name, part]) => sectionsOf(part, path === "" ? name : `${path}.${name}`));
}

/** The document with numbers as they are written, and keys sorted: what its records mean, exactly. */
function readDocument(name) {
  const text = readFileSync(join(folder, name), "utf8");
  const document = JSON.parse(text, (_key, value, { source }) => {
    if (typeof value === "number") return { number: source };
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
  const bytes = text.slice(text.indexOf('"data":{'), text.lastIndexOf('"manifest":{'));
  return { sections: new Map(sectionsOf(document.data)), bytes };
}

try {
  console.log(`A migration there and back, in ${folder}`);
  llmspell("database", "migrate", "--database", "sample.db");
  fillSample(join(folder, "sample.db"));
  llmspell("storage", "export", "--database", "sample.db", "--output", "1-sqlite.json");
  llmspell("database", "migrate", "--database", "pglite:postgres", "--quiet");
  llmspell("storage", "import", "--database", "pglite:postgres", "--input", "1-sqlite.json");
  llmspell("storage", "export", "--database", "pglite:postgres", "--output", "2-postgres.json");
  llmspell("storage", "import", "--database", "copy.db", "--input", "2-postgres.json");
  llmspell("storage", "export", "--database", "copy.db", "--output", "3-sqlite.json");

  const [first, second, third] = ["1-sqlite.json", "2-postgres.json", "3-sqlite.json"].map(readDocument);
  console.log("\nRecords in each document, compared value by value:\n");
  console.log(`  ${"section".padEnd(30)} SQLite  PostgreSQL  SQLite`);
  let same = first.sections.size > 0;
  for (const [path, records] of first.sections) {
    const copies = [second, third].map(({ sections }) => sections.get(path) ?? []);
    const equal = copies.every((copy) => JSON.stringify(copy) === JSON.stringify(records));
    same &&= equal;
    const [there, back] = copies.map(({ length }) => length);
    console.log(
      `  ${path.padEnd(30)} ${String(records.length).padStart(6)}  ${String(there).padStart(10)}  ${String(back).padStart(6)}  ${equal ? "equal" : "DIFFERENT"}`,
    );
  }
  same &&= second.sections.size === first.sections.size && third.sections.size === first.sections.size;
  console.log("\nsha256 of the data part, which is the same byte for byte once it has been through PostgreSQL:");
  for (const [name, { bytes }] of [
    ["2-postgres.json", second],
    ["3-sqlite.json  ", third],
  ])
    console.log(`  ${name}  ${sha256(bytes)}`);
  same &&= second.bytes === third.bytes;
  console.log(same ? "\nSQLite -> PostgreSQL -> SQLite: identical" : "\nSQLite -> PostgreSQL -> SQLite: DIFFERENT");
  process.exitCode = same ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
