/**
 * Damaged and strangely typed SQLite files, exported by processes of their own (a crash is a finding, not the test's end).
 * sqlite3's own reader, which goes by no index, says how many records there are.
 */
import { type ChildProcess, fork, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { Findings, type FuzzOptions, HANG_MILLISECONDS, Random } from "./fuzz.js";

/** `types`: any value in any column. `pages`: bytes and whole pages. `indexes`: entries taken out. */
export type Damage = "types" | "pages" | "truncated" | "indexes";

const KINDS = catalog.kinds.filter(({ sqlite }) => sqlite.layout === "table");
const tableOf = (path: string): string => {
  const { sqlite } = KINDS.find((kind) => kind.path === path) as (typeof KINDS)[number];
  return sqlite.layout === "table" ? sqlite.table : "";
};

const VALUES: readonly unknown[] = [
  ...[null, 0, -1, 1.5, 1e300, "", "x", "{", "[1]", '{"a":1}', "\u0000", "a\u0000b", "infinity", "2026-01-01 00:00:00"],
  ...[
    9223372036854775807n,
    -9223372036854775808n,
    Buffer.alloc(0),
    Buffer.from([0xff, 0xfe]),
    Buffer.from('{"a":1}'),
    Buffer.alloc(5000, 1),
  ],
  ..."NaN;1e5;true;00000000-0000-0000-0000-000000000000;Ünï".split(";"),
  Number.POSITIVE_INFINITY,
];

function damageTypes(path: string, random: Random): void {
  const database = new Database(path);
  try {
    database.pragma("foreign_keys = OFF");
    database.pragma("ignore_check_constraints = ON");
    for (const trigger of database.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").pluck().all())
      database.exec(`DROP TRIGGER "${String(trigger)}"`);
    for (let count = 1 + random.integer(3); count > 0; count--) {
      const table = tableOf(random.pick(KINDS).path);
      const columns = database.prepare("SELECT name FROM pragma_table_info(?)").pluck().all(table) as string[];
      const [column, value] = [random.pick(columns), random.pick(VALUES)];
      try {
        database
          .prepare(
            `UPDATE ${table} SET "${column}" = ? WHERE rowid IN (SELECT rowid FROM ${table} ORDER BY rowid LIMIT 1 OFFSET ?)`,
          )
          .run(value, random.integer(10));
      } catch {
        // UNIQUE or NOT NULL.
      }
    }
  } finally {
    database.close();
  }
}

const PAGE = 1024;

function damageBytes(path: string, damage: Damage, random: Random): void {
  let bytes = readFileSync(path);
  const pages = bytes.length / PAGE;
  // The first page is the schema: damaged, nothing can be read.
  const page = (): number => 1 + random.integer(pages - 1);
  if (damage === "truncated") bytes = bytes.subarray(0, random.integer(bytes.length));
  else if (damage === "indexes") {
    // Leaves of indexes (0x0a) lose entries.
    const leaves = Array.from({ length: pages }, (_, at) => at).filter((at) => at > 0 && bytes[at * PAGE] === 0x0a);
    const at = random.pick(leaves) * PAGE + 3;
    const cells = bytes.readUInt16BE(at);
    if (cells > 1) bytes.writeUInt16BE(cells - 1 - random.integer(Math.min(3, cells - 1)), at);
  } else {
    for (let count = 1 + random.integer(3); count > 0; count--) {
      const at = random.chance(8)
        ? random.integer(bytes.length)
        : page() * PAGE + random.integer(random.chance(2) ? 16 : PAGE);
      switch (random.integer(4)) {
        case 0:
          bytes.copy(bytes, page() * PAGE, page() * PAGE, page() * PAGE + PAGE);
          break;
        case 1:
          bytes.fill(0, page() * PAGE, page() * PAGE + PAGE);
          break;
        default:
          bytes[at] = random.integer(256);
      }
    }
  }
  writeFileSync(path, bytes);
}

/** By path; undefined where sqlite3 cannot read the table either. */
function oracle(path: string): Map<string, number | undefined> {
  const counts = new Map<string, number | undefined>();
  for (const kind of KINDS) {
    const sql = `.timeout 1000\nSELECT count(*) FROM ${tableOf(kind.path)} NOT INDEXED WHERE +rowid IS NOT NULL OR 1;`;
    const { stdout, status, stderr } = spawnSync("sqlite3", ["-readonly", "-batch", path], {
      input: sql,
      encoding: "utf8",
    });
    counts.set(kind.path, status === 0 && stderr === "" && /^\d+\s*$/.test(stdout) ? Number(stdout) : undefined);
  }
  return counts;
}

interface Answer {
  readonly code?: string;
  readonly unexpected?: string;
  /** Records that came, and those that were rejected, by path. */
  readonly read: readonly (readonly [string, number])[];
  readonly warnings: readonly string[];
}

/** The process that exports. It is begun anew when it dies. */
class Exporter {
  private child: ChildProcess | undefined;

  async export(path: string): Promise<Answer | "crashed" | "hangs"> {
    this.child ??= fork(new URL("./sqlite-exporter.mjs", import.meta.url), [], {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    const { child } = this;
    return new Promise((resolve) => {
      const finish = (answer: Answer | "crashed" | "hangs"): void => {
        clearTimeout(timer);
        child.removeAllListeners();
        if (typeof answer === "string") this.close();
        resolve(answer);
      };
      const timer = setTimeout(() => finish("hangs"), HANG_MILLISECONDS);
      child.on("message", (answer) => finish(answer as Answer)).on("exit", () => finish("crashed"));
      child.send(path);
    });
  }

  close(): void {
    this.child?.kill("SIGKILL");
    this.child = undefined;
  }
}

export async function fuzzSqliteFiles(options: FuzzOptions, damages: readonly Damage[]): Promise<Findings> {
  const findings = new Findings();
  const folder = mkdtempSync(join(tmpdir(), "llmspell-fuzz-"));
  const exporter = new Exporter();
  try {
    const source = join(folder, "source.db");
    createLlmspellSqlite(source);
    fillSqlite(source, {
      records: 40,
      contentSizes: [0, 10, 3000],
      vectorShapes: { 384: "raw", 768: "raw", 1536: "raw", 3072: "vec0" },
    });
    const database = new Database(source);
    // Many small pages: an index has more than one leaf.
    database.pragma("journal_mode = DELETE");
    database.exec(
      "DELETE FROM vector_metadata WHERE dimension <> 384; DROP TABLE IF EXISTS vec_embeddings_1536; DROP TABLE IF EXISTS vec_embeddings_768",
    );
    database.pragma(`page_size = ${PAGE}`);
    database.exec("VACUUM");
    database.close();
    mkdirSync(join(folder, "store"));
    const path = join(folder, "store/damaged.db");
    for (let run = 0; run < options.runs && findings.list.length <= 20; run++) {
      const seed = options.seed + run;
      const random = new Random(seed);
      copyFileSync(source, path);
      const damage = random.pick(damages);
      if (damage === "types") damageTypes(path, random);
      else damageBytes(path, damage, random);
      const answer = await exporter.export(path);
      findings.checkFolder(seed, join(folder, "store"), ["damaged.db", "damaged.db-wal", "damaged.db-shm"]);
      if (typeof answer === "string") {
        findings.add(seed, `${damage}: ${answer}`);
        continue;
      }
      findings.count(answer.code ?? "exported");
      if (answer.unexpected !== undefined) findings.add(seed, `${damage}: ${answer.unexpected}`);
      if (answer.code !== undefined) continue;
      const read = new Map(answer.read);
      for (const [kind, count] of oracle(path)) {
        const found = read.get(kind) ?? 0;
        if (count === undefined)
          findings.add(seed, `${damage}: ${kind} exported with ${found} records, and sqlite3 cannot read it`);
        else if (count !== found)
          findings.add(
            seed,
            `${damage}: ${kind}: ${found} records of ${count}; warnings: ${answer.warnings.join("; ")}`,
          );
      }
    }
  } finally {
    exporter.close();
    rmSync(folder, { recursive: true, force: true });
  }
  return findings;
}
