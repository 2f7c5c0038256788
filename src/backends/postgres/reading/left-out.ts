/** What a database holds that is no part of any record: the application's own tables and columns of another release, and people's. */
import { columnOf, type RecordKind, storedFields, tenantFieldOf } from "../../../catalog/index.js";
import { quote, schemasOf, shownName, sqlName, type TableName, tableOf } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { isOfRow, postgresCause } from "../session/errors.js";
import { inPasses, type Passes } from "./passes.js";

interface Reading {
  /** All kinds that there are. */
  readonly catalog: readonly RecordKind[];
  /** Those that are read. */
  readonly kinds: readonly RecordKind[];
  /** SQL literals. */
  readonly tenants?: readonly string[] | undefined;
  /** Of a kind whose rows row-level security shows tenant by tenant. */
  readonly passesOf: (kind: RecordKind) => Passes | undefined;
  /** Tables that are no kind's, and of which something else is said, or nothing. */
  readonly others: readonly TableName[];
}

interface TableColumns extends TableName {
  /** Without generated ones: they hold nothing of their own. */
  readonly columns: readonly string[];
  readonly readable: boolean;
  /** The planner's estimate. */
  readonly rows: number;
}

/** Rows are counted up to here: a table that is not read should not take longer than those that are. */
const MOST_COUNTED = 1_000_000;

const TABLES = `
SELECT n.nspname::text AS schema, c.relname::text AS table, c.reltuples::float8 AS rows,
       has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
         AND NOT row_security_active(c.oid) AS readable,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             ORDER BY a.attnum) AS columns
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname::text = ANY ($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C"`;

const counted = (number: bigint | number, noun: string): string =>
  `${number} ${noun}${Number(number) === 1 ? "" : "s"}`;

/** A line for each table and column with values that the run leaves out though nobody asked it to. */
export async function leftOut(connection: PostgresConnection, reading: Reading): Promise<string[]> {
  const { catalog, kinds, tenants } = reading;
  const { rows: tables } = await connection.query<TableColumns & Record<string, unknown>>(TABLES, [schemasOf(catalog)]);
  const lines: string[] = [];
  for (const kind of kinds) {
    const table = tables.find((each) => sqlName(each) === sqlName(tableOf(kind)));
    if (table !== undefined) lines.push(...(await unknownColumns(connection, kind, table, reading)));
  }
  // Of tenants only, or of some sections, other tables are no part.
  if (tenants !== undefined || kinds.length < catalog.length) return lines;
  const known = new Set([...catalog.map(tableOf), ...reading.others].map(sqlName));
  for (const table of tables) if (!known.has(sqlName(table))) lines.push(...(await unknownTable(connection, table)));
  return lines;
}

async function unknownColumns(
  connection: PostgresConnection,
  kind: RecordKind,
  table: TableColumns,
  { tenants, passesOf }: Reading,
): Promise<string[]> {
  const known = new Set(storedFields(kind, "postgresql").map(columnOf));
  if (kind.postgres.largeObject !== undefined) known.add(kind.postgres.largeObject.oidColumn);
  const unknown = table.columns.filter((column) => !known.has(column));
  const tenant = tenantFieldOf(kind);
  if (unknown.length === 0 || (tenants?.length === 0 && tenant !== undefined)) return [];
  const isAll = tenants === undefined || tenant === undefined;
  const where = isAll ? "" : ` WHERE ${quote(columnOf(tenant))} IN (${tenants.join(", ")})`;
  const passes = passesOf(kind);
  const rows = passes === undefined ? `${sqlName(table)}${where}` : inPasses(kind, passes);
  const counts = unknown.map((column) => `count(${quote(column)})`).join(", ");
  const values = await attempt<string[]>(connection, `SELECT ARRAY[${counts}]::text[] AS value FROM ${rows}`);
  return unknown.flatMap((column, i) => {
    const count = values?.[i];
    if (count === "0") return [];
    const what = count === undefined ? "values" : counted(BigInt(count), "value");
    return [`${what} in the column ${column} of ${shownName(table)}, which no field has`];
  });
}

async function unknownTable(connection: PostgresConnection, table: TableColumns): Promise<string[]> {
  const { readable, rows } = table;
  const which = `of the table ${shownName(table)}, which no section has`;
  if (!readable) return rows > 0 ? [`about ${counted(rows, "row")} ${which}, and which this role may not read`] : [];
  const count = await attempt<bigint>(
    connection,
    `SELECT count(*) AS value FROM (SELECT FROM ${sqlName(table)} LIMIT ${MOST_COUNTED + 1}) r`,
  );
  if (count === undefined) return [`rows ${which}, and which cannot be counted`];
  if (count === 0n) return [];
  return [`${count > MOST_COUNTED ? `more than ${MOST_COUNTED} rows` : counted(count, "row")} ${which}`];
}

/** The `value` of the one row; undefined where the table is locked or damaged: the snapshot goes on. */
async function attempt<Value>(connection: PostgresConnection, sql: string): Promise<Value | undefined> {
  await connection.query("SAVEPOINT llmspell_count; SET LOCAL lock_timeout = '5s'");
  try {
    const { rows } = await connection.query<{ value: Value }>(sql);
    return rows[0]?.value;
  } catch (error) {
    if (!isOfRow(error) && postgresCause(error)?.sqlState !== "55P03") throw error;
    return undefined;
  } finally {
    await connection.query("ROLLBACK TO SAVEPOINT llmspell_count; RELEASE SAVEPOINT llmspell_count").catch(() => {});
  }
}
