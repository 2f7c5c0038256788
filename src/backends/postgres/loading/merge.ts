/**
 * Merges the staged records of one kind into its table: rows are changed in place, never deleted and inserted. A row that
 * has the record's values already counts as updated and is not written.
 */
import { StorageError } from "../../../errors.js";
import { quote } from "../database/table-names.js";
import { loadColumns } from "../database/target-table.js";
import { postgresCause } from "../session/errors.js";
import { type ConflictPolicy, refuseConflicts } from "./conflicts.js";
import type { LoadTransaction } from "./load-transaction.js";
import type { StagedRecords } from "./staged-records.js";

export interface MergeCounts {
  inserted: number;
  updated: number;
  /** Of those updated: rows that had the record's values already. */
  unchanged: number;
  skipped: number;
}

export interface MergeOptions {
  readonly transaction: Pick<LoadTransaction, "attempt">;
  readonly onConflict: ConflictPolicy;
  /** Row-level security hides rows of other tenants. */
  readonly rowsHidden: boolean;
  /** Large objects of rows that are replaced and of records that are skipped stay: a run may still give the rows back. Default false. */
  readonly keepsObjects?: boolean;
}

export class Merge {
  private readonly counts: MergeCounts = { inserted: 0, updated: 0, unchanged: 0, skipped: 0 };

  constructor(
    private readonly records: StagedRecords,
    private readonly options: MergeOptions,
  ) {}

  /** Locks the table, finds what matches, and refuses what conflicts. */
  async prepare(): Promise<void> {
    const { connection, table } = this.records;
    await connection.query(`LOCK TABLE ${table.name} IN SHARE ROW EXCLUSIVE MODE`);
    await this.records.match();
    await refuseConflicts(this.records, this.options.onConflict);
  }

  /** How many rows `apply` will write. */
  async countWrites(): Promise<number> {
    const { connection, staging, matches } = this.records;
    const { rows } = await connection.query<{ count: bigint }>(
      `SELECT count(*) AS count FROM ${staging} s
       WHERE NOT EXISTS (SELECT FROM ${matches} m WHERE m.ordinal = s.ordinal AND ${this.isKept})`,
    );
    return Number(rows[0]?.count ?? 0n);
  }

  /** Writes the records that are left. */
  async apply(): Promise<MergeCounts> {
    const bounds = await this.records.bounds();
    if (bounds !== undefined) await this.applyRange(...bounds);
    return this.counts;
  }

  /** Where the server refuses the range, halves of it, down to the record at fault. */
  private async applyRange(first: bigint, last: bigint): Promise<void> {
    const outcome = await this.options.transaction.attempt(() => this.write(first, last));
    if (!("error" in outcome)) {
      this.counts.inserted += outcome.value.inserted;
      this.counts.updated += outcome.value.updated;
      this.counts.unchanged += outcome.value.unchanged;
      this.counts.skipped += outcome.value.skipped;
      return;
    }
    if (first === last) {
      const refused = [{ ordinal: first, error: this.explain(outcome.error) }];
      await this.records.refuse(async () => refused.splice(0));
      return;
    }
    const middle = (first + last) / 2n;
    await this.applyRange(first, middle);
    await this.applyRange(middle + 1n, last);
  }

  private async write(first: bigint, last: bigint): Promise<MergeCounts> {
    const range = [first, last];
    const skips = this.options.onConflict === "skip";
    if (skips && this.options.keepsObjects !== true) await this.unlinkSkipped(range);
    const written = skips ? 0 : await this.update(range);
    const kept = await this.countKept(range);
    const { connection, table, kind, staging, matches } = this.records;
    const columns = loadColumns(kind);
    const { rowCount } = await connection.query(
      `INSERT INTO ${table.name} (${columns.join(", ")}) SELECT ${columns.map((column) => `s.${column}`).join(", ")}
       FROM ${staging} s WHERE s.ordinal BETWEEN $1 AND $2
         AND NOT EXISTS (SELECT FROM ${matches} m WHERE m.ordinal = s.ordinal)`,
      range,
    );
    const inserted = rowCount ?? 0;
    if (skips) return { inserted, updated: 0, unchanged: 0, skipped: kept };
    return { inserted, updated: written + kept, unchanged: kept, skipped: 0 };
  }

  /** The condition that the row of the match `m` stays as it is. */
  private get isKept(): string {
    return this.options.onConflict === "skip" ? "true" : "m.same";
  }

  private async countKept(range: readonly bigint[]): Promise<number> {
    const { connection, matches } = this.records;
    const { rows } = await connection.query<{ count: bigint }>(
      `SELECT count(*) AS count FROM ${matches} m WHERE m.ordinal BETWEEN $1 AND $2 AND ${this.isKept}`,
      range,
    );
    return Number(rows[0]?.count ?? 0n);
  }

  private async unlinkSkipped(range: readonly bigint[]): Promise<void> {
    await this.records.unlinkStaged(
      `s.ordinal BETWEEN $1 AND $2 AND EXISTS (SELECT FROM ${this.records.matches} m WHERE m.ordinal = s.ordinal)`,
      range,
    );
  }

  private async update(range: readonly bigint[]): Promise<number> {
    const { connection, table, kind, staging, matches } = this.records;
    if (this.options.keepsObjects !== true) await this.unlinkReplaced(range);
    const columns = loadColumns(kind);
    const { rowCount } = await connection.query(
      `UPDATE ${table.name} t SET ${columns.map((column) => `${column} = ${this.records.valueOf(column)}`).join(", ")}
       FROM ${matches} m JOIN ${staging} s USING (ordinal)
       WHERE t.tableoid = m.tab AND t.ctid = m.tid AND m.ordinal BETWEEN $1 AND $2 AND NOT m.same`,
      range,
    );
    return rowCount ?? 0;
  }

  /** The rows' own large objects go when their content is replaced. One that is gone already is no reason to stop. */
  private async unlinkReplaced(range: readonly bigint[]): Promise<void> {
    const { connection, table, kind, matches } = this.records;
    const { largeObject } = kind.postgres;
    if (largeObject === undefined) return;
    const oid = `t.${quote(largeObject.oidColumn)}`;
    const unlinking = connection.query(
      `SELECT count(pg_catalog.lo_unlink(${oid})) FROM ${matches} m
         JOIN ${table.name} t ON t.tableoid = m.tab AND t.ctid = m.tid
       WHERE m.ordinal BETWEEN $1 AND $2 AND NOT m.same
         AND EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata l WHERE l.oid = ${oid})`,
      range,
    );
    await unlinking.catch((error: StorageError) => {
      if (error.code !== "E_PERMISSION") throw error;
      const hint = "Only the owner of a large object may replace it; `llmspell database health` names the grant.";
      throw new StorageError(error.code, error.message, { ...error.context, section: kind.path, hint }, error.cause);
    });
  }

  private explain(error: StorageError): StorageError {
    const cause = postgresCause(error);
    if (cause?.sqlState !== "23505") return error;
    // Rows that the role may see are matched before.
    const [code, message] = this.options.rowsHidden
      ? (["E_TENANT_CONFLICT", "the target has the record under another tenant"] as const)
      : (["E_CONSTRAINT", "a unique index of the target refuses the record"] as const);
    return new StorageError(code, message, error.context, cause);
  }
}
