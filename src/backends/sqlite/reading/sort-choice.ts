/** Whether a kind's rows are fetched along an index of its key, or its table is read as it lies and sorted. Only the speed differs. */
import { statfsSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { columnOf, type Field, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import type { OrderBy } from "../../../records/run-context.js";
import type { Database } from "../open.js";
import { columnsOf, mainTable, quoted, rowidOf, type SqlValue } from "../table.js";
import type { RowSelection } from "./ordered-rows.js";

/** From so many times the free memory on: five times as large it was 2.4 times as fast, about as large slower (bench/README.md). */
const MEMORY_TIMES = 2;
/** A sort keeps a table's records in temporary files, and merges them. */
const TEMPORARY_TIMES = 2;
/** Where and how much a table and its index are looked at. */
const PLACES = 5;
const ROWS_PER_PLACE = 100;
/** Rows that follow one another in the index lie near in the table where their rowids are no farther apart. */
const NEAR = 16;
const CLUSTERED = 0.8;

/** `memory`: bytes that a table may have and is still read along its index; default: by what the system has left. */
export function isSorted(
  database: Database,
  kind: RecordKind,
  { limit, wanted, order }: Pick<RowSelection, "limit" | "wanted" | "order">,
  orderBy: OrderBy = "auto",
  memory: number = freeMemory() * MEMORY_TIMES,
): boolean {
  const { sqlite } = kind;
  const isWalked = kind.keyless === true || order === "table" || (sqlite.layout === "table" && sqlite.withoutRowid);
  if (isWalked || limit !== undefined || wanted !== undefined || orderBy === "index") return false;
  if (orderBy === "sort") return true;
  const pages = database.pragma("page_count") as readonly { page_count: number }[];
  const [size] = database.pragma("page_size") as readonly { page_size: number }[];
  if ((pages[0]?.page_count ?? 0) * (size?.page_size ?? 0) <= memory) return false;
  const bytes = tableBytes(database, kind);
  return bytes > memory && TEMPORARY_TIMES * bytes < freeBytes(tmpdir()) && !isClustered(database, kind);
}

function freeBytes(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return 0;
  }
}

/** What the system, or the container, has left for pages of files. Bytes. */
function freeMemory(): number {
  const limit = process.constrainedMemory();
  const free = freemem();
  return limit > 0 && limit < 2 ** 60 ? Math.min(free, Math.max(0, limit - process.memoryUsage.rss())) : free;
}

/** Rowids spread over the table: the first that is there from each place on. */
function someRowids(database: Database, table: string, rowid: string): bigint[] {
  const [least, most] = database
    .prepare(`SELECT (SELECT min(${rowid}) FROM ${table}), (SELECT max(${rowid}) FROM ${table})`)
    .raw()
    .safeIntegers()
    .get() as [bigint | null, bigint | null];
  if (least === null || most === null) return [];
  const next = database
    .prepare(`SELECT ${rowid} FROM ${table} WHERE ${rowid} >= ? ORDER BY ${rowid} LIMIT 1`)
    .pluck()
    .safeIntegers();
  return Array.from({ length: PLACES }, (_, i) =>
    next.get(least + ((most - least) * BigInt(i)) / BigInt(PLACES)),
  ) as bigint[];
}

/** About: as many rows as rowids, of the length of some. */
function tableBytes(database: Database, kind: RecordKind): number {
  const name = mainTable(kind);
  const table = quoted(name);
  const rowid = rowidOf(database, name);
  const columns = [...(columnsOf(database, name) ?? [])].map((column) => `ifnull(octet_length(${quoted(column)}), 0)`);
  const length = kind.sqlite.layout === "vector" ? kind.sqlite.dimension * 4 : 0;
  const sum = database
    .prepare(
      `SELECT total(bytes), count(*) FROM (SELECT ${columns.join(" + ")} AS bytes FROM ${table} WHERE ${rowid} >= ? ORDER BY ${rowid} LIMIT ${ROWS_PER_PLACE})`,
    )
    .raw();
  let [bytes, rows] = [0, 0];
  for (const from of someRowids(database, table, rowid)) {
    const [total, count] = sum.get(from) as [number, number];
    bytes += total + count * length;
    rows += count;
  }
  if (rows === 0) return 0;
  const all = database.prepare(`SELECT max(${rowid}) - min(${rowid}) + 1.0 FROM ${table}`).pluck().get() as number;
  return (bytes / rows) * all;
}

/** Whether rows whose keys follow one another lie beside one another, by an index of the key; false where there is none. */
function isClustered(database: Database, kind: RecordKind): boolean {
  const name = mainTable(kind);
  const table = quoted(name);
  const rowid = rowidOf(database, name);
  const key = kind.key.map((field) => quoted(columnOf(kind.fields[fieldIndex(kind, field)] as Field)));
  const columns = key.join(", ");
  const walk = `SELECT ${rowid} FROM ${table} WHERE (${columns}) >= (${key.map(() => "?").join(", ")}) ORDER BY ${columns} LIMIT ${ROWS_PER_PLACE}`;
  const plan = database.prepare(`EXPLAIN QUERY PLAN ${walk}`).all(key.map(() => null)) as { detail: string }[];
  if (plan.some(({ detail }) => detail.includes("TEMP B-TREE"))) return false;
  const keyAt = database.prepare(`SELECT ${columns} FROM ${table} WHERE ${rowid} = ?`).raw().safeIntegers();
  const next = database.prepare(walk).pluck().safeIntegers();
  let [near, steps] = [0, 0];
  for (const at of someRowids(database, table, rowid)) {
    const rowids = next.all(keyAt.get(at) as SqlValue[]) as bigint[];
    for (const [i, one] of rowids.slice(1).entries()) {
      const step = one - (rowids[i] as bigint);
      if (step >= -NEAR && step <= NEAR) near++;
      steps++;
    }
  }
  return steps > 0 && near / steps >= CLUSTERED;
}
