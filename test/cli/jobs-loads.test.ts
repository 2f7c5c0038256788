/** `--jobs` of loads into SQLite, and of rewrite: the same target, the same document, the same words, whatever number of threads read. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import * as sqliteVec from "sqlite-vec";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { sqliteDigest } from "../helpers/content-digest.js";
import { createWorkspace, type Outcome, type Workspace, withoutTimes } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { scaled } from "../helpers/scale.js";

let workspace: Workspace;

const MANY_ROWS = `
  INSERT INTO kv_store (kv_id, tenant_id, key, value, metadata, created_at, updated_at)
  WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1500)
  SELECT printf('%08x-0000-4000-8000-%012x', n * 7919 % 65536 * 40503 % 1048573, n), 'tenant-' || (n % 7), 'key ' || n,
         CAST(printf('%.*c', 4000 + n % 200, 'v') AS BLOB), '{"n":' || n || '}', 1767225600, 1767225600 + n FROM n;`;

beforeAll(async () => {
  workspace = createWorkspace();
  const path = workspace.path("a.db");
  createLlmspellSqlite(path);
  fillSqlite(path, { records: 12, contentSizes: [0, 10, 1048576, 3_000_000] });
  await workspace.must(["database", "migrate", "--database", "empty.db"]);
  const database = new Database(path);
  database.exec(MANY_ROWS);
  database.close();
  for (const [output, ...words] of [["a.json"], ["table.json.zst", "--order", "table"], ["dir/", "--part-size", "1MB"]])
    await workspace.must(["storage", "export", "--database", "a.db", "--output", output as string, ...words]);
  // As another program prints it.
  await workspace.bash(
    "jq -c . a.json > foreign.json; jq '.data = {sessions: .data.sessions, kv_store: .data.kv_store}' a.json > sorted.json",
  );
  writeFileSync(
    workspace.path("counting.mjs"),
    `let n = 0;
     export default { name: "counting", sections: ["kv_store"], drops: false, transform: (record) => ({ ...record, key: record.key + " " + ++n }) };`,
  );
  writeFileSync(
    workspace.path("throwing.mjs"),
    `let n = 0;
     export default { name: "throwing", sections: ["kv_store"], drops: false, parallel: true,
       transform: (record) => { if (record.key === "key 1234") throw new Error("no more"); return record; } };`,
  );
});
afterAll(() => workspace[Symbol.dispose]());

/** Lines of standard error but those that say when, and which target it was. */
function said({ stderr }: Outcome): string[] {
  return withoutTimes(stderr)
    .split("\n")
    .filter((line) => !/^(Time|To): |\d+Z building index/.test(line))
    .map((line) => line.replaceAll(/[123]\.db/g, "N.db"));
}

/** Loads with one job and with several; the outcomes, and what the targets hold, with the places of the rows. */
async function loaded(words: readonly string[], jobs: readonly string[], before = "empty.db") {
  const outcomes: Outcome[] = [];
  const targets: string[] = [];
  for (const each of jobs) {
    const target = `${each}.db`;
    for (const end of ["", "-wal", "-shm"]) rmSync(workspace.path(`${target}${end}`), { force: true });
    copyFileSync(workspace.path(before), workspace.path(target));
    const command = ["storage", ...words, words[0] === "migrate" ? "--to" : "--database", target];
    outcomes.push(await workspace.run([...command, "--no-progress", "--jobs", each]));
    targets.push(contentOf(workspace.path(target)));
  }
  return { outcomes, targets };
}

/** All rows in their places, but when migrations were applied. `id`: a number of SQLite's own, or one that llmspell makes anew for each row. */
function contentOf(path: string): string {
  const database = new Database(path, { readonly: true });
  try {
    sqliteVec.load(database);
    database.defaultSafeIntegers();
    const hash = createHash("sha256");
    const tables = database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%migrations' ORDER BY name")
      .pluck()
      .all();
    for (const table of tables) {
      const columns = database
        .prepare(`SELECT name FROM pragma_table_info('${table}') WHERE name <> 'id'`)
        .pluck()
        .all();
      const rows = database.prepare(
        `SELECT rowid, ${columns.map((name) => `"${name}"`).join()} FROM "${table}" ORDER BY rowid`,
      );
      for (const row of rows.raw().iterate() as Iterable<unknown[]>)
        for (const value of row) hash.update(Buffer.isBuffer(value) ? value : `${typeof value}:${value}\n`);
    }
    return hash.digest("hex");
  } finally {
    database.close();
  }
}

function expectSame<T>(all: readonly T[]): void {
  // A difference of megabytes is not to be printed.
  for (const each of all) expect(shortened(each)).toBe(shortened(all[0]));
}

