/**
 * The plan of a run whose parts workers load (106-run-plans.sql, 107-part-sums.sql): what a job's numbers mean, who has which part at hand, and
 * what became of it. Whoever calls is in a transaction.
 */
import { StorageError } from "../../../../errors.js";
import type { PartTally } from "../../../../records/parts.js";
import type { PostgresApplication } from "../../application.js";
import type { PostgresConnection } from "../../session/connection.js";
import type { LedgerTables, RunRow } from "../ledger/ledger.js";
import { requireOwnTables } from "../ledger/trust.js";

/** What workers do with a part of the plan: the same while it is planned as when it is loaded, where there is a snapshot. */
export type PlanStage = "planning" | "comparing" | "loading" | "ending";

export interface PlanRow {
  readonly run: number;
  readonly token: string;
  /** Names of stores, as the workers' configuration has them. */
  readonly from: string;
  readonly to: string;
  /** JSON. */
  readonly options: string;
  /** Empty: nobody may read it yet. */
  readonly snapshot: string;
  readonly stage: PlanStage;
}

export interface PlannedPart {
  readonly part: number;
  readonly section: string;
  /** JSON; empty: all of the section. */
  readonly bounds: string;
}

/** What a worker tells of a part that it has loaded, or held against the source. */
export interface PartTold {
  readonly met: PartTally;
  /** Bytes of the values that were loaded. */
  readonly valueBytes: number;
  /** The digest of what the records mean; empty where none is wanted. */
  readonly meaning: string;
  /** JSON: what the steps met. */
  readonly effects: string;
}

export interface PlanTables {
  readonly plans: string;
  readonly planParts: string;
  readonly planSums: string;
}

const NAMES = ["storage_plans", "storage_plan_parts", "storage_plan_sums"];

/** @throws {StorageError} E_NOT_MIGRATED, E_PERMISSION */
export async function requirePlanTables(
  connection: PostgresConnection,
  application: PostgresApplication | undefined,
  tables: readonly number[],
): Promise<PlanTables> {
  const [plans, planParts, planSums] = (await requireOwnTables(connection, application, tables, NAMES)) as [
    string,
    string,
    string,
  ];
  return { plans, planParts, planSums };
}

const PLAN = `run, token, from_store AS "from", to_store AS "to", options, snapshot, stage`;

/** Which session a connection is: process numbers come again. */
const SESSION = `(SELECT pid || '/' || pg_catalog.date_part('epoch', backend_start) FROM pg_catalog.pg_stat_activity
  WHERE pid = pg_catalog.pg_backend_pid())`;

export class PlanLedger {
  constructor(
    private readonly connection: PostgresConnection,
    private readonly tables: PlanTables & LedgerTables,
  ) {}

  /** Writes the plan's head; plans of earlier runs are of no more use. Its parts may be loaded as soon as they are there. */
  async begin(plan: Omit<PlanRow, "stage">): Promise<void> {
    await this.connection.query(`DELETE FROM ${this.tables.plans}`);
    await this.connection.query(
      `INSERT INTO ${this.tables.plans} (run, token, from_store, to_store, options, snapshot, stage)
       VALUES ($1, $2, $3, $4, $5, $6, 'planning')`,
      [plan.run, plan.token, plan.from, plan.to, plan.options, plan.snapshot],
    );
  }

  /** No more parts come. */
  async complete(run: number): Promise<void> {
    await this.connection.query(`UPDATE ${this.tables.plans} SET stage = 'loading' WHERE run = $1`, [run]);
  }

  async addParts(run: number, parts: readonly PlannedPart[]): Promise<void> {
    await this.connection.query(
      `INSERT INTO ${this.tables.planParts} (run, part, section, bounds)
       SELECT $1, * FROM unnest($2::int4[], $3::text[], $4::text[])`,
      [run, parts.map(({ part }) => part), parts.map(({ section }) => section), parts.map(({ bounds }) => bounds)],
    );
  }

  /** The last part of each section that has some. */
  async lastParts(run: number): Promise<PlannedPart[]> {
    const { rows } = await this.connection.query<PlannedPart & Record<string, unknown>>(
      `SELECT DISTINCT ON (section) part, section, bounds FROM ${this.tables.planParts} WHERE run = $1
       ORDER BY section, part DESC`,
      [run],
    );
    return rows;
  }

  async find(run: number): Promise<PlanRow | undefined> {
    const sql = `SELECT ${PLAN} FROM ${this.tables.plans} WHERE run = $1`;
    const { rows } = await this.connection.query<PlanRow & Record<string, unknown>>(sql, [run]);
    return rows[0];
  }

