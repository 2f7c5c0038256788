/**
 * The planner's statistics after a load, in its transaction: whoever comes next has them, and autovacuum, which would be a
 * minute late, never makes those of a partitioned table.
 */
import type { StorageError } from "../../../errors.js";
import type { TargetTable } from "../database/target-table.js";
import type { LoadTransaction } from "./load-transaction.js";

/** What a load wrote to a table. */
export interface WrittenTable {
  readonly table: TargetTable;
  readonly rows: number;
  /** The table was empty before. */
  readonly filled: boolean;
}

/** As autovacuum has them, by default: so many rows, and this share of the table's, must have changed. */
const LEAST_ROWS = 50;
const LEAST_SHARE = 0.1;

interface TableRow {
  oid: number;
  estimated: number;
  may: boolean;
}

/** From PostgreSQL 17 on there is a right of its own. */
const TABLES = `
  SELECT c.oid, c.reltuples::float8 AS estimated,
    pg_catalog.pg_has_role(c.relowner, 'USAGE')
      OR pg_catalog.pg_has_role((SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()), 'USAGE')
      OR CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 170000
           THEN pg_catalog.has_table_privilege(c.oid, 'MAINTAIN') ELSE false END AS may
  FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1)`;

/** Gives a line for what could not be done: the load is as good without. */
export async function analyzeTables(
  transaction: LoadTransaction,
  written: readonly WrittenTable[],
): Promise<readonly string[]> {
  const candidates = written.filter(({ rows }) => rows > 0);
  if (candidates.length === 0) return [];
  const oids = candidates.map(({ table }) => table.oid);
  const { rows } = await transaction.connection.query<TableRow & Record<string, unknown>>(TABLES, [oids]);
  const byOid = new Map(rows.map((row) => [row.oid, row]));
  const stale = candidates.filter(({ table, rows: count, filled }) => {
    const estimated = Math.max(0, byOid.get(table.oid)?.estimated ?? 0);
    return filled || count > LEAST_ROWS + LEAST_SHARE * estimated;
  });
  const forbidden = stale.filter(({ table }) => byOid.get(table.oid)?.may !== true);
  const notes = forbidden.length === 0 ? [] : [notAnalyzed(forbidden, "only their owner may")];
  const tables = stale.filter((each) => !forbidden.includes(each));
  if (tables.length === 0) return notes;
  const names = tables.map(({ table }) => table.name).join(", ");
  const outcome = await transaction.attempt(
    () => transaction.connection.query(`ANALYZE (SKIP_LOCKED) ${names}`),
    ({ code }) => code !== "E_CONNECTION_LOST" && code !== "E_INTERRUPTED",
  );
  if ("error" in outcome) notes.push(notAnalyzed(tables, reasonOf(outcome.error)));
  return notes;
}

function notAnalyzed(written: readonly WrittenTable[], reason: string): string {
  const names = written.map(({ table }) => table.kind.postgres.table).join(", ");
  return `the statistics of ${names} are those from before (${reason}): ANALYZE, as the owner, makes queries fast at once`;
}

function reasonOf({ message, cause }: StorageError): string {
  return cause instanceof Error ? cause.message : message;
}
