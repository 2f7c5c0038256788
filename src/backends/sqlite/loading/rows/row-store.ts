/** The statements that write a kind's rows: the table, and for vectors the metadata with the embedding beside it. */
import { randomBytes } from "node:crypto";
import type { Statement } from "better-sqlite3";
import { columnOf, type Field, type RecordKind } from "../../../../catalog/index.js";
import { codecOf } from "../../../../codecs/index.js";
import { StorageError } from "../../../../errors.js";
import type { LargeValue, RecordBatch } from "../../../../records/record-batch.js";
import { columnsOf, mainTable, quoted, rowidOf, uuidOrDerivedSql } from "../../table.js";
import { storedEmbedding } from "../../vectors/embedding-text.js";
import type { Load } from "../load-session.js";
import { createRowEncoder, type SqlParam, type UuidSpelling } from "./row-encoder.js";

/** Rows of one multi-row INSERT, where so many have room. */
const ROWS_PER_INSERT = 64;
/** Parameters that a statement may have (SQLITE_MAX_VARIABLE_NUMBER). */
const MOST_PARAMETERS = 32766;

/** Pieces of the content that is being written. */
const CHUNKS = "temp.llmspell_large_chunks";
/** Joined by the statement that stores it: as a scalar subquery, or bound, it would be copied once more (100 MiB). */
const JOINED = "CAST(group_concat(CAST(b AS TEXT), '') AS BLOB)";
const PIECES = `(SELECT b FROM ${CHUNKS} ORDER BY n)`;

export interface RowStore {
  readonly rowsPerInsert: number;
  /** Inserts up to rowsPerInsert rows at once. The batch has no LargeValue. */
  insertMany(batch: RecordBatch, rows: readonly number[]): void;
  /** `large`: the content is what stageLarge() has set aside. Returns the rowid. */
  insert(batch: RecordBatch, row: number, large: boolean): bigint;
  /** Replaces every column but the surrogate key, and those that the record does not hold; ids may keep their spelling. */
  update(rowid: bigint, batch: RecordBatch, row: number, large: boolean): void;
  /** Whether the row has the record's values already, so that `update` would change nothing. Not for a LargeValue. */
  holds(rowid: bigint, batch: RecordBatch, row: number): boolean;
  delete(rowid: bigint): void;
}

