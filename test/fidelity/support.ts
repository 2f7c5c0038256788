/**
 * What the fidelity tests share: databases as llmspell itself made them (no migration of ours), documents as text, whole
 * runs through the public API, and stored values by plain SQL.
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import Database from "better-sqlite3";
import pg from "pg";
import * as sqliteVec from "sqlite-vec";
import {
  type ExportOptions,
  exportStore,
  type ImportOptions,
  importStore,
  type Rejection,
  type StorageError,
  type TransferResult,
} from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import type { Fields, Sections } from "./records.js";

/** JSON text that JSON.stringify would change. */
export class Json {
  constructor(readonly text: string) {}
}

function token(value: unknown): string {
  if (value instanceof Json) return value.text;
  if (typeof value === "bigint") return value.toString();
  if (Buffer.isBuffer(value)) return JSON.stringify(value.toString("base64"));
  if (Array.isArray(value)) return `[${value.map(token).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value)
    .filter(([, each]) => each !== undefined)
    .map(([name, each]) => `${JSON.stringify(name)}:${token(each)}`)
    .join(",")}}`;
}

/** A document of ours by its meaning; its layout is another program's, so no manifest is needed. */
export function documentText(sections: Sections, header: Fields = {}): string {
  const data: Record<string, unknown> = {};
  for (const [path, records] of Object.entries(sections)) {
    const [section = "", array] = path.split(".");
    if (array === undefined) data[section] = records;
    else data[section] = { ...(data[section] as object | undefined), [array]: records };
  }
  return token({ version: "1.0", source_backend: "sqlite", producer: "test/1", migrations: ["V1"], ...header, data });
}

/** A database of llmspell's own making. */
export interface TestStore {
  readonly backend: "sqlite" | "postgresql";
  /** Its STORE text. */
  readonly store: string;
  /** Rows of a query: integers as bigint, times as text in UTC, bytes as Buffer. */
  rows(sql: string): Promise<unknown[][]>;
  /** Runs statements, as SQLite's owner or PostgreSQL's superuser. */
  run(sql: string): Promise<void>;
  /** As llmspell made it, empty, without our migrations. */
  clear(): Promise<void>;
  drop(): Promise<void>;
}

export function createSqliteStore(level?: number): TestStore {
  const folder = mkdtempSync(join(tmpdir(), "llmspell-fidelity-"));
  const template = join(folder, "template.db");
  const store = join(folder, "llmspell.db");
  createLlmspellSqlite(template, level);
  const open = <Result>(work: (database: Database.Database) => Result): Result => {
    const database = new Database(store, { fileMustExist: true });
    try {
      sqliteVec.load(database);
      return work(database);
    } finally {
      database.close();
    }
  };
  const clear = async (): Promise<void> => {
    for (const suffix of ["-wal", "-shm"]) rmSync(store + suffix, { force: true });
    copyFileSync(template, store);
  };
  void clear();
  return {
    backend: "sqlite",
    store,
    rows: async (sql) => open((database) => database.prepare(sql).raw().safeIntegers().all() as unknown[][]),
    run: async (sql) => void open((database) => database.exec(sql)),
    clear,
    drop: async () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** int8 as bigint, int4 as well; times, json and everything else as PostgreSQL's own text. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: string) => {
    if (oid === pg.types.builtins.INT8 || oid === pg.types.builtins.INT4) return BigInt;
    if (oid === pg.types.builtins.BYTEA) return pg.types.getTypeParser(oid, format as "text");
    return (value: string) => value;
  },
};

export async function postgresRows(url: string, sql: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: url, types });
  await client.connect();
  try {
    await client.query("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'");
    const result = await client.query({ text: sql, rowMode: "array" });
    return Array.isArray(result) ? [] : result.rows;
  } finally {
    await client.end();
  }
}

