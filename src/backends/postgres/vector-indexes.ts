/**
 * The vector indexes of a table that was empty: dropped before its rows come and built from all of them at the end.
 * Maintained row by row, HNSW costs several times as much (https://github.com/pgvector/pgvector#hnsw, "Index Build Time").
 */
import { StorageError } from "../../errors.js";
import type { PostgresConnection } from "./connection.js";
import { postgresCause } from "./errors.js";
import { quote, SCHEMA, type TargetTable } from "./target-table.js";

const MIB = 1048576;
/** Of maintenance_work_mem: what a build gets, by its rows. */
const LEAST_MEMORY = 64 * MIB;
const MOST_MEMORY = 1024 * MIB;
const MOST_EMBEDDED_MEMORY = 128 * MIB;
/** Bytes that HNSW's graph needs per row beside the vector. */
const GRAPH_BYTES = 900;

/** An index with a comment or a tablespace of its own would lose it. */
const INDEXES = `
  SELECT c.relname AS name, pg_get_indexdef(c.oid) AS definition
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
  WHERE i.indrelid = $1 AND a.amname IN ('hnsw', 'ivfflat') AND c.reltablespace = 0
    AND obj_description(c.oid, 'pg_class') IS NULL
  ORDER BY 1`;

export class VectorIndexes {
  private constructor(
    private readonly connection: PostgresConnection,
    private readonly table: TargetTable,
    private readonly definitions: readonly string[],
  ) {}

  /** Drops the table's vector indexes. None where the role may not, or where a reader does not let go of the table. */
  static async drop(connection: PostgresConnection, table: TargetTable): Promise<VectorIndexes> {
    if (!table.kind.fields.some(({ type }) => type === "vector")) return new VectorIndexes(connection, table, []);
    const { rows } = await connection.query<{ name: string; definition: string }>(INDEXES, [table.oid]);
    if (rows.length === 0 || !table.owned) return new VectorIndexes(connection, table, []);
    const names = rows.map(({ name }) => `${SCHEMA}.${quote(name)}`);
    await connection.query("SAVEPOINT vector_indexes; SET LOCAL lock_timeout = '1s'");
    try {
      await connection.query(`DROP INDEX ${names.join(", ")}`);
      await connection.query("SET LOCAL lock_timeout TO DEFAULT; RELEASE SAVEPOINT vector_indexes");
    } catch (error) {
      if (postgresCause(error)?.sqlState !== "55P03") throw error;
      await connection.query("ROLLBACK TO SAVEPOINT vector_indexes");
      return new VectorIndexes(connection, table, []);
    }
    return new VectorIndexes(
      connection,
      table,
      rows.map(({ definition }) => definition),
    );
  }

  /** Builds what `drop` dropped. `rows` is how many there are. */
  async build(rows: number): Promise<void> {
    if (this.definitions.length === 0) return;
    const { connection } = this;
    const dimension = this.table.kind.fields.find((field) => field.dimension !== undefined)?.dimension ?? 0;
    const needed = Math.ceil(rows * (dimension * 4 + GRAPH_BYTES) * 1.2);
    const most = connection.embedded ? MOST_EMBEDDED_MEMORY : MOST_MEMORY;
    const kilobytes = Math.ceil(Math.min(Math.max(needed, LEAST_MEMORY), most) / 1024);
    // More where the server is configured for more.
    await connection.query(
      `SELECT set_config('maintenance_work_mem', greatest(setting::int8, ${kilobytes})::text, true)
       FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem'`,
    );
    for (const definition of this.definitions) await this.create(definition);
  }

  private async create(definition: string): Promise<void> {
    const { connection } = this;
    await connection.query("SAVEPOINT vector_indexes");
    try {
      await connection.query(definition);
    } catch (error) {
      if (!lacksResources(error)) throw error;
      // The memory that workers share is scarce in containers; alone the server builds in its own.
      await connection.query("ROLLBACK TO SAVEPOINT vector_indexes; SET LOCAL max_parallel_maintenance_workers = 0");
      await connection.query(definition);
    }
    await connection.query("RELEASE SAVEPOINT vector_indexes");
  }
}

/** Classes 53 (insufficient resources) and 58 (system error). */
function lacksResources(error: unknown): boolean {
  return error instanceof StorageError && /^5[38]/.test(postgresCause(error)?.sqlState ?? "");
}
