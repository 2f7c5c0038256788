/** Rows of the target that the source does not have any more: found when all is merged, children before their parents. */
import { setImmediate as nextTick } from "node:timers/promises";
import { type RecordKind, tenantFieldOf } from "../../../catalog/index.js";
import { emptyNote, referredNote, unclearNote } from "../../../records/loads/prune-notes.js";
import type { PruneScope, TargetScope } from "../../../records/run-context.js";
import type { Database } from "../open.js";
import { kindCondition, mainTable, quoted, rowidOf } from "../table.js";
import { lowerCounters } from "./counters.js";
import { column, foreignKeysOf, type Writers } from "./foreign-keys.js";
import type { Load } from "./load-session.js";
import type { TableWriter } from "./table-writer.js";

/** Rows between two visits of the event loop. */
const PAGE = 256;

/** How many rows of the scope each kind has, by path. */
export function countRows(load: Load, scope: TargetScope): Map<string, number> {
  const kinds = load.catalog.kinds.filter(({ path }) => scope.paths.has(path));
  return new Map(
    kinds.map((kind) => {
      const sql = `SELECT count(*) FROM ${quoted(mainTable(kind))} AS c WHERE ${inScope(kind, scope)}`;
      return [kind.path, load.database.prepare(sql).pluck().get(tenantsOf(scope)) as number];
    }),
  );
}

/**
 * Removes them; gives lines for the user. Before counters are raised, for those count the rows that are there; `lower` is to
 * be called afterwards.
 */
export async function pruneRows(
  load: Load,
  scope: PruneScope,
  writers: Writers,
  writerOf: (kind: RecordKind) => TableWriter,
): Promise<{ readonly notes: readonly string[]; lower(): void }> {
  const notes: string[] = [];
  const removed = new Map<RecordKind, string>();
  for (const kind of [...load.catalog.importOrder].reverse()) {
    if (!scope.paths.has(kind.path)) continue;
    if (!writers.has(kind.path) && !scope.allowEmpty) {
      if (hasRows(load, kind, scope)) notes.push(emptyNote(kind));
      continue;
    }
    const writer = writerOf(kind);
    const { spared } = load.context;
    // A row may have the rejected key in another spelling.
    if (spared?.isUnclear(kind.path) || (spared?.hasAny(kind.path) && writer.spelled.size > 0)) {
      notes.push(unclearNote(kind));
      continue;
    }
    const kept = await pruneKind(load, scope, writer, removed);
    if (kept > 0) notes.push(referredNote(kind, kept));
  }
  return {
    notes,
    lower() {
      for (const [kind, table] of removed) lowerCounters(load, kind, table, writers);
    },
  };
}

/** Gives how many rows stay because others refer to them. */
async function pruneKind(
  load: Load,
  scope: PruneScope,
  writer: TableWriter,
  removed: Map<RecordKind, string>,
): Promise<number> {
  const { kind, table } = writer;
  const { database, context } = load;
  const at = `c.${writer.rowid}`;
  const unmet = `NOT ${writer.newRows("c")} AND ${at} NOT IN (SELECT r FROM ${writer.met}) AND ${at} NOT IN (SELECT r FROM ${writer.spared})`;
  const from = `FROM ${quoted(table)} AS c WHERE ${inScope(kind, scope)} AND ${unmet}`;
  const page = database.prepare(`SELECT ${at} ${from} AND ${at} > ? ORDER BY ${at} LIMIT ${PAGE}`);
  page.safeIntegers().pluck();
  const referrers = referencesTo(load, kind).map((sql) => database.prepare(sql).pluck());
  const remember = rememberParents(load, writer, removed);
  let kept = 0;
  for (let after = -(2n ** 63n); ; ) {
    const rowids = page.all(...tenantsOf(scope), after) as bigint[];
    if (rowids.length === 0) return kept;
    for (const rowid of rowids) {
      after = rowid;
      if (context.spared?.hasAny(kind.path) && context.spared.has(kind.path, writer.stored.keyOf(rowid))) continue;
      if (referrers.some((refers) => refers.get(rowid) !== undefined)) kept++;
      else {
        remember(rowid);
        writer.prune(rowid);
      }
    }
    await nextTick();
    context.signal.throwIfAborted();
  }
}

