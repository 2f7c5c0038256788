/** Command lines and config.toml files, sensible and not: a documented status, no stack, nothing left. */
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { EXIT } from "../../src/errors.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, outcomeOf } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { Findings, type FuzzOptions, HANG_MILLISECONDS, mutateBytes, Random } from "./fuzz.js";

const COMMANDS = [
  "storage export",
  "storage import",
  "storage migrate",
  "storage info",
  "database migrate",
  "database health",
  "database migrations list",
  "storage",
  "",
  "nothing",
  "database export",
];
const NAMES = [
  "a.json",
  "b.json.gz",
  "c.json.zst",
  "-",
  "source.db",
  "sqlite:new.db",
  "new.db",
  "folder",
  "folder/x.json",
  "missing/x.json",
  "",
  " ",
  "/dev/null",
  "document.json",
  "garbage.db",
  "empty.db",
  "garbage.json",
  "postgresql://127.0.0.1:1/x",
  "postgres://u:pw@h:99999/x",
  "pglite:",
  "~",
  "~/x.json",
  "..",
  "\u001b[2J",
  "é😀.json",
  "x".repeat(300),
  "sqlite",
  "postgres",
  "http://x/",
  "pglite:folder",
];
const SECTIONS = ["sessions", "artifacts", "vector_embeddings.384", "nowhere", "", "data", "vector_embeddings"];
const VALUES: Readonly<Record<string, readonly string[]>> = {
  "--output": NAMES,
  "--input": NAMES,
  "--from": NAMES,
  "--to": NAMES,
  "--database": NAMES,
  "--backend": ["sqlite", "postgres", "postgresql", "mysql", ""],
  "--include": SECTIONS,
  "--exclude": SECTIONS,
  "--tenant": ["tenant-a", "", "nobody", "\u0000".slice(1)],
  "--limit": ["1", "0", "-1", "1e9", "x", "99999999999999999999"],
  "--on-error": ["stop", "skip", "x"],
  "--rejects": NAMES,
  "--invalid-uuid": ["error", "derive", ""],
  "--source-mode": ["auto", "copy", "cursor"],
  "--compress": ["auto", "gzip", "zstd", "none", "xz"],
  "--vectors": ["base64", "json", "x"],
  "--vectors-as": ["blob", "vec0"],
  "--on-conflict": ["update", "skip", "error"],
  "--on-orphan": ["error", "drop"],
  "--defer-indexes": ["auto", "always", "never"],
  "--map-tenant": ["a=b", "tenant-a=b", "=", "a", "a=a"],
  "--jq": [
    ".",
    "sessions: .",
    "sessions: del(.status)",
    "]",
    "sessions: (",
    "nowhere: .",
    "",
    "sessions: .session_id = 1",
  ],
  "--mask": [
    "sessions.status=redact",
    "kv_store.key=hash",
    "kv_store.metadata.x=redact",
    "x",
    "a=b",
    "sessions.session_data=null",
  ],
  "--plugin": [
    "./missing.mjs",
    "events",
    "node:fs",
    "./plugin.mjs",
    "./plugin.mjs:{",
    './plugin.mjs:{"a":1}',
    "",
    ".",
    "document.json",
    "./document.json",
  ],
  "--plugin-timeout": ["1", "0", "x", "1e300"],
  "--jq-timeout": ["1", "0", "-1", "NaN"],
  "--log-format": ["text", "json", "xml"],
};
/** What makes a run of it. */
const SENSIBLE: Readonly<Record<string, readonly string[]>> = {
  "--output": ["a.json", "b.json.gz", "c.json.zst", "-"],
  "--input": ["document.json"],
  "--from": ["source.db", "source.db", "document.json"],
  "--to": ["new.db", "sqlite:other.db"],
  "--database": ["source.db", "new.db"],
  "--include": ["sessions", "artifacts"],
  "--exclude": ["vector_embeddings.384"],
  "--limit": ["1", "2"],
  "--rejects": ["rejects.ndjson"],
  "--on-error": ["skip"],
  "--mask": ["kv_store.metadata.x=redact"],
  "--plugin": ["./plugin.mjs"],
  "--map-tenant": ["a=b"],
};
const FLAGS = [
  "--quiet",
  "--verbose",
  "--json",
  "--no-progress",
  "--dry-run",
  "--force",
  "--no-cascade",
  "--cascade",
  "--no-verify-manifest",
  "--help",
  "--version",
  "--",
  "--nothing",
  "-x",
  "extra",
  "source.db",
  "document.json",
];
const CONFIG = [
  "[storage]",
  'backend = "sqlite"',
  'backend = "postgres"',
  "[storage.sqlite]",
  'path = "source.db"',
  'path = ""',
  'vectors = "vec0"',
  "[storage.postgresql]",
  'url = "postgresql://u:secret@127.0.0.1:1/x"',
  "connection_timeout_seconds = 0.1",
  "connection_timeout_seconds = 1e99",
  "port = 99999",
  "[transforms]",
  'on = ["export"]',
  'on = ["export", "import", "migrate"]',
  "[[transforms.steps]]",
  'jq = "."',
  'mask = "x"',
  'plugin = "./plugin.mjs"',
  'vectors = "json"',
  "jq_timeout_seconds = 0",
  "[transfroms]",
  "x = 1",
  "a.b = [1,",
  "host = 5",
  "[other]",
];
const STATUSES = new Set<number | null>(Object.values(EXIT));

