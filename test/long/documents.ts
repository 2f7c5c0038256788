/**
 * Mutated documents, imported into an SQLite file and a PostgreSQL database that stay. Beside the codes: what was imported is
 * what JSON.parse and SQL see, or every record that is not was reported.
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { gzipSync, zstdCompressSync } from "node:zlib";
import Database from "better-sqlite3";
import { Client } from "pg";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import type { RecordKind } from "../../src/catalog/index.js";
import { exportStore, importStore } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { migratePostgres } from "../../src/llmspell/schema/migrator.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { Findings, type FuzzOptions, mutateBytes, Random, timed } from "./fuzz.js";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What a value may be replaced by: the text of a token. */
const TOKENS = [
  ...["null", "true", "false", "0", "-0", "-1", "1.5", "1e400", "1e-400", "9223372036854775807", "9223372036854775808"],
  ...["-9223372036854775809", "123456789012345678901234567890", "2147483648", "4e0", '""', '" "', '"x"', '"infinity"'],
  ...[
    '"-infinity"',
    '"NaN"',
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\u202e\\u0085"',
    '"AAAA"',
  ],
  ...[
    '"AAA"',
    '"====", "',
    '"A==="',
    "[]",
    "{}",
    "[null]",
    "[1,2,3]",
    '["a",null]',
    '[["a"]]',
    '{"":{"":[]}}',
    "[1e39]",
  ],
  ...[
    '{"a":1,"a":2}',
    '"2026-01-01T00:00:00Z"',
    '"00000000-0000-0000-0000-000000000000"',
    '"{00000000000000000000000000000000}"',
  ],
  `"${"long ".repeat(200)}"`,
  `${"[".repeat(2000)}${"]".repeat(2000)}`,
];

/** A token's place in a document: `[from, to)`. */
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/g;

function mutateTokens(document: string, random: Random): string {
  let mutated = document;
  for (let count = 1 + random.integer(3); count > 0; count--) {
    const tokens = [...mutated.matchAll(TOKEN)];
    const at = (): { from: number; to: number; token: string } => {
      const match = random.pick(tokens);
      return { from: match.index, to: match.index + match[0].length, token: match[0] };
    };
    const { from, to, token } = at();
    switch (random.integer(5)) {
      case 0: {
        const other = at().token;
        mutated = mutated.slice(0, from) + other + mutated.slice(to);
        break;
      }
      case 1:
        // A member or an item less: what remains may be no JSON.
        mutated = mutated.slice(0, from) + mutated.slice(to).replace(/^\s*[:,]/, "");
        break;
      case 2:
        mutated = `${mutated.slice(0, to)},${token}${mutated.slice(to)}`;
        break;
      default:
        mutated = mutated.slice(0, from) + random.pick(TOKENS) + mutated.slice(to);
    }
  }
  return mutated;
}

/** Members of records: left out, renamed, doubled, whole records repeated or given to another section. */
function mutateStructure(document: Json, random: Random): string {
  const { data } = document as { data: { [key: string]: Json } };
  // null stands for an empty section or array.
  const arrays = Object.values(data)
    .flatMap((section) => (Array.isArray(section) ? [section] : Object.values(section ?? {})))
    .filter((array) => Array.isArray(array)) as Json[][];
  const records = random.pick(arrays.filter((array) => array.length > 0));
  const index = random.integer(records.length);
  const record = records[index] as { [key: string]: Json };
  const names = Object.keys(record);
  const name = random.pick(names);
  switch (random.integer(6)) {
    case 0:
      delete record[name];
      break;
    case 1:
      record[`${name}_`] = record[name] as Json;
      break;
    case 2:
      records.push(structuredClone(record));
      break;
    case 3:
      random.pick(arrays).push(structuredClone(record));
      break;
    case 4:
      record[name] = record[random.pick(names)] as Json;
      break;
    default:
      records.splice(index, 1);
  }
  return JSON.stringify(document, null, random.pick([0, 0, 2]));
}

export function mutate(documents: readonly string[], random: Random): Buffer {
  const document = random.pick(documents);
  let bytes: Buffer;
  switch (random.integer(4)) {
    case 0:
      bytes = mutateBytes(Buffer.from(document), random);
      break;
    case 1:
      bytes = Buffer.from(mutateStructure(JSON.parse(document) as Json, random));
      break;
    default:
      bytes = Buffer.from(mutateTokens(document, random));
  }
  if (random.chance(12)) bytes = random.pick([gzipSync, zstdCompressSync])(bytes);
  else return bytes;
  return random.chance(3) ? mutateBytes(bytes, random) : bytes;
}

