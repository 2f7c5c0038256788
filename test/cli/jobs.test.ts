/** `--jobs`: the same document, the same rejects and the same words, whatever number of threads read. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Sink } from "../../src/sinks/sink.js";
import { postgresRows } from "../fidelity/support.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createWorkspace, type Outcome, outcomeOf, type Workspace, withoutTimes } from "../helpers/llmspell.js";
import {
  createTestDatabase,
  createTestRole,
  describePostgres,
  sessionsEnd,
  type TestDatabase,
} from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { scaled } from "../helpers/scale.js";

let workspace: Workspace;
const KEY = { LLMSPELL_MASK_KEY: "a long random text" };

/** Some parts of several kinds: rows of half a kilobyte, and contents of megabytes. */
const MANY_ROWS = `
  INSERT INTO kv_store (kv_id, tenant_id, key, value, metadata, created_at, updated_at)
  WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 9000)
  SELECT printf('%08x-0000-4000-8000-%012x', n * 7919 % 65536 * 40503 % 1048573, n), 'tenant-' || (n % 7), 'key ' || n,
         CAST(printf('%.*c', 400 + n % 200, 'v') AS BLOB), '{"n":' || n || '}', 1767225600, 1767225600 + n FROM n;
  INSERT INTO event_log (event_id, event_type, correlation_id, timestamp, sequence, language, payload, tenant_id)
  WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
  SELECT printf('%08x-0000-4000-9000-%012x', n * 31337 % 65521, n), 'type', printf('00000000-0000-4000-9000-%012x', n),
         1767225600 + n % 1000, n, 'rust', '{"text":"' || printf('%.*c', 300, 'p') || '"}', 'tenant-' || (n % 3) FROM n;`;

/** Writes the document with each number of threads; the outcomes but for times, and the documents but for theirs. */
async function withEach(words: readonly string[], { jobs = ["1", "3"], name = "out.json" } = {}) {
  const outcomes: Outcome[] = [];
  const documents: string[] = [];
  for (const each of jobs) {
    const command = ["storage", "export", "--output", name, "--no-progress", "--jobs", each, ...words];
    outcomes.push(await workspace.run(command, { env: KEY }));
    documents.push(readDocument(name));
  }
  return { outcomes, documents };
}

function readDocument(name: string): string {
  if (!existsSync(workspace.path(name))) return "none";
  const bytes = readFileSync(workspace.path(name));
  const plain = name.endsWith(".gz") ? gunzipSync(bytes) : name.endsWith(".zst") ? zstdDecompressSync(bytes) : bytes;
  return plain.toString("utf8").replace(/"exported_at":"[^"]*"/, "");
}

/** Lines of standard error but the one that says how long it took. */
function said({ stderr }: Outcome): string[] {
  return withoutTimes(stderr)
    .split("\n")
    .filter((line) => !/^(Time|To): /.test(line));
}

/** The first is the one of one job. */
function expectSame<T>(all: readonly T[]): void {
  // A difference of megabytes is not to be printed.
  for (const each of all) expect(each === all[0] || JSON.stringify(each) === JSON.stringify(all[0])).toBe(true);
}

beforeAll(async () => {
  workspace = createWorkspace();
  const path = workspace.path("a.db");
  createLlmspellSqlite(path);
  fillSqlite(path, { records: 8, contentSizes: [0, 10, 1048575, 1048576, 9_000_000, 11, 12, 13] });
  copyFileSync(path, workspace.path("small.db"));
  const database = new Database(path);
  database.exec(MANY_ROWS);
  database.close();
  writeFileSync(
    workspace.path("upper.mjs"),
    `export default { name: "upper", sections: ["kv_store"], drops: false, parallel: true, transform: (record) => ({ ...record, key: record.key.toUpperCase() }) };`,
  );
  writeFileSync(
    workspace.path("counting.mjs"),
    `let n = 0;
     export default { name: "counting", sections: ["kv_store"], drops: false, transform: (record) => ({ ...record, key: record.key + " " + ++n }) };`,
  );
});
afterAll(() => workspace[Symbol.dispose]());

