/**
 * Secondary indexes that a bulk load does without: dropped before the rows come, and built from all of them at the end, in
 * the load's transaction. Maintained row by row, HNSW costs four times as much (https://github.com/pgvector/pgvector,
 * "Index Build Time"), and B-trees and GIN of large tables twice; bench/RESULTS.md has the figures.
 *
 * Only indexes are deferred that can refuse no record which the table and its keys accept: a record that is refused must be
 * found while it is at hand.
 * Over 300 lines: which indexes may go, when, and how they come back are one decision.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { columnOf, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { StorageError } from "../../../errors.js";
import { quote, schemaSql, shownName, tableOf } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";
import { type PostgresErrorCause, postgresCause } from "../session/errors.js";
import { lockTimeout } from "../session/transaction.js";

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

const MIB = 1048576;
/** Of maintenance_work_mem: what a build gets, by its rows. */
const LEAST_MEMORY = 64 * MIB;
const MOST_MEMORY = 1024 * MIB;
const MOST_EMBEDDED_MEMORY = 128 * MIB;
/** Bytes that HNSW's graph needs per row beside the vector. */
const GRAPH_BYTES = 900;
/** Bytes per row that sorting an index's entries, or gathering those of GIN, takes. */
const ENTRIES_BYTES = 512;
/**
 * data_corrupted. PostgreSQL's BUG #18351: a build reads deleted rows that an open transaction might still see, and counts
 * transactions of all databases; what vacuums the rows' long values counts those of its own database only.
 */
const MISSING_VALUES = "XX001";
/** How long a build that failed waits for such transactions to end, and between its attempts. Milliseconds. */
const BUILD_PATIENCE = 10_000;
const BUILD_PAUSE = 500;

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

interface Index {
  readonly name: string;
  readonly definition: string;
  readonly class: IndexClass;
}

/** The part of a partitioned index in a partition: its definition does not say how it is called. */
interface Part {
  readonly index: string;
  readonly partition: number;
  readonly schema: string;
  readonly name: string;
}

const PARTS = `
  SELECT c.relname AS index, i.indrelid AS partition, n.nspname AS schema, p.relname AS name
  FROM pg_class c CROSS JOIN LATERAL pg_partition_tree(c.oid) t
    JOIN pg_index i ON i.indexrelid = t.relid JOIN pg_class p ON p.oid = t.relid JOIN pg_namespace n ON n.oid = p.relnamespace
  WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = $2) AND c.relname = ANY ($1) AND t.level > 0`;

export class DeferredIndexes {
  private readonly dropped: Index[] = [];
  private readonly parts: Part[] = [];
  /** Indexes that may still be dropped; undefined until they are looked up. */
  private candidates: readonly Index[] | undefined;

  constructor(
    private readonly connection: PostgresConnection,
    private readonly table: TargetTable,
    private readonly policy: DeferPolicy,
  ) {
    if (policy === "never" || !table.owned) this.candidates = [];
  }

  /** Before the first row of a table that is empty: what costs too much to be kept up for any number of rows. */
  async dropForEmptyTable(): Promise<void> {
    if (this.policy === "always") await this.drop(["vector", "other"]);
    else if (this.table.kind.fields.some((field) => codecOf(field).sqlite === "embedding")) await this.drop(["vector"]);
  }

  /** Before a row that makes so many in a table that was empty. */
  async dropForRows(rows: number): Promise<void> {
    if (rows >= LEAST_ROWS) await this.drop(["other"]);
  }

  /** Before a merge that writes so many rows: drops what is then cheaper to build anew ("always": everything). */
  async dropForMerge(writes: number): Promise<void> {
    if (this.policy === "always") return this.drop(["vector", "other"]);
    if (writes < LEAST_ROWS) return;
    for (const one of ["vector", "other"] as const)
      if (await this.hasAtMost(writes / REBUILD_SHARE[one])) await this.drop([one]);
  }

  /** Drops those of the classes, unless a reader does not let go of the table or locks are short. */
  private async drop(classes: readonly IndexClass[]): Promise<void> {
    const { connection, table } = this;
    this.candidates ??= await this.findCandidates();
    const chosen = this.candidates.filter((index) => classes.includes(index.class));
    if (chosen.length === 0) return;
    this.candidates = this.candidates.filter((index) => !chosen.includes(index));
    const isPartitioned = table.kind.postgres.partitionedBy !== undefined;
    if (isPartitioned && (await this.countPartitions()) > MOST_PARTITIONS) return;
    const parts = isPartitioned ? await this.findParts(chosen) : [];
    // An index is in the schema of its table.
    const schema = schemaSql(tableOf(table.kind).schema);
    await connection.query("SAVEPOINT indexes; SET LOCAL lock_timeout = '1s'");
    try {
      await connection.query(`DROP INDEX ${chosen.map(({ name }) => `${schema}.${quote(name)}`).join(", ")}`);
      await connection.query(`${lockTimeout(connection)}; RELEASE SAVEPOINT indexes`);
      this.dropped.push(...chosen);
      this.parts.push(...parts);
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      await connection.query("ROLLBACK TO SAVEPOINT indexes");
    }
  }

  private async findCandidates(): Promise<readonly Index[]> {
    const { rows } = await this.connection.query<IndexRow>(INDEXES, [this.table.oid]);
    return rows
      .filter((row) => refusesNoRecord(row, this.table.kind))
      .map(({ name, definition, method }) => ({ name, definition, class: classOf(method) }));
  }

