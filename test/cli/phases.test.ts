/** What a run says while it runs: its phases, what it waits for, and that every line of its log can be read by a program. */
import { once } from "node:events";
import { createServer } from "node:net";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { BuildTimes, graphEffort } from "../../src/backends/postgres/planning/build-times.js";
import { type Elapsed, narrowText, progressText } from "../../src/commands/shown/progress.js";
import { importStore, migrateDatabase, type Progress } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";

let workspace: Workspace;
beforeAll(async () => {
  workspace = createWorkspace();
  createLlmspellSqlite(workspace.path("a.db"));
  fillSqlite(workspace.path("a.db"), { records: 3, contentSizes: [9] });
  await workspace.must(["storage", "export", "--database", "a.db", "--output", "a.json"]);
});
afterAll(() => workspace[Symbol.dispose]());

const rows: Progress = { phase: "rows", path: "event_log", records: 1200, pathRecords: 200, bytes: 3_100_000 };

it("a line says the phase, what is built and how far it is", () => {
  const index = { name: "idx_vectors", number: 2, of: 4 };
  expect(progressText({ ...rows, indexesToBuild: 4 }, 3, 5000)).toBe(
    "event_log: 1,200 of about 5,000 records, 3.1 MB, 400 records/s, about 10 s left, then 4 indexes",
  );
  const building: Progress = { ...rows, phase: "indexes", index, fraction: 0.5 };
  const lines: readonly [Pick<Progress, "left">, Elapsed, string][] = [
    [{ left: { least: 45, most: 55 } }, { run: 90, phase: 30 }, "about 50 s left"],
    [{ left: { least: 45, most: 55 } }, { run: 90, phase: 30, told: 10 }, "about 40 s left"],
    [{ left: { least: 45, most: 500 } }, { run: 90, phase: 30 }, "about 45 s to 8 min left"],
    [{ left: { least: 0.1, most: 40 } }, { run: 90, phase: 30 }, "at most about 40 s left"],
    [{ left: { least: 0.1, most: 0.1 } }, { run: 90, phase: 30 }, "about 1 s left"],
    [{ left: { least: 1, most: 2 } }, { run: 90, phase: 30, told: 5 }, "for 30 s"],
    [{}, { run: 90, phase: 30 }, "for 30 s"],
  ];
  for (const [left, elapsed, text] of lines)
    expect(progressText({ ...building, ...left }, elapsed, undefined)).toBe(
      `building index 2 of 4, idx_vectors, 50 %, ${text}`,
    );
  expect(progressText({ ...rows, phase: "committing" }, 12, undefined)).toBe("committing, for 12 s");
  expect(progressText({ ...rows, phase: "checking", waiting: "a lock" }, 12, 5000)).toBe("waiting for a lock");
});

it("the time that index builds take is by what they are of, and by what they took", () => {
  let now = 0;
  const times = new BuildTimes(() => now);
  const size = {
    rows: 10_000,
    bytes: 31_000_000,
    dimension: 768,
    effort: graphEffort("WITH (m='16', ef_construction='128')"),
  };
  expect(size.effort).toBe(2);
  const hnsw = { ...size, method: "hnsw" };
  const btree = { ...size, method: "btree" };
  expect(times.left(undefined)).toBeUndefined();
  // The B-trees beside it are nothing; before anything is seen it is a guess.
  times.begin(hnsw, [btree, btree, btree]);
  const guess = times.left(undefined);
  expect(guess?.least).toBeGreaterThan(1);
  expect(guess?.most).toBeGreaterThan(2 * (guess?.least ?? 0));
  now = 20;
  // Its later rows take longer than the first.
  expect(times.left(0.79)?.least).toBeGreaterThan(20 * (0.21 / 0.79));
  expect(times.left(0.79)?.most).toBeLessThan(12);
  // Nothing is at its end before it is.
  expect(times.left(1)?.least).toBeGreaterThan(0);
  // Longer than was thought, and the server says nothing of it.
  now = 100;
  expect(times.left(undefined)?.most).toBeGreaterThanOrEqual(50);
  // Another like it takes what this one took; the slow one that is still to come counts more than those of its table.
  now = 25;
  times.begin(btree, [hnsw]);
  expect(times.left(undefined)?.most).toBeCloseTo(25, 0);
  expect(times.left(undefined)?.least).toBeCloseTo(25, 0);
  now = 26;
  times.begin(hnsw, []);
  now = 46;
  expect(times.left(undefined)?.least).toBeCloseTo(5, 0);
  times.end();
  expect(times.left(undefined)).toBeUndefined();
});

it("nothing is said to be 0 s away", () => {
  expect(progressText({ ...rows, records: 4999 }, 10, 5000)).toContain("about 1 s left");
  expect(progressText({ ...rows, records: 5000 }, 1, 5000)).toContain("about 1 s left");
});

