/** Loading SQLite files in tests: records written as plain JSON values, rows asserted by SQL. */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import * as sqliteVec from "sqlite-vec";
import type { RecordKind } from "../../src/catalog/index.js";
import {
  createSqliteSink,
  createSqliteSource,
  type PipelineResult,
  runPipeline,
  type SqliteSinkOptions,
  type SqliteSourceOptions,
} from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { migrateSqlite } from "../../src/llmspell/schema/migrator.js";
import type { Rejection, Selection } from "../../src/records/run-context.js";
import type { Records } from "../conformance/conflict-cases.js";
import {
  createMemorySink,
  createMemorySource,
  everything,
  type MemoryRecord,
  memoryRecord,
} from "../conformance/memory-store.js";

export function kindOf(path: string): RecordKind {
  const kind = catalog.byPath.get(path);
  if (kind === undefined) throw new Error(`no kind ${path}`);
  return kind;
}

/** JSON text that JSON.stringify would change, for a field of a record. */
export class Token {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A record from plain values; bigint is an integer token. */
export function record(path: string, values: Readonly<Record<string, unknown>>): MemoryRecord {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue;
    if (value instanceof Token) tokens[name] = value.text;
    else tokens[name] = typeof value === "bigint" ? String(value) : JSON.stringify(value);
  }
  return memoryRecord(kindOf(path), tokens);
}

export function recordsOf(records: Records): MemoryRecord[] {
  return Object.entries(records).flatMap(([path, each]) => each.map((values) => record(path, values)));
}

export interface LoadOptions extends Partial<SqliteSinkOptions> {
  readonly rejections?: Rejection[];
  readonly warnings?: string[];
  readonly batchSize?: number;
}

export async function load(
  path: string,
  records: Iterable<MemoryRecord>,
  options: LoadOptions = {},
): Promise<PipelineResult> {
  const { rejections, warnings, batchSize, ...sinkOptions } = options;
  return runPipeline({
    source: createMemorySource(records, batchSize === undefined ? {} : { batchSize }),
    sink: createSqliteSink({ path, ...sinkOptions }),
    selection: everything(),
    onWarning: (message) => void warnings?.push(message),
    ...(rejections === undefined
      ? {}
      : {
          onReject: async (rejection: Rejection) => {
            rejections.push(rejection);
          },
        }),
  });
}

export interface ReadResult {
  readonly records: MemoryRecord[];
  readonly rejections: Rejection[];
  /** The rejected records' text. */
  readonly rejected: string[];
  readonly warnings: string[];
}

/** Everything in the file; bad records are collected. */
export async function readAll(
  path: string,
  options: Partial<SqliteSourceOptions> = {},
  selection: Selection = everything(),
): Promise<ReadResult> {
  const sink = createMemorySink();
  const result: ReadResult = { records: sink.records, rejections: [], rejected: [], warnings: [] };
  await runPipeline({
    source: createSqliteSource({ path, ...options }),
    sink,
    selection,
    onWarning: (message) => void result.warnings.push(message),
    onReject: async (rejection) => {
      result.rejections.push(rejection);
      const chunks: Uint8Array[] = [];
      for await (const chunk of rejection.record ?? []) chunks.push(Uint8Array.from(chunk));
      result.rejected.push(Buffer.concat(chunks).toString("utf8"));
    },
  });
  return result;
}

/** A folder of the test's own. */
export function createFolder(): { path(name: string): string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "llmspell-sqlite-"));
  return {
    path: (name) => join(folder, name),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

let template: string | undefined;

/** A migrated database without rows. */
export async function createMigrated(path: string): Promise<void> {
  if (template === undefined) {
    const folder = createFolder();
    process.on("exit", folder.remove);
    const made = folder.path("template.db");
    await migrateSqlite(made);
    execute(made, "PRAGMA wal_checkpoint(TRUNCATE)");
    template = made;
  }
  for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
  copyFileSync(template, path);
}

/** Rows of a query: integers as bigint. */
export function query(path: string, sql: string, ...values: unknown[]): unknown[][] {
  const database = new Database(path, { readonly: true });
  try {
    sqliteVec.load(database);
    return database.prepare(sql).raw().safeIntegers().all(values) as unknown[][];
  } finally {
    database.close();
  }
}

/** Runs statements. */
export function execute(path: string, sql: string, ...values: unknown[]): void {
  const database = new Database(path);
  try {
    sqliteVec.load(database);
    if (values.length === 0) database.exec(sql);
    else database.prepare(sql).run(values);
  } finally {
    database.close();
  }
}
