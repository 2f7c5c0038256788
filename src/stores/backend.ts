/**
 * What a backend is: one object that names its parts. All backends stand in one list (backend-registry.ts); whoever needs a part
 * asks there, and nothing else looks at a backend's name. docs/adding-a-backend.md adds one.
 *
 * Objects are light: drivers, sources and sinks are loaded by the function that needs them, so that a document is read
 * without any driver. What a driver throws is a StorageError when it leaves the backend's own folder.
 * Over 300 lines: what a backend may say of itself stands in one place.
 */
import type { Catalog, RecordKind } from "../catalog/index.js";
import type { Config } from "../config/index.js";
import type { StorageError } from "../errors.js";
import type { SchemaComparison } from "../llmspell/schema/comparison.js";
import type { MigrationReport, MigrationState } from "../llmspell/schema/migration.js";
import type { LagBound } from "../records/loads/lag-bound.js";
import type { LoadPlanner, LoadPlanOptions } from "../records/loads/load-plan.js";
import type { PruneScope, TargetScope } from "../records/run-context.js";
import type { InvalidUuidPolicy } from "../sinks/ids.js";
import type { PartTarget } from "../sinks/postgres-part-target.js";
import type { QueueRun, QueueRunOptions } from "../sinks/postgres-queue-run.js";
import type { Sink } from "../sinks/sink.js";
import type { BackendName, Source } from "../sources/source.js";
import type { Metric } from "../verify/comparison/nearest.js";
import type { Finding } from "../verify/comparison/references.js";

/** Where a store is: plain data. A backend says what else there is in it. */
export interface AnyLocation {
  /** Names the backend. */
  readonly type: string;
}

export interface Backend<Location extends AnyLocation = AnyLocation> {
  /** The `type` of its stores' locations. */
  readonly type: Location["type"];
  /** What people call it, e.g. "postgres". Two backends that are one to people (a server, an embedded one) share it. */
  readonly word: string;
  /** How its stores are named. */
  readonly locations: Locations<Location>;
  /** What the configuration says of its stores; undefined: nothing. */
  readonly configured?: Configured<Location>;
  /**
   * The order in which its source gives the records of one kind. "key": ascending by the key's fields, text by its UTF-8 bytes,
   * an id by its text (or what `invalidUuid` makes of it), numbers and times by value; a comparison can walk two such stores
   * side by side. "none": as they come.
   */
  readonly order: "key" | "none";
  /** Its source may be opened and read in another thread: its stores are files, or servers, and nothing of this process. */
  readonly readsInThread?: true;
  /** Options of `createSource` that are for this backend alone; with any other they are E_USAGE. */
  readonly sourceOptions?: readonly OwnSourceOption[];
  /** What is a database's: a schema, a key for each record, rows that outlast a run. Undefined: a document, which is written whole. */
  readonly database?: DatabaseParts<Location>;
  /** One source for one run. Throws nothing of the store itself: that is for `open`. */
  createSource(location: Location, options: SourceOptions): Promise<Source>;
  /** One sink for one run. */
  createSink(location: Location, options: SinkOptions): Promise<Sink>;
  /** A document's: what would come of writing it, with a sink that only measures. Writes nothing. */
  planDocument?(location: Location, options: SinkOptions): Promise<DocumentPlanner>;
  /** What a store is beside its records, found without reading them. */
  readFacts(location: Location, options: InspectionOptions): Promise<StoreFacts>;
}

/** What would come of writing a document. */
export interface DocumentPlanner {
  /** Why the run would not begin. */
  readonly refusals: readonly StorageError[];
  /** Takes the records, and keeps nothing. */
  readonly sink: Sink;
  /** Bytes that the file would have, of the records so far. */
  readonly bytes: () => number;
  /** Bytes that are free where the document goes; undefined: unknown, as of a stream. */
  readonly freeBytes: number | undefined;
  /** E_NO_RECORDS where the run has none, and the document that it would replace has some. */
  requireRecords(signal: AbortSignal): Promise<void>;
}

