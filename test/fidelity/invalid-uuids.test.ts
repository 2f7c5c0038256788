/** Ids as llmspell's SQLite may hold them: free text ("doc1"), and UUIDs in other spellings than the usual one. */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { describePostgres } from "../helpers/postgres-server.js";
import * as records from "./records.js";
import { id } from "./records.js";
import {
  createPostgresStore,
  createSqliteStore,
  dataOf,
  documentText,
  load,
  recordsOf,
  type TestStore,
  unload,
} from "./support.js";

/** RFC 9562, section 5.5, in the namespace that docs/fidelity.md names. */
function derived(text: string): string {
  const namespace = Buffer.from("8c6a2b1e5d3f4a7c9e106b5f0d2c4a38", "hex");
  const bytes = createHash("sha1").update(namespace).update(text, "utf8").digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 15) | 80;
  bytes[8] = ((bytes[8] as number) & 63) | 128;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

const BARE = "00000000000040008000000000000001";
const CAPITALS = "ABCDEF00-0000-4000-8000-000000000001";
const SESSION = derived("doc1");
const ENTITY = derived("Ünïcode entity");

/** Free text and odd spellings in every id column, generated ones too. */
const FILL = `
  INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at) VALUES
    (1, 'doc1', 't', 's', 384, 1, 1), (2, '900150983CD24FB0d6963f7d28e17f72', 't', 's', 384, 1, 1),
    (3, '', 't', 's', 384, 1, 1), (4, 'z', 't', 's', 384, 1, 1);
  INSERT INTO vec_embeddings_384 SELECT rowid, zeroblob(1536) FROM vector_metadata;
  INSERT INTO entities (entity_id, tenant_id, entity_type, name, valid_time_start) VALUES
    ('Ünïcode entity', 't', 'e', 'n', 0), ('${BARE}', 't', 'e', 'n', 0), ('${CAPITALS}', 't', 'e', 'n', 0),
    ('a "quoted" \\ id', 't', 'e', 'n', 0);
  INSERT INTO relationships (relationship_id, tenant_id, from_entity, to_entity, relationship_type, valid_time_start) VALUES
    ('doc1', 't', 'Ünïcode entity', '${BARE}', 'r', 0), ('${CAPITALS}', 't', '${CAPITALS}', '${BARE}', 'r', 0);
  INSERT INTO procedural_patterns (pattern_id, tenant_id, scope, key, value, first_seen, last_seen) VALUES
    ('pattern one', 't', 's', 'k', 'v', 0, 0);
  INSERT INTO agent_states (state_id, tenant_id, agent_id, agent_type, state_data, schema_version, data_version, checksum) VALUES
    ('state one', 't', 'a', 'x', '{}', 1, 1, '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
  INSERT INTO kv_store (kv_id, tenant_id, key, value) VALUES ('kv one', 't', 'k', x'00'), ('ABCDEF00000040008000000000000002', 't', 'l', x'00');
  INSERT INTO sessions (tenant_id, session_id, session_data) VALUES
    ('t', 'doc1', '{}'), ('t', '${CAPITALS}', '{}'), ('t', 'chat:7', '{}');
  INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes, reference_count) VALUES ('t', 'h', x'00', 1, 4);
  INSERT INTO artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type, mime_type, size_bytes, parent_artifact_id) VALUES
    ('t', 'doc1:0:h', 'doc1', 0, 'h', '{}', 'n', 'file', 'text/plain', 1, NULL),
    ('t', '${CAPITALS}:0:h', '${CAPITALS}', 0, 'h', '{}', 'n', 'file', 'text/plain', 1, 'doc1:0:h'),
    ('t', 'chat:7:0:h', 'chat:7', 0, 'h', '{}', 'n', 'file', 'text/plain', 1, 'gone:3:h'),
    ('t', 'a name', 'chat:7', 1, 'h', '{}', 'n', 'file', 'text/plain', 1, 'chat:7:0:h');
  INSERT INTO event_log (tenant_id, event_id, event_type, correlation_id, timestamp, sequence, language, payload) VALUES
    ('t', 'event one', 'e', 'trace/1', 1, 1, 'lua', '{}'), ('t', '${CAPITALS}', 'e', '${BARE}', 1, 2, 'lua', '{}');
  INSERT INTO hook_history (execution_id, tenant_id, hook_id, hook_type, correlation_id, hook_context, result_data, timestamp, duration_ms,
      triggering_component, component_id, context_size) VALUES
    ('run one', 't', 'h', 'x', 'trace/1', x'00', '{}', 1, 1, 'c', 'c', 1), ('${BARE}', 't', 'h', 'x', '${CAPITALS}', x'00', '{}', 1, 1, 'c', 'c', 1)`;

