/** Monthly partitions: those that a load's records need and the target lacks are made in the load's transaction. */
import { fieldIndex } from "../../catalog/index.js";
import { located } from "../../codecs/index.js";
import { type ErrorContext, StorageError } from "../../errors.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { PostgresConnection } from "./connection.js";
import { quote, SCHEMA, type TargetTable } from "./target-table.js";

/** Canonical times (microseconds since 2000-01-01 UTC), from inclusive, to exclusive; undefined is unbounded. */
export interface Range {
  readonly from: bigint | undefined;
  readonly to: bigint | undefined;
}

interface Month extends Range {
  /** The partition's name ends in this. */
  readonly suffix: string;
}

const DAY = 86400000000n;
/** Days from 0000-03-01 to 2000-01-01 in the proleptic Gregorian calendar. */
const DAYS_BEFORE_2000 = 730425n;

function floorDivide(dividend: bigint, divisor: bigint): bigint {
  const quotient = dividend / divisor;
  return dividend < 0n && quotient * divisor !== dividend ? quotient - 1n : quotient;
}

/** Canonical time of a month's first day; years beyond 9999 and months beyond 12 roll over. */
function monthStart(year: number, month: number): bigint {
  // Years that begin in March put the leap day last (Howard Hinnant, "chrono-compatible date algorithms").
  const shifted = BigInt(month > 2 ? year : year - 1);
  const sinceMarch = BigInt((month + 9) % 12);
  const days =
    shifted * 365n +
    floorDivide(shifted, 4n) -
    floorDivide(shifted, 100n) +
    floorDivide(shifted, 400n) +
    (153n * sinceMarch + 2n) / 5n;
  return (days - DAYS_BEFORE_2000) * DAY;
}

/** As canonical times have them; a partition may end or begin there. */
const INFINITY = 2n ** 63n - 1n;
const MINUS_INFINITY = -(2n ** 63n);

const FIRST = monthStart(1, 1);
const END = monthStart(10000, 1);

/** The UTC month that a canonical time falls in; one range for all before year 1, one for all after 9999. */
export function monthOf(time: bigint): Month {
  if (time < FIRST) return { from: undefined, to: FIRST, suffix: "before_0001" };
  if (time >= END) return { from: END, to: undefined, suffix: "after_9999" };
  const date = new Date(Number(floorDivide(time, DAY)) * 86400000 + Date.UTC(2000, 0, 1));
  const year = date.getUTCFullYear();
  const month = date.getUTCMonth() + 1;
  const to = month === 12 ? monthStart(year + 1, 1) : monthStart(year, month + 1);
  const suffix = `${String(year).padStart(4, "0")}_${String(month).padStart(2, "0")}`;
  return { from: monthStart(year, month), to, suffix };
}

/** What of `range` none of the `taken` ranges covers, ascending. */
export function gapsOf(range: Range, taken: readonly Range[]): Range[] {
  let gaps: Range[] = [range];
  for (const { from, to } of taken)
    gaps = gaps.flatMap((gap) => {
      const rest: Range[] = [];
      const before = { from: gap.from, to: earliest(gap.to, from) };
      const after = { from: latest(gap.from, to), to: gap.to };
      if (from !== undefined && !isEmpty(before)) rest.push(before);
      if (to !== undefined && !isEmpty(after)) rest.push(after);
      return rest;
    });
  return gaps;
}

function isEmpty({ from, to }: Range): boolean {
  return from !== undefined && to !== undefined && from >= to;
}
/** Of two ends; undefined is never. */
function earliest(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? a : b;
}
/** Of two beginnings; undefined is always. */
function latest(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a > b ? a : b;
}

/**
 * timestamptz_send is the canonical form; a bound that is MINVALUE or MAXVALUE has no quotation mark, and gives NULL. The
 * last row is there for a table that is not partitioned.
 */
const BOUNDS = `
  SELECT spec = 'DEFAULT' AS takes_all,
    timestamptz_send((regexp_match(spec, $$FROM \\('([^']*)'\\)$$))[1]::timestamptz) AS from,
    timestamptz_send((regexp_match(spec, $$TO \\('([^']*)'\\)$$))[1]::timestamptz) AS to
  FROM (
    SELECT pg_get_expr(c.relpartbound, c.oid) AS spec
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1
  ) partitions
  UNION ALL SELECT true, NULL, NULL FROM pg_class WHERE oid = $1 AND relkind <> 'p'`;

