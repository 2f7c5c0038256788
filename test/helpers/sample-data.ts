/**
 * Sample databases: fills tables that exist (llmspell's own, or migrated ones) by plain SQL through the drivers. Rows are
 * made and inserted one batch at a time, so that databases of gigabytes can be made as well.
 */
import Database from "better-sqlite3";
import pg from "pg";
import * as sqliteVec from "sqlite-vec";
import {
  SAMPLE_DIMENSIONS,
  SAMPLE_TABLES,
  type SampleOptions,
  SampleRecords,
  type SampleRow,
  type SampleTable,
  type SampleValue,
} from "./sample-records.js";
import { isTags, postgresTime, type SampleTime, sqliteTime } from "./sample-values.js";

export { DEFAULT_CONTENT_SIZES, type SampleOptions, type SampleTable } from "./sample-records.js";

/** How SQLite keeps the embeddings of one dimension. "mixed" is an ordinary table: raw float32, every third as JSON text. */
export type VectorShape = "mixed" | "raw" | "vec0";

export interface SqliteSampleOptions extends SampleOptions {
  /** Default: 384 and 1536 mixed, 768 and 3072 vec0. Only for tables that do not exist yet. */
  readonly vectorShapes?: Partial<Record<(typeof SAMPLE_DIMENSIONS)[number], VectorShape>>;
  /** Ids that llmspell generates in every spelling that its SQLite may hold: bare hex digits, capitals. Default true. */
  readonly uuidSpellings?: boolean;
}

const LARGE_OBJECT_BYTES = 1048576;
/** Rows between two commits. */
const ROWS_PER_TRANSACTION = 20000;

/** The same UUID is always spelled the same, or the foreign keys of SQLite would not hold. */
function spelled(uuid: string): string {
  switch (Number.parseInt(uuid.slice(-2), 16) % 4) {
    case 0:
      return uuid.replaceAll("-", "");
    case 1:
      return uuid.toUpperCase();
    default:
      return uuid;
  }
}

/** Their spelling is no data: those of all others are, and PostgreSQL would not give them back. */
const GENERATED: ReadonlySet<string> = new Set(["pattern_id", "state_id", "kv_id"]);

function sqliteValue(value: SampleValue, spellings: boolean): string | bigint | Buffer | null {
  if (value === null || typeof value === "string" || typeof value === "bigint" || Buffer.isBuffer(value)) return value;
  if (typeof value === "boolean") return value ? 1n : 0n;
  if ("time" in value) return sqliteTime(value.time);
  if ("json" in value) return value.json;
  if ("uuid" in value) return spellings ? spelled(value.uuid) : value.uuid;
  if (isTags(value)) return JSON.stringify(value);
  return rawVector(value.vector);
}

function rawVector(vector: Float32Array): Buffer {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength);
}

/** The text of a JSON array, with which llmspell 0.14 fills its BLOBs; JSON.stringify would lose the sign of -0. */
function vectorText(vector: Float32Array): string {
  return `[${Array.from(vector, (number) => (Object.is(number, -0) ? "-0.0" : String(number))).join(",")}]`;
}

/** Inserts sample rows into an SQLite database whose tables exist (vec_embeddings_<dim> are made here). */
export function fillSqlite(path: string, options: SqliteSampleOptions = {}): void {
  const records = new SampleRecords(options, { json: "free", beyondSqlite: false });
  const spellings = options.uuidSpellings ?? true;
  const database = new Database(path, { fileMustExist: true });
  try {
    sqliteVec.load(database);
    database.pragma("synchronous = OFF");
    database.pragma("foreign_keys = ON");
    let rowid = database.prepare("SELECT coalesce(max(rowid), 0) FROM vector_metadata").pluck().get() as number;
    for (const table of SAMPLE_TABLES) {
      const dimension = SAMPLE_DIMENSIONS.find((each) => table === `vector_embeddings_${each}`);
      const insert =
        dimension === undefined
          ? sqliteInsert(database, table, spellings)
          : vectorInsert(database, dimension, options.vectorShapes?.[dimension], () => ++rowid);
      let pending = 0;
      database.exec("BEGIN");
      for (const row of records.rows(table)) {
        insert(row);
        if (++pending % ROWS_PER_TRANSACTION === 0) database.exec("COMMIT; BEGIN");
      }
      database.exec("COMMIT");
    }
  } finally {
    database.close();
  }
}

function sqliteInsert(database: Database.Database, table: SampleTable, spellings: boolean): (row: SampleRow) => void {
  let statement: Database.Statement | undefined;
  return (row) => {
    const columns = Object.keys(row);
    statement ??= database.prepare(
      `INSERT INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`,
    );
    statement.run(Object.entries(row).map(([name, value]) => sqliteValue(value, spellings && GENERATED.has(name))));
  };
}