/** Ids in FILL that are no UUIDs, by section. */
const COUNTS: readonly (readonly [string, number])[] = [
  ["vector_embeddings.384", 3],
  ["knowledge_graph.entities", 2],
  ["knowledge_graph.relationships", 2],
  ["procedural_memory", 1],
  ["agent_state", 1],
  ["kv_store", 1],
  ["sessions", 2],
  ["artifacts.artifacts", 3],
  ["event_log", 2],
  ["hook_history", 2],
];
const TOLD = COUNTS.map(([path, count]) => `${path}: ${count} ${count === 1 ? "id is no UUID" : "ids are no UUIDs"}`);

describePostgres("free text in UUID fields", () => {
  let source: TestStore;
  let other: TestStore;
  let postgres: TestStore;
  let first: string;
  const folder = mkdtempSync(join(tmpdir(), "llmspell-ids-"));
  const map = join(folder, "ids.ndjson");
  beforeAll(async () => {
    source = createSqliteStore();
    other = createSqliteStore();
    postgres = await createPostgresStore();
    await source.run(
      `CREATE TABLE IF NOT EXISTS vec_embeddings_384 (rowid INTEGER PRIMARY KEY, embedding BLOB); ${FILL}`,
    );
    first = (await unload(source)).document;
  });
  beforeEach(async () => {
    await other.clear();
    await postgres.clear();
    rmSync(map, { force: true });
  });
  afterAll(async () => {
    for (const store of [source, other, postgres]) await store.drop();
    rmSync(folder, { recursive: true });
  });

  it("stay as they are in documents and in SQLite, byte for byte, also when they are imported again", async () => {
    expect((await unload(source)).warnings).toEqual([]);
    const ids = (path: string, field: string) => recordsOf(first, path).map((record) => record[field]);
    expect(ids("vector_embeddings.384", "id")).toEqual(["", "900150983CD24FB0d6963f7d28e17f72", "doc1", "z"]);
    expect(ids("sessions", "session_id")).toEqual([CAPITALS, "chat:7", "doc1"]);
    // Generated ids that are UUIDs are spelled as usual.
    expect(ids("kv_store", "kv_id")).toEqual(["abcdef00-0000-4000-8000-000000000002", "kv one"]);
    for (const from of [first, source, first]) {
      const { result } = await load(from, other);
      expect(result.totals).toMatchObject({ rejected: 0 });
      expect(dataOf((await unload(other)).document)).toBe(dataOf(first));
    }
    expect(await other.rows("SELECT count(*) FROM vector_metadata")).toEqual([[4n]]);
  });

  it("stop a run, naming the first and counting all, and leave the target unchanged", async () => {
    for (const from of [source, first]) {
      const error = await failureOf(load(from, postgres));
      expect([error.code, error.exitStatus, error.context.section, error.context.field, error.context.key]).toEqual([
        "E_INVALID_UUID",
        4,
        "vector_embeddings.384",
        "id",
        expect.stringMatching(/^id=(|doc1|z)$/),
      ]);
      expect(error.context.detail).toBe(
        `ids that are no UUIDs: ${COUNTS.map(([path, count]) => `${path} ${count}`).join(", ")}`,
      );
      expect(error.context.hint).toContain("--invalid-uuid derive");
      expect(error.context.hint).toContain("--id-map");
    }
    for (const table of ["vector_embeddings_384", "entities", "sessions"])
      expect(await postgres.rows(`SELECT count(*) FROM llmspell.${table}`)).toEqual([[0n]]);
    const keep = await failureOf(load(source, postgres, { invalidUuid: "keep" }));
    expect([keep.code, keep.context.hint]).toEqual(["E_USAGE", expect.stringContaining("derive")]);
  });

  it("are rejected one by one where bad records are skipped", async () => {
    for (const from of [source, first]) {
      await postgres.clear();
      const { rejected, result, warnings } = await load(from, postgres, { skip: true });
      expect(warnings).toEqual(TOLD);
      expect(new Set(rejected.map(({ error }) => error.code))).toEqual(new Set(["E_INVALID_UUID"]));
      const sections = rejected.map(({ error }) => error.context.section);
      expect(new Set(sections)).toEqual(new Set(COUNTS.map(([path]) => path)));
      const session = rejected.find(({ error }) => error.context.section === "sessions");
      expect(JSON.parse(session?.record as string)).toMatchObject({ session_id: "chat:7", tenant_id: "t" });
      // A vector, two entities, a relationship, an entry, a session, its artifact and the content, an event, a hook.
      expect(result.totals).toMatchObject({ inserted: 10, rejected: rejected.length });
    }
    const asked = await unload(source, { skip: true, invalidUuid: "error" });
    expect(asked.rejected).toHaveLength(16);
    expect(recordsOf(asked.document, "sessions").map((record) => record["session_id"])).toEqual([
      CAPITALS.toLowerCase(),
    ]);
  });

  it("become the same UUIDv5 wherever they are referred to, in both databases, and the mapping is told", async () => {
    const viaDocument = await unload(source, { invalidUuid: "derive" });
    for (const target of [other, postgres]) {
      const prefix = target === other ? "" : "llmspell.";
      for (const [from, invalidUuid] of [
        [source, "derive"],
        [first, "derive"],
        [viaDocument.document, "error"],
      ] as const) {
        await target.clear();
        const { warnings, result } = await load(from, target, { invalidUuid });
        expect(result.totals).toMatchObject({ inserted: 26, rejected: 0 });
        if (invalidUuid === "derive") {
          expect(warnings).toContain(`derived UUID ${ENTITY} from "Ünïcode entity"`);
          for (const line of TOLD) expect(warnings).toContain(line);
        }
        // The ids of artifacts follow their sessions', also where the session is gone.
        const capitals = CAPITALS.toLowerCase();
        expect(
          await target.rows(
            `SELECT session_id, artifact_id, parent_artifact_id FROM ${prefix}artifacts ORDER BY name, sequence, artifact_id`,
          ),
        ).toEqual(
          [
            [capitals, `${capitals}:0:h`, `${SESSION}:0:h`],
            [SESSION, `${SESSION}:0:h`, null],
            [derived("chat:7"), `${derived("chat:7")}:0:h`, `${derived("gone")}:3:h`],
          ]
            .sort(([, a], [, b]) => ((a as string) < (b as string) ? -1 : 1))
            .concat([[derived("chat:7"), "a name", `${derived("chat:7")}:0:h`]]),
        );
        expect(
          await target.rows(
            `SELECT relationship_id, from_entity, to_entity FROM ${prefix}relationships
             WHERE from_entity IN (SELECT entity_id FROM ${prefix}entities) AND to_entity IN (SELECT entity_id FROM ${prefix}entities)
             ORDER BY relationship_id`,
          ),
        ).toEqual([
          [SESSION, ENTITY, "00000000-0000-4000-8000-000000000001"],
          [capitals, capitals, "00000000-0000-4000-8000-000000000001"],
        ]);
      }
    }
    expect(viaDocument.warnings.slice(0, COUNTS.length)).toEqual(TOLD);
    expect(viaDocument.warnings.at(-1)).toBe("derived 19 UUIDs from free text");
    // Sorted as the UUIDs are.
    const { document } = await unload(postgres);
    expect(dataOf(viaDocument.document)).toBe(dataOf((await unload(other)).document));
    for (const path of ["vector_embeddings.384", "knowledge_graph.entities", "sessions", "artifacts.artifacts"])
      expect(recordsOf(document, path)).toEqual(recordsOf(viaDocument.document, path));
  });

  it("come back with an id map, wherever they stand, byte for byte", async () => {
    for (const from of [source, first]) {
      await postgres.clear();
      await load(from, postgres, { invalidUuid: "derive", idMap: map });
      expect(statSync(map).mode & 0o777).toBe(0o600);
      // Into an empty database, and over the first one, which does not change.
      await other.clear();
      const back = await load(postgres, other, { idMap: map });
      expect(back.result.totals).toMatchObject({ inserted: 26, rejected: 0 });
      expect(dataOf((await unload(other)).document)).toBe(dataOf(first));
      const again = await load(postgres, other, { idMap: map });
      expect(again.result.totals).toMatchObject({ inserted: 0, updated: 26, rejected: 0 });
      expect(dataOf((await unload(other)).document)).toBe(dataOf(first));
      // A document need not be sorted.
      const { document } = await unload(postgres, { idMap: map });
      await other.clear();
      await load(document, other);
      expect(dataOf((await unload(other)).document)).toBe(dataOf(first));
    }
    // A second database's ids are added.
    const before = readFileSync(map, "utf8");
    await load({ sessions: [records.session(9, { session_id: "added" })] }, postgres, {
      invalidUuid: "derive",
      idMap: map,
    });
    const lines = readFileSync(map, "utf8").split("\n");
    expect(lines.filter((line) => !before.includes(line))).toEqual([
      JSON.stringify({ domain: "sessions.session_id", uuid: derived("added"), id: "added" }),
      expect.stringMatching(/^\{"entries":\d+\}$/),
    ]);
    // Records that came to PostgreSQL since then refer to ids of the map as well.
    await load({ "artifacts.artifacts": [{ ...records.artifact(9, 0, "h"), session_id: derived("added") }] }, postgres);
    await load(postgres, other, { idMap: map });
    expect(await other.rows("SELECT count(*) FROM artifacts WHERE session_id = 'added'")).toEqual([[1n]]);
  });

  it("an id map that is cut, or is none, or of a run that fails or is dry", async () => {
    await load(source, postgres, { invalidUuid: "derive", idMap: map, dryRun: true });
    expect(existsSync(map)).toBe(false);
    expect((await failureOf(load(postgres, other, { idMap: map }))).code).toBe("E_INPUT_NOT_FOUND");
    await load(source, postgres, { invalidUuid: "derive", idMap: map });
    const whole = readFileSync(map, "utf8");
    for (const [text, reading, writing] of [
      [whole.slice(0, whole.lastIndexOf("{")), "E_DOCUMENT_TRUNCATED", "E_DOCUMENT_TRUNCATED"],
      [whole.replace(/\n.*"doc1"\}/, ""), "E_DOCUMENT_TRUNCATED", "E_DOCUMENT_TRUNCATED"],
      [whole.replace("{", "["), "E_DOCUMENT_SHAPE", "E_OUTPUT_EXISTS"],
      [whole.replace('"domain"', '"other"'), "E_DOCUMENT_SHAPE", "E_DOCUMENT_SHAPE"],
      ["precious\n", "E_DOCUMENT_SHAPE", "E_OUTPUT_EXISTS"],
    ] as const) {
      writeFileSync(map, text);
      expect((await failureOf(load(postgres, other, { idMap: map }))).code).toBe(reading);
      expect((await failureOf(load(source, postgres, { invalidUuid: "derive", idMap: map }))).code).toBe(writing);
      expect(readFileSync(map, "utf8")).toBe(text);
    }
  });

  it("are told one by one up to a hundred texts, then counted, from SQLite and from documents", async () => {
    const sessions = (name: (i: number) => string) =>
      Array.from({ length: 102 }, (_, i) => ({
        ...{ tenant_id: "t", session_id: name(i), session_data: {}, status: "active", created_at: 0 },
        ...{ last_accessed_at: 0, artifact_count: 0, updated_at: 0 },
      }));
    await other.run(
      `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 101)
       INSERT INTO sessions (tenant_id, session_id, session_data) SELECT 't', 'text ' || i, '{}' FROM n`,
    );
    const fromSqlite = await unload(other, { invalidUuid: "derive" });
    await other.clear();
    const fromDocument = await load(documentText({ sessions: sessions((i) => `text ${i}`) }), other, {
      invalidUuid: "derive",
    });
    for (const { warnings } of [fromSqlite, fromDocument]) {
      const told = warnings.filter((line) => line.startsWith("derived"));
      expect(told).toHaveLength(101);
      expect(new Set(told).size).toBe(101);
      for (const line of told.slice(0, 100)) {
        const [, uuid, text] = /^derived UUID (\S+) from "(.*)"$/.exec(line) ?? [];
        expect(uuid).toBe(derived(text as string));
      }
      expect(told[100]).toBe("derived 102 UUIDs from free text; the first 100 texts are listed above");
    }
  });

  it("match the SQLite rows that hold the text itself, which keep it", async () => {
    await load(source, other);
    await load(source, postgres, { invalidUuid: "derive" });
    await postgres.run("UPDATE llmspell.sessions SET status = 'archived'");
    const stored = `SELECT s.session_id, a.session_id, s.status, relationship_id, from_entity, to_entity, s.id, a.id, artifact_id, parent_artifact_id
                    FROM sessions s JOIN artifacts a USING (session_id), relationships ORDER BY 1, 2, 4, 8`;
    const before = await other.rows(stored);

    const there = await load(postgres, other);
    expect(there.result.totals).toMatchObject({ inserted: 0, updated: 26, rejected: 0 });
    expect(await other.rows(stored)).toEqual(before.map((row) => row.with(2, "archived")));

    const child = { ...records.artifact(1, 9, "h"), artifact_id: "new", session_id: SESSION };
    const added = await load({ "artifacts.artifacts": [child] }, other);
    expect(added.result.totals).toMatchObject({ inserted: 1, rejected: 0 });
    expect(await other.rows("SELECT session_id FROM artifacts WHERE artifact_id = 'new'")).toEqual([["doc1"]]);
  });
});

