/** Parts some of whose records others have removed since: the ledger alone would say that they are loaded. */
import type { TargetTable } from "../../database/target-table.js";
import type { PostgresConnection } from "../../session/connection.js";
import { inTransaction } from "../../session/transaction.js";
import type { PartRow } from "../ledger/ledger.js";
import { xminOf } from "../ledger/transactions.js";
import { MERGED, type Stage } from "../merging/stages.js";

export interface LackingOptions {
  readonly connection: PostgresConnection;
  readonly tables: ReadonlyMap<string, TargetTable>;
  /** By path, of kinds whose parts wait to be merged. */
  readonly stages: ReadonlyMap<string, Stage>;
  /** A line for a section whose records others have changed. */
  readonly onWarning: (line: string) => void;
}

export interface Lacking {
  /** The parts to load again. */
  readonly lacking: Set<PartRow>;
  /** Sections in whose tables others have rows. */
  readonly amongOthers: Set<string>;
}

/** Each table is read once. */
export async function findLacking(
  parts: readonly PartRow[],
  { connection, tables, stages, onWarning }: LackingOptions,
): Promise<Lacking> {
  const lacking = new Set<PartRow>();
  const amongOthers = new Set<string>();
  const loads = parts.filter(({ digest }) => digest !== MERGED);
  for (const [section, list] of Map.groupBy(loads, (part) => part.section)) {
    const relation = stages.get(section)?.name ?? tables.get(section)?.name;
    if (relation === undefined) continue;
    const counts = await countByTransaction(connection, relation, list);
    const others = counts.get(null) ?? 0n;
    if (others > 0n) amongOthers.add(section);
    let missing = 0n;
    const short = list.filter((part) => {
      const gone = part.records - (counts.get(xminOf(part)) ?? 0n);
      if (gone > 0n) missing += gone;
      return gone > 0n;
    });
    // A record that somebody has changed is one of theirs now. Which are changed and which are removed, loading the part again tells
    // (load-among-others.ts), where these have keys; else more than there are of theirs must have been removed.
    const tells = !stages.has(section) && (tables.get(section)?.kind.key.length ?? 0) > 0;
    if (tells || missing > others) for (const part of short) lacking.add(part);
    else if (missing > 0n)
      onWarning(
        `${section}: others have changed or removed ${missing} of the records that were loaded, which stay so (\`llmspell storage verify\` tells which)`,
      );
  }
  return { lacking, amongOthers };
}

/** Rows of the table by the part's transaction; null: those of others. */
function countByTransaction(
  connection: PostgresConnection,
  relation: string,
  parts: readonly PartRow[],
): Promise<Map<string | null, bigint>> {
  return inTransaction(connection, "read", async () => {
    await connection.query("SET LOCAL row_security = off");
    const { rows } = await connection.query<{ xmin: string | null; count: bigint }>(
      `SELECT p.xmin::text AS xmin, count(*) AS count
       FROM ${relation} t LEFT JOIN unnest($1::xid[]) p (xmin) ON p.xmin = t.xmin GROUP BY 1`,
      [[...new Set(parts.map(xminOf))]],
    );
    return new Map(rows.map(({ xmin, count }) => [xmin, count]));
  });
}
