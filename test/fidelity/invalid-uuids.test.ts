/** Free text where a UUID belongs ("doc1"), as llmspell's SQLite may hold it. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { createPostgresStore, createSqliteStore, documentText, load, type TestStore, unload } from "./support.js";

/** RFC 9562, section 5.5, in the namespace that docs/fidelity.md names. */
function derived(text: string): string {
  const namespace = Buffer.from("8c6a2b1e5d3f4a7c9e106b5f0d2c4a38", "hex");
  const bytes = createHash("sha1").update(namespace).update(text, "utf8").digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 15) | 80;
  bytes[8] = ((bytes[8] as number) & 63) | 128;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

const SESSION = derived("doc1");
const ENTITY = derived("Ünïcode entity");

describePostgres("free text in UUID fields", () => {
  let source: TestStore;
  let targets: TestStore[];
  beforeAll(async () => {
    source = createSqliteStore();
    targets = [createSqliteStore(), await createPostgresStore()];
    await source.run(
      `INSERT INTO sessions (tenant_id, session_id, session_data) VALUES ('t', 'doc1', '{}');
       INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes) VALUES ('t', 'h', x'00', 1);
       INSERT INTO artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type, mime_type, size_bytes)
         VALUES ('t', 'doc1:0:h', 'doc1', 0, 'h', '{}', 'n', 'file', 'text/plain', 1);
       INSERT INTO entities (entity_id, tenant_id, entity_type, name, valid_time_start)
         VALUES ('Ünïcode entity', 't', 'e', 'n', 0), ('00000000000040008000000000000001', 't', 'e', 'n', 0);
       INSERT INTO relationships (relationship_id, tenant_id, from_entity, to_entity, relationship_type, valid_time_start)
         VALUES ('doc1', 't', 'Ünïcode entity', '00000000000040008000000000000001', 'r', 0)`,
    );
  });
  beforeEach(async () => {
    for (const target of targets) await target.clear();
  });
  afterAll(async () => {
    for (const store of [source, ...targets]) await store.drop();
  });

  it("stop a run, naming the first and counting all, and leave the target unchanged", async () => {
    for (const run of [() => unload(source), ...targets.map((target) => () => load(source, target))]) {
      const error = await failureOf(run());
      expect([error.code, error.exitStatus, error.context.section, error.context.field, error.context.key]).toEqual([
        "E_INVALID_UUID",
        4,
        "knowledge_graph.entities",
        "entity_id",
        expect.stringContaining("entity_id=Ünïcode entity"),
      ]);
      expect(error.message).toContain("in this section 1 value is not");
      expect(error.context.hint).toContain("--invalid-uuid derive");
    }
    for (const target of targets) {
      const table = target.backend === "sqlite" ? "entities" : "llmspell.entities";
      expect(await target.rows(`SELECT count(*) FROM ${table}`)).toEqual([[0n]]);
    }
  });

  it("are rejected one by one where bad records are skipped", async () => {
    const { rejected, result } = await unload(source, { skip: true });
    expect(rejected.map(({ error }) => [error.code, error.context.section])).toEqual([
      ["E_INVALID_UUID", "knowledge_graph.entities"],
      ["E_INVALID_UUID", "knowledge_graph.relationships"],
      ["E_INVALID_UUID", "sessions"],
      ["E_INVALID_UUID", "artifacts.artifacts"],
    ]);
    expect(JSON.parse(rejected[2]?.record as string)).toMatchObject({ session_id: "doc1", tenant_id: "t" });
    expect(result.totals).toMatchObject({ read: 2, rejected: 4 });
  });

  it("become the same UUIDv5 wherever they are referred to, in both databases, and the mapping is told", async () => {
    const viaDocument = await unload(source, { invalidUuid: "derive" });
    const legacy = documentText({
      sessions: [
        {
          ...{ tenant_id: "t", session_id: "doc1", session_data: {}, status: "active", created_at: 0 },
          ...{ last_accessed_at: 0, artifact_count: 0, updated_at: 0 },
        },
      ],
    });
    for (const target of targets) {
      const prefix = target.backend === "sqlite" ? "" : "llmspell.";
      for (const [from, invalidUuid] of [
        [source, "derive"],
        [viaDocument.document, "error"],
      ] as const) {
        await target.clear();
        const { warnings, result } = await load(from, target, { invalidUuid });
        expect(result.totals).toMatchObject({ inserted: 6, rejected: 0 });
        if (invalidUuid === "derive") expect(warnings).toContain(`derived UUID ${ENTITY} from "Ünïcode entity"`);
        expect(
          await target.rows(
            `SELECT s.session_id, a.session_id, artifact_id FROM ${prefix}sessions s, ${prefix}artifacts a`,
          ),
        ).toEqual([[SESSION, SESSION, "doc1:0:h"]]);
        expect(
          await target.rows(
            `SELECT relationship_id, from_entity, to_entity FROM ${prefix}relationships
             WHERE from_entity IN (SELECT entity_id FROM ${prefix}entities) AND to_entity IN (SELECT entity_id FROM ${prefix}entities)`,
          ),
        ).toEqual([[SESSION, ENTITY, "00000000-0000-4000-8000-000000000001"]]);
      }
      // The same of a document that holds the text itself.
      const { warnings, result } = await load(legacy, target, { invalidUuid: "derive" });
      expect(result.totals).toMatchObject({ inserted: 0, updated: 1 });
      expect(warnings.join("\n")).toContain("doc1");
      expect(warnings.join("\n")).toContain(SESSION);
    }
    expect(viaDocument.warnings).toEqual([
      `derived UUID ${ENTITY} from "Ünïcode entity"`,
      `derived UUID ${SESSION} from "doc1"`,
      "derived 5 UUIDs from free text",
    ]);
  });

  it("are told one by one up to a hundred texts, then counted, from SQLite and from documents", async () => {
    const sessions = (name: (i: number) => string) =>
      Array.from({ length: 102 }, (_, i) => ({
        ...{ tenant_id: "t", session_id: name(i), session_data: {}, status: "active", created_at: 0 },
        ...{ last_accessed_at: 0, artifact_count: 0, updated_at: 0 },
      }));
    const [target] = targets as [TestStore];
    await target.run(
      `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 101)
       INSERT INTO sessions (tenant_id, session_id, session_data) SELECT 't', 'text ' || i, '{}' FROM n`,
    );
    const fromSqlite = await unload(target, { invalidUuid: "derive" });
    await target.clear();
    const fromDocument = await load(documentText({ sessions: sessions((i) => `text ${i}`) }), target, {
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
    const postgres = targets[1] as TestStore;
    await load(source, postgres, { invalidUuid: "derive" });
    await postgres.run("UPDATE llmspell.sessions SET status = 'archived'");
    const stored = `SELECT s.session_id, a.session_id, s.status, relationship_id, from_entity, to_entity, s.id, a.id
                    FROM sessions s, artifacts a, relationships`;
    const [before] = await source.rows(stored);

    const there = await load(postgres, source);
    expect(there.result.totals).toMatchObject({ inserted: 0, updated: 6, rejected: 0 });
    expect(await source.rows(stored)).toEqual([before?.with(2, "archived")]);

    const child = {
      ...{ tenant_id: "t", artifact_id: "new", session_id: SESSION, sequence: 1, content_hash: "h", metadata: {} },
      ...{ name: "n", artifact_type: "file", mime_type: "text/plain", size_bytes: 1, created_at: 0, version: 1 },
      ...{ stored_at: 0, updated_at: 0 },
    };
    const added = await load({ "artifacts.artifacts": [child] }, source);
    expect(added.result.totals).toMatchObject({ inserted: 1, rejected: 0 });
    expect(await source.rows("SELECT DISTINCT session_id FROM artifacts")).toEqual([["doc1"]]);
  });
});
