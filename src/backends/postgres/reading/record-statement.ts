/**
 * The records of one statement. A row that the server cannot read (damage, mostly of values kept out of line) ends a
 * statement: the rows behind it are then read by their places, and it alone is rejected, by its key and field.
 */
import type { RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { BatchLimits, RecordBatch } from "../../../records/record-batch.js";
import type { RunContext, Selection } from "../../../records/run-context.js";
import type { PostgresConnection } from "../session/connection.js";
import { UNKNOWN_ENCODING } from "../session/encodings.js";
import { isOfRow, unreadable } from "../session/errors.js";
import { findDamagedPages, type Pages } from "./damaged-pages.js";
import { RecordReader, type RowTally } from "./record-reader.js";
import { useIndexes, useNoIndexes } from "./row-count.js";
import { openRows, type RowMode } from "./row-stream.js";
import {
  CONTENT_COLUMNS,
  CONTENT_STATUS,
  columnsOf,
  followsIndex,
  hasValues,
  type PageRange,
  type Place,
  type Select,
  type SelectOptions,
  selectPlaces,
  selectPlacesOn,
  selectRecords,
  type TenantFilter,
} from "./select.js";

/** So many places are asked for at once. */
const PLACES = 1000;

export interface StatementOptions extends BatchLimits {
  readonly select: SelectOptions;
  readonly mode: RowMode;
  /** Of a row, as far as known. */
  readonly rowBytes: number;
  /** The server does not know its text's encoding (SQL_ASCII). */
  readonly checkUtf8: boolean;
  /** The server prints jsonb as PostgreSQL does. */
  readonly printsJsonb: boolean;
  /** It reads one part of several: pages that cannot be read would be rejected with each. */
  readonly ofPart?: boolean;
}

/** Reads a kind's records, statement by statement, each under a savepoint: after an error the snapshot is still there. */
export class RecordStatement {
  /** As it is set below the savepoint; undefined where that is not set yet. */
  private sort: "on" | "off" | undefined;
  private pages: Pages | undefined;

  constructor(
    private readonly connection: PostgresConnection,
    private readonly kind: RecordKind,
    private readonly context: RunContext,
    private readonly options: StatementOptions,
  ) {}

  /** The records that the filter selects, by the options' way. */
  async *read(filter: TenantFilter, tally: RowTally): AsyncGenerator<RecordBatch> {
    const { connection, kind, options } = this;
    // Sorting wide rows is what costs: along the key's index there is none.
    await this.begin(followsIndex(kind, filter, options.select) ? "off" : "on");
    const before = tally.records;
    try {
      yield* this.rowsOf(selectRecords(kind, filter, options.select), tally);
    } catch (error) {
      if (!isOfRow(error)) throw error;
      await connection.query("ROLLBACK TO SAVEPOINT llmspell_statement");
      yield* this.readOn(filter, tally, before);
    }
  }

  /** Goes on behind the records that came, by their places; where pages are damaged, by those of the others. */
  private async *readOn(filter: TenantFilter, tally: RowTally, before: number): AsyncGenerator<RecordBatch> {
    const { connection } = this;
    try {
      await this.declarePlaces(filter);
      await connection.query(`MOVE FORWARD ${tally.records - before} IN llmspell_places`);
      yield* this.readByPlaces(tally);
    } catch (error) {
      if (!isOfRow(error)) throw error;
      await connection.query("ROLLBACK TO SAVEPOINT llmspell_statement");
      await this.declareReadablePlaces(filter, error);
      await connection.query(`MOVE FORWARD ${tally.records - before} IN llmspell_places`);
      yield* this.readByPlaces(tally);
    }
  }

  /** The records that a filter with `wanted` selects; `withoutIndexes`: found without them. */
  async *readWanted(filter: TenantFilter, withoutIndexes: boolean): AsyncGenerator<RecordBatch> {
    await this.begin("on");
    if (withoutIndexes) await useNoIndexes(this.connection);
    await this.declarePlaces(filter);
    if (withoutIndexes) await useIndexes(this.connection);
    yield* this.readByPlaces({ records: 0, sum: 0 });
  }

  /** The pages that can be read, where some of the table's cannot. */
  get readablePages(): readonly PageRange[] | undefined {
    return this.pages?.readable;
  }

  async end(): Promise<void> {
    if (this.sort === undefined) return;
    await this.connection.query("RELEASE SAVEPOINT llmspell_statement");
    if (this.walks) await useIndexes(this.connection);
    this.sort = undefined;
  }

  private async begin(sort: "on" | "off"): Promise<void> {
    const savepoint = this.sort === undefined ? "SAVEPOINT llmspell_statement; " : "";
    if (this.sort !== sort) await this.connection.query(`${savepoint}SET LOCAL enable_sort = ${sort}`);
    if (this.walks) await useNoIndexes(this.connection);
    this.sort = sort;
  }

  /** The table is read as it lies. */
  private get walks(): boolean {
    return (this.options.select.way ?? "index") !== "index";
  }

  private async *rowsOf(
    select: Select,
    tally: RowTally,
    faults?: ReadonlyMap<number, StorageError>,
  ): AsyncGenerator<RecordBatch> {
    const { connection, kind, context, options } = this;
    const { mode, rowBytes, batchSize, batchBytes, checkUtf8, printsJsonb } = options;
    const rows = openRows(connection, select, columnsOf(kind).count, mode, { rowBytes });
    const limits = {
      ...(batchSize === undefined ? {} : { batchSize }),
      ...(batchBytes === undefined ? {} : { batchBytes }),
    };
    const reader = new RecordReader(kind, rows, context, {
      ...limits,
      checkUtf8,
      printsJsonb,
      tally,
      ...(faults === undefined ? {} : { faults }),
    });
    try {
      yield* reader.batches();
    } finally {
      await rows.close();
    }
  }

  private async declarePlaces(filter: TenantFilter): Promise<void> {
    const { connection, kind, options } = this;
    // A rollback to the savepoint took the setting away.
    const isSorted = followsIndex(kind, filter, options.select) && filter.wanted === undefined;
    this.sort = isSorted ? "off" : "on";
    await connection.query(`SET LOCAL enable_sort = ${this.sort}`);
    if (this.walks) await useNoIndexes(connection);
    const select = selectPlaces(kind, filter, options.select);
    await connection.query(`DECLARE llmspell_places NO SCROLL CURSOR FOR ${select}`);
  }

  /** Rejects each page that cannot be read. */
  private async declareReadablePlaces(filter: TenantFilter, reason: unknown): Promise<void> {
    const { connection, kind, context, options } = this;
    if (options.ofPart === true) throw unreadablePage(reason, kind);
    await useNoIndexes(connection, true);
    if (this.pages === undefined) {
      this.pages = await findDamagedPages(connection, kind);
      for (const { page, error } of this.pages.damaged) {
        const key = `page ${page.from} of ${page.table}`;
        const { code, context: where, cause } = unreadable(error, { section: kind.path, key });
        const message = "a page of the table cannot be read, nor the records that are on it";
        await context.reject({ kind, error: new StorageError(code, message, where, cause) });
      }
    }
    // What stood in the way was no page; or the pages of partitions do not come in the order of before.
    const isLost = options.select.way === "table" && kind.postgres.partitionedBy !== undefined;
    if (this.pages.damaged.length === 0 || isLost) throw unreadable(reason, { section: kind.path });
    this.sort = "on";
    await connection.query("SET LOCAL enable_sort = on");
    const select = selectPlacesOn(kind, filter, options.select, this.pages.readable);
    await connection.query(`DECLARE llmspell_places NO SCROLL CURSOR FOR ${select}`);
    await useIndexes(connection);
  }

  /** The records whose places the cursor still has, stepping over rows that cannot be read. */
  private async *readByPlaces(tally: RowTally): AsyncGenerator<RecordBatch> {
    const { connection, kind, options } = this;
    for (;;) {
      const places = await this.nextPlaces();
      for (let at = 0; at < places.length; ) {
        const before = tally.records;
        try {
          await connection.query("SAVEPOINT llmspell_places");
          yield* this.rowsOf(selectRecords(kind, { places: places.slice(at) }, options.select), tally);
          at = places.length;
        } catch (error) {
          if (!isOfRow(error)) throw error;
          await connection.query("ROLLBACK TO SAVEPOINT llmspell_places");
          at += tally.records - before;
          yield* this.readAlone(places[at] as Place, tally);
          at++;
        }
        await connection.query("RELEASE SAVEPOINT llmspell_places");
      }
      if (places.length < PLACES) break;
    }
    await connection.query("CLOSE llmspell_places");
  }

  private async nextPlaces(): Promise<Place[]> {
    const { rows } = await this.connection.query<Place & Record<string, unknown>>(
      `FETCH ${PLACES} FROM llmspell_places`,
    );
    return rows;
  }

  /** The row at which the others ended, or one before it: a cursor's FETCH gives all its rows or none. */
  private async *readAlone(place: Place, tally: RowTally): AsyncGenerator<RecordBatch> {
    const before = tally.records;
    try {
      yield* this.rowsOf(selectRecords(this.kind, { places: [place] }, this.options.select), tally);
    } catch (error) {
      if (!isOfRow(error) || tally.records > before) throw error;
      await this.connection.query("ROLLBACK TO SAVEPOINT llmspell_places");
      yield* this.readDamaged(place, error, tally);
    }
  }

  /** Rejects the row for the columns that cannot be read. */
  private async *readDamaged(place: Place, reason: unknown, tally: RowTally): AsyncGenerator<RecordBatch> {
    const { kind, options } = this;
    const columns = columnsOf(kind);
    const context = { section: kind.path };
    const select = selectRecords(kind, { places: [place] }, options.select);
    const faults = new Map<number, StorageError>();
    let [largest, most] = [0, -1];
    for (const [column, expression] of select.expressions.entries()) {
      const size = await this.sizeOf(expression, select.from);
      if (typeof size !== "number") faults.set(column, unreadable(size.error, context));
      else if (size > most) [largest, most] = [column, size];
    }
    // Each of them can be read, but not all together: the row is too large.
    if (faults.size === 0) faults.set(largest, unreadable(reason, context));
    yield* this.rowsOf(withoutColumns(select, columns.fields.length, faults), tally, faults);
  }

  /** The bytes of a column, or why it cannot be read. */
  private async sizeOf(expression: string, from: string): Promise<number | { readonly error: unknown }> {
    const { connection } = this;
    await connection.query("SAVEPOINT llmspell_column");
    try {
      const { rows } = await connection.query<{ size: number }>(
        `SELECT max(size) AS size FROM (SELECT octet_length(record_send(ROW(${expression}))) AS size ${from}) v`,
      );
      return rows[0]?.size ?? 0;
    } catch (error) {
      if (!isOfRow(error)) throw error;
      await connection.query("ROLLBACK TO SAVEPOINT llmspell_column");
      return { error };
    } finally {
      await connection.query("RELEASE SAVEPOINT llmspell_column").catch(() => {});
    }
  }
}

function unreadablePage(reason: unknown, { path }: RecordKind): StorageError {
  const { code, message, context, cause } = unreadable(reason, { section: path });
  const hint =
    "With one job (--jobs 1) and --on-error skip, what can be read is, and the pages that cannot are rejected.";
  return new StorageError(code, message, { ...context, hint }, cause);
}

/** The statement with NULL for the columns; content of which a chunk is such a column is left away. */
function withoutColumns(select: Select, fields: number, columns: ReadonlyMap<number, unknown>): Select {
  const chunk = fields + CONTENT_COLUMNS.chunk;
  const isUnread = columns.has(chunk);
  const expressions = select.expressions.map((expression, column) => {
    if (columns.has(column)) return `CASE WHEN false THEN ${expression} END`;
    if (isUnread && column === fields + CONTENT_COLUMNS.status) return `${CONTENT_STATUS.unread}`;
    if (isUnread && column === fields + CONTENT_COLUMNS.length) return "0::int8";
    return expression;
  });
  return { expressions, from: isUnread ? `${select.from} WHERE n = 0` : select.from };
}

/** The condition for the records that are wanted beyond the first ones; undefined where it cannot be said. */
export function wantedCondition(
  connection: PostgresConnection,
  kind: RecordKind,
  { wanted }: Selection,
  { serverEncoding, distrustsTextIndexes }: SelectOptions,
): string | undefined {
  const { fields, keys } = wanted?.get(kind.path) ?? {};
  // Rows of a partitioned table have no place of their own, and bytes that are no UTF-8 no literal.
  if (fields === undefined || keys === undefined || kind.postgres.partitionedBy !== undefined) return undefined;
  if (serverEncoding === UNKNOWN_ENCODING || distrustsTextIndexes) return undefined;
  const literals = keys.map((values) => values.map((value) => connection.client.escapeLiteral(value)));
  return hasValues(kind, fields, literals);
}
