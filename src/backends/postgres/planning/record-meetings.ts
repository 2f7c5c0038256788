/** How records would meet the rows of a table: asked of the server by the load's own query, in a transaction that only reads. */
import { columnOf, type RecordKind, storedFields, tenantFieldOf, tenantIndex } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { Meeting } from "../../../records/loads/load-plan.js";
import type { RecordBatch } from "../../../records/record-batch.js";
import { keylessConflict } from "../../../records/record-key.js";
import { quote } from "../database/table-names.js";
import { ASSUMED, columnNamed, loadColumns, type TargetTable } from "../database/target-table.js";
import { isForced } from "../loading/load-session.js";
import type { LoadTransaction } from "../loading/load-transaction.js";
import { withNamedField } from "../loading/refused-field.js";
import { heldValue, matchingRows } from "../loading/staged-records.js";
import { recordFromWire } from "../loading/stored-records.js";
import { MAX_PARAMETERS } from "../loading/table-loader.js";
import type { PostgresConnection } from "../session/connection.js";
import { CopyEncoder, needsLargeObject } from "../session/copy-encoder.js";

export interface MeetingOptions {
  readonly transaction: LoadTransaction;
  readonly tables: ReadonlyMap<string, TargetTable>;
  readonly onConflict: "update" | "skip" | "error";
  /** The setting that policies compare the tenant with, where they bind the owner, too. */
  readonly tenantSetting: string | undefined;
  /** The table is empty: a keyless kind's records go into no other. */
  readonly empty: boolean | undefined;
}

const NO_MATCHES = "SELECT 0::int8 AS ordinal, NULL::text AS tenant, false AS same WHERE false";

interface FoundRow {
  ordinal: bigint;
  rows: bigint;
  foreign: boolean;
  same: boolean;
  parents: boolean[];
}

export class RecordMeetings {
  private readonly kind: RecordKind;
  private readonly connection: PostgresConnection;
  private readonly columns: readonly string[];
  private readonly encoder: CopyEncoder;
  /** In the order of `columns`, after the ordinal. */
  private types: readonly string[] | undefined;

  constructor(
    private readonly table: TargetTable,
    private readonly options: MeetingOptions,
  ) {
    this.kind = table.kind;
    this.connection = options.transaction.connection;
    this.columns = loadColumns(this.kind);
    this.encoder = new CopyEncoder(this.kind);
  }

  /** One meeting for each row of the batch. */
  async meet(batch: RecordBatch): Promise<Meeting[]> {
    const { encoder } = this;
    const meetings: (Meeting | undefined)[] = Array.from({ length: batch.rows });
    /** Which tuple of the encoder each row is. */
    const places = new Map<number, number>();
    encoder.reset();
    for (let row = 0; row < batch.rows; row++) {
      const bits = this.assumedBits(batch, row);
      const large = needsLargeObject(this.kind, batch, row) ? { largeObject: 0 } : {};
      try {
        encoder.push(batch, row, { ordinal: BigInt(row), assumed: bits, ...large });
        places.set(row, places.size);
      } catch (error) {
        if (!(error instanceof StorageError)) throw error;
        meetings[row] = { outcome: error, parents: [] };
      }
    }
    const width = this.columns.length + 2;
    const most = Math.max(1, Math.floor(MAX_PARAMETERS / width));
    for (const group of this.groups(batch, [...places.keys()])) {
      for (let from = 0; from < group.length; from += most) {
        const found = await this.ask(group.slice(from, from + most), places);
        for (const [row, meeting] of found) meetings[row] = meeting;
      }
    }
    return meetings as Meeting[];
  }

  /** Rows of one tenant each, where the role sees no more than one tenant's at a time. */
  private *groups(batch: RecordBatch, rows: readonly number[]): Generator<readonly number[]> {
    const tenant = tenantFieldOf(this.kind);
    if (!isForced(this.table) || tenant === undefined) {
      yield rows;
      return;
    }
    const at = tenantIndex(this.kind);
    yield* Map.groupBy(rows, (row) => batch.value(row, at).toString("utf8")).values();
  }

  /** The rows' meetings; where the server refuses a value, halves of them, down to the record at fault. */
  private async ask(rows: readonly number[], places: ReadonlyMap<number, number>): Promise<Map<number, Meeting>> {
    if (rows.length === 0) return new Map();
    const isHidden = ({ code }: StorageError): boolean => code === "E_PERMISSION";
    const outcome = await this.options.transaction.attempt(() => this.query(rows, places), isHidden);
    if (!("error" in outcome)) return outcome.value;
    // The load stops at the kind's first record, whatever it is: LoadWay.refusal.
    if (isHidden(outcome.error)) return new Map(rows.map((row) => [row, { outcome: "new", parents: this.allThere() }]));
    if (rows.length === 1) {
      const values = this.encoder.values(places.get(rows[0] as number) as number).slice(1, -1);
      const record = recordFromWire(this.connection, this.kind, values);
      const error = await withNamedField(this.connection, record, 0, outcome.error);
      return new Map([[rows[0] as number, { outcome: error, parents: [] }]]);
    }
    const middle = rows.length >> 1;
    return new Map([
      ...(await this.ask(rows.slice(0, middle), places)),
      ...(await this.ask(rows.slice(middle), places)),
    ]);
  }

