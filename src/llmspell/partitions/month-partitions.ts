/**
 * Monthly partitions: those that a load's records need and the target lacks are made in the load's transaction. Months are
 * those of llmspell's time zone, as llmspell itself cuts them; where they begin and end only the server says.
 */

import type { PartitionMaker } from "../../backends/postgres/application.js";
import { quote } from "../../backends/postgres/database/table-names.js";
import type { TargetTable } from "../../backends/postgres/database/target-table.js";
import type { PostgresConnection } from "../../backends/postgres/session/connection.js";
import { fieldIndex } from "../../catalog/index.js";
import { located } from "../../codecs/index.js";
import { type ErrorContext, StorageError } from "../../errors.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { inApplicationTimeZone } from "../postgres/application-role.js";
import { SCHEMA } from "../postgres/schema-name.js";
import { hasUtcFunctions } from "../schema/postgres/schema-objects.js";

/** Canonical times (microseconds since 2000-01-01 UTC), from inclusive, to exclusive; undefined is unbounded. */
export interface Range {
  readonly from: bigint | undefined;
  readonly to: bigint | undefined;
}

/** One range for all before the year 1, one for all after 9999. */
export interface Month extends Range {
  /** The partition's name ends in this, e.g. `2026_03`. */
  readonly suffix: string;
}

const DAY = 86400000000n;

/** As canonical times have them; a partition may end or begin there. */
const INFINITY = 2n ** 63n - 1n;
const MINUS_INFINITY = -(2n ** 63n);

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
const PARTITIONS = `
  SELECT name, bytes, spec = 'DEFAULT' AS takes_all,
    pg_catalog.timestamptz_send((regexp_match(spec, $$FROM \\('([^']*)'\\)$$))[1]::timestamptz) AS from,
    pg_catalog.timestamptz_send((regexp_match(spec, $$TO \\('([^']*)'\\)$$))[1]::timestamptz) AS to
  FROM (
    SELECT c.relname AS name, pg_catalog.pg_relation_size(c.oid) AS bytes, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS spec
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1
  ) partitions
  UNION ALL SELECT NULL, 0, true, NULL, NULL FROM pg_catalog.pg_class WHERE oid = $1 AND relkind <> 'p'`;

interface PartitionRow {
  name: string | null;
  bytes: bigint;
  takes_all: boolean;
  from: Buffer | null;
  to: Buffer | null;
}

export interface Partition extends Range {
  readonly name: string;
  /** Of its rows alone; 0 where it never had any. */
  readonly bytes: bigint;
}

/** The table's partitions; undefined where one takes whatever has no other, or the table has no need of any. */
export async function readPartitions(
  connection: PostgresConnection,
  table: { readonly oid: number },
): Promise<Partition[] | undefined> {
  const { rows } = await connection.query<PartitionRow & Record<string, unknown>>(PARTITIONS, [table.oid]);
  if (rows.some((row) => row.takes_all)) return undefined;
  return rows.map(({ name, bytes, from, to }) => ({
    name: name as string,
    bytes,
    from: from?.readBigInt64BE(),
    to: to?.readBigInt64BE(),
  }));
}

/**
 * An interval of microseconds, given as SQL text. Servers before 15 read no more than 2^31 of them, and a product is one of
 * doubles: in two parts it is exact over all the range of times.
 */
export function microseconds(text: string): string {
  const hour = 3600000000;
  return `(interval '1 hour' * (${text}::int8 / ${hour}) + interval '1 microsecond' * (${text}::int8 % ${hour}))`;
}

/** The months of times, given as microseconds or infinities. A month whose first midnight does not exist begins later. */
const MONTHS = `
  SELECT DISTINCT CASE WHEN early THEN 'before_0001' WHEN late THEN 'after_9999' ELSE to_char(month, 'YYYY_MM') END AS suffix,
    pg_catalog.timestamptz_send(CASE WHEN late THEN timestamptz '10000-01-01 00:00:00' ELSE month END) AS from,
    pg_catalog.timestamptz_send(CASE WHEN early THEN timestamptz '0001-01-01 00:00:00'
      ELSE date_trunc('month', month + interval '32 days') END) AS to
  FROM (
    SELECT *, CASE WHEN NOT early AND NOT late THEN date_trunc('month', time) END AS month
    FROM (
      SELECT time, time < timestamptz '0001-01-01 00:00:00' AS early, time >= timestamptz '10000-01-01 00:00:00' AS late
      FROM (
        SELECT CASE WHEN given LIKE '%infinity' THEN given::timestamptz
          ELSE timestamptz '2000-01-01 00:00:00+00' + ${microseconds("given")} END AS time
        FROM unnest($1::text[]) AS given
      ) AS times
    ) AS bounded
  ) AS months
  ORDER BY 2 NULLS FIRST`;

interface MonthRow {
  suffix: string;
  from: Buffer | null;
  to: Buffer | null;
}

export function monthOfRow({ suffix, from, to }: MonthRow): Month {
  return { suffix, from: from?.readBigInt64BE(), to: to?.readBigInt64BE() };
}

