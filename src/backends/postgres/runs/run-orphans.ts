/** Foreign keys of what a run has loaded, checked over all of it. */
import type { Catalog } from "../../../catalog/index.js";
import { located } from "../../../codecs/index.js";
import type { RunContext } from "../../../records/run-context.js";
import type { TargetTable } from "../database/target-table.js";
import { deleteRows, removeOrphans } from "../loading/orphans.js";
import type { PostgresConnection } from "../session/connection.js";

export interface RunOrphansOptions {
  readonly connection: PostgresConnection;
  readonly context: RunContext;
  readonly catalog: Catalog;
  readonly tables: ReadonlyMap<string, TargetTable>;
  readonly onOrphan: "error" | "drop";
  /** The kinds that were loaded, by path. */
  readonly loaded: ReadonlySet<string>;
  /** By path: tables of records that are still to be merged. They are there. */
  readonly waiting: ReadonlyMap<string, string>;
}

/** Takes out records whose parents are not there, or throws for the first. Gives how many went, by path. To be called in a transaction. */
export async function settleRunOrphans(options: RunOrphansOptions): Promise<Map<string, number>> {
  const { connection, catalog, tables, loaded } = options;
  const dropped = new Map<string, number>();
  for (const group of catalog.importGroups) {
    const kinds = group.filter(({ path, foreignKeys }) => loaded.has(path) && foreignKeys.length > 0);
    // What is taken out of one kind of a cycle may have been the parent of another's.
    for (let found = kinds.length > 0; found; ) {
      found = false;
      for (const kind of kinds) {
        const table = tables.get(kind.path) as TargetTable;
        const counts = await removeOrphans(
          { kind, relation: table.name, identity: ["s.tableoid", "s.ctid"] },
          {
            ...options,
            isHeld: () => false,
            discard: (identities) => deleteRows(connection, table, identities),
          },
        ).catch((error) => Promise.reject(located(error, { section: kind.path })));
        dropped.set(kind.path, (dropped.get(kind.path) ?? 0) + counts.dropped);
        found ||= kinds.length > 1 && counts.dropped > 0;
      }
    }
  }
  return dropped;
}
