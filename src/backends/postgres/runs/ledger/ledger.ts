/**
 * The ledger of runs, in the target (105-runs.sql): what each part wrote, and what was dropped or made besides. Whoever resumes
 * or undoes a run raises its epoch first; no transaction of an earlier epoch commits afterwards.
 */
import { StorageError } from "../../../../errors.js";
import type { PostgresConnection } from "../../session/connection.js";

export type RunState = "loading" | "undoing" | "done" | "undone";

/** A run as the ledger has it. */
export interface RunRow {
  readonly run: number;
  readonly state: RunState;
  readonly epoch: number;
  readonly jobs: number;
  readonly partBytes: number;
  /** The source's name, without a password. */
  readonly source: string;
  /** JSON: digests of the options that say what the run loads. */
  readonly settings: string;
  readonly place: string;
  readonly phase: string;
  /** UTC, ISO 8601. */
  readonly started: string;
  readonly changed: string;
}

/** A part that was loaded. */
export interface PartRow {
  readonly part: number;
  readonly section: string;
  readonly records: bigint;
  readonly bytes: bigint;
  readonly digest: string;
  /** Of its transaction, with the epoch: xmin of its rows is the lower half. */
  readonly transaction: bigint;
}

/** What a section's parts have together. */
export interface PartTotals {
  readonly section: string;
  /** They have the digest that was asked for. */
  readonly apart: boolean;
  readonly records: bigint;
  /** The number of the last one. */
  readonly last: number;
}

/** What was dropped (an index) or made (a partition), or the mark of a section that was begun. */
export interface StepRow {
  readonly step: number;
  readonly what: "section" | "index" | "partition";
  readonly section: string;
  readonly name: string;
  readonly definition: string;
  readonly done: boolean;
}

export interface LedgerTables {
  readonly runs: string;
  readonly parts: string;
  readonly steps: string;
}

const RUN = `run, state, epoch, jobs, part_bytes AS "partBytes", source, settings, place, phase,
  pg_catalog.to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS started,
  pg_catalog.to_char(changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS changed`;

type Row<Shape> = Shape & Record<string, unknown>;

/** Reads and writes the ledger over one connection; whoever calls it is in a transaction. */
export class Ledger {
  constructor(
    private readonly connection: PostgresConnection,
    readonly tables: LedgerTables,
  ) {}

  /** All runs, the newest first. */
  async list(): Promise<RunRow[]> {
    const { rows } = await this.connection.query<Row<RunRow>>(
      `SELECT ${RUN} FROM ${this.tables.runs} ORDER BY run DESC`,
    );
    return rows;
  }

  async unfinished(): Promise<RunRow | undefined> {
    return (await this.list()).find(({ state }) => state === "loading" || state === "undoing");
  }

  /**
   * Records a new run. What earlier ones wrote is of no more use. A run that has written nothing gives its number back: so the epoch
   * begins anywhere, and who still works for that one is no worker of this.
   */
  async begin(run: Pick<RunRow, "jobs" | "partBytes" | "source" | "settings" | "place">): Promise<RunRow> {
    const { runs, parts, steps } = this.tables;
    await this.connection.query(`DELETE FROM ${parts}; DELETE FROM ${steps}`);
    const { rows } = await this.connection.query<Row<RunRow>>(
      `INSERT INTO ${runs} (run, epoch, state, jobs, part_bytes, source, settings, place)
       SELECT coalesce(max(run), 0) + 1, 1 + (pg_catalog.random() * 1000000000)::int4, 'loading', $1, $2, $3, $4, $5
       FROM ${runs} RETURNING ${RUN}`,
      [run.jobs, run.partBytes, run.source, run.settings, run.place],
    );
    return rows[0] as RunRow;
  }

  /** Raises the epoch: what is under way in earlier ones is waited for, and what comes later of them is refused. */
  async raise(run: number, state: RunState): Promise<RunRow> {
    const { rows } = await this.connection.query<Row<RunRow>>(
      `UPDATE ${this.tables.runs} SET epoch = epoch + 1, state = $2, changed_at = pg_catalog.now()
       WHERE run = $1 AND state IN ('loading', 'undoing') RETURNING ${RUN}`,
      [run, state],
    );
    if (rows[0] === undefined) throw takenOver(run);
    return rows[0];
  }

