/** What a load would do to a database, found without writing to it: the contract of a backend's `database.planLoad`. */
import type { Catalog, RecordKind } from "../../catalog/index.js";
import type { StorageError } from "../../errors.js";
import type { RecordBatch } from "../record-batch.js";

/** How the records of one kind go into its table. */
export interface LoadWay {
  /** "direct": straight into the table, which is empty. "merge": beside it first. "unknown": it cannot be seen whether it is empty. */
  readonly into: "direct" | "merge" | "unknown";
  /** Indexes that are dropped, and built from all rows at the end. */
  readonly rebuilds: readonly string[];
  /** Triggers of the table that do not fire. */
  readonly silences: readonly string[];
  /** Locks beyond a writer's own, strongest first, e.g. "ACCESS EXCLUSIVE on llmspell.sessions, from its first record to the end". */
  readonly locks: readonly string[];
  /** Why the load would stop at the kind's first record. */
  readonly refusal?: StorageError;
}

/** What a kind's table has. Undefined: it cannot be seen. */
export interface RowsThere {
  readonly empty: boolean | undefined;
  readonly count: number | undefined;
  readonly estimated: boolean;
}

/** How a record meets the target: its place in it, or why it is refused. */
export interface Meeting {
  readonly outcome: "new" | "same" | "changed" | StorageError;
  /** For each of the kind's foreign keys: whether the target has the parent, or the record names none. */
  readonly parents: readonly boolean[];
}

/** Some of the records, written to something beside the target's tables that goes away again: how long they take there. */
export interface LoadMeasure {
  /** What they are written to, e.g. "temporary tables of the server". */
  readonly into: string;
  /** A kind's records come one behind the other. What cannot be written is left out. The batch may change when it has resolved. */
  write(batch: RecordBatch): Promise<void>;
  /** Waits until all of it has arrived. */
  settle(): Promise<void>;
  /** Seconds that what is built at the end takes for so many of the kind's records, by what it takes for those written. */
  secondsAtEnd(kind: RecordKind, records: number): Promise<number>;
  /** Ends the writing: seconds that this takes for a run of so many times the bytes. */
  finish(times: number): Promise<number>;
  /** Takes away what was written; idempotent; never throws. */
  close(): Promise<void>;
}

/** A look at the target, in one snapshot, with a reader's locks. */
export interface LoadPlanner {
  /** Why the load would not begin, first what it would stop at. */
  readonly refusals: readonly StorageError[];
  /** Statements, each a right that the role lacks. */
  readonly grants: readonly string[];
  /** Lines for people: extensions, indexes and migrations that are not as they should be. */
  readonly notes: readonly string[];
  /** What the load would do to the schema first. */
  readonly migrations: readonly string[];
  /** Bytes that are free where the target grows; undefined: unknown, as of a server. */
  readonly freeBytes: number | undefined;
  rowsOf(kind: RecordKind): Promise<RowsThere>;
  /** Its rows, counted; undefined: it cannot be seen. */
  countOf(kind: RecordKind): Promise<number | undefined>;
  /** `records`: how many come; `writes`: how many of them the table lacks or has otherwise. */
  wayOf(kind: RecordKind, load: { readonly records: number; readonly writes: number }): Promise<LoadWay>;
  /**
   * Looks the records up, as the load would. Undefined where the backend cannot: then the keys of its own source are held
   * against them.
   */
  readonly meet: ((batch: RecordBatch) => Promise<readonly Meeting[]>) | undefined;
  /** Begins to write, which nothing else here does. Undefined where nothing can be measured. */
  readonly measure?: (() => Promise<LoadMeasure>) | undefined;
  /** Releases everything; idempotent; never throws. */
  close(): Promise<void>;
}

export interface LoadPlanOptions {
  readonly catalog: Catalog;
  readonly signal: AbortSignal;
  readonly onConflict: "update" | "skip" | "error";
  readonly deferIndexes: "auto" | "always" | "never";
  /** Row-level security lets a role without BYPASSRLS write one tenant's records. */
  readonly tenant: string | undefined;
}