describe("an export of SQLite with --jobs", () => {
  const DATABASE = ["--database", "a.db"];

  it("is that of one job, manifest and all, and says the same", async () => {
    const { outcomes, documents } = await withEach(DATABASE);
    expect(outcomes.map(({ status }) => status)).toEqual([0, 0]);
    expect(documents[0]?.length).toBeGreaterThan(15_000_000);
    expectSame(documents);
    expectSame(outcomes.map(said));
  });

  it("reports the same bytes of values, those of large contents among them", async () => {
    const report = workspace.path("report.json");
    const words = ["storage", "export", "--database", "small.db", "--output", "out.json", "--report", report, "--jobs"];
    const counted: unknown[] = [];
    for (const jobs of ["1", "2"]) {
      await workspace.must([...words, jobs]);
      const { sections } = JSON.parse(readFileSync(report, "utf8")) as {
        sections: { path: string; valueBytes: number }[];
      };
      counted.push(sections.map(({ path, valueBytes }) => [path, valueBytes]));
    }
    expect(JSON.stringify(counted[0])).toContain('"artifacts.content",11');
    expect(counted[1]).toEqual(counted[0]);
  });

  it.each(
    [
      ["tenants, one of whom is not there", ["--tenant", "tenant-2", "--tenant", "nobody", "--tenant", "tenant-1"]],
      [
        "jq, a mask, a tenant's new name",
        [
          "--jq",
          "kv_store: .metadata.seen = true",
          "--mask",
          "event_log.payload.text=hash",
          "--map-tenant",
          "tenant-1=b",
        ],
      ],
      ["digests", ["--digests"]],
      ["a plugin that may run in parallel", ["--plugin", "./upper.mjs"]],
      [
        "a step that meets nothing",
        ["--map-tenant", "missing=b", "--jq", "kv_store: .", "--mask-optional", "kv_store.metadata.none=redact"],
      ],
      [
        "vectors as numbers, some sections",
        ["--vectors", "json", "--include", "vector_embeddings", "--include", "sessions"],
      ],
      ["ids", ["--invalid-uuid", "derive"]],
    ].slice(0, scaled(2, 99)) as [string, string[]][],
  )("is the same with %s", async (_, words) => {
    const { outcomes, documents } = await withEach([...DATABASE, ...words], { jobs: ["1", "2"] });
    expect(outcomes.map(({ status }) => status)).toEqual([0, 0]);
    expectSame(documents);
    expectSame(outcomes.map(said));
  });

  // A small one: there is nothing that threads could do.
  it.each(
    [
      ["a plugin that may not", ["--plugin", "./counting.mjs"]],
      ["a limit", ["--limit", "70"]],
      ["a step that drops records that others belong to", ["--jq", 'sessions: select(.status != "active")']],
    ].slice(0, scaled(1, 99)) as [string, string[]][],
  )("is the same where all records go through one job, and says so: %s", async (_, words) => {
    const { outcomes, documents } = await withEach(["--database", "small.db", ...words], { jobs: ["1", "auto", "2"] });
    expect(outcomes.map(({ status }) => status)).toEqual([0, 0, 0]);
    expectSame(documents);
    const [one, auto, two] = outcomes.map(said) as [string[], string[], string[]];
    expect(auto).toEqual(one);
    const [warning, ...others] = two.filter((line) => !one.includes(line));
    expect([warning, others]).toEqual([expect.stringContaining("--jobs (jobs) has no effect: "), []]);
  });

  it.each(["out.json.zst", "out.json.gz"].slice(0, scaled(1, 2)))("is the same compressed: %s", async (name) => {
    const { documents } = await withEach(DATABASE, { jobs: ["2"], name });
    const { documents: plain } = await withEach(DATABASE, { jobs: ["1"] });
    expect(plain[0]?.length).toBeGreaterThan(15_000_000);
    expectSame([...plain, ...documents]);
  });

  it("goes to standard output, and is read back", async () => {
    const { stdout } = await workspace.bash(
      "llmspell storage export --database a.db --jobs 2 --output - --quiet | llmspell storage import --database back.db --input - >/dev/null && llmspell storage verify a.db back.db >/dev/null && echo equal",
    );
    expect(stdout).toBe("equal\n");
  });

  it("says with --verbose what went through one job, and why", async () => {
    const { outcomes } = await withEach([...DATABASE, "--verbose"], { jobs: ["2"] });
    expect(outcomes[0]?.stderr).toContain("One job for vector_embeddings.768: the table of embeddings is a vec0 table");
    const serial = await withEach([...DATABASE, "--verbose", "--plugin", "./counting.mjs"], { jobs: ["auto"] });
    expect(serial.outcomes[0]?.stderr).toContain('One job: the step "plugin counting" needs all records in order');
  });

  it("takes a positive number or auto", async () => {
    for (const jobs of ["0", "-1", "two", "1.5", "100000"]) {
      const { status, stderr } = await workspace.run([
        "storage",
        "export",
        ...DATABASE,
        "--output",
        "x.json",
        "--jobs",
        jobs,
      ]);
      expect([jobs, status]).toEqual([jobs, 2]);
      expect(stderr).toContain("E_USAGE");
    }
    expect(existsSync(workspace.path("x.json"))).toBe(false);
  });
});