  /** Takes the run's row until the transaction ends. @throws {StorageError} E_RUN_TAKEN where it is another's meanwhile */
  hold(run: Pick<RunRow, "run" | "epoch" | "state">): Promise<void> {
    return this.take(run, "SHARE");
  }

  /**
   * Where no part is loaded, takes the run's row alone, when all have come to their end who had one at hand; false: some is loaded.
   * @throws {StorageError} E_LOCKED where somebody has a part at hand for longer, E_RUN_TAKEN
   */
  async holdUntouched(run: Pick<RunRow, "run" | "epoch" | "state">): Promise<boolean> {
    const isUntouched = async (): Promise<boolean> => (await this.totals(run.run, "")).length === 0;
    if (!(await isUntouched())) return false;
    await this.connection.query(GIVING_UP);
    await this.take(run, "UPDATE");
    return isUntouched();
  }

  private async take(
    { run, epoch, state }: Pick<RunRow, "run" | "epoch" | "state">,
    how: "SHARE" | "UPDATE",
  ): Promise<void> {
    const { rows } = await this.connection.query(
      `SELECT FROM ${this.tables.runs} WHERE run = $1 AND epoch = $2 AND state = $3 FOR ${how}`,
      [run, epoch, state],
    );
    if (rows.length === 0) throw takenOver(run);
  }

  async setState({ run, epoch }: Pick<RunRow, "run" | "epoch">, state: RunState, phase: string): Promise<void> {
    const { rowCount } = await this.connection.query(
      `UPDATE ${this.tables.runs} SET state = $3, phase = $4, changed_at = pg_catalog.now() WHERE run = $1 AND epoch = $2`,
      [run, epoch, state, phase],
    );
    if (rowCount !== 1) throw takenOver(run);
  }

  async parts(run: number): Promise<PartRow[]> {
    const { rows } = await this.connection.query<Row<Omit<PartRow, "transaction"> & { transaction: string }>>(
      `SELECT part, section, records, bytes, digest, transaction::text AS transaction FROM ${this.tables.parts}
       WHERE run = $1 ORDER BY part`,
      [run],
    );
    return rows.map((row) => ({ ...row, transaction: BigInt(row.transaction) }));
  }

  /** The first and the last transaction that has loaded a part of the run. */
  async transactions(run: number): Promise<{ readonly first: bigint; readonly last: bigint } | undefined> {
    // Not every server has min and max of xid8.
    const { rows } = await this.connection.query<{ first: string | null; last: string | null }>(
      `SELECT min(transaction::text::numeric)::text AS first, max(transaction::text::numeric)::text AS last
       FROM ${this.tables.parts} WHERE run = $1`,
      [run],
    );
    const { first = null, last = null } = rows[0] ?? {};
    return first === null || last === null ? undefined : { first: BigInt(first), last: BigInt(last) };
  }

  /** Sums of the run's parts, in the order of their first ones: those of one digest apart from the others. */
  async totals(run: number, digest: string): Promise<PartTotals[]> {
    const { rows } = await this.connection.query<Row<PartTotals>>(
      `SELECT section, digest = $2 AS apart, sum(records)::int8 AS records, max(part)::int4 AS last FROM ${this.tables.parts}
       WHERE run = $1 GROUP BY section, apart ORDER BY min(part)`,
      [run, digest],
    );
    return rows;
  }

  /** In the transaction that loads the part. */
  async addPart(run: number, part: Omit<PartRow, "transaction">): Promise<void> {
    const { section, records, bytes, digest } = part;
    await this.connection.query(
      `INSERT INTO ${this.tables.parts} (run, part, section, records, bytes, digest, transaction)
       VALUES ($1, $2, $3, $4, $5, $6, pg_catalog.pg_current_xact_id())`,
      [run, part.part, section, records, bytes, digest],
    );
  }

