/**
 * Rowids of vectors. vector_metadata has one rowid for the vectors of all dimensions, but llmspell takes the next one of the
 * dimension's own embedding table: so each dimension has a block of its own, at whose end both find room.
 */
import { type Database, isVec0 } from "../open.js";
import { columnsOf, quoted, rowidOf } from "../table.js";
import { refuseDamagedVec0 } from "./vec0-check.js";

/** Rowids of a block. */
export const BLOCK = 2n ** 32n;

export interface RowidBlock {
  readonly first: bigint;
  readonly last: bigint;
}

export function blockOf(dimension: number): RowidBlock {
  const start = BigInt(dimension) * BLOCK;
  return { first: start + 1n, last: start + BLOCK - 1n };
}

/** The table of an embedding table's rowids: of a vec0 table its shadow table, where the greatest is found at once. */
export function rowidTable(database: Database, embeddingTable: string): string | undefined {
  const shape = isVec0(database, embeddingTable);
  if (shape === undefined) return undefined;
  if (!shape) return embeddingTable;
  const shadow = `${embeddingTable}_rowids`;
  if (columnsOf(database, shadow) === undefined) refuseDamagedVec0(database, embeddingTable);
  return shadow;
}

/** The greatest rowid of the table, or of its part in the block. */
export function greatestRowid(database: Database, table: string, block?: RowidBlock): bigint | undefined {
  const rowid = rowidOf(database, table);
  const where = block === undefined ? "" : `WHERE ${rowid} BETWEEN ${block.first} AND ${block.last}`;
  const query = `SELECT max(${rowid}) FROM ${quoted(table)} ${where}`;
  return (database.prepare(query).safeIntegers().pluck().get() as bigint | null) ?? undefined;
}

/** The greatest rowid of the dimension's block that is taken, in whichever table; before the first one where none is. */
export function lastOfBlock(
  database: Database,
  { metadataTable, embeddingTable, dimension }: { metadataTable: string; embeddingTable: string; dimension: number },
): bigint {
  const block = blockOf(dimension);
  let last = block.first - 1n;
  for (const table of [metadataTable, rowidTable(database, embeddingTable)]) {
    const found = table === undefined ? undefined : greatestRowid(database, table, block);
    if (found !== undefined && found > last) last = found;
  }
  return last;
}
