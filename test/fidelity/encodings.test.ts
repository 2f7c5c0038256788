/** Databases that are not in UTF-8. */
import { Readable } from "node:stream";
import { expect, it } from "vitest";
import { exportStore, importStore } from "../../src/api/transfer.js";
import type { StorageError } from "../../src/errors.js";
import { createLlmspellPostgres } from "../fixtures/index.js";
import { collectDocument } from "../helpers/collect-document.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";

const uuid = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;

/** Sessions whose data is the JSON texts, and a key-value entry of the key. */
function documentOf(values: readonly string[], key = "plain"): Readable {
  const sessions = values.map(
    (value, n) => `{"tenant_id":"t","session_id":"${uuid(n)}","session_data":${value},"status":"active","created_at":1,
      "last_accessed_at":1,"expires_at":null,"artifact_count":0,"updated_at":1}`,
  );
  const entry = `{"kv_id":"${uuid(1)}","tenant_id":"t","key":"${key}","value":"","created_at":1,"updated_at":1}`;
  const data = `{"kv_store":[${entry}],"sessions":[${sessions.join()}]}`;
  return Readable.from([`{"version":"1.0","source_backend":"sqlite","migrations":["V1"],"data":${data}}`]);
}

async function inEncoding(encoding: string): Promise<TestDatabase> {
  const database = await createTestDatabase({ encoding });
  await createLlmspellPostgres(database.url);
  return database;
}

async function imported(url: string, values: readonly string[], key?: string): Promise<unknown> {
  const rejected: StorageError[] = [];
  const warnings: string[] = [];
  const { totals } = await importStore({
    from: documentOf(values, key),
    to: url,
    onReject: ({ error }) => void rejected.push(error),
    onWarning: (line) => void warnings.push(line),
  });
  return {
    written: totals.inserted + totals.updated,
    rejected: rejected.map(({ code, context: { key, field } }) => [code, key, field]),
    warnings: warnings.filter((line) => line.includes("encoding")),
  };
}

describePostgres("a database that is not in UTF-8", () => {
  it("LATIN1 refuses each record with another character, by key and field, and is named beforehand", async () => {
    await using other = await inEncoding("LATIN1");
    expect(await imported(other.url, ['{"k":"→"}', '{"k":"é"}', '{"k":"\\u2192"}'], "→")).toEqual({
      written: 1,
      rejected: [
        ["E_ENCODING", `kv_id=${uuid(1)}`, "key"],
        ["E_ENCODING", `tenant_id=t, session_id=${uuid(0)}`, "session_data"],
        ["E_ENCODING", `tenant_id=t, session_id=${uuid(2)}`, "session_data"],
      ],
      warnings: [expect.stringContaining("LATIN1")],
    });
    await expect(importStore({ from: documentOf(['{"k":"→"}']), to: other.url })).rejects.toMatchObject({
      code: "E_ENCODING",
      exitStatus: 5,
      context: { section: "sessions", field: "session_data", hint: expect.stringContaining("UTF8") },
    });
    const document = collectDocument();
    await exportStore({ from: other.url, to: document.stream });
    expect(JSON.parse(document.text()).data.sessions[0].session_data).toEqual({ k: "é" });
    using workspace = createWorkspace();
    const { stdout } = await workspace.must(["database", "health", "--database", other.url]);
    expect(stdout).toMatch(/^Encoding: LATIN1; .*cannot hold every character/m);
  });

  it("SQL_ASCII refuses escapes beyond ASCII, and takes the characters themselves", async () => {
    await using other = await inEncoding("SQL_ASCII");
    const values = ['{"k":"→"}', '{"k":"\\u00e9"}', '{"k":"\\u0041"}'];
    const outcome = {
      written: 3,
      rejected: [["E_ENCODING", `tenant_id=t, session_id=${uuid(1)}`, "session_data"]],
      warnings: [expect.stringContaining("SQL_ASCII")],
    };
    expect(await imported(other.url, values, "é")).toEqual(outcome);
    // Merged into what is there, it comes by another way.
    expect(await imported(other.url, values, "é")).toEqual(outcome);
    const document = collectDocument();
    await exportStore({ from: other.url, to: document.stream });
    const { sessions, kv_store } = JSON.parse(document.text()).data;
    expect(sessions.map(({ session_data }: { session_data: unknown }) => session_data)).toEqual([
      { k: "→" },
      { k: "A" },
    ]);
    expect(kv_store[0].key).toBe("é");
  });
});
