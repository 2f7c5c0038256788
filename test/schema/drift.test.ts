/** The schema that the migrations make, against the catalog from which everything else is derived. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { columnOf, exactColumnOf, type Field, type RecordKind, storedFields } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { migratePostgres, migrateSqlite } from "../../src/llmspell/schema/migrator.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { withDatabase } from "./sqlite-content.js";

const POSTGRES_TYPES: Readonly<Record<Field["type"], string>> = {
  text: "text",
  uuid: "uuid",
  int4: "integer",
  int8: "bigint",
  bool: "boolean",
  timestamp: "timestamp with time zone",
  json: "jsonb",
  bytes: "bytea",
  vector: "vector",
  text_array: "text[]",
};

interface Column {
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
}

const columnsOfFields = (kind: RecordKind, names: readonly string[]): string[] =>
  names.map((name) => columnOf(kind.fields.find((field) => field.name === name) as Field));

/** Fields with a CHECK: bounds, permitted values, intervals. */
const checkedColumns = (kind: RecordKind): string[] =>
  storedFields(kind, "postgresql")
    .filter((field) => field.min !== undefined || field.max !== undefined || field.oneOf !== undefined)
    .map(columnOf);

describePostgres("PostgreSQL's schema and the catalog", () => {
  const tables = new Map<string, Column[]>();
  const constraints = new Map<string, string[]>();
  beforeAll(async () => {
    await using database = await createTestDatabase();
    const connection = await connectPostgres({ url: database.url });
    try {
      await migratePostgres(connection);
      const columns = await connection.query<Column & { table: string }>(`
        SELECT c.relname::text AS table, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
               a.attnotnull AS "notNull"
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'llmspell'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 ORDER BY a.attnum`);
      for (const { table, ...column } of columns.rows) tables.set(table, [...(tables.get(table) ?? []), column]);
      const found = await connection.query<{ table: string; text: string }>(`
        SELECT c.relname::text AS table, pg_get_constraintdef(k.oid) AS text
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = 'llmspell'::regnamespace`);
      for (const { table, text } of found.rows) constraints.set(table, [...(constraints.get(table) ?? []), text]);
    } finally {
      await connection.close();
    }
  });

  it.each(catalog.kinds.map((kind) => [kind.path, kind] as const))("%s has its columns, in order", (_, kind) => {
    const { table, largeObject } = kind.postgres;
    const expected = storedFields(kind, "postgresql").flatMap((field): Column[] => {
      const name = columnOf(field);
      const notNull = field.nullable !== true && field.name !== largeObject?.field;
      const length = field.name === largeObject?.typeField ? 20 : field.maxLength;
      const type = length !== undefined ? `character varying(${length})` : POSTGRES_TYPES[field.type];
      const column = { name, type: field.type === "vector" ? `vector(${field.dimension})` : type, notNull };
      return field.name === largeObject?.field
        ? [column, { name: largeObject.oidColumn, type: "oid", notNull: false }]
        : [column];
    });
    expect(tables.get(table)).toEqual(expected);
  });

  it.each(catalog.kinds.map((kind) => [kind.path, kind] as const))("%s has its keys and checks", (_, kind) => {
    const found = constraints.get(kind.postgres.table) ?? [];
    const list = (names: readonly string[]): string =>
      columnsOfFields(kind, names)
        .map((name) => (name === "timestamp" ? '"timestamp"' : name))
        .join(", ");
    expect(found).toContain(`PRIMARY KEY (${list(kind.key)})`);
    const unique = found.filter((text) => text.startsWith("UNIQUE"));
    expect(unique).toEqual(kind.uniqueKeys.map((key) => `UNIQUE (${list(key)})`));
    const foreign = found
      .filter((text) => text.startsWith("FOREIGN KEY"))
      .map((text) => text.replace(/ ON DELETE.*/, ""));
    expect(foreign.sort()).toEqual(
      kind.foreignKeys
        .map(({ fields, references, referencedFields }) => {
          const parent = catalog.byPath.get(references) as RecordKind;
          const to = columnsOfFields(parent, referencedFields).join(", ");
          return `FOREIGN KEY (${list(fields)}) REFERENCES llmspell.${parent.postgres.table}(${to})`;
        })
        .sort(),
    );
    const checks = found.filter((text) => text.startsWith("CHECK"));
    for (const field of storedFields(kind, "postgresql")) {
      const column = columnOf(field);
      if (field.min !== undefined) {
        expect(
          checks.some(
            (text) =>
              text.includes(`(${column} > ${Number(field.min) - 1})`) || text.includes(`(${column} >= ${field.min})`),
          ),
          column,
        ).toBe(true);
      }
      if (field.max !== undefined)
        expect(
          checks.some((text) => text.includes(`(${column} <= ${field.max})`)),
          column,
        ).toBe(true);
      for (const value of field.oneOf ?? []) {
        expect(
          checks.some((text) => text.includes(column) && text.includes(`'${value}'`)),
          value,
        ).toBe(true);
      }
    }
    for (const [start, end] of kind.intervals ?? []) expect(checks).toContain(`CHECK ((${start} < ${end}))`);
    // No CHECK that the catalog does not know, but for the one on a content's place.
    const known = checkedColumns(kind).length + (kind.intervals?.length ?? 0) + (kind.postgres.largeObject ? 2 : 0);
    expect(checks).toHaveLength(known);
  });
});