/** Of whom a row is, for the counters. */
function rememberParents(
  load: Load,
  { kind, table, rowid }: TableWriter,
  removed: Map<RecordKind, string>,
): (row: bigint) => void {
  const columns = [...new Set(kind.foreignKeys.flatMap(({ fields }) => fields))].map((name) => column(kind, name));
  if (columns.length === 0) return () => {};
  const name = `temp.${load.name("pruned")}`;
  const select = `SELECT ${columns.join(", ")} FROM ${quoted(table)}`;
  load.database.exec(`CREATE TABLE ${name} AS ${select} WHERE 0`);
  removed.set(kind, name);
  const insert = load.database.prepare(`INSERT INTO ${name} ${select} WHERE ${rowid} = ?`);
  return (row) => void insert.run(row);
}

/** Queries for a row that refers to the row of the rowid `?`: by the catalog's foreign keys, or by one that the file declares. */
function referencesTo(load: Load, kind: RecordKind): string[] {
  const { database, catalog } = load;
  const table = mainTable(kind);
  const rowid = rowidOf(database, table);
  const query = (child: string, pairs: readonly (readonly [own: string, referenced: string])[]): string => {
    const same = pairs.map(([own, referenced]) => `r.${own} = p.${referenced}`).join(" AND ");
    // A row that refers to itself does not keep itself.
    const other = child === table ? `AND r.${rowid} <> p.${rowid}` : "";
    return `SELECT 1 FROM ${quoted(table)} AS p JOIN ${quoted(child)} AS r ON ${same} ${other} WHERE p.${rowid} = ? LIMIT 1`;
  };
  const ours = catalog.kinds.flatMap((child) =>
    foreignKeysOf(load, child)
      .filter(({ references }) => references === kind.path)
      .map(({ fields, referencedFields }) =>
        query(
          mainTable(child),
          fields.map((name, i) => [column(child, name), column(kind, referencedFields[i] as string)] as const),
        ),
      ),
  );
  const known = new Set(catalog.kinds.map((one) => mainTable(one).toLowerCase()));
  return [...ours, ...foreignReferences(database, table, known).map(([child, pairs]) => query(child, pairs))];
}

/** Foreign keys of tables that are none of the catalog's. */
function foreignReferences(
  database: Database,
  table: string,
  known: ReadonlySet<string>,
): [child: string, pairs: [own: string, referenced: string][]][] {
  const rows = database
    .prepare(
      `SELECT t.name, k.id, k."from", k."to",
         (SELECT i.name FROM pragma_table_info(?) AS i WHERE i.pk = k.seq + 1) AS key
       FROM pragma_table_list AS t JOIN pragma_foreign_key_list(t.name) AS k
       WHERE t.schema = 'main' AND t.type = 'table' AND k."table" = ? COLLATE NOCASE ORDER BY t.name, k.id, k.seq`,
    )
    .raw()
    .all(table, table) as [string, number, string, string | null, string][];
  const keys = new Map<string, [string, [string, string][]]>();
  for (const [child, id, own, referenced, key] of rows) {
    if (known.has(child.toLowerCase())) continue;
    const entry = keys.get(`${id} ${child}`) ?? [child, []];
    entry[1].push([quoted(own), quoted(referenced ?? key)]);
    keys.set(`${id} ${child}`, entry);
  }
  return [...keys.values()];
}

function hasRows(load: Load, kind: RecordKind, scope: TargetScope): boolean {
  const sql = `SELECT 1 FROM ${quoted(mainTable(kind))} AS c WHERE ${inScope(kind, scope)} LIMIT 1`;
  return load.database.prepare(sql).get(tenantsOf(scope)) !== undefined;
}

function inScope(kind: RecordKind, { tenants }: TargetScope): string {
  const tenant = tenantFieldOf(kind);
  // What has no tenant is not one tenant's to lose.
  const ofTenants =
    tenant === undefined ? "? IS NULL" : `c.${column(kind, tenant.name)} IN (SELECT value FROM json_each(?))`;
  const conditions = [kindCondition(kind, "c."), tenants === undefined ? undefined : ofTenants];
  return conditions.filter((condition) => condition !== undefined).join(" AND ") || "1";
}

function tenantsOf({ tenants }: TargetScope): string[] {
  return tenants === undefined ? [] : [JSON.stringify(tenants)];
}