/** How stores are named, on the command line and in messages. */
export interface Locations<Location extends AnyLocation> {
  /** The forms of STORE texts, as a message lists them, e.g. `pglite:DIR`; none where no text means such a store. */
  readonly forms: readonly string[];
  /** The same, shorter, for --help. Default: `forms`. */
  readonly shortForms?: readonly string[];
  /**
   * The store that a STORE text means; undefined for a text of another backend. E_USAGE for one that is meant for this
   * backend and not valid: its message shows nothing that may be a password.
   */
  parse(text: string): Location | undefined;
  /** For messages; never holds a password. */
  nameOf(location: Location): string;
  /** The store's file or folder on this machine; undefined where there is none (a server, standard input). */
  fileOf?(location: Location): string | undefined;
  /** Whether two stores without a file are the same one. Default: never. */
  isSame?(one: Location, other: Location): boolean;
}

/** Options that the configuration gives where the caller does not, by their names. */
export type FromConfig<Options> = { readonly [Name in keyof Options]?: (config: Config) => Options[Name] };

/** What the configuration (src/config) says of a backend's stores. It is read only where a run depends on it. */
export interface Configured<Location extends AnyLocation> {
  /** The backend that `--backend`, `[storage] backend` and the bare words mean, for which `locate` finds the store. Undefined: none does. */
  readonly name?: BackendName;
  /** The configured store, and what says where it is. E_CONFIG where there is none. */
  locate?(config: Config): { readonly location: Location; readonly because: string | undefined };
  readonly source?: FromConfig<SourceOptions>;
  readonly sink?: FromConfig<SinkOptions>;
}

/** What commands that act on a database as a whole ask of it. */
export interface DatabaseParts<Location extends AnyLocation> {
  /** For messages, e.g. "PostgreSQL". */
  readonly title: string;
  /** As which of llmspell's two backends it spells llmspell's values: what `--translate` goes by. */
  readonly spelling: BackendName;
  /** What ids it keeps: any text, or UUIDs only (E_USAGE for `invalidUuid: "keep"`). */
  readonly ids: "any" | "uuid";
  /** Its sink heeds `prune` and `requireEmpty`; with any other they are E_USAGE. */
  readonly prunes?: true;
  /** Options of `migrate` that are for this backend alone; with any other they are E_USAGE. */
  readonly migrateOptions?: readonly OwnMigrateOption[];
  /** Makes or completes the schema, and the database itself where that is a file or a folder. All or nothing. */
  migrate(location: Location, options: MigrateOptions): Promise<MigrationReport>;
  /**
   * Looks at the database as a load of records would, in one snapshot, with a reader's locks, and writes nothing: what
   * `storage plan` asks. Decisions are those of the sink, by the same functions. E_CONNECT, …; what the load would be
   * refused for once it is connected is among the planner's `refusals`. Undefined: a plan counts records only.
   */
  planLoad?(location: Location, options: SessionOptions & LoadPlanOptions): Promise<LoadPlanner>;
  /** Loads over several connections, that can be resumed and undone. Undefined: `jobs` is E_USAGE. */
  readonly runs?: RunParts<Location>;
  /** What pauses a load of it between its batches. Undefined: `maxLag` is E_USAGE. */
  pausing?(location: Location, options: PausingOptions): Promise<(sink: Sink) => Sink>;
  /** What `database health` and `migrations list` say; changes nothing. E_STORE_NOT_FOUND, E_CONNECT, … */
  inspect(location: Location, options: InspectionOptions): Promise<Inspection>;
  /** What is wrong in it besides its records: schema, partitions, large objects. Only reads. Undefined: nothing can be told. */
  findings?(location: Location, options: InspectionOptions): Promise<readonly Finding[]>;
  /** The same for every name of one database, and for no other; undefined where that cannot be told. Only reads. */
  identity?(location: Location, options: SessionOptions): Promise<string | undefined>;
  /** What an index of embeddings answers; undefined where the kind's have none. Only reads. */
  search?(location: Location, kind: RecordKind, wanted: SearchOptions): Promise<SearchAnswers | undefined>;
}

/** What can be done with the runs of a database. */
export interface RunParts<Location extends AnyLocation> {
  /** A run that is begun, or (`resume`) goes on. Throws nothing of the store itself: that is for the sinks' `open`. */
  load(location: Location, options: RunOptions): Promise<LoadRun>;
  /** Those that the database knows, the newest first. Only reads. E_PERMISSION, E_NOT_MIGRATED */
  list(location: Location, options: InspectionOptions): Promise<readonly KnownRun[]>;
  /** A run whose parts workers load, on its coordinator's side. */
  coordinate?(location: Location, options: QueueRunParts): Promise<QueueRun>;
  /** A worker's session with the target of a run. */
  work?(location: Location, options: InspectionOptions & { readonly worker: string }): Promise<PartTarget>;
  /** Undoes the one that is not finished. E_USAGE where there is none. */
  undo(
    location: Location,
    options: InspectionOptions & { readonly onStep?: (line: string) => void },
  ): Promise<UndoneRun>;
}

