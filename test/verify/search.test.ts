/** Searches: the nearest embeddings by exact distance in both stores, and what indexes answer. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { importStore, migrateDatabase, type VerifyOptions, type VerifyResult, verifyStores } from "../../src/index.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { temporaryFolder } from "./changes.js";
import { makeSections, type Tokens, writeDocument } from "./records.js";

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());
const original = folder.file("original.json");
const vec0 = folder.file("vec0.db");
const include = ["vector_embeddings"];

/** Vectors in many directions. */
function spread(record: Tokens, n: number): Tokens {
  const dimension = Number(record["dimension"]);
  const numbers = Float32Array.from({ length: dimension }, (_, i) => Math.sin((n + 1) * (i + 1) * 0.37));
  return { ...record, embedding: JSON.stringify(Buffer.from(numbers.buffer).toString("base64")) };
}
const sections = new Map(
  [...makeSections(() => 40)].map(([path, records]) => [
    path,
    path.startsWith("vector") ? records.map(spread) : records,
  ]),
);

beforeAll(async () => {
  writeDocument(original, sections);
  await importStore({ from: original, to: vec0, vectorsAs: "vec0", include });
});

const search = async (options: Pick<VerifyOptions, "a" | "b">): Promise<VerifyResult> =>
  verifyStores({ ...options, include, search: 5, seed: "fixed" });

describe("searches", () => {
  it("are the same in a document and in SQLite, whose vec0 tables answer exactly", async () => {
    const { equal, searches } = await search({ a: original, b: vec0 });
    expect(equal).toBe(true);
    expect(searches).toMatchObject({ neighbours: 10, seed: "fixed" });
    expect(searches?.results).toEqual(
      [384, 768, 1536, 3072].map((dimension) => ({
        path: `vector_embeddings.${dimension}`,
        queries: 5,
        same: 5,
        recall: { a: undefined, b: 1 },
      })),
    );
  });

  it("differ where embeddings do", async () => {
    // Each has the next one's embedding.
    const moved = new Map(sections);
    const records = sections.get("vector_embeddings.384") ?? [];
    const embedding = (n: number): string | undefined => records[n % records.length]?.["embedding"];
    moved.set(
      "vector_embeddings.384",
      records.map((record, n) => ({ ...record, embedding: embedding(n + 1) })),
    );
    const other = folder.file("moved.json");
    writeDocument(other, moved);
    const { equal, searches } = await search({ a: original, b: other });
    expect(equal).toBe(false);
    expect(searches?.results.map(({ path, same }) => [path, same])).toEqual([
      ["vector_embeddings.384", 0],
      ["vector_embeddings.768", 5],
      ["vector_embeddings.1536", 5],
      ["vector_embeddings.3072", 5],
    ]);
  });

  it("take no stream", async () => {
    await expect(search({ a: "-", b: vec0 })).rejects.toMatchObject({ code: "E_USAGE" });
  });
});

describePostgres("searches in PostgreSQL", () => {
  it("are the same, and HNSW's recall is told where there is such an index", async () => {
    await using database = await createTestDatabase();
    await migrateDatabase(database.url);
    await importStore({ from: original, to: database.url, include });
    const { equal, searches } = await search({ a: vec0, b: database.url });
    expect(equal).toBe(true);
    expect(searches?.results.map(({ path, same, recall }) => [path, same, recall.a, typeof recall.b])).toEqual([
      ["vector_embeddings.384", 5, 1, "number"],
      ["vector_embeddings.768", 5, 1, "number"],
      ["vector_embeddings.1536", 5, 1, "number"],
      // Too many dimensions for an index.
      ["vector_embeddings.3072", 5, 1, "undefined"],
    ]);
    for (const { recall } of searches?.results ?? []) if (recall.b !== undefined) expect(recall.b).toBeGreaterThan(0.5);
  });
});
