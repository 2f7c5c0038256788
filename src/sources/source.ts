import type { Catalog } from "../catalog/index.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext, Selection } from "../records/run-context.js";

export type BackendName = "sqlite" | "postgresql";

/** What a store says of itself: the document's header. */
export interface StoreHeader {
  /** The backend that the records come from; a document names its own source. */
  readonly backend: BackendName;
  /** Versions applied, ascending, e.g. ["V1", "V3"]. */
  readonly migrations: readonly string[];
  /** What a database is run by, e.g. `{ PostgreSQL: "15.4", pgvector: "0.8.0" }`. */
  readonly versions?: Readonly<Record<string, string>>;
  /** Of a document: when its records were read, UTC, ISO 8601. */
  readonly exportedAt?: string;
  /** The kinds of its records, from a source that knows them; no part of a document. */
  readonly catalog?: Catalog;
}

/** What a target is run by, and its migrations as StoreHeader has them. */
export interface StoreVersions {
  readonly versions: Readonly<Record<string, string>>;
  readonly migrations: readonly string[];
}

/** A store to read from. One use: open, read (perhaps more than once), close. */
export interface Source {
  /** For messages, e.g. `sqlite:/data/llmspell.db`; never holds a password. */
  readonly name: string;
  /** How it reads, where there are several ways, e.g. "COPY"; known once it is open. */
  readonly method?: string | undefined;
  /** false: `read` may be called only once, so that nothing can be looked at ahead (cascades, limits). */
  readonly rereadable?: boolean;
  /**
   * Connects, begins the snapshot (or reads the document's head), and tells of which kinds the records are. E_CONNECT, E_STORE_NOT_FOUND, E_DOCUMENT_*, …
   * `selection`: what will be read, where it is known; the rest need not be looked at.
   */
  open(context: RunContext, selection?: Selection): Promise<StoreHeader>;
  /** Estimated records per path, for progress only; undefined where it would cost a scan. */
  estimate(selection: Selection): Promise<ReadonlyMap<string, number> | undefined>;
  /**
   * After open: the paths of the kinds in the order in which their records come, where that may not be the catalog's. `catalog`:
   * whose kinds are meant. A document is gone through for it.
   */
  sectionOrder?(catalog: Catalog, signal: AbortSignal): Promise<readonly string[] | undefined>;
  /** Ids that are no UUIDs, by path, where the store can hold such and count them before it is read. E_INTERRUPTED. */
  countInvalidUuids?(selection: Selection): Promise<ReadonlyMap<string, number>>;
  /**
   * All records of the selection, each kind's in the order of its key where the source is a database. Kinds come in the
   * catalog's order from a database and in any order (also interleaved) from a document. Bad records go to
   * `context.reject`. A batch is never empty. May be called again when all has been read: the same records come again,
   * also with another selection (Selection.peek tells that this will happen).
   */
  read(selection: Selection, context: RunContext): AsyncIterable<RecordBatch>;
  /**
   * Why records may be missing that the store was made from (a document of one tenant), as a clause; undefined: nothing says
   * so. Told as soon as it is known, for sure when all has been read. Without it nothing is known, and nothing is pruned.
   */
  partial?(): string | undefined;
  /** Releases everything; idempotent; never throws. */
  close(): Promise<void>;
}
