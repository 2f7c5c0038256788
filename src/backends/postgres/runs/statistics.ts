/** The planner's statistics of a run's tables: of each once, when its records and its indexes are there (some are of an index's expressions). */
import { analyzeTables, type WrittenTable } from "../loading/analyze.js";
import { LoadTransaction } from "../loading/load-transaction.js";
import type { IndexBuilds } from "./index-builds.js";

export class RunStatistics {
  /** By section: of how many rows. */
  private readonly added = new Map<string, number>();
  private readonly said: string[] = [];

  /** @param builds what works at them, beside the indexes */
  constructor(private readonly builds: IndexBuilds) {}

  /** A line for what could not be done. */
  get notes(): readonly string[] {
    return this.said;
  }

  /** The records have come, it seems: they are in the table when `after` has ended. */
  addEarly(written: WrittenTable, after: Promise<unknown>): void {
    if (!this.added.has(written.table.kind.path)) this.add(written, after);
  }

  /** No more will come. A section may have come again behind others: its statistics are made once more. */
  addRest(written: WrittenTable): void {
    if (this.added.get(written.table.kind.path) !== written.rows) this.add(written);
  }

  private add(written: WrittenTable, after?: Promise<unknown>): void {
    const { rows, table } = written;
    const section = table.kind.path;
    this.added.set(section, rows);
    const work = async (connection: LoadTransaction["connection"]): Promise<void> => {
      const transaction = new LoadTransaction(connection);
      await transaction.begin();
      this.said.push(...(await analyzeTables(transaction, [written])));
      await transaction.commit();
    };
    this.builds.addLast({ section, rows }, work, after);
  }
}
