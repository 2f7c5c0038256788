/** Keys of records that a plan has met, and of parents that it has not: in a temporary file of SQLite's, gone with the process. */
import BetterSqlite from "better-sqlite3";
import type { Database } from "./open.js";

/** Children whose parent is nowhere. */
export interface Orphans {
  /** The number that the child's kind was given. */
  readonly kind: number;
  /** Of the foreign key, among the kind's. */
  readonly foreignKey: number;
  readonly count: number;
  /** The child's key as text. */
  readonly first: string;
  /** The key of its parent, as text. */
  readonly parent: string;
}

export class KeyLedger {
  private readonly database: Database = new BetterSqlite("");
  private readonly addThere;
  private readonly findThere;
  private readonly addArrived;
  private readonly addLack;

  constructor() {
    this.database.pragma("journal_mode = OFF");
    this.database.exec(`
      CREATE TABLE there (slot INTEGER, key BLOB, record BLOB, PRIMARY KEY (slot, key)) WITHOUT ROWID;
      CREATE TABLE arrived (slot INTEGER, key BLOB, PRIMARY KEY (slot, key)) WITHOUT ROWID;
      CREATE TABLE lack (kind INTEGER, foreign_key INTEGER, slot INTEGER, key BLOB, child TEXT, parent TEXT);
      BEGIN`);
    this.addThere = this.database.prepare("INSERT OR IGNORE INTO there VALUES (?, ?, ?)");
    this.findThere = this.database.prepare("SELECT record FROM there WHERE slot = ? AND key = ?").pluck();
    this.addArrived = this.database.prepare("INSERT OR IGNORE INTO arrived VALUES (?, ?)");
    this.addLack = this.database.prepare("INSERT INTO lack VALUES (?, ?, ?, ?, ?, ?)");
  }

  /** A row of the target. `slot`: a number for a set of key fields. */
  noteThere(slot: number, key: Buffer, record: Buffer): void {
    this.addThere.run(slot, key, record);
  }

  /** The record's digest; undefined: the target has no such key. */
  there(slot: number, key: Buffer): Buffer | undefined {
    return this.findThere.get(slot, key) as Buffer | undefined;
  }

  /** False where a record of the run had the key before. */
  noteArrived(slot: number, key: Buffer): boolean {
    return this.addArrived.run(slot, key).changes === 1;
  }

  /** A child whose parent the target does not have (as far as was looked). */
  noteLack(lack: {
    readonly kind: number;
    readonly foreignKey: number;
    readonly slot: number;
    readonly key: Buffer;
    readonly child: string;
    readonly parent: string;
  }): void {
    this.addLack.run(lack.kind, lack.foreignKey, lack.slot, lack.key, lack.child, lack.parent);
  }

  /** When all records have come: children whose parents neither came nor are in the target. */
  orphans(): Orphans[] {
    return this.database
      .prepare(
        `SELECT kind, foreign_key AS foreignKey, count(*) AS count, child AS first, parent, min(rowid) FROM lack l
         WHERE NOT EXISTS (SELECT 1 FROM arrived a WHERE a.slot = l.slot AND a.key = l.key)
           AND NOT EXISTS (SELECT 1 FROM there t WHERE t.slot = l.slot AND t.key = l.key)
         GROUP BY kind, foreign_key`,
      )
      .all() as Orphans[];
  }

  close(): void {
    this.database.close();
  }
}