const SQLITE_TYPES: Readonly<Record<Field["type"], string>> = {
  text: "TEXT",
  uuid: "TEXT",
  int4: "INTEGER",
  int8: "INTEGER",
  bool: "INTEGER",
  timestamp: "INTEGER",
  json: "TEXT",
  bytes: "BLOB",
  vector: "BLOB",
  text_array: "TEXT",
};

/** Unique keys as SQLite has them: a time in a key is its seconds and its exact value. */
function sqliteKeys(kind: RecordKind): string[] {
  const exact = (key: readonly string[]): string =>
    key
      .flatMap((name) => {
        const field = kind.fields.find((candidate) => candidate.name === name) as Field;
        return field.type === "timestamp" ? [columnOf(field), exactColumnOf(field)] : [columnOf(field)];
      })
      .join(",");
  if (kind.sqlite.layout === "vector") return ["id,dimension"];
  // llmspell's SQLite has the tenant in the key of the executions.
  const key = kind.path === "hook_history" ? ["tenant_id", ...kind.key] : kind.key;
  return [exact(key), ...kind.uniqueKeys.map(exact)];
}

describe("SQLite's schema and the catalog", () => {
  const folder = mkdtempSync(join(tmpdir(), "llmspell-drift-"));
  const path = join(folder, "llmspell.db");
  beforeAll(async () => {
    await migrateSqlite(path);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(catalog.kinds.map((kind) => [kind.path, kind] as const))("%s has its columns, in order", (_, kind) => {
    const isVector = kind.sqlite.layout === "vector";
    const table = kind.sqlite.layout === "vector" ? kind.sqlite.metadataTable : kind.sqlite.table;
    const fields = storedFields(kind, "sqlite").filter((field) => !(isVector && field.type === "vector"));
    const own = fields.map((field) => ({
      name: columnOf(field),
      type: SQLITE_TYPES[field.type],
      notNull: field.nullable !== true,
    }));
    const nullable = (name: string, type: string): Column => ({ name, type, notNull: false });
    const companions = fields
      .filter(({ type }) => type === "timestamp")
      .map((field) => nullable(exactColumnOf(field), "INTEGER"));
    if (kind.sqlite.layout === "table" && kind.sqlite.textDigest) {
      companions.push(nullable(kind.sqlite.textDigest.companion, "TEXT"));
    }
    if (isVector) {
      own.unshift(nullable("rowid", "INTEGER"));
      own.splice(4, 0, { name: "dimension", type: "INTEGER", notNull: true });
    } else if (kind.sqlite.layout === "table" && kind.sqlite.surrogateKey) {
      own.unshift(nullable(kind.sqlite.surrogateKey, "TEXT"));
    }
    withDatabase(path, (database) => {
      const columns = database
        .prepare('SELECT name, type, "notnull" AS "notNull", pk FROM pragma_table_info(?)')
        .all(table) as { name: string; type: string; notNull: number; pk: number }[];
      // A TEXT PRIMARY KEY accepts NULL in SQLite, as llmspell declares it: of the key's columns only name and type count.
      const inKey = new Set(columns.filter(({ pk }) => pk > 0).map(({ name }) => name));
      const lenient = (column: Column): Column => ({ ...column, notNull: column.notNull || inKey.has(column.name) });
      const found = columns.map(({ name, type, notNull }) => ({ name, type, notNull: notNull === 1 }));
      // Beside llmspell's columns, in their order, stand ours in any order, and all of them accept NULL.
      const isOurs = ({ name }: Column): boolean => name.endsWith("_us") || name === "checksum_exported";
      const byName = (left: Column, right: Column): number => left.name.localeCompare(right.name);
      expect(found.filter((column) => !isOurs(column)).map(lenient)).toEqual(own.map(lenient));
      expect(found.filter(isOurs).sort(byName)).toEqual(companions.sort(byName));
    });
  });

  it.each(catalog.kinds.map((kind) => [kind.path, kind] as const))(
    "%s has its keys, and its foreign keys",
    (_, kind) => {
      const table = kind.sqlite.layout === "vector" ? kind.sqlite.metadataTable : kind.sqlite.table;
      withDatabase(path, (database) => {
        const unique = database
          .prepare(
            `SELECT (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno))
           FROM pragma_index_list(?) AS l WHERE l."unique" = 1 AND l.partial = 0`,
          )
          .pluck()
          .all(table) as string[];
        expect(unique.filter((columns) => columns !== "id").sort()).toEqual(sqliteKeys(kind).sort());
        const foreign = database
          .prepare('SELECT "table", "from", "to" FROM pragma_foreign_key_list(?)')
          .raw()
          .all(table) as string[][];
        const expected = kind.foreignKeys.flatMap(({ fields, references, referencedFields }) => {
          const parent = catalog.byPath.get(references)?.sqlite as { table: string };
          return fields.map((field, index) => [parent.table, field, referencedFields[index] as string]);
        });
        expect(foreign.map(String).sort()).toEqual(expected.map(String).sort());
      });
    },
  );
});
