// Memory must not grow with the data. Moves databases of two sizes, and one with an artifact of 100 MiB, through
// SQLite -> document -> PostgreSQL -> document -> SQLite by the command line, and takes each process's peak RSS.
//
//   node bench/soak-rss.mjs            200 MB and 3 GB documents; writes bench/RESULTS.md; about 20 GB of disk in TMPDIR
//   node bench/soak-rss.mjs --smoke    a few MB, bounds not checked, nothing written
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import "../test/helpers/typescript-hooks.mjs";
import { circumstances, measureLlmspell, table } from "./lib/measure.mjs";
import { writeSection } from "./lib/results.mjs";

const { createLlmspellSqlite } = await import("../test/fixtures/index.ts");
const { fillSqlite } = await import("../test/helpers/sample-data.ts");
const { startPostgresCluster } = await import("../test/helpers/postgres-cluster.ts");

const smoke = process.argv.includes("--smoke");
const MIB = 1048576;

/** Rows that make a document of about 1 GB, most of them in tables without an HNSW index. */
const PER_GIGABYTE = {
  vector_embeddings_384: 4000,
  vector_embeddings_768: 2000,
  vector_embeddings_1536: 700,
  vector_embeddings_3072: 20000,
  entities: 17000,
  relationships: 17000,
  procedural_patterns: 17000,
  agent_states: 17000,
  kv_store: 50000,
  workflow_states: 17000,
  sessions: 17000,
  artifact_content: 33000,
  artifacts: 33000,
  event_log: 66000,
  hook_history: 33000,
};

function sample(gigabytes, contentSizes) {
  const counts = Object.entries(PER_GIGABYTE).map(([name, rows]) => [name, Math.max(6, Math.round(rows * gigabytes))]);
  return { counts: Object.fromEntries(counts), contentSizes, padding: 2000, seed: `soak ${gigabytes}` };
}

const cases = smoke
  ? [
      { name: "small", options: sample(0.002, [3 * MIB]) },
      { name: "larger", options: sample(0.004, [3 * MIB]) },
    ]
  : [
      { name: "200 MB", options: sample(0.2, [3 * MIB]) },
      { name: "3 GB", options: sample(3, [3 * MIB]) },
      { name: "100 MiB artifact", options: sample(0.02, [100 * MIB]) },
    ];

/** SHA-256 of the document's `data` part, read as a stream. */
async function dataDigest(path) {
  const hash = createHash("sha256");
  let head = "";
  let pending = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: MIB })) {
    let bytes = chunk;
    if (head !== undefined) {
      head += chunk.toString("latin1");
      const at = head.indexOf('"data":');
      if (at < 0) continue;
      bytes = Buffer.from(head.slice(at), "latin1");
      head = undefined;
    }
    // The manifest stands in the last kilobytes.
    const all = Buffer.concat([pending, bytes]);
    const keep = Math.min(all.length, 65536);
    hash.update(all.subarray(0, all.length - keep));
    pending = all.subarray(all.length - keep);
  }
  hash.update(pending.subarray(0, pending.lastIndexOf('"manifest":')));
  return hash.digest("hex");
}

const folder = mkdtempSync(join(tmpdir(), "llmspell-soak-"));
const cluster = await startPostgresCluster();
const rows = [];
const peaks = new Map();
try {
  for (const [index, { name, options }] of cases.entries()) {
    const path = (file) => join(folder, `${index}-${file}`);
    const database = new URL(cluster.url);
    database.pathname = `/soak_${index}`;
    const run = (what, args, store) => {
      const { seconds, rssMegabytes } = measureLlmspell([...args, "--quiet"], { cwd: folder });
      const megabytes = statSync(path("a.json")).size / 1e6;
      peaks.set(`${name}: ${what}`, rssMegabytes);
      rows.push([
        name,
        what,
        megabytes.toFixed(0),
        seconds.toFixed(1),
        (megabytes / seconds).toFixed(0),
        rssMegabytes.toFixed(0),
      ]);
      console.log(rows.at(-1).join("\t"), store ?? "");
    };
    console.log(`making ${name} …`);
    createLlmspellSqlite(path("a.db"));
    fillSqlite(path("a.db"), options);
    await createDatabase(cluster.url, `soak_${index}`);
    measureLlmspell(["database", "migrate", "--database", database.href], { cwd: folder });

    run("export from SQLite", ["storage", "export", "--database", path("a.db"), "--output", path("a.json")]);
    run("import into PostgreSQL", ["storage", "import", "--database", database.href, "--input", path("a.json")]);
    rmSync(path("a.db"));
    run("export from PostgreSQL", ["storage", "export", "--database", database.href, "--output", path("b.json")]);
    run("import into SQLite", ["storage", "import", "--database", path("b.db"), "--input", path("b.json")]);
    measureLlmspell(["storage", "export", "--database", path("b.db"), "--output", path("c.json"), "--quiet"], {
      cwd: folder,
    });
    if ((await dataDigest(path("b.json"))) !== (await dataDigest(path("c.json"))))
      throw new Error(`${name}: the data differ`);
    for (const file of ["a.json", "b.json", "c.json", "b.db"]) rmSync(path(file));
    await dropDatabase(cluster.url, `soak_${index}`);
  }
} finally {
  cluster.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function onServer(url, sql) {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(sql);
  await client.end();
}

function createDatabase(url, name) {
  return onServer(url, `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`);
}

function dropDatabase(url, name) {
  return onServer(url, `DROP DATABASE ${name} WITH (FORCE)`);
}

const result = table(["data", "run", "document MB", "s", "MB/s", "peak RSS MB"], rows);
console.log(`\n${result}`);

if (!smoke) {
  const problems = [];
  for (const [what, rss] of peaks) {
    const limit = what.startsWith("100 MiB") && what.includes("SQLite") ? 400 : 200;
    if (rss >= limit) problems.push(`${what}: ${rss.toFixed(0)} MB, the bound is ${limit} MB`);
  }
  for (const what of ["export from SQLite", "import into PostgreSQL", "export from PostgreSQL", "import into SQLite"]) {
    const growth = peaks.get(`3 GB: ${what}`) / peaks.get(`200 MB: ${what}`);
    if (growth > 1.15) problems.push(`${what}: grows by ${((growth - 1) * 100).toFixed(0)} % from 200 MB to 3 GB`);
  }
  writeSection(
    "soak-rss",
    `## Peak memory (soak-rss)

\`npm run bench -- soak-rss\` (\`/usr/bin/time -v node dist/cli.js storage …\`; the peak of the
resident set in 10^6 bytes). ${circumstances()}. The server runs on the same machine with fsync off.
Bounds: 200 MB; 400 MB for an artifact of 100 MiB on SQLite, whose driver binds a BLOB whole; 3 GB within 15 % of 200 MB.

${result}

${problems.length === 0 ? "All within the bounds." : problems.map((problem) => `- NOT MET: ${problem}`).join("\n")}`,
  );
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
