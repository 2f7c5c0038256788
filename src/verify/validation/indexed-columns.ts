/** The columns that the migrations' indexes are of: what is too large or too deep for one is refused with its record. */
import { columnOf, type RecordKind } from "../../catalog/index.js";
import { loadMigrations } from "../../llmspell/schema/migration.js";

/** Columns of one index that hold their values as they are; of an expression what it takes out of a json column. */
export interface IndexedColumns {
  readonly method: "btree" | "gin";
  /** Indexes of the kind's fields. */
  readonly fields: readonly number[];
}

const POSTGRES_INDEX =
  /CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?\w+ ON (?:llmspell\.)?(\w+)\s+(?:USING (\w+) )?\(([^;]*?)\)\s*(?:WHERE[^;]*)?;/gi;
const SQLITE_JSON_INDEX = /ON (\w+)\s*\(\s*json_extract\((\w+)/g;

/** The B-tree and GIN indexes of the kind's table in PostgreSQL, those of its keys among them; not those of expressions. */
export function postgresIndexes(kind: RecordKind): IndexedColumns[] {
  const byColumn = new Map(kind.fields.map((field, index) => [columnOf(field), index]));
  const fieldsOf = (columns: readonly string[]): number[] =>
    columns.flatMap((column) => byColumn.get(column.trim().split(/\s/, 1)[0] as string) ?? []);
  const keys = [kind.key, ...kind.uniqueKeys].map(
    (names): IndexedColumns => ({
      method: "btree",
      fields: names.map((name) => kind.fields.findIndex((field) => field.name === name)),
    }),
  );
  const sql = loadMigrations("postgres").map((migration) => migration.sql);
  const declared = sql
    .flatMap((text) => [...text.matchAll(POSTGRES_INDEX)])
    .flatMap((match): IndexedColumns[] => {
      const [, table, method = "btree", columns = ""] = match;
      if (table !== kind.postgres.table || columns.includes("(")) return [];
      if (method !== "btree" && method !== "gin") return [];
      return [{ method, fields: fieldsOf(columns.split(",")) }];
    });
  return [...keys, ...declared].filter(({ fields }) => fields.length > 0);
}

/** The json fields of the kind that SQLite has json_extract indexes of; by field index. */
export function sqliteJsonIndexes(kind: RecordKind): ReadonlySet<number> {
  if (kind.sqlite.layout !== "table") return new Set();
  const { table } = kind.sqlite;
  const columns = loadMigrations("sqlite")
    .flatMap(({ sql }) => [...sql.matchAll(SQLITE_JSON_INDEX)])
    .flatMap(([, of, column]) => (of === table && column !== undefined ? [column] : []));
  return new Set(
    [...kind.fields.entries()].filter(([, field]) => columns.includes(columnOf(field))).map(([index]) => index),
  );
}