describePostgres("an export of PostgreSQL with --jobs", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
    await workspace.must(["database", "migrate", "--database", database.url]);
    // With ids in one spelling, as PostgreSQL has them.
    const words = ["storage", "migrate", "--from", "a.db", "--to", database.url, "--invalid-uuid", "derive"];
    await workspace.must(words);
  });
  afterAll(() => database.drop());

  it.each(
    [
      ["everything", []],
      ["steps", ["--jq", "kv_store: .metadata.seen = true", "--mask", "event_log.payload.text=hash"]],
      ["some tenants", ["--tenant", "tenant-2", "--tenant", "nobody", "--tenant", "tenant-1"]],
      ["a cursor", ["--source-mode", "cursor", "--source-check", "none"]],
    ].slice(0, scaled(2, 99)) as [string, string[]][],
  )("is that of one job: %s", async (_, words) => {
    const { outcomes, documents } = await withEach(["--database", database.url, ...words], { jobs: ["1", "3"] });
    expect(outcomes.map(({ status }) => status)).toEqual([0, 0]);
    expect(documents[0]?.length).toBeGreaterThan(1_000_000);
    expectSame(documents);
    expectSame(outcomes.map(said));
  });

  it("says that it has no effect on tables that are read as they lie", async () => {
    const { outcomes } = await withEach(["--database", database.url, "--order", "table"], { jobs: ["2"] });
    expect(outcomes[0]).toMatchObject({
      status: 0,
      stderr: expect.stringContaining("--jobs (jobs) has no effect: tables of PostgreSQL are read as they lie"),
    });
  });

  it("leaves no session behind when it is interrupted", async () => {
    const child = workspace.start(["storage", "export", "--database", database.url, "--output", "-", "--jobs", "2"]);
    const outcome = once(child, "close");
    await once(child.stdout as NodeJS.ReadableStream, "readable");
    child.kill("SIGTERM");
    child.stdout?.resume();
    expect(await outcome).toEqual([143, null]);
    await sessionsEnd(database.url);
  });

  it("goes with as many connections as the role has left, and says so", async () => {
    await using role = await createTestRole(database, { attributes: "BYPASSRLS CONNECTION LIMIT 2" });
    const { name, url } = role;
    const kv = ["--include", "kv_store"];
    await withClient(database.url, (client) =>
      client.query(
        `GRANT USAGE ON SCHEMA llmspell TO ${name}; GRANT SELECT ON ALL TABLES IN SCHEMA llmspell TO ${name}`,
      ),
    );
    const few = await workspace.run([
      "storage",
      "export",
      "--database",
      url,
      "--output",
      "few.json",
      "--jobs",
      "3",
      ...kv,
    ]);
    expect([few.status, few.stderr]).toEqual([
      0,
      expect.stringContaining("the server has connections left for 1 of the 3 jobs"),
    ]);
    await workspace.must(["storage", "export", "--database", database.url, "--output", "whole.json", ...kv]);
    expectSame([readDocument("whole.json"), readDocument("few.json")]);
    // One that is still ending would count.
    await sessionsEnd(database.url, name);
    await withClient(database.url, (client) => client.query(`ALTER ROLE ${name} CONNECTION LIMIT 1`));
    const none = await workspace.run([
      "storage",
      "export",
      "--database",
      url,
      "--output",
      "no.json",
      "--jobs",
      "3",
      ...kv,
    ]);
    expect([none.status, none.stderr]).toEqual([3, expect.stringMatching(/\[E_CONNECT\].*a smaller --jobs/s)]);
  });

  it("finds the rows that an index lacks", async () => {
    const damaged = await createTestDatabase();
    try {
      await workspace.must(["database", "migrate", "--database", damaged.url]);
      await workspace.must(["storage", "migrate", "--from", database.url, "--to", damaged.url]);
      await postgresRows(
        damaged.url,
        `UPDATE pg_catalog.pg_index SET indisready = false WHERE indexrelid = 'llmspell.kv_store_pkey'::regclass;
         INSERT INTO llmspell.kv_store (kv_id, tenant_id, key, value) SELECT gen_random_uuid(), 't', 'lost', 'x';
         UPDATE pg_catalog.pg_index SET indisready = true WHERE indexrelid = 'llmspell.kv_store_pkey'::regclass`,
      );
      const words = ["storage", "export", "--database", damaged.url, "--output", "damaged.json", "--jobs", "2"];
      const { status, stderr } = await workspace.run(words);
      expect(stderr).toContain("E_SOURCE_DAMAGED");
      expect(status).toBe(4);
    } finally {
      await damaged.drop();
    }
  });
});

