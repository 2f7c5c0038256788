/**
 * One of a run's connections: it loads a part in a transaction that does nothing else than the fence, its row of the ledger and
 * the COPY. There is no savepoint in it, so that all of its rows have the transaction's number for their xmin.
 */
import { createHash } from "node:crypto";
import { located } from "../../../../codecs/index.js";
import { StorageError } from "../../../../errors.js";
import type { RunContext } from "../../../../records/run-context.js";
import type { PostgresApplication } from "../../application.js";
import { ASSUMED, loadColumns, type TargetTable } from "../../database/target-table.js";
import { LargeObjectWriter } from "../../loading/large-objects.js";
import type { PostgresConnection } from "../../session/connection.js";
import { beginTransaction } from "../../session/transaction.js";
import { Ledger, type LedgerTables, type RunRow } from "../ledger/ledger.js";
import type { Stage } from "../merging/stages.js";
import { loadAmongOthers } from "./load-among-others.js";
import { LOAD_SETTINGS } from "./load-settings.js";
import type { Part } from "./part-cutter.js";
import { explainRefused } from "./refused-record.js";
import { createSent, hashed, requireContents, requireSent, SENT } from "./verify-part.js";

/** Of a large object, MiB that are on their way while the part behind goes over another connection. */
const PIECES_AHEAD = 4;

export interface PartLoaderOptions {
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  readonly application: PostgresApplication | undefined;
  readonly context: RunContext;
  /** Each part is read back before it is committed. */
  readonly verifies: boolean;
}

/** Where a part's records go. Default: straight into their table. */
export interface PartWay {
  readonly stage?: Stage | undefined;
  readonly isAmongOthers?: boolean;
}

export class PartLoader {
  private readonly ledger: Ledger;
  private isOpen = false;
  /** The part's row is there already, for its number. */
  private isNumbered = false;
  /** SHA-256 of what large objects of the part were made of, where they are to be verified. */
  private readonly contents = new Map<number, string>();
  private readonly writers = new Map<TargetTable, LargeObjectWriter>();

  constructor(
    readonly connection: PostgresConnection,
    private readonly options: PartLoaderOptions,
  ) {
    this.ledger = new Ledger(connection, options.ledger);
  }

  /** A line for the user, of the large objects that were made. */
  get notes(): string[] {
    return [...this.writers.values()].flatMap(({ note }) => note ?? []);
  }

  /** Begins a large object in the transaction of the part that will be loaded next, which has this number. */
  async store(table: TargetTable, number: number, chunks: AsyncIterable<Buffer>): Promise<number> {
    if (!this.isOpen) await this.begin();
    if (!this.isNumbered) {
      this.isNumbered = true;
      const unknown = { records: 0n, bytes: 0n, digest: "" };
      await this.ledger.addPart(this.options.run.run, { part: number, section: table.kind.path, ...unknown });
    }
    let writer = this.writers.get(table);
    if (writer === undefined) {
      writer = new LargeObjectWriter(this.connection, table, this.options.application, PIECES_AHEAD);
      this.writers.set(table, writer);
    }
    if (!this.options.verifies) return writer.begin(chunks);
    const hash = createHash("sha256");
    const oid = await writer.begin(hashed(chunks, hash));
    this.contents.set(oid, hash.digest("hex"));
    return oid;
  }

  /** Loads a part; `way.stage`: it waits there to be merged; `way.isAmongOthers`: they have rows in its table. When it is done the part is there for good, or nothing of it. The error names the record. */
  async load(table: TargetTable, number: number, part: Part, way: PartWay = {}): Promise<void> {
    const { stage } = way;
    const { run } = this.options.run;
    try {
      if (!this.isOpen) await this.begin();
      await this.writers.get(table)?.settle();
      const { kind, digest } = part;
      const known = { part: number, records: BigInt(part.records), bytes: BigInt(part.bytes), digest };
      if (this.isNumbered) await this.ledger.completePart(run, known);
      else await this.ledger.addPart(run, { section: kind.path, ...known });
      if (way.isAmongOthers === true) await this.loadAmongOthers(table, number, part);
      else await this.copy(table, part, stage);
      if (this.options.verifies) await this.verify(table, part, way);
      const { command } = await this.connection.query("COMMIT");
      if (command !== "COMMIT") throw new StorageError("E_UNEXPECTED", "the server rolled the transaction back");
      this.isOpen = false;
      this.isNumbered = false;
    } catch (error) {
      await this.rollback();
      const { connection, options } = this;
      const explained = await explainRefused(error, { connection, context: options.context, table, part, ...way });
      throw located(explained, { section: part.kind.path });
    }
  }

  private async loadAmongOthers(table: TargetTable, number: number, part: Part): Promise<void> {
    const { ledger, run, context } = this.options;
    const { loaded, kept, line } = await loadAmongOthers(this.connection, { table, part, ledger, run });
    if (loaded + kept !== part.records) throw lessTaken(loaded, part);
    const known = { part: number, records: BigInt(loaded), bytes: BigInt(part.bytes), digest: part.digest };
    await this.ledger.completePart(run.run, known);
    if (line !== undefined) context.warn(line);
  }

  private async copy(table: TargetTable, part: Part, stage: Stage | undefined): Promise<void> {
    const { kind } = part;
    const columns = [...loadColumns(kind), ...(stage === undefined ? [] : [ASSUMED])].join(", ");
    const sql = `COPY ${stage?.name ?? table.name} (${columns}) FROM STDIN (FORMAT binary)`;
    const rows = await this.connection.copyFrom(sql, part.encoder.data(0, part.records));
    // A rule or a trigger that replication does not silence would take rows away without a word.
    if (rows !== part.records) throw lessTaken(rows, part);
  }

  /** E_READ_BACK */
  private async verify(table: TargetTable, part: Part, { stage, isAmongOthers }: PartWay): Promise<void> {
    const { connection } = this;
    const { kind } = part;
    const relation = stage?.name ?? table.name;
    if (isAmongOthers !== true) {
      const columns = [...loadColumns(kind), ...(stage === undefined ? [] : [ASSUMED])].join(", ");
      await createSent(connection, relation, columns);
      await connection.copyFrom(
        `COPY ${SENT} (${columns}) FROM STDIN (FORMAT binary)`,
        part.encoder.data(0, part.records),
      );
    }
    await requireSent(connection, kind, relation);
    await requireContents(connection, kind, this.contents);
  }

  private async begin(): Promise<void> {
    await beginTransaction(this.connection, "write");
    this.isOpen = true;
    this.contents.clear();
    await this.connection.query(LOAD_SETTINGS);
    await this.ledger.hold({ ...this.options.run, state: "loading" });
  }

  async rollback(): Promise<void> {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.isNumbered = false;
    for (const writer of this.writers.values()) await writer.settle().catch(() => {});
    await this.connection.query("ROLLBACK").catch(() => {});
  }
}

function lessTaken(rows: number, part: Part): StorageError {
  return new StorageError("E_CONSTRAINT", `the table took ${rows} of ${part.records} records`, {
    hint: "A trigger of it (ENABLE ALWAYS or REPLICA) drops rows.",
  });
}