function shortened(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length < 5000 ? text : createHash("sha256").update(text).digest("hex");
}

describe("a load into SQLite with --jobs", () => {
  it.each(
    [
      ["another database", ["migrate", "--from", "a.db"], ["1", "2", "3"]],
      ["a document", ["import", "--input", "a.json"], ["1", "2"]],
      ["a directory, and jq", ["import", "--input", "dir/", "--jq", "kv_store: .metadata.seen = true"], ["1", "3"]],
      [
        "a foreign document",
        ["import", "--input", "foreign.json", "--include", "kv_store", "--include", "sessions"],
        ["1", "2"],
      ],
      [
        "a compressed one, and a step that drops",
        ["import", "--input", "table.json.zst", "--jq", 'sessions: select(.tenant_id == "tenant-1")'],
        ["1", "2"],
      ],
      [
        "a database, and a plugin that needs all records",
        ["migrate", "--from", "a.db", "--plugin", "./counting.mjs"],
        ["1", "3"],
      ],
      ["a document, and such a plugin", ["import", "--input", "a.json", "--plugin", "./counting.mjs"], ["1", "2"]],
      [
        "a document with other names of tenants",
        ["import", "--input", "a.json", "--map-tenant", "tenant-1=b"],
        ["1", "2"],
      ],
    ].slice(0, scaled(4, 99)) as [string, string[], string[]][],
  )("gives the target of one job: %s", async (_, words, jobs) => {
    const { outcomes, targets } = await loaded(words, jobs);
    expect(outcomes.map(({ status, stderr }) => [status, stderr.includes("no effect")])).toEqual(
      jobs.map(() => [0, false]),
    );
    expect(targets[0]).not.toBe(contentOf(workspace.path("empty.db")));
    expectSame(targets);
    expectSame(outcomes.map(said));
    for (const { stdout, stderr } of outcomes) expect(stdout + stderr).not.toContain("A run with");
  });

  it("gives the target of one job, whatever else is asked for", async () => {
    const seed = Number(process.env.JOBS_SEED ?? Date.now() % 1_000_000);
    let state = seed;
    const pick = <Item>(items: readonly Item[]): Item => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return items[(state >>> 8) % items.length] as Item;
    };
    for (let run = 0; run < scaled(1, 12); run++) {
      const words = [
        ...pick([
          ["migrate", "--from", "a.db"],
          ["import", "--input", "a.json"],
          ["import", "--input", "table.json.zst"],
          ["import", "--input", "dir/"],
        ]),
        ...pick([
          [],
          ["--tenant", "tenant-1"],
          ["--exclude", "kv_store"],
          ["--include", "kv_store", "--include", "sessions"],
        ]),
        ...pick([[], ["--jq", "kv_store: .metadata.seen = true"], ["--plugin", "./counting.mjs"], ["--limit", "20"]]),
        ...pick([[], ["--on-error", "skip"], ["--digests"], ["--dry-run"]]),
        ...pick([[], ["--map-tenant", "tenant-1=b"], ["--jq", 'sessions: select(.tenant_id != "tenant-2")']]),
        ...pick([[], ["--invalid-uuid", "derive"], ["--vectors-as", "vec0"]]),
      ];
      const { outcomes, targets } = await loaded(words, ["1", pick(["2", "3"])]);
      const what = (index: number): string => JSON.stringify([seed, words, outcomes[index]?.status, targets[index]]);
      expect(what(1)).toBe(what(0));
      const told = outcomes.map((outcome) => said(outcome).filter((line) => !line.includes("has no effect")));
      expect(told[1]).toEqual(told[0]);
    }
  });

  it("is allowed where it has no effect, and says so", async () => {
    const { stdout } = await workspace.bash(
      "llmspell storage import --database piped.db --input - --jobs 2 < a.json 2>&1 | grep -c 'has no effect: a stream is read by one thread'",
    );
    expect(stdout).toBe("1\n");
    const { status, stderr } = await workspace.run([
      "storage",
      "import",
      "--database",
      "limited.db",
      "--input",
      "a.json",
      "--jobs",
      "auto",
      "--limit",
      "3",
      "--verbose",
    ]);
    expect(status).toBe(0);
    expect(stderr).toContain("One job: a limit counts the records as they come");
  });

  it("updates, prunes and rejects as one job does", async () => {
    const old = new Database(workspace.path("a.db"));
    old.exec("VACUUM INTO 'OLD'".replace("OLD", workspace.path("old.db")));
    old.close();
    const changed = new Database(workspace.path("old.db"));
    changed.exec(`DELETE FROM kv_store WHERE rowid % 3 = 0; UPDATE kv_store SET metadata = '{"old":true}' WHERE rowid % 5 = 0;
      INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at)
      VALUES ('00000000-0000-4000-8000-ffffffffffff', 't', 'gone', x'00', 1767225600, 1767225600)`);
    changed.close();
    const bad = readFileSync(workspace.path("a.json"), "utf8").replace('"key":"key 77"', '"key":77');
    writeFileSync(workspace.path("bad.json"), bad);
    const skip = ["--on-error", "skip", "--no-verify-manifest"];
    const rejects: string[] = [];
    for (const words of [
      ["import", "--input", "a.json", "--prune"],
      ["import", "--input", "bad.json", ...skip, "--rejects", "rejects.ndjson"],
      ["migrate", "--from", "a.db", "--on-conflict", "skip"],
    ].slice(0, scaled(2, 3))) {
      const { outcomes, targets } = await loaded(words, ["1", "2"], "old.db");
      expect(outcomes.map(({ status }) => status)).toEqual(
        words.includes("skip") && words[0] === "import" ? [6, 6] : [0, 0],
      );
      expectSame(targets);
      expectSame(outcomes.map(said));
      if (words.includes("--prune")) expect(outcomes[1]?.stdout).toContain("1");
      if (existsSync(workspace.path("rejects.ndjson")))
        rejects.push(readFileSync(workspace.path("rejects.ndjson"), "utf8"));
    }
    expect(rejects[0]).toContain("key 77".replace("key ", ""));
    const one = ["storage", "export", "--database", "a.db", "--tenant", "tenant-1", "--output", "one.json"];
    await workspace.must(one);
    const { outcomes } = await loaded(["import", "--input", "one.json", "--prune"], ["1", "2"], "old.db");
    expect(outcomes.map(({ status }) => status)).toEqual([2, 2]);
    expectSame(outcomes.map(said));
  });

  it("loads nothing of what a thread finds wrong", async () => {
    const spoil = (path: string): void => {
      const bytes = readFileSync(path);
      bytes.write("0", bytes.indexOf('"key":"key 999"') + 11);
      writeFileSync(path, bytes);
    };
    copyFileSync(workspace.path("a.json"), workspace.path("damaged.json"));
    spoil(workspace.path("damaged.json"));
    const { stdout } = await workspace.bash(
      `rm -rf damaged cut; cp -r dir damaged; cp -r dir cut; cd damaged; grep -l '"key":"key 999"' part-*; ls | grep part- | tail -1`,
    );
    const [spoilt, cut] = stdout.trim().split("\n") as [string, string];
    spoil(workspace.path(join("damaged", spoilt)));
    const short = workspace.path(join("cut", cut));
    writeFileSync(short, readFileSync(short).subarray(0, -50));
    const cases: [string[], string][] = [
      [["import", "--input", "damaged.json"], "E_DOCUMENT_MANIFEST"],
      [["import", "--input", "damaged/"], "E_DOCUMENT_MANIFEST"],
      [["import", "--input", "cut/"], "E_DOCUMENT"],
      [["migrate", "--from", "a.db", "--plugin", "./throwing.mjs"], "E_PLUGIN"],
      [["import", "--input", "dir/", "--jq", 'kv_store: if .key == "key 1234" then error("x") else . end'], "E_JQ"],
    ];
    for (const [words, code] of cases) {
      const { outcomes, targets } = await loaded(words, ["1", "3"]);
      expect(outcomes[1]?.stderr).toContain(code);
      for (const each of targets) expect(each).toBe(contentOf(workspace.path("empty.db")));
      expectSame(outcomes.map(({ status }) => status));
      expectSame(outcomes.map(said));
    }
  });

  it("leaves the target as it was after Ctrl-C and SIGKILL", async () => {
    const before = new Database(workspace.path("before.db"));
    before.close();
    await workspace.must(["storage", "import", "--database", "kept.db", "--input", "a.json", "--include", "sessions"]);
    const content = sqliteDigest(workspace.path("kept.db"));
    for (const [signal, wait] of [
      ["SIGINT", 1],
      ["SIGKILL", 1],
      ["SIGKILL", 60],
    ] as const) {
      const child = workspace.start(["storage", "import", "--database", "kept.db", "--input", "a.json", "--jobs", "2"]);
      const outcome = once(child, "close");
      while (!existsSync(workspace.path("kept.db-wal")) && child.exitCode === null) await sleep(1);
      await sleep(wait);
      child.kill(signal);
      const [status, by] = await outcome;
      // It may have come to its end before.
      if (status === 0) continue;
      expect([status ?? by]).toEqual([signal === "SIGINT" ? 130 : "SIGKILL"]);
      expect(sqliteDigest(workspace.path("kept.db"))).toBe(content);
    }
  });
});

