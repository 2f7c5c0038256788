/**
 * How fast records go into this database, by some of them: into temporary tables like those that they are for, with their keys and
 * their other indexes, in a transaction that is rolled back. Large objects have no temporary form: their pages go into a table.
 */
import type { Catalog, RecordKind } from "../../../catalog/index.js";
import { uniqueKeysOf } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { LoadMeasure } from "../../../records/loads/load-plan.js";
import type { RecordBatch } from "../../../records/record-batch.js";
import { columnNamed, loadColumns, readTargetTables, type TargetTable } from "../database/target-table.js";
import { LoadTransaction } from "../loading/load-transaction.js";
import type { PostgresConnection } from "../session/connection.js";
import { CopyEncoder, needsLargeObject } from "../session/copy-encoder.js";
import { type Build, graphEffort, scaledSeconds } from "./build-times.js";

/** Of a large object's page. Bytes. */
const PAGE_BYTES = 2048;
const PAGES = "llmspell_measure_pages";
const MAINTENANCE_MEMORY = "256MB";

/** Those that the keys do not make. The definition names the table and, of a partitioned one, ONLY. */
const INDEXES = `
  SELECT pg_get_indexdef(i.indexrelid) AS definition, a.amname AS method
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
  WHERE i.indrelid = $1 AND NOT i.indisunique AND NOT i.indisexclusion AND i.indisvalid`;
const INDEX_OF = /^CREATE INDEX .*? ON (?:ONLY )?(?:"(?:[^"]|"")*"|[^ "])+ USING /;

interface Measured {
  readonly table: TargetTable;
  readonly name: string;
  rows: number;
  bytes: number;
  filling: CopyEncoder;
  sending: CopyEncoder;
}

/** Takes the connection over: `close` closes it. E_PERMISSION where the role may make no temporary tables. */
export async function measurePostgresLoad(connection: PostgresConnection, catalog: Catalog): Promise<LoadMeasure> {
  try {
    const transaction = new LoadTransaction(connection);
    await transaction.begin();
    const tables = await readTargetTables(connection, catalog);
    await connection.query(
      `SET LOCAL maintenance_work_mem = '${MAINTENANCE_MEMORY}';
       CREATE TEMPORARY TABLE ${PAGES} (loid oid, pageno int4, data bytea, PRIMARY KEY (loid, pageno)) ON COMMIT DROP`,
    );
    return new PostgresMeasure(connection, transaction, tables);
  } catch (error) {
    await connection.close();
    throw error;
  }
}

class PostgresMeasure implements LoadMeasure {
  readonly into = "temporary tables of the server";
  private readonly kinds = new Map<string, Measured>();
  private objects = 0;

  constructor(
    private readonly connection: PostgresConnection,
    private readonly transaction: LoadTransaction,
    private readonly tables: ReadonlyMap<string, TargetTable>,
  ) {}

  async write(batch: RecordBatch): Promise<void> {
    const { transaction, connection } = this;
    const measured = this.kinds.get(batch.kind.path) ?? (await this.open(batch.kind));
    const { filling, name } = measured;
    filling.reset();
    for (let row = 0; row < batch.rows; row++) await this.push(batch, row, filling);
    await transaction.settled();
    measured.rows += filling.length;
    measured.bytes += batch.bytes.length;
    measured.filling = measured.sending;
    measured.sending = filling;
    if (filling.length === 0) return;
    const sql = `COPY ${name} (${loadColumns(batch.kind).join(", ")}) FROM STDIN (FORMAT binary)`;
    const data = filling.data(0, filling.length);
    const sent = transaction.attempt(
      () => connection.copyFrom(sql, data),
      () => true,
    );
    // The next batch is encoded meanwhile.
    transaction.proceed(sent.then(() => {}));
  }

  private async push(batch: RecordBatch, row: number, encoder: CopyEncoder): Promise<void> {
    const isLarge = needsLargeObject(batch.kind, batch, row);
    try {
      encoder.push(batch, row, isLarge ? { largeObject: 1 } : {});
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      await batch.large?.discard();
      return;
    }
    if (!isLarge) return;
    await this.transaction.settled();
    const field = batch.kind.fields.findIndex(({ name }) => name === batch.kind.postgres.largeObject?.field);
    this.objects++;
    let page = 0;
    for await (const chunk of batch.large?.chunks() ?? [batch.value(row, field)]) {
      await this.connection.query(
        `INSERT INTO ${PAGES} SELECT $1::int8::oid, $2::int4 + g, substring($3::bytea FROM g * ${PAGE_BYTES} + 1 FOR ${PAGE_BYTES})
         FROM generate_series(0, (octet_length($3::bytea) - 1) / ${PAGE_BYTES}) g`,
        [this.objects, page, chunk],
      );
      page += Math.ceil(chunk.length / PAGE_BYTES);
    }
  }

  private async open(kind: RecordKind): Promise<Measured> {
    const { connection } = this;
    const table = this.tables.get(kind.path);
    if (table === undefined) throw new Error(`${kind.path} has no table`);
    await this.transaction.settled();
    const name = `llmspell_measure_${this.kinds.size}`;
    await connection.query(
      `CREATE TEMPORARY TABLE ${name} (LIKE ${table.name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) ON COMMIT DROP`,
    );
    for (const fields of uniqueKeysOf(kind))
      await connection.query(
        `CREATE UNIQUE INDEX ON ${name} (${fields.map((field) => columnNamed(kind, field)).join(", ")})`,
      );
    const measured = { table, name, rows: 0, bytes: 0, filling: new CopyEncoder(kind), sending: new CopyEncoder(kind) };
    this.kinds.set(kind.path, measured);
    return measured;
  }

  settle(): Promise<void> {
    return this.transaction.settled();
  }

  async secondsAtEnd(kind: RecordKind, records: number): Promise<number> {
    const measured = this.kinds.get(kind.path);
    if (measured === undefined || measured.rows === 0) return 0;
    const { table, name, rows, bytes } = measured;
    const dimension = kind.fields.find((field) => field.dimension !== undefined)?.dimension ?? 0;
    const { rows: indexes } = await this.connection.query<{ definition: string; method: string }>(INDEXES, [table.oid]);
    let seconds = 0;
    for (const { definition, method } of indexes) {
      const like: Build = { method, rows, bytes, dimension, effort: graphEffort(definition) };
      const started = performance.now();
      const built = await this.transaction.attempt(
        () => this.connection.query(definition.replace(INDEX_OF, `CREATE INDEX ON ${name} USING `)),
        () => true,
      );
      if ("error" in built) continue;
      const whole = { ...like, rows: records, bytes: (bytes / rows) * records };
      seconds += scaledSeconds(whole, like, (performance.now() - started) / 1000);
    }
    return seconds;
  }

  async finish(): Promise<number> {
    return 0;
  }

  async close(): Promise<void> {
    await this.connection.query("ROLLBACK").catch(() => {});
    await this.connection.close();
  }
}
