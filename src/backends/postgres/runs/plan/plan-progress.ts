/**
 * How far the parts of a plan are. A run may have hundreds of thousands of them: they are counted by the server, and listed in pages.
 * Only reads. Whoever calls is in a transaction.
 */
import type { PostgresConnection } from "../../session/connection.js";
import type { LedgerTables, RunRow } from "../ledger/ledger.js";
import type { PlanTables } from "./plan-ledger.js";

/** What is to be done with parts: those that are loaded are held against the source, or all are loaded. */
export type PlanWork = "comparing" | "loading";

export interface PlanCounts {
  readonly parts: number;
  readonly done: number;
  /** Not done, and nobody has them at hand. */
  readonly idle: number;
  /** Of the parts that are done: what their readers met, and what was loaded. */
  readonly records: number;
  readonly bytes: number;
  /** Another one whenever something has happened to a part. */
  readonly mark: string;
  /** Of the first part that is not done. */
  readonly section: string;
}

/** A part that somebody has at hand, or that has failed too often. */
export interface BusyPart {
  readonly part: number;
  readonly section: string;
  readonly worker: string;
  /** Its worker's session with the target has ended. */
  readonly abandoned: boolean;
  readonly attempts: number;
  readonly failure: string;
  readonly final: boolean;
}

/** What a worker told of a part that is loaded. */
export interface ToldPart {
  readonly part: number;
  readonly section: string;
  /** As it was loaded. */
  readonly records: bigint;
  readonly valueBytes: bigint;
  readonly meaning: string;
  readonly effects: string;
}

/** So many of those that are at hand or fail are looked at. */
const MOST_BUSY = 1000;
const PAGE = 2000;

export class PlanProgress {
  constructor(
    private readonly connection: PostgresConnection,
    private readonly tables: LedgerTables & PlanTables,
  ) {}

  async counts(run: Pick<RunRow, "run" | "epoch">, work: PlanWork): Promise<PlanCounts> {
    const { rows } = await this.connection.query<PlanCounts & Record<string, unknown>>(
      `SELECT c.*, coalesce((SELECT section FROM ${this.tables.planParts} WHERE run = $1 AND part = c.next), '') AS section
       FROM (SELECT count(*)::int4 AS parts, count(*) FILTER (WHERE done)::int4 AS done,
           count(*) FILTER (WHERE NOT done AND worker = '')::int4 AS idle,
           coalesce(sum(met) FILTER (WHERE done), 0)::float8 AS records,
           coalesce(sum(loaded_bytes) FILTER (WHERE done), 0)::float8 AS bytes,
           pg_catalog.concat_ws(' ', count(*) FILTER (WHERE done), sum(attempts), count(*) FILTER (WHERE worker <> ''),
             max(taken_at)) AS mark,
           min(part) FILTER (WHERE NOT done) AS next
         FROM ${this.from(run, work)}) c`,
      [run.run],
    );
    return rows[0] as PlanCounts;
  }

  /** Sections all of whose parts are loaded, as far as they are planned, with their records. */
  async loaded(run: Pick<RunRow, "run" | "epoch">): Promise<Map<string, number>> {
    const { rows } = await this.connection.query<{ section: string; records: bigint }>(
      `SELECT section, coalesce(sum(loaded_records), 0)::int8 AS records FROM ${this.from(run, "loading")}
       GROUP BY section HAVING bool_and(done)`,
      [run.run],
    );
    return new Map(rows.map(({ section, records }) => [section, Number(records)]));
  }

  /** Parts that are not done and that a worker has, that have failed for good, or so often; those that have failed for good first. */
  async busy(run: Pick<RunRow, "run" | "epoch">, work: PlanWork, attempts: number): Promise<BusyPart[]> {
    const { rows } = await this.connection.query<BusyPart & Record<string, unknown>>(
      `SELECT part, section, worker, attempts, failure, final,
         worker <> '' AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a
           WHERE a.pid::text = pg_catalog.split_part(p.session, '/', 1)
             AND (a.backend_start IS NULL OR a.pid || '/' || pg_catalog.date_part('epoch', a.backend_start) = p.session)) AS abandoned
       FROM ${this.from(run, work)}
       WHERE NOT done AND (final OR worker <> '' OR attempts >= $2) ORDER BY final DESC, part LIMIT ${MOST_BUSY}`,
      [run.run, attempts],
    );
    return rows;
  }

  /** Numbers of the parts behind one that are not done and that nobody has at hand. Empty: no more are. */
  async idle(run: Pick<RunRow, "run" | "epoch">, work: PlanWork, behind: number): Promise<number[]> {
    const { rows } = await this.connection.query<{ part: number }>(
      `SELECT part FROM ${this.from(run, work)} WHERE NOT done AND worker = '' AND part > $2 ORDER BY part LIMIT ${PAGE}`,
      [run.run, behind],
    );
    return rows.map(({ part }) => part);
  }

  /** What readers met of the sections that have parts with bounds. */
  async tallies(run: number): Promise<Map<string, { readonly records: number; readonly sum: number }>> {
    const { rows } = await this.connection.query<{ section: string; records: bigint; sum: bigint }>(
      `SELECT section, sum(met)::int8 AS records, sum(met_sum::int8)::int8 AS sum FROM ${this.tables.planParts}
       WHERE run = $1 AND bounds <> '' GROUP BY section ORDER BY min(part)`,
      [run],
    );
    return new Map(
      rows.map(({ section, records, sum }) => [
        section,
        { records: Number(records), sum: Number(BigInt.asIntN(32, BigInt(sum))) },
      ]),
    );
  }

  /** What was told of the loaded parts behind one, a page of them. Empty: there are no more. */
  async told(run: number, behind: number): Promise<ToldPart[]> {
    const { planParts, planSums, parts } = this.tables;
    const { rows } = await this.connection.query<ToldPart & Record<string, unknown>>(
      `SELECT p.part, p.section, l.records, s.value_bytes AS "valueBytes", s.meaning, s.effects
       FROM ${planParts} p JOIN ${parts} l ON l.run = p.run AND l.part = p.part
         JOIN ${planSums} s ON s.run = p.run AND s.part = p.part
       WHERE p.run = $1 AND p.part > $2 ORDER BY p.part LIMIT ${PAGE}`,
      [run, behind],
    );
    return rows;
  }

  /** The parts that the work is about, as `p`, with whether it is `done`. $1 is the run. */
  private from({ epoch }: Pick<RunRow, "epoch">, work: PlanWork): string {
    const { planParts, parts } = this.tables;
    const [done, join] =
      work === "loading" ? ["l.part IS NOT NULL", "LEFT JOIN"] : [`q.compared = ${Number(epoch)}`, "JOIN"];
    return `(SELECT q.*, ${done} AS done, l.bytes AS loaded_bytes, l.records AS loaded_records FROM ${planParts} q ${join} ${parts} l ON l.run = q.run AND l.part = q.part WHERE q.run = $1) p`;
  }
}