/** Ascending, each once. To be called in the time zone whose months they are. */
async function monthsOf(connection: PostgresConnection, times: readonly bigint[]): Promise<Month[]> {
  const given = times.map((time) =>
    time === INFINITY ? "infinity" : time === MINUS_INFINITY ? "-infinity" : String(time),
  );
  const { rows } = await connection.query<MonthRow & Record<string, unknown>>(MONTHS, [given]);
  return rows.map(monthOfRow);
}

function holds({ from, to }: Range, time: bigint): boolean {
  return (from === undefined || time >= from) && (to === undefined || time < to);
}

/** What makes the partitions of a kind that is partitioned by the month of a time; undefined for any other. */
export function partitionsOf(connection: PostgresConnection, table: TargetTable): PartitionMaker | undefined {
  const { partitionedBy } = table.kind.postgres;
  return partitionedBy === undefined ? undefined : new MonthPartitions(connection, table, partitionedBy);
}

class MonthPartitions implements PartitionMaker {
  private readonly field: number;
  /** The months that have their partitions, ascending. */
  private known: Month[] = [];
  /** By day of UTC (the two around 2000 count as one): its first and its last time, which are in one month or in two that meet. */
  private readonly wanted = new Map<bigint, { first: bigint; last: bigint }>();
  private last: Range | undefined;
  private taken: Range[] | undefined;

  constructor(
    private readonly connection: PostgresConnection,
    private readonly table: TargetTable,
    partitionedBy: string,
  ) {
    this.field = fieldIndex(table.kind, partitionedBy);
  }

  /** Remembers the time of a record. */
  note(batch: RecordBatch, row: number): void {
    const at = row * batch.width + this.field;
    if ((batch.lengths[at] as number) < 0) return;
    const time = batch.bytes.readBigInt64BE(batch.starts[at] as number);
    if (this.last !== undefined && holds(this.last, time)) return;
    const month = this.knownMonth(time);
    if (month !== undefined) {
      this.last = month;
      return;
    }
    const day = time / DAY;
    const seen = this.wanted.get(day);
    if (seen === undefined) this.wanted.set(day, { first: time, last: time });
    else if (time < seen.first) seen.first = time;
    else if (time > seen.last) seen.last = time;
  }

  private knownMonth(time: bigint): Month | undefined {
    const { known } = this;
    let [low, high] = [0, known.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { to } = known[middle] as Month;
      if (to !== undefined && to <= time) low = middle + 1;
      else high = middle;
    }
    const month = known[low];
    return month !== undefined && holds(month, time) ? month : undefined;
  }

  get isPending(): boolean {
    return this.wanted.size > 0;
  }

  /** Makes the partitions that the noted records lack. */
  async create(): Promise<void> {
    if (this.wanted.size === 0) return;
    const { connection, table } = this;
    const times = [...this.wanted.values()].flatMap(({ first, last }) => (first === last ? [first] : [first, last]));
    this.wanted.clear();
    const read = (): Promise<Month[]> => monthsOf(connection, times);
    // Until `database migrate` puts others in their place, such functions cut the months that llmspell asks for.
    const months = (await hasUtcFunctions(connection)) ? await read() : await inApplicationTimeZone(connection, read);
    this.taken ??= (await readPartitions(connection, table)) ?? [{ from: undefined, to: undefined }];
    for (const month of months) {
      for (const gap of gapsOf(month, this.taken)) {
        await createPartition(connection, table, `${table.kind.postgres.table}_${month.suffix}`, gap);
        this.taken.push(gap);
      }
    }
    this.known = [...this.known, ...months].sort(byBeginning);
  }
}

function byBeginning(a: Range, b: Range): number {
  if (a.from === undefined || b.from === undefined) return a.from === b.from ? 0 : a.from === undefined ? -1 : 1;
  return a.from < b.from ? -1 : Number(a.from > b.from);
}

/** What a partition takes over from its table. */
export type PartitionedTable = Pick<TargetTable, "kind" | "name" | "owner" | "givesToOwner" | "rowSecurity">;

/** Makes a partition named `base`, or that with a number. @throws {StorageError} E_PERMISSION with the statement */
export async function createPartition(
  connection: PostgresConnection,
  table: PartitionedTable,
  base: string,
  { from, to }: Range,
): Promise<void> {
  const name = `${SCHEMA}.${quote(await freeName(connection, base))}`;
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

/** A partition of another month may have the name: one that was cut otherwise, or by hand. */
async function freeName(connection: PostgresConnection, base: string): Promise<string> {
  for (let number = 1; ; number++) {
    const name = number === 1 ? base : `${base}_${number}`;
    const { rows } = await connection.query<{ taken: boolean }>(
      "SELECT pg_catalog.to_regclass($1) IS NOT NULL AS taken",
      [`${SCHEMA}.${quote(name)}`],
    );
    if (rows[0]?.taken === false) return name;
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
  return `timestamptz '2000-01-01 00:00:00+00' + ${microseconds(`'${time}'`)}`;
}
