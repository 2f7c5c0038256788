/**
 * Every column of every row as a database stores it, read by plain SQL and spelled alike for both: what a whole move must
 * not change. The columns come from PostgreSQL's own catalog, nothing from src.
 */
import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { TestStore } from "./support.js";
import { TABLES } from "./support.js";

interface Column {
  readonly name: string;
  readonly type: string;
}

/** Columns by table, of llmspell's own PostgreSQL schema. */
export type Columns = ReadonlyMap<string, readonly Column[]>;

/** What SQLite has no column for: content's form follows from its length. */
const POSTGRES_ONLY = new Set(["storage_type", "large_object_oid"]);

export async function columnsOf(postgres: TestStore): Promise<Columns> {
  const rows = await postgres.rows(
    `SELECT table_name::text, column_name::text, udt_name::text FROM information_schema.columns
     WHERE table_schema = 'llmspell' ORDER BY ordinal_position`,
  );
  const columns = new Map<string, Column[]>(TABLES.map((table) => [table, []]));
  for (const [table, name, type] of rows as [string, string, string][])
    if (!POSTGRES_ONLY.has(name)) columns.get(table)?.push({ name, type });
  return columns;
}

const EPOCH = 946684800000000n;
const INT64_MAX = 9223372036854775807n;
const INT64_MIN = -9223372036854775808n;
const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

function spelledUuid(text: string): string {
  const digits = text.replaceAll("-", "").toLowerCase();
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Of microseconds since 2000-01-01. */
function timeText(exact: bigint): string {
  if (exact === INT64_MAX) return "infinity";
  return exact === INT64_MIN ? "-infinity" : String(exact + EPOCH);
}

function postgresExpression({ name, type }: Column, table: string): string {
  switch (type) {
    case "timestamptz":
      // extract(epoch) rounds in the year 294276.
      return `('x' || encode(timestamptz_send(${name}), 'hex'))::bit(64)::bigint`;
    case "bytea":
      return table === "artifact_content" ? `coalesce(${name}, lo_get(large_object_oid))` : name;
    case "vector":
      return `substr(vector_send(${name}), 5)`;
    case "_text":
    case "_varchar":
      return `to_json(${name})::text`;
    case "bool":
      return `${name}::int::text`;
    default:
      return `${name}::text`;
  }
}

function fromPostgres(type: string, value: unknown): string | null {
  if (value === null) return null;
  if (type === "timestamptz") return timeText(value as bigint);
  if (type === "vector") return sha(Buffer.from(value as Buffer).swap32());
  if (Buffer.isBuffer(value)) return sha(value);
  return type.startsWith("_") ? JSON.stringify(JSON.parse(value as string)) : (value as string);
}

/** `exact`: the companion; undefined where there is no such column. */
function fromSqlite(type: string, value: unknown, exact: bigint | null | undefined): string | null {
  if (value === null) return null;
  switch (type) {
    case "timestamptz": {
      if (typeof exact === "bigint") return timeText(exact);
      if (value === 9999999999n) return "infinity";
      return value === -9999999999n ? "-infinity" : String((value as bigint) * 1000000n);
    }
    case "uuid":
      return spelledUuid(value as string);
    case "bytea":
      return sha(value as Buffer);
    case "vector": {
      const bytes = value as Buffer;
      const text = bytes.toString("latin1");
      // Raw bytes may begin with '[' as well.
      if (!/^\[[-+.,\deE]*\]$/.test(text)) return sha(bytes);
      return sha(Buffer.from(Float32Array.from(JSON.parse(text) as number[]).buffer));
    }
    case "_text":
    case "_varchar":
      return JSON.stringify(JSON.parse(value as string));
    default:
      return String(value);
  }
}

/** Lines of `table {column: value…}`, sorted. */
export async function storedRows(store: TestStore, columns: Columns): Promise<string[]> {
  const lines: string[] = [];
  for (const [table, each] of columns) {
    const rows =
      store.backend === "sqlite" ? await sqliteRows(store, table, each) : await postgresRows(store, table, each);
    for (const values of rows)
      lines.push(`${table} ${JSON.stringify(Object.fromEntries(each.map(({ name }, i) => [name, values[i]])))}`);
  }
  return lines.sort();
}

async function postgresRows(store: TestStore, table: string, columns: readonly Column[]): Promise<(string | null)[][]> {
  const list = columns.map((column) => postgresExpression(column, table)).join(", ");
  const rows = await store.rows(`SELECT ${list} FROM llmspell.${table}`);
  return rows.map((row) => row.map((value, i) => fromPostgres((columns[i] as Column).type, value)));
}

async function sqliteRows(store: TestStore, table: string, columns: readonly Column[]): Promise<(string | null)[][]> {
  const dimension = /^vector_embeddings_(\d+)$/.exec(table)?.[1];
  const main = dimension === undefined ? table : "vector_metadata";
  const present = new Set((await store.rows(`SELECT name FROM pragma_table_info('${main}')`)).map(([name]) => name));
  const list = columns.flatMap(({ name, type }) => [
    type === "vector" ? "e.embedding" : `t.${name}`,
    present.has(`${name}_us`) ? `t.${name}_us` : "NULL",
  ]);
  if (dimension !== undefined) {
    const made = await store.rows(`SELECT 1 FROM sqlite_master WHERE name = 'vec_embeddings_${dimension}'`);
    if (made.length === 0) return [];
  }
  const join = dimension === undefined ? "" : `JOIN vec_embeddings_${dimension} e ON e.rowid = t.rowid`;
  const where = dimension === undefined ? "" : `WHERE t.dimension = ${dimension}`;
  const rows = await store.rows(`SELECT ${list.join(", ")} FROM ${main} t ${join} ${where}`);
  return rows.map((row) =>
    columns.map(({ name, type }, i) =>
      fromSqlite(type, row[2 * i], present.has(`${name}_us`) ? (row[2 * i + 1] as bigint | null) : undefined),
    ),
  );
}

/** The same lines as PostgreSQL's jsonb would spell their json. */
export async function normalised(lines: readonly string[], postgres: TestStore, columns: Columns): Promise<string[]> {
  const parsed = lines.map((line): [string, Record<string, string | null>] => {
    const at = line.indexOf(" ");
    return [line.slice(0, at), JSON.parse(line.slice(at + 1)) as Record<string, string | null>];
  });
  const places = parsed.flatMap(([table, row]) =>
    (columns.get(table) ?? []).flatMap(({ name, type }) =>
      type === "jsonb" && row[name] !== null ? [{ row, name, text: row[name] as string }] : [],
    ),
  );
  const texts = JSON.stringify(places.map(({ text }) => text)).replaceAll("'", "''");
  const rows = await postgres.rows(
    `SELECT (t #>> '{}')::jsonb::text FROM json_array_elements('${texts}'::json) WITH ORDINALITY AS u (t, n) ORDER BY n`,
  );
  for (const [n, { row, name }] of places.entries()) row[name] = rows[n]?.[0] as string;
  return parsed.map(([table, row]) => `${table} ${JSON.stringify(row)}`).sort();
}

/** Equal lines; a difference shows the first few, cut. */
export function expectSameRows(actual: readonly string[], expected: readonly string[]): void {
  const missing = new Set(expected);
  const surplus = actual.filter((line) => !missing.delete(line)).sort();
  const shown = (lines: Iterable<string>): string[] => [...lines].slice(0, 3).map((line) => line.slice(0, 2000));
  expect(shown(surplus)).toEqual(shown(missing));
  expect(actual.length).toBe(expected.length);
}
