/** What exports and imports take. */
import type { Readable, Writable } from "node:stream";
import type { Catalog } from "../catalog/index.js";
import type { Config } from "../config/index.js";
import type { Progress } from "../pipeline.js";
import type { LagBound } from "../records/loads/lag-bound.js";
import type { Rejection } from "../records/run-context.js";
import type { InvalidUuidPolicy } from "../sinks/ids.js";
import type { Sink } from "../sinks/sink.js";
import type { Source, StoreHeader } from "../sources/source.js";
import type { Backend, StoreLocation } from "../stores/index.js";
import type { TransformSpec } from "../transforms/spec.js";
import type { Transform } from "../transforms/transform.js";
import type { QueueChoice } from "./queue/open-queue.js";

/** What both directions take. */
export interface TransferOptions {
  /** Sections to take: paths of record kinds or what they begin with (`artifacts`, `vector_embeddings.768`). Default: all. */
  readonly include?: readonly string[];
  /** Sections to leave out; stronger than `include`. */
  readonly exclude?: readonly string[];
  /** Only these tenants' records. Where row-level security binds the role they are read one after the other. */
  readonly tenants?: readonly string[];
  /** Applied in this order (docs/transforms.md). What is wrong with one is found before any store is opened. */
  readonly transforms?: readonly (Transform | TransformSpec)[];
  /** How long a plugin may take for one record or batch. Seconds; default 30. */
  readonly pluginTimeoutSeconds?: number;
  /** How long a jq expression may take for one record. Seconds; default 30. */
  readonly jqTimeoutSeconds?: number;
  /**
   * Default true: artifacts go with a session that a transform drops, and content that nothing refers to any more with its
   * artifacts; they are counted. false leaves them, and orphans are E_ORPHAN at an import.
   */
  readonly cascade?: boolean;
  /** At most so many records of each section, before the transforms; artifacts keep their session and content. From 1 on. */
  readonly limit?: number;
  /** Aborting undoes everything: E_INTERRUPTED, or `signal.reason` where that is a StorageError. */
  readonly signal?: AbortSignal;
  /** Called once, when the source is open. `estimate`: records per path, where the source can tell cheaply. */
  readonly onStart?: (header: StoreHeader, estimate: ReadonlyMap<string, number> | undefined) => void;
  /** Called after each batch. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called for each record that cannot go on, and the run goes on without it. Without it the first one ends the run. */
  readonly onReject?: (rejection: Rejection) => void | Promise<void>;
  readonly onWarning?: (message: string) => void;
  /**
   * What the source holds and the run leaves out without being asked to (tables, columns and rows that llmspell does not
   * have) is E_LEFT_OUT, and nothing is written. Default false: each is a warning, and in the result's `leftOut`.
   */
  readonly strict?: boolean;
  /**
   * What becomes of ids that are no UUIDs: they stay (default, not for a PostgreSQL target), an error (its default), or a
   * UUIDv5 of the text, the same everywhere.
   */
  readonly invalidUuid?: InvalidUuidPolicy;
  /** A file's name. Where ids become UUIDs they are added to it; elsewhere it brings back the ids that UUIDs stand for. */
  readonly idMap?: string;
  /** PostgreSQL: how long to wait for the server. Seconds; default 30, or as configured. */
  readonly connectionTimeoutSeconds?: number;
  /** How long a lock that another session or process holds is waited for: E_LOCKED. Seconds; default: PostgreSQL's own setting, SQLite 5. */
  readonly lockTimeoutSeconds?: number;
  /**
   * No more bytes of records in a second than that, from 1 on, as they are read; with threads (`jobs` of an export), as they
   * come from them. Default: as fast as it goes.
   */
  readonly bytesPerSecond?: number;
  /** Digests of what the records mean, as they come to the target (docs/verification.md): the result's `digests`. Default false. */
  readonly digests?: boolean;
  /** The record kinds. Default: llmspell's. */
  readonly catalog?: Catalog;
  /** What the stores `sqlite` and `postgres` mean. Default: the environment and config.toml. */
  readonly config?: Config;
  /** The backends that STOREs are looked for among. Default: the package's own (`backends`). */
  readonly backends?: readonly Backend[];
}

export interface ExportOptions extends TransferOptions {
  /** A STORE (docs/command-line.md), its location, or a source of your own. */
  readonly from: string | StoreLocation | Source;
  /** The document: a file's name (any, if given as a location), a stream, or a sink of your own. */
  readonly to: string | StoreLocation | Writable | Sink;
  /** Default "auto": by the file's name. */
  readonly compress?: "auto" | "gzip" | "zstd" | "none";
  /** Replace an existing file that is no export document. */
  readonly force?: boolean;
  /** Of a directory (`to` ends with a slash): a file is complete with so many bytes of values. Default 64,000,000. */
  readonly partBytes?: number;
  /** Let a document without records replace one that has some. Default false: E_NO_RECORDS. */
  readonly allowEmpty?: boolean;
  /**
   * The file's name tells the time (`backup-%Y-%m-%dT%H%M%SZ.json.gz`, UTC), and of documents of that form the newest `keep`
   * stay; the others are removed when the new one was read back, has records, and none was rejected. From 1 on.
   */
  readonly keep?: number;
  /** Embeddings in the document: base64 (default), or arrays of numbers, which give the same float32 back. */
  readonly vectors?: "base64" | "json";
  /**
   * How many threads read, change and print the records; "auto": as many as there are cores. Default 1. The document is the same with
   * any number; what needs all records in order goes through one (docs/scale.md), which `onInfo` is told.
   */
  readonly jobs?: number | "auto";
  /** Called with what `--verbose` shows: one line. */
  readonly onInfo?: (message: string) => void;
  /** How PostgreSQL is read; default "auto": COPY where it can be had. */
  readonly sourceMode?: "auto" | "copy" | "cursor";
  /** PostgreSQL: each table is counted by itself, to find what an index lacks ("count", default), or indexes are trusted. */
  readonly sourceCheck?: "count" | "none";
  /**
   * PostgreSQL: the role owns the tables, whose row-level security is forced on it: all tenants are read, one after the other.
   * E_ROW_SECURITY where it owns one of them not, E_LOCKED where others use one, E_READ_ONLY on a standby.
   */
  readonly asOwner?: boolean;
  /**
   * The order in which a database's records come. "table": as each table has them, which needs no page of it twice; a document
   * says so in its manifest. Default "key": by the fields of the key, so that exports of the same data are equal.
   */
  readonly order?: "key" | "table";
  /**
   * How the order of keys is had: along an index ("index"), by reading each table as it lies and sorting ("sort"), which tables
   * larger than memory are faster by, or what their size suggests ("auto", default). The records are the same.
   */
  readonly orderBy?: "auto" | "index" | "sort";
}

