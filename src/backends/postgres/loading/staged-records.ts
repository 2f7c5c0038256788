/** The records of one kind that wait in a staging table, and the rows of the target that they match. */
import { columnOf, type RecordKind, tenantFieldOf, uniqueKeysOf } from "../../../catalog/index.js";
import { located } from "../../../codecs/index.js";
import { recordChunks } from "../../../document/writing/record-writer.js";
import type { StorageError } from "../../../errors.js";
import { recordKey } from "../../../records/record-key.js";
import type { RunContext } from "../../../records/run-context.js";
import { quote } from "../database/table-names.js";
import { ASSUMED, columnNamed, loadColumns, type TargetTable } from "../database/target-table.js";
import { useIndexes, useNoIndexes } from "../reading/row-count.js";
import type { PostgresConnection } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";
import { withNamedField } from "./refused-field.js";
import { readRecords } from "./stored-records.js";

/** A staged record, by its number, and why it cannot go on. */
export interface Refused {
  readonly ordinal: bigint;
  readonly error: StorageError;
}

/** What a record `s` makes of a column of the row `t`: what it does not hold (the bit of ASSUMED) stays. */
export function heldValue(column: string, bit: bigint | undefined): string {
  return bit === undefined
    ? `s.${column}`
    : `CASE WHEN s.${ASSUMED} & ${bit} <> 0 THEN t.${column} ELSE s.${column} END`;
}

/**
 * A query: the rows of the table that have the key or a natural key of a record of `records` (ordinal, then the columns of
 * the load), as (ordinal, tab, tid, tenant, same). UNION: one row may be met by several keys.
 */
export function matchingRows(table: TargetTable, records: string, incoming: (column: string) => string): string {
  const { kind } = table;
  const columns = loadColumns(kind);
  const stored = columns.map((column) => `t.${column}`).join(", ");
  const same = `pg_catalog.record_image_eq(ROW(${stored}), ROW(${columns.map(incoming).join(", ")}))`;
  const tenantField = tenantFieldOf(kind);
  const tenant = tenantField === undefined ? "NULL::text" : `t.${quote(columnOf(tenantField))}`;
  const joins = uniqueKeysOf(kind).map((key) => {
    const names = key.map((name) => columnNamed(kind, name));
    const condition = names.map((column) => `t.${column} = s.${column}`).join(" AND ");
    return `SELECT s.ordinal, t.tableoid AS tab, t.ctid AS tid, ${tenant} AS tenant, ${same} AS same
      FROM ${records} s JOIN ${table.name} t ON ${condition}`;
  });
  if (joins.length === 0)
    joins.push(
      "SELECT 0::int8 AS ordinal, 0::oid AS tab, NULL::tid AS tid, NULL::text AS tenant, false AS same WHERE false",
    );
  return joins.join(" UNION ");
}

/** What is done at a time with refused records. */
export const PAGE = 500;

export class StagedRecords {
  readonly kind: RecordKind;
  /** Temporary table (ordinal, tab, tid, tenant, same): which row (tab.tid) of the target which record matches. */
  readonly matches: string;
  /** Temporary table (tab, tid): rows that records which were taken out match. */
  readonly spared: string;

  constructor(
    readonly connection: PostgresConnection,
    readonly table: TargetTable,
    /** A table, most often a temporary one: ordinal, then the columns of the load. */
    readonly staging: string,
    readonly context: RunContext,
    /** Columns, quoted, that some of the records do not hold, with their bits in the column ASSUMED. */
    readonly assumed: ReadonlyMap<string, bigint> = new Map(),
    /** What the names of the temporary tables begin with. */
    readonly temporary = staging,
  ) {
    this.kind = table.kind;
    this.matches = `${temporary}_matches`;
    this.spared = `${temporary}_spared`;
  }

