/**
 * Builds the indexes that a run has dropped, on several connections side by side. Each is made in one transaction with its row of the
 * ledger. Those of a partitioned table are made partition by partition before: the server then finds them, and has nothing to
 * build when the table's own is made.
 */
import type { Catalog } from "../../../catalog/index.js";
import { located } from "../../../codecs/index.js";
import { StorageError } from "../../../errors.js";
import { quote } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import { DeferredIndexes, type DroppedIndex } from "../loading/deferred-indexes.js";
import type { PostgresConnection } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";
import { inTransaction } from "../session/transaction.js";
import { parseIndexDefinition } from "./index-definition.js";
import { Ledger, type LedgerTables, type RunRow, type StepRow } from "./ledger/ledger.js";
import { readKept } from "./run-indexes.js";

/** Tables with fewer rows are not worth a transaction for each partition. */
const LEAST_ROWS = 10_000;
/** Fewer rows are sorted before the server's workers have begun, and other sessions of the run have its cores. */
const LEAST_PARALLEL_ROWS = 500_000;
/** How much longer than another index one of vectors takes, about. */
const VECTOR_WEIGHT = 100;

export interface IndexBuildsOptions {
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  readonly catalog: Catalog;
  readonly tables: ReadonlyMap<string, TargetTable>;
}

/** Told of an index that is begun. */
export type OnIndex = (index: { name: string; number: number; of: number }) => void;

interface Task {
  readonly section: string;
  readonly name: string;
  readonly weight: number;
  /** What must have been done before. */
  readonly after: readonly Task[];
  /** "held": records of the section are on their way to the table. */
  state: "held" | "waiting" | "at work" | "done";
  work(connection: PostgresConnection): Promise<void>;
}

interface Partition extends Record<string, unknown> {
  oid: number;
  schema: string;
  name: string;
  bytes: number;
}

/** A table's partitions that have rows of their own. */
const PARTITIONS = `
  SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, pg_catalog.pg_relation_size(c.oid)::float8 AS bytes
  FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE h.inhparent = $1 AND c.relkind = 'r' AND pg_catalog.pg_relation_size(c.oid) > 0`;

/** Definitions of a table's indexes that are no part of another's. */
const OWN_INDEXES = `
  SELECT pg_catalog.pg_get_indexdef(i.indexrelid) AS definition FROM pg_catalog.pg_index i
  WHERE i.indrelid = $1 AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = i.indexrelid)`;

const INDEX_OF = `
  SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  WHERE i.indrelid = $1 AND c.relname = $2 AND i.indisvalid`;

export class IndexBuilds {
  private readonly tasks: Task[] = [];
  private readonly known = new Set<number>();
  private readonly told = new Set<string>();
  private readonly names = new Set<string>();
  private failure: { readonly error: unknown } | undefined;
  private connections = 0;
  private wake: (() => void)[] = [];
  private background: Promise<void> = Promise.resolve();
  private onIndex: OnIndex = () => {};

  constructor(private readonly options: IndexBuildsOptions) {}

  /**
   * Takes those of the steps that are indexes, and are not made yet. `rows`: about how many each table has. `connection`: for a
   * look at partitions. They are begun when `after` has ended: what writes to the tables would wait for a build, or the build for it.
   * @throws {StorageError} E_RUN_UNFINISHED
   */
  async add(
    steps: readonly StepRow[],
    rows: ReadonlyMap<string, number>,
    connection: PostgresConnection,
    after?: Promise<unknown>,
  ): Promise<void> {
    const begun: Task[] = [];
    const { catalog, tables } = this.options;
    /** Of a partitioned table the last one: their parts take names from each other. */
    const last = new Map<TargetTable, Task>();
    for (const step of steps) {
      if (step.what !== "index" || step.done || this.known.has(step.step)) continue;
      this.known.add(step.step);
      const { section, name } = step;
      const table = tables.get(section);
      if (table === undefined || catalog.byPath.get(section) === undefined)
        throw new StorageError("E_RUN_UNFINISHED", `the ledger names an index of ${section}, which is no section`);
      const index = readKept(step, table.kind);
      const count = rows.get(section) ?? 0;
      const weight = count * (index.class === "vector" ? VECTOR_WEIGHT : 1);
      this.names.add(name);
      const isPartitioned = table.kind.postgres.partitionedBy !== undefined;
      const parts =
        isPartitioned && count >= LEAST_ROWS
          ? await this.partsOf(connection, table, index, { section, name, count })
          : [];
      const before = last.get(table);
      const task: Task = {
        ...{ section, name, weight, state: "waiting" },
        after: before === undefined ? parts : [...parts, before],
        work: (one) => this.build(one, step, table, index, count),
      };
      if (isPartitioned) last.set(table, task);
      begun.push(...parts, task);
    }
    this.take(begun, after);
  }

  /** What is to be done with the table of so many rows when all of its indexes are there that were added. Weighs as much as one of them. */
  addLast(
    { section, rows }: { readonly section: string; readonly rows: number },
    work: (connection: PostgresConnection) => Promise<void>,
    after?: Promise<unknown>,
  ): void {
    const indexes = this.tasks.filter((task) => task.section === section);
    this.take([{ section, name: "", weight: rows, after: indexes, state: "waiting", work }], after);
  }

