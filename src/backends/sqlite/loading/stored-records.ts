/** Rows of the target as records: to name them, to compare their keys, to reject them, to put them back. */
import type { Statement } from "better-sqlite3";
import type { RecordKind } from "../../../catalog/index.js";
import { BatchBuilder, type RecordBatch } from "../../../records/record-batch.js";
import { createRowReader, type RowReader } from "../reading/row-reader.js";
import { columnsOf, hasRowidField, mainTable, quoted, rowidOf, type SqlRow } from "../table.js";
import type { Load } from "./load-session.js";

export interface StoredRecords {
  /** The record's key as `describeKey` gives it. */
  keyOf(rowid: bigint): string;
  /** A batch of the one record; undefined when the row does not hold a valid one. */
  read(rowid: bigint): RecordBatch | undefined;
  /** Remembers the row as it is now, once. */
  keep(rowid: bigint): void;
  /** The temporary table (llmspell_rowid and the table's columns) of kept rows; undefined when there are none. */
  readonly keptTable: string | undefined;
  /** The row has another rowid from now on. */
  moved(from: bigint, to: bigint): void;
  /** Makes the row what it was when it was kept. */
  restore(rowid: bigint): void;
}

export function createStoredRecords(load: Load, kind: RecordKind): StoredRecords {
  const { database } = load;
  const table = quoted(mainTable(kind));
  const name = rowidOf(database, mainTable(kind));
  // Embeddings are not needed to name a record: they stay unread.
  const reader = createRowReader(database, kind, { embeddings: () => null }) as RowReader;
  const select = database
    .prepare(`SELECT ${reader.select} FROM ${table} AS t WHERE t.${name} = ?`)
    .raw()
    .safeIntegers();
  const rowAt = (rowid: bigint): SqlRow => select.get(rowid) as SqlRow;
  let kept: string | undefined;
  let keep: Statement | undefined;

  const makeKept = (): string => {
    const made = `temp.${load.name("kept")}`;
    database.exec(`CREATE TABLE ${made} AS SELECT ${name} AS llmspell_rowid, * FROM ${table} WHERE 0`);
    database.exec(`CREATE UNIQUE INDEX ${made}_rows ON ${made.slice("temp.".length)}(llmspell_rowid)`);
    return made;
  };

  return {
    get keptTable() {
      return kept;
    },
    keyOf: (rowid) => reader.keyOf(rowAt(rowid)),
    read(rowid) {
      const builder = new BatchBuilder(kind, { batchSize: 1, batchBytes: 4096 });
      builder.begin();
      try {
        reader.read(rowAt(rowid), builder);
      } catch {
        return undefined;
      }
      builder.commit();
      return builder.take();
    },
    keep(rowid) {
      kept ??= makeKept();
      keep ??= database.prepare(`INSERT OR IGNORE INTO ${kept} SELECT ${name}, * FROM ${table} WHERE ${name} = ?`);
      keep.run(rowid);
    },
    moved(from, to) {
      if (kept !== undefined)
        database.prepare(`UPDATE ${kept} SET llmspell_rowid = ? WHERE llmspell_rowid = ?`).run(to, from);
    },
    restore(rowid) {
      const columns = [...(columnsOf(database, mainTable(kind)) ?? [])].map(quoted).join(", ");
      const [own, keptOwn] = hasRowidField(database, kind) ? ["", ""] : [`${name}, `, "llmspell_rowid, "];
      database.prepare(`DELETE FROM ${table} WHERE ${name} = ?`).run(rowid);
      database
        .prepare(
          `INSERT INTO ${table} (${own}${columns}) SELECT ${keptOwn}${columns} FROM ${kept} WHERE llmspell_rowid = ?`,
        )
        .run(rowid);
    },
  };
}
