/** Row-level security shows one tenant's rows at a time: several tenants' come by one pass each. */
import { columnOf, type Field, type RecordKind, tenantFieldOf } from "../../../catalog/index.js";
import { quote, sqlName, tableOf } from "../database/table-names.js";

/** One pass per tenant, in one statement. */
export interface Passes {
  /** The setting that the policies compare the tenant with. */
  readonly setting: string;
  /** SQL literals, at least one. */
  readonly tenants: readonly string[];
  /** As in SelectOptions. */
  readonly distrustsTextIndexes: boolean;
}

/**
 * The table's rows, or the `relation`'s, tenant after tenant, each under its own setting: the join is lateral and the parts are
 * not taken into one (OFFSET 0), so that a tenant's rows are looked for behind the setting.
 * @param where the condition, with WHERE
 */
export function inPasses(
  kind: RecordKind,
  { setting, tenants, distrustsTextIndexes }: Passes,
  where = "",
  relation = `(SELECT tableoid, ctid, * FROM ${sqlName(tableOf(kind))}${where}) own`,
): string {
  const column = quote(columnOf(tenantFieldOf(kind) as Field));
  const collation = distrustsTextIndexes ? ' COLLATE "C"' : "";
  return `(SELECT r.* FROM (VALUES ${tenants.map((tenant) => `(${tenant})`).join(", ")}) AS t (tenant)
    CROSS JOIN LATERAL (SELECT set_config('${setting}', t.tenant, true) AS tenant OFFSET 0) s
    CROSS JOIN LATERAL (SELECT * FROM ${relation} WHERE ${column}${collation} = s.tenant OFFSET 0) r) shown`;
}
