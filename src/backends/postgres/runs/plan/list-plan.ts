/** What a run's plan says of its workers, for those who look on. Only reads. */
import type { PostgresApplication } from "../../application.js";
import { quote, schemaSql } from "../../database/table-names.js";
import type { PostgresConnection } from "../../session/connection.js";
import { inTransaction } from "../../session/transaction.js";

export interface ListedPlan {
  readonly run: number;
  readonly stage: string;
  readonly parts: number;
  readonly done: number;
  readonly left: number;
  /** Who has parts at hand; `gone`: its session has ended. */
  readonly workers: readonly { readonly worker: string; readonly parts: readonly number[]; readonly gone: boolean }[];
  /** Parts that were tried and are not there yet. */
  readonly failing: readonly {
    readonly part: number;
    readonly section: string;
    readonly attempts: number;
    readonly error: string;
  }[];
}

/** So many parts that fail are named. */
const NAMED = 20;

/** Undefined where no run has a plan. After the ledger was found to be trusted. */
export async function listPlan(
  connection: PostgresConnection,
  { schema }: PostgresApplication,
): Promise<ListedPlan | undefined> {
  const named = (table: string): string => `${schemaSql(schema)}.${quote(table)}`;
  return inTransaction(connection, "read", async () => {
    const present = await connection.query<{ there: boolean }>(
      "SELECT pg_catalog.to_regclass($1) IS NOT NULL AS there",
      [named("storage_plan_parts")],
    );
    if (present.rows[0]?.there !== true) return undefined;
    const plans = await connection.query<{ run: number; stage: string }>(
      `SELECT run, stage FROM ${named("storage_plans")}`,
    );
    const [plan] = plans.rows;
    if (plan === undefined) return undefined;
    const from = `FROM ${named("storage_plan_parts")} p
      LEFT JOIN ${named("storage_parts")} l ON l.run = p.run AND l.part = p.part WHERE p.run = $1`;
    // Counts, and lists of the few that somebody has or that fail: there may be very many parts.
    const counts = await connection.query<{ parts: number; done: number }>(
      `SELECT count(*)::int4 AS parts, count(l.part)::int4 AS done ${from}`,
      [plan.run],
    );
    const taken = await connection.query<{ part: number; worker: string; gone: boolean }>(
      `SELECT p.part, p.worker, NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a
           WHERE a.pid::text = pg_catalog.split_part(p.session, '/', 1)) AS gone
       ${from} AND p.worker <> '' ORDER BY p.part`,
      [plan.run],
    );
    const failing = await connection.query<{ part: number; section: string; attempts: number; failure: string }>(
      `SELECT p.part, p.section, p.attempts, p.failure ${from} AND l.part IS NULL AND p.failure <> ''
       ORDER BY p.part LIMIT ${NAMED}`,
      [plan.run],
    );
    const { parts = 0, done = 0 } = counts.rows[0] ?? {};
    const busy = Map.groupBy(taken.rows, ({ worker }) => worker);
    return {
      ...plan,
      parts,
      done,
      left: parts - done,
      workers: [...busy].map(([worker, list]) => ({
        worker,
        parts: list.map(({ part }) => part),
        gone: list.every(({ gone }) => gone),
      })),
      failing: failing.rows.map(({ failure, ...rest }) => ({ ...rest, error: messageOf(failure) })),
    };
  });
}

function messageOf(failure: string): string {
  try {
    const { code, message } = JSON.parse(failure) as Record<string, unknown>;
    return `${message} [${code}]`;
  } catch {
    return "";
  }
}
