import type { Catalog } from "../catalog/index.js";
import type { Part, PartTally } from "../records/parts.js";
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
  /** "table": records come as their tables have them. Default: those of each kind by its key, where the source is a database. */
  readonly order?: "table";
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

/** What a source says when it has read a part: its `partial` and `order`. */
export interface PartFacts {
  readonly partial: string | undefined;
  readonly order: "table" | undefined;
}

/** A source whose records can be read by several sources at once, each in a thread (or process) of its own. */
export interface PartedSource {
  /**
   * Lets other sources read this one's snapshot. `open` opens them, with what their backend is to get (SourceOptions.snapshot);
   * it may be called again, after the first ones were closed, where the store changed meanwhile. E_LOCKED where it does not come to rest.
   */
  share(open: (snapshot: object) => Promise<void>, context: RunContext): Promise<void>;
  /** E_CONNECTION_LOST where the session that holds the snapshot has ended. */
  check?(): Promise<void>;
  /**
   * The parts of all that is selected, planned as they are asked for, without reading values. Tells of what the store holds besides.
   * `readers`: how many read at once, where that is known.
   */
  plan(selection: Selection, context: RunContext, readers?: number): AsyncIterable<Part>;
  /**
   * The same with bounds that hold in any snapshot, and take in what comes later, whatever its keys: in no order. `planned`: the
   * rows of the last part of each kind that has some already, in whatever snapshot; what lies behind them is planned.
   */
  planKeys?(
    selection: Selection,
    context: RunContext,
    partBytes: number,
    planned?: ReadonlyMap<string, object | undefined>,
  ): AsyncIterable<Part>;
  /** The kinds of the selection were planned by `planKeys` of an earlier snapshot's source: `requireAll` counts them. */
  adopt?(selection: Selection, context: RunContext): Promise<void>;
  /** Kinds that cannot be shared out, and why, of those planned so far: a line each. */
  readonly whole: readonly string[];
  /** Why there is only one part, of all kinds; known before `plan`. */
  readonly single?: string | undefined;
  /** When a part was read: what the source that read it says of itself. */
  came?(facts: PartFacts): void;
  /** When all parts of a kind were read: whether what came of them is what the table has. E_SOURCE_DAMAGED. */
  requireAll?(path: string, came: PartTally, selection: Selection): Promise<void>;
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
  /** Of a document that says so in its manifest: its records are not in the order of their keys. Told when all has been read, at the latest. */
  order?(): "table" | undefined;
  /** There where several sources can read parts of the same snapshot. */
  readonly inParts?: PartedSource | undefined;
  /** After open, where there are no parts: why. */
  readonly wholeBecause?: string | undefined;
  /** Releases everything; idempotent; never throws. */
  close(): Promise<void>;
}
