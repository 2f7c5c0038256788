/** What a load has to know of the tables that it writes to. */
import {
  type Catalog,
  columnOf,
  fieldIndex,
  type RecordKind,
  storedFields,
  uniqueKeysOf,
} from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { StorageError } from "../../../errors.js";
import type { PostgresConnection } from "../session/connection.js";
import { IS_NAMED, namesAsParameters, quote, shownName, sqlName, TYPE_NAME, tableOf } from "./table-names.js";

/** What a varchar(n)'s type modifier is more than n. */
const VARCHAR_HEADER = 4;

export interface TargetTable {
  readonly kind: RecordKind;
  readonly oid: number;
  /** Qualified and quoted. */
  readonly name: string;
  readonly owner: string;
  /** The session's role has the owner's rights. */
  readonly owned: boolean;
  /** What the run makes for the table can be given to its owner, who is another role than the session's. */
  readonly givesToOwner: boolean;
  /** Row-level security is enabled and forced on the table; whether it binds this role. */
  readonly rowSecurity: { readonly enabled: boolean; readonly forced: boolean; readonly binding: boolean };
  /** Each of the kind's keys has a unique index, so that the server itself refuses two records of one run. */
  readonly uniquelyIndexed: boolean;
}

/** The quoted column of a field given by its name. */
export function columnNamed(kind: RecordKind, name: string): string {
  return quote(columnOf(kind.fields[fieldIndex(kind, name)] as (typeof kind.fields)[number]));
}

/** The quoted columns of a load, in order: the stored fields', then the large object's oid where the kind has one. */
export function loadColumns(kind: RecordKind): readonly string[] {
  const { largeObject } = kind.postgres;
  const columns = storedFields(kind, "postgresql").map((field) => quote(columnOf(field)));
  return largeObject === undefined ? columns : [...columns, quote(largeObject.oidColumn)];
}

/** The column of a staging table that says which columns its records do not hold; there where some lack any. */
export const ASSUMED = "llmspell_assumed";

interface TableRow {
  schema: string;
  relname: string;
  oid: number;
  owner: string;
  owned: boolean;
  gives_to_owner: boolean;
  enabled: boolean;
  forced: boolean;
  binding: boolean;
  /** JSON: by name [type (TYPE_NAME), type modifier or -1, whether a row needs a value for it] */
  columns: string;
  unique_keys: string[];
}

const TABLES = `
  SELECT n.nspname AS schema, c.relname, c.oid, pg_get_userbyid(c.relowner) AS owner,
    pg_has_role(c.relowner, 'USAGE') AS owned,
    pg_get_userbyid(c.relowner) <> current_user AND pg_has_role(c.relowner, 'MEMBER') AS gives_to_owner,
    c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
    row_security_active(c.oid) AS binding,
    (SELECT coalesce(json_object_agg(attname, json_build_array(
        (SELECT ${TYPE_NAME} FROM pg_type t WHERE t.oid = atttypid), atttypmod,
        attnotnull AND NOT atthasdef AND attidentity = '')), '{}')::text
      FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
    ARRAY(
      SELECT (SELECT string_agg(a.attname, ',' ORDER BY a.attname COLLATE "C")
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
      FROM pg_index i
      WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
        AND i.indpred IS NULL AND i.indexprs IS NULL
    ) AS unique_keys
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE ${IS_NAMED} AND c.relkind IN ('r', 'p')`;

/**
 * Reads the tables of all kinds, by path.
 * @throws {StorageError} E_NOT_MIGRATED when a table, a column or the key that a kind needs is not there; E_SCHEMA when a
 * column cannot hold what a record may have
 */
