/** What a database holds that is no part of any record: the application's own tables and columns of another release, and people's. */
import type { RecordKind } from "../../../catalog/index.js";
import { type Database, isVec0 } from "../open.js";
import { columnsOf, isOfTenants, mainTable, neededColumns, quoted, tenantsFor } from "../table.js";

interface Reading {
  /** All kinds that there are. */
  readonly catalog: readonly RecordKind[];
  /** Those that are read. */
  readonly kinds: readonly RecordKind[];
  readonly tenants?: readonly string[] | undefined;
  /** Tables that are no kind's, and of which nothing is said. */
  readonly others?: ReadonlySet<string> | undefined;
}

/** A line for each table, column and kind of rows that the run leaves out though nobody asked it to. */
export function leftOut(database: Database, { catalog, kinds, tenants, others = new Set() }: Reading): string[] {
  const lines = [...unknownColumns(database, kinds, tenants)];
  if (kinds.some(({ sqlite }) => sqlite.layout === "vector")) lines.push(...strayMetadata(database, catalog, tenants));
  // Whose rows these are is not to be known.
  if (tenants !== undefined) return lines;
  for (const kind of kinds) lines.push(...strayEmbeddings(database, kind));
  if (kinds.length === catalog.length) lines.push(...unknownTables(database, catalog, others));
  return lines;
}

function count(database: Database, sql: string, values: readonly string[] = []): number {
  return Number(database.prepare(sql).pluck().get(values));
}

function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Tables that hold rows and no kind's; of virtual ones only embeddings of other dimensions: the others are made of tables. */
function* unknownTables(
  database: Database,
  catalog: readonly RecordKind[],
  others: ReadonlySet<string>,
): Generator<string> {
  const known = new Set(others);
  for (const kind of catalog) {
    known.add(mainTable(kind));
    if (kind.sqlite.layout === "vector") known.add(kind.sqlite.embeddingTable);
  }
  const tables = database
    .prepare(
      "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .raw()
    .all() as [string, string][];
  const virtual = tables.flatMap(([table, type]) => (type === "virtual" ? [`${table}_`] : []));
  for (const [table, type] of tables.sort()) {
    const isEmbeddings = /^vec_embeddings_\d+$/.test(table);
    if (known.has(table) || !(type === "table" || (type === "virtual" && isEmbeddings))) continue;
    // sqlite-vec does not call all of its own tables shadows.
    if (virtual.some((prefix) => table.startsWith(prefix))) continue;
    const rows = count(database, `SELECT count(*) FROM ${quoted(rowidsOf(database, table))}`);
    if (rows > 0) yield `${counted(rows, "row")} of the table ${table}, which no section has`;
  }
}

/** The rowids of a vec0 table are in a table of its own: counting that is no walk through the vectors. */
function rowidsOf(database: Database, table: string): string {
  const rowids = `${table}_rowids`;
  return isVec0(database, table) === true && columnsOf(database, rowids) !== undefined ? rowids : table;
}

/** Columns of the kinds' tables that hold values and no field's. */
function* unknownColumns(
  database: Database,
  kinds: readonly RecordKind[],
  tenants: readonly string[] | undefined,
): Generator<string> {
  // One table of metadata is that of several kinds.
  const places = new Map<string, { readonly known: ReadonlySet<string>; readonly where: string }>();
  for (const kind of kinds) {
    const { sqlite } = kind;
    const { plain, exact } = neededColumns(kind);
    const own = sqlite.layout === "vector" ? "rowid" : (sqlite.surrogateKey ?? "");
    const where = tenantsFor(kind, tenants) === undefined ? "" : `WHERE ${isOfTenants(kind)}`;
    places.set(mainTable(kind), { known: new Set([...plain, ...exact, own]), where });
    if (sqlite.layout === "vector" && tenants === undefined)
      places.set(sqlite.embeddingTable, { known: new Set(["rowid", "embedding"]), where: "" });
  }
  for (const [table, { known, where }] of places) {
    for (const name of storedColumns(database, table)) {
      if (known.has(name.toLowerCase())) continue;
      const values = where === "" ? [] : [JSON.stringify(tenants)];
      const rows = count(
        database,
        `SELECT total(typeof(${quoted(name)}) <> 'null') FROM ${quoted(table)} NOT INDEXED ${where}`,
        values,
      );
      if (rows > 0) yield `${counted(rows, "value")} in the column ${name} of ${table}, which no field has`;
    }
  }
}

/** Not generated ones: they hold nothing of their own. */
function storedColumns(database: Database, table: string): string[] {
  return database.prepare("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0").pluck().all(table) as string[];
}

/** Embeddings of the kind's table that no metadata row refers to. */
function* strayEmbeddings(database: Database, kind: RecordKind): Generator<string> {
  if (kind.sqlite.layout !== "vector") return;
  const { embeddingTable, metadataTable, dimension } = kind.sqlite;
  if (columnsOf(database, embeddingTable) === undefined || columnsOf(database, metadataTable) === undefined) return;
  const strays = count(
    database,
    `SELECT count(*) FROM ${quoted(rowidsOf(database, embeddingTable))}
     WHERE rowid NOT IN (SELECT rowid FROM ${quoted(metadataTable)} WHERE dimension = ${dimension} AND rowid IS NOT NULL)`,
  );
  if (strays > 0) yield `${strays} embeddings in ${embeddingTable} have no metadata; they are no records`;
}

/** Metadata rows of dimensions that no kind of the catalog has. */
function* strayMetadata(
  database: Database,
  catalog: readonly RecordKind[],
  tenants: readonly string[] | undefined,
): Generator<string> {
  const kinds = catalog.filter(({ sqlite }) => sqlite.layout === "vector");
  const vectors = kinds.flatMap(({ sqlite }) => (sqlite.layout === "vector" ? [sqlite] : []));
  const table = vectors[0]?.metadataTable;
  if (table === undefined || columnsOf(database, table) === undefined) return;
  const dimensions = vectors.map(({ dimension }) => dimension).join(", ");
  const unknown = `(dimension NOT IN (${dimensions}) OR dimension IS NULL)`;
  const [kind] = kinds as [RecordKind];
  const isAll = tenantsFor(kind, tenants) === undefined;
  const where = isAll ? unknown : `${unknown} AND ${isOfTenants(kind)}`;
  const values = isAll ? [] : [JSON.stringify(tenants)];
  const strays = count(database, `SELECT count(*) FROM ${quoted(table)} NOT INDEXED WHERE ${where}`, values);
  if (strays > 0) yield `${strays} rows of vector_metadata have a dimension that no section has`;
}
