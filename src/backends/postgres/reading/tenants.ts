/** Tenants as statements name them. */
import { columnOf, type Field, type RecordKind, tenantFieldOf } from "../../../catalog/index.js";
import { quote, sqlName, tableOf } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { UNKNOWN_ENCODING } from "../session/encodings.js";
import { isKeyedByTenant, type SelectOptions } from "./select.js";

/** More tenants than this are read in one sorted statement rather than one statement each. */
const MOST_TENANT_STATEMENTS = 1000;

export function sortByBytes(texts: readonly string[]): string[] {
  return [...texts].sort((a, b) => Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8")));
}

/** The selected tenants as SQL literals in the order of their bytes; those that PostgreSQL cannot hold are left out. */
export function tenantLiterals(
  connection: PostgresConnection,
  tenants: readonly string[] | undefined,
): readonly string[] | undefined {
  if (tenants === undefined) return undefined;
  return possibleTenants(tenants).map((tenant) => connection.client.escapeLiteral(tenant));
}

/** Those that PostgreSQL can hold, each once, in the order of their bytes. */
export function possibleTenants(tenants: readonly string[]): string[] {
  return sortByBytes([...new Set(tenants)].filter((tenant) => tenant.isWellFormed() && !tenant.includes("\0")));
}

/** The statements that together give the kind's records in order: each one's tenants as literals, undefined for all. */
export async function tenantStatements(
  connection: PostgresConnection,
  kind: RecordKind,
  selected: readonly string[] | undefined,
  options: SelectOptions,
): Promise<readonly (readonly string[] | undefined)[]> {
  const { distrustsTextIndexes, way = "index" } = options;
  if (!isKeyedByTenant(kind) || distrustsTextIndexes || way !== "index") return [selected];
  if (selected !== undefined) return selected.map((tenant) => [tenant]);
  const tenants = await tenantsOf(connection, kind, options);
  return tenants?.map((tenant) => [connection.client.escapeLiteral(tenant)]) ?? [undefined];
}

/** The tenants that have rows of a kind that is keyed by them, in the order of their bytes; undefined where they cannot be asked for one by one, or are too many for that. */
export async function tenantsOf(
  connection: PostgresConnection,
  kind: RecordKind,
  { serverEncoding }: SelectOptions,
): Promise<readonly string[] | undefined> {
  // A tenant whose bytes are no UTF-8 could not be asked for.
  if (serverEncoding === UNKNOWN_ENCODING) return undefined;
  const sql = selectTenants(kind, MOST_TENANT_STATEMENTS + 1);
  const { rows } = await connection.query<{ tenant: string }>(sql);
  return rows.length > MOST_TENANT_STATEMENTS ? undefined : sortByBytes(rows.map(({ tenant }) => tenant));
}

/** Lists up to `limit` tenants of the table, unordered, by hopping along an index rather than reading all rows. */
function selectTenants(kind: RecordKind, limit: number): string {
  const tenant = quote(columnOf(tenantFieldOf(kind) as Field));
  const next = (where: string): string =>
    `SELECT ${tenant} FROM ${sqlName(tableOf(kind))}${where} ORDER BY ${tenant} LIMIT 1`;
  return `WITH RECURSIVE tenants (tenant) AS (
    (${next("")}) UNION ALL SELECT (${next(` WHERE ${tenant} > tenant`)}) FROM tenants WHERE tenant IS NOT NULL
  ) SELECT tenant::text AS tenant FROM tenants WHERE tenant IS NOT NULL LIMIT ${limit}`;
}