/** A store that is emptied before each case. */
export interface Target {
  readonly name: string;
  readonly store: string;
  clear(): Promise<void>;
  /** Records of all kinds. */
  count(): Promise<number>;
  close(): Promise<void>;
}

const TABLES = [...catalog.kinds]
  .reverse()
  .map(({ sqlite }) => (sqlite.layout === "table" ? sqlite.table : sqlite.embeddingTable));

export async function sqliteTarget(path: string): Promise<Target> {
  await importStore({
    from: Readable.from(['{"version":"1.0","source_backend":"sqlite","migrations":["V1"],"data":{}}']),
    to: path,
  });
  const database = new Database(path);
  database.pragma("foreign_keys = OFF");
  database.pragma("synchronous = OFF");
  const has = new Set(database.prepare("SELECT name FROM sqlite_master").pluck().all() as string[]);
  const tables = [...TABLES, "vector_metadata"].filter((table) => has.has(table));
  const counted = tables.filter((table) => !table.startsWith("vec_embeddings"));
  return {
    name: "sqlite",
    store: path,
    async clear() {
      for (const table of tables) database.exec(`DELETE FROM ${table}`);
    },
    async count() {
      return counted.reduce(
        (sum, table) => sum + (database.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number),
        0,
      );
    },
    async close() {
      database.close();
    },
  };
}

export async function postgresTarget(url: string): Promise<Target> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const names = [...new Set(catalog.kinds.map(({ postgres }) => `llmspell.${postgres.table}`))];
  return {
    name: "postgresql",
    store: url,
    async clear() {
      await client.query(`SELECT lo_unlink(oid) FROM pg_largeobject_metadata; TRUNCATE ${names.join(", ")} CASCADE`);
    },
    async count() {
      const { rows } = await client.query(
        `SELECT ${names.map((name) => `(SELECT count(*) FROM ${name})`).join(" + ")} AS count`,
      );
      return Number(rows[0].count);
    },
    close: () => client.end(),
  };
}

/** What differs by design: kept by triggers, derived, or raised at an import. */
const DERIVED = new Set(["storage_type", "reference_count", "artifact_count"]);

function normalized(kind: RecordKind, record: { [key: string]: Json }, isLegacy: boolean): string {
  const entries = kind.fields.flatMap(({ name, type }): [string, Json][] => {
    const value = record[name] ?? null;
    // llmspell's own documents have seconds, defaults, and embeddings of two kinds.
    if (DERIVED.has(name) || value === null || (isLegacy && type !== "uuid")) return [];
    if (type === "uuid" && typeof value === "string")
      return [[name, value.toLowerCase().replace(/[{}-]/g, "").replace("urn:uuid:", "")]];
    if (type === "vector" && Array.isArray(value))
      return [[name, hash(Buffer.from(new Float32Array(value as number[]).buffer).toString("base64"))]];
    if (type === "vector") return [[name, hash(String(value))]];
    return [[name, value]];
  });
  return sortedJson(Object.fromEntries(entries));
}

/** Short, for a finding. */
function hash(embedding: string): string {
  return createHash("sha256").update(embedding).digest("hex");
}

function sortedJson(value: Json): string {
  return JSON.stringify(value, (_key, one: Json) =>
    typeof one === "object" && one !== null && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)))
      : Object.is(one, -0)
        ? 0
        : one,
  );
}

/** By path, as JSON.parse sees them. */
function recordsOf(document: string, isLegacy: boolean): Map<string, string[]> {
  const { data } = JSON.parse(document) as { data: { [key: string]: Json } | null };
  const found = new Map<string, string[]>();
  for (const kind of catalog.kinds) {
    const [section = "", part] = kind.path.split(".");
    const member = data?.[section];
    const array = part === undefined ? member : (member as { [key: string]: Json } | null | undefined)?.[part];
    if (Array.isArray(array) && array.length > 0)
      found.set(kind.path, array.map((record) => normalized(kind, record as { [key: string]: Json }, isLegacy)).sort());
  }
  return found;
}

function difference(
  expected: Map<string, string[]>,
  found: Map<string, string[]>,
  rejected: Map<string, number>,
): string | undefined {
  for (const { path } of catalog.kinds) {
    const [before, after] = [expected.get(path) ?? [], found.get(path) ?? []];
    if (before.length !== after.length + (rejected.get(path) ?? 0))
      return `${path}: ${before.length} records in the document, ${after.length} in the target, ${rejected.get(path) ?? 0} rejected`;
    const known = new Set(before);
    const strange = after.find((record) => !known.has(record));
    if (strange !== undefined)
      return `${path}: the target has ${strange.slice(0, 600)}\nof ${before.join("\n").slice(0, 1200)}`;
  }
  return undefined;
}

