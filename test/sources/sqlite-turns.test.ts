/** Large contents of an SQLite file, which threads read one at a time. */
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { createSqliteSource } from "../../src/index.js";
import type { RunContext } from "../../src/records/run-context.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace } from "../helpers/llmspell.js";

const BYTES = 5 * 1048576;
const CONTENT = { paths: new Set(["artifacts.content"]) };

it("whoever waits for its turn goes on when it is given, and ends when the run is aborted", async () => {
  using workspace = createWorkspace();
  const path = workspace.path("a.db");
  createLlmspellSqlite(path);
  const database = new Database(path);
  database.exec(`INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes, created_at, last_accessed_at)
    VALUES ('t', '${"0".repeat(64)}', zeroblob(${BYTES}), ${BYTES}, 1, 1)`);
  database.close();
  const turn = new SharedArrayBuffer(4);
  const state = new Int32Array(turn);
  const abort = new AbortController();
  const context: RunContext = {
    signal: abort.signal,
    async reject({ error }) {
      throw error;
    },
    isRejected: () => false,
    warn: () => {},
    leftOut: () => {},
  };
  const source = createSqliteSource({ path, snapshot: { immutable: false, turn } } as never);
  /** How many bytes came, while a thread has the turn that gives it or is cut off. */
  async function read(whileOthersHaveIt: () => void): Promise<number> {
    let bytes = 0;
    for await (const { large } of source.read(CONTENT, context)) {
      Atomics.store(state, 0, 1);
      setTimeout(whileOthersHaveIt, 20);
      for await (const chunk of large?.chunks() ?? []) bytes += chunk.length;
    }
    return bytes;
  }
  try {
    await source.open(context, CONTENT);
    const given = read(() => {
      Atomics.store(state, 0, 0);
      Atomics.notify(state, 0);
    });
    expect(await given).toBe(BYTES);
    await expect(read(() => abort.abort(new Error("cut off")))).rejects.toThrow("cut off");
  } finally {
    await source.close();
  }
});
