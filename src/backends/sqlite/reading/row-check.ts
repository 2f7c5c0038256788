/**
 * Whether the rows that came are the rows that are there. Rows are read in the order of an index, and a damaged one lacks
 * rows, names one twice, or leads to none; sqlite3's .dump, which walks the table, has them all. So the table is walked too,
 * and what came is held against it: how many rows, and two sums over their rowids.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import { StorageError } from "../../../errors.js";
import type { Database } from "../open.js";
import { quoted, type SqlValue } from "../table.js";
import { damageOfVec0 } from "../vectors/vec0-check.js";

/** Rows of the table between two visits of the event loop. */
const ROWS_PER_TURN = 20_000;
/** The greatest number whose square is an exact double. */
const ROOT = 94906265;
const PRIME = 4294967291;
const WORD = 4294967296;

export interface Tally {
  readonly rows: number;
  /** Modulo 2^32, of the rowids and of their squares: no row in another's place leaves both as they are. */
  readonly sum: number;
  readonly squares: number;
}

/** Counts rowids. */
export class RowidTally implements Tally {
  rows = 0;
  sum = 0;
  squares = 0;

  add(rowid: bigint | number): void {
    let low = Number(rowid);
    let high = 0;
    if (Number.isSafeInteger(low)) {
      high = Math.floor(low / WORD);
      low -= high * WORD;
    } else {
      high = Number(BigInt(rowid) >> 32n);
      low = Number(BigInt(rowid) & 0xffffffffn);
    }
    const rest = low % ROOT;
    this.rows++;
    this.sum = (this.sum + low + high) >>> 0;
    this.squares = (this.squares + ((rest * rest) % PRIME)) >>> 0;
  }

  addAll({ rows, sum, squares }: Tally): void {
    this.rows += rows;
    this.sum = (this.sum + sum) >>> 0;
    this.squares = (this.squares + squares) >>> 0;
  }
}

/** The same in SQL, of the rowids `r` where `filter` holds. `isSmall`: of some ten thousand, from 0 to ROOT, in fewer steps. */
function tallySql(filter = "", isSmall = false): string {
  const low = `(r & ${WORD - 1})`;
  if (isSmall)
    return `count(*) ${filter}, ifnull(sum(${low}) ${filter}, 0), ifnull(sum(r * r % ${PRIME}) ${filter}, 0)`;
  const sum = `ifnull(sum(${low} + (r >> 32)) ${filter}, 0)`;
  const squares = `ifnull(sum((${low} % ${ROOT}) * (${low} % ${ROOT}) % ${PRIME}) ${filter}, 0)`;
  return `count(*) ${filter}, ${sum} & ${WORD - 1}, ${squares} & ${WORD - 1}`;
}

function tallyOf([rows, sum, squares]: readonly unknown[]): Tally {
  return { rows: Number(rows), sum: Number(sum) % WORD, squares: Number(squares) % WORD };
}

/** The tally of a statement that gives rowids as `r`. */
export function tallyOfQuery(database: Database, sql: string, values: readonly SqlValue[]): Tally {
  return tallyOf(database.prepare(`SELECT ${tallySql()} FROM (${sql})`).raw().get(values) as unknown[]);
}

/**
 * The tally of the table's rows for which `condition` holds, by a walk through the table itself. E_SOURCE_DAMAGED where its
 * rows do not stand in order.
 */
export async function tallyOfTable(
  database: Database,
  table: string,
  rowid: string,
  condition: string | undefined,
  values: readonly SqlValue[],
  signal: AbortSignal,
): Promise<Tally> {
  const filter = condition === undefined ? "" : "FILTER (WHERE taken)";
  const rows = `SELECT ${rowid} AS r, (${condition ?? "1"}) AS taken FROM ${quoted(table)} NOT INDEXED`;
  const [least, most] = rowidEnds(database, table, rowid);
  const isSmall = least >= 0 && most < ROOT;
  const part = (where: string) =>
    database
      .prepare(
        `SELECT ${tallySql(filter, isSmall)}, count(*), max(r) FROM (${rows} ${where} ORDER BY ${rowid} LIMIT ${ROWS_PER_TURN})`,
      )
      .raw()
      .safeIntegers();
  const tally = new RowidTally();
  let [, , , count, last] = addPart(tally, part("").get(values) as bigint[]);
  const next = part(`WHERE ${rowid} > ?`);
  while (count === BigInt(ROWS_PER_TURN)) {
    await nextTick();
    signal.throwIfAborted();
    const before = last as bigint;
    [, , , count, last] = addPart(tally, next.get([...values, before]) as bigint[]);
    if (count > 0n && (last as bigint) <= before) throw rowsOutOfOrder(table);
  }
  return tally;
}

