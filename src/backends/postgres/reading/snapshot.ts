/**
 * The transaction that a source reads in. TRUNCATE and rewrites of a table (ALTER TABLE … TYPE, CLUSTER) are not of any
 * snapshot: who reads afterwards finds nothing. So the tables are locked first, as pg_dump does, in the weakest mode, which
 * stands in the way of nothing but that; LOCK TABLE takes no snapshot, and the first query behind it does.
 */
import { StorageError } from "../../../errors.js";
import type { RunContext } from "../../../records/run-context.js";
import type { PostgresConnection } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";
import { beginTransaction, inTransaction } from "../session/transaction.js";

/** How long a lock is waited for before the user is told. Milliseconds. */
const PATIENCE = 1000;
/** How often the tables may change between the list and the locks. */
const ATTEMPTS = 10;

/** Sorting in parallel would hold more memory, and compiling costs more than it gives. */
const SETTINGS = "SET LOCAL row_security = off; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0";

const READABLE = `
SELECT c.relname::text AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'llmspell' AND c.relkind IN ('r', 'p') AND c.relname::text = ANY ($1)
  AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY c.relname`;

/**
 * Begins the transaction, in which those of the tables that are there and that the role may read are locked against
 * TRUNCATE and rewrites. Waits for whoever does that, and says so.
 */
export async function beginSnapshot(
  connection: PostgresConnection,
  names: readonly string[],
  context: RunContext,
): Promise<void> {
  let patient = false;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const tables = await inTransaction(connection, "read", () => readableTables(connection, names));
    try {
      await beginTransaction(connection, "read", () => lock(connection, tables, patient, context));
      await connection.query(SETTINGS);
      const locked = new Set(tables);
      if ((await readableTables(connection, names)).every((table) => locked.has(table))) return;
    } catch (error) {
      const state = postgresCause(error)?.sqlState ?? "";
      // Another session holds a lock, or made or dropped a table, or waits for us as we for it.
      if (!["55P03", "42P01", "40P01"].includes(state)) throw error;
      if (patient && state === "55P03") throw error;
      patient ||= state === "55P03";
    }
    await connection.query("ROLLBACK");
  }
  throw new StorageError("E_LOCKED", "the tables of schema llmspell are being made or dropped", {
    hint: "Run it again when the migration has ended.",
  });
}

async function readableTables(connection: PostgresConnection, names: readonly string[]): Promise<string[]> {
  const { rows } = await connection.query<{ name: string }>(READABLE, [names]);
  return rows.map(({ name }) => name);
}

/** Partitions are locked with their parent. */
function lockOf(tables: readonly string[]): string {
  return `LOCK TABLE ${tables.map((name) => `llmspell."${name}"`).join(", ")} IN ACCESS SHARE MODE`;
}

async function lock(
  connection: PostgresConnection,
  tables: readonly string[],
  patient: boolean,
  context: RunContext,
): Promise<void> {
  if (patient) for (const table of tables) await lockPatiently(connection, table, context);
  else if (tables.length > 0) await connection.query(`${lockOf(tables)} NOWAIT`);
}

async function lockPatiently(connection: PostgresConnection, table: string, context: RunContext): Promise<void> {
  const told = setTimeout(() => {
    context.warn(
      `waiting for a lock on llmspell.${table}: another session changes the table as a whole (TRUNCATE, ALTER TABLE, VACUUM FULL, or the like)`,
    );
  }, PATIENCE);
  try {
    await connection.query(lockOf([table]));
  } finally {
    clearTimeout(told);
  }
}