describe("the library's jobs", () => {
  it("give batches to a sink of one's own, and tell what goes through one job", async () => {
    // As it is installed: threads need compiled files.
    const { exportStore } = (await import(
      new URL("../../dist/index.js", import.meta.url).href
    )) as typeof import("../../src/index.js");
    const digests: string[] = [];
    const infos: string[] = [];
    for (const jobs of [1, 2] as const) {
      const hash = createHash("sha256");
      const sink: Sink = {
        name: "a sink of one's own",
        async open() {},
        async write(batch) {
          for (let row = 0; row < batch.rows; row++)
            for (let field = 0; field < batch.width; field++) hash.update(batch.value(row, field)).update("|");
          for await (const chunk of batch.large?.chunks() ?? []) hash.update(chunk);
        },
        finish: async () => ({ counts: new Map(), notes: [] }),
        async abort() {},
      };
      const { totals } = await exportStore({
        ...{
          from: workspace.path("a.db"),
          to: sink,
          jobs,
          transforms: [{ type: "jq", expression: "kv_store: .metadata.n += 1" }],
        },
        onInfo: (line) => void infos.push(line),
      });
      digests.push(`${totals.read} ${totals.valueBytes} ${hash.digest("hex")}`);
    }
    expect(digests[1]).toBe(digests[0]);
    expect(infos.join()).toContain("One job for vector_embeddings.768");
  });
});