  private take(tasks: readonly Task[], after: Promise<unknown> | undefined): void {
    this.tasks.push(...tasks);
    this.tasks.sort((one, other) => other.weight - one.weight);
    if (after === undefined) this.changed();
    else {
      const release = (): void => {
        for (const task of tasks) task.state = "waiting";
        this.changed();
      };
      for (const task of tasks) task.state = "held";
      after.then(release, release);
    }
  }

  private async partsOf(
    connection: PostgresConnection,
    table: TargetTable,
    index: ReturnType<typeof readKept>,
    { section, name, count }: { section: string; name: string; count: number },
  ): Promise<Task[]> {
    const { rows } = await inTransaction(connection, "read", () =>
      connection.query<Partition>(PARTITIONS, [table.oid]),
    );
    if (rows.length < 2) return [];
    const all = rows.reduce((sum, { bytes }) => sum + bytes, 0);
    // What waits for them is as much as the table's.
    const weight = count * (index.class === "vector" ? VECTOR_WEIGHT : 1);
    return rows.map((partition) => {
      const records = (count * partition.bytes) / all;
      const work = (one: PostgresConnection) => this.buildPart(one, table, index, partition, records);
      return { section, name, weight, after: [], state: "waiting", work };
    });
  }

  /**
   * Lets the connection build what there is, while something else goes on. What fails is thrown by `throwFailure` and `finish`.
   * `after`: as for `add`.
   */
  start(connection: PostgresConnection, after: Promise<unknown> = Promise.resolve()): void {
    this.background = this.background.then(() => after).then(() => this.work(connection));
  }

  /** Builds what is left on as many connections as are given, the one that was started among them while it has not ended. */
  async finish(connections: readonly PostgresConnection[], onIndex: OnIndex): Promise<void> {
    this.onIndex = onIndex;
    const others = connections.slice(this.connections);
    await Promise.all([this.background, ...others.map((connection) => this.work(connection))]);
    this.throwFailure();
  }

  /** Until nothing is left, or one has failed; on as many connections at a time as call it. */
  private async work(connection: PostgresConnection): Promise<void> {
    this.connections++;
    for (;;) {
      if (this.failure !== undefined) break;
      const open = this.tasks.filter(({ state }) => state !== "done");
      if (open.length === 0) break;
      const task = open.find(({ state, after }) => state === "waiting" && after.every((one) => one.state === "done"));
      if (task === undefined) {
        if (!open.some(({ state }) => state === "at work")) break;
        await new Promise<void>((resolve) => this.wake.push(resolve));
        continue;
      }
      task.state = "at work";
      this.tell(task);
      try {
        await task.work(connection);
        task.state = "done";
      } catch (error) {
        this.failure ??= { error: located(error, { section: task.section }) };
      }
      this.changed();
    }
    this.connections--;
  }

  /** Throws what has failed. */
  throwFailure(): void {
    if (this.failure !== undefined) throw this.failure.error;
  }

  private changed(): void {
    for (const wake of this.wake.splice(0)) wake();
  }

  private tell({ name }: Task): void {
    if (name === "" || this.told.has(name)) return;
    this.told.add(name);
    this.onIndex({ name, number: this.told.size, of: this.names.size });
  }

  private async build(
    connection: PostgresConnection,
    step: StepRow,
    table: TargetTable,
    index: DroppedIndex,
    rows: number,
  ): Promise<void> {
    const { ledger: ledgerTables, run } = this.options;
    const ledger = new Ledger(connection, ledgerTables);
    await inTransaction(connection, "write", async () => {
      await connection.query("SET LOCAL client_min_messages = 'warning'");
      await ledger.hold(run);
      // Somebody may have made it again.
      const { rows: there } = await connection.query(INDEX_OF, [table.oid, step.name]);
      if (there.length === 0) await this.make(connection, table, index, rows);
      await ledger.completeStep(run.run, step.step);
    });
  }

  /** What keeps a part from being made keeps the index, too, which is made all the same where nothing does. */
  private async buildPart(
    connection: PostgresConnection,
    table: TargetTable,
    { tail, parts, ...index }: ReturnType<typeof readKept>,
    partition: Partition,
    rows: number,
  ): Promise<void> {
    const { ledger: ledgerTables, run } = this.options;
    const known = parts.find((part) => part.index === index.name && part.partition === partition.oid);
    const name = known === undefined ? "" : `${quote(known.name)} `;
    const definition = `CREATE INDEX ${name}ON ${quote(partition.schema)}.${quote(partition.name)} ${tail}`;
    try {
      await inTransaction(connection, "write", async () => {
        await connection.query("SET LOCAL client_min_messages = 'warning'");
        await new Ledger(connection, ledgerTables).hold(run);
        const { rows: own } = await connection.query<{ definition: string }>(OWN_INDEXES, [partition.oid]);
        if (own.some((one) => parseIndexDefinition(one.definition)?.tail === tail)) return;
        await this.make(connection, table, { ...index, definition, parts: [] }, rows);
      });
    } catch (error) {
      if (postgresCause(error)?.sqlState === undefined) throw error;
    }
  }

  private async make(
    connection: PostgresConnection,
    table: TargetTable,
    index: DroppedIndex,
    rows: number,
  ): Promise<void> {
    const deferred = new DeferredIndexes(connection, table, "always", this.connections);
    deferred.adopt(index);
    if (index.class !== "vector" && rows < LEAST_PARALLEL_ROWS)
      await connection.query("SET LOCAL max_parallel_maintenance_workers = 0");
    await deferred.build(rows, () => {});
  }
}
