/**
 * Merges what a run has staged: one transaction for each kind, or for kinds that keep counts of each other, by the rules of a load
 * with one job (loading/merge.ts). The ledger has its number, so that it can be taken back (take-back.ts): rows that it changes
 * are copied first, and their large objects stay until the run is done.
 */
import type { Catalog, RecordKind } from "../../../../catalog/index.js";
import { located } from "../../../../codecs/index.js";
import type { RunContext } from "../../../../records/run-context.js";
import { quote } from "../../database/table-names.js";
import { ASSUMED, columnNamed, loadColumns, type TargetTable } from "../../database/target-table.js";
import type { ConflictPolicy } from "../../loading/conflicts.js";
import { Counters, type LoadedKind } from "../../loading/counters.js";
import type { DeferPolicy } from "../../loading/index-choice.js";
import { isRecordError, LoadTransaction } from "../../loading/load-transaction.js";
import { Merge } from "../../loading/merge.js";
import { removeOrphans } from "../../loading/orphans.js";
import { StagedRecords } from "../../loading/staged-records.js";
import type { PostgresConnection } from "../../session/connection.js";
import { inTransaction } from "../../session/transaction.js";
import { Ledger, type LedgerTables, type RunRow } from "../ledger/ledger.js";
import { LOAD_SETTINGS } from "../parts/load-settings.js";
import { dropIndexesForMerge } from "../run-indexes.js";
import { MERGED, type MergedCounts, type Stage, stagedDefinition } from "./stages.js";

export interface MergeKindsOptions {
  readonly connection: PostgresConnection;
  readonly context: RunContext;
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  readonly catalog: Catalog;
  readonly tables: ReadonlyMap<string, TargetTable>;
  /** By path. */
  readonly stages: ReadonlyMap<string, Stage>;
  /** The kinds of which the run has records, by path. */
  readonly loaded: ReadonlySet<string>;
  readonly onConflict: ConflictPolicy;
  readonly onOrphan: "error" | "drop";
  readonly policy: DeferPolicy;
  /** The number of the run's last part. */
  readonly lastPart: number;
}

/** Kinds that are merged together: those whose records count each other, or refer to each other in a circle. In the order of loads. */
export function mergeUnits(catalog: Catalog): RecordKind[][] {
  const unit = new Map(catalog.kinds.map(({ path }) => [path, path]));
  const join = (one: string, other: string): void => {
    const [from, to] = [unit.get(one), unit.get(other)];
    for (const [path, of] of unit) if (of === from) unit.set(path, to as string);
  };
  for (const group of catalog.importGroups) for (const { path } of group) join(path, (group[0] as RecordKind).path);
  for (const { path, foreignKeys } of catalog.kinds)
    for (const { counter, references } of foreignKeys) if (counter !== undefined) join(path, references);
  return [...Map.groupBy(catalog.importOrder, ({ path }) => unit.get(path)).values()];
}

/** What `mergeUnit` needs of the transaction that it is in. */
type Attempts = Pick<LoadTransaction, "attempt">;

/** No savepoint: all rows have the transaction's number for their xmin. */
const ONCE: Attempts = { attempt: async (work) => ({ value: await work() }) };

/** Merges the kinds of a unit that are staged. They are there for good then, or as they were; the error names the record. Gives lines for the user. */
export async function mergeUnit(kinds: readonly RecordKind[], options: MergeKindsOptions): Promise<string[]> {
  const { connection, context, run } = options;
  const ledger = new Ledger(connection, options.ledger);
  const work = async (attempts: Attempts, isReal: boolean): Promise<string[]> => {
    await connection.query(LOAD_SETTINGS);
    await ledger.hold(run);
    return new UnitMerge(kinds, options, ledger, attempts, isReal).run();
  };
  try {
    return await inTransaction(connection, "write", () => work(ONCE, true));
  } catch (error) {
    if (!isRecordError(error) || context.signal.aborted) throw error;
    // Once more, to find the record, and rolled back.
    const transaction = new LoadTransaction(connection);
    try {
      await transaction.begin();
      await work(transaction, false);
    } finally {
      await transaction.rollback().catch(() => {});
    }
    throw error;
  }
}

