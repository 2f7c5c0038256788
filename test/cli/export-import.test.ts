/** storage export, import, migrate and info on SQLite files and documents, through the binary. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename } from "node:path";
import { gunzipSync, gzipSync, zstdDecompressSync } from "node:zlib";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, outcomeOf, WITH_ALLOCATOR, type Workspace, withoutTimes } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { describeWithTools } from "../helpers/system-tools.js";

const RECORDS = 12;
/** The guide's labels in the guide's order; vectors have four dimensions. */
const STATISTICS = [
  "  - Vectors: 48",
  ...["Entities", "Relationships", "Patterns", "Agent States", "KV Entries", "Workflow States", "Sessions"],
  ...["Artifact Content", "Artifacts", "Events", "Hooks"],
].map((label) => (label.startsWith("  ") ? label : `  - ${label}: ${RECORDS}`));

let workspace: Workspace;
let source: string;
let document: string;
let names = 0;
const fresh = (suffix: string): string => workspace.path(`${++names}${suffix}`);
const digest = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
const read = (path: string): string => readFileSync(path, "utf8");
const dataOf = (path: string): unknown => (JSON.parse(read(path)) as { data: unknown }).data;

beforeAll(async () => {
  workspace = createWorkspace(WITH_ALLOCATOR);
  source = workspace.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: RECORDS });
  document = workspace.path("document.json");
  await workspace.must(["storage", "export", "--database", source, "--output", document]);
});
afterAll(() => workspace[Symbol.dispose]());

