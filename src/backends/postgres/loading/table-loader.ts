/**
 * Loads the records of one kind: straight into its table where that is empty, otherwise into a staging table from which
 * they are merged at the end (merge.ts).
 * Over 300 lines: one object keeps what is on its way to the server, and both ways there.
 */
import { columnOf, type RecordKind, storedFields, uniqueKeysOf } from "../../../catalog/index.js";
import { located } from "../../../codecs/index.js";
import { recordChunks } from "../../../document/writing/record-writer.js";
import { StorageError } from "../../../errors.js";
import type { RecordBatch } from "../../../records/record-batch.js";
import { keylessConflict, recordKey } from "../../../records/record-key.js";
import type { RunContext } from "../../../records/run-context.js";
import type { PartitionMaker, PostgresApplication } from "../application.js";
import { quote } from "../database/table-names.js";
import { ASSUMED, columnNamed, loadColumns, type TargetTable } from "../database/target-table.js";
import type { Build } from "../planning/build-times.js";
import type { PostgresConnection } from "../session/connection.js";
import { CopyEncoder, needsLargeObject, type TupleExtras } from "../session/copy-encoder.js";
import { postgresCause } from "../session/errors.js";
import { DeferredIndexes } from "./deferred-indexes.js";
import type { DeferPolicy } from "./index-choice.js";
import { LargeObjectWriter } from "./large-objects.js";
import type { LoadTransaction } from "./load-transaction.js";
import { withNamedField, withTriedField } from "./refused-field.js";
import { readKeys, recordFromWire } from "./stored-records.js";

/** `copy` is the fast way, left for `insert` where the server (a pooler, say) knows no COPY; `insert` does not try. */
export type LoadMethod = "copy" | "insert";

export interface LoaderOptions {
  readonly transaction: LoadTransaction;
  readonly context: RunContext;
  readonly method: LoadMethod;
  /** COPY or INSERT may go to the target table itself. */
  readonly direct: boolean;
  readonly deferIndexes: DeferPolicy;
  /** For the staging table's name: unique in the run. */
  readonly number: number;
  readonly application: PostgresApplication | undefined;
}

/** Whether the server does not know the statement (syntax error, feature not supported): no record's fault. */
function refusesStatement(error: StorageError): boolean {
  return error.code !== "E_ENCODING" && ["42601", "0A000"].includes(postgresCause(error)?.sqlState ?? "");
}

/** Whether records may go straight into the table where that is empty: the server itself must tell them apart. */
export function mayGoDirectly(table: TargetTable): boolean {
  return table.uniquelyIndexed;
}

/** Parameters of one statement (the protocol's limit is 65535). */
export const MAX_PARAMETERS = 32767;

/** Records that are encoded, and sent or about to be. */
interface Outgoing {
  readonly encoder: CopyEncoder;
  /** The tuples end with what their records do not hold. */
  assumes: boolean;
  /** The large objects made for them. */
  readonly largeObjects: Map<number, number>;
}

export class TableLoader {
  /** Quoted name of the staging table; undefined where the records went straight into the target. */
  staging: string | undefined;
  private stage: string | undefined;
  /** Columns, quoted, that some staged records do not hold: the bits of the staging table's last column say which. */
  readonly assumed = new Map<string, bigint>();
  /** Records in the target (direct) or in the staging table. */
  loaded = 0;
  /** Of their values. */
  private bytes = 0;
  readonly kind: RecordKind;
  readonly largeObjects: LargeObjectWriter;
  readonly partitions: PartitionMaker | undefined;
  private readonly indexes: DeferredIndexes;
  private readonly connection: PostgresConnection;
  private readonly columns: string;
  private ordinal = 0n;
  /** The staging table has its last column. */
  private hasAssumed = false;
  /** One is filled while the other is on its way. */
  private filling: Outgoing;
  private sending: Outgoing;
  private method: LoadMethod;
  /** The server has taken the COPY statement, whatever it said of the data. */
  private copies = false;

  private constructor(
    readonly table: TargetTable,
    private readonly options: LoaderOptions,
  ) {
    this.kind = table.kind;
    this.method = options.method;
    this.connection = options.transaction.connection;
    this.filling = { encoder: new CopyEncoder(this.kind), assumes: false, largeObjects: new Map() };
    this.sending = { encoder: new CopyEncoder(this.kind), assumes: false, largeObjects: new Map() };
    this.columns = loadColumns(this.kind).join(", ");
    this.largeObjects = new LargeObjectWriter(this.connection, table, options.application);
    this.partitions = options.application?.partitionsOf?.(this.connection, table);
    this.indexes = new DeferredIndexes(this.connection, table, options.deferIndexes);
  }

  /** Decides which way the records go, and makes the staging table where it takes one. */
  static async open(table: TargetTable, options: LoaderOptions): Promise<TableLoader> {
    const loader = new TableLoader(table, options);
    const direct = options.direct && mayGoDirectly(table);
    const isHeld = (direct || table.kind.keyless === true) && (await loader.holdEmptyTable());
    if (table.kind.keyless && !isHeld) throw keylessConflict(table.kind);
    if (direct && isHeld) await loader.indexes.dropForEmptyTable();
    else await loader.createStaging();
    return loader;
  }