it.each([20, 40, 79, 99, 200])("a line fits %i columns", (width) => {
  const path = "vector_embeddings.3072";
  const section = { number: 4, of: 15 };
  const index = { name: "idx_vector_embeddings_3072_embedding_hnsw", number: 12, of: 14 };
  for (const progress of [
    { ...rows, path, section, records: 123_456_789, bytes: 1e15 },
    { ...rows, path, section, indexesToBuild: 12 },
    { ...rows, phase: "indexes", index, fraction: 0.123, left: { least: 1000, most: 9000 } },
    { ...rows, phase: "checking", waiting: "a lock held by process 123456 (its last statement: TRUNCATE), and more" },
  ] as const) {
    const text = narrowText(progress, { run: 10_000, phase: 5000 }, 999_999_999, width);
    expect(text.length).toBeLessThanOrEqual(width);
    expect(text).not.toBe("");
  }
});

it("at 80 columns the section, the share, the rate and the time left are seen", () => {
  const progress = { ...rows, path: "vector_embeddings.3072", section: { number: 4, of: 15 }, records: 123_456 };
  expect(narrowText(progress, { run: 100, phase: 99 }, 1_000_000, 79)).toBe(
    "vector_embeddings.3072 (4 of 15), 12 %, 1,235 records/s, about 12 min left",
  );
});

