/** A share of one kind's records: the unit of work of runs with several threads (or connections, or machines). */

/**
 * Plain data, which another thread gets as it is (structured clone). The parts of a kind come in the document's order and hold
 * each of its records exactly once, together all that the selection wants; some 4 MB of values each where that can be told.
 */
export interface Part {
  /** Of the kind; empty: records of all kinds, as they come (PartedSource.single). */
  readonly path: string;
  /** Which rows, as the store's own backend says it (PartRows of its source); undefined: all of the kind, which cannot be shared out. */
  readonly rows?: object;
}

/** What came of a part, for the store's own count of the table: how many rows, whatever became of them, and a sum that tells them apart. */
export interface PartTally {
  readonly records: number;
  readonly sum: number;
  /** A second sum, where the backend has one. */
  readonly squares?: number;
}

/** Bytes of values that a part is to have, about: small enough that several threads end together, large enough that its own cost does not count. */
export const PART_BYTES = 4194304;