/** Every table of llmspell's that holds records. */
export const TABLES = [
  ...[384, 768, 1536, 3072].map((dimension) => `vector_embeddings_${dimension}`),
  ...["entities", "relationships", "procedural_patterns", "agent_states", "kv_store", "workflow_states", "sessions"],
  ...["artifact_content", "artifacts", "event_log", "hook_history"],
] as const;

export interface PostgresTestStore extends TestStore {
  readonly database: Awaited<ReturnType<typeof createDatabase>>;
}

/** `schema`: llmspell's own, or migrated by this tool. */
export async function createPostgresStore(schema: "llmspell" | "migrated" = "llmspell"): Promise<PostgresTestStore> {
  const database = await createDatabase(schema);
  const run = async (sql: string): Promise<void> => void (await postgresRows(database.url, sql));
  return {
    database,
    backend: "postgresql",
    store: database.url,
    rows: (sql) => postgresRows(database.url, sql),
    run,
    clear: () =>
      run(
        `TRUNCATE ${TABLES.map((table) => `llmspell.${table}`).join(", ")};
         SELECT lo_unlink(oid) FROM pg_largeobject_metadata`,
      ),
    drop: database.drop,
  };
}

export interface Outcome {
  readonly result: TransferResult;
  readonly warnings: readonly string[];
  /** With `skip`: each rejected record's error, and its text as a rejects file has it. */
  readonly rejected: readonly { readonly error: StorageError; readonly record: string }[];
}

interface Skip {
  /** Go on without records that are refused. */
  readonly skip?: boolean;
}

async function collected(
  skip: boolean,
  run: (hooks: Pick<ImportOptions, "onReject" | "onWarning">) => Promise<TransferResult>,
): Promise<Outcome> {
  const rejected: { error: StorageError; record: string }[] = [];
  const warnings: string[] = [];
  const onReject = async ({ error, record = [] }: Rejection): Promise<void> => {
    const parts: Buffer[] = [];
    for await (const part of record) parts.push(Buffer.from(part));
    rejected.push({ error, record: Buffer.concat(parts).toString("utf8") });
  };
  const result = await run({ onWarning: (line) => void warnings.push(line), ...(skip ? { onReject } : {}) });
  return { result, warnings, rejected };
}

/** Imports a document's text, or another store. */
export function load(
  from: string | TestStore | Sections,
  to: TestStore,
  { skip = false, ...options }: Partial<ImportOptions> & Skip = {},
): Promise<Outcome> {
  const source = (): ImportOptions["from"] => {
    if (typeof from === "string") return Readable.from([Buffer.from(from, "utf8")]);
    if ("store" in from) return (from as TestStore).store;
    return Readable.from([Buffer.from(documentText(from as Sections), "utf8")]);
  };
  return collected(skip, (hooks) => importStore({ from: source(), to: to.store, ...hooks, ...options }));
}

export interface Exported extends Outcome {
  readonly document: string;
}

/** Exports a store. */
export async function unload(
  from: TestStore,
  { skip = false, ...options }: Partial<ExportOptions> & Skip = {},
): Promise<Exported> {
  const to = new PassThrough();
  const document = text(to);
  document.catch(() => {});
  const outcome = await collected(skip, (hooks) => exportStore({ from: from.store, to, ...hooks, ...options }));
  return { ...outcome, document: await document };
}

/** The `data` of a document, to the byte: between its header and its manifest. */
export function dataOf(document: string): string {
  const start = document.indexOf('"data":');
  const end = document.lastIndexOf('"manifest":');
  if (start < 0 || end < start) throw new Error("no document of ours");
  return document.slice(start, end);
}

/** An array of an exported document, in the text's own numbers where `parse` is not wanted. */
export function recordsOf(document: string, path: string): Fields[] {
  let value: unknown = (JSON.parse(document) as { data: unknown }).data;
  for (const part of path.split(".")) value = (value as Record<string, unknown> | undefined)?.[part];
  return (value ?? []) as Fields[];
}
