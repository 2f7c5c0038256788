/** Parts some of whose records others have removed since: the ledger alone would say that they are loaded. */
import type { TargetTable } from "../../database/target-table.js";
import type { PostgresConnection } from "../../session/connection.js";
import { inTransaction } from "../../session/transaction.js";
import type { PartRow } from "../ledger/ledger.js";
import { xminOf } from "./remove-parts.js";

export interface LackingOptions {
  readonly connection: PostgresConnection;
  readonly tables: ReadonlyMap<string, TargetTable>;
  /** A line for a section whose records others have changed. */
  readonly onWarning: (line: string) => void;
}

/** The parts to load again. Each table is read once. */
export async function findLacking(
  parts: readonly PartRow[],
  { connection, tables, onWarning }: LackingOptions,
): Promise<Set<PartRow>> {
  const lacking = new Set<PartRow>();
  for (const [section, list] of Map.groupBy(parts, (part) => part.section)) {
    const table = tables.get(section);
    if (table === undefined) continue;
    const counts = await countByTransaction(connection, table, list);
    const others = counts.get(null) ?? 0n;
    let missing = 0n;
    const short = list.filter((part) => {
      const gone = part.records - (counts.get(xminOf(part)) ?? 0n);
      if (gone > 0n) missing += gone;
      return gone > 0n;
    });
    // A record that somebody has changed is one of theirs now: more than there are of these must have been removed.
    if (missing > others) for (const part of short) lacking.add(part);
    else if (missing > 0n)
      onWarning(
        `${section}: others have changed or removed ${missing} of the records that were loaded, which stay so (\`llmspell storage verify\` tells which)`,
      );
  }
  return lacking;
}

/** Rows of the table by the part's transaction; null: those of others. */
function countByTransaction(
  connection: PostgresConnection,
  table: TargetTable,
  parts: readonly PartRow[],
): Promise<Map<string | null, bigint>> {
  return inTransaction(connection, "read", async () => {
    await connection.query("SET LOCAL row_security = off");
    const { rows } = await connection.query<{ xmin: string | null; count: bigint }>(
      `SELECT p.xmin::text AS xmin, count(*) AS count
       FROM ${table.name} t LEFT JOIN unnest($1::xid[]) p (xmin) ON p.xmin = t.xmin GROUP BY 1`,
      [[...new Set(parts.map(xminOf))]],
    );
    return new Map(rows.map(({ xmin, count }) => [xmin, count]));
  });
}
