/** Tenants as statements name them. */
import type { PostgresConnection } from "../session/connection.js";

export function sortByBytes(texts: readonly string[]): string[] {
  return [...texts].sort((a, b) => Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8")));
}

/** The selected tenants as SQL literals in the order of their bytes; those that PostgreSQL cannot hold are left out. */
export function tenantLiterals(
  connection: PostgresConnection,
  tenants: readonly string[] | undefined,
): readonly string[] | undefined {
  if (tenants === undefined) return undefined;
  const possible = [...new Set(tenants)].filter((tenant) => tenant.isWellFormed() && !tenant.includes("\0"));
  return sortByBytes(possible).map((tenant) => connection.client.escapeLiteral(tenant));
}
