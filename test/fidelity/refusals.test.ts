/** What a database cannot hold is refused by code, section, key and field; what the other can hold is stored there. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { id } from "./records.js";
import { around, REFUSALS } from "./refused-records.js";
import { createPostgresStore, createSqliteStore, load, type TestStore } from "./support.js";

const TABLE_OF: Readonly<Record<string, string>> = {
  procedural_memory: "procedural_patterns",
  "knowledge_graph.entities": "entities",
  "vector_embeddings.384": "vec_embeddings_384",
  "vector_embeddings.768": "vec_embeddings_768",
};

function registerRefusals(backend: "sqlite" | "postgres", open: () => Promise<TestStore>): void {
  describe(`into ${backend === "sqlite" ? "SQLite" : "PostgreSQL"}`, () => {
    let target: TestStore;
    beforeAll(async () => {
      target = await open();
    });
    beforeEach(() => target.clear());
    afterAll(() => target.drop());

    const count = async (path: string): Promise<unknown> => {
      const table = TABLE_OF[path] ?? path;
      const name = backend === "sqlite" ? table : `llmspell.${table.replace("vec_embeddings", "vector_embeddings")}`;
      return (await target.rows(`SELECT count(*) FROM ${name}`))[0]?.[0];
    };

    for (const refusal of REFUSALS) {
      const { name, path, field, record } = refusal;
      const fate = refusal[backend];
      if ("code" in fate) {
        it(`${name} is refused, and nothing or all the rest goes in`, async () => {
          const stopped = await failureOf(load(around(refusal), target));
          expect([stopped.code, stopped.context.section, stopped.context.field]).toEqual([fate.code, path, field]);
          const key = typeof record["kv_id"] === "string" && record["kv_id"] !== id(5) ? "doc1" : id(5);
          expect(stopped.context.key).toContain(key);
          // The table may not be there yet: a run that fails migrates nothing either, or leaves it empty.
          expect(await count(path).catch(() => 0n)).toBe(0n);
          const { rejected, result } = await load(around(refusal), target, { skip: true });
          expect(rejected.map(({ error }) => [error.code, error.context.section, error.context.field])).toEqual([
            [fate.code, path, field],
          ]);
          expect(result.totals).toMatchObject({ inserted: 3, rejected: 1 });
          expect(await count(path)).toBe(3n);
          // No value but the key's is told.
          const told = JSON.stringify([rejected[0]?.error.message, rejected[0]?.error.context]);
          if (field !== "kv_id") expect(told).not.toMatch(/𝄞{3}|éé|\[\[\[|1e4000|[0-9a-f]{100}|gone/);
        });
      } else {
        it(`${name} is stored`, async () => {
          const { result } = await load(around(refusal), target);
          expect(result.totals).toMatchObject({ inserted: 4, rejected: 0 });
          const rows = await target.rows(fate.sql);
          expect(rows.map(([value]) => value)).toContainEqual(fate.value);
        });
      }
    }
  });
}

describe("a record at the limits of its target", () => {
  registerRefusals("sqlite", async () => createSqliteStore());
  describePostgres("on a server", () => registerRefusals("postgres", createPostgresStore));
});