  private allThere(): boolean[] {
    return this.kind.foreignKeys.map(() => true);
  }

  private async query(rows: readonly number[], places: ReadonlyMap<number, number>): Promise<Map<number, Meeting>> {
    const { kind, table, connection, columns, options } = this;
    const types = await this.readTypes();
    if (isForced(table)) await this.becomeTenant(rows[0] as number, places);
    const values = rows.flatMap((row) => this.encoder.values(places.get(row) as number));
    let parameter = 0;
    const tuples = rows.map(() => `(${types.map((type) => `$${++parameter}::${type}`).join(", ")})`);
    const bits = new Map(
      storedFields(kind, "postgresql").map((field, at) => [quote(columnOf(field)), 1n << BigInt(at)]),
    );
    const matches = options.empty
      ? NO_MATCHES
      : matchingRows(table, "s", (column) => heldValue(column, bits.get(column)));
    const tenant = tenantFieldOf(kind);
    const foreign = tenant === undefined ? "false" : `bool_or(s.${quote(columnOf(tenant))} IS DISTINCT FROM m.tenant)`;
    const { rows: found } = await connection.query<FoundRow & Record<string, unknown>>(
      `WITH s (ordinal, ${columns.join(", ")}, ${ASSUMED}) AS MATERIALIZED (VALUES ${tuples.join(", ")})
       SELECT s.ordinal, count(m.ordinal) AS rows, coalesce(${foreign}, false) AS foreign,
         coalesce(bool_and(m.same), false) AS same, ${this.parentsOf("s")} AS parents
       FROM s LEFT JOIN (${matches}) m ON m.ordinal = s.ordinal
       GROUP BY s.ordinal${kind.foreignKeys.flatMap(({ fields }) => fields.map((name) => `, s.${columnNamed(kind, name)}`)).join("")}`,
      values,
    );
    if (isForced(table)) await connection.query("SET LOCAL row_security = off");
    return new Map(
      found.map((row) => [Number(row.ordinal), { outcome: outcomeOf(kind, row, options), parents: row.parents }]),
    );
  }

  /** An array: whether each foreign key's parent is in the target, or is NULL. */
  private parentsOf(alias: string): string {
    const checks = this.kind.foreignKeys.map((key) => {
      const parent = this.options.tables.get(key.references) as TargetTable;
      const own = key.fields.map((name) => `${alias}.${columnNamed(this.kind, name)}`);
      const same = key.referencedFields.map((name, at) => `p.${columnNamed(parent.kind, name)} = ${own[at]}`);
      const isNull = own.map((column) => `${column} IS NULL`).join(" OR ");
      return `${isNull} OR EXISTS (SELECT FROM ${parent.name} p WHERE ${same.join(" AND ")})`;
    });
    return `ARRAY[${checks.join(", ")}]::bool[]`;
  }

  private async becomeTenant(row: number, places: ReadonlyMap<number, number>): Promise<void> {
    const { tenantSetting } = this.options;
    const tenant = tenantFieldOf(this.kind);
    if (tenantSetting === undefined || tenant === undefined) return;
    const at = storedFields(this.kind, "postgresql").indexOf(tenant);
    const value = this.encoder.values(places.get(row) as number)[at + 1];
    await this.connection.query("SET LOCAL row_security = on");
    await this.connection.query("SELECT set_config($1, $2, true)", [tenantSetting, value?.toString("utf8") ?? ""]);
  }

  private assumedBits(batch: RecordBatch, row: number): bigint {
    let bits = 0n;
    if (batch.assumed === undefined) return bits;
    for (const [at, field] of storedFields(this.kind, "postgresql").entries())
      if (batch.isAssumed(row, this.kind.fields.indexOf(field))) bits |= 1n << BigInt(at);
    return bits;
  }

  private async readTypes(): Promise<readonly string[]> {
    if (this.types !== undefined) return this.types;
    const { rows } = await this.connection.query<{ name: string; type: string }>(
      `SELECT attname::text AS name, format_type(atttypid, NULL) AS type FROM pg_attribute
       WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped`,
      [this.table.oid],
    );
    const types = new Map(rows.map(({ name, type }) => [quote(name), type]));
    this.types = ["int8", ...this.columns.map((column) => types.get(column) as string), "int8"];
    return this.types;
  }
}

/** ARCHITECTURE.md, "Conflicts", of one record alone. */
function outcomeOf(
  kind: RecordKind,
  { rows, foreign, same }: FoundRow,
  { onConflict, empty }: MeetingOptions,
): Meeting["outcome"] {
  if (kind.keyless === true) return empty === false ? keylessConflict(kind) : "new";
  if (rows === 0n) return "new";
  if (rows > 1n) return new StorageError("E_KEY_CONFLICT", `the record matches ${rows} rows of the target`);
  if (foreign) return new StorageError("E_TENANT_CONFLICT", "the target has the record under another tenant");
  if (onConflict === "error")
    return new StorageError("E_CONFLICT", "the target already has the record", {
      hint: "--on-conflict update replaces it, --on-conflict skip leaves it.",
    });
  return same ? "same" : "changed";
}