describePostgres("a load from PostgreSQL into SQLite with --jobs", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
    await workspace.must(["database", "migrate", "--database", database.url]);
    const words = ["storage", "migrate", "--from", "a.db", "--to", database.url, "--invalid-uuid", "derive"];
    await workspace.must(words);
  });
  afterAll(() => database.drop());

  it("gives the target of one job", async () => {
    const { outcomes, targets } = await loaded(["migrate", "--from", database.url], ["1", "3"]);
    expect(outcomes.map(({ status }) => status)).toEqual([0, 0]);
    expectSame(targets);
    expectSame(outcomes.map(said));
  });
});

describe("rewrite with --jobs", () => {
  /** The document, or all files of the directory. */
  function written(name: string): string {
    const path = workspace.path(name);
    if (!existsSync(path)) return "none";
    if (!name.endsWith("/")) return readFileSync(path, "utf8");
    const parts = readdirSync(path).filter((each) => each.startsWith("part-"));
    return parts.map((each) => readFileSync(join(path, each), "utf8")).join("\n");
  }

  it.each(
    [
      ["a document", "a.json", []],
      ["a directory", "dir/", []],
      ["steps", "a.json", ["--jq", "kv_store: .metadata.seen = true", "--map-tenant", "tenant-1=b"]],
      [
        "steps on a directory",
        "dir/",
        ["--jq", "kv_store: .metadata.seen = true", "--tenant", "tenant-1", "--tenant", "nobody"],
      ],
      ["a plugin that needs all records", "a.json", ["--plugin", "./counting.mjs"]],
      ["a step that drops", "dir/", ["--jq", 'sessions: select(.tenant_id == "tenant-1")']],
      ["sections in another order", "sorted.json", []],
      ["digests", "dir/", ["--digests"]],
    ].slice(0, scaled(4, 99)) as [string, string, string[]][],
  )("writes the document of one job: %s", async (_, input, words) => {
    const outcomes: Outcome[] = [];
    const documents: string[] = [];
    for (const jobs of ["1", "3"]) {
      const command = ["storage", "rewrite", "--input", input, "--output", "out.json", "--no-progress", "--jobs", jobs];
      outcomes.push(await workspace.run([...command, ...words]));
      documents.push(written("out.json"));
    }
    expect(outcomes.map(({ status }) => status)).toEqual([0, 0]);
    expectSame(documents);
    expectSame(outcomes.map((outcome) => said(outcome).filter((line) => !line.includes("has no effect"))));
  });

  it("leaves nothing where a thread finds something wrong", async () => {
    for (const input of ["a.json", "dir/"]) {
      const outcomes: Outcome[] = [];
      for (const jobs of ["1", "2"])
        outcomes.push(
          await workspace.run([
            "storage",
            "rewrite",
            "--input",
            input,
            "--output",
            "none.json",
            "--jobs",
            jobs,
            "--plugin",
            "./throwing.mjs",
          ]),
        );
      expect(outcomes[1]?.stderr).toContain("E_PLUGIN");
      expectSame(outcomes.map(said));
      expect(readdirSync(workspace.folder).filter((name) => name.includes("none.json"))).toEqual([]);
    }
  });

  it.each(["1", "2"].slice(-scaled(1, 2)))(
    "keeps the mark of records that are in no order, with %s jobs",
    async (jobs) => {
      await workspace.bash("rm -rf t1 t2");
      for (const [input, output] of [
        ["table.json.zst", "t.json"],
        ["t.json", "t1/"],
        ["table.json.zst", "t2/"],
        ["t2/", "t3.json"],
        ["a.json", "u.json"],
      ] as const) {
        await workspace.must(["storage", "rewrite", "--input", input, "--output", output, "--jobs", jobs]);
        const marks = written(output).split('"order":"table"').length - 1;
        const arrays = written(output).split('"sha256":').length - 1;
        expect([output, marks]).toEqual([output, output === "u.json" ? 0 : arrays]);
      }
    },
  );

  it("refuses to replace the directory that standard input is a part of", async () => {
    const { stdout } = await workspace.bash(
      `set +e; cp -r dir own; llmspell storage rewrite --input - --output own/ < own/$(ls own | grep part- | head -1) 2>&1; echo $?; ls own | wc -l; ls dir | wc -l`,
    );
    expect(stdout).toContain("the document would be written over itself [E_USAGE]");
    const [status, now, before] = stdout.trim().split("\n").slice(-3);
    expect([status, now]).toEqual(["2", before]);
  });
});
