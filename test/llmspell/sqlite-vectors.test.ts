/** Vectors after an import: llmspell reads every embedding, and its next inserts find free keys. */
import { readFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { compareSqliteSchema } from "../../src/llmspell/schema/migrator.js";
import type { Rejection } from "../../src/records/run-context.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { createFolder, createMigrated, execute, load, query, readAll, record } from "../sinks/sqlite-support.js";
import {
  DIMENSIONS,
  type Dimension,
  deleteScope,
  deleteVector,
  insertVector,
  readScope,
  updateVectorMetadata,
} from "./sqlite-vectors.js";

const folder = createFolder();
let path: string;
let files = 0;

const llmspellSchema = readFileSync(new URL("../fixtures/llmspell-sqlite-v13.sql", import.meta.url), "utf8");

beforeEach(() => {
  path = folder.path(`${++files}.db`);
});

afterAll(() => folder.remove());

/** Opens the file as llmspell does. */
function inLlmspell<Result>(work: (database: Database.Database) => Result): Result {
  const database = new Database(path);
  try {
    database.pragma("foreign_keys = ON");
    return work(database);
  } finally {
    database.close();
  }
}

const uuid = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;

function vector(dimension: Dimension, n: number, embedding: Buffer = floats(dimension, n)) {
  return record(`vector_embeddings.${dimension}`, {
    id: uuid(n),
    tenant_id: "default",
    scope: "__global__",
    dimension,
    embedding: embedding.toString("base64"),
    metadata: {},
    created_at: 1_700_000_000_000_000,
    updated_at: 1_700_000_000_000_000,
  });
}

/** The number in every place. */
function floats(dimension: Dimension, value: number): Buffer {
  return Buffer.from(new Float32Array(dimension).fill(value).buffer);
}

/** Finite numbers of every kind; the first byte is `first`. */
function numbers(dimension: Dimension, first: number, seed: number): Buffer {
  const values = Buffer.alloc(dimension * 4);
  let state = seed >>> 0;
  for (let at = 0; at < values.length; at += 4) {
    do {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      values.writeUInt32LE(state, at);
    } while (!Number.isFinite(values.readFloatLE(at)));
  }
  values.writeFloatLE(-0, 4);
  values.writeFloatLE(1.401298464324817e-45, 8);
  values.writeFloatLE(3.4028234663852886e38, 12);
  values.writeFloatLE(0.1, 16);
  values[0] = first;
  if (!Number.isFinite(values.readFloatLE(0))) values[3] = 0x3f;
  return values;
}

const bytesOf = (vectors: Iterable<Float32Array>): string[] =>
  [...vectors].map((each) => Buffer.from(each.buffer).toString("hex"));

/** As releases of this tool before blocks gave them: ascending over all dimensions. */
function fillDensely(dimensions: readonly Dimension[], each: number, vec0 = false): void {
  let rowid = 0;
  for (const dimension of dimensions) {
    execute(
      path,
      vec0
        ? `CREATE VIRTUAL TABLE vec_embeddings_${dimension} USING vec0(embedding float[${dimension}], +note TEXT)`
        : `CREATE TABLE vec_embeddings_${dimension} (rowid INTEGER PRIMARY KEY, embedding BLOB, note TEXT)`,
    );
    for (let n = 0; n < each; n++) {
      rowid++;
      const values = [rowid, uuid(rowid), "default", "__global__", dimension, 1_700_000_000, 1_700_000_000];
      execute(
        path,
        `INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
        ...values,
      );
      execute(
        path,
        `INSERT INTO vec_embeddings_${dimension} (rowid, embedding, note) VALUES (?, ?, ?)`,
        BigInt(rowid),
        floats(dimension, rowid),
        `note ${rowid}`,
      );
    }
  }
}

describe("an embedding whose first byte is that of '['", () => {
  it.each(DIMENSIONS)("is text that gives the same bits back (%s dimensions)", async (dimension) => {
    await createMigrated(path);
    const embeddings = [0x5b, 0x00, 0x5b, 0x7b].map((first, n) => numbers(dimension, first, n + 1));
    await load(
      path,
      embeddings.map((each, n) => vector(dimension, n, each)),
    );
    const hex = embeddings.map((each) => each.toString("hex"));
    expect(bytesOf(inLlmspell((database) => readScope(database, dimension)).values())).toEqual(hex);
    const stored = query(path, `SELECT embedding FROM vec_embeddings_${dimension} ORDER BY rowid`) as [Buffer][];
    expect(stored.map(([bytes]) => JSON.stringify(String.fromCharCode(bytes[0] as number)))).toEqual(
      ["[", "\u0000", "[", "{"].map((each) => JSON.stringify(each)),
    );
    expect(stored[1]?.[0].length).toBe(dimension * 4);
    const back = await readAll(path);
    expect(back.rejections).toEqual([]);
    expect(back.records.map((each) => each.values[4]?.toString("hex"))).toEqual(hex);
  });

  it("is so in rows that llmspell wrote, and that an import changes", async () => {
    execute(path, llmspellSchema);
    inLlmspell((database) => {
      insertVector(database, 384, uuid(1));
      insertVector(database, 384, uuid(2));
    });
    const { migrateSqlite } = await import("../../src/llmspell/schema/migrator.js");
    await migrateSqlite(path);
    const embedding = numbers(384, 0x5b, 9);
    await load(path, [vector(384, 2, embedding), vector(384, 1, numbers(384, 1, 8))]);
    const index = inLlmspell((database) => readScope(database, 384));
    expect(bytesOf(index.values())).toEqual([numbers(384, 1, 8).toString("hex"), embedding.toString("hex")]);
    expect([...index.keys()]).toEqual([1n, 2n]);
  });

  it("stays as it is in a vec0 table, and where JSON has no number for it, which is said", async () => {
    await createMigrated(path);
    await load(path, [vector(384, 1, numbers(384, 0x5b, 1))], { vectorsAs: "vec0" });
    expect(query(path, "SELECT embedding FROM vec_embeddings_384")).toEqual([[numbers(384, 0x5b, 1)]]);
    const notFinite = [Number.NaN, Number.POSITIVE_INFINITY].map((value, n) => {
      const embedding = numbers(768, 0x5b, n + 1);
      embedding.writeFloatLE(value, 768);
      return embedding;
    });
    const records = notFinite.map((each, n) => vector(768, n, each));
    const warnings: string[] = [];
    await load(path, [...records, vector(768, 7, numbers(768, 0x5b, 7))], { warnings });
    expect(warnings).toEqual([expect.stringContaining('2 embeddings that begin with the byte of "["')]);
    const stored = query(path, "SELECT embedding FROM vec_embeddings_768 ORDER BY rowid LIMIT 2");
    expect(stored).toEqual(notFinite.map((each) => [each]));
    expect(JSON.parse(JSON.stringify((await readAll(path)).rejections))).toEqual([]);
  });

  it("is rewritten, once, in databases of a release that wrote float32 throughout; text stays as it is", async () => {
    await createMigrated(path);
    const [bracketed, other] = [numbers(384, 0x5b, 1), numbers(384, 0, 2)];
    const notFinite = numbers(384, 0x5b, 3);
    notFinite.writeFloatLE(Number.NaN, 768);
    // As long as the float32 values, and no less text for it.
    const text = Buffer.from(`[${Array(384).fill("0.5").join(",")}]`.slice(0, -1).padEnd(1535, " ").concat("]"));
    await load(
      path,
      [1, 2, 3, 4].map((n) => vector(384, n)),
    );
    const rowids = query(path, "SELECT rowid FROM vec_embeddings_384 ORDER BY rowid").flat();
    for (const [at, embedding] of [bracketed, other, text, notFinite].entries())
      execute(path, "UPDATE vec_embeddings_384 SET embedding = ? WHERE rowid = ?", embedding, rowids[at]);
    execute(
      path,
      `DELETE FROM _storage_migrations WHERE version = 107; CREATE TABLE fired (x);
       CREATE TRIGGER mine AFTER UPDATE ON vec_embeddings_384 BEGIN INSERT INTO fired VALUES (1); END`,
    );
    inLlmspell((database) => expect(() => readScope(database, 384)).toThrow(SyntaxError));
    const { migrateSqlite } = await import("../../src/llmspell/schema/migrator.js");
    const { applied, warnings } = await migrateSqlite(path);
    expect([applied.map(({ id }) => id), warnings]).toEqual([["S7"], [expect.stringContaining("1 embedding that")]]);
    expect(await migrateSqlite(path)).toMatchObject({ applied: [], warnings: [] });
    const stored = query(path, "SELECT embedding FROM vec_embeddings_384 ORDER BY rowid").flat();
    expect(stored.slice(1)).toEqual([other, text, notFinite]);
    execute(path, `DELETE FROM vector_metadata WHERE rowid = ${rowids[3]}`);
    const index = inLlmspell((database) => readScope(database, 384));
    expect(bytesOf(index.values()).slice(0, 2)).toEqual([bracketed, other].map((each) => each.toString("hex")));
    expect(query(path, "SELECT * FROM fired")).toEqual([]);
  });

  it("is read in the index of 10,000 imported vectors", async () => {
    await createMigrated(path);
    function* records() {
      for (let n = 0; n < 10_000; n++) yield vector(384, n, numbers(384, n & 0xff, n));
    }
    await load(path, records());
    const index = inLlmspell((database) => readScope(database, 384));
    expect(index.size).toBe(10_000);
    let differing = 0;
    let n = 0;
    for (const each of index.values()) if (!Buffer.from(each.buffer).equals(numbers(384, n & 0xff, n++))) differing++;
    expect(differing).toBe(0);
  });
});

describe("rowids", () => {
  const rowids = (dimension: Dimension): bigint[] =>
    (
      query(path, `SELECT rowid FROM vector_metadata WHERE dimension = ${dimension} ORDER BY rowid`) as [bigint][]
    ).flat();
  const allDimensions = (from: number, count = 3) =>
    DIMENSIONS.flatMap((dimension) => Array.from({ length: count }, (_, n) => vector(dimension, from + n)));

  /** llmspell's next vectors, several of each dimension, by turns; and everything is found again. */
  function continueInLlmspell(): void {
    inLlmspell((database) => {
      const before = DIMENSIONS.map((dimension) => readScope(database, dimension).size);
      for (let n = 0; n < 3; n++)
        for (const dimension of DIMENSIONS) insertVector(database, dimension, `${dimension} of llmspell ${n}`);
      const after = DIMENSIONS.map((dimension) => readScope(database, dimension).size);
      expect(after).toEqual(before.map((size) => size + 3));
    });
  }

  it("leave room for llmspell after an import into an empty file", async () => {
    await createMigrated(path);
    await load(path, allDimensions(1));
    for (const dimension of DIMENSIONS) {
      const start = BigInt(dimension) * 2n ** 32n;
      expect(rowids(dimension)).toEqual([start + 1n, start + 2n, start + 3n]);
    }
    continueInLlmspell();
    await load(path, allDimensions(4), { batchSize: 2 });
    continueInLlmspellAgain();
  });

  /** The same with other ids. */
  function continueInLlmspellAgain(): void {
    inLlmspell((database) => {
      for (const dimension of DIMENSIONS) insertVector(database, dimension, `${dimension} again`);
    });
  }

  it("leave room for llmspell after an import into a file that it filled, whose rows keep theirs", async () => {
    execute(path, llmspellSchema);
    inLlmspell((database) => {
      for (let n = 1; n <= 5; n++) insertVector(database, 768, uuid(n));
    });
    const { migrateSqlite } = await import("../../src/llmspell/schema/migrator.js");
    await migrateSqlite(path);
    await load(path, allDimensions(3, 5));
    expect(rowids(768).slice(0, 5)).toEqual([1n, 2n, 3n, 4n, 5n]);
    expect(rowids(768).slice(5)).toEqual([768n * 2n ** 32n + 1n, 768n * 2n ** 32n + 2n]);
    continueInLlmspell();
  });

  it("leave room for llmspell after an import of every dimension into a file that was filled densely", async () => {
    await createMigrated(path);
    fillDensely(DIMENSIONS, 3);
    inLlmspell((database) => expect(() => insertVector(database, 384, "no room")).toThrow("UNIQUE constraint failed"));
    await load(path, allDimensions(100));
    expect(rowids(384).slice(0, 3)).toEqual([1n, 2n, 3n]);
    continueInLlmspell();
  });

  it("tell the records of the run from earlier ones, in a low dimension beside a high one", async () => {
    await createMigrated(path);
    await load(path, [vector(3072, 1), vector(3072, 2)]);
    const rejections: Rejection[] = [];
    const again = [vector(384, 1), vector(384, 2), vector(384, 1), vector(3072, 2), vector(3072, 2), vector(3072, 3)];
    for (const batchSize of [1, 100]) {
      rejections.length = 0;
      await load(path, again, { rejections, batchSize, dryRun: true });
      expect(rejections.map(({ error }) => [error.code, error.context.section, error.context.detail])).toEqual([
        ["E_KEY_CONFLICT", "vector_embeddings.384", `the other record is id=${uuid(1)}`],
        ["E_KEY_CONFLICT", "vector_embeddings.3072", `the other record is id=${uuid(2)}`],
      ]);
    }
    await load(path, [vector(384, 1), vector(384, 2)]);
    await load(path, [vector(384, 2), vector(384, 3)]);
    rejections.length = 0;
    await load(path, [vector(384, 4), vector(384, 4), vector(384, 2), vector(384, 2)], { rejections });
    expect(rejections.map(({ error }) => error.code)).toEqual(["E_KEY_CONFLICT", "E_KEY_CONFLICT"]);
    expect(rowids(384).length).toBe(4);
    expect(rowids(3072).length).toBe(2);
  });

  it("of vec0 tables are the same", async () => {
    await createMigrated(path);
    await load(path, allDimensions(1), { vectorsAs: "vec0" });
    await load(path, [...allDimensions(3)]);
    const start = 1536n * 2n ** 32n;
    expect(rowids(1536)).toEqual([1n, 2n, 3n, 4n, 5n].map((n) => start + n));
    expect(query(path, "SELECT rowid FROM vec_embeddings_1536 ORDER BY rowid").flat()).toEqual(rowids(1536));
    const nearest = "SELECT rowid FROM vec_embeddings_1536 WHERE embedding MATCH ? ORDER BY distance LIMIT 1";
    expect(query(path, nearest, floats(1536, 4))).toEqual([[start + 4n]]);
    expect((await readAll(path)).records.length).toBe(20);
  });

  it("that are used up are said, with what mends them", async () => {
    await createMigrated(path);
    const last = 385n * 2n ** 32n - 1n;
    execute(
      path,
      `INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at)
       VALUES (${last - 1n}, 'v', 't', 's', 384, 1, 1)`,
    );
    await load(path, [vector(384, 1)]);
    await expect(load(path, [vector(384, 2)])).rejects.toMatchObject({
      code: "E_TARGET_LIMIT",
      context: { hint: expect.stringContaining("--repair-rowids") },
    });
  });

  it("are freed when llmspell deletes", async () => {
    await createMigrated(path);
    await load(path, allDimensions(1));
    inLlmspell((database) => {
      expect(updateVectorMetadata(database, uuid(1), '{"a":1}')).toBe(4);
      // By the id alone, and so in every dimension.
      deleteVector(database, 384, uuid(3));
      expect(deleteScope(database, 768, "__global__")).toBe(2);
    });
    continueInLlmspell();
  });
});

describe("database migrate --repair-rowids", () => {
  const run = async (...words: string[]) => {
    using workspace = createWorkspace();
    return await workspace.must([...words, "--database", path]);
  };
  const brokenOf = (): string[] =>
    inLlmspell((database) => compareSqliteSchema(database).broken.map(({ object }) => object));
  /** What belongs together: each vector's id with its embedding. */
  const content = (dimension: Dimension): unknown[][] =>
    query(
      path,
      `SELECT m.id, e.embedding, e.note FROM vector_metadata AS m JOIN vec_embeddings_${dimension} AS e ON e.rowid = m.rowid
       WHERE m.dimension = ${dimension} ORDER BY m.rowid`,
    );

  it.each([
    ["ordinary", false],
    ["vec0", true],
  ])("gives vectors of a file that was filled densely blocks of their own (%s tables)", async (_shape, vec0) => {
    await createMigrated(path);
    fillDensely([768, 384, 1536], 5, vec0);
    execute(
      path,
      `CREATE TABLE fired (x); CREATE TRIGGER mine AFTER UPDATE ON vector_metadata BEGIN INSERT INTO fired VALUES (1); END`,
    );
    expect(brokenOf()).toEqual(["rowids of vectors of 384 dimensions", "rowids of vectors of 768 dimensions"]);
    const before = ([384, 768, 1536] as const).map(content);
    const exported = (await readAll(path)).records;
    const plain = await run("database", "migrate");
    expect(plain.stdout).not.toContain("rowids");
    const { stdout, stderr } = await run("database", "migrate", "--repair-rowids");
    expect(stdout).toContain("  gave 5 vectors of 768 dimensions other rowids\n");
    expect(stderr).toContain(".hnsw");
    expect(brokenOf()).toEqual([]);
    for (const [at, dimension] of ([384, 768, 1536] as const).entries()) {
      expect(content(dimension)).toEqual(before[at]);
      const start = BigInt(dimension) * 2n ** 32n;
      expect(query(path, `SELECT rowid FROM vec_embeddings_${dimension} ORDER BY 1`).flat()).toEqual(
        [1n, 2n, 3n, 4n, 5n].map((n) => start + n),
      );
    }
    expect((await readAll(path)).records).toEqual(exported);
    expect(query(path, "SELECT * FROM fired")).toEqual([]);
    expect(query(path, "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name = 'mine'")).toEqual([["mine"]]);
    expect(query(path, "PRAGMA integrity_check")).toEqual([["ok"]]);
    if (!vec0) inLlmspell((database) => DIMENSIONS.map((each) => insertVector(database, each, `${each}`)));
    const again = await run("database", "migrate", "--repair-rowids", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject(vec0 ? { moved: {} } : { moved: { 3072: 1 } });
  });

  it("makes room for llmspell's first vector of a second dimension, which its own file has not", async () => {
    execute(path, llmspellSchema);
    inLlmspell((database) => {
      for (let n = 1; n <= 3; n++) insertVector(database, 384, uuid(n));
      expect(() => insertVector(database, 768, uuid(4))).toThrow("UNIQUE constraint failed: vector_metadata.rowid");
    });
    const { broken, notes } = inLlmspell(compareSqliteSchema);
    expect([broken, notes]).toEqual([[], [expect.stringContaining("first vector of 768, 1536, 3072 dimensions")]]);
    await run("database", "migrate", "--repair-rowids");
    expect(inLlmspell(compareSqliteSchema).notes).toEqual([]);
    inLlmspell((database) => {
      insertVector(database, 768, uuid(4));
      insertVector(database, 384, uuid(5));
      expect([...readScope(database, 384).keys()]).toEqual([1n, 2n, 3n, 4n].map((n) => 384n * 2n ** 32n + n));
    });
  });

  it("moves vectors without an embedding, and embeddings without a vector, out of the way", async () => {
    await createMigrated(path);
    fillDensely([384, 768], 2);
    execute(
      path,
      `DELETE FROM vec_embeddings_384 WHERE rowid = 2; DELETE FROM vector_metadata WHERE rowid = 3;
       INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, created_at, updated_at)
       VALUES (${384n * 2n ** 32n + 9n}, 'v', 't', 's', 384, 1, 1)`,
    );
    await run("database", "migrate", "--repair-rowids");
    expect(brokenOf()).toEqual([]);
    inLlmspell((database) => {
      for (const dimension of [384, 768] as const) insertVector(database, dimension, `${dimension} again`);
    });
    expect(content(384).map(([id]) => id)).toEqual([uuid(1), "384 again"]);
    expect(content(768).map(([id]) => id)).toEqual([uuid(4), "768 again"]);
    expect(query(path, "SELECT count(*) FROM vec_embeddings_768")).toEqual([[3n]]);
  });

  it("refuses where another table refers to the rowids, and PostgreSQL; nothing is changed", async () => {
    await createMigrated(path);
    fillDensely([384, 768], 2);
    execute(path, "CREATE TABLE mine (v INTEGER REFERENCES vector_metadata(rowid))");
    using workspace = createWorkspace();
    const before = query(path, "SELECT rowid FROM vector_metadata");
    const refused = await workspace.run(["database", "migrate", "--repair-rowids", "--database", path]);
    expect([refused.status, refused.stderr]).toEqual([5, expect.stringContaining("mine(v) refers to the rowids")]);
    expect(query(path, "SELECT rowid FROM vector_metadata")).toEqual(before);
    const postgres = ["database", "migrate", "--repair-rowids", "--database", "postgresql://localhost:1/x"];
    expect(await workspace.run(postgres)).toMatchObject({ status: 2, stderr: expect.stringContaining("E_USAGE") });
  });
});