  /**
   * Loads tuples that the server has refused, one by one where need be, to reject those at fault by their names.
   * `stage`: a run's table of staged records, which numbers them itself.
   */
  static async findRefused(
    table: TargetTable,
    options: LoaderOptions,
    encoder: CopyEncoder,
    stage?: string,
  ): Promise<void> {
    const loader = new TableLoader(table, options);
    loader.stage = stage;
    await loader.send({ encoder, assumes: stage !== undefined, largeObjects: new Map() }, 0, encoder.length);
  }

  /** The indexes that are to be built when all records are in the table. */
  get builds(): readonly Build[] {
    return this.indexes.builds(this.loaded, this.bytes);
  }

  /** Before the merge of the staged records, which will write so many rows. */
  async dropIndexesForMerge(writes: number): Promise<void> {
    await this.indexes.dropForMerge(writes);
  }

  /** To be called when all records are in the table. */
  async buildIndexes(onIndex: (name: string) => void): Promise<void> {
    await this.indexes.build(this.loaded, onIndex);
  }

  /** True when the table is empty: then nobody else can write to it until the end. */
  private async holdEmptyTable(): Promise<boolean> {
    const { connection, table } = this;
    await connection.query(`SAVEPOINT empty_table; LOCK TABLE ${table.name} IN SHARE ROW EXCLUSIVE MODE`);
    const { rows } = await connection.query<{ filled: boolean }>(`SELECT EXISTS (SELECT FROM ${table.name}) AS filled`);
    const empty = rows[0]?.filled === false;
    // Rolling back frees the lock: a merge takes it again, at the end.
    await connection.query(empty ? "RELEASE SAVEPOINT empty_table" : "ROLLBACK TO SAVEPOINT empty_table");
    return empty;
  }

  private async createStaging(): Promise<void> {
    const name = `llmspell_staging_${this.options.number}`;
    await this.connection.query(
      `CREATE TEMPORARY TABLE ${name} ON COMMIT DROP AS
       SELECT 0::int8 AS ordinal, ${this.columns} FROM ${this.table.name} WITH NO DATA`,
    );
    this.staging = `pg_temp.${name}`;
  }

  /**
   * Encodes the batch, waits for the one before to arrive, and sends this one; does not wait for it. What the server
   * refuses is told to the next call, or by the transaction's `settled`.
   */
  async write(batch: RecordBatch): Promise<void> {
    const { transaction } = this.options;
    this.bytes += batch.bytes.length;
    this.filling.assumes = batch.assumed !== undefined && this.staging !== undefined;
    try {
      for (let row = 0; row < batch.rows; row++) await this.push(batch, row);
    } finally {
      await batch.large?.discard();
    }
    await transaction.settled();
    if (this.staging === undefined) {
      await this.partitions?.create();
      await this.indexes.dropForRows(this.loaded + this.filling.encoder.length);
    }
    const outgoing = this.filling;
    if (outgoing.assumes && !this.hasAssumed) {
      await this.connection.query(`ALTER TABLE ${this.staging} ADD COLUMN ${ASSUMED} int8`);
      this.hasAssumed = true;
    }
    this.filling = this.sending;
    this.sending = outgoing;
    this.filling.encoder.reset();
    this.filling.largeObjects.clear();
    const sent = this.send(outgoing, 0, outgoing.encoder.length);
    transaction.proceed(sent.catch((error) => Promise.reject(located(error, { section: this.kind.path }))));
  }

  private async push(batch: RecordBatch, row: number): Promise<void> {
    const { encoder, largeObjects } = this.filling;
    const { ordinal } = this;
    const numbered: TupleExtras =
      this.staging === undefined
        ? {}
        : this.filling.assumes
          ? { ordinal, assumed: this.assumedBits(batch, row) }
          : { ordinal };
    const isLarge = needsLargeObject(this.kind, batch, row);
    try {
      // The other fields are checked before a large object is made.
      encoder.push(batch, row, isLarge ? { ...numbered, largeObject: 0 } : numbered);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      await this.reject(batch, row, error);
      return;
    }
    if (isLarge) {
      encoder.pop();
      await this.options.transaction.settled();
      const largeObject = await this.largeObjects.create(this.contentOf(batch, row));
      encoder.push(batch, row, { ...numbered, largeObject });
      largeObjects.set(encoder.length - 1, largeObject);
    }
    this.ordinal++;
    this.partitions?.note(batch, row);
  }

  private assumedBits(batch: RecordBatch, row: number): bigint {
    let bits = 0n;
    for (const [at, field] of storedFields(this.kind, "postgresql").entries()) {
      if (!batch.isAssumed(row, this.kind.fields.indexOf(field))) continue;
      const bit = 1n << BigInt(at);
      this.assumed.set(quote(columnOf(field)), bit);
      bits |= bit;
    }
    return bits;
  }

  private contentOf(batch: RecordBatch, row: number): AsyncIterable<Buffer> | Iterable<Buffer> {
    const { largeObject } = this.kind.postgres;
    const field = this.kind.fields.findIndex(({ name }) => name === largeObject?.field);
    return batch.large?.field === field ? batch.large.chunks() : [batch.value(row, field)];
  }

