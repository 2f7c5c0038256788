/** Row-level security: never an export that lacks rows. Tenants that are known are read under the application's own policies. */
import type { RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { PostgresApplication } from "../application.js";
import { tableOf as nameOf, shownName, type TableName } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { countTenants, hasRows, requireOwner, type TenantCounts } from "./owner.js";
import type { Passes } from "./passes.js";
import type { RowCount } from "./row-count.js";
import type { SelectOptions } from "./select.js";
import type { PostgresTable } from "./tables.js";
import { tenantLiterals } from "./tenants.js";

interface Reading {
  readonly connection: PostgresConnection;
  readonly tableOf: (name: TableName) => PostgresTable | undefined;
  readonly application: PostgresApplication | undefined;
  /** The session's role. */
  readonly user: string;
  readonly select: SelectOptions;
}

/** What row-level security hides from the session's role, and how it is read all the same. */
export class RowSecurity {
  /** What the owner counted, by path, of kinds that it hides; undefined where nobody reads as the owner. */
  private counts: ReadonlyMap<string, TenantCounts> | undefined;
  private readonly filled = new Set<string>();

  constructor(private readonly reading: Reading) {}

  /** Whether policies bind the role. */
  binds(kind: RecordKind): boolean {
    return this.reading.tableOf(nameOf(kind))?.rowSecurity === true;
  }

  /**
   * As the owner of the tables: finds all tenants and what rows they have, and whether `others` have any. After it the
   * transaction cannot write any more. E_ROW_SECURITY, E_LOCKED, E_SOURCE_DAMAGED.
   */
  async countAsOwner(kinds: readonly RecordKind[], others: readonly TableName[]): Promise<void> {
    const { connection, tableOf, user, select } = this.reading;
    const bound = kinds.filter((kind) => this.binds(kind));
    for (const kind of bound) requireOwner(nameOf(kind), tableOf(nameOf(kind)) as PostgresTable, user, kind.path);
    this.requirePolicies(bound);
    const counts = new Map<string, TenantCounts>();
    for (const kind of bound) counts.set(kind.path, await countTenants(connection, kind, select));
    this.counts = counts;
    for (const name of others) {
      const { rowSecurity = false, owned = false } = tableOf(name) ?? {};
      if (rowSecurity && owned && (await hasRows(connection, name))) this.filled.add(name.table);
    }
    await connection.query("SET TRANSACTION READ ONLY");
  }

  /** Whether the owner found rows in one of the other tables. */
  hasRows({ table }: TableName): boolean {
    return this.filled.has(table);
  }

  /** Lets the policies show rows. Throws where they would hide some that were asked for. E_ROW_SECURITY. */
  async begin(kinds: readonly RecordKind[], selected: readonly string[] | undefined): Promise<void> {
    const bound = kinds.filter((kind) => this.binds(kind));
    const [first] = bound;
    if (first === undefined) return;
    if (selected === undefined) {
      if (this.counts === undefined) throw this.error(first, "row-level security would hide rows from this role");
      for (const kind of bound) requireTenants(kind, this.counts.get(kind.path));
    }
    this.requirePolicies(bound);
    await this.reading.connection.query("SET LOCAL row_security = on");
  }

  /** The tenants that are read of the kind, as literals: those selected, or what the owner found; undefined for all. */
  tenantsOf(kind: RecordKind, selected: readonly string[] | undefined): readonly string[] | undefined {
    const counts = this.counts?.get(kind.path);
    return tenantLiterals(this.reading.connection, counts === undefined ? selected : selectedOf(counts, selected));
  }

  /** How rows of several tenants come from one statement; undefined where policies do not bind the role. */
  passesOf(kind: RecordKind, tenants: readonly string[] | undefined): Passes | undefined {
    const setting = this.reading.application?.tenantSetting;
    if (setting === undefined || !this.binds(kind) || tenants === undefined || tenants.length === 0) return undefined;
    return { setting, tenants, distrustsTextIndexes: this.reading.select.distrustsTextIndexes };
  }

  /** From here on, to the end of the savepoint, the policies show the one tenant's rows. */
  async show({ setting }: Passes, tenant: string): Promise<void> {
    await this.reading.connection.query(`SELECT set_config('${setting}', ${tenant}, true)`);
  }

  /** What must have come of the kind, up to `limit` rows; undefined where the owner has not counted it. */
  countOf(kind: RecordKind, selected: readonly string[] | undefined, limit: number | undefined): RowCount | undefined {
    const counts = this.counts?.get(kind.path);
    if (counts === undefined) return undefined;
    let [count, sum] = [0n, 0n];
    for (const tenant of selectedOf(counts, selected)) {
      count += counts.get(tenant)?.count ?? 0n;
      sum += counts.get(tenant)?.sum ?? 0n;
    }
    if (limit === undefined) return { count, sum };
    return { count: count < BigInt(limit) ? count : BigInt(limit) };
  }

  private requirePolicies(bound: readonly RecordKind[]): void {
    const { tableOf, application } = this.reading;
    const foreign = bound.find((kind) => tableOf(nameOf(kind))?.tenantPolicies !== true);
    if (foreign === undefined) return;
    const whose = application?.name ?? "the catalog";
    throw this.error(foreign, `the table's row-level security has other policies than ${whose}'s`);
  }

  private error(kind: RecordKind, message: string): StorageError {
    const { tableOf, user } = this.reading;
    const asOwner =
      tableOf(nameOf(kind))?.owned === true ? "Give --as-owner, for the role owns the table; or, as" : "As";
    return new StorageError("E_ROW_SECURITY", message, {
      section: kind.path,
      detail: `${shownName(nameOf(kind))} has row-level security, which binds the role ${user}`,
      hint: `${asOwner} a superuser: ALTER ROLE "${user}" BYPASSRLS; or connect as a superuser; or take tenants that you name with --tenant ID or --tenants-from FILE.`,
    });
  }
}

/** The tenants that were counted and are selected. */
function selectedOf(counts: TenantCounts, selected: readonly string[] | undefined): string[] {
  const wanted = selected === undefined ? undefined : new Set(selected);
  return [...counts.keys()].filter((tenant): tenant is string => tenant !== null && wanted?.has(tenant) !== false);
}

/** Throws where rows are of no tenant, so that no policy shows them. E_ROW_SECURITY. */
function requireTenants(kind: RecordKind, counts: TenantCounts | undefined): void {
  const hidden = counts?.get(null)?.count;
  if (hidden === undefined) return;
  throw new StorageError("E_ROW_SECURITY", "row-level security hides rows from this role that have no tenant", {
    section: kind.path,
    detail: `${hidden} of ${shownName(nameOf(kind))} have NULL for it`,
    hint: "Give them a tenant, or export as a superuser.",
  });
}