/** `keepSpelling`: fields whose stored text may be another for the same UUID: ids, and texts that begin with one. */
export function createRowStore(
  load: Load,
  kind: RecordKind,
  spellings: ReadonlyMap<number, UuidSpelling>,
  keepSpelling: ReadonlySet<number>,
): RowStore {
  const { database } = load;
  const { sqlite } = kind;
  const encoder = createRowEncoder(kind, spellings);
  const table = quoted(mainTable(kind));
  const rowidName = rowidOf(database, mainTable(kind));
  const vector = sqlite.layout === "vector" ? createEmbeddingStore(load, kind) : undefined;
  const surrogate = sqlite.layout === "table" ? sqlite.surrogateKey : undefined;
  const lead = vector === undefined ? surrogate : "rowid";
  const columns = lead === undefined ? encoder.columns : [lead, ...encoder.columns];
  const list = columns.map(quoted).join(", ");
  const tuple = `(${columns.map(() => "?").join(", ")})`;
  const kept = new Map(
    [...keepSpelling].map((index) => {
      const field = kind.fields[index] as Field;
      return [columnOf(field), field];
    }),
  );
  const rowsPerInsert = Math.min(ROWS_PER_INSERT, Math.floor(MOST_PARAMETERS / columns.length));
  // ABORT whatever the table's own constraints say: ON CONFLICT IGNORE would lose records without a word.
  const single = database.prepare(`INSERT OR ABORT INTO ${table} (${list}) VALUES ${tuple}`);
  const multiple = database.prepare(
    `INSERT OR ABORT INTO ${table} (${list}) VALUES ${Array.from({ length: rowsPerInsert }, () => tuple).join(", ")}`,
  );
  /** What each column becomes. */
  const expressions = encoder.columns.map((name) => {
    const column = quoted(name);
    const field = kept.get(name);
    if (field === undefined) return "?";
    if (field.beginsWith !== undefined) {
      const same = `llmspell_follow(${table}.${column}) = v`;
      return `(SELECT CASE WHEN ${same} THEN ${table}.${column} ELSE v END FROM (SELECT ? AS v))`;
    }
    // What comes in its usual spelling is the same UUID; any other text is the id itself.
    const same = `length(v) = 36 AND v GLOB '????????-????-????-????-????????????' AND ${uuidOrDerivedSql(`${table}.${column}`)} = replace(v, '-', '')`;
    return `(SELECT CASE WHEN ${same} THEN ${table}.${column} ELSE v END FROM (SELECT ? AS v))`;
  });
  const nameOf = (at: number): string => quoted(encoder.columns[at] as string);
  /** One for each set of columns. */
  const statementsOf = (sql: (columns: readonly number[]) => string): ((columns: readonly number[]) => Statement) => {
    const statements = new Map<string, Statement>();
    return (columns) => {
      const key = columns.join();
      const statement = statements.get(key) ?? database.prepare(sql(columns));
      statements.set(key, statement);
      return statement;
    };
  };
  const updateOf = statementsOf((columns) => {
    const set = columns.map((at) => `${nameOf(at)} = ${expressions[at]}`).join(", ");
    return `UPDATE OR ABORT ${table} SET ${set} WHERE ${rowidName} = ?`;
  });
  // A column's own collation may find equal what is not the same.
  const comparisonOf = statementsOf((columns) => {
    const same = columns.map((at) => `${nameOf(at)} COLLATE BINARY IS ${expressions[at]}`).join(" AND ");
    return `SELECT 1 FROM ${table} WHERE ${same} AND ${rowidName} = ?`;
  });
  const allColumns = [...encoder.columns.keys()];
  const updateAll = updateOf(allColumns);
  const heldColumns = (batch: RecordBatch, row: number): readonly number[] =>
    batch.assumed === undefined
      ? allColumns
      : allColumns.filter((at) => !batch.isAssumed(row, encoder.fieldOf[at] as number));
  const remove = database.prepare(`DELETE FROM ${table} WHERE ${rowidName} = ?`);
  const { largeAt } = encoder;
  const content = largeAt === undefined ? undefined : createContentStore(load, kind, encoder.columns, largeAt);

  const encode = (batch: RecordBatch, row: number, values: SqlParam[]): bigint | undefined => {
    const rowid = vector === undefined ? undefined : load.nextVectorRowid(kind);
    if (rowid !== undefined) values.push(rowid);
    else if (surrogate !== undefined) values.push(nextSurrogate());
    encoder.encode(batch, row, values);
    return rowid;
  };

  const nextSurrogate = surrogateKeys();
  return {
    rowsPerInsert,
    insertMany(batch, rows) {
      const whole = rows.length === rowsPerInsert;
      let values: SqlParam[] = [];
      for (const row of rows) {
        const rowid = encode(batch, row, values);
        if (rowid !== undefined) vector?.insert(rowid, batch, row);
        if (whole) continue;
        single.run(values);
        values = [];
      }
      if (whole) multiple.run(values);
    },
    insert(batch, row, large) {
      const values: SqlParam[] = [];
      if (large && content !== undefined) {
        encoder.encode(batch, row, values);
        return content.insert(values);
      }
      const rowid = encode(batch, row, values);
      const result = single.run(values);
      if (rowid !== undefined) vector?.insert(rowid, batch, row);
      return rowid ?? BigInt(result.lastInsertRowid);
    },
    update(rowid, batch, row, large) {
      const values: SqlParam[] = [];
      encoder.encode(batch, row, values);
      if (large && largeAt !== undefined) values[largeAt] = Buffer.alloc(0);
      if (batch.assumed === undefined) {
        values.push(rowid);
        updateAll.run(values);
      } else {
        const held = heldColumns(batch, row);
        updateOf(held).run([...held.map((at) => values[at]), rowid]);
      }
      if (large) content?.replace(rowid);
      vector?.replace(rowid, batch, row);
    },
    holds(rowid, batch, row) {
      const values: SqlParam[] = [];
      encoder.encode(batch, row, values);
      const held = heldColumns(batch, row);
      const found = comparisonOf(held).get([...held.map((at) => values[at]), rowid]);
      return found !== undefined && (vector?.holds(rowid, batch, row) ?? true);
    },
    delete(rowid) {
      remove.run(rowid);
      vector?.delete(rowid);
    },
  };
}

/** 32 hex digits in ascending order: their index grows at its end, where random ones would touch a page of it each. */
function surrogateKeys(): () => string {
  const start = Date.now().toString(16).padStart(12, "0");
  const run = randomBytes(6).toString("hex");
  let count = 0;
  return () => start + (count++).toString(16).padStart(8, "0") + run;
}

interface ContentStore {
  /** `values` as encoded; the content's place is ignored. */
  insert(values: SqlParam[]): bigint;
  /** Gives the row the staged content. */
  replace(rowid: bigint): void;
}

