/** What `database health` says of a PostgreSQL database and of the role at hand. */

import type { PostgresState } from "../backends/postgres/database/inspect.js";
import { formatBytes } from "../byte-size.js";
import type { Catalog } from "../catalog/index.js";
import type { ImportRights } from "../llmspell/postgres/import-rights.js";

export function postgresFacts(state: PostgresState, rights: ImportRights | undefined, catalog: Catalog): string[] {
  const { serverVersion, encoding, encodingCaveat, extensions, databaseBytes, schema, tables } = state;
  const version = (name: string): string => {
    const { installed, available } = extensions.get(name) ?? {};
    if (installed !== undefined) return installed;
    return available === undefined ? "not available on this server" : `not installed (${available} is available)`;
  };
  const facts = [
    `Server: PostgreSQL ${serverVersion}; pgvector: ${version("vector")}`,
    `Encoding: ${encoding}${encodingCaveat === undefined ? "" : `; ${encodingCaveat}`}`,
    `Database size: ${formatBytes(databaseBytes)}`,
    schema ? `Schema: llmspell, ${tables.length} tables` : "Schema: none yet",
  ];
  const secured = tables.filter(({ rowSecurity }) => rowSecurity).length;
  const forced = tables.filter((table) => table.forced).length;
  if (schema) {
    facts.push(`Row-level security: on for ${secured} of ${tables.length} tables, forced on the owner for ${forced}`);
  }
  return [...facts, ...roleFacts(state, rights, catalog)];
}

/** What the role may do, with the grants that are missing. */
function roleFacts({ tables, role }: PostgresState, rights: ImportRights | undefined, catalog: Catalog): string[] {
  const seesAll = role.superuser || role.bypassRowSecurity;
  const attributes = [
    role.superuser ? "superuser" : "no superuser",
    ...(role.superuser ? [] : [role.bypassRowSecurity ? "BYPASSRLS" : "no BYPASSRLS"]),
  ];
  const facts = [`Role: ${role.name} (${attributes.join(", ")})`];
  if (rights === undefined) return facts;
  // Others, llmspell's keys among them, are never exported.
  const exported = new Set(catalog.kinds.map(({ postgres }) => postgres.table));
  const ours = tables.filter(({ name }) => exported.has(name));
  const bound = ours.filter((table) => table.rowSecurity && (table.forced || !table.owned));
  const unreadable = ours.filter(({ readable }) => !readable).map(({ name }) => name);
  if (unreadable.length > 0) facts.push(`  export: no; SELECT is missing on ${unreadable.join(", ")}`);
  else if (seesAll || bound.length === 0) facts.push("  export: yes, all tenants");
  else if (bound.every(({ owned }) => owned)) facts.push("  export: yes, all tenants, with --as-owner");
  else facts.push(`  export: the tenants named with --tenant; for all: ALTER ROLE ${role.name} BYPASSRLS`);
  return [...facts, ...importFacts(rights, role.name)];
}

function importFacts({ missing, replacing, oneTenant, makesPartitions }: ImportRights, role: string): string[] {
  if (missing.length > 0)
    return ["  import: no; it needs, from a superuser:", ...missing.map((statement) => `    ${statement};`)];
  const facts = [
    oneTenant
      ? `  import: one tenant at a time, with --tenant; for all: ALTER ROLE ${role} BYPASSRLS`
      : "  import: yes",
  ];
  for (const statement of replacing) facts.push(`  To replace large contents that are there: ${statement};`);
  if (!makesPartitions)
    facts.push("  Events of months that have no partition need the owner of llmspell.event_log, who may make them.");
  return facts;
}
