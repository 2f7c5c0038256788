/**
 * One part of a run that workers load (docs/scale.md): its records go into the target in one transaction with the part's row of
 * the ledger, under the run's fence; or they are held against what was loaded of the part before.
 */
import { createHash, type Hash } from "node:crypto";
import type { PartitionMaker, PostgresApplication } from "../backends/postgres/application.js";
import type { TargetTable } from "../backends/postgres/database/target-table.js";
import { LargeObjectWriter } from "../backends/postgres/loading/large-objects.js";
import { Ledger, type LedgerTables, type RunRow } from "../backends/postgres/runs/ledger/ledger.js";
import type { Stage } from "../backends/postgres/runs/merging/stages.js";
import { ChunkWriter } from "../backends/postgres/runs/parts/chunk-writer.js";
import { LOAD_SETTINGS } from "../backends/postgres/runs/parts/load-settings.js";
import { drain, type Part, PartCutter } from "../backends/postgres/runs/parts/part-cutter.js";
import { explainRefused } from "../backends/postgres/runs/parts/refused-record.js";
import {
  type PartTold,
  PlanLedger,
  type PlannedPart,
  type PlanTables,
} from "../backends/postgres/runs/plan/plan-ledger.js";
import { makePartitions } from "../backends/postgres/runs/run-partitions.js";
import type { PostgresConnection } from "../backends/postgres/session/connection.js";
import { postgresCause } from "../backends/postgres/session/errors.js";
import { beginTransaction, inTransaction } from "../backends/postgres/session/transaction.js";
import { located } from "../codecs/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";
import type { StoreHeader } from "../sources/source.js";
import type { Sink, SinkReport } from "./sink.js";

export interface PartSinkOptions {
  /** For messages; without a password. */
  readonly name: string;
  readonly connection: PostgresConnection;
  readonly tables: ReadonlyMap<string, TargetTable>;
  readonly ledger: LedgerTables & PlanTables;
  readonly run: RunRow;
  readonly part: PlannedPart;
  readonly stage: "comparing" | "loading";
  /** Where the part's records wait to be merged. Undefined: they go straight into their table. */
  readonly staging: Stage | undefined;
  /** What was loaded is read back before it is committed, else E_READ_BACK. */
  readonly verifies: boolean;
  /** Others have rows in the table by now, which stay as they are. */
  readonly isAmongOthers: boolean;
  readonly application: PostgresApplication | undefined;
  /** What is to be told of the part, once it is read. */
  readonly told: () => PartTold;
  /** Of the connection, by section: they know the partitions that are there. */
  readonly makers: Map<string, PartitionMaker>;
}

export class PartSink implements Sink {
  readonly name: string;
  readonly checksReferences = true;
  /** Why it threw: the part needs another attempt by the same worker, or another has loaded it. */
  outcome: "again" | "done" | undefined;
  private context!: RunContext;
  private cutter!: PartCutter;
  private chunks!: ChunkWriter;
  private readonly hash: Hash = createHash("sha256");
  private readonly counts = { loaded: 0, bytes: 0 };
  private readonly ledger: Ledger;
  private readonly plan: PlanLedger;
  private writer: LargeObjectWriter | undefined;
  private isOpen = false;
  /** Records are looked at for the partitions that they need, and nothing more. */
  private isOnlyLooking = false;

  constructor(private readonly options: PartSinkOptions) {
    this.name = options.name;
    this.ledger = new Ledger(options.connection, options.ledger);
    this.plan = new PlanLedger(options.connection, options.ledger);
  }

  async open(_header: StoreHeader, context: RunContext): Promise<void> {
    this.context = context;
    const { connection, run } = this.options;
    this.cutter = new PartCutter(run.partBytes, context);
    this.chunks = new ChunkWriter(connection, {
      ...this.options,
      table: this.table(),
      warn: (line) => context.warn(line),
    });
  }

  async write(batch: RecordBatch): Promise<void> {
    const { part, stage, staging } = this.options;
    if (batch.kind.path !== part.section)
      throw new Error(`a part of ${part.section} brought records of ${batch.kind.path}`);
    const table = this.table();
    const isLoading = stage === "loading";
    const maker = this.makerOf(table);
    const store = isLoading ? (chunks: AsyncIterable<Buffer>) => this.storeLarge(table, chunks) : drain;
    try {
      for (let row = 0; row < batch.rows; row++) {
        const added = this.cutter.add(batch, row, store, staging !== undefined);
        const isFull = typeof added === "boolean" ? added : await added;
        if (isLoading) maker?.note(batch, row);
        if (isFull) await this.endChunk();
      }
    } finally {
      await batch.large?.discard();
    }
  }

  private table(): TargetTable {
    const { tables, part } = this.options;
    return tables.get(part.section) as TargetTable;
  }