function createContentStore(load: Load, kind: RecordKind, columns: readonly string[], largeAt: number): ContentStore {
  const { database } = load;
  const table = quoted(mainTable(kind));
  const rowid = rowidOf(database, mainTable(kind));
  const name = columns[largeAt] as string;
  const row = `temp.${load.name("row")}`;
  database.exec(`CREATE TABLE IF NOT EXISTS ${CHUNKS} (n INTEGER PRIMARY KEY, b BLOB)`);
  database.exec(`CREATE TABLE ${row} AS SELECT ${rowid} AS llmspell_rowid, * FROM ${table} WHERE 0`);
  const values = columns.map((_, at) => (at === largeAt ? JOINED : "?")).join(", ");
  const insert = database.prepare(
    `INSERT OR ABORT INTO ${table} (${columns.map(quoted).join(", ")}) SELECT ${values} FROM ${PIECES}`,
  );
  // UPDATE can only take the content from a subquery. No trigger and no foreign key acts: the row is the same after.
  const others = [...(columnsOf(database, mainTable(kind)) ?? [])].filter((column) => column !== name).map(quoted);
  const take = database.prepare(`INSERT INTO ${row} SELECT ${rowid}, * FROM ${table} WHERE ${rowid} = ?`);
  const remove = database.prepare(`DELETE FROM ${table} WHERE ${rowid} = ?`);
  const put = database.prepare(
    `INSERT OR ABORT INTO ${table} (${rowid}, ${others.join(", ")}, ${quoted(name)}) SELECT llmspell_rowid, ${others.join(", ")}, ${JOINED} FROM ${PIECES} CROSS JOIN ${row}`,
  );
  const clear = database.prepare(`DELETE FROM ${row}`);
  return {
    insert: (encoded) => BigInt(insert.run(encoded.toSpliced(largeAt, 1)).lastInsertRowid),
    replace(at) {
      take.run(at);
      remove.run(at);
      put.run();
      clear.run();
    },
  };
}

interface EmbeddingStore {
  insert(rowid: bigint, batch: RecordBatch, row: number): void;
  replace(rowid: bigint, batch: RecordBatch, row: number): void;
  holds(rowid: bigint, batch: RecordBatch, row: number): boolean;
  delete(rowid: bigint): void;
}

/** vec0 takes rowids as integers only (BigInt), and knows no upsert. Columns that people have added keep their values. */
function createEmbeddingStore(load: Load, kind: RecordKind): EmbeddingStore {
  if (kind.sqlite.layout !== "vector") throw new Error(`${kind.path} has no embeddings`);
  const { embeddingTable, dimension } = kind.sqlite;
  const vec0 = load.embeddingShape(embeddingTable, dimension);
  const field = kind.fields.findIndex((each) => codecOf(each).sqlite === "embedding");
  const table = quoted(embeddingTable);
  const insert = load.database.prepare(`INSERT OR ABORT INTO ${table} (rowid, embedding) VALUES (?, ?)`);
  const update = load.database.prepare(`UPDATE ${table} SET embedding = ? WHERE rowid = ?`);
  const remove = load.database.prepare(`DELETE FROM ${table} WHERE rowid = ?`);
  const select = load.database.prepare(`SELECT embedding FROM ${table} WHERE rowid = ?`).pluck();
  const readable = (value: Buffer): Buffer | undefined => (vec0 ? value : storedEmbedding(value));
  const stored = (batch: RecordBatch, row: number): Buffer => {
    const value = batch.value(row, field);
    const shown = readable(value);
    if (shown === undefined) load.unreadableEmbeddings++;
    return shown ?? value;
  };
  return {
    insert: (rowid, batch, row) => void insert.run(rowid, stored(batch, row)),
    replace(rowid, batch, row) {
      const value = stored(batch, row);
      if (update.run(value, rowid).changes === 0) insert.run(rowid, value);
    },
    holds(rowid, batch, row) {
      const value = readable(batch.value(row, field));
      const there = select.get(rowid);
      // One that llmspell cannot read is written again, and told of.
      return value !== undefined && Buffer.isBuffer(there) && there.equals(value);
    },
    delete: (rowid) => void remove.run(rowid),
  };
}

/** Sets a large content aside for the statement that writes it. */
export async function stageLarge(load: Load, large: LargeValue): Promise<void> {
  const { database } = load;
  const [encoding] = database.prepare("PRAGMA encoding").raw().get() as [string];
  if (encoding !== "UTF-8")
    throw new StorageError("E_SCHEMA", `content of 1 MiB and more needs a UTF-8 database, this one is ${encoding}`);
  database.exec(`DELETE FROM ${CHUNKS}`);
  const insert = database.prepare(`INSERT INTO ${CHUNKS} (b) VALUES (?)`);
  for await (const chunk of large.chunks()) insert.run(chunk);
}

export function clearLarge(load: Load): void {
  load.database.exec(`DELETE FROM ${CHUNKS}`);
}

/** The same record, its content read from what stageLarge() has set aside: the source's chunks can be read only once. */
export function withStagedContent(load: Load, batch: RecordBatch, large: LargeValue): RecordBatch {
  const staged: LargeValue = {
    field: large.field,
    async *chunks() {
      const select = load.database.prepare(`SELECT n, b FROM ${CHUNKS} WHERE n > ? ORDER BY n LIMIT 1`).raw();
      for (let after = 0; ; ) {
        const found = select.get(after) as [number, Buffer] | undefined;
        if (found === undefined) return;
        after = found[0];
        yield found[1];
      }
    },
    async discard() {},
  };
  return batch.withLarge(staged);
}
