/**
 * Values at their edges, as each database stores them, by plain SQL: imported from a document, and after they have gone
 * through the other database, and there and back again.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { describePostgres } from "../helpers/postgres-server.js";
import type { Fields, Sections } from "./records.js";
import { createPostgresStore, createSqliteStore, load, type TestStore, unload } from "./support.js";
import { CASES, STATES, sha, VECTORS } from "./value-cases.js";

/** Bytes by their hash, so that a difference of megabytes can be shown. */
const hashed = (row: unknown[]): unknown[] => row.map((value) => (Buffer.isBuffer(value) ? sha(value) : value));

function everything(): Sections {
  const all: Record<string, Fields[]> = {};
  for (const { sections, tenant } of CASES)
    for (const [path, each] of Object.entries(sections))
      all[path] = [...(all[path] ?? []), ...each.map((fields) => ({ ...fields, tenant_id: tenant }))];
  return all;
}

describePostgres("stored values", () => {
  const stores: { how: string; store: TestStore; heldByPostgres: boolean }[] = [];
  const store = (how: string): TestStore => stores.find((each) => each.how === how)?.store as TestStore;

  beforeAll(async () => {
    const move = async (from: string | Sections, how: string): Promise<void> => {
      const toSqlite = how.endsWith("SQLite");
      const to = toSqlite ? createSqliteStore() : await createPostgresStore();
      stores.push({ how, store: to, heldByPostgres: how.includes("PostgreSQL") });
      await load(typeof from === "string" ? store(from) : from, to);
    };
    await move(everything(), "document -> SQLite");
    await move(everything(), "document -> PostgreSQL");
    await move("document -> SQLite", "document -> SQLite -> PostgreSQL");
    await move("document -> PostgreSQL", "document -> PostgreSQL -> SQLite");
    await move("document -> SQLite -> PostgreSQL", "document -> SQLite -> PostgreSQL -> SQLite");
    await move("document -> PostgreSQL -> SQLite", "document -> PostgreSQL -> SQLite -> PostgreSQL");
  });
  afterAll(async () => {
    for (const each of stores) await each.store.drop();
  });

  for (const { name, tenant, sqlite, postgres } of CASES)
    it(name, async () => {
      for (const { how, store: each, heldByPostgres } of stores) {
        const { sql, rows } = each.backend === "sqlite" ? sqlite : postgres;
        const expected = each.backend === "sqlite" && heldByPostgres ? (sqlite.viaPostgres ?? rows) : rows;
        const actual = await each.rows(sql.replaceAll("$tenant", `'${tenant}'`));
        expect([how, actual.map(hashed)]).toEqual([how, expected.map(hashed)]);
      }
    });

  it("the exported checksum is the document's wherever it comes from", async () => {
    for (const { how, store: each } of stores) {
      const { document } = await unload(each, { include: ["agent_state"] });
      const checksums = [...document.matchAll(/"checksum":"([0-9a-f]{64})"/g)].map(([, found]) => found);
      expect([how, checksums]).toEqual([how, ["0".repeat(64), sha(STATES[1] as string)]]);
    }
  });

  it("nothing else is stored", async () => {
    const counts = new Set<string>();
    for (const { store: each } of stores) {
      const { result } = await unload(each);
      counts.add(JSON.stringify(result.kinds.map(({ path, read }) => [path, read])));
    }
    expect([...counts]).toEqual([
      JSON.stringify(
        Object.entries(everything())
          .map(([path, each]): [string, number] => [path, each.length])
          .sort((a, b) => ORDER.indexOf(a[0]) - ORDER.indexOf(b[0])),
      ),
    ]);
  });
});

const ORDER = [
  ...VECTORS.map(({ dimension }) => `vector_embeddings.${dimension}`),
  ...["knowledge_graph.entities", "knowledge_graph.relationships", "agent_state", "kv_store", "workflow_states"],
  ...["artifacts.content", "event_log", "hook_history"],
];