describe("storage export", () => {
  it("says what it does and what it exported", async () => {
    const { stdout, stderr } = await workspace.must(
      ["storage", "export", "--backend", "sqlite", "--output", "a.json", "--no-progress"],
      {
        env: { LLMSPELL_SQLITE_PATH: source },
      },
    );
    expect(stdout.split("\n")).toEqual([
      "Exporting data from sqlite backend to a.json...",
      "✅ Exported 180 total records:",
      ...STATISTICS,
      expect.stringMatching(/^From: /),
      expect.stringMatching(/^To: /),
      expect.stringMatching(/^Time: .* records\/s/),
      "",
    ]);
    expect(withoutTimes(stderr)).toBe(`Store: sqlite:${source} (LLMSPELL_SQLITE_PATH is set)\n`);
    expect(dataOf(workspace.path("a.json"))).toEqual(dataOf(document));
  });

  it.each(["-", "/dev/stdout"])("puts nothing but the document on standard output: %s", async (output) => {
    // By way of a pipe: what a test runner gives for standard output is none that could be opened by name.
    const { stdout, stderr } = await workspace.bash(
      `llmspell storage export --database ${source} --output ${output} --no-progress | cat`,
    );
    const withoutTime = (text: string): string => text.replace(/"exported_at":"[^"]*"/, "");
    expect(withoutTime(stdout)).toBe(withoutTime(read(document)));
    expect(stderr.split("\n")).toEqual([
      "Exporting data from sqlite backend to standard output...",
      "✅ Exported 180 total records:",
      ...STATISTICS,
      expect.stringMatching(/^From: /),
      expect.stringMatching(/^To: /),
      expect.stringMatching(/^Time: .* records\/s/),
      "",
    ]);
  });

  it("puts the result of --json on standard error then", async () => {
    const { stdout, stderr } = await workspace.must([
      "storage",
      "export",
      "--database",
      source,
      "--output",
      "-",
      "--json",
    ]);
    expect(Object.keys(JSON.parse(stdout) as object)).toContain("manifest");
    expect(JSON.parse(stderr)).toMatchObject({ total: 180, labels: { Vectors: 48, Hooks: RECORDS }, warnings: [] });
    const failed = await workspace.run(["storage", "export", "--database", "missing.db", "--output", "-", "--json"]);
    expect([failed.status, failed.stdout, JSON.parse(failed.stderr)]).toMatchObject([
      3,
      "",
      { error: { exitStatus: 3 } },
    ]);
  });

  it("compresses by the name, or as told", async () => {
    const gzip = fresh(".json.gz");
    const zstd = fresh(".json.zst");
    const told = fresh(".backup");
    await workspace.must(["storage", "export", "--database", source, "--output", gzip]);
    await workspace.must(["storage", "export", "--database", source, "--output", zstd]);
    await workspace.must(["storage", "export", "--database", source, "--output", told, "--compress", "gzip"]);
    for (const text of [
      gunzipSync(readFileSync(gzip)),
      zstdDecompressSync(readFileSync(zstd)),
      gunzipSync(readFileSync(told)),
    ]) {
      expect((JSON.parse(text.toString()) as { data: unknown }).data).toEqual(dataOf(document));
    }
  });

  it("takes the sections and the tenants that are asked for", async () => {
    const output = fresh(".json");
    const { stdout } = await workspace.must([
      ...["storage", "export", "--database", source, "--output", output, "--tenant", "tenant-a"],
      ...[
        "--include",
        "sessions",
        "--include",
        "artifacts",
        "--include",
        "vector_embeddings.768",
        "--exclude",
        "artifacts.artifacts",
      ],
    ]);
    const data = dataOf(output) as Record<string, unknown>;
    expect(Object.keys(data)).toEqual(["vector_embeddings", "sessions", "artifacts"]);
    expect(Object.keys(data["vector_embeddings"] as object)).toEqual(["768"]);
    expect((data["artifacts"] as Record<string, unknown[]>)["artifacts"]).toEqual([]);
    const tenants = [...read(output).matchAll(/"tenant_id":"([^"]*)"/g)].map(([, tenant]) => tenant);
    expect(tenants.length).toBeGreaterThan(3);
    expect(new Set(tenants)).toEqual(new Set(["tenant-a"]));
    expect(stdout).toContain(`✅ Exported ${tenants.length} total records:`);
  });

  it("keeps a file that is no document, unless forced", async () => {
    const output = fresh(".json");
    writeFileSync(output, "precious");
    const { status, stderr } = await workspace.run(["storage", "export", "--database", source, "--output", output]);
    expect([status, read(output)]).toEqual([2, "precious"]);
    expect(stderr).toContain("[E_OUTPUT_EXISTS]");
    await workspace.must(["storage", "export", "--database", source, "--output", output, "--force"]);
    expect(dataOf(output)).toEqual(dataOf(document));
  });

  it("never replaces the database that it reads, by whatever name", async () => {
    const database = fresh(".db");
    copyFileSync(source, database);
    const link = fresh(".json");
    symlinkSync(database, link);
    for (const output of [database, link]) {
      const words = ["--database", database, "--output", output, "--force"];
      const { status, stderr } = await workspace.run(["storage", "export", ...words]);
      expect([status, stderr]).toEqual([
        2,
        "Error: source and target are the same store [E_USAGE]\nHint: A copy goes to another file, database or server.\n",
      ]);
    }
    expect(digest(database)).toBe(digest(source));
  });

  it.each([
    [["--database", "missing.db"], 3, "E_STORE_NOT_FOUND"],
    [["--database", "sqlite:document.json"], 3, "E_NOT_A_DATABASE"],
    [["--database", "source.db", "--output", "no-such-folder/x.json"], undefined, "E_"],
  ])("fails with %j and leaves no file", async (words, status, code) => {
    const output = fresh(".json");
    const args = words.includes("--output") ? words : [...words, "--output", output];
    const outcome = await workspace.run(["storage", "export", ...args]);
    expect(outcome.status).not.toBe(0);
    if (status !== undefined) expect(outcome.status).toBe(status);
    expect(outcome.stderr).toContain(`[${code}`);
    expect(existsSync(output)).toBe(false);
  });

  it("ends quietly with 141 when its reader goes away", async () => {
    const { stdout, stderr } = await workspace.bash(
      `set +o pipefail; llmspell storage export --database source.db --output - --no-progress 2>err | head -c 100 >/dev/null; echo "\${PIPESTATUS[0]}"; cat err >&2`,
    );
    expect(stdout).toBe("141\n");
    expect(stderr).toBe("Exporting data from sqlite backend to standard output...\n");
  });

  it("does not succeed when nobody gets its result", async () => {
    const { stdout, stderr } = await workspace.bash(
      `set +o pipefail; llmspell storage info source.db --no-progress | true; echo "\${PIPESTATUS[0]}"
       set +e; llmspell storage info source.db --no-progress >/dev/full; echo $?`,
    );
    expect(stdout).toBe("141\n1\n");
    expect(stderr).toContain("Error: Ran out of disk space writing standard output [E_DISK_FULL]\nCaused by: ENOSPC");
  });

  it.each([
    ["SIGINT", 130, "E_INTERRUPTED"],
    ["SIGTERM", 143, "E_TERMINATED"],
  ] as const)("%s undoes it and ends with %i", async (signal, status, code) => {
    // A reader that takes nothing holds the export in its middle.
    const child = workspace.start(["storage", "export", "--database", source, "--output", "-"]);
    await once(child.stderr as NodeJS.ReadableStream, "data");
    await once(child.stdout as NodeJS.ReadableStream, "readable");
    child.kill(signal);
    const outcome = await outcomeOf(child);
    expect(outcome.status).toBe(status);
    expect(outcome.stderr).toContain(`[${code}]`);
  });
});