class UnitMerge {
  private readonly connection: PostgresConnection;
  private readonly stages: readonly Stage[];
  private readonly loaded = new Map<string, LoadedKind>();
  private readonly counters: Counters;
  private part: number;

  constructor(
    private readonly kinds: readonly RecordKind[],
    private readonly options: MergeKindsOptions,
    private readonly ledger: Ledger,
    private readonly attempts: Attempts,
    /** Otherwise only what is refused is wanted. */
    private readonly isReal: boolean,
  ) {
    const { connection, stages, tables, onConflict } = options;
    this.connection = connection;
    this.part = options.lastPart;
    this.stages = kinds.flatMap(({ path }) => stages.get(path) ?? []);
    for (const { path } of kinds) {
      const stage = stages.get(path);
      // As in a load with one job, a section without records is none that came.
      if (!options.loaded.has(path)) continue;
      const temporary = this.temporaryOf(path);
      const matches = stage && `${temporary}_matches`;
      this.loaded.set(path, { table: tables.get(path) as TargetTable, staging: stage?.name, matches, temporary });
    }
    this.counters = new Counters(connection, tables, this.loaded, onConflict, (parent, from) =>
      this.keepCounted(parent, from),
    );
  }

  private temporaryOf(path: string): string {
    return `pg_temp.llmspell_merge_${this.options.catalog.kinds.findIndex((kind) => kind.path === path)}`;
  }

  async run(): Promise<string[]> {
    const { options, stages, ledger } = this;
    const { run, tables, catalog, context, onConflict } = options;
    const counts = new Map<Stage, MergedCounts>();
    const settings = { transaction: this.attempts, onConflict, rowsHidden: false, keepsObjects: true } as const;
    for (const stage of stages)
      await ledger.addPart(run.run, {
        part: ++this.part,
        section: stage.table.kind.path,
        records: 0n,
        bytes: 0n,
        digest: MERGED,
      });
    const first = this.part - stages.length + 1;
    for (const group of catalog.importGroups) {
      const merging = [];
      for (const stage of stages.filter(({ table }) => group.includes(table.kind))) {
        const records = await this.recordsOf(stage);
        merging.push({ stage, records, merge: new Merge(records, settings), dropped: 0 });
      }
      const named = <Result>({ stage }: { stage: Stage }, work: Promise<Result>): Promise<Result> =>
        work.catch((error) => Promise.reject(located(error, { section: stage.table.kind.path })));
      for (const each of merging) await named(each, each.merge.prepare());
      const waiting = new Map(merging.map(({ stage }) => [stage.table.kind.path, stage.name]));
      const held = new Set(stages.map(({ table }) => table.kind.path));
      // What is taken out of one kind of a circle may have been the parent of another's.
      for (let found = true; found; ) {
        found = false;
        for (const each of merging) {
          const { kind } = each.stage.table;
          if (kind.foreignKeys.length === 0) continue;
          const left = `EXISTS (SELECT FROM ${each.records.matches} m WHERE m.ordinal = s.ordinal)`;
          const { dropped } = await named(
            each,
            removeOrphans(
              {
                kind,
                relation: each.stage.name,
                identity: ["s.ordinal"],
                ...(onConflict === "skip" ? { except: left } : {}),
              },
              {
                connection: this.connection,
                context,
                catalog,
                tables,
                onOrphan: options.onOrphan,
                isHeld: (path) => held.has(path),
                waiting,
                discard: ([ordinals = []]) => each.records.discard(ordinals.map(BigInt)),
              },
            ),
          );
          each.dropped += dropped;
          found ||= merging.length > 1 && dropped > 0;
        }
      }
      for (const each of merging) counts.set(each.stage, await named(each, this.complete(each)));
    }
    const notes = await this.counters.raise(this.kinds);
    for (const [at, stage] of stages.entries()) {
      const merged = counts.get(stage) as MergedCounts;
      const records = BigInt(merged.inserted + merged.updated - merged.unchanged);
      await ledger.completePart(run.run, { part: first + at, records, bytes: 0n, digest: MERGED });
      await ledger.redefineStep(run.run, { step: stage.step, definition: stagedDefinition({ merged }), done: true });
    }
    return notes;
  }