export interface RunOptions extends SessionOptions {
  readonly catalog?: Catalog | undefined;
  /** Connections that load. Undefined: as many as the run has that is resumed. */
  readonly jobs: number | undefined;
  readonly resume: boolean;
  /** The sections that may come. */
  readonly paths: ReadonlySet<string>;
  /** The source's name, without a password. */
  readonly source: string;
  /** By option: a digest of what it says of the records that are loaded. They must be the same when it is resumed. */
  readonly settings: Readonly<Record<string, string>>;
  readonly onConflict?: "update" | "skip" | "error" | undefined;
  readonly verifyParts?: boolean | undefined;
  readonly indexJobs?: number | undefined;
  readonly onOrphan?: "error" | "drop" | undefined;
  readonly deferIndexes?: "auto" | "always" | "never" | undefined;
}

/** What a coordinator's side of a run is made with. */
export type QueueRunParts = Omit<QueueRunOptions, "connect" | "name" | "application" | "partBytes"> & SessionOptions;

/** A run of this process. */
export interface LoadRun {
  /** Takes all records once before they come to `loading`: where a run is resumed. */
  planning(): Sink;
  loading(): Sink;
  /** Its number, where it has come to no end and has written something. */
  readonly unfinished: number | undefined;
  /** Repeatable. */
  close(): Promise<void>;
}

/** A run as `storage runs` shows it. */
export interface KnownRun {
  readonly run: number;
  readonly state: "loading" | "undoing" | "done" | "undone";
  readonly source: string;
  readonly jobs: number;
  /** UTC, ISO 8601. */
  readonly started: string;
  /** When the last part came, or the state changed. */
  readonly changed: string;
  /** What it has loaded, by section; of the newest run only. */
  readonly sections: Readonly<
    Record<string, { readonly parts: number; readonly records: number; readonly bytes: number }>
  >;
  /** Indexes that were dropped and are not built yet. */
  readonly indexesToBuild: readonly string[];
  /** Sections whose records wait to be merged with those that the target had. */
  readonly sectionsToMerge: readonly string[];
  /** Sessions of the server that load parts of it now. */
  readonly sessions: number;
  /** Of one whose parts workers load. */
  readonly plan?: RunPlan;
}

/** How far workers are with a run. */
export interface RunPlan {
  /** planning, comparing (what was loaded with the source as it is), loading, ending. */
  readonly stage: string;
  readonly parts: number;
  readonly done: number;
  readonly left: number;
  /** Who has parts at hand; `gone`: its session with the server has ended. */
  readonly workers: readonly { readonly worker: string; readonly parts: readonly number[]; readonly gone: boolean }[];
  /** Parts that failed and are not there yet. */
  readonly failing: readonly {
    readonly part: number;
    readonly section: string;
    readonly attempts: number;
    readonly error: string;
  }[];
}

export interface UndoneRun {
  readonly run: number;
  /** Records that were removed, by section. */
  readonly removed: Readonly<Record<string, number>>;
  /** A line for each section that has records of others, and each partition that stays. */
  readonly kept: readonly string[];
}

export interface SearchOptions extends SessionOptions {
  readonly vectors: readonly Float32Array[];
  /** How many nearest neighbours of each. */
  readonly count: number;
}

export interface SearchAnswers {
  /** The distance that the index goes by. */
  readonly metric: Metric;
  /** Ids as the store has them, per vector. */
  readonly ids: readonly (readonly string[])[];
}

/** What a session with a store takes. */
export interface SessionOptions {
  /** Aborting it undoes what is under way. */
  readonly signal?: AbortSignal | undefined;
  /** How long to wait for a server. Seconds; default 30. */
  readonly connectionTimeoutSeconds?: number | undefined;
  /** How long a lock of others is waited for. Seconds; default: as the backend does. */
  readonly lockTimeoutSeconds?: number | undefined;
  /** Told of the server's process id of each session that is opened. */
  readonly onSession?: ((pid: number) => void) | undefined;
}

