/**
 * The owner of the tables without BYPASSRLS, whom forced row-level security binds, too. He may switch that off, but for this
 * everybody else must wait: so it is off only while a table's rows are counted by tenant, below a savepoint whose rollback
 * brings it back and gives up the lock, while the snapshot stays. The rows are then read under the policies, tenant by tenant,
 * and are all there when they are those that were counted.
 */
import { columnOf, type Field, type RecordKind, tenantFieldOf } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import { tableOf as nameOf, quote, shownName, sqlName, type TableName } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { fromPostgresError, isOfRow, postgresCause, unreadable } from "../session/errors.js";
import { inTransaction } from "../session/transaction.js";
import { type RowCount, useNoIndexes } from "./row-count.js";
import { placeHash, type SelectOptions } from "./select.js";
import type { PostgresTable } from "./tables.js";

/** Of one table by tenant; null: rows that no policy shows. */
export type TenantCounts = ReadonlyMap<string | null, Required<RowCount>>;

/** How long a table's readers are waited for, who all wait behind this session meanwhile, unless the user says otherwise. Seconds. */
const PATIENCE = 5;

const REPAIR =
  "Repair the table or take it from a backup (pg_amcheck finds what else is damaged); a superuser's export goes on with the others, with --on-error skip.";

/** A standby cannot switch row-level security off. E_READ_ONLY. */
export async function requirePrimary(connection: PostgresConnection): Promise<void> {
  const { rows } = await inTransaction(connection, "read", () =>
    connection.query<{ standby: boolean }>("SELECT pg_is_in_recovery() AS standby"),
  );
  if (rows[0]?.standby !== true) return;
  throw new StorageError("E_READ_ONLY", "the server is a standby, where the owner cannot see past row-level security", {
    hint: "Name the primary in the URL; or leave --as-owner out, and name the tenants with --tenants-from FILE.",
  });
}

/** E_ROW_SECURITY unless the role owns the table. */
export function requireOwner(name: TableName, table: PostgresTable, user: string, section?: string): void {
  if (table.owned) return;
  throw new StorageError("E_ROW_SECURITY", `${shownName(name)} does not belong to the role ${user}`, {
    ...(section === undefined ? {} : { section }),
    detail: `it belongs to ${table.owner}`,
    hint: `Connect as ${table.owner}; or, as a superuser, GRANT "${table.owner}" TO "${user}"; or leave --as-owner out, and name the tenants with --tenant ID or --tenants-from FILE.`,
  });
}

/** Counts the kind's rows by tenant, without indexes. The table must be the role's. E_LOCKED, E_SOURCE_DAMAGED. */
export async function countTenants(
  connection: PostgresConnection,
  kind: RecordKind,
  options: SelectOptions,
): Promise<TenantCounts> {
  const { rows } = await pastRowSecurity(connection, nameOf(kind), kind.path, async () => {
    await useNoIndexes(connection);
    return connection.query<{ tenant: string | null; count: bigint; sum: string | bigint }>(
      countByTenant(kind, options),
    );
  });
  return new Map(rows.map(({ tenant, count, sum }) => [tenant, { count, sum: BigInt(sum) }]));
}

/** One row per tenant of the table, NULL among them, with the number and the sum that `countRecords` (select.ts) gives of it. */
function countByTenant(kind: RecordKind, options: SelectOptions): string {
  const tenant = `${quote(columnOf(tenantFieldOf(kind) as Field))}::text COLLATE "C"`;
  return `SELECT ${tenant} AS tenant, count(*) AS count, sum(${placeHash(options)}) AS sum FROM ${sqlName(nameOf(kind))} GROUP BY 1`;
}

/** Whether a table of the role's that is no kind's has rows. E_LOCKED. */
export async function hasRows(connection: PostgresConnection, name: TableName): Promise<boolean> {
  const { rows } = await pastRowSecurity(connection, name, undefined, () =>
    connection.query<{ found: boolean }>(`SELECT EXISTS (SELECT FROM ${sqlName(name)}) AS found`),
  );
  return rows[0]?.found === true;
}

/** Runs `work` while row-level security does not bind the owner of the table. */
async function pastRowSecurity<Result>(
  connection: PostgresConnection,
  name: TableName,
  section: string | undefined,
  work: () => Promise<Result>,
): Promise<Result> {
  const table = shownName(name);
  const seconds = connection.lockTimeoutSeconds ?? PATIENCE;
  await connection.query(`SAVEPOINT llmspell_owner; SET LOCAL lock_timeout = '${seconds}s'`);
  try {
    await connection.query(`ALTER TABLE ${sqlName(name)} NO FORCE ROW LEVEL SECURITY`);
    return await work();
  } catch (error) {
    const context = section === undefined ? {} : { section };
    // What is on a page that cannot be read is not known: nor are the tenants.
    if (isOfRow(error)) throw unreadable(error, { ...context, hint: REPAIR });
    if (!["55P03", "40P01"].includes(postgresCause(error)?.sqlState ?? "")) throw fromPostgresError(error, context);
    throw new StorageError(
      "E_LOCKED",
      `another session holds a lock on ${table}`,
      {
        ...context,
        detail: `the owner's rows are counted while nobody else uses the table; its other users were waited for ${seconds} s`,
        hint: "Run it again when they have ended (an export, pg_dump or VACUUM is such a user, too), or wait longer with --lock-timeout SECONDS.",
      },
      error,
    );
  } finally {
    await connection.query("ROLLBACK TO SAVEPOINT llmspell_owner; RELEASE SAVEPOINT llmspell_owner").catch(() => {});
  }
}
