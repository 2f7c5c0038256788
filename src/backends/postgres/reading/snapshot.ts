/**
 * The transaction that a source reads in. TRUNCATE and rewrites of a table (ALTER TABLE … TYPE, CLUSTER) are not of any
 * snapshot: who reads afterwards finds nothing. So the tables are locked first, as pg_dump does, in the weakest mode, which
 * stands in the way of nothing but that; LOCK TABLE takes no snapshot, and the first query behind it does.
 */
import { StorageError } from "../../../errors.js";
import type { RunContext } from "../../../records/run-context.js";
import { IS_NAMED, namesAsParameters, shownName, sqlName, type TableName } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";
import { beginTransaction, inTransaction } from "../session/transaction.js";
import { type SharedSnapshot, takeSnapshot } from "./parts/shared-snapshot.js";

/** How long a lock is waited for before the user is told. Milliseconds. */
const PATIENCE = 1000;
/** How often the tables may change between the list and the locks. */
const ATTEMPTS = 10;

/** Sorting in parallel would hold more memory, and compiling costs more than it gives; what has no key comes from a table's first page on. */
const SETTINGS =
  "SET LOCAL row_security = off; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL synchronize_seqscans = off";

const READABLE = `
SELECT n.nspname::text AS schema, c.relname::text AS table FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE ${IS_NAMED} AND c.relkind IN ('r', 'p')
  AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY n.nspname, c.relname`;

/**
 * Begins the transaction, in which those of the tables that are there and that the role may read are locked against
 * TRUNCATE and rewrites. Waits for whoever does that, and says so.
 */
export async function beginSnapshot(
  connection: PostgresConnection,
  names: readonly TableName[],
  context: RunContext,
  mode: "read" | "owner" = "read",
  shared?: SharedSnapshot,
): Promise<void> {
  let patient = false;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const tables = await inTransaction(connection, "read", () => readableTables(connection, names));
    try {
      await beginTransaction(connection, mode, async () => {
        await lock(connection, tables, patient, context);
        if (shared !== undefined) await takeSnapshot(connection, shared);
      });
      await connection.query(SETTINGS);
      const locked = new Set(tables.map(sqlName));
      if ((await readableTables(connection, names)).every((table) => locked.has(sqlName(table)))) return;
    } catch (error) {
      const state = postgresCause(error)?.sqlState ?? "";
      // Another session holds a lock, or made or dropped a table, or waits for us as we for it.
      if (!["55P03", "42P01", "40P01"].includes(state)) throw error;
      // Who shares a snapshot must not wait for a lock that waits for the snapshot's owner.
      if ((patient || shared !== undefined) && state === "55P03") throw error;
      patient ||= state === "55P03";
    }
    await connection.query("ROLLBACK");
  }
  const schemas = new Set(names.map(({ schema }) => schema));
  throw new StorageError("E_LOCKED", `the tables of schema ${[...schemas].join(", ")} are being made or dropped`, {
    hint: "Run it again when the migration has ended.",
  });
}

async function readableTables(connection: PostgresConnection, names: readonly TableName[]): Promise<TableName[]> {
  const { rows } = await connection.query<TableName & Record<string, unknown>>(READABLE, namesAsParameters(names));
  return rows;
}

/** Partitions are locked with their parent. */
function lockOf(tables: readonly TableName[]): string {
  return `LOCK TABLE ${tables.map(sqlName).join(", ")} IN ACCESS SHARE MODE`;
}

async function lock(
  connection: PostgresConnection,
  tables: readonly TableName[],
  patient: boolean,
  context: RunContext,
): Promise<void> {
  if (patient) for (const table of tables) await lockPatiently(connection, table, context);
  else if (tables.length > 0) await connection.query(`${lockOf(tables)} NOWAIT`);
}

async function lockPatiently(connection: PostgresConnection, table: TableName, context: RunContext): Promise<void> {
  const told = setTimeout(() => {
    context.warn(
      `waiting for a lock on ${shownName(table)}: another session changes the table as a whole (TRUNCATE, ALTER TABLE, VACUUM FULL, or the like)`,
    );
  }, PATIENCE);
  try {
    await connection.query(lockOf([table]));
  } finally {
    clearTimeout(told);
  }
}