describe("storage import", () => {
  it("prints the guide's lines and makes the database", async () => {
    const target = fresh(".db");
    const { stdout } = await workspace.must(["storage", "import", "--backend", "sqlite", "--input", "document.json"], {
      env: { LLMSPELL_SQLITE_PATH: target },
    });
    expect(stdout.split("\n")).toEqual([
      "Importing data into sqlite backend from document.json...",
      "Reading JSON file...",
      "✅ Imported 180 total records:",
      ...STATISTICS,
      expect.stringMatching(/^From: /),
      expect.stringMatching(/^To: /),
      expect.stringMatching(/^Time: .* records\/s/),
      "",
    ]);
    const back = fresh(".json");
    await workspace.must(["storage", "export", "--database", target, "--output", back]);
    expect(dataOf(back)).toEqual(dataOf(document));
    expect(readdirSync(workspace.folder).filter((name) => name.includes("importing"))).toEqual([]);
  });

  it("reads standard input, compressed or not", async () => {
    for (const stdin of [readFileSync(document), gzipSync(readFileSync(document))]) {
      const { stdout } = await workspace.must(["storage", "import", "--database", fresh(".db"), "--input", "-"], {
        stdin,
      });
      expect(stdout).toContain(
        "from standard input...\nReading JSON from standard input...\n✅ Imported 180 total records:",
      );
    }
  });

  it("updates, skips or refuses what is there", async () => {
    const target = fresh(".db");
    const run = (...words: string[]): ReturnType<Workspace["run"]> =>
      workspace.run(["storage", "import", "--database", target, "--input", document, ...words]);
    expect((await run()).status).toBe(0);
    expect((await run()).stdout).toContain("✅ Imported 180 total records:");
    expect(JSON.parse((await run("--json")).stdout)).toMatchObject({ inserted: 0, updated: 180 });
    expect((await run("--on-conflict", "skip")).stdout).toContain("✅ Imported 0 total records\nSkipped: 180\n");
    const refused = await run("--on-conflict", "error");
    expect([refused.status, refused.stderr]).toEqual([5, expect.stringContaining("[E_CONFLICT]")]);
  });

  it("changes nothing in a dry run: not a file that is not there, nor one without our migrations", async () => {
    const missing = fresh(".db");
    const unmigrated = fresh(".db");
    copyFileSync(source, unmigrated);
    const before = digest(unmigrated);
    for (const target of [missing, unmigrated]) {
      const { stdout } = await workspace.must([
        "storage",
        "import",
        "--database",
        target,
        "--input",
        document,
        "--dry-run",
      ]);
      expect(stdout).toContain("Dry run: would have imported 180 total records:\n  - Vectors: 48\n");
    }
    expect(existsSync(missing)).toBe(false);
    expect(digest(unmigrated)).toBe(before);
    expect(readdirSync(workspace.folder).filter((name) => /importing|-wal$|-shm$/.test(name))).toEqual([]);
  });

  it("makes the database where a symlink leads, and keeps the symlink", async () => {
    const target = fresh(".db");
    const link = fresh(".db");
    symlinkSync(target, link);
    await workspace.must(["storage", "import", "--database", link, "--input", document]);
    expect([lstatSync(link).isSymbolicLink(), lstatSync(target).isFile()]).toEqual([true, true]);
  });

  it.each(["-wal", "-journal"])("refuses a %s that SQLite would play into the new database", async (suffix) => {
    const target = fresh(".db");
    writeFileSync(target + suffix, "left by a database that was deleted");
    for (const words of [[], ["--dry-run"]]) {
      const outcome = await workspace.run(["storage", "import", "--database", target, "--input", document, ...words]);
      expect([outcome.status, outcome.stderr.split("\n")[0]]).toEqual([
        3,
        `Error: ${target}${suffix} is there, but its database is not [E_HOT_JOURNAL]`,
      ]);
    }
    expect(readdirSync(workspace.folder).filter((name) => name.startsWith(basename(target)))).toEqual([
      basename(target) + suffix,
    ]);
  });

  it("says nothing with --quiet, and one JSON object with --json", async () => {
    const quiet = await workspace.must([
      "storage",
      "import",
      "--database",
      fresh(".db"),
      "--input",
      document,
      "--quiet",
    ]);
    expect([quiet.stdout, quiet.stderr]).toEqual(["", ""]);
    const json = await workspace.must(["storage", "import", "--database", fresh(".db"), "--input", document, "--json"]);
    const result = JSON.parse(json.stdout) as { sections: Record<string, unknown> };
    expect(result).toMatchObject({
      total: 180,
      inserted: 180,
      updated: 0,
      rejected: 0,
      dryRun: false,
      sourceBackend: "sqlite",
    });
    expect(Object.keys(result.sections)).toHaveLength(15);
  });

  it("tells that another program re-serialised the document", async () => {
    const edited = fresh(".json");
    writeFileSync(edited, read(document).replaceAll("\n", ""));
    const { stdout, stderr } = await workspace.must([
      "storage",
      "import",
      "--database",
      fresh(".db"),
      "--input",
      edited,
      "--no-progress",
    ]);
    expect(withoutTimes(stderr)).toMatch(/^Warning: .*2\^53.*\n$/);
    expect(stdout).not.toContain("Warning");
    const log = await workspace.must([
      ...["storage", "import", "--database", fresh(".db"), "--input", edited, "--log-format", "json"],
    ]);
    // A slow machine's log has lines of progress, too.
    const lines = log.stderr.trim().split("\n");
    const warnings = lines.map((line) => JSON.parse(line)).filter(({ level }) => level === "warning");
    expect(warnings).toMatchObject([{ message: expect.stringContaining("2^53") }]);
  });

  const broken: [string, (text: string) => string, number, string, RegExp][] = [
    [
      "no JSON",
      () => "hello",
      4,
      "Error: Failed to parse export JSON [E_DOCUMENT_PARSE]",
      /Caused by: expected value at line 1 column 1/,
    ],
    ["cut", (text) => text.slice(0, -100), 4, "[E_DOCUMENT_TRUNCATED]", /Hint: /],
    ["two documents", (text) => text + text, 4, "[E_DOCUMENT_TRAILING]", /./],
    ["version 2", (text) => text.replace('"version":"1.0"', '"version":"2.0"'), 4, "[E_DOCUMENT_VERSION]", /./],
    [
      "a changed value",
      (text) => text.replace('"status":"', '"status": "'),
      4,
      "[E_DOCUMENT_MANIFEST]",
      /Hint: .*--no-verify-manifest/,
    ],
    [
      "a short vector",
      (text) => {
        const edited = JSON.parse(text) as { data: { vector_embeddings: Record<string, { embedding: string }[]> } };
        const [first] = edited.data.vector_embeddings["1536"] ?? [];
        if (first !== undefined) first.embedding = Buffer.alloc(768 * 4).toString("base64");
        return JSON.stringify(edited);
      },
      4,
      "Error: Dimension mismatch: expected 1536, got 768 [E_DIMENSION_MISMATCH]",
      /at section vector_embeddings\.1536, record id=[0-9a-f-]{36}, field embedding/,
    ],
    [
      "an artifact without its session",
      (text) => text.replace(/"sessions":\[\n.*?\n\]/s, '"sessions":[]').replaceAll("\n", ""),
      5,
      "Error: Failed to import artifacts [E_ORPHAN]",
      /Caused by: Foreign key constraint violation: /,
    ],
  ];
  it.each(broken)("refuses %s and makes no database", async (_name, edit, status, first, more) => {
    const input = fresh(".json");
    const target = fresh(".db");
    writeFileSync(input, edit(read(document)));
    const outcome = await workspace.run(["storage", "import", "--database", target, "--input", input]);
    expect([outcome.status, outcome.stderr]).toEqual([status, expect.stringContaining(first)]);
    expect(outcome.stderr).toMatch(more);
    expect(outcome.stderr).not.toMatch(/\n\s+at .*\.js/);
    expect(existsSync(target)).toBe(false);
    expect(readdirSync(workspace.folder).filter((name) => name.includes("importing"))).toEqual([]);
  });

  it("shows the stack with --verbose, and the error as JSON with --json", async () => {
    const verbose = await workspace.run([
      "storage",
      "import",
      "--database",
      fresh(".db"),
      "--input",
      "missing.json",
      "--verbose",
    ]);
    expect([verbose.status, verbose.stderr]).toEqual([2, expect.stringMatching(/\n\s+at .*\.js:/)]);
    const json = await workspace.run([
      "storage",
      "import",
      "--database",
      fresh(".db"),
      "--input",
      "missing.json",
      "--json",
    ]);
    expect(JSON.parse(json.stdout)).toMatchObject({ error: { code: "E_INPUT_NOT_FOUND", exitStatus: 2 } });
  });

  it("ends at the second signal, whatever it waits for", async () => {
    const fifo = fresh(".fifo");
    execFileSync("mkfifo", [fifo]);
    writeFileSync(
      workspace.path("opens.mjs"),
      `import { writeFileSync } from "node:fs";
       import { open } from "node:fs/promises";
       const transform = () => {
         setImmediate(() => writeFileSync("opening", ""));
         return open(${JSON.stringify(fifo)});
       };
       export default { name: "opens", sections: ["kv_store"], drops: false, transform };`,
    );
    const words = ["--database", fresh(".db"), "--input", document, "--plugin", "./opens.mjs"];
    // A thread waits for a writer of the FIFO, and process.exit would wait for the thread.
    const child = workspace.start(["storage", "import", ...words]);
    while (!existsSync(workspace.path("opening"))) await new Promise((done) => setTimeout(done, 20));
    const exit = once(child, "exit");
    const timer = setInterval(() => child.kill("SIGINT"), 200);
    expect(await exit).toEqual([null, "SIGINT"]);
    clearInterval(timer);
  });

  it.skipIf(process.platform !== "linux")("ends an export that nobody reads at the first signal", async () => {
    const { stdout } = await workspace.bash(
      `mkfifo stalled
       sleep 60 < stalled & reader=$!
       llmspell storage export --database source.db --output - > stalled 2> errors & export=$!
       while kill -0 $export && ! grep -q Exporting errors; do sleep 0.1; done
       sleep 1
       kill -TERM $export
       wait $export || echo $?
       kill $reader`,
    );
    expect(stdout).toBe("143\n");
  });

  it("waits for a reader of its rejects no longer than for the first signal", async () => {
    const fifo = fresh(".fifo");
    execFileSync("mkfifo", [fifo]);
    const words = ["--database", fresh(".db"), "--input", document, "--on-error", "skip", "--rejects", fifo];
    const child = workspace.start(["storage", "import", ...words]);
    await once(child.stdout as NodeJS.ReadableStream, "data");
    child.kill("SIGINT");
    expect((await outcomeOf(child)).status).toBe(130);
  });

  it("is undone by SIGINT", async () => {
    const target = fresh(".db");
    const before = readFileSync(document).subarray(0, 200_000);
    const words = ["--database", target, "--input", "-", "--no-progress"];
    const child = workspace.start(["storage", "import", ...words], { stdin: "" });
    // The input stays open, so the run waits for the rest of the document.
    child.stdin?.write(before);
    await once(child.stdout as NodeJS.ReadableStream, "data");
    child.kill("SIGINT");
    const outcome = await outcomeOf(child);
    expect([outcome.status, outcome.stderr]).toEqual([130, "Error: interrupted [E_INTERRUPTED]\n"]);
    expect(existsSync(target)).toBe(false);
  });
});

