/** Which rows of a table the run has inserted. */
import type { Load } from "./load-session.js";

export interface OwnRows {
  /** To be told of each row that is inserted into a table that had rows. */
  add(rowid: bigint): void;
  has(rowid: bigint): boolean;
  /** The SQL condition that the expression is the rowid of one. */
  condition(rowid: string): string;
}

/** In a table that was empty. */
export const ALL_ROWS: OwnRows = { add() {}, has: () => true, condition: () => "1" };

/** Where SQLite or the run gives out rowids: those after `last`, up to `end` in a block of the table. */
export function rowsBehind(last: bigint, end?: bigint): OwnRows {
  return {
    add() {},
    has: (rowid) => rowid > last && (end === undefined || rowid <= end),
    condition: (rowid) => `(${rowid} > ${last}${end === undefined ? "" : ` AND ${rowid} <= ${end}`})`,
  };
}

/** Where rowids are data: each is remembered. */
export function listedRows(load: Load): OwnRows {
  const { database } = load;
  const table = `temp.${load.name("own")}`;
  database.exec(`CREATE TABLE ${table} (r INTEGER PRIMARY KEY)`);
  const insert = database.prepare(`INSERT INTO ${table} VALUES (?)`);
  const find = database.prepare(`SELECT 1 FROM ${table} WHERE r = ?`);
  return {
    add: (rowid) => void insert.run(rowid),
    has: (rowid) => find.get(rowid) !== undefined,
    condition: (rowid) => `${rowid} IN (SELECT r FROM ${table})`,
  };
}
