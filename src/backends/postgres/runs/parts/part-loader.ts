/**
 * One of a run's connections: it loads a part in a transaction that does nothing else than the fence, its row of the ledger and
 * the COPY. There is no savepoint in it, so that all of its rows have the transaction's number for their xmin.
 */
import { located } from "../../../../codecs/index.js";
import { StorageError } from "../../../../errors.js";
import type { RunContext } from "../../../../records/run-context.js";
import type { PostgresApplication } from "../../application.js";
import { loadColumns, type TargetTable } from "../../database/target-table.js";
import { LargeObjectWriter } from "../../loading/large-objects.js";
import type { PostgresConnection } from "../../session/connection.js";
import { beginTransaction } from "../../session/transaction.js";
import { Ledger, type LedgerTables, type RunRow } from "../ledger/ledger.js";
import { LOAD_SETTINGS } from "./load-settings.js";
import type { Part } from "./part-cutter.js";
import { explainRefused } from "./refused-record.js";

export interface PartLoaderOptions {
  readonly ledger: LedgerTables;
  readonly run: RunRow;
  readonly application: PostgresApplication | undefined;
  readonly context: RunContext;
}

export { LOAD_SETTINGS };

export class PartLoader {
  private readonly ledger: Ledger;
  private isOpen = false;
  /** The part's row is there already, for its number. */
  private isNumbered = false;
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

  /** Makes a large object in the transaction of the part that will be loaded next, which has this number. */
  async store(table: TargetTable, number: number, chunks: AsyncIterable<Buffer>): Promise<number> {
    if (!this.isOpen) await this.begin();
    if (!this.isNumbered) {
      this.isNumbered = true;
      const unknown = { records: 0n, bytes: 0n, digest: "" };
      await this.ledger.addPart(this.options.run.run, { part: number, section: table.kind.path, ...unknown });
    }
    let writer = this.writers.get(table);
    if (writer === undefined) {
      writer = new LargeObjectWriter(this.connection, table, this.options.application);
      this.writers.set(table, writer);
    }
    return writer.create(chunks);
  }

  /** Loads a part; when it is done the part is there for good, or nothing of it. The error names the record. */
  async load(table: TargetTable, number: number, part: Part): Promise<void> {
    const { run } = this.options.run;
    try {
      if (!this.isOpen) await this.begin();
      const { kind, digest } = part;
      const known = { part: number, records: BigInt(part.records), bytes: BigInt(part.bytes), digest };
      if (this.isNumbered) await this.ledger.completePart(run, known);
      else await this.ledger.addPart(run, { section: kind.path, ...known });
      const columns = loadColumns(kind).join(", ");
      const sql = `COPY ${table.name} (${columns}) FROM STDIN (FORMAT binary)`;
      const rows = await this.connection.copyFrom(sql, part.encoder.data(0, part.records));
      // A rule or a trigger that replication does not silence would take rows away without a word.
      if (rows !== part.records)
        throw new StorageError("E_CONSTRAINT", `the table took ${rows} of ${part.records} records`, {
          hint: "A trigger of it (ENABLE ALWAYS or REPLICA) drops rows.",
        });
      const { command } = await this.connection.query("COMMIT");
      if (command !== "COMMIT") throw new StorageError("E_UNEXPECTED", "the server rolled the transaction back");
      this.isOpen = false;
      this.isNumbered = false;
    } catch (error) {
      await this.rollback();
      const { connection } = this;
      const explained = await explainRefused(error, { connection, context: this.options.context, table, part });
      throw located(explained, { section: part.kind.path });
    }
  }

  private async begin(): Promise<void> {
    await beginTransaction(this.connection, "write");
    this.isOpen = true;
    await this.connection.query(LOAD_SETTINGS);
    await this.ledger.hold({ ...this.options.run, state: "loading" });
  }

  async rollback(): Promise<void> {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.isNumbered = false;
    await this.connection.query("ROLLBACK").catch(() => {});
  }
}
