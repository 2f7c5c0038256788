/** Rowids of vectors that leave llmspell's next inserts no room: told, and renumbered into blocks (backends/sqlite/loading/vector-rowids.ts). */
import { setImmediate as nextTick } from "node:timers/promises";
import { dropTriggers } from "../../../backends/sqlite/loading/triggers.js";
import { type Database, isVec0 } from "../../../backends/sqlite/open.js";
import { columnsOf, quoted } from "../../../backends/sqlite/table.js";
import {
  BLOCK,
  blockOf,
  greatestRowid,
  lastOfBlock,
  rowidTable,
} from "../../../backends/sqlite/vectors/vector-rowids.js";
import { StorageError } from "../../../errors.js";
import { catalog } from "../../catalog/index.js";
import { declaredKeys, keyText } from "./objects.js";

interface VectorTable {
  readonly metadataTable: string;
  readonly embeddingTable: string;
  readonly dimension: number;
}

const VECTORS: readonly VectorTable[] = catalog.kinds.flatMap(({ sqlite }) =>
  sqlite.layout === "vector" ? [sqlite] : [],
);

/** Rows between two visits of the event loop. */
const CHUNK_ROWS = 4096;
/** Fewer free rowids than this before the next one that is taken are no room. */
const ROOM = BLOCK / 2n;

export interface RowidFaults {
  /** Dimensions that have vectors, and whose next one llmspell cannot insert. */
  readonly full: readonly number[];
  /** Dimensions without vectors, of which llmspell cannot insert the first one. */
  readonly unused: readonly number[];
}

/** Where llmspell's next rowids, which it takes of the dimension's own table, are taken in vector_metadata. Only reads. */
export function findRowidFaults(database: Database): RowidFaults {
  const faults: { full: number[]; unused: number[] } = { full: [], unused: [] };
  if (columnsOf(database, "vector_metadata")?.has("dimension") !== true) return faults;
  const nearest = database.prepare("SELECT min(rowid) FROM vector_metadata WHERE rowid > ?").safeIntegers().pluck();
  for (const { embeddingTable, dimension } of VECTORS) {
    const table = rowidTable(database, embeddingTable);
    const greatest = table === undefined ? undefined : greatestRowid(database, table);
    const next = nearest.get(greatest ?? 0n) as bigint | null;
    if (next === null || next - (greatest ?? 0n) > ROOM) continue;
    (greatest === undefined ? faults.unused : faults.full).push(dimension);
  }
  return faults;
}

/**
 * Gives the vectors of every dimension rowids of its block, in vector_metadata and in the embedding tables of both shapes,
 * in their order. The caller holds the transaction. Gives the number of vectors by dimension, where there were any to move.
 * @throws {StorageError} E_SCHEMA when a table refers to the rowids
 */