function vectorInsert(
  database: Database.Database,
  dimension: (typeof SAMPLE_DIMENSIONS)[number],
  chosen: VectorShape | undefined,
  nextRowid: () => number,
): (row: SampleRow) => void {
  const shape = chosen ?? (dimension === 768 || dimension === 3072 ? "vec0" : "mixed");
  const table = `vec_embeddings_${dimension}`;
  database.exec(
    shape === "vec0"
      ? `CREATE VIRTUAL TABLE IF NOT EXISTS ${table} USING vec0(embedding float[${dimension}])`
      : `CREATE TABLE IF NOT EXISTS ${table} (rowid INTEGER PRIMARY KEY, embedding BLOB)`,
  );
  const metadata = database.prepare(
    `INSERT INTO vector_metadata (rowid, id, tenant_id, scope, dimension, metadata, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const embedding = database.prepare(`INSERT INTO ${table} (rowid, embedding) VALUES (?, ?)`);
  return (row) => {
    const rowid = BigInt(nextRowid());
    const { embedding: value, id, tenant_id, scope, ...rest } = row;
    const { vector } = value as { vector: Float32Array };
    const values = [id, tenant_id, scope, BigInt(dimension), ...Object.values(rest)] as SampleValue[];
    metadata.run(rowid, ...values.map((each) => sqliteValue(each, false)));
    const asText = shape === "mixed" && rowid % 3n === 0n;
    embedding.run(rowid, asText ? Buffer.from(vectorText(vector)) : rawVector(vector));
  };
}

function postgresValue(value: SampleValue): unknown {
  if (value === null || typeof value === "string" || typeof value === "boolean" || Buffer.isBuffer(value)) return value;
  if (typeof value === "bigint") return value.toString();
  if ("time" in value) return postgresTime(value.time);
  if ("json" in value) return value.json;
  if ("uuid" in value) return value.uuid;
  if (isTags(value)) return value;
  return vectorText(value.vector);
}

/** Inserts sample rows into the schema `llmspell` of a PostgreSQL database, as a superuser; no trigger fires. */
export async function fillPostgres(url: string, options: SampleOptions = {}): Promise<void> {
  const records = new SampleRecords(options, { json: "jsonb", beyondSqlite: true });
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  await client.connect();
  try {
    await client.query("SET TimeZone = 'UTC'");
    await client.query("SET session_replication_role = replica");
    await client.query("BEGIN");
    const indexes = await dropVectorIndexes(client);
    for (const table of SAMPLE_TABLES) {
      let batch: SampleRow[] = [];
      let bytes = 0;
      const flush = async (): Promise<void> => {
        if (batch.length === 0) return;
        if (table === "event_log") await createPartitions(client, batch);
        if (table === "artifact_content") await insertContents(client, batch);
        else await insertRows(client, table, batch);
        batch = [];
        bytes = 0;
      };
      for (const row of records.rows(table)) {
        batch.push(row);
        for (const value of Object.values(row)) if (Buffer.isBuffer(value)) bytes += value.length;
        if (batch.length === 200 || bytes > LARGE_OBJECT_BYTES) await flush();
      }
      await flush();
    }
    for (const definition of indexes) await client.query(definition);
    await client.query("COMMIT");
  } finally {
    await client.end();
  }
}

/** HNSW indexes cost far more row by row than when they are built afterwards. Gives their definitions. */
async function dropVectorIndexes(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string; definition: string }>(
    `SELECT format('llmspell.%I', indexname) AS name, indexdef AS definition FROM pg_indexes
     WHERE schemaname = 'llmspell' AND indexdef LIKE '%USING hnsw%'`,
  );
  for (const { name } of rows) await client.query(`DROP INDEX ${name}`);
  return rows.map(({ definition }) => definition);
}

async function insertRows(client: pg.Client, table: string, rows: readonly SampleRow[]): Promise<void> {
  const columns = Object.keys(rows[0] as SampleRow);
  const values: unknown[] = [];
  const tuples = rows.map((row) => {
    const places = columns.map((column) => `$${values.push(postgresValue(row[column] as SampleValue))}`);
    return `(${places.join(", ")})`;
  });
  await client.query(`INSERT INTO llmspell.${table} (${columns.join(", ")}) VALUES ${tuples.join(", ")}`, values);
}

/** Content from 1 MiB on goes into a large object, as llmspell keeps it. */
async function insertContents(client: pg.Client, rows: readonly SampleRow[]): Promise<void> {
  for (const row of rows) {
    const { data, ...rest } = row;
    const content = data as Buffer;
    if (content.length < LARGE_OBJECT_BYTES) {
      await insertRows(client, "artifact_content", [{ ...rest, storage_type: "bytea", data: content }]);
      continue;
    }
    const created = await client.query<{ oid: string }>("SELECT lo_create(0)::text AS oid");
    const oid = (created.rows[0] as { oid: string }).oid;
    for (let at = 0; at < content.length; at += LARGE_OBJECT_BYTES) {
      await client.query("SELECT lo_put($1, $2, $3)", [oid, at, content.subarray(at, at + LARGE_OBJECT_BYTES)]);
    }
    await insertRows(client, "artifact_content", [{ ...rest, storage_type: "large_object", large_object_oid: oid }]);
  }
}

/** Months as llmspell names them; whatever lies before the year 1 or after 9999 gets one partition at either end. */
async function createPartitions(client: pg.Client, rows: readonly SampleRow[]): Promise<void> {
  const wanted = new Map<string, string>();
  for (const row of rows) {
    const { time } = row["timestamp"] as { time: SampleTime };
    const text = postgresTime(time);
    const [year = "", month = ""] = text.split("-");
    if (text.startsWith("-") || text.endsWith(" BC")) {
      wanted.set("event_log_first", "FROM (MINVALUE) TO ('0001-01-01 00:00:00+00')");
    } else if (text === "infinity" || year.length > 4) {
      wanted.set("event_log_last", "FROM ('10000-01-01 00:00:00+00') TO (MAXVALUE)");
    } else {
      const next =
        month === "12"
          ? `${String(Number(year) + 1).padStart(4, "0")}-01`
          : `${year}-${String(Number(month) + 1).padStart(2, "0")}`;
      wanted.set(
        `event_log_${year}_${month}`,
        `FROM ('${year}-${month}-01 00:00:00+00') TO ('${next}-01 00:00:00+00')`,
      );
    }
  }
  for (const [name, bounds] of wanted) {
    await client.query(
      `CREATE TABLE IF NOT EXISTS llmspell.${name} PARTITION OF llmspell.event_log FOR VALUES ${bounds}`,
    );
  }
}