  /**
   * Finds the rows that were there before the run and have the key or a natural key of a record. `same`: they have all of
   * its values, byte for byte (what `=` calls equal, as -0 and 0, may differ).
   */
  async match(): Promise<void> {
    const { connection, staging, matches, table } = this;
    const joins = matchingRows(table, staging, (column) => this.valueOf(column));
    await connection.query(`CREATE UNIQUE INDEX ON ${staging} (ordinal)`);
    await connection.query(`ANALYZE ${staging}`);
    // A damaged index would miss rows, and the records be there twice.
    await useNoIndexes(connection);
    await connection.query(`CREATE TEMPORARY TABLE ${matches.replace("pg_temp.", "")} ON COMMIT DROP AS ${joins}`);
    await useIndexes(connection);
    if (this.context.spared !== undefined)
      await connection.query(
        `CREATE TEMPORARY TABLE ${this.spared.replace("pg_temp.", "")} ON COMMIT DROP AS SELECT tab, tid FROM ${matches} WITH NO DATA`,
      );
    await connection.query(`CREATE INDEX ON ${matches} (ordinal)`);
    await connection.query(`ANALYZE ${matches}`);
  }

  /** What the staged record `s` makes of a column of the row `t`: what it does not hold stays. */
  valueOf(column: string): string {
    return heldValue(column, this.assumed.get(column));
  }

  /** Rejects the records that `page` gives and takes them out, until it gives none. */
  async refuse(page: () => Promise<readonly Refused[]>): Promise<void> {
    for (let refused = await page(); refused.length > 0; refused = await page()) {
      for (const { ordinal, error } of refused) await this.reject(ordinal, error);
      await this.discard(refused.map(({ ordinal }) => ordinal));
    }
  }

  private async reject(ordinal: bigint, error: StorageError): Promise<void> {
    const { connection, kind, staging } = this;
    const [record] = await readRecords(connection, kind, "s", `FROM ${staging} s WHERE s.ordinal = $1`, [ordinal]);
    if (record === undefined) throw error;
    const named = postgresCause(error) === undefined ? error : await withNamedField(connection, record.batch, 0, error);
    await this.context.reject({
      kind,
      error: located(named, { section: kind.path, key: recordKey(record.batch, 0) }) as StorageError,
      record: recordChunks(record.batch, 0),
      spares: true,
    });
  }

  /** Takes records out, with their large objects. */
  async discard(ordinals: readonly bigint[]): Promise<void> {
    const { connection, staging, matches } = this;
    await this.unlinkStaged("s.ordinal = ANY ($1)", [ordinals]);
    if (this.context.spared !== undefined)
      await connection.query(`INSERT INTO ${this.spared} SELECT tab, tid FROM ${matches} WHERE ordinal = ANY ($1)`, [
        ordinals,
      ]);
    await connection.query(`DELETE FROM ${matches} WHERE ordinal = ANY ($1)`, [ordinals]);
    await connection.query(`DELETE FROM ${staging} WHERE ordinal = ANY ($1)`, [ordinals]);
  }

  /** Unlinks the large objects of the staged records `s` for which the condition holds. */
  async unlinkStaged(condition: string, values: readonly unknown[]): Promise<void> {
    const { largeObject } = this.kind.postgres;
    if (largeObject === undefined) return;
    const oid = `s.${quote(largeObject.oidColumn)}`;
    await this.connection.query(
      `SELECT count(pg_catalog.lo_unlink(${oid})) FROM ${this.staging} s WHERE ${oid} IS NOT NULL AND (${condition})`,
      values,
    );
  }

  /** The number of the first and of the last record; undefined when there is none. */
  async bounds(): Promise<readonly [bigint, bigint] | undefined> {
    const { rows } = await this.connection.query<{ first: bigint | null; last: bigint | null }>(
      `SELECT min(ordinal) AS first, max(ordinal) AS last FROM ${this.staging}`,
    );
    const { first, last } = rows[0] as { first: bigint | null; last: bigint | null };
    return first === null || last === null ? undefined : [first, last];
  }
}