  /** Sends the tuples `[from, to)`; where the server refuses them, halves of them, down to the record at fault. */
  private async send(outgoing: Outgoing, from: number, to: number): Promise<void> {
    if (from === to) return;
    const outcome = await this.transmit(outgoing, from, to);
    if ("error" in outcome && refusesStatement(outcome.error)) {
      if (this.method === "insert") throw outcome.error;
      this.method = "insert";
      return this.send(outgoing, from, to);
    }
    this.copies ||= this.method === "copy";
    if (!("error" in outcome)) {
      this.loaded += to - from;
      return;
    }
    if (to - from > 1) {
      const middle = (from + to) >> 1;
      await this.send(outgoing, from, middle);
      await this.send(outgoing, middle, to);
      return;
    }
    // The batch itself may be gone by now.
    const first = this.staging === undefined ? 0 : 1;
    const values = outgoing.encoder.values(from).slice(first, outgoing.assumes ? -1 : undefined);
    const record = recordFromWire(this.connection, this.kind, values);
    await this.reject(record, 0, await this.explain(record, values, outcome.error));
    const largeObject = outgoing.largeObjects.get(from);
    if (largeObject !== undefined) await this.largeObjects.unlink(largeObject);
  }

  private transmit(outgoing: Outgoing, from: number, to: number) {
    const { encoder } = outgoing;
    const { transaction } = this.options;
    const columns = this.columnsOf(outgoing);
    if (this.method === "insert")
      return transaction.attempt(() => this.insert(encoder, columns, from, to), refusesStatement);
    const sql = `COPY ${this.stage ?? this.staging ?? this.table.name} (${columns}) FROM STDIN (FORMAT binary)`;
    const data = encoder.data(from, to);
    if (this.copies) return transaction.attemptCopy(sql, data);
    return transaction.attempt(() => this.connection.copyFrom(sql, data), refusesStatement);
  }

  private columnsOf({ assumes }: Outgoing): string {
    if (this.stage !== undefined) return `${this.columns}, ${ASSUMED}`;
    if (this.staging === undefined) return this.columns;
    return `ordinal, ${this.columns}${assumes ? `, ${ASSUMED}` : ""}`;
  }

  private async insert(encoder: CopyEncoder, columns: string, from: number, to: number): Promise<void> {
    let tuples: (Buffer | null)[][] = [];
    const flush = async (): Promise<void> => {
      if (tuples.length === 0) return;
      let parameter = 0;
      const rows = tuples.map((tuple) => `(${tuple.map(() => `$${++parameter}`).join(", ")})`);
      await this.connection.query(
        `INSERT INTO ${this.staging ?? this.table.name} (${columns}) VALUES ${rows.join(", ")}`,
        tuples.flat(),
      );
      tuples = [];
    };
    for (let tuple = from; tuple < to; tuple++) {
      const values = encoder.values(tuple);
      if ((tuples.length + 1) * values.length > MAX_PARAMETERS) await flush();
      tuples.push(values);
    }
    await flush();
  }

  private async reject(batch: RecordBatch, row: number, error: StorageError): Promise<void> {
    const context = { section: this.kind.path, key: recordKey(batch, row) };
    await this.options.context.reject({
      kind: this.kind,
      error: located(error, context) as StorageError,
      record: recordChunks(batch, row),
    });
  }

  /** What the server's refusal of one record means. */
  private async explain(
    record: RecordBatch,
    values: readonly (Buffer | null)[],
    error: StorageError,
  ): Promise<StorageError> {
    const cause = postgresCause(error);
    if (cause?.sqlState === "23505") {
      const met = await this.findHolder(values);
      if (met === undefined)
        return new StorageError(
          "E_CONSTRAINT",
          "a unique index of the target refuses the record",
          error.context,
          cause,
        );
      const message = `two records of the run have the same (${met.fields.join(", ")})`;
      return new StorageError("E_KEY_CONFLICT", message, { detail: `the other record is ${met.key}` }, cause);
    }
    const named = await withNamedField(this.connection, record, 0, error);
    return named.context.field === undefined ? withTriedField(this.options.transaction, record, 0, error) : named;
  }

  /** The record that came earlier and has a key of the record with these values. */
  private async findHolder(
    values: readonly (Buffer | null)[],
  ): Promise<{ key: string; fields: readonly string[] } | undefined> {
    const columns = loadColumns(this.kind);
    for (const fields of uniqueKeysOf(this.kind)) {
      const names = fields.map((name) => columnNamed(this.kind, name));
      const condition = names.map((name, at) => `t.${name} = $${at + 1}`).join(" AND ");
      // NULL equals nothing, as in the unique index.
      const wanted = names.map((name) => values[columns.indexOf(name)]);
      const from = `FROM ${this.table.name} t WHERE ${condition}`;
      const [key] = await readKeys(this.connection, this.kind, "t", from, wanted);
      if (key !== undefined) return { key, fields };
    }
    return undefined;
  }
}