  private async recordsOf({ table, name }: Stage): Promise<StagedRecords> {
    const { rows } = await this.connection.query<{ bits: bigint | null }>(
      `SELECT bit_or(${ASSUMED}) AS bits FROM ${name}`,
    );
    const bits = BigInt(rows[0]?.bits ?? 0n);
    const assumed = new Map<string, bigint>();
    for (const [at, column] of loadColumns(table.kind).entries())
      if ((bits & (1n << BigInt(at))) !== 0n) assumed.set(column, 1n << BigInt(at));
    const { context } = this.options;
    return new StagedRecords(this.connection, table, name, context, assumed, this.temporaryOf(table.kind.path));
  }

  private async complete({
    stage,
    records,
    merge,
    dropped,
  }: {
    stage: Stage;
    records: StagedRecords;
    merge: Merge;
    dropped: number;
  }): Promise<MergedCounts> {
    const { run, policy, onConflict } = this.options;
    const { table, name } = stage;
    const { matches } = records;
    await this.counters.tally({ table, staging: name, matches, temporary: records.temporary });
    if (this.isReal && onConflict === "update") await this.keepMatched(stage, records);
    const writes = await merge.countWrites();
    if (this.isReal) await dropIndexesForMerge(this.connection, { ledger: this.ledger, run, table, policy, writes });
    return { ...(await merge.apply()), dropped };
  }

  /** The rows that records will change, by the keys that they will have. */
  private async keepMatched({ table, name, replaced }: Stage, records: StagedRecords): Promise<void> {
    const { kind } = table;
    const key = kind.key.map((field) => records.valueOf(columnNamed(kind, field)));
    const old = loadColumns(kind).map((column) => `t.${column}`);
    await this.connection.query(
      `INSERT INTO ${replaced} SELECT ${[...key, ...old].join(", ")}
       FROM ${records.matches} m JOIN ${name} s USING (ordinal) JOIN ${table.name} t ON t.tableoid = m.tab AND t.ctid = m.tid
       WHERE NOT m.same`,
    );
  }

  /** Parents whose counters will change: those that this transaction wrote are kept already, or are new. */
  private async keepCounted(parent: TargetTable, from: string): Promise<void> {
    const stage = this.options.stages.get(parent.kind.path);
    if (stage === undefined || !this.isReal) return;
    const key = parent.kind.key.map((field) => `p.${columnNamed(parent.kind, field)}`);
    const old = loadColumns(parent.kind).map((column) => `p.${column}`);
    await this.connection.query(
      `INSERT INTO ${stage.replaced} SELECT ${[...key, ...old].join(", ")} ${from}
       AND p.xmin::text <> (pg_catalog.pg_current_xact_id()::text::numeric % 4294967296)::text`,
    );
  }
}

/** Unlinks the large objects that no row of the kinds' tables has any more. To be called in the run's last transaction. */
export async function unlinkLeft(connection: PostgresConnection, stages: Iterable<Stage>): Promise<void> {
  for (const { table, name, replaced } of stages) {
    const { largeObject } = table.kind.postgres;
    if (largeObject === undefined) continue;
    const oid = quote(largeObject.oidColumn);
    await connection
      .query(
        `SELECT count(pg_catalog.lo_unlink(m.oid)) FROM pg_catalog.pg_largeobject_metadata m
         WHERE m.oid IN (SELECT ${oid} FROM ${name} UNION SELECT ${oid} FROM ${replaced})
           AND NOT EXISTS (SELECT FROM ${table.name} t WHERE t.${oid} = m.oid)`,
      )
      .catch((error: unknown) =>
        Promise.reject(
          located(error, {
            section: table.kind.path,
            hint: "Only the owner of a large object may replace it; `llmspell database health` names the grant.",
          }),
        ),
      );
  }
}
