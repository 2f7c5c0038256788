/** An export while others write is one snapshot: no artifact without its content or its session. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import pg from "pg";
import { expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { fieldIndex } from "../../src/catalog/index.js";
import { createPostgresSource, createSqliteSource, runPipeline } from "../../src/index.js";
import type { Source } from "../../src/sources/source.js";
import { createMemorySink, everything, type MemoryRecord } from "../conformance/memory-store.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fillPostgres, fillSqlite } from "../helpers/sample-data.js";

const CONTENT_SIZES = [1048576, 5];

/** Session, content and artifact of one transaction, of a tenant that sorts before all others. */
interface NewArtifact {
  readonly tenant: string;
  readonly session: string;
  readonly hash: string;
  readonly artifact: string;
}

function newArtifact(): NewArtifact {
  const session = randomUUID();
  const hash = `${randomUUID()}${randomUUID()}`.replaceAll("-", "");
  return { tenant: "a-writer", session, hash, artifact: `${session}:0:${hash}` };
}

/** Reads everything while `write` commits between any two batches; checks the references of what was read. */
async function expectSnapshot(source: Source, write: () => Promise<void>): Promise<void> {
  const memory = createMemorySink();
  let commits = 0;
  const sink = {
    ...memory,
    write: async (batch: Parameters<typeof memory.write>[0]) => {
      await memory.write(batch);
      await write();
      commits++;
    },
  };
  await runPipeline({ source, sink, selection: everything() });
  expect(commits).toBeGreaterThan(50);

  const keys = (path: string, fields: readonly string[]): string[] =>
    memory.records.filter(({ kind }) => kind.path === path).map((record) => keyOf(record, fields));
  const contents = new Set(keys("artifacts.content", ["tenant_id", "content_hash"]));
  const sessions = new Set(keys("sessions", ["tenant_id", "session_id"]));
  const artifacts = keys("artifacts.artifacts", ["tenant_id", "content_hash"]);
  expect(artifacts).toHaveLength(100);
  expect(keys("hook_history", ["execution_id"])).toHaveLength(100);
  expect(artifacts.filter((key) => !contents.has(key))).toEqual([]);
  expect(keys("artifacts.artifacts", ["tenant_id", "session_id"]).filter((key) => !sessions.has(key))).toEqual([]);
  // Nothing that was committed after the snapshot, of any kind: the writer began when the first batch had been read.
  expect(
    memory.records.filter((record) => keyOf(record, ["tenant_id"]) === Buffer.from("a-writer").toString("hex")),
  ).toEqual([]);
}

function keyOf(record: MemoryRecord, fields: readonly string[]): string {
  return fields.map((name) => record.values[fieldIndex(record.kind, name)]?.toString("hex")).join(" ");
}

it("exports one snapshot of SQLite while another process writes", async () => {
  const folder = mkdtempSync(join(tmpdir(), "llmspell-writers-"));
  const path = join(folder, "llmspell.db");
  createLlmspellSqlite(path);
  fillSqlite(path, { records: 100, contentSizes: CONTENT_SIZES });
  const writer = new Database(path);
  try {
    const write = writer.transaction(({ tenant, session, hash, artifact }: NewArtifact) => {
      writer
        .prepare(
          `INSERT INTO sessions (tenant_id, session_id, session_data, status, created_at, last_accessed_at, updated_at)
           VALUES (?, ?, '{}', 'active', 1, 1, 1)`,
        )
        .run(tenant, session);
      writer
        .prepare(
          `INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes, created_at, last_accessed_at)
           VALUES (?, ?, x'00', 1, 1, 1)`,
        )
        .run(tenant, hash);
      writer
        .prepare(
          `INSERT INTO artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type,
             mime_type, size_bytes, created_at, stored_at, updated_at)
           VALUES (?, ?, ?, 0, ?, '{}', 'n', 't', 'm', 1, 1, 1, 1)`,
        )
        .run(tenant, artifact, session, hash);
      writer.prepare("UPDATE sessions SET artifact_count = artifact_count + 1, updated_at = 2").run();
      writer.prepare("DELETE FROM hook_history WHERE rowid = (SELECT min(rowid) FROM hook_history)").run();
    });
    await expectSnapshot(createSqliteSource({ path, batchSize: 20 }), async () => write(newArtifact()));
  } finally {
    writer.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

describePostgres("with a server", () => {
  it.each(["copy", "cursor"] as const)("exports one snapshot of PostgreSQL while others write, by %s", async (mode) => {
    await using database = await createDatabase("llmspell");
    await fillPostgres(database.url, { records: 100, contentSizes: CONTENT_SIZES });
    const writer = new pg.Client({ connectionString: database.url });
    await writer.connect();
    try {
      const write = async (): Promise<void> => {
        const { tenant, session, hash, artifact } = newArtifact();
        await writer.query("BEGIN");
        await writer.query(
          `INSERT INTO llmspell.sessions (tenant_id, session_id, session_data, status, created_at, last_accessed_at, updated_at)
           VALUES ($1, $2, '{}', 'active', now(), now(), now())`,
          [tenant, session],
        );
        await writer.query(
          `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, data, size_bytes, created_at, last_accessed_at)
           VALUES ($1, $2, 'bytea', '\\x00', 1, now(), now())`,
          [tenant, hash],
        );
        await writer.query(
          `INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name,
             artifact_type, mime_type, size_bytes, created_at, stored_at, updated_at)
           VALUES ($1, $2, $3, 0, $4, '{}', 'n', 't', 'm', 1, now(), now(), now())`,
          [tenant, artifact, session, hash],
        );
        await writer.query("UPDATE llmspell.sessions SET artifact_count = artifact_count + 1");
        // A large object that goes away is still exported: the snapshot has it.
        await writer.query("SELECT lo_unlink(oid) FROM pg_largeobject_metadata LIMIT 1");
        await writer.query(
          "DELETE FROM llmspell.hook_history WHERE execution_id = (SELECT min(execution_id::text)::uuid FROM llmspell.hook_history)",
        );
        await writer.query("COMMIT");
      };
      const connect = () => connectPostgres({ url: database.url });
      await expectSnapshot(createPostgresSource({ connect, name: "postgres", mode, batchSize: 20 }), write);
    } finally {
      await writer.end();
    }
  });
});
