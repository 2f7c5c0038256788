/** Records of every kind, made from the catalog: as tokens of a document, and as SQL literals of either backend. */
import { writeFileSync } from "node:fs";
import { columnOf, type Field, type RecordKind } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";

/** A record's tokens by field; undefined: the document lacks the key (SQL NULL of a json field). */
export type Tokens = Record<string, string | undefined>;
export type Sections = Map<string, Tokens[]>;
export type Backend = "sqlite" | "postgres";

export const MIB = 1048576;
const START = 1_700_000_000_123_456n;
const SECTIONS = catalog.kinds.map(({ path }) => path);

export function uuid(section: string, n: number): string {
  return `00000000-0000-4000-8${SECTIONS.indexOf(section).toString(16).padStart(3, "0")}-${n.toString(16).padStart(12, "0")}`;
}

export function contentOf(n: number): Buffer {
  // The first is a large object.
  return n === 0 ? Buffer.alloc(MIB + 3, "large object ") : Buffer.from([n, 0, 255]);
}

const hashOf = (n: number): string => `hash-${String(n).padStart(4, "0")}`;

/** Values that refer to each other, or are the kind's. */
function fixedToken(kind: RecordKind, field: Field, n: number): string | undefined {
  const isContent = kind.path === "artifacts.content";
  switch (field.name) {
    case "tenant_id":
      return '"acme"';
    case "content_hash":
      return JSON.stringify(hashOf(n));
    case "storage_type":
      return n === 0 ? '"large_object"' : '"bytea"';
    case "data":
      return JSON.stringify(contentOf(n).toString("base64"));
    case "size_bytes":
      return String(contentOf(n).length);
    case "reference_count":
    case "artifact_count":
      return "1";
    case "session_id":
      return JSON.stringify(uuid("sessions", n));
    case "source_entity_id":
    case "target_entity_id":
      return JSON.stringify(uuid("knowledge_graph.entities", n));
    case "artifact_id":
      return JSON.stringify(`${uuid("sessions", n)}:${n}:${hashOf(n)}`);
    case "event_id":
    case "execution_id":
    case "id":
    case "entity_id":
    case "relationship_id":
    case "pattern_id":
    case "state_id":
    case "kv_id":
      return JSON.stringify(uuid(kind.path, n));
    case "context_size":
      return isContent ? undefined : "3";
    default:
      return undefined;
  }
}

function token(kind: RecordKind, field: Field, n: number): string {
  const fixed = fixedToken(kind, field, n);
  if (fixed !== undefined) return fixed;
  switch (field.type) {
    case "text":
      return JSON.stringify(field.oneOf?.[0] ?? `${field.name} ${n}`);
    case "uuid":
      return JSON.stringify(uuid(kind.path, n + 4096));
    case "int4":
    case "int8":
      return String(field.constant ?? n + 1);
    case "bool":
      return "false";
    case "timestamp":
      return String(START + BigInt(n) * 1_000_001n + (/_end$|expires/.test(field.name) ? 3_600_000_000n : 0n));
    case "json":
      return `{"n":${n}}`;
    case "bytes":
      return JSON.stringify(Buffer.from([n, 1, 2]).toString("base64"));
    case "vector":
      return JSON.stringify(vectorOf(field.dimension ?? 0, n).toString("base64"));
    case "text_array":
      return '["a","b"]';
  }
}

export function vectorOf(dimension: number, n: number): Buffer {
  const numbers = Float32Array.from({ length: dimension }, (_, i) => n + 1 + i / 16);
  return Buffer.from(numbers.buffer);
}

export function recordOf(kind: RecordKind, n: number): Tokens {
  return Object.fromEntries(kind.fields.map((field) => [field.name, token(kind, field, n)]));
}

/** `count` of each kind's. */
export function makeSections(count: (path: string) => number): Sections {
  return new Map(
    catalog.kinds.map((kind) => [kind.path, Array.from({ length: count(kind.path) }, (_, n) => recordOf(kind, n))]),
  );
}

/** As our own export prints it, but for its manifest. */
export function writeDocument(path: string, sections: Sections, backend: "sqlite" | "postgresql" = "sqlite"): void {
  const arrays = new Map(
    [...sections].map(([section, records]) => [section, `[${records.map(recordText).join(",\n")}]`]),
  );
  const entries = [...new Set([...sections.keys()].map((section) => section.split(".")[0] as string))].map((name) => {
    const inner = [...arrays].filter(([section]) => section.startsWith(`${name}.`));
    const value =
      inner.length === 0
        ? arrays.get(name)
        : `{${inner.map(([section, text]) => `"${section.slice(name.length + 1)}":${text}`).join(",")}}`;
    return `"${name}":${value}`;
  });
  const head = `{"version":"1.0","exported_at":"2026-01-01T00:00:00Z","source_backend":"${backend}","producer":"test","migrations":["V1","V3"]`;
  writeFileSync(path, `${head},"data":{${entries.join(",\n")}}}`);
}

