/**
 * Partitions that were cut by other months than llmspell's: an earlier release of ours cut them in UTC, and a server may
 * have been given another time zone. llmspell passes over a month whose name is taken and makes the others whole; so there
 * must be no hole in the former, and nothing in the way of the latter.
 */

import { quote } from "../../backends/postgres/database/table-names.js";
import type { PostgresConnection } from "../../backends/postgres/session/connection.js";
import type { RecordKind } from "../../catalog/index.js";
import { catalog } from "../catalog/index.js";
import { inApplicationTimeZone } from "../postgres/application-role.js";
import { SCHEMA } from "../postgres/schema-name.js";
import {
  createPartition,
  gapsOf,
  type Month,
  microseconds,
  monthOfRow,
  type Partition,
  type PartitionedTable,
  readPartitions,
} from "./month-partitions.js";

/** A month that llmspell may ask for, or that has a partition. */
interface NearMonth extends Month {
  /** Not over yet. */
  readonly ahead: boolean;
  /** llmspell makes the current month and the next three. */
  readonly soon: boolean;
}

/** What is made by llmspell or by us: `event_log_2026_03`, and `event_log_2026_03_2` for another part of that month. */
const MADE = /^event_log_(\d{4}_\d{2})(_\d+)?$/;

/** From the first of the given times' months to one after the last, and those that llmspell makes. */
const NEAR_MONTHS = `
  SELECT to_char(month, 'YYYY_MM') AS suffix,
    pg_catalog.timestamptz_send(month) AS from,
    pg_catalog.timestamptz_send(date_trunc('month', month + interval '32 days')) AS to,
    month >= date_trunc('month', now()) AS ahead,
    month >= date_trunc('month', now()) AND month < date_trunc('month', now()) + interval '4 months' AS soon
  FROM (
    SELECT date_trunc('month', step) AS month
    FROM unnest($1::text[], $2::text[]) AS given (first, last)
    CROSS JOIN LATERAL generate_series(
      date_trunc('month', timestamptz '2000-01-01 00:00:00+00' + ${microseconds("first")}),
      timestamptz '2000-01-01 00:00:00+00' + ${microseconds("last")}, interval '1 month') AS step
    UNION
    SELECT date_trunc('month', step)
    FROM generate_series(date_trunc('month', now()), date_trunc('month', now()) + interval '3 months', interval '1 month') AS step
  ) AS months
  ORDER BY month`;

/** Whether a month of UTC is between the bounds: so an earlier release of ours made them. */
const IS_UTC_MONTH = `
  SELECT date_trunc('month', first) = first AND first + interval '1 month' = last AS whole
  FROM (SELECT timestamp '2000-01-01' + ${microseconds("$1")} AS first,
               timestamp '2000-01-01' + ${microseconds("$2")} AS last) AS bounds`;

interface EventLog extends PartitionedTable {
  readonly oid: number;
}

const EVENT_LOG = `
  SELECT c.oid, pg_catalog.pg_get_userbyid(c.relowner) AS owner,
    pg_catalog.pg_get_userbyid(c.relowner) <> current_user AND pg_catalog.pg_has_role(c.relowner, 'MEMBER') AS gives_to_owner,
    c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = '${SCHEMA}' AND c.relname = 'event_log' AND c.relkind = 'p'`;

async function readEventLog(connection: PostgresConnection): Promise<EventLog | undefined> {
  const { rows } = await connection.query<{
    oid: number;
    owner: string;
    gives_to_owner: boolean;
    enabled: boolean;
    forced: boolean;
  }>(EVENT_LOG);
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    kind: catalog.byPath.get("event_log") as RecordKind,
    oid: row.oid,
    name: `${SCHEMA}.event_log`,
    owner: row.owner,
    givesToOwner: row.gives_to_owner,
    rowSecurity: { enabled: row.enabled, forced: row.forced, binding: false },
  };
}

/** The partitions, and the months that they and llmspell have to do with. */
interface Layout {
  readonly partitions: readonly Partition[];
  readonly months: readonly NearMonth[];
}

async function readLayout(connection: PostgresConnection, table: EventLog): Promise<Layout | undefined> {
  const partitions = await readPartitions(connection, table);
  if (partitions === undefined) return undefined;
  const made = partitions.filter(
    ({ name, from, to }) => MADE.test(name) && from !== undefined && to !== undefined,
  ) as (Partition & { readonly from: bigint; readonly to: bigint })[];
  const { rows } = await connection.query<{
    suffix: string;
    from: Buffer;
    to: Buffer;
    ahead: boolean;
    soon: boolean;
  }>(NEAR_MONTHS, [made.map(({ from }) => String(from)), made.map(({ to }) => String(to))]);
  const months = rows.map((row) => ({ ...monthOfRow(row), ahead: row.ahead, soon: row.soon }));
  return { partitions, months };
}