describe("bad records with --jobs", () => {
  beforeAll(() => {
    const path = workspace.path("bad.db");
    createLlmspellSqlite(path);
    fillSqlite(path, { records: 20 });
    const database = new Database(path);
    database.exec(MANY_ROWS);
    // Rows far from each other, parents with their children, and a large content.
    database.exec("UPDATE kv_store SET metadata = 'no json' WHERE rowid % 2801 = 0");
    database.exec("UPDATE event_log SET sequence = 'x' || rowid WHERE rowid % 1203 = 0");
    database.exec("UPDATE sessions SET artifact_count = 'x' WHERE rowid % 3 = 0");
    database.exec("UPDATE artifact_content SET created_at = 'x' WHERE length(data) > 1048576");
    database.close();
  });

  it("end the run with the first one, as one job does", async () => {
    const { outcomes, documents } = await withEach(["--database", "bad.db"]);
    expect(outcomes[0]?.status).toBe(4);
    expectSame(outcomes.map(({ status }) => status));
    expectSame(documents);
    expectSame(outcomes.map(said));
  });

  it("are left out and written to the rejects, with the children of theirs", async () => {
    const rejects: string[] = [];
    const documents: string[] = [];
    for (const jobs of ["1", "3"]) {
      const {
        outcomes,
        documents: [document = ""],
      } = await withEach(["--database", "bad.db", "--on-error", "skip", "--rejects", "rejects.ndjson"], {
        jobs: [jobs],
      });
      expect(outcomes[0]?.status).toBe(6);
      documents.push(document);
      rejects.push(readFileSync(workspace.path("rejects.ndjson"), "utf8"));
    }
    expect(rejects[0]).toContain("E_PARENT_REJECTED");
    expect(rejects[0]?.split("\n").length).toBeGreaterThan(15);
    expectSame(documents);
    expectSame(rejects);
  });

  it("name a mask that no record has", async () => {
    const words = ["--database", "a.db", "--mask", "kv_store.metadata.missing=redact"];
    const { outcomes } = await withEach(words, { jobs: ["1", "2"] });
    expect(outcomes[0]?.status).toBe(2);
    expect(outcomes[0]?.stderr).toContain("E_NO_EFFECT");
    expectSame(outcomes.map(said));
  });
});

describe("a run of several threads that ends early", () => {
  const files = (): string[] => readdirSync(workspace.folder).sort();

  it("leaves nothing after Ctrl-C, and ends at once", async () => {
    const before = files();
    // Nobody reads: it stands still in the middle.
    const child = workspace.start(["storage", "export", "--database", "a.db", "--output", "-", "--jobs", "2"]);
    const outcome = once(child, "close");
    await once(child.stdout as NodeJS.ReadableStream, "readable");
    child.kill("SIGINT");
    child.stdout?.resume();
    expect(await outcome).toEqual([130, null]);
    // Held back, or it might be over before the signal.
    const words = ["--database", "a.db", "--output", "cut.json", "--jobs", "2", "--rate", "0.1"];
    const toFile = workspace.start(["storage", "export", ...words]);
    const ended = outcomeOf(toFile);
    while (!files().some((name) => name.startsWith(".cut.json"))) await sleep(5);
    toFile.kill("SIGTERM");
    expect((await ended).status).toBe(143);
    expect(files()).toEqual(before);
  });

  it("says that the reader went away", async () => {
    const { stdout } = await workspace.bash(
      `set +eo pipefail; llmspell storage export --database a.db --output - --jobs 2 2>/dev/null | head -c 1000000 >/dev/null; echo "\${PIPESTATUS[0]}"`,
    );
    expect(stdout).toBe("141\n");
  });

  it("names what a thread broke down of", async () => {
    writeFileSync(
      workspace.path("breaking.mjs"),
      `let n = 0;
       export default { name: "breaking", sections: ["kv_store"], drops: false, parallel: true,
         transform: (record) => { if (++n === 5000) setTimeout(() => { throw new Error("left behind"); }); return record; } };`,
    );
    const before = files();
    const words = ["storage", "export", "--database", "a.db", "--output", "broken.json", "--jobs", "2"];
    const { status, stderr } = await workspace.run([...words, "--plugin", "./breaking.mjs"]);
    expect(status).toBe(5);
    expect(stderr).toContain("the plugin breaking left an error behind: left behind [E_PLUGIN]");
    expect(files()).toEqual(before);
  });
});
