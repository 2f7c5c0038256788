/**
 * Which indexes a load does without (deferred-indexes.ts), decided from the catalogs alone: the load asks it, and a plan of
 * the load.
 *
 * Only indexes are deferred that can refuse no record which the table and its keys accept: a record that is refused must be
 * found while it is at hand.
 */
import { columnOf, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import type { TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";

/** When a load defers indexes: by its size, whenever it can, or not at all. */
export type DeferPolicy = "auto" | "always" | "never";

/** A vector index, or any other. */
export type IndexClass = "vector" | "other";

/** Fewer rows are not worth the exclusive lock. */
const LEAST_ROWS = 2000;
/**
 * A merge rebuilds when it writes so many times the rows that the table has (bench/README.md). A build reads the versions
 * that the merge has replaced, too.
 */
const REBUILD_SHARE: Readonly<Record<IndexClass, number>> = { vector: 0.3, other: 2 };
/** Locks of one transaction are few: an index takes one per partition. */
const MOST_PARTITIONS = 200;
/** What fits into an entry of a B-tree whatever its page (2704), less its header. Bytes. */
const ENTRY_BYTES = 2600;

/**
 * The table's indexes that serve no constraint. `sizes`: the most bytes of each column, NULL where it has no bound;
 * `keyed`: a unique index has all of its columns, each once. What the definition does not say would be lost: a comment, a
 * tablespace, statistics, an order of the table, an extension it goes with, of the index or of its part in a partition.
 */
const INDEXES = `
  SELECT c.relname AS name, a.amname AS method,
    -- That of a partitioned index says ONLY, which would leave the partitions without.
    CASE c.relkind WHEN 'I' THEN
      regexp_replace(pg_get_indexdef(c.oid), '^(CREATE INDEX (?:"(?:[^"]|"")*"|[^ "]+) ON) ONLY ', '\\1 ')
    ELSE pg_get_indexdef(c.oid) END AS definition,
    ARRAY(SELECT pg_get_indexdef(c.oid, n, true) FROM generate_series(1, i.indnkeyatts) n) AS columns,
    pg_get_expr(i.indpred, i.indrelid, true) AS predicate,
    ARRAY(
      SELECT CASE WHEN t.typlen > 0 THEN t.typlen
                  WHEN t.typname = 'varchar' AND k.atttypmod > 0 THEN (k.atttypmod - 4) * 4 + 4 END
      FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (number, place)
      LEFT JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = u.number AND u.number > 0
      LEFT JOIN pg_type t ON t.oid = k.atttypid ORDER BY u.place
    )::int4[] AS sizes,
    ARRAY(SELECT format_type(k.atttypid, NULL) FROM pg_attribute k
          WHERE k.attrelid = i.indrelid AND k.attnum = ANY (i.indkey::int2[])) AS types,
    EXISTS (SELECT FROM pg_index o WHERE o.indrelid = i.indrelid AND o.indisunique AND o.indisvalid AND o.indpred IS NULL
      AND i.indkey::int2[] <@ o.indkey::int2[]) AND 0 <> ALL (i.indkey::int2[])
      AND i.indnatts = (SELECT count(DISTINCT number) FROM unnest(i.indkey::int2[]) AS u (number)) AS keyed
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
  WHERE i.indrelid = $1 AND NOT i.indisunique AND NOT i.indisexclusion AND i.indisvalid
    AND NOT i.indisreplident
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid)
    AND NOT EXISTS (
      SELECT FROM pg_class p
      WHERE p.oid IN (SELECT c.oid UNION ALL SELECT relid FROM pg_partition_tree(c.oid))
        AND (p.reltablespace <> 0 OR p.reloptions IS DISTINCT FROM c.reloptions
          OR obj_description(p.oid, 'pg_class') IS NOT NULL OR NOT has_schema_privilege(p.relnamespace, 'CREATE')
          OR EXISTS (SELECT FROM pg_index WHERE indexrelid = p.oid AND indisclustered)
          OR EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = p.oid AND deptype IN ('e', 'x'))
          OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = p.oid AND attstattarget >= 0)))
  ORDER BY 1`;

interface IndexRow {
  name: string;
  definition: string;
  method: string;
  columns: string[];
  predicate: string | null;
  sizes: (number | null)[];
  types: string[];
  keyed: boolean;
}

export interface Index {
  readonly name: string;
  readonly definition: string;
  /** Its access method. */
  readonly method: string;
  readonly class: IndexClass;
}

/** Before the first row of a table that is empty: what costs too much to be kept up for any number of rows. */
export function classesForEmptyTable(policy: DeferPolicy, kind: RecordKind): readonly IndexClass[] {
  if (policy === "always") return ["vector", "other"];
  return kind.fields.some((field) => codecOf(field).sqlite === "embedding") ? ["vector"] : [];
}

/** Before a row that makes so many in a table that was empty. */
export function classesForRows(rows: number): readonly IndexClass[] {
  return rows >= LEAST_ROWS ? ["other"] : [];
}

/** Before a merge that writes so many rows: what is then cheaper to build anew ("always": everything). */
export async function classesForMerge(
  policy: DeferPolicy,
  writes: number,
  hasAtMost: (rows: number) => Promise<boolean>,
): Promise<readonly IndexClass[]> {
  if (policy === "always") return ["vector", "other"];
  if (writes < LEAST_ROWS) return [];
  const classes: IndexClass[] = [];
  for (const one of ["vector", "other"] as const) if (await hasAtMost(writes / REBUILD_SHARE[one])) classes.push(one);
  return classes;
}

/** The indexes that the load may drop; none where it must not. */
export async function findDroppable(
  connection: PostgresConnection,
  table: TargetTable,
  policy: DeferPolicy,
): Promise<readonly Index[]> {
  if (policy === "never" || !table.owned) return [];
  const { rows } = await connection.query<IndexRow>(INDEXES, [table.oid]);
  return rows
    .filter((row) => refusesNoRecord(row, table.kind))
    .map(({ name, definition, method }) => ({ name, definition, method, class: classOf(method) }));
}

/** Whether the table has more partitions than a transaction has locks for: then its indexes stay. */
export async function hasTooManyPartitions(connection: PostgresConnection, table: TargetTable): Promise<boolean> {
  if (table.kind.postgres.partitionedBy === undefined) return false;
  const { rows } = await connection.query<{ count: bigint }>(
    "SELECT count(*) AS count FROM pg_inherits WHERE inhparent = $1",
    [table.oid],
  );
  return Number(rows[0]?.count ?? 0n) > MOST_PARTITIONS;
}

function classOf(method: string): IndexClass {
  return method === "hnsw" || method === "ivfflat" ? "vector" : "other";
}

/** A comparison with a constant cannot fail. */
const PLAIN_PREDICATE = /^"?\w+"? (IS NOT NULL|IS NULL|(=|<>|<|<=|>|>=) \d+)$/;

/** Whether the index takes every row that the table, its keys and the sink's own checks let through. */
function refusesNoRecord({ method, columns, predicate, sizes, types, keyed }: IndexRow, kind: RecordKind): boolean {
  if (predicate !== null && !PLAIN_PREDICATE.test(predicate)) return false;
  switch (method) {
    case "hnsw":
    case "ivfflat":
      // A cast to half precision refuses numbers that a vector has.
      return types.length === columns.length;
    case "gin":
      // jsonb's GIN hashes long keys and values; an array's element that is too long is refused.
      return types.length === columns.length && types.every((type) => type === "jsonb");
    case "btree":
      return keyed || sizes.reduce<number>((sum, size) => sum + (size ?? Number.POSITIVE_INFINITY), 0) <= ENTRY_BYTES;
    case "gist":
      // Not with other columns beside it, which could be too long.
      return sizes.length === 1 && isInterval(kind, columns[0] as string);
    default:
      return false;
  }
}

/** A range whose ends the sink has checked. */
function isInterval(kind: RecordKind, expression: string): boolean {
  const named = (name: string): string => columnOf(kind.fields[fieldIndex(kind, name)] as (typeof kind.fields)[number]);
  return (kind.intervals ?? []).some(([from, to]) =>
    [`tstzrange(${named(from)}, ${named(to)})`, `tstzrange(${named(from)}, ${named(to)}, '[)'::text)`].includes(
      expression,
    ),
  );
}
