/** What one run of a pipeline shares with its source, transforms and sink. */
import type { RecordKind } from "../catalog/index.js";
import type { StorageError } from "../errors.js";
import type { Part, PartTally } from "./parts.js";
import type { RecordBatch } from "./record-batch.js";

/** A record that cannot go on. */
export interface Rejection {
  readonly kind: RecordKind;
  /** With section, key and field in its context. */
  readonly error: StorageError;
  /** The record as JSON text in the document's form, as far as it could be read; chunks, once. */
  readonly record?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** The sink keeps the rows of the target that have one of the record's keys from being pruned. */
  readonly spares?: true;
}

/** Rows of a target: those that a run's records may meet. */
export interface TargetScope {
  /** Of these kinds. */
  readonly paths: ReadonlySet<string>;
  /** Only of these tenants, as the target names them; undefined = all. */
  readonly tenants?: readonly string[] | undefined;
}

/** Rows of a target that go because the source does not have them any more. */
export interface PruneScope extends TargetScope {
  /** Also of kinds that come without records. Default: these stay as they are. */
  readonly allowEmpty: boolean;
}

/** What a run that prunes knows of records that the source has and the target did not get. */
export interface Spared {
  /** Rejected records of the kind that the sink does not spare itself. */
  hasAny(path: string): boolean;
  /** Whose keys the kind's rows cannot be held against: none may be pruned. */
  isUnclear(path: string): boolean;
  /** Whether a row with the key, as `describeKey` gives it, may be one of them. */
  has(path: string, key: string): boolean;
}

/** What a run is at; the last two are a comparison's, when both stores are read. */
export type Phase =
  | "connecting"
  | "planning"
  | "rows"
  | "paused"
  | "checking"
  | "indexes"
  | "committing"
  | "comparing"
  | "searching";

/** What a run is doing beside moving batches. */
export interface Activity {
  readonly phase: Phase;
  /** phase "indexes": the one that is built, which of those known so far it is (from 1), and how many these are. */
  readonly index?: { readonly name: string; readonly number: number; readonly of: number };
  /** How much of that index is done, from 0 to 1, where the server tells. */
  readonly fraction?: number;
  /** phase "indexes": seconds until all those known so far are built, at least and at most, never 0. */
  readonly left?: { readonly least: number; readonly most: number };
  /** phase "rows": indexes that will be built from all of them. */
  readonly indexesToBuild?: number;
  /** What it waits for, e.g. "a lock held by process 4711 (UPDATE)". */
  readonly waiting?: string;
}

export interface RunContext {
  readonly signal: AbortSignal;
  /**
   * Called for each record that cannot go on. Throws (rejects with) the rejection's error when the run is to stop at the
   * first one (`--on-error stop`, the default); otherwise counts it, writes it to the rejects file, and the caller goes on
   * with the next record.
   */
  reject(rejection: Rejection): Promise<void>;
  /** Whether a record of the kind was rejected in this run, by its key as `describeKey` gives it (kept for parent kinds). */
  isRejected(path: string, key: string): boolean;
  /** There in a run that prunes its target. */
  readonly spared?: Spared;
  /**
   * A transform calls it for each record that it drops on purpose, as the record came in, before it asks for the next
   * batch. Not for rejected records.
   */
  dropped?(batch: RecordBatch, row: number): void;
  /** A source or sink says what it is at; what it does not say again is over. */
  activity?(activity: Activity): void;
  /** One line for the user, on stderr; the same line is shown once. */
  warn(message: string): void;
  /** One line for the user among those that end the run. */
  note?(message: string): void;
  /** A pass that only looks ahead: the records will come again, and what is to be said of them is said then. */
  readonly ahead?: true;
  /** A source that reads a part says what came of it. */
  cameOfPart?(tally: PartTally): void;
  /** In a run of several threads: where a step's counts are kept, so that they can be summed (transforms/effect.ts). */
  effect?(): StepEffect;
  /**
   * A source tells of what the store holds and the run does not take though nobody asked to leave it out: tables, columns,
   * rows that the catalog does not know. One line that names and counts them, before the first batch where it can. It is a
   * warning, or, under `strict`, the run ends with E_LEFT_OUT at the next batch.
   */
  leftOut(message: string): void;
}

/** What a pass of a step met: the records that it looked at, and those in which it found what it names. */
export interface StepEffect {
  records: number;
  hits: number;
  /** All records that came, of whatever section. */
  passed: number;
}

/** How a database's records come in the order of their keys: along an index, by a sort, or as the backend finds better. */
export type OrderBy = "auto" | "index" | "sort";

/** Which records a source gives. */
export interface Selection {
  /** Paths of record kinds. */
  readonly paths: ReadonlySet<string>;
  /** Only these tenants' records; undefined = all. */
  readonly tenants?: readonly string[];
  /**
   * How many records of each kind are needed: its first ones, and those that `wanted` names. A source may give more; one
   * that can read less reads less.
   */
  readonly limit?: number;
  /** With `limit`, by path. */
  readonly wanted?: ReadonlyMap<string, WantedRecords>;
  /** A look ahead: the same source will be read again. What follows the selected kinds need not be read, nor a manifest checked. */
  readonly peek?: true;
  /** Only these of them: a part that the source, or another one of the same snapshot, has planned (Source.inParts). What the store holds besides is not told then. */
  readonly part?: Part;
  /** The same source will be read again, though everything is read and checked this time. */
  readonly again?: true;
  /** Kinds that are to come first, in this order, by a source that has a choice: a document is read as it is. */
  readonly first?: readonly string[] | undefined;
  /** With no `paths`: nothing comes, and what of these is kept in documents is held against their manifests and digests. */
  readonly checked?: ReadonlySet<string> | undefined;
}

/** Records by the values of some of their fields. */
export interface WantedRecords {
  readonly fields: readonly string[];
  /** A value per field, a uuid in its usual form; undefined where they are too many to name, or no plain text. */
  readonly keys: readonly (readonly string[])[] | undefined;
}
