/** What llmspell 0.14's storage for artifacts does, in our own words. */
import { createHash } from "node:crypto";
import { type LlmspellSession, MIB, type Step, sha256, TENANT, uuid } from "./postgres-session.js";

const INV_WRITE = 0x20000;
const INV_READ = 0x40000;

/** Content from 1 MiB on goes into a large object, in a transaction of its own. */
async function storeContent(s: LlmspellSession, hash: string, content: Buffer): Promise<number> {
  if (content.length < MIB)
    return s.changed(
      `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, data, size_bytes, is_compressed)
       VALUES ($1, $2, 'bytea', $3, $4, false) ON CONFLICT (tenant_id, content_hash) DO NOTHING`,
      [TENANT, hash, content, content.length],
    );
  const oid = await s.transaction(async () => {
    const created = (await s.rows("SELECT lo_create(0)"))[0]?.[0];
    const descriptor = (await s.rows("SELECT lo_open($1, $2)", [created, INV_WRITE]))[0]?.[0];
    for (let at = 0; at < content.length; at += MIB)
      await s.rows("SELECT lowrite($1, $2)", [descriptor, content.subarray(at, at + MIB)]);
    await s.rows("SELECT lo_close($1)", [descriptor]);
    return created;
  });
  return s.changed(
    `INSERT INTO llmspell.artifact_content (tenant_id, content_hash, storage_type, large_object_oid, size_bytes, is_compressed)
     VALUES ($1, $2, 'large_object', $3, $4, false) ON CONFLICT (tenant_id, content_hash) DO NOTHING`,
    [TENANT, hash, oid, content.length],
  );
}

async function readContent(s: LlmspellSession, hash: string): Promise<string> {
  const [row] = await s.rows(
    "SELECT storage_type, data, large_object_oid FROM llmspell.artifact_content WHERE tenant_id = $1 AND content_hash = $2",
    [TENANT, hash],
  );
  if (row === undefined) return "no such content";
  if (row[0] === "bytea") return sha256(row[1] as Buffer);
  return s.transaction(async () => {
    const descriptor = (await s.rows("SELECT lo_open($1, $2)", [row[2], INV_READ]))[0]?.[0];
    const digest = createHash("sha256");
    for (;;) {
      const chunk = (await s.rows("SELECT loread($1, $2)", [descriptor, MIB]))[0]?.[0] as Buffer;
      if (chunk.length === 0) break;
      digest.update(chunk);
    }
    await s.rows("SELECT lo_close($1)", [descriptor]);
    return digest.digest("hex");
  });
}

const storeArtifact = (s: LlmspellSession, id: string, sequence: number, hash: string): Promise<number> =>
  s.changed(
    `INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type,
       mime_type, size_bytes, created_at, created_by, tags) VALUES ($1, $2, $3, $4, $5, '{}', 'n', 'text', 'text/plain', 1, now(), NULL, $6)`,
    [TENANT, id, uuid(30), sequence, hash, ["x"]],
  );

/** What is gone with the last artifact of a content: the content, and its large object, whose errors are passed over. */
export async function deleteArtifact(s: LlmspellSession, id: string): Promise<string> {
  const [row] = await s.rows(
    `SELECT a.content_hash, c.storage_type, c.large_object_oid FROM llmspell.artifacts a
     JOIN llmspell.artifact_content c ON a.tenant_id = c.tenant_id AND a.content_hash = c.content_hash
     WHERE a.tenant_id = $1 AND a.artifact_id = $2`,
    [TENANT, id],
  );
  if (row === undefined) return "no such artifact";
  const [hash, type, oid] = row;
  await s.changed("DELETE FROM llmspell.artifacts WHERE tenant_id = $1 AND artifact_id = $2", [TENANT, id]);
  const [count] = await s.rows(
    "SELECT reference_count FROM llmspell.artifact_content WHERE tenant_id = $1 AND content_hash = $2",
    [TENANT, hash],
  );
  if (count?.[0] !== 1) return "content stays";
  if (type === "large_object") await s.transaction(() => s.rows("SELECT lo_unlink($1)", [oid])).catch(() => {});
  await s.changed("DELETE FROM llmspell.artifact_content WHERE tenant_id = $1 AND content_hash = $2", [TENANT, hash]);
  return "content deleted";
}

const NEW_CONTENT = Buffer.alloc(2 * MIB + 5, "new ");

export const artifacts: Step[] = [
  [
    "artifact store",
    async (s) => [
      await storeContent(s, "new-small", Buffer.from("small")),
      await storeContent(s, "new-large", NEW_CONTENT),
      await storeArtifact(s, "a:new-small", 100, "new-small"),
      await storeArtifact(s, "a:new-large", 101, "new-large"),
    ],
  ],
  [
    "artifact read",
    async (s) => [
      (await readContent(s, "new-large")) === sha256(NEW_CONTENT),
      await readContent(s, "new-small"),
      await readContent(s, "imported-large"),
      await readContent(s, "imported-shared"),
      await readContent(s, "imported-small"),
    ],
  ],
  [
    "artifact list",
    (s) =>
      s.rows("SELECT artifact_id FROM llmspell.artifacts WHERE tenant_id = $1 AND session_id = $2 ORDER BY sequence", [
        TENANT,
        uuid(30),
      ]),
  ],
  [
    "artifact statistics",
    (s) =>
      s.rows(
        `SELECT count(*), count(DISTINCT content_hash), CAST(COALESCE(sum(size_bytes), 0) AS BIGINT) FROM llmspell.artifacts
         WHERE tenant_id = $1`,
        [TENANT],
      ),
  ],
  ["artifact delete, new and large", (s) => deleteArtifact(s, "a:new-large")],
  ["artifact delete, new and small", (s) => deleteArtifact(s, "a:new-small")],
  ["artifact delete, imported and large", (s) => deleteArtifact(s, "a:imported-large")],
  ["artifact delete, imported, the first of two", (s) => deleteArtifact(s, "a:imported-shared-1")],
  ["artifact read, the second of two", (s) => readContent(s, "imported-shared")],
  ["artifact delete, imported, the second of two", (s) => deleteArtifact(s, "a:imported-shared-2")],
  ["artifact delete, imported and small", (s) => deleteArtifact(s, "a:imported-small")],
  [
    "contents that are left",
    (s) => s.rows("SELECT content_hash FROM llmspell.artifact_content WHERE tenant_id = $1 ORDER BY 1", [TENANT]),
  ],
];