it("a warning beside the progress on a terminal is neither cut nor written over", async () => {
  const words =
    "storage export --database a.db --output cut.json --tenant t --map-tenant nobody=somebody-with-a-name-that-is-rather-long";
  const { stdout } = await workspace.bash(`script -qec "stty cols 60; llmspell ${words}" /dev/null </dev/null`);
  const [, ...sequences] = stdout.split("\u001b");
  // The terminal's own wrapping stays on, or the rest of a line is written over its last column; and the cursor never goes back.
  for (const sequence of sequences) expect(sequence).toMatch(/^\[(K|\?25[lh])/);
  expect(sequences.map((sequence) => sequence.replace(/^\[\??\d*[A-Za-z]/, "")).join("")).toMatch(
    /Warning: map-tenant nobody=.* has the tenant "nobody"/,
  );
});

it("waits for an SQLite database that another process writes, and says so", async () => {
  createLlmspellSqlite(workspace.path("busy.db"));
  await workspace.must(["database", "migrate", "--database", "busy.db"]);
  const database = new Database(workspace.path("busy.db"));
  database.exec("BEGIN IMMEDIATE");
  const words = ["storage", "import", "--database", "busy.db", "--input", "a.json", "--lock-timeout"];
  const refused = await workspace.run([...words, "2"]);
  expect(refused.stderr).toContain("waiting for a lock on the database, which another process writes");
  expect(refused.stderr).toContain("[E_LOCKED]");
  expect(refused.status).not.toBe(0);
  const child = workspace.start([...words, "120"]);
  const outcome = outcomeOf(child);
  await new Promise<void>((resolve) =>
    child.stderr?.on("data", (text: Buffer) => `${text}`.includes("waiting for") && resolve()),
  );
  database.exec("COMMIT");
  database.close();
  expect((await outcome).status).toBe(0);
});

it("a database that another process has for itself is waited for as long as --lock-timeout says", async () => {
  createLlmspellSqlite(workspace.path("alone.db"));
  const database = new Database(workspace.path("alone.db"));
  database.pragma("journal_mode = DELETE");
  database.exec("BEGIN EXCLUSIVE");
  for (const words of [
    ["digest", "alone.db"],
    ["verify", "alone.db", "a.json"],
    ["export", "--database", "alone.db", "--output", "alone.json"],
  ]) {
    const refused = await workspace.run(["storage", ...words, "--lock-timeout", "0.5"]);
    expect([refused.status, refused.stderr]).toEqual([3, expect.stringContaining("[E_LOCKED]")]);
    const child = workspace.start(["storage", ...words, "--lock-timeout", "600"]);
    const outcome = outcomeOf(child);
    let heard = "";
    child.stderr?.on("data", (text: Buffer) => {
      heard += text;
      if (heard.includes("waiting for a lock on the database")) child.kill("SIGINT");
    });
    expect((await outcome).status).toBe(130);
  }
  const child = workspace.start(["storage", "digest", "alone.db", "--lock-timeout", "600"]);
  const outcome = outcomeOf(child);
  await new Promise<void>((resolve) =>
    child.stderr?.on("data", (text: Buffer) => `${text}`.includes("waiting for") && resolve()),
  );
  database.exec("COMMIT");
  database.close();
  expect((await outcome).status).toBe(0);
});

it("an interrupt ends the wait for a lock", async () => {
  createLlmspellSqlite(workspace.path("held.db"));
  const database = new Database(workspace.path("held.db"));
  database.exec("BEGIN IMMEDIATE");
  const child = workspace.start([
    "storage",
    "import",
    "--database",
    "held.db",
    "--input",
    "a.json",
    "--lock-timeout",
    "600",
  ]);
  const outcome = outcomeOf(child);
  child.stderr?.on("data", (text: Buffer) => {
    if (`${text}`.includes("waiting for")) child.kill("SIGINT");
  });
  expect((await outcome).status).toBe(130);
  database.close();
});

it("a server that does not answer is named at once, and until when it is tried", async () => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  const child = workspace.start([
    "storage",
    "export",
    "--database",
    `postgresql://u@127.0.0.1:${port}/d`,
    "--output",
    "-",
  ]);
  const outcome = outcomeOf(child);
  child.stderr?.on("data", (text: Buffer) => {
    if (`${text}`.includes("trying again until")) child.kill("SIGINT");
  });
  const { status, stderr } = await outcome;
  expect(status).toBe(130);
  expect(stderr).toContain(`waiting for postgresql://u@127.0.0.1:${port}/d, which does not answer (ECONNREFUSED)`);
});

it.each([
  ["storage", "info", "a.db"],
  ["storage", "import", "--database", "a.db", "--input", "nowhere.json"],
  ["storage", "export", "--database", "a.db", "--output", "-", "--json"],
  ["storage", "export", "--database", "a.db", "--output", "b.json", "--tenant", "nobody"],
  ["storage", "migrate", "--from", "a.db", "--to", "b.db"],
  ["database", "health", "--database", "a.db"],
])("with --log-format json every line of %s %s on stderr is an object", async (...words) => {
  const { stderr } = await workspace.run([...words, "--log-format", "json"]);
  const lines = stderr.split("\n").filter((text) => text !== "");
  // The document has standard output: the result is the one line of standard error.
  if (words.includes("--json")) expect(lines.map((line) => JSON.parse(line).read)).toEqual([45]);
  else
    for (const line of lines)
      expect(JSON.parse(line)).toMatchObject({ message: expect.any(String), level: expect.any(String) });
});

describePostgres("with PostgreSQL", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
    await migrateDatabase(database.url);
  });
  afterAll(() => database.drop());

  it("a program hears of each phase in its order, and of each index by name", async () => {
    const seen: string[] = [];
    const built: string[] = [];
    await importStore({
      from: workspace.path("a.json"),
      to: database.url,
      deferIndexes: "always",
      onProgress({ phase, index, section, left }) {
        if (seen.at(-1) !== phase) seen.push(phase);
        if (index !== undefined) built.push(`${index.number} of ${index.of} ${index.name}`);
        // Until all of them are built there is time left, and how much is known from the first on.
        if (phase === "indexes") expect(left?.least, index?.name).toBeGreaterThan(0);
        if (phase === "rows" && section !== undefined) expect(section.number).toBeLessThanOrEqual(section.of);
      },
    });
    expect(seen.slice(0, 3)).toEqual(["connecting", "planning", "rows"]);
    expect(seen).toContain("indexes");
    expect(seen.at(-1)).toBe("committing");
    expect(built.length).toBeGreaterThan(20);
    expect(built[0]).toMatch(/^1 of \d+ \w+$/);
    const numbers = built.map((text) => Number.parseInt(text, 10));
    expect(numbers).toEqual(numbers.map((_, at) => at + 1));
    expect(built.at(-1)).toContain(`${built.length} of ${built.length} `);
  });

  it("who holds a lock is named, and --lock-timeout ends the wait", async () => {
    await withClient(database.url, async (client) => {
      await client.query("BEGIN; LOCK TABLE llmspell.sessions IN ACCESS EXCLUSIVE MODE");
      const { rows: own } = await client.query("SELECT pg_backend_pid() AS pid");
      const words = ["storage", "import", "--database", database.url, "--input", "a.json", "--lock-timeout"];
      const refused = await workspace.run([...words, "1"]);
      expect(refused.stderr).toContain("[E_LOCKED]");
      expect(refused.status).not.toBe(0);
      for (const reading of [
        ["verify", database.url, "a.json"],
        ["verify", "a.json", database.url, "--tenant", "acme"],
        ["digest", database.url],
      ]) {
        const unread = await workspace.run(["storage", ...reading, "--lock-timeout", "1"]);
        expect([unread.status, unread.stderr]).toEqual([3, expect.stringContaining("[E_LOCKED]")]);
      }
      const child = workspace.start([...words, "300"]);
      const outcome = outcomeOf(child);
      let heard = "";
      await new Promise<void>((resolve) => {
        child.stderr?.on("data", (text: Buffer) => {
          heard += text;
          if (heard.includes("waiting for a lock")) resolve();
        });
        child.on("exit", () => resolve());
      });
      expect(heard).toContain(`waiting for a lock held by process ${own[0].pid} (its last statement: SELECT)`);
      await client.query("ROLLBACK");
      expect((await outcome).status).toBe(0);
    });
  });
});
