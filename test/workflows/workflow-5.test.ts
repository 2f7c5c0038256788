/**
 * The guide's Workflow 5, "Backend Testing & Validation", as it is written there: real databases, the real binary, the
 * real jq. 200 records of every kind (`npm run test:long`: 2,000), one artifact of 20 MiB (100 MiB).
 */
import { expect, it } from "vitest";
import { createLlmspellPostgres, createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, WITH_ALLOCATOR, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { DEFAULT_CONTENT_SIZES, fillPostgres, fillSqlite } from "../helpers/sample-data.js";
import { scaled } from "../helpers/scale.js";
import { describeWithTools } from "../helpers/system-tools.js";
import { dataDigest, fileDigest, manifestCounts } from "./documents.js";

const RECORDS = scaled(200, 2000);
/** Of each dimension, where HNSW indexes are built: vectors are by far the dearest rows of an import. */
const FEWER = scaled(60, 500);
const CONTENT_SIZES = [...DEFAULT_CONTENT_SIZES, scaled(20, 100) * 1048576];
const MINUTES = 60_000;

const vectors = (count: number) => ({
  vector_embeddings_384: count,
  vector_embeddings_768: count,
  vector_embeddings_1536: count,
  vector_embeddings_3072: count,
});

/** What the guide prints with every comparison: empty output and status 0 mean equal. */
async function expectEqualByJq(workspace: Workspace, a: string, b: string): Promise<void> {
  const { stdout } = await workspace.bash(`diff <(jq -S .data ${a}) <(jq -S .data ${b})`);
  expect(stdout).toBe("");
}

/** Every array is there with all its records. */
function expectCounts(path: string, vectors: number): void {
  const counts = Object.entries(manifestCounts(path));
  expect(counts).toHaveLength(15);
  for (const [array, records] of counts)
    expect([array, records]).toEqual([array, array.startsWith("vector_embeddings") ? vectors : RECORDS]);
}

function defineServerTests(): void {
  it(
    "takes a SQLite database through PostgreSQL and back without a difference",
    async () => {
      await using database = await createTestDatabase();
      using workspace = createWorkspace(WITH_ALLOCATOR);
      const sqlite = workspace.path("llmspell.db");
      createLlmspellSqlite(sqlite);
      fillSqlite(sqlite, { records: RECORDS, counts: vectors(scaled(FEWER, RECORDS)), contentSizes: CONTENT_SIZES });
      const before = await fileDigest(sqlite);
      const env = { LLMSPELL_SQLITE_PATH: sqlite, TARGET_URL: database.url };

      await workspace.bash(`llmspell storage export --backend sqlite --output round1-export.json`, { env });
      expect(await fileDigest(sqlite)).toBe(before);
      expectCounts(workspace.path("round1-export.json"), scaled(FEWER, RECORDS));

      await workspace.bash(
        `export DATABASE_URL="$TARGET_URL"
         llmspell database migrate
         # Round 1: SQLite → JSON → PostgreSQL
         llmspell storage import --backend postgres --input round1-export.json

         # Round 2: PostgreSQL → JSON → SQLite
         llmspell storage export --backend postgres --output round2-export.json
         llmspell storage import --backend sqlite --input round2-export.json

         # Round 3: SQLite → JSON (verify consistency)
         llmspell storage export --backend sqlite --output round3-export.json`,
        { env },
      );
      await expectEqualByJq(workspace, "round1-export.json", "round2-export.json");
      // The same bytes: more than the guide's second comparison, which the embedded test below makes as it is written.
      const data = dataDigest(workspace.path("round2-export.json"));
      expect(dataDigest(workspace.path("round3-export.json"))).toBe(data);

      // A pipe both ways, into a database that was not there: the same data, to the byte.
      await workspace.bash(
        `llmspell storage export --backend sqlite --output - | gzip -1 > piped.json.gz
         gunzip -c piped.json.gz | LLMSPELL_SQLITE_PATH=piped.db llmspell storage import --backend sqlite --input -
         LLMSPELL_SQLITE_PATH=piped.db llmspell storage export --backend sqlite --output round4-export.json`,
        { env },
      );
      expect(dataDigest(workspace.path("round4-export.json"))).toBe(data);
    },
    10 * MINUTES,
  );

  it(
    "takes a PostgreSQL database through SQLite and back without a difference",
    async () => {
      await using database = await createTestDatabase();
      await using target = await createTestDatabase();
      using workspace = createWorkspace(WITH_ALLOCATOR);
      await createLlmspellPostgres(database.url);
      await fillPostgres(database.url, { records: RECORDS, counts: vectors(FEWER), json: "free" });

      await workspace.bash(
        `DATABASE_URL="$SOURCE_URL" llmspell storage export --backend postgres --output first.json
         llmspell storage import --backend sqlite --input first.json
         llmspell storage export --backend sqlite --output second.json
         DATABASE_URL="$TARGET_URL" llmspell database migrate --backend postgres
         DATABASE_URL="$TARGET_URL" llmspell storage import --backend postgres --input second.json
         DATABASE_URL="$TARGET_URL" llmspell storage export --backend postgres --output third.json`,
        {
          env: { LLMSPELL_SQLITE_PATH: workspace.path("new.db"), SOURCE_URL: database.url, TARGET_URL: target.url },
        },
      );
      expectCounts(workspace.path("first.json"), FEWER);
      await expectEqualByJq(workspace, "first.json", "third.json");
      const data = dataDigest(workspace.path("first.json"));
      expect(dataDigest(workspace.path("second.json"))).toBe(data);
      expect(dataDigest(workspace.path("third.json"))).toBe(data);
    },
    10 * MINUTES,
  );
}

function defineEmbeddedTest(): void {
  it(
    "takes a SQLite database through embedded PostgreSQL and back without a difference",
    async () => {
      using workspace = createWorkspace(WITH_ALLOCATOR);
      const sqlite = workspace.path("llmspell.db");
      createLlmspellSqlite(sqlite);
      fillSqlite(sqlite, { records: RECORDS, counts: vectors(FEWER) });
      await workspace.bash(
        `llmspell storage export --backend sqlite --output round1.json
       llmspell database migrate --database pglite:embedded
       llmspell storage import --database pglite:embedded --input round1.json
       llmspell storage export --database pglite:embedded --output round2.json
       LLMSPELL_SQLITE_PATH=new.db llmspell storage import --backend sqlite --input round2.json
       LLMSPELL_SQLITE_PATH=new.db llmspell storage export --backend sqlite --output round3.json`,
        { env: { LLMSPELL_SQLITE_PATH: sqlite } },
      );
      expectCounts(workspace.path("round1.json"), FEWER);
      await expectEqualByJq(workspace, "round1.json", "round2.json");
      await expectEqualByJq(workspace, "round2.json", "round3.json");
      expect(dataDigest(workspace.path("round3.json"))).toBe(dataDigest(workspace.path("round2.json")));
    },
    10 * MINUTES,
  );
}

describeWithTools(["jq", "gzip"], "the guide's Workflow 5", () => {
  describePostgres("with a server", defineServerTests);
  defineEmbeddedTest();
});
