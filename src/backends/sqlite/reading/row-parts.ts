/**
 * A kind's rows as parts. Whoever plans them walks the keys as a reading of all rows does (ordered-rows.ts) and cuts the rowids
 * into lists; whoever reads a part fetches the rows of its list, in its order. So each row is in one part, by construction.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import { columnOf, type RecordKind, storedFields } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { PART_BYTES } from "../../../records/parts.js";
import type { Database } from "../open.js";
import { columnsOf, mainTable, quoted, rowidOf, type SqlRow } from "../table.js";
import { allRows, joinedEmbeddings, type OrderedRows } from "./ordered-rows.js";
import { rowMissing } from "./row-check.js";
import { createRowReader, type RowReader } from "./row-reader.js";

/** Part.rows of this backend, where they are a list. */
export interface PartRows {
  /** In their order. */
  readonly rowids: Rowids;
}

/** Numbers where all are safe integers. */
type Rowids = Float64Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>;

/** Rows whose size is asked, of each stretch of rows. */
const SAMPLED = 32;
/** Rows that are taken to be alike, and so the most of a part. */
const STRETCH = 16384;

/** The lists of the parts. `signal`: heard between them. */
export async function* cutRowids(
  database: Database,
  kind: RecordKind,
  rowids: Iterable<bigint | number>,
  { partBytes = PART_BYTES, signal }: { readonly partBytes?: number | undefined; readonly signal: AbortSignal },
): AsyncGenerator<PartRows> {
  const cut = createCut(createSizes(database, kind), partBytes);
  let stretch: Rowids | undefined;
  let length = 0;
  for (const rowid of rowids) {
    stretch ??= typeof rowid === "number" ? new Float64Array(STRETCH) : new BigInt64Array(STRETCH);
    stretch[length++] = rowid;
    if (length < STRETCH) continue;
    yield* cut(stretch);
    length = 0;
    await nextTick();
    signal.throwIfAborted();
  }
  if (stretch !== undefined) yield* cut(stretch.subarray(0, length));
}

/** Bytes of the values of so many rows, together. */
type Sizes = (rowids: Rowids) => readonly number[];

/** Cuts a stretch of rows, whose sizes are judged by some of them. */
function createCut(bytesOf: Sizes, partBytes: number): (rowids: Rowids) => Generator<PartRows> {
  return function* (rowids) {
    if (rowids.length === 0) return;
    const step = Math.max(1, Math.floor(rowids.length / SAMPLED));
    const sizes = bytesOf(rowids.filter((_, i) => i % step === 0));
    let [from, bytes] = [0, 0];
    for (let at = 0; at < rowids.length; at++) {
      bytes += sizes[Math.floor(at / step)] as number;
      if (bytes < partBytes && at + 1 < rowids.length) continue;
      yield { rowids: rowids.slice(from, at + 1) };
      [from, bytes] = [at + 1, 0];
    }
  };
}

/** SQL for the bytes of a row's values, of the table `t`, as its header says them: no value is read. */
export function bytesSql(database: Database, kind: RecordKind): string {
  const present = columnsOf(database, mainTable(kind)) ?? new Set();
  const columns = storedFields(kind, "sqlite").filter(
    (field) => codecOf(field).sqlite !== "embedding" && present.has(columnOf(field)),
  );
  const { sqlite } = kind;
  const fixed = (sqlite.layout === "vector" ? sqlite.dimension * 4 : 0) + 8 * columns.length;
  return [fixed, ...columns.map((field) => `ifnull(octet_length(t.${quoted(columnOf(field))}), 0)`)].join(" + ");
}

function createSizes(database: Database, kind: RecordKind): Sizes {
  const table = mainTable(kind);
  const sizes = database
    .prepare(
      `SELECT ${bytesSql(database, kind)} FROM json_each(?) AS s LEFT JOIN ${quoted(table)} AS t ON t.${rowidOf(database, table)} = s.value`,
    )
    .pluck();
  return (rowids) => sizes.all(listOf(rowids)) as number[];
}

/** Of each connection, by path: to make one for each part would cost a dozen statements. */
const readers = new WeakMap<Database, Map<string, RowReader>>();

export function readerOf(database: Database, kind: RecordKind): RowReader {
  const made = readers.get(database) ?? new Map<string, RowReader>();
  readers.set(database, made);
  const reader = made.get(kind.path) ?? createRowReader(database, kind);
  if (reader === undefined) throw new Error(`${kind.path} has no table`);
  made.set(kind.path, reader);
  return reader;
}

/** The rows of the list, in its order. */
export function rowsOfList(database: Database, kind: RecordKind, { rowids }: PartRows): OrderedRows {
  const reader = readerOf(database, kind);
  const name = mainTable(kind);
  // The join is an outer one: the list is gone through as it stands, and a row that is not there comes as NULLs.
  const sql = (select: string): string =>
    `SELECT ${select} FROM json_each(?) AS s LEFT JOIN ${quoted(name)} AS t ON t.${rowidOf(database, name)} = s.value ${joinedEmbeddings(kind, reader)}`;
  const iterate = (select: string): IterableIterator<SqlRow> =>
    database
      .prepare(sql(select))
      .raw()
      .safeIntegers(!reader.hasNumbers)
      .iterate(listOf(rowids)) as IterableIterator<SqlRow>;
  return {
    ...reader,
    rows: () => allRows(reader, iterate),
    saw(row) {
      if (row[0] === null) throw rowMissing(name);
    },
    // Whoever planned the parts holds their rows against the table.
    async requireAllAhead() {},
    async requireAll() {},
  };
}

function listOf(rowids: Rowids): string {
  return `[${rowids.join()}]`;
}