export interface PausingOptions extends SessionOptions {
  readonly bound: LagBound;
  /** Process ids of the load's sessions, as they are told (`onSession`). */
  readonly sessions: ReadonlySet<number>;
  /** The load commits part by part. */
  readonly releasesLocks: boolean;
}

export interface InspectionOptions extends SessionOptions {
  /** Whose tables to look for. */
  readonly catalog: Catalog;
}

export interface MigrateOptions extends SessionOptions {
  /** Gives vectors rowids that leave llmspell's next ones room. */
  readonly repairRowids?: boolean | undefined;
}

export type OwnMigrateOption = Exclude<keyof MigrateOptions, keyof SessionOptions>;

export type OwnSourceOption = "asOwner";

/** What sources take; each backend looks at what concerns it. */
export interface SourceOptions extends SessionOptions {
  readonly catalog: Catalog;
  readonly sourceMode?: "auto" | "copy" | "cursor" | undefined;
  readonly sourceCheck?: "count" | "none" | undefined;
  /** The role owns the tables: it reads past row-level security that is forced on it. */
  readonly asOwner?: boolean | undefined;
  /** In which order a database's records come, and how that of their keys is had. Default "key", "auto". */
  readonly order?: "key" | "table" | undefined;
  readonly orderBy?: "auto" | "index" | "sort" | undefined;
  /** What ids become behind the source: they sort as that. */
  readonly invalidUuid?: InvalidUuidPolicy | undefined;
  readonly verifyManifest?: boolean | undefined;
  readonly times?: "us" | "s" | undefined;
  /** Another source of the same store gave it: its snapshot is read (PartedSource.share). */
  readonly snapshot?: object | undefined;
  /** A document's header tells the order of its records, though it may have to be gone through for it. */
  readonly tellsOrder?: boolean | undefined;
  /** A document's batches tell the lines of their records. */
  readonly lines?: boolean | undefined;
  /** Told of all that a document's manifest says otherwise. Default: the first is thrown. */
  readonly onManifestError?: ((error: StorageError) => Promise<void>) | undefined;
  /** A document's records are held against the digests of their meaning that its manifest has, whether or not its bytes are as they were written. */
  readonly checkDigests?: boolean | undefined;
}

/** What sinks take; each backend looks at what concerns it. */
export interface SinkOptions extends SessionOptions {
  readonly catalog?: Catalog | undefined;
  readonly onConflict?: "update" | "skip" | "error" | undefined;
  readonly onOrphan?: "error" | "drop" | undefined;
  readonly prune?: PruneScope | undefined;
  readonly requireEmpty?: TargetScope | undefined;
  readonly vectorsAs?: "blob" | "vec0" | undefined;
  readonly deferIndexes?: "auto" | "always" | "never" | undefined;
  readonly dryRun?: boolean | undefined;
  /** Row-level security lets a role without BYPASSRLS write one tenant's records, when it says which. */
  readonly tenant?: string | undefined;
  readonly compress?: "auto" | "gzip" | "zstd" | "none" | undefined;
  readonly force?: boolean | undefined;
  readonly allowEmpty?: boolean | undefined;
  /** Of each file of a directory: bytes of values. */
  readonly partBytes?: number | undefined;
  readonly vectors?: "base64" | "json" | undefined;
  /** What a document's manifest says of the meaning of a section's records, when all of them were written. */
  readonly digestOf?: ((path: string) => string | undefined) | undefined;
  /** What a document names as its producer. */
  readonly producer: string;
}

/** What a store is outside of its records; what the kind of store does not have is left out. */
export interface StoreFacts {
  readonly sqliteVersion?: string;
  readonly serverVersion?: string;
  readonly pgvectorVersion?: string;
  /** Of the file or the database. */
  readonly bytes?: number;
  /** Of a directory of documents: how many there are. */
  readonly files?: number;
  /** SQLite: the shape of each table of embeddings. */
  readonly embeddings?: Readonly<Record<string, string>>;
}

/** A database, looked at without changing it. */
export interface Inspection {
  /** Lines for people. */
  readonly facts: readonly string[];
  /** The same for `--json`. */
  readonly json: object;
  readonly migrations: readonly MigrationState[];
  readonly comparison: SchemaComparison;
}