export async function repairRowids(
  database: Database,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<number, number>> {
  const moved = new Map<number, number>();
  if (columnsOf(database, "vector_metadata") === undefined) return moved;
  refuseReferences(database);
  const triggers = dropTriggers(
    database,
    VECTORS.flatMap(({ metadataTable, embeddingTable }) => [metadataTable, embeddingTable]),
  );
  for (const table of VECTORS) {
    const count = await moveVectors(database, table, signal);
    if (count > 0) moved.set(table.dimension, count);
  }
  for (const sql of triggers) database.exec(sql);
  return moved;
}

function refuseReferences(database: Database): void {
  const key = declaredKeys(database).find(
    ({ parent, referenced }) =>
      parent.toLowerCase() === "vector_metadata" &&
      (referenced.length === 0 || referenced.join().toLowerCase() === "rowid"),
  );
  if (key === undefined) return;
  throw new StorageError("E_SCHEMA", `${keyText(key.child, key.columns)} refers to the rowids of vector_metadata`, {
    hint: "Take that foreign key away, and set the references anew by the vectors' ids.",
  });
}

/** All of a dimension when one is outside of its block, or llmspell's next insert would fail. */
async function moveVectors(database: Database, table: VectorTable, signal: AbortSignal | undefined): Promise<number> {
  const { embeddingTable, dimension } = table;
  const block = blockOf(dimension);
  const rows = rowidTable(database, embeddingTable);
  const outside = `rowid NOT BETWEEN ${block.first} AND ${block.last}`;
  const all = `SELECT rowid AS r FROM vector_metadata WHERE dimension = ${dimension}${rows === undefined ? "" : ` UNION SELECT rowid FROM ${quoted(rows)}`}`;
  const isOutside =
    database.prepare(`SELECT 1 FROM (${all}) WHERE ${outside.replace("rowid", "r")} LIMIT 1`).get() !== undefined;
  if (!isOutside && !findRowidFaults(database).full.includes(dimension)) return 0;

  const last = lastOfBlock(database, table);
  // Those without an embedding first: the greatest rowid must be one of the embedding table.
  const embedded = rows === undefined ? "0" : `EXISTS (SELECT 1 FROM ${quoted(rows)} WHERE rowid = r)`;
  database.exec("DROP TABLE IF EXISTS temp.llmspell_moves");
  database.exec(
    `CREATE TEMP TABLE llmspell_moves AS
     SELECT row_number() OVER (ORDER BY ${embedded}, r) AS n, r AS old FROM (${all})`,
  );
  database.exec("CREATE UNIQUE INDEX temp.llmspell_moves_n ON llmspell_moves(n)");
  const count = database.prepare("SELECT count(*) FROM temp.llmspell_moves").pluck().get() as number;
  const newRowid = `${last} + n`;
  const move = (name: string, condition = ""): string =>
    `UPDATE ${quoted(name)} SET rowid = (SELECT ${newRowid} FROM temp.llmspell_moves WHERE old = ${quoted(name)}.rowid AND n BETWEEN ? AND ?)
     WHERE rowid IN (SELECT old FROM temp.llmspell_moves WHERE n BETWEEN ? AND ?) ${condition}`;
  const moveMetadata = database.prepare(move("vector_metadata", `AND dimension = ${dimension}`));
  const moveEmbeddings = rows === undefined ? undefined : embeddingMover(database, embeddingTable, last, move);
  for (let from = 1; from <= count; from += CHUNK_ROWS) {
    const to = from + CHUNK_ROWS - 1;
    moveMetadata.run(from, to, from, to);
    moveEmbeddings?.(from, to);
    await nextTick();
    signal?.throwIfAborted();
  }
  database.exec("DROP TABLE temp.llmspell_moves");
  return database
    .prepare(`SELECT count(*) FROM vector_metadata WHERE dimension = ${dimension}`)
    .pluck()
    .get() as number;
}

/** vec0 changes no rowid: its rows are inserted anew. */
function embeddingMover(
  database: Database,
  table: string,
  last: bigint,
  move: (name: string) => string,
): (from: number, to: number) => void {
  if (isVec0(database, table) !== true) {
    const update = database.prepare(move(table));
    return (from, to) => void update.run(from, to, from, to);
  }
  const columns = [...(columnsOf(database, table) ?? [])]
    .filter((name) => name !== "rowid")
    .map(quoted)
    .join(", ");
  const moves = database
    .prepare("SELECT old, n FROM temp.llmspell_moves WHERE n BETWEEN ? AND ? ORDER BY n")
    .raw()
    .safeIntegers();
  const copy = database.prepare(
    `INSERT INTO ${quoted(table)} (rowid, ${columns}) SELECT ?, ${columns} FROM ${quoted(table)} WHERE rowid = ?`,
  );
  const remove = database.prepare(`DELETE FROM ${quoted(table)} WHERE rowid = ?`);
  return (from, to) => {
    for (const [old, n] of moves.all(from, to) as [bigint, bigint][]) {
      copy.run(last + n, old);
      remove.run(old);
    }
  };
}