  /** A new snapshot, of stores that may be named otherwise now, and what workers have to do alike from now on: nothing is at hand any more, and nothing was held against it. */
  async takeOver(
    run: number,
    { snapshot, options, from, to }: Pick<PlanRow, "snapshot" | "options" | "from" | "to">,
  ): Promise<void> {
    await this.connection.query(
      `UPDATE ${this.tables.plans} SET snapshot = $2, options = $3, from_store = $4, to_store = $5 WHERE run = $1`,
      [run, snapshot, options, from, to],
    );
    await this.connection.query(
      `UPDATE ${this.tables.planParts} SET worker = '', session = '', attempts = 0, failure = '', final = false WHERE run = $1`,
      [run],
    );
  }

  async setOptions(run: number, options: string): Promise<void> {
    await this.connection.query(`UPDATE ${this.tables.plans} SET options = $2 WHERE run = $1`, [run, options]);
  }

  async setStage(run: number, stage: PlanStage): Promise<void> {
    await this.connection.query(`UPDATE ${this.tables.plans} SET stage = $2 WHERE run = $1`, [run, stage]);
    await this.connection.query(
      `UPDATE ${this.tables.planParts} SET worker = '', session = '' WHERE run = $1 AND worker <> ''`,
      [run],
    );
  }

  async part(run: number, part: number): Promise<PlannedPart | undefined> {
    const { rows } = await this.connection.query<PlannedPart & Record<string, unknown>>(
      `SELECT part, section, bounds FROM ${this.tables.planParts} WHERE run = $1 AND part = $2`,
      [run, part],
    );
    return rows[0];
  }

  /** Undefined where the part is not loaded. */
  async loadedDigest(run: number, part: number): Promise<string | undefined> {
    const sql = `SELECT digest FROM ${this.tables.parts} WHERE run = $1 AND part = $2`;
    return (await this.connection.query<{ digest: string }>(sql, [run, part])).rows[0]?.digest;
  }

  /** The server's process of another session that has the part at hand, and that this role may end; undefined where there is none. */
  async holder(run: number, part: number): Promise<number | undefined> {
    const { rows } = await this.connection.query<{ pid: number }>(
      `SELECT a.pid FROM ${this.tables.planParts} p JOIN pg_catalog.pg_stat_activity a
         ON a.pid || '/' || pg_catalog.date_part('epoch', a.backend_start) = p.session
       WHERE p.run = $1 AND p.part = $2 AND p.worker <> '' AND a.pid <> pg_catalog.pg_backend_pid()
         AND pg_catalog.pg_has_role(a.usesysid, 'USAGE')`,
      [run, part],
    );
    return rows[0]?.pid;
  }

  /** Says who has the part at hand. */
  async claim(run: number, part: number, worker: string): Promise<void> {
    await this.connection.query(
      `UPDATE ${this.tables.planParts} SET worker = $3, session = ${SESSION}, taken_at = pg_catalog.now(), attempts = attempts + 1
       WHERE run = $1 AND part = $2`,
      [run, part, worker],
    );
  }

  /** In the transaction that loads the part, or that has held it against the source. */
  async settle(
    { run, epoch }: Pick<RunRow, "run" | "epoch">,
    part: number,
    { met, valueBytes, meaning, effects }: PartTold,
  ): Promise<void> {
    await this.connection.query(
      `UPDATE ${this.tables.planParts} SET compared = $3, met = $4, met_sum = $5, worker = '', session = '', failure = ''
       WHERE run = $1 AND part = $2`,
      [run, part, epoch, BigInt(met.records), met.sum],
    );
    await this.connection.query(
      `INSERT INTO ${this.tables.planSums} (run, part, value_bytes, meaning, effects) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (run, part) DO UPDATE SET (value_bytes, meaning, effects) = (excluded.value_bytes, excluded.meaning, excluded.effects)`,
      [run, part, BigInt(valueBytes), meaning, effects],
    );
  }

  /** Gives the part back, where it is still this session's; another worker may take it. `tried`: it was the part's or the servers' fault, not the worker's. */
  async giveBack(
    run: number,
    part: number,
    { failure, final, tried }: { failure: string; final: boolean; tried: boolean },
  ): Promise<void> {
    await this.connection.query(
      `UPDATE ${this.tables.planParts} SET worker = '', session = '', failure = $3, final = $4,
         attempts = attempts - CASE WHEN $5 THEN 0 ELSE 1 END WHERE run = $1 AND part = $2 AND session = ${SESSION}`,
      [run, part, failure, final, tried],
    );
  }

  /** Takes parts from workers that are gone. */
  async free(run: number, parts: readonly number[]): Promise<void> {
    await this.connection.query(
      `UPDATE ${this.tables.planParts} SET worker = '', session = '' WHERE run = $1 AND part = ANY ($2::int4[])`,
      [run, parts],
    );
  }
}

/** What stands in a plan and cannot have been written by a coordinator. */
export function noPlan(run: number, what: string): StorageError {
  return new StorageError("E_RUN_UNFINISHED", `what the ledger says of ${what} of the run ${run} is no plan's`, {
    hint: "Nothing of it was run. `llmspell storage undo` takes back what was loaded; then load anew.",
  });
}
