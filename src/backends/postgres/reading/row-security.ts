/** Row-level security: never an export that lacks rows. One tenant can be read under the application's own policies. */
import type { RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { PostgresApplication } from "../application.js";
import { tableOf as nameOf, shownName } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import type { PostgresTable } from "./tables.js";

interface Reading {
  readonly kinds: readonly RecordKind[];
  readonly tableOf: (kind: RecordKind) => PostgresTable;
  readonly tenants: readonly string[] | undefined;
  /** Of the tenants those that PostgreSQL can hold, as SQL literals. */
  readonly literals: readonly string[] | undefined;
  readonly application: PostgresApplication | undefined;
  /** The session's role. */
  readonly user: string;
}

/** Lets the session read the one tenant where policies bind its role. E_ROW_SECURITY. */
export async function bindToTenant(connection: PostgresConnection, reading: Reading): Promise<void> {
  const { kinds, tableOf, tenants, literals, application, user } = reading;
  const bound = kinds.find((kind) => tableOf(kind).rowSecurity);
  if (bound === undefined) return;
  if (tenants?.length !== 1) throw rowSecurityError(bound, user, "row-level security would hide rows from this role");
  const { name = "the catalog", tenantSetting } = application ?? {};
  const foreign = kinds.find((kind) => tableOf(kind).rowSecurity && !tableOf(kind).tenantPolicies);
  if (foreign !== undefined)
    throw rowSecurityError(foreign, user, `the table's row-level security has other policies than ${name}'s`);
  if (literals?.length === 0) return;
  await connection.query("SELECT set_config('row_security', 'on', true), set_config($1, $2, true)", [
    tenantSetting,
    tenants[0],
  ]);
}

function rowSecurityError(kind: RecordKind, user: string, message: string): StorageError {
  return new StorageError("E_ROW_SECURITY", message, {
    section: kind.path,
    detail: `${shownName(nameOf(kind))} has row-level security, which binds the role ${user}`,
    hint: `As a superuser: ALTER ROLE "${user}" BYPASSRLS; or connect as a superuser; or take one tenant with --tenant ID.`,
  });
}