interface Bounds {
  /** A default partition takes whatever has no other. */
  takes_all: boolean;
  from: Buffer | null;
  to: Buffer | null;
}

export class MonthPartitions {
  private readonly field: number;
  private readonly seen = new Set<string>();
  private readonly wanted: Month[] = [];
  private last: Month | undefined;
  private taken: Range[] | undefined;

  constructor(
    private readonly connection: PostgresConnection,
    private readonly table: TargetTable,
    partitionedBy: string,
  ) {
    this.field = fieldIndex(table.kind, partitionedBy);
  }

  static of(connection: PostgresConnection, table: TargetTable): MonthPartitions | undefined {
    const { partitionedBy } = table.kind.postgres;
    return partitionedBy === undefined ? undefined : new MonthPartitions(connection, table, partitionedBy);
  }

  /** Remembers the month of a record. */
  note(batch: RecordBatch, row: number): void {
    const at = row * batch.width + this.field;
    if ((batch.lengths[at] as number) < 0) return;
    const time = batch.bytes.readBigInt64BE(batch.starts[at] as number);
    const { last } = this;
    if (
      last !== undefined &&
      (last.from === undefined || time >= last.from) &&
      (last.to === undefined || time < last.to)
    )
      return;
    this.last = monthOf(time);
    if (this.seen.has(this.last.suffix)) return;
    this.seen.add(this.last.suffix);
    this.wanted.push(this.last);
  }

  /** Makes the partitions that the noted records lack. */
  async create(): Promise<void> {
    if (this.wanted.length === 0) return;
    this.taken ??= await this.readBounds();
    for (const month of this.wanted.splice(0)) {
      for (const gap of gapsOf(month, this.taken)) {
        await this.createPartition(`${this.table.kind.postgres.table}_${month.suffix}`, gap);
        this.taken.push(gap);
      }
    }
  }

  private async readBounds(): Promise<Range[]> {
    const { rows } = await this.connection.query<Bounds>(BOUNDS, [this.table.oid]);
    if (rows.some((row) => row.takes_all)) return [{ from: undefined, to: undefined }];
    return rows.map(({ from, to }) => ({ from: from?.readBigInt64BE(), to: to?.readBigInt64BE() }));
  }

  private async createPartition(base: string, { from, to }: Range): Promise<void> {
    const { connection, table } = this;
    const name = `${SCHEMA}.${quote(await this.freeName(base))}`;
    const bounds = `FROM (${boundText(from, "MINVALUE")}) TO (${boundText(to, "MAXVALUE")})`;
    const statement = `CREATE TABLE ${name} PARTITION OF ${table.name} FOR VALUES ${bounds}`;
    try {
      await connection.query(statement);
    } catch (error) {
      throw located(error, { section: table.kind.path, ...needed(error, statement) });
    }
    // Read directly, a partition does not know its parent's policies: without any of its own it shows nothing.
    if (table.rowSecurity.enabled) await connection.query(`ALTER TABLE ${name} ENABLE ROW LEVEL SECURITY`);
    if (table.rowSecurity.forced) await connection.query(`ALTER TABLE ${name} FORCE ROW LEVEL SECURITY`);
    // The parent's owner must be able to drop it (llmspell's cleanup does).
    if (table.givesToOwner) await connection.query(`ALTER TABLE ${name} OWNER TO ${quote(table.owner)}`);
  }

  /** A partition of another month may have the name: 44 BC and AD 44 have been seen to. */
  private async freeName(base: string): Promise<string> {
    for (let number = 1; ; number++) {
      const name = number === 1 ? base : `${base}_${number}`;
      const { rows } = await this.connection.query<{ taken: boolean }>("SELECT to_regclass($1) IS NOT NULL AS taken", [
        `${SCHEMA}.${quote(name)}`,
      ]);
      if (rows[0]?.taken === false) return name;
    }
  }
}

/** What the owner of the table can do for a role that may not. */
function needed(error: unknown, statement: string): ErrorContext {
  if (!(error instanceof StorageError) || error.code !== "E_PERMISSION") return {};
  return { hint: `The records need a partition that only the table's owner can make: ${statement}` };
}

function boundText(time: bigint | undefined, unbounded: string): string {
  if (time === undefined) return unbounded;
  if (time === INFINITY) return "'infinity'";
  if (time === MINUS_INFINITY) return "'-infinity'";
  return `timestamptz '2000-01-01 00:00:00+00' + interval '${time} microseconds'`;
}