describeWithTools(["jq"], "rejected records", () => {
  it("are written with their reasons, and import after repair as the documentation says", async () => {
    const bad = workspace.path("bad.db");
    copyFileSync(source, bad);
    const database = new Database(bad);
    database.exec(
      `UPDATE kv_store SET created_at = 'yesterday' WHERE rowid = 1; UPDATE hook_history SET result_data = '{"a":' WHERE rowid = 2`,
    );
    database.close();
    const output = fresh(".json");
    const words = ["--database", bad, "--output", output, "--no-progress"];
    const stopped = await workspace.run(["storage", "export", ...words]);
    expect([stopped.status, existsSync(output)]).toEqual([4, false]);
    expect(stopped.stderr).toMatch(
      /^Error: .* \[E_FIELD_TYPE\]\n {2}at section kv_store, record kv_id=.*, field created_at\n/,
    );

    const rejects = fresh(".ndjson");
    writeFileSync(rejects, '{"section":"left from the last run"}\n', { mode: 0o644 });
    const { status, stdout, stderr } = await workspace.run([
      ...["storage", "export", "--database", bad, "--output", output, "--on-error", "skip", "--rejects", rejects],
    ]);
    expect(status).toBe(6);
    expect(stdout).toContain("✅ Exported 178 total records:");
    expect(stdout).toContain("Rejected: 2\n");
    expect(stderr).toContain("Error: 2 records were rejected [E_REJECTED]");
    expect(statSync(rejects).mode & 0o777).toBe(0o600);
    const json = await workspace.run([
      ...["storage", "export", "--database", bad, "--output", output, "--on-error", "skip", "--json"],
    ]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      total: 178,
      rejected: 2,
      error: { code: "E_REJECTED", exitStatus: 6 },
    });
    const lines = read(rejects)
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toMatchObject([
      {
        section: "kv_store",
        key: expect.stringMatching(/^kv_id=/),
        field: "created_at",
        code: "E_FIELD_TYPE",
        reason: expect.any(String),
      },
      { section: "hook_history", field: "result_data", code: "E_INVALID_JSON" },
    ]);
    expect(lines[0]?.["record"]).toMatchObject({ tenant_id: expect.any(String), created_at: "yesterday" });
  });

  it("are not written over anything else, by whatever name", async () => {
    const input = fresh(".json");
    copyFileSync(document, input);
    const [symlink, link, target] = [fresh(".ndjson"), fresh(".ndjson"), fresh(".db")];
    symlinkSync(input, symlink);
    linkSync(input, link);
    for (const rejects of [input, symlink, link, source]) {
      const words = ["--database", target, "--input", input, "--on-error", "skip", "--rejects", rejects];
      const { status, stderr } = await workspace.run(["storage", "import", ...words]);
      expect([status, stderr]).toEqual([2, expect.stringMatching(/^Error: .*\[E_(OUTPUT_EXISTS|USAGE)\]\n/)]);
    }
    expect([digest(input), existsSync(target)]).toEqual([digest(document), false]);
  });

  it("are repaired with jq", async () => {
    // A document whose session has a bad id: rejected on import, with everything that the session needs in its record.
    const edited = fresh(".json");
    const parsed = JSON.parse(read(document)) as { data: { sessions: { session_id: string }[]; artifacts?: unknown } };
    delete parsed.data.artifacts;
    (parsed.data.sessions[0] as { session_id: string }).session_id = "first";
    writeFileSync(edited, JSON.stringify(parsed, null, 2));
    const target = fresh(".db");
    const words = [
      "storage",
      "import",
      "--database",
      target,
      "--input",
      edited,
      "--on-error",
      "skip",
      "--rejects",
      "rejects.ndjson",
    ];
    expect(await workspace.run(words)).toMatchObject({ status: 6 });
    const recipe = /jq -s '.*?' rejects\.ndjson > repaired\.json/s.exec(readFileSync("docs/errors.md", "utf8"))?.[0];
    await workspace.bash(
      `${recipe}
       sed -i 's/"first"/"0e2f0000-0000-4000-8000-000000000001"/' repaired.json
       llmspell storage import --database ${target} --input repaired.json`,
    );
    const database = new Database(target, { readonly: true });
    expect(database.prepare("SELECT count(*) FROM sessions").pluck().get()).toBe(RECORDS);
    database.close();
  });
});