function recordText(record: Tokens): string {
  const entries = Object.entries(record).filter(([, text]) => text !== undefined);
  return `{${entries.map(([name, text]) => `"${name}":${text}`).join(",")}}`;
}

/** The key as messages have it. */
export function keyText(kind: RecordKind, record: Tokens): string {
  return kind.key.map((name) => `${name}=${`${record[name]}`.replace(/^"|"$/g, "")}`).join(", ");
}

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** The value as SQL. Written by hand: what is tested does not make its own input. */
function literal(field: Field, text: string | undefined, backend: Backend): string {
  if (text === undefined || (text === "null" && field.type !== "json")) return "NULL";
  const value = (): string => JSON.parse(text) as string;
  switch (field.type) {
    case "text":
    case "uuid":
      return quoted(value());
    case "int4":
    case "int8":
      return text;
    case "bool":
      return backend === "sqlite" ? String(Number(text === "true")) : text;
    case "timestamp":
      return text.startsWith('"')
        ? quoted(value())
        : `timestamptz '2000-01-01 00:00:00+00' + ${BigInt(text) - 946_684_800_000_000n} * interval '1 microsecond'`;
    case "json":
      return backend === "sqlite" ? quoted(text) : `${quoted(text)}::jsonb`;
    case "bytes":
      return blob(Buffer.from(value(), "base64"), backend);
    case "vector": {
      const bytes = Buffer.from(value(), "base64");
      if (backend === "sqlite") return blob(bytes, backend);
      const numbers = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(i * 4));
      return `'[${numbers.map((number) => (Object.is(number, -0) ? "-0" : number)).join()}]'`;
    }
    case "text_array": {
      if (backend === "sqlite") return quoted(text);
      const items = (JSON.parse(text) as (string | null)[]).map((item) => (item === null ? "NULL" : quoted(item)));
      return `ARRAY[${items.join(", ")}]::text[]`;
    }
  }
}

function blob(bytes: Buffer, backend: Backend): string {
  return backend === "sqlite" ? `X'${bytes.toString("hex")}'` : `'\\x${bytes.toString("hex")}'::bytea`;
}

/** The condition that finds a record: by the one field of its key that differs in all of them. */
export function whereOf(kind: RecordKind, record: Tokens, backend: Backend): string {
  const name = kind.key.find((each) => each !== "tenant_id" && !/time/.test(each)) as string;
  const field = kind.fields.find((each) => each.name === name) as Field;
  return `${columnOf(field)} = ${literal(field, record[name], backend)}`;
}

/** The statement that gives a field of a stored record another value. */
export function updateOf(
  kind: RecordKind,
  record: Tokens,
  name: string,
  text: string | undefined,
  backend: Backend,
): string {
  const field = kind.fields.find((each) => each.name === name) as Field;
  const column = columnOf(field);
  const where = whereOf(kind, record, backend);
  if (backend === "postgres")
    return `UPDATE llmspell.${kind.postgres.table} SET ${column} = ${literal(field, text, backend)} WHERE ${where}`;
  const { sqlite } = kind;
  if (sqlite.layout === "vector" && field.type === "vector")
    return `UPDATE ${sqlite.embeddingTable} SET embedding = ${literal(field, text, backend)} WHERE rowid = (SELECT rowid FROM vector_metadata WHERE ${where})`;
  const table = sqlite.layout === "vector" ? sqlite.metadataTable : sqlite.table;
  if (field.type !== "timestamp" || text === "null")
    return `UPDATE ${table} SET ${column} = ${literal(field, text, backend)}${field.type === "timestamp" ? `, ${column}_us = NULL` : ""} WHERE ${where}`;
  return `UPDATE ${table} SET ${sqliteTime(column, `${text}`)} WHERE ${where}`;
}

/** llmspell's seconds, and the exact value beside them. */
function sqliteTime(column: string, text: string): string {
  if (text === '"infinity"') return `${column} = 9999999999, ${column}_us = 9223372036854775807`;
  if (text === '"-infinity"') return `${column} = -9999999999, ${column}_us = -9223372036854775808`;
  const unix = BigInt(text);
  const seconds = unix >= 0n ? unix / 1_000_000n : -((-unix + 999_999n) / 1_000_000n);
  return `${column} = ${seconds}, ${column}_us = ${unix - 946_684_800_000_000n}`;
}

/** Removes a record. */
export function deleteOf(kind: RecordKind, record: Tokens, backend: Backend): string {
  const where = whereOf(kind, record, backend);
  if (backend === "postgres") return `DELETE FROM llmspell.${kind.postgres.table} WHERE ${where}`;
  return `DELETE FROM ${kind.sqlite.layout === "vector" ? kind.sqlite.metadataTable : kind.sqlite.table} WHERE ${where}`;
}
