/** Row-level security: never an export that lacks rows. Tenants that are known are read under the application's own policies. */
import type { RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { PostgresApplication } from "../application.js";
import { tableOf as nameOf, shownName } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import type { TenantCounts } from "./owner.js";
import type { PostgresTable } from "./tables.js";

interface Reading {
  readonly kinds: readonly RecordKind[];
  readonly tableOf: (kind: RecordKind) => PostgresTable;
  /** Whether the tenants are known: selected, or listed by the owner. */
  readonly knowsTenants: boolean;
  readonly application: PostgresApplication | undefined;
  /** The session's role. */
  readonly user: string;
}

/** Throws where policies that bind the role would hide rows of known tenants, or the tenants are not known. E_ROW_SECURITY. */
export function requireShown({ kinds, tableOf, knowsTenants, application, user }: Reading): void {
  const bound = kinds.filter((kind) => tableOf(kind).rowSecurity);
  const [first] = bound;
  if (first === undefined) return;
  const error = (kind: RecordKind, message: string): StorageError =>
    rowSecurityError(kind, tableOf(kind).owned, user, message);
  if (!knowsTenants) throw error(first, "row-level security would hide rows from this role");
  const foreign = bound.find((kind) => !tableOf(kind).tenantPolicies);
  const { name = "the catalog" } = application ?? {};
  if (foreign !== undefined) throw error(foreign, `the table's row-level security has other policies than ${name}'s`);
}

/** Throws where rows are of no tenant, so that no policy shows them. E_ROW_SECURITY. */
export function requireTenants(kind: RecordKind, counts: TenantCounts): void {
  const hidden = counts.get(null)?.count;
  if (hidden === undefined) return;
  throw new StorageError("E_ROW_SECURITY", "row-level security hides rows from this role that have no tenant", {
    section: kind.path,
    detail: `${hidden} of ${shownName(nameOf(kind))} have NULL for it`,
    hint: "Give them a tenant, or export as a superuser.",
  });
}

/** From here on the policies show this tenant's rows, in this transaction. */
export async function showTenant(connection: PostgresConnection, setting: string, literal: string): Promise<void> {
  await connection.query(`SELECT set_config('${setting}', ${literal}, true)`);
}

function rowSecurityError(kind: RecordKind, owned: boolean, user: string, message: string): StorageError {
  const owner = owned ? "give --as-owner, for the role owns the table; or, as" : "As";
  const hint = `${owner} a superuser: ALTER ROLE "${user}" BYPASSRLS; or connect as a superuser; or take tenants that you name with --tenant ID or --tenants-from FILE.`;
  return new StorageError("E_ROW_SECURITY", message, {
    section: kind.path,
    detail: `${shownName(nameOf(kind))} has row-level security, which binds the role ${user}`,
    hint: hint.charAt(0).toUpperCase() + hint.slice(1),
  });
}
