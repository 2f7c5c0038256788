/** Whether a ledger can be relied on: whose it is, and whether the numbers in it are still those of the rows. */
import { StorageError } from "../../../../errors.js";
import type { PostgresApplication } from "../../application.js";
import { quote, schemaSql } from "../../database/table-names.js";
import type { PostgresConnection } from "../../session/connection.js";
import { Ledger, type LedgerTables, type RunRow } from "./ledger.js";

const NAMES = ["storage_runs", "storage_parts", "storage_steps"] as const;

/** Rows that a number of 32 bits may stand for twice are not told apart. */
const OLDEST_TRANSACTION = 2n ** 31n;

interface TableRow {
  name: string;
  usable: boolean;
  trusted: boolean;
  shared: boolean;
  plain: boolean;
}

/** Rights that make the ledger a role's own. */
const RIGHTS = ["SELECT", "INSERT", "UPDATE", "DELETE"] as const;
const hasAll = (role: string, table: string): string =>
  RIGHTS.map((right) => `pg_catalog.has_table_privilege(${role}, ${table}, '${right}')`).join(" AND ");

/**
 * The owner is one whom the tables belong to, or may do everything; nothing else happens at a write. Nobody else has a right but roles
 * that may write every row of the tables by themselves: these gain nothing by what they make the ledger say.
 */
const TABLES = `
  SELECT c.relname::text AS name, pg_catalog.pg_has_role(c.relowner, 'USAGE') OR ${hasAll("(SELECT u.oid FROM pg_catalog.pg_roles u WHERE u.rolname = current_user)", "c.oid")} AS usable,
    r.rolsuper OR c.relowner = n.nspowner OR c.relowner = ANY ($3::oid[]) AS trusted,
    EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee <> c.relowner AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_roles g WHERE g.oid = a.grantee AND (g.rolsuper OR g.rolbypassrls) AND NOT EXISTS (
          SELECT FROM unnest($3::oid[]) o (oid) WHERE NOT (${hasAll("g.oid", "o.oid")}))))
      OR EXISTS (SELECT FROM pg_catalog.pg_attribute b, pg_catalog.aclexplode(b.attacl) a
        WHERE b.attrelid = c.oid AND a.grantee <> c.relowner) AS shared,
    c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relrowsecurity AND NOT c.relhasrules AND NOT c.relispartition
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN (h.inhparent, h.inhrelid))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS plain
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
  WHERE n.nspname = $1 AND c.relname = ANY ($2::text[]) ORDER BY 1`;

/**
 * The ledger's tables, where they can be relied on.
 * @param tables oids of those that the run loads
 * @throws {StorageError} E_NOT_MIGRATED, E_PERMISSION
 */
export async function requireLedger(
  connection: PostgresConnection,
  application: PostgresApplication | undefined,
  tables: readonly number[],
): Promise<LedgerTables> {
  const [runs, parts, steps] = (await requireOwnTables(connection, application, tables, NAMES)) as [
    string,
    string,
    string,
  ];
  return { runs, parts, steps };
}

/** Tables of runs that can be relied on, as SQL names them. @throws {StorageError} E_NOT_MIGRATED, E_PERMISSION */
export async function requireOwnTables(
  connection: PostgresConnection,
  application: PostgresApplication | undefined,
  tables: readonly number[],
  names: readonly string[],
): Promise<string[]> {
  if (application?.keepsRuns !== true)
    throw new StorageError("E_USAGE", "the target keeps no runs: it is loaded by one connection");
  const { rows } = await connection.query<TableRow & Record<string, unknown>>(
    TABLES.replace(
      "$3::oid[]",
      "(SELECT array_agg(k.relowner) FROM pg_catalog.pg_class k WHERE k.oid = ANY ($3::oid[]))::oid[]",
    ),
    [application.schema, names, tables],
  );
  if (rows.length < names.length)
    throw new StorageError("E_NOT_MIGRATED", "the target has no tables for runs", {
      hint: "Run `llmspell database migrate`, or load with one job.",
    });
  const bad = (found: TableRow | undefined, why: string, hint: string): void => {
    if (found === undefined) return;
    throw new StorageError("E_PERMISSION", `the table ${application.schema}.${found.name} ${why}`, { hint });
  };
  const owner = "ALTER TABLE … OWNER TO the owner of the other tables, or load with one job.";
  bad(
    rows.find(({ usable }) => !usable),
    "belongs to another role",
    `Load as the owner of the tables or as a superuser, or with one job; or as the owner GRANT ${RIGHTS.join(", ")} ON ${[...new Set([...NAMES, ...names])].map((name) => `${application.schema}.${name}`).join(", ")} to a role with BYPASSRLS that has these rights on all of the tables.`,
  );
  bad(
    rows.find(({ trusted }) => !trusted),
    "belongs neither to the owner of the tables nor to a superuser",
    owner,
  );
  bad(
    rows.find(({ shared }) => shared),
    "is open to other roles: what it says could be anybody's",
    `REVOKE ALL ON ${application.schema}.${rows.find(({ shared }) => shared)?.name} FROM those roles; then look at the rows.`,
  );
  bad(
    rows.find(({ plain }) => !plain),
    "has triggers, rules, policies or heirs, or is no plain table",
    "Drop what was added to it, or load with one job.",
  );
  return names.map((name) => `${schemaSql(application.schema)}.${quote(name)}`);
}

/** Which server and database the numbers of transactions are of. */
export async function readPlace(connection: PostgresConnection): Promise<string> {
  const { rows } = await connection.query<{ place: string }>(
    `SELECT system_identifier::text || '/' || (SELECT oid::text FROM pg_catalog.pg_database
       WHERE datname = pg_catalog.current_database()) AS place FROM pg_catalog.pg_control_system()`,
  );
  return rows[0]?.place ?? "";
}

/**
 * Whether the rows of the parts can still be told by their transactions' numbers.
 * @throws {StorageError} E_RUN_UNFINISHED
 */
export async function requireKnownTransactions(
  connection: PostgresConnection,
  { run, place }: RunRow,
  ledger: LedgerTables,
): Promise<void> {
  const lost = (detail: string): StorageError =>
    new StorageError("E_RUN_UNFINISHED", `which rows are those of the run ${run} cannot be told any more`, {
      detail,
      hint: "Delete the records yourself, then the run's row of storage_runs with those of storage_parts and storage_steps.",
    });
  if ((await readPlace(connection)) !== place)
    throw lost("the database is a copy of the one that was loaded, in which rows have other transactions");
  const { rows } = await connection.query<{ now: string }>("SELECT pg_catalog.pg_current_xact_id()::text AS now");
  const now = BigInt(rows[0]?.now ?? 0);
  const known = await new Ledger(connection, ledger).transactions(run);
  if (known !== undefined && (known.last > now || now - known.first >= OLDEST_TRANSACTION))
    throw lost("the server has had more than two thousand million transactions since, or fewer than the ledger says");
}
