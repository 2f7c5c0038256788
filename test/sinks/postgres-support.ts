/** What the tests of the PostgreSQL sink share: a target of llmspell's own making, loads from memory, rows by plain SQL. */
import pg from "pg";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { columnOf, type Field, type RecordKind } from "../../src/catalog/index.js";
import { createPostgresSink, type PipelineResult, type PostgresSinkOptions, runPipeline } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Rejection } from "../../src/records/run-context.js";
import type { Records } from "../conformance/conflict-cases.js";
import { createMemorySource, everything, type MemoryRecord, memoryRecord } from "../conformance/memory-store.js";

export function kindOf(path: string): RecordKind {
  const kind = catalog.byPath.get(path);
  if (kind === undefined) throw new Error(`no kind ${path}`);
  return kind;
}

/** A record from its document form; a string `raw:` value is a token as it stands. */
export function record(path: string, values: Readonly<Record<string, unknown>>): MemoryRecord {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue;
    tokens[name] = value instanceof Token ? value.text : JSON.stringify(value);
  }
  return memoryRecord(kindOf(path), tokens);
}

/** A JSON token that JSON.stringify would not print. */
export class Token {
  constructor(readonly text: string) {}
}

export function recordsOf(records: Records): MemoryRecord[] {
  return Object.entries(records).flatMap(([path, each]) => each.map((values) => record(path, values)));
}

export interface LoadOptions extends Partial<PostgresSinkOptions> {
  readonly batchSize?: number;
  readonly batchBytes?: number;
  /** Collects rejected records: --on-error skip. */
  readonly rejections?: Rejection[];
  /** With `rejections`: takes the rejected records' texts, read when they are rejected. */
  readonly rejected?: string[];
}

async function textOf(rejection: Rejection): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of rejection.record ?? []) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}

/** Loads records in the order given. */
export async function load(
  url: string,
  records: Iterable<MemoryRecord>,
  { rejections, rejected, batchSize, batchBytes, ...options }: LoadOptions = {},
): Promise<PipelineResult> {
  const limits = {
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(batchBytes === undefined ? {} : { batchBytes }),
  };
  return runPipeline({
    source: createMemorySource(records, limits),
    sink: createPostgresSink({ connect: () => connectPostgres({ url }), name: "postgres", ...options }),
    selection: everything(options.catalog),
    ...(rejections === undefined
      ? {}
      : {
          onReject: async (rejection: Rejection) => {
            rejections.push(rejection);
            rejected?.push(await textOf(rejection));
          },
        }),
  });
}

export async function sql<Row extends pg.QueryResultRow>(
  url: string,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'");
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** An expression that gives the column in the document's form, as jsonb. Independent of the tool's codecs. */
function documentForm(field: Field, largeObject: string | undefined): string {
  const column = `t."${columnOf(field)}"`;
  switch (field.type) {
    case "timestamp":
      return `CASE WHEN isfinite(${column}) THEN to_jsonb((extract(epoch FROM ${column}) * 1000000)::numeric(30, 0))
        ELSE to_jsonb(${column}::text) END`;
    case "vector":
      return `to_jsonb(encode(substring(vector_send(${column}) FROM 5), 'hex'))`;
    case "bytes":
      return largeObject === undefined
        ? `to_jsonb(translate(encode(${column}, 'base64'), E'\\n', ''))`
        : `to_jsonb(translate(encode(coalesce(${column}, lo_get(t."${largeObject}")), 'base64'), E'\\n', ''))`;
    case "json":
      return column;
    default:
      return `to_jsonb(${column})`;
  }
}

/** The rows of a kind's table as JSON texts in the document's form, sorted. */
export async function rowsOf(url: string, path: string): Promise<string[]> {
  const kind = kindOf(path);
  const fields = kind.fields.filter((field) => field.constant === undefined);
  const members = fields.map((field) => {
    const oid = field.large ? kind.postgres.largeObject?.oidColumn : undefined;
    return `'${field.name}', ${documentForm(field, oid)}`;
  });
  // SQL NULL in a nullable json field is the key's absence.
  const absent = fields
    .filter(({ type, nullable }) => type === "json" && nullable)
    .map((field) => `- (CASE WHEN t."${columnOf(field)}" IS NULL THEN '${field.name}' ELSE '' END)`);
  const rows = await sql<{ row: string }>(
    url,
    `SELECT (jsonb_build_object(${members.join(", ")}) ${absent.join(" ")})::text AS row FROM llmspell."${kind.postgres.table}" t`,
  );
  return rows.map(({ row }) => row).sort();
}

/** The same texts for records given in the document's form. `url`: any database, for jsonb's own spelling. */
export async function expectedRows(
  url: string,
  path: string,
  records: readonly Readonly<Record<string, unknown>>[],
): Promise<string[]> {
  const kind = kindOf(path);
  const texts = records.map((values) => {
    const row: Record<string, unknown> = {};
    for (const field of kind.fields) {
      if (field.constant !== undefined || values[field.name] === undefined) continue;
      row[field.name] =
        field.type === "vector" ? bigEndianHex(values[field.name] as string) : (values[field.name] as unknown);
    }
    return JSON.stringify(row);
  });
  const rows = await sql<{ row: string }>(url, "SELECT (each::jsonb)::text AS row FROM unnest($1::text[]) each", [
    texts,
  ]);
  return rows.map(({ row }) => row).sort();
}

function bigEndianHex(base64: string): string {
  return Buffer.from(base64, "base64").swap32().toString("hex");
}

/** Number of large objects in the database. */
export async function largeObjects(url: string): Promise<number> {
  const [row] = await sql<{ count: string }>(url, "SELECT count(*) FROM pg_largeobject_metadata");
  return Number(row?.count);
}