/** The least and the greatest, rounded; 0 where there are none. */
export function rowidEnds(database: Database, table: string, rowid: string): [least: number, greatest: number] {
  const end = (name: string): string => `ifnull((SELECT ${name}(${rowid}) FROM ${quoted(table)}), 0)`;
  return database
    .prepare(`SELECT ${end("min")}, ${end("max")}`)
    .raw()
    .get() as [number, number];
}

function addPart(tally: RowidTally, row: bigint[]): [bigint, bigint, bigint, bigint, bigint | null] {
  tally.addAll(tallyOf(row));
  return row as unknown as [bigint, bigint, bigint, bigint, bigint | null];
}

function isSame(one: Tally, other: Tally): boolean {
  return one.rows === other.rows && one.sum === other.sum && one.squares === other.squares;
}

/** E_SOURCE_DAMAGED for a vec0 table that sqlite-vec must not be asked of. */
export function requireSoundVec0(database: Database, table: string): void {
  const detail = damageOfVec0(database, table);
  if (detail === undefined) return;
  throw new StorageError("E_SOURCE_DAMAGED", `the vec0 table ${table} is damaged`, {
    detail,
    hint: `\`PRAGMA integrity_check\` says more. A backup has the vectors; without one, drop ${table}, and --on-error skip exports the rest.`,
  });
}

/** E_SOURCE_DAMAGED unless all rows of the table came, each once. */
export function requireSameRows(table: string, came: Tally, there: Tally): void {
  if (isSame(came, there)) return;
  const detail =
    came.rows === there.rows
      ? `of its ${there.rows} rows some come twice by way of the index, and others not at all`
      : `of its ${there.rows} rows ${came.rows} come by way of the index`;
  throw damaged(table, detail);
}

/**
 * E_SOURCE_DAMAGED unless an index of the table knows the rows that a walk through the table met (`came`; not `isWhole`: of a
 * part of them), for a page of the table that is lost takes its rows along. The key's index, where there is one.
 */
export async function requireRowsOfIndex(
  database: Database,
  { name, rowid, came, isWhole }: { name: string; rowid: string; came: Tally; isWhole: boolean },
  signal: AbortSignal,
): Promise<void> {
  const index = database
    .prepare(
      `SELECT name FROM pragma_index_list(?) WHERE partial = 0 ORDER BY origin = 'pk' DESC, "unique" DESC, seq LIMIT 1`,
    )
    .pluck()
    .get(name) as string | undefined;
  if (index === undefined) return;
  const there = isWhole ? came : await tallyOfTable(database, name, rowid, undefined, [], signal);
  const rows = `SELECT ${rowid} AS r FROM ${quoted(name)} INDEXED BY ${quoted(index)}`;
  requireSameRows(name, tallyOfQuery(database, rows, []), there);
}

/**
 * E_NOT_A_DATABASE unless each of the table's own indexes that the statement uses has the table's rows: a record would not
 * be found by way of it, and come into the table a second time.
 */
export function requireSoundIndexes(database: Database, table: string, rowid: string, sql: string): void {
  const parameters = [...sql.replaceAll(/'[^']*'/g, "").matchAll(/\?/g)].map(() => null);
  const plan = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(parameters) as { detail: string }[];
  const used = new Set(plan.flatMap(({ detail }) => / USING (?:COVERING )?INDEX (.+?) \(/.exec(detail)?.[1] ?? []));
  const own = database.prepare("SELECT name FROM pragma_index_list(?)").pluck().all(table) as string[];
  const rows = `SELECT ${rowid} AS r FROM ${quoted(table)}`;
  let there: Tally | undefined;
  for (const index of own) {
    if (!used.has(index)) continue;
    there ??= tallyOfQuery(database, `${rows} NOT INDEXED`, []);
    if (isSame(tallyOfQuery(database, `${rows} INDEXED BY ${quoted(index)}`, []), there)) continue;
    throw new StorageError("E_NOT_A_DATABASE", "the SQLite database is damaged", {
      detail: `the index ${index} of ${table} does not have the rows of the table`,
      hint: `\`REINDEX ${table}\` with sqlite3 makes it again from the table; \`PRAGMA integrity_check\` says more.`,
    });
  }
}

/** For a rowid of an index at which the table has no row. */
export function rowMissing(table: string): StorageError {
  return damaged(table, "the index leads to rows that the table does not have");
}

/** For rows that a walk through the table meets twice, or before others that they stand behind. */
export function rowsOutOfOrder(table: string): StorageError {
  return damaged(table, "its rows do not stand in the order of their rowids");
}

function damaged(table: string, detail: string): StorageError {
  return new StorageError("E_SOURCE_DAMAGED", `the table ${table} and an index of it do not have the same rows`, {
    detail,
    hint: `In a copy of the database, run \`REINDEX ${table}\` with sqlite3, and export that. Where it fails: sqlite3's \`.recover\`, or a backup.`,
  });
}