describe("two spellings of one UUID", () => {
  const usual = id(0xabc);
  const capitals = `${usual.slice(0, -3)}ABC`;
  const lower = `${usual.slice(0, -3)}abc`;
  const bare = lower.replaceAll("-", "");
  const sessions = (...ids: string[]) => ({ sessions: ids.map((session_id) => records.session(1, { session_id })) });
  let store: TestStore;
  beforeAll(() => {
    store = createSqliteStore();
  });
  beforeEach(() => store.clear());
  afterAll(() => store.drop());
  const stored = async () => (await store.rows("SELECT session_id FROM sessions ORDER BY 1")).flat();

  it("are two ids in SQLite", async () => {
    for (const inserted of [3, 0]) {
      const { result } = await load(sessions(capitals, lower, bare), store);
      expect(result.totals).toMatchObject({ inserted, updated: 3 - inserted, rejected: 0 });
      expect(await stored()).toEqual([bare, capitals, lower].sort());
    }
  });

  it("the usual one is that of the one row which spells it otherwise; any other is an id of its own", async () => {
    await load(sessions(capitals), store);
    const { result } = await load(sessions(lower), store);
    expect(result.totals).toMatchObject({ inserted: 0, updated: 1 });
    expect(await stored()).toEqual([capitals]);
    await load(sessions(bare), store);
    expect(await stored()).toEqual([bare, capitals].sort());
    const error = await failureOf(load(sessions(lower), store));
    expect([error.code, error.context.detail]).toEqual([
      "E_KEY_CONFLICT",
      expect.stringMatching(new RegExp(`${bare}.*${capitals}|${capitals}.*${bare}`)),
    ]);
    await store.run(`UPDATE sessions SET session_id = '${lower}' WHERE session_id = '${bare}'`);
    expect((await load(sessions(lower), store)).result.totals).toMatchObject({ updated: 1 });
    expect(await stored()).toEqual([capitals, lower].sort());
  });

  describePostgres("into PostgreSQL", () => {
    it("are one id, and two records of it are a conflict", async () => {
      const postgres = await createPostgresStore();
      try {
        const error = await failureOf(load(sessions(capitals, lower), postgres));
        expect([error.code, error.context.section]).toEqual(["E_KEY_CONFLICT", "sessions"]);
        await load(sessions(capitals), postgres);
        expect((await load(sessions(bare), postgres)).result.totals).toMatchObject({ inserted: 0, updated: 1 });
        expect(await postgres.rows("SELECT session_id FROM llmspell.sessions")).toEqual([[lower]]);
      } finally {
        await postgres.drop();
      }
    });
  });
});