export interface ImportOptions extends TransferOptions {
  /** A document: a STORE, its location, or a stream; or another database, which is then copied directly; or a source. */
  readonly from: string | StoreLocation | Readable | Source;
  /** A STORE, its location, or a sink of your own. An SQLite file is created and migrated first when need be. */
  readonly to: string | StoreLocation | Sink;
  /** A record that is in the target already: replaced in place (default), left as it is, or E_CONFLICT. */
  readonly onConflict?: "update" | "skip" | "error";
  /** An artifact without its session or content: E_ORPHAN (default), or left out and counted. */
  readonly onOrphan?: "error" | "drop";
  /** The shape of new SQLite embedding tables. Default "blob", or as configured. */
  readonly vectorsAs?: "blob" | "vec0";
  /** PostgreSQL: drop secondary indexes and build them from all rows: by the number of rows (default), whenever possible, or not. */
  readonly deferIndexes?: "auto" | "always" | "never";
  /** `llmspell` or `llmspell:TENANT`: what llmspell spells otherwise in the target's backend (docs/llmspell.md). Default: nothing. */
  readonly translate?: string;
  /**
   * Default 1; "auto": as many as there are cores. PostgreSQL: so many connections load. More than one is a run: no single transaction,
   * but parts that stay as they come, which is resumed (`resume`) or undone (`undoRun`) where it does not come to its end (docs/runs.md).
   * Another target: one transaction, which one thread writes; the others read and change the records (docs/scale.md).
   */
  readonly jobs?: number | "auto";
  /** Called with what `--verbose` shows: one line. */
  readonly onInfo?: (message: string) => void;
  /** With `jobs`: each part is read back before it is committed; what is not as it was sent is E_READ_BACK. Default false. */
  readonly verifyParts?: boolean;
  /** With `jobs`: so many indexes are built at a time, and share the memory. Default: as `jobs`. */
  readonly indexJobs?: number;
  /** Goes on with the target's unfinished run, with `jobs` or as many connections as it had. Default false. */
  readonly resume?: boolean;
  /**
   * PostgreSQL: the load pauses while a standby of the target is further behind than that, or, with `jobs`, while others wait for
   * locks of the run. E_PERMISSION where the role may not see the standbys (pg_monitor). Default: it never pauses.
   */
  readonly maxLag?: LagBound;
  /**
   * PostgreSQL to PostgreSQL: a run whose parts workers load (`llmspell storage worker`), which know both stores by names of their
   * configuration (docs/scale.md).
   */
  readonly queue?: QueueChoice | undefined;
  /** Do everything but the commit. */
  readonly dryRun?: boolean;
  /**
   * Records of the target that the source does not have any more are removed, in the same transaction: of the selected
   * sections and tenants. Only from a database, or from a document that is whole; E_USAGE otherwise, and with `limit`, steps
   * that drop records, or unchecked sources. Default false.
   */
  readonly prune?: boolean;
  /** With `prune`: also of sections that come without any record. Default false: these stay as they are. */
  readonly allowEmpty?: boolean;
  /** E_NOT_EMPTY where the target has records of the selected sections (and tenants). Default false. */
  readonly requireEmpty?: boolean;
  /** Default true: a document whose bytes do not agree with its manifest is E_DOCUMENT_MANIFEST. */
  readonly verifyManifest?: boolean;
  /** The unit of a document's times where it does not say: microseconds or seconds (docs/document-format.md). */
  readonly times?: "us" | "s";
  /** How PostgreSQL is read; default "auto": COPY where it can be had. */
  readonly sourceMode?: "auto" | "copy" | "cursor";
  /** PostgreSQL: each table is counted by itself, to find what an index lacks ("count", default), or indexes are trusted. */
  readonly sourceCheck?: "count" | "none";
  /**
   * PostgreSQL: the role owns the tables, whose row-level security is forced on it: all tenants are read, one after the other.
   * E_ROW_SECURITY where it owns one of them not, E_LOCKED where others use one, E_READ_ONLY on a standby.
   */
  readonly asOwner?: boolean;
  /**
   * The order in which a database's records come. "table": as each table has them, which needs no page of it twice; a document
   * says so in its manifest. Default "key": by the fields of the key, so that exports of the same data are equal.
   */
  readonly order?: "key" | "table";
  /**
   * How the order of keys is had: along an index ("index"), by reading each table as it lies and sorting ("sort"), which tables
   * larger than memory are faster by, or what their size suggests ("auto", default). The records are the same.
   */
  readonly orderBy?: "auto" | "index" | "sort";
}