  private makerOf(table: TargetTable): PartitionMaker | undefined {
    const { makers, application, connection, part } = this.options;
    const maker = makers.get(part.section) ?? application?.partitionsOf?.(connection, table);
    if (maker !== undefined) makers.set(part.section, maker);
    return maker;
  }

  private async storeLarge(table: TargetTable, chunks: AsyncIterable<Buffer>): Promise<number> {
    if (this.isOnlyLooking) return drain(chunks);
    await this.begin();
    const { connection, application } = this.options;
    this.writer ??= new LargeObjectWriter(connection, table, application);
    return this.chunks.store(this.writer, chunks);
  }

  /** Hands on what was gathered: memory holds some megabytes of a part, however large it is. */
  private async endChunk(): Promise<void> {
    const chunk = this.cutter.take();
    if (chunk === undefined) return;
    const { counts, hash } = this;
    hash.update(chunk.digest);
    counts.bytes += chunk.bytes;
    if (this.options.stage === "loading") await this.load(chunk);
    this.cutter.recycle(chunk);
  }

  private async load(chunk: Part): Promise<void> {
    const { connection, staging, isAmongOthers } = this.options;
    const table = this.table();
    const maker = this.makerOf(table);
    if (maker?.isPending === true) {
      // A partition takes a lock that two workers, each with rows in the table already, would wait for each other with.
      if (this.isOpen) {
        await this.rollback();
        this.isOnlyLooking = true;
      } else if (!this.isOnlyLooking) await this.makePartitions(table, maker);
    }
    if (this.isOnlyLooking) return;
    await this.begin();
    try {
      this.counts.loaded += await this.chunks.write(chunk);
    } catch (error) {
      await this.rollback();
      const { context } = this;
      throw located(
        await explainRefused(error, { connection, context, table, part: chunk, stage: staging, isAmongOthers }),
        {
          section: chunk.kind.path,
        },
      );
    }
  }

  /** One worker at a time, and none that has rows in the table at hand. */
  private async makePartitions(table: TargetTable, maker: PartitionMaker): Promise<void> {
    const { connection, ledger, run, makers, part } = this.options;
    try {
      await makePartitions(connection, { ledger, run, table, maker, alone: true });
    } catch (error) {
      // What the maker knew may be old: another worker has made partitions since.
      makers.delete(part.section);
      const state = postgresCause(error)?.sqlState;
      if (state === "42P17" || state === "42P07") this.outcome = "again";
      throw error;
    }
  }

  /** The fence first: the run's row at its epoch, and the part's own row, which only one transaction can make. */
  private async begin(): Promise<void> {
    if (this.isOpen) return;
    const { connection, run, part } = this.options;
    await beginTransaction(connection, "write");
    this.isOpen = true;
    try {
      await connection.query(LOAD_SETTINGS);
      await this.ledger.hold({ ...run, state: "loading" });
      await this.ledger.addPart(run.run, {
        part: part.part,
        section: part.section,
        records: 0n,
        bytes: 0n,
        digest: "",
      });
    } catch (error) {
      await this.rollback();
      if (postgresCause(error)?.sqlState === "23505") this.outcome = "done";
      throw error;
    }
  }

  async finish(): Promise<SinkReport> {
    const { run, part, stage, told, connection } = this.options;
    await this.endChunk();
    if (this.isOnlyLooking) {
      const table = this.table();
      const maker = this.makerOf(table);
      if (maker?.isPending === true) await this.makePartitions(table, maker);
      this.outcome = "again";
      throw new Error("partitions were made for the part");
    }
    const digest = this.hash.digest("hex");
    const known = { part: part.part, records: BigInt(this.counts.loaded), bytes: BigInt(this.counts.bytes), digest };
    const settle = (): Promise<void> => this.plan.settle(run, part.part, told());
    if (stage === "loading") {
      await this.begin();
      await this.chunks.verify().catch((error) => Promise.reject(located(error, { section: part.section })));
      await this.ledger.completePart(run.run, known);
      await settle();
      const { command } = await connection.query("COMMIT");
      if (command !== "COMMIT") throw new StorageError("E_UNEXPECTED", "the server rolled the transaction back");
      this.isOpen = false;
    } else
      await inTransaction(connection, "write", async () => {
        await this.ledger.hold({ ...run, state: "loading" });
        const loaded = await this.plan.loadedDigest(run.run, part.part);
        if (loaded !== undefined && loaded !== digest) await this.ledger.spoilParts(run.run, [part.part]);
        await settle();
      });
    const { note } = this.writer ?? {};
    return { counts: new Map(), notes: note === undefined ? [] : [note] };
  }

  async abort(): Promise<void> {
    await this.rollback();
  }

  private async rollback(): Promise<void> {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.chunks.reset();
    await this.options.connection.query("ROLLBACK").catch(() => {});
  }
}