describe("storage migrate and info", () => {
  it("copies without a file between", async () => {
    const target = fresh(".db");
    const { stdout } = await workspace.must(["storage", "migrate", "--from", source, "--to", target]);
    expect(stdout).toContain(
      `Migrating data from sqlite:${source} to sqlite:${target}...\n✅ Migrated 180 total records:\n  - Vectors: 48\n`,
    );
    const back = fresh(".json");
    await workspace.must(["storage", "export", "--database", target, "--output", back]);
    expect(dataOf(back)).toEqual(dataOf(document));
  });

  it("says what a database and a document hold", async () => {
    const before = digest(source);
    const database = await workspace.must(["storage", "info", source]);
    expect(database.stdout).toContain("Records: 180\n");
    expect(database.stdout).toMatch(/ {2}sessions +12 +[\d.]+ kB/);
    expect(database.stdout).toContain("vec_embeddings_384 (ordinary), vec_embeddings_768 (vec0)");
    expect(database.stdout).toContain("An export would take every record.");
    expect(digest(source)).toBe(before);
    const { stdout } = await workspace.must(["storage", "info", document, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      records: 180,
      bytes: statSync(document).size,
      sourceBackend: "sqlite",
      sections: { "vector_embeddings.384": { records: RECORDS }, sessions: { records: RECORDS } },
      obstacles: [],
    });
  });

  it("says what an export would meet", async () => {
    const { stdout } = await workspace.must(["storage", "info", workspace.path("bad.db")]);
    expect(stdout).toContain("  1 in kv_store, field created_at [E_FIELD_TYPE], first: kv_id=");
    expect(stdout).toContain("  1 in hook_history, field result_data [E_INVALID_JSON], first: execution_id=");
  });
});