export async function readTargetTables(
  connection: PostgresConnection,
  catalog: Catalog,
): Promise<ReadonlyMap<string, TargetTable>> {
  const { rows } = await connection.query<TableRow>(TABLES, namesAsParameters(catalog.kinds.map(tableOf)));
  const found = new Map(rows.map((row) => [sqlName({ schema: row.schema, table: row.relname }), row]));
  const tables = new Map<string, TargetTable>();
  for (const kind of catalog.kinds) {
    const row = found.get(sqlName(tableOf(kind)));
    if (row === undefined) throw notMigrated(`${shownName(tableOf(kind))} is missing`, kind);
    tables.set(kind.path, createTable(kind, row));
  }
  return tables;
}

type Column = readonly [type: string, modifier: number, required: boolean];

/** What the table's columns would change of a record without an error, or refuse of every one. */
function checkColumns(kind: RecordKind, columns: ReadonlyMap<string, Column>): void {
  const { largeObject } = kind.postgres;
  const rest = new Map(columns);
  const take = (name: string): Column => {
    const column = rest.get(name);
    if (column === undefined) throw notMigrated(`${shownName(tableOf(kind))} has no column "${name}"`, kind);
    rest.delete(name);
    return column;
  };
  for (const field of storedFields(kind, "postgresql")) {
    const name = columnOf(field);
    const [type, modifier] = take(name);
    // The server reads a value's bytes as whatever type the column has.
    const { types } = codecOf(field).postgres;
    if (!types.includes(type)) throw unfit(kind, `"${name}" is ${type}, expected ${types[0]}`, field.name);
    // Excess blanks are cut off and microseconds rounded, both silently.
    if (type === "timestamptz" && modifier !== -1 && modifier < 6)
      throw unfit(kind, `"${name}" holds no microseconds`, field.name);
    const length = modifier - VARCHAR_HEADER;
    if (/varchar$/.test(type) && modifier !== -1 && length < (field.maxLength ?? Number.POSITIVE_INFINITY))
      if (field.name !== largeObject?.typeField)
        throw unfit(kind, `"${name}" holds ${length} characters, fewer than a record may have`, field.name);
  }
  if (largeObject !== undefined) take(largeObject.oidColumn);
  for (const [name, [, , required]] of rest)
    if (required)
      throw unfit(kind, `"${name}" needs a value, which no record has: it must be nullable or have a default`);
}

function createTable(kind: RecordKind, row: TableRow): TargetTable {
  checkColumns(kind, new Map(Object.entries(JSON.parse(row.columns) as Record<string, Column>)));
  const indexed = new Set(row.unique_keys);
  const indexKey = (fields: readonly string[]): string =>
    fields
      .map((name) => columnOf(kind.fields[fieldIndex(kind, name)] as (typeof kind.fields)[number]))
      .sort()
      .join(",");
  // Before V15 entities and relationships have one row each, whatever their versions.
  if (kind.keyless !== true && !indexed.has(indexKey(kind.key)))
    throw notMigrated(`${shownName(tableOf(kind))} has not the key ${kind.key.join(", ")}`, kind);
  return {
    kind,
    oid: row.oid,
    name: sqlName(tableOf(kind)),
    owner: row.owner,
    owned: row.owned,
    givesToOwner: row.gives_to_owner,
    rowSecurity: { enabled: row.enabled, forced: row.forced, binding: row.binding },
    uniquelyIndexed: uniqueKeysOf(kind).every((key) => indexed.has(indexKey(key))),
  };
}

function notMigrated(detail: string, kind: RecordKind): StorageError {
  return new StorageError("E_NOT_MIGRATED", "the target's schema is not migrated", {
    section: kind.path,
    detail,
    hint: "Run `llmspell database migrate`.",
  });
}

function unfit(kind: RecordKind, problem: string, field?: string): StorageError {
  return new StorageError("E_SCHEMA", `the target's column ${problem}`, {
    section: kind.path,
    detail: `in the table ${shownName(tableOf(kind))}`,
    ...(field === undefined ? {} : { field }),
    hint: "Compare the table with the one that `llmspell database migrate` makes in an empty database, and alter it.",
  });
}
