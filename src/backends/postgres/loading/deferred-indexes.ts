/**
 * Secondary indexes that a bulk load does without: dropped before the rows come, and built from all of them at the end, in
 * the load's transaction. Maintained row by row, HNSW costs four times as much (https://github.com/pgvector/pgvector,
 * "Index Build Time"), and B-trees and GIN of large tables twice; bench/RESULTS.md has the figures.
 * Which may go, and when, is decided in index-choice.ts.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { StorageError } from "../../../errors.js";
import { quote, schemaSql, shownName, tableOf } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import { type Build, graphEffort } from "../planning/build-times.js";
import type { PostgresConnection } from "../session/connection.js";
import { type PostgresErrorCause, postgresCause } from "../session/errors.js";
import { lockTimeout } from "../session/transaction.js";
import {
  classesForEmptyTable,
  classesForMerge,
  classesForRows,
  type DeferPolicy,
  findDroppable,
  hasTooManyPartitions,
  type Index,
  type IndexClass,
} from "./index-choice.js";

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

/** The part of a partitioned index in a partition: its definition does not say how it is called. */
export interface IndexPart {
  readonly index: string;
  readonly partition: number;
  readonly schema: string;
  readonly name: string;
}

/** An index that was dropped, with the names of its parts. */
export interface DroppedIndex extends Index {
  readonly parts: readonly IndexPart[];
}

const PARTS = `
  SELECT c.relname AS index, i.indrelid AS partition, n.nspname AS schema, p.relname AS name
  FROM pg_class c CROSS JOIN LATERAL pg_partition_tree(c.oid) t
    JOIN pg_index i ON i.indexrelid = t.relid JOIN pg_class p ON p.oid = t.relid JOIN pg_namespace n ON n.oid = p.relnamespace
  WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = $2) AND c.relname = ANY ($1) AND t.level > 0`;

export class DeferredIndexes {
  private readonly dropped: Index[] = [];
  private readonly parts: IndexPart[] = [];
  /** Indexes that may still be dropped; undefined until they are looked up. */
  private candidates: readonly Index[] | undefined;

  constructor(
    private readonly connection: PostgresConnection,
    private readonly table: TargetTable,
    private readonly policy: DeferPolicy,
    /** So many indexes are built at a time, and share the memory. */
    private readonly atATime = 1,
  ) {}

  /**
   * Before the first rows of a table that is empty, and (`isLarge`) will have many. Who keeps what is given hands it to `adopt`
   * of another, later.
   */
  async dropToKeep(isLarge: boolean): Promise<readonly DroppedIndex[]> {
    await this.drop(isLarge ? ["vector", "other"] : classesForEmptyTable(this.policy, this.table.kind));
    return this.handOver();
  }

  /** The same before a merge that writes so many rows. */
  async dropToKeepForMerge(writes: number): Promise<readonly DroppedIndex[]> {
    await this.dropForMerge(writes);
    return this.handOver();
  }

  private handOver(): readonly DroppedIndex[] {
    const parts = this.parts.splice(0);
    return this.dropped
      .splice(0)
      .map((index) => ({ ...index, parts: parts.filter((part) => part.index === index.name) }));
  }

  /** To be built here. */
  adopt({ parts, ...index }: DroppedIndex): void {
    this.dropped.push(index);
    this.parts.push(...parts);
  }

  /** Before the first row of a table that is empty. */
  async dropForEmptyTable(): Promise<void> {
    await this.drop(classesForEmptyTable(this.policy, this.table.kind));
  }

  /** Before a row that makes so many in a table that was empty. */
  async dropForRows(rows: number): Promise<void> {
    await this.drop(classesForRows(rows));
  }

  /** Before a merge that writes so many rows. */
  async dropForMerge(writes: number): Promise<void> {
    await this.drop(await classesForMerge(this.policy, writes, (rows) => this.hasAtMost(rows)));
  }

  /** Drops those of the classes, unless a reader does not let go of the table or locks are short. */
  private async drop(classes: readonly IndexClass[]): Promise<void> {
    const { connection, table } = this;
    if (classes.length === 0) return;
    this.candidates ??= await findDroppable(connection, table, this.policy);
    const chosen = this.candidates.filter((index) => classes.includes(index.class));
    if (chosen.length === 0) return;
    this.candidates = this.candidates.filter((index) => !chosen.includes(index));
    const isPartitioned = table.kind.postgres.partitionedBy !== undefined;
    if (await hasTooManyPartitions(connection, table)) return;
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
      // Released, too: a run knows its rows by the number of the transaction, which those below do not have.
      await connection.query("ROLLBACK TO SAVEPOINT indexes; RELEASE SAVEPOINT indexes");
    }
  }

  private async hasAtMost(rows: number): Promise<boolean> {
    const { rows: found } = await this.connection.query<{ count: bigint }>(
      `SELECT count(*) AS count FROM (SELECT FROM ${this.table.name} LIMIT ${Math.ceil(rows) + 1}) few`,
    );
    return Number(found[0]?.count ?? 0n) <= rows;
  }

  private async findParts(indexes: readonly Index[]): Promise<readonly IndexPart[]> {
    return (await this.connection.query<IndexPart>(PARTS, [indexes.map(({ name }) => name), this.table.oid])).rows;
  }

  /** What is to be built. `rows`, `bytes`: about how many the table has. */
  builds(rows: number, bytes: number): readonly Build[] {
    const { dimension } = this;
    return this.dropped.map(({ method, definition }) => ({
      method,
      rows,
      bytes,
      dimension,
      effort: graphEffort(definition),
    }));
  }

  private get dimension(): number {
    return this.table.kind.fields.find((field) => field.dimension !== undefined)?.dimension ?? 0;
  }

  /** Builds what was dropped. `rows`: about how many the table has; `onIndex` is told the name of each before it is built. */
  async build(rows: number, onIndex: (name: string) => void): Promise<void> {
    if (this.dropped.length === 0) return;
    const indexes: Index[] = [];
    // A definition says nothing of the database's own tablespace, and a session may have another default.
    await this.connection.query("SET LOCAL default_tablespace = ''");
    for (let index = this.dropped[0]; index !== undefined; index = this.dropped[0]) {
      onIndex(index.name);
      indexes.push(index);
      this.dropped.shift();
      await this.grantMemory(index.class, rows);
      await this.create(index.definition);
    }
    await this.connection.query("SET LOCAL default_tablespace TO DEFAULT");
    await this.renameParts(indexes);
  }

  /** The server names the parts by their columns: those that were called otherwise get their names back. */
  private async renameParts(indexes: readonly Index[]): Promise<void> {
    if (this.parts.length === 0) return;
    const keyOf = ({ index, partition }: IndexPart): string => `${partition} ${index}`;
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
    const { connection, dimension } = this;
    const needed = rows * (indexClass === "vector" ? (dimension * 4 + GRAPH_BYTES) * 1.2 : ENTRIES_BYTES);
    const most = (connection.embedded ? MOST_EMBEDDED_MEMORY : MOST_MEMORY) / this.atATime;
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

/** Lock timeout, deadlock, object in use, needed by another (as the part of an index above), or no room in the table of locks. */
function isUnavailable(error: unknown): boolean {
  return ["55P03", "40P01", "55006", "2BP01", "53200"].includes(postgresCause(error)?.sqlState ?? "");
}

/** Classes 53 (insufficient resources) and 58 (system error). */
function lacksResources(error: unknown): boolean {
  return error instanceof StorageError && /^5[38]/.test(postgresCause(error)?.sqlState ?? "");
}