  private async hasAtMost(rows: number): Promise<boolean> {
    const { rows: found } = await this.connection.query<{ count: bigint }>(
      `SELECT count(*) AS count FROM (SELECT FROM ${this.table.name} LIMIT ${Math.ceil(rows) + 1}) few`,
    );
    return Number(found[0]?.count ?? 0n) <= rows;
  }

  private async countPartitions(): Promise<number> {
    const { rows } = await this.connection.query<{ count: bigint }>(
      "SELECT count(*) AS count FROM pg_inherits WHERE inhparent = $1",
      [this.table.oid],
    );
    return Number(rows[0]?.count ?? 0n);
  }

  private async findParts(indexes: readonly Index[]): Promise<readonly Part[]> {
    return (await this.connection.query<Part>(PARTS, [indexes.map(({ name }) => name), this.table.oid])).rows;
  }

  /** How many are to be built. */
  get length(): number {
    return this.dropped.length;
  }

  /** Builds what was dropped. `rows`: about how many the table has; `onIndex` is told the name of each before it is built. */
  async build(rows: number, onIndex: (name: string) => void): Promise<void> {
    const indexes = this.dropped.splice(0);
    if (indexes.length === 0) return;
    // A definition says nothing of the database's own tablespace, and a session may have another default.
    await this.connection.query("SET LOCAL default_tablespace = ''");
    for (const index of indexes) {
      onIndex(index.name);
      await this.grantMemory(index.class, rows);
      await this.create(index.definition);
    }
    await this.connection.query("SET LOCAL default_tablespace TO DEFAULT");
    await this.renameParts(indexes);
  }

  /** The server names the parts by their columns: those that were called otherwise get their names back. */
  private async renameParts(indexes: readonly Index[]): Promise<void> {
    if (this.parts.length === 0) return;
    const keyOf = ({ index, partition }: Part): string => `${partition} ${index}`;
    const names = new Map(this.parts.splice(0).map((part) => [keyOf(part), part.name]));
    const wrong = (await this.findParts(indexes)).filter((part) => (names.get(keyOf(part)) ?? part.name) !== part.name);
    const rename = (schema: string, from: string, to: string): Promise<unknown> =>
      this.connection.query(`ALTER INDEX ${quote(schema)}.${quote(from)} RENAME TO ${quote(to)}`);
    const between = (number: number): string => `llmspell_load_part_${number}`;
    // Two may have each other's name.
    for (const [number, { schema, name }] of wrong.entries()) await rename(schema, name, between(number));
    for (const [number, part] of wrong.entries())
      await rename(part.schema, between(number), names.get(keyOf(part)) as string);
  }

  private async grantMemory(indexClass: IndexClass, rows: number): Promise<void> {
    const { connection, table } = this;
    const dimension = table.kind.fields.find((field) => field.dimension !== undefined)?.dimension ?? 0;
    const needed = rows * (indexClass === "vector" ? (dimension * 4 + GRAPH_BYTES) * 1.2 : ENTRIES_BYTES);
    const most = connection.embedded ? MOST_EMBEDDED_MEMORY : MOST_MEMORY;
    const kilobytes = Math.ceil(Math.min(Math.max(needed, LEAST_MEMORY), most) / 1024);
    // More where the server is configured for more.
    await connection.query(
      `SELECT set_config('maintenance_work_mem', greatest(reset_val::int8, ${kilobytes})::text, true)
       FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem'`,
    );
  }

  private async create(definition: string): Promise<void> {
    const { connection } = this;
    let deadline: number | undefined;
    let alone = false;
    for (;;) {
      await connection.query("SAVEPOINT indexes");
      try {
        await connection.query(definition);
        await connection.query("RELEASE SAVEPOINT indexes");
        return;
      } catch (error) {
        const cause = postgresCause(error);
        const waits = cause?.sqlState === MISSING_VALUES;
        if (!waits && (alone || !lacksResources(error))) throw error;
        // From the first failure on: a build of minutes is tried again, too.
        deadline ??= Date.now() + BUILD_PATIENCE;
        if (waits && Date.now() >= deadline) throw this.incomplete(cause);
        await connection.query("ROLLBACK TO SAVEPOINT indexes");
        if (waits) await sleep(BUILD_PAUSE);
        else {
          // The memory that workers share is scarce in containers; alone the server builds in its own.
          await connection.query("SET LOCAL max_parallel_maintenance_workers = 0");
          alone = true;
        }
      }
    }
  }

  private incomplete(cause: PostgresErrorCause): StorageError {
    const table = shownName(tableOf(this.table.kind));
    return new StorageError(
      "E_LOCKED",
      "an index cannot be built: the server misses values of rows in its table",
      {
        section: this.table.kind.path,
        detail: cause.message,
        hint:
          "If they are those of deleted rows, a writing transaction in another database of the server keeps the rows in sight: " +
          `run it again once that has ended, or after VACUUM ${table}, or with --defer-indexes never.`,
      },
      cause,
    );
  }
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

/** Lock timeout, deadlock, object in use, needed by another (as the part of an index above), or no room in the table of locks. */
function isUnavailable(error: unknown): boolean {
  return ["55P03", "40P01", "55006", "2BP01", "53200"].includes(postgresCause(error)?.sqlState ?? "");
}

/** Classes 53 (insufficient resources) and 58 (system error). */
function lacksResources(error: unknown): boolean {
  return error instanceof StorageError && /^5[38]/.test(postgresCause(error)?.sqlState ?? "");
}