async function exported(store: string): Promise<string> {
  const stream = new PassThrough();
  const [document] = await Promise.all([text(stream), exportStore({ from: store, to: stream })]);
  return document;
}

/** What is mutated; `source`: a path for an SQLite file. */
export async function seedDocuments(source: string): Promise<string[]> {
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 2, contentSizes: [0, 10] });
  const stream = new PassThrough();
  const [numbers] = await Promise.all([text(stream), exportStore({ from: source, to: stream, vectors: "json" })]);
  const plain = await exported(source);
  const small = JSON.stringify(withoutVectors(JSON.parse(plain) as Json));
  const legacy = readFileSync(new URL("../golden/legacy-0.14.json", import.meta.url), "utf8");
  return [small, small, plain, numbers, legacy];
}

export async function fuzzDocuments(options: FuzzOptions, postgres: string | undefined): Promise<Findings> {
  const findings = new Findings();
  const folder = mkdtempSync(join(tmpdir(), "llmspell-fuzz-"));
  const temporary = process.env["TMPDIR"];
  process.env["TMPDIR"] = join(folder, "tmp");
  mkdirSync(join(folder, "tmp"));
  mkdirSync(join(folder, "store"));
  const targets: Target[] = [];
  try {
    const documents = await seedDocuments(join(folder, "source.db"));
    targets.push(await sqliteTarget(join(folder, "store/target.db")));
    if (postgres !== undefined) {
      const connection = await connectPostgres({ url: postgres });
      await migratePostgres(connection).finally(() => connection.close());
      targets.push(await postgresTarget(postgres));
    }
    for (let run = 0; run < options.runs; run++) {
      const seed = options.seed + run;
      const random = new Random(seed);
      const bytes = mutate(documents, random);
      const skips = random.chance(2);
      for (const target of targets) await oneImport(findings, seed, bytes, target, skips);
      findings.checkFolder(seed, join(folder, "tmp"), []);
      findings.checkFolder(seed, join(folder, "store"), [
        "target.db",
        "target.db-wal",
        "target.db-shm",
        "target.db-journal",
      ]);
      if (findings.list.length > 20) break;
      if (findings.list.length > 0 && process.env["FUZZ_KEEP"])
        writeFileSync(join(process.env["FUZZ_KEEP"], `${seed}.json`), bytes);
    }
  } finally {
    for (const target of targets) await target.close();
    if (temporary === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = temporary;
    rmSync(folder, { recursive: true, force: true });
  }
  return findings;
}

function withoutVectors(document: Json): Json {
  const { data } = document as { data: { [key: string]: Json } };
  delete data["vector_embeddings"];
  return document;
}

/** Targets that the last document has left empty. */
const untouched = new WeakSet<Target>();

async function oneImport(
  findings: Findings,
  seed: number,
  bytes: Buffer,
  target: Target,
  skips: boolean,
): Promise<void> {
  if (!untouched.has(target)) await target.clear();
  untouched.delete(target);
  const rejected = new Map<string, number>();
  try {
    const { totals } = await timed(findings, seed, () =>
      importStore({
        from: Readable.from([bytes]),
        to: target.store,
        ...(skips
          ? {
              onReject({ kind, error }) {
                findings.checkError(seed, error);
                rejected.set(kind.path, (rejected.get(kind.path) ?? 0) + 1);
              },
            }
          : {}),
      }),
    );
    findings.count(`${target.name} imported`);
    if (totals.inserted !== (await target.count()))
      findings.add(seed, `${target.name}: ${totals.inserted} records reported, ${await target.count()} there`);
    // What is compressed was not touched inside, or was damaged and would have been found.
    if (bytes[0] === 0x1f || bytes[0] === 0x28) return;
    const document = bytes.toString("utf8").replace(/^\ufeff/, "");
    const isLegacy = !document.includes('"producer"');
    const found = difference(
      recordsOf(document, isLegacy),
      recordsOf(await exported(target.store), isLegacy),
      rejected,
    );
    if (found !== undefined) findings.add(seed, `${target.name}: ${found}`);
  } catch (error) {
    const code = findings.checkError(seed, error);
    findings.count(`${target.name} ${code}`);
    const left = await target.count();
    if (left > 0) findings.add(seed, `${target.name}: ${left} records after ${code}`);
    else untouched.add(target);
  }
}