function wordsOf(random: Random): string[] {
  const command = random.pick(random.chance(6) ? COMMANDS : COMMANDS.slice(0, 7));
  const words = command.split(" ").filter((word) => word !== "");
  const option = (name: string): void => {
    const values = VALUES[name] as readonly string[];
    const sensible = SENSIBLE[name] ?? values.slice(0, 2);
    const value = random.pick(random.chance(10) ? values : sensible);
    if (random.chance(4)) words.push(`${name}=${value}`);
    else words.push(name, ...(random.chance(60) ? [] : [value]));
  };
  const needed: Readonly<Record<string, readonly string[]>> = {
    "storage export": ["--output", "--database"],
    "storage import": ["--input", "--database"],
    "storage migrate": ["--from", "--to"],
  };
  for (const name of needed[command] ?? ["--database"]) if (!random.chance(10)) option(name);
  for (let count = random.integer(5); count > 0; count--) {
    if (random.chance(2)) words.push(random.pick(random.chance(4) ? FLAGS : FLAGS.slice(0, 9)));
    else option(random.pick(Object.keys(VALUES)));
  }
  return words.filter((word) => !word.includes("\u0000"));
}

export async function fuzzCommandLines(options: FuzzOptions): Promise<Findings> {
  const findings = new Findings();
  for (let run = 0; run < options.runs && findings.list.length <= 20; ) {
    // A folder serves for some cases: what one leaves, the next one meets.
    using workspace = createWorkspace({ PGCONNECT_TIMEOUT: "1" });
    createLlmspellSqlite(workspace.path("source.db"));
    fillSqlite(workspace.path("source.db"), { records: 3, contentSizes: [0, 10] });
    await workspace.must(["storage", "export", "--database", "source.db", "--output", "document.json"]);
    writeFileSync(workspace.path("garbage.db"), "SQLite format 3\u0000garbage");
    writeFileSync(workspace.path("empty.db"), "");
    writeFileSync(workspace.path("garbage.json"), "{");
    writeFileSync(workspace.path("plugin.mjs"), "export default { name: 'p', transform: (r) => r };");
    for (const end = Math.min(options.runs, run + 20); run < end; run++) {
      const seed = options.seed + run;
      const random = new Random(seed);
      const words = wordsOf(random);
      rmSync(workspace.path("config.toml"), { force: true });
      if (random.chance(4)) {
        const lines = Array.from({ length: 1 + random.integer(6) }, () => random.pick(CONFIG)).join("\n");
        writeFileSync(
          workspace.path("config.toml"),
          random.chance(4) ? mutateBytes(Buffer.from(lines), random) : lines,
        );
      }
      const before = existsSync(workspace.path("folder"));
      const child = workspace.start(words, { stdin: "" });
      const ended = outcomeOf(child, random.chance(2) ? "" : "{}");
      // A server that refuses is waited for, for 30 s.
      const timer = setTimeout(() => child.kill("SIGKILL"), 2 * HANG_MILLISECONDS);
      const { status, stdout, stderr } = await ended;
      clearTimeout(timer);
      findings.count(String(status));
      const wrong = STATUSES.has(status) ? undefined : status === null ? "it hangs or crashes" : `status ${status}`;
      const shown = JSON.stringify(words);
      if (wrong !== undefined) findings.add(seed, `${wrong}: ${shown}\n${stderr.slice(-1000)}`);
      if (
        /E_UNEXPECTED|node:internal|^\s+at .*\.js:\d/m.test(stderr) &&
        !(words.includes("--verbose") && !stderr.includes("E_UNEXPECTED"))
      )
        findings.add(seed, `${shown}\n${stderr.slice(0, 1500)}`);
      if (/secret|:pw@/.test(stdout + stderr))
        findings.add(seed, `a password is shown: ${shown}\n${stderr.slice(0, 500)}`);
      if (status !== 0 && stderr === "" && stdout === "")
        findings.add(seed, `says nothing: ${shown}, status ${status}`);
      const left = readdirSync(workspace.folder).filter((name) => /\.tmp$|\.importing/.test(name));
      if (left.length > 0) findings.add(seed, `left: ${left.join(", ")} by ${shown}`);
      if (before !== existsSync(workspace.path("folder"))) findings.count("made a folder");
    }
  }
  return findings;
}