  /** What was not known when it began. */
  async completePart(
    run: number,
    { part, records, bytes, digest }: Omit<PartRow, "transaction" | "section">,
  ): Promise<void> {
    await this.connection.query(
      `UPDATE ${this.tables.parts} SET records = $3, bytes = $4, digest = $5 WHERE run = $1 AND part = $2`,
      [run, part, records, bytes, digest],
    );
  }

  /** Parts some of whose records are removed: no part of a source is the same as one of these. */
  async spoilParts(run: number, parts: readonly number[]): Promise<void> {
    await this.connection.query(
      `UPDATE ${this.tables.parts} SET digest = '' WHERE run = $1 AND part = ANY ($2::int[]) AND digest <> ''`,
      [run, parts],
    );
  }

  async removeParts(run: number, parts: readonly number[]): Promise<void> {
    await this.connection.query(`DELETE FROM ${this.tables.parts} WHERE run = $1 AND part = ANY ($2::int[])`, [
      run,
      parts,
    ]);
  }

  /** @param section whose steps; undefined for all */
  async steps(run: number, section?: string): Promise<StepRow[]> {
    const { rows } = await this.connection.query<Row<StepRow>>(
      `SELECT step, what, section, name, definition, done FROM ${this.tables.steps}
       WHERE run = $1 AND section = coalesce($2, section) ORDER BY step`,
      [run, section ?? null],
    );
    return rows;
  }

  async addStep(run: number, step: Omit<StepRow, "step" | "done">): Promise<void> {
    const { what, section, name, definition } = step;
    await this.connection.query(
      `INSERT INTO ${this.tables.steps} (run, step, what, section, name, definition)
       SELECT $1, coalesce(max(step), 0) + 1, $2, $3, $4, $5 FROM ${this.tables.steps} WHERE run = $1`,
      [run, what, section, name, definition],
    );
  }

  /** Says otherwise what a step is, and whether it is done. */
  async redefineStep(
    run: number,
    { step, definition, done }: Pick<StepRow, "step" | "definition" | "done">,
  ): Promise<void> {
    await this.connection.query(
      `UPDATE ${this.tables.steps} SET definition = $3, done = $4 WHERE run = $1 AND step = $2`,
      [run, step, definition, done],
    );
  }

  async completeStep(run: number, step: number): Promise<void> {
    await this.connection.query(`UPDATE ${this.tables.steps} SET done = true WHERE run = $1 AND step = $2`, [
      run,
      step,
    ]);
  }

  /** How many sessions load parts now. */
  async sessions(): Promise<number> {
    const { rows } = await this.connection.query<{ count: number }>(
      `SELECT count(*)::int4 AS count FROM pg_catalog.pg_locks l
       WHERE l.locktype = 'relation' AND l.relation = pg_catalog.to_regclass($1) AND l.mode = 'RowExclusiveLock'
         AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())`,
      [this.tables.parts],
    );
    return rows[0]?.count ?? 0;
  }

  /** Takes back a run that has written nothing. */
  async forget({ run, epoch }: Pick<RunRow, "run" | "epoch">): Promise<void> {
    await this.connection.query(
      `DELETE FROM ${this.tables.steps} s WHERE run = $1 AND what = 'section' AND EXISTS
         (SELECT FROM ${this.tables.runs} r WHERE r.run = s.run AND r.epoch = ${Number(epoch)})
         AND NOT EXISTS (SELECT FROM ${this.tables.parts} p WHERE p.run = s.run)`,
      [run],
    );
    await this.connection.query(
      `DELETE FROM ${this.tables.runs} r WHERE run = $1 AND epoch = $2 AND NOT EXISTS
         (SELECT FROM ${this.tables.parts} p WHERE p.run = r.run)
       AND NOT EXISTS (SELECT FROM ${this.tables.steps} s WHERE s.run = r.run)`,
      [run, epoch],
    );
  }
}

/** Who gives a run up waits no longer for parts at hand: it stays unfinished then. */
const GIVING_UP = "SET LOCAL lock_timeout = '5s'";

function takenOver(run: number): StorageError {
  return new StorageError("E_RUN_TAKEN", `the run ${run} was resumed, undone or finished by another process`, {
    hint: "`llmspell storage runs` tells what has become of it.",
  });
}