/** What llmspell's next calls need of the month, and it does not have. */
function lacks(month: NearMonth, { partitions }: Layout): boolean {
  const gaps = gapsOf(month, partitions);
  const named = partitions.some(({ name }) => name === `event_log_${month.suffix}`);
  const untouched = gaps.length === 1 && gaps[0]?.from === month.from && gaps[0]?.to === month.to;
  return gaps.length > 0 && (named || (month.ahead && !untouched));
}

/** Its name is a month's, its bounds are not. */
function isMisplaced({ name, from, to }: Partition, months: readonly NearMonth[]): boolean {
  const [, suffix] = MADE.exec(name) ?? [];
  const month = months.find((candidate) => candidate.suffix === suffix);
  return suffix !== undefined && (from !== month?.from || to !== month?.to);
}

async function isUtcMonth(connection: PostgresConnection, { from, to }: Partition): Promise<boolean> {
  if (from === undefined || to === undefined) return false;
  const { rows } = await connection.query<{ whole: boolean }>(IS_UTC_MONTH, [String(from), String(to)]);
  return rows[0]?.whole === true;
}

/** Whether llmspell would fail at partitions, or miss one. Reads only; to be called in a transaction. */
export async function hasMisplacedPartitions(connection: PostgresConnection): Promise<boolean> {
  const table = await readEventLog(connection);
  if (table === undefined) return false;
  return inApplicationTimeZone(connection, async () => {
    const layout = await readLayout(connection, table);
    if (layout === undefined) return false;
    if (layout.months.some((month) => lacks(month, layout))) return true;
    for (const partition of layout.partitions) {
      if (partition.bytes > 0n || !isMisplaced(partition, layout.months)) continue;
      if (await isUtcMonth(connection, partition)) return true;
    }
    return false;
  });
}

/**
 * Drops the misplaced partitions that are empty, and fills what then lacks: after the last filled one a part of a month
 * that ends where llmspell's month does. Rows stay where they are. Needs a transaction, and the rights of the owner.
 */
export async function repairPartitions(connection: PostgresConnection): Promise<void> {
  const table = await readEventLog(connection);
  if (table === undefined) return;
  // Of the partitions, too: what is empty now stays so until it is dropped.
  await connection.query(`LOCK TABLE ${table.name} IN ACCESS EXCLUSIVE MODE`);
  await inApplicationTimeZone(connection, async () => {
    const before = await readLayout(connection, table);
    if (before === undefined) return;
    const partitions: Partition[] = [];
    for (const partition of before.partitions) {
      const drop = isMisplaced(partition, before.months) && (await isEmpty(connection, partition));
      if (drop) await connection.query(`DROP TABLE ${SCHEMA}.${quote(partition.name)}`);
      else partitions.push(partition);
    }
    const named = new Set(before.partitions.map(({ name }) => name));
    for (const month of before.months) {
      const name = `event_log_${month.suffix}`;
      if (!month.soon && !named.has(name) && !lacks(month, { ...before, partitions })) continue;
      for (const gap of gapsOf(month, partitions)) {
        await createPartition(connection, table, name, gap);
        partitions.push({ ...gap, name, bytes: 0n });
      }
    }
  });
}

/** Rows that row-level security hides are an error of the server's, never an empty partition. */
async function isEmpty(connection: PostgresConnection, { name, bytes }: Partition): Promise<boolean> {
  if (bytes === 0n) return true;
  const partition = `${SCHEMA}.${quote(name)}`;
  const { rows } = await connection.query<{ forced: boolean }>(
    "SELECT relforcerowsecurity AS forced FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)",
    [partition],
  );
  const forced = rows[0]?.forced === true;
  await connection.query("SET LOCAL row_security = off");
  if (forced) await connection.query(`ALTER TABLE ${partition} NO FORCE ROW LEVEL SECURITY`);
  const filled = await connection.query<{ filled: boolean }>(`SELECT EXISTS (SELECT FROM ${partition}) AS filled`);
  if (forced) await connection.query(`ALTER TABLE ${partition} FORCE ROW LEVEL SECURITY`);
  return filled.rows[0]?.filled === false;
}
