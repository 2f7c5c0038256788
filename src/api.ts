/** The library's entry points: whole exports and imports, without console output. */
import type { Readable, Writable } from "node:stream";
import { type Catalog, catalog as standardCatalog } from "./catalog/index.js";
import { type Config, loadConfig } from "./config.js";
import { StorageError } from "./errors.js";
import { refuseUnknownOptions } from "./option-names.js";
import { type Progress, runPipeline } from "./pipeline.js";
import type { Rejection, Selection, TargetScope } from "./records/run-context.js";
import { planRetention, type Retention } from "./retention.js";
import { createIdSink, type InvalidUuidPolicy } from "./sinks/ids.js";
import type { Sink } from "./sinks/sink.js";
import { createTranslatingSink, parseTranslation } from "./sinks/translate.js";
import type { Source, StoreHeader } from "./sources/source.js";
import {
  accessWarnings,
  createSink,
  createSource,
  openIdMap,
  parseStore,
  type SourceOptions,
  type StoreLocation,
  sameStore,
} from "./stores.js";
import { createTransforms, type TransformSpec } from "./transforms/spec.js";
import type { Transform } from "./transforms/transform.js";
import { PRODUCER } from "./version.js";

/** What both directions take. */
export interface TransferOptions {
  /** Sections to take: paths of record kinds or what they begin with (`artifacts`, `vector_embeddings.768`). Default: all. */
  readonly include?: readonly string[];
  /** Sections to leave out; stronger than `include`. */
  readonly exclude?: readonly string[];
  /** Only these tenants' records. */
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
  /** The record kinds. Default: llmspell's. */
  readonly catalog?: Catalog;
  /** What the stores `sqlite` and `postgres` mean. Default: the environment and config.toml. */
  readonly config?: Config;
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
  /** Let a document without records replace one that has some. Default false: E_NO_RECORDS. */
  readonly allowEmpty?: boolean;
  /**
   * The file's name tells the time (`backup-%Y-%m-%dT%H%M%SZ.json.gz`, UTC), and of documents of that form the newest `keep`
   * stay; the others are removed when the new one was read back, has records, and none was rejected. From 1 on.
   */
  readonly keep?: number;
  /** Embeddings in the document: base64 (default), or arrays of numbers, which give the same float32 back. */
  readonly vectors?: "base64" | "json";
  /** How PostgreSQL is read; default "auto": COPY where it can be had. */
  readonly sourceMode?: "auto" | "copy" | "cursor";
  /** PostgreSQL: each table is counted by itself, to find what an index lacks ("count", default), or indexes are trusted. */
  readonly sourceCheck?: "count" | "none";
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
}

/** What became of one kind's records. */
export interface KindResult {
  readonly path: string;
  /** The statistics line that counts it, e.g. "Vectors". */
  readonly label: string;
  /** Records that reached the sink. */
  readonly read: number;
  readonly inserted: number;
  readonly updated: number;
  /** Left as they were in the target. */
  readonly skipped: number;
  /** Orphans left out. */
  readonly dropped: number;
  readonly rejected: number;
  /** Rows of the target that the source does not have, removed; with `prune` only. */
  readonly pruned?: number;
  /** Left out because what they belong to, or all that referred to them, was dropped by a transform. */
  readonly cascaded: number;
}

export type TransferTotals = Omit<KindResult, "path" | "label">;

export interface TransferResult {
  /** Names for messages; never with a password. */
  readonly source: string;
  readonly target: string;
  readonly header: StoreHeader;
  /** In the catalog's order; kinds of which no record came are left out. */
  readonly kinds: readonly KindResult[];
  readonly totals: TransferTotals;
  /** Bytes of the document written, before compression. */
  readonly bytes?: number;
  /** Older documents that were removed (`keep`). */
  readonly removed?: readonly string[];
  /** Lines for the user, e.g. how many reference counts were raised. */
  readonly notes: readonly string[];
  /** What the source holds and the run left out without being asked to, a line each. */
  readonly leftOut: readonly string[];
  readonly dryRun: boolean;
  readonly seconds: number;
}

/**
 * Writes a store's records as an export document. Nothing is left under the document's name unless the whole run succeeded.
 * Throws StorageError (docs/errors.md).
 */
export async function exportStore(options: ExportOptions): Promise<TransferResult> {
  refuseUnknownOptions("exportStore", options);
  const { from, to, compress, force, allowEmpty, vectors } = options;
  const config = lazyConfig(options.config);
  const transforms = await createTransforms(options.transforms ?? [], options);
  const source = await sourceFor(from, isSink(to) ? undefined : locate(to, config), options, config);
  if (isSink(to)) {
    if (options.keep !== undefined)
      throw new StorageError("E_USAGE", "keep is for files: the output is a sink of your own");
    return transfer(source, to, { ...options, transforms }, false);
  }
  const named = locate(to, config);
  const retention = options.keep === undefined ? undefined : planRetention(named, options.keep, new Date());
  const output: StoreLocation = retention === undefined ? named : { type: "document", path: retention.path };
  if (!isSource(from)) {
    refuseSameStore(locate(from, config), output);
    // A document that is there is replaced by one for its owner only.
    for (const warning of accessWarnings(locate(from, config))) options.onWarning?.(warning);
  }
  if (output.type !== "document" && output.type !== "stream") {
    throw new StorageError("E_USAGE", "an export writes a document", {
      hint: "`llmspell storage migrate` (importStore) copies from database to database.",
    });
  }
  const sink = await createSink(output, {
    ...common(options, output, config),
    compress,
    force,
    allowEmpty,
    vectors,
    producer: PRODUCER,
  });
  const invalidUuid = invalidUuidPolicy(options, output);
  const result = await transfer(source, sink, { ...options, invalidUuid, transforms }, false);
  return retention === undefined ? result : withoutOlder(retention, result, options);
}

/** The result, with what was removed. */
async function withoutOlder(
  retention: Retention,
  result: TransferResult,
  { signal, onWarning }: ExportOptions,
): Promise<TransferResult> {
  const { path } = retention;
  if (result.totals.rejected > 0) {
    onWarning?.("records were rejected: no older documents were removed");
    return { ...result, removed: [], notes: [...result.notes, `Document: ${path}`] };
  }
  const written = new Map(result.kinds.map((kind) => [kind.path, kind.inserted]));
  const { removed, warnings } = await retention.apply(written, signal ?? new AbortController().signal);
  for (const warning of warnings) onWarning?.(warning);
  const older = removed.map((name) => `Removed: ${name}`);
  return { ...result, removed, notes: [...result.notes, `Document: ${path}`, ...older] };
}

/**
 * Loads a document, or another store's records, into a store: one transaction, all or nothing.
 * Throws StorageError (docs/errors.md).
 */
export async function importStore(options: ImportOptions): Promise<TransferResult> {
  refuseUnknownOptions("importStore", options);
  const { from, to, dryRun = false, onConflict, onOrphan, deferIndexes } = options;
  const config = lazyConfig(options.config);
  const transforms = await createTransforms(options.transforms ?? [], options);
  const source = await sourceFor(from, isSink(to) ? undefined : locate(to, config), options, config);
  if (isSink(to)) {
    const { prune: _prune, allowEmpty: _allowEmpty, requireEmpty: _requireEmpty, ...rest } = options;
    if (options.prune || options.requireEmpty)
      throw new StorageError("E_USAGE", "prune and requireEmpty are options of your sink's own");
    return transfer(source, to, { ...rest, transforms }, dryRun);
  }
  const target = locate(to, config);
  if (target.type === "document" || target.type === "stream") {
    throw new StorageError("E_USAGE", "the target is no database", {
      hint: "`llmspell storage export` (exportStore) writes documents: --database names what it reads, --output the document.",
    });
  }
  if (!isSource(from)) refuseSameStore(locate(from, config), target);
  const stores = isSource(from) ? [target] : [locate(from, config), target];
  for (const warning of accessWarnings(...stores)) options.onWarning?.(warning);
  const vectorsAs = options.vectorsAs ?? (target.type === "sqlite" ? config().sqlite.vectors : undefined);
  const shared = common(options, target, config);
  const scope = targetScope(options, transforms);
  const tenant = options.tenants?.length === 1 ? tenantBehind(options.tenants[0] as string, transforms) : undefined;
  const sink = await createSink(target, {
    ...shared,
    onConflict,
    onOrphan,
    vectorsAs,
    deferIndexes,
    dryRun,
    tenant,
    prune: options.prune ? { ...scope, allowEmpty: options.allowEmpty ?? false } : undefined,
    requireEmpty: options.requireEmpty ? scope : undefined,
    producer: PRODUCER,
  });
  const translate = options.translate === undefined ? undefined : parseTranslation(options.translate);
  const translating = createTranslatingSink(sink, {
    target: target.type === "sqlite" ? "sqlite" : "postgresql",
    translate,
  });
  const invalidUuid = invalidUuidPolicy(options, target);
  const prune = options.prune ? { keysStay: keysStay(options, transforms, invalidUuid) } : undefined;
  return transfer(source, translating, { ...options, invalidUuid, transforms, prune }, dryRun);
}

/** What of the target the run's records may meet. E_USAGE where `prune` cannot tell it. */
function targetScope(options: ImportOptions, transforms: readonly Transform[]): TargetScope {
  const { prune, tenants, translate, limit, sourceCheck, verifyManifest, allowEmpty } = options;
  const paths = selectPaths(options.catalog ?? standardCatalog, options.include, options.exclude);
  const refuse = (what: string, hint: string): void => {
    if (prune) throw new StorageError("E_USAGE", `prune does not go with ${what}`, { hint });
  };
  if (allowEmpty && !prune)
    throw new StorageError("E_USAGE", "--allow-empty says something of a --prune only, and there is none");
  if (limit !== undefined) refuse("a limit", "What is beyond it would be removed from the target.");
  if (sourceCheck === "none") refuse("--source-check none", "Rows that a damaged index lacks would be removed.");
  if (verifyManifest === false) refuse("--no-verify-manifest", "What a damaged document lacks would be removed.");
  if (tenants === undefined) return { paths };
  const unknown = transforms.find(
    ({ tenantAfter, mayChange }) =>
      tenantAfter === undefined && [...paths].some((path) => mayChange?.(path, "tenant_id") ?? true),
  );
  if (unknown !== undefined)
    refuse(
      `a tenant and ${unknown.name}`,
      "The step may give records to other tenants: whose are to be removed cannot be told.",
    );
  if (translate?.includes(":"))
    refuse("a tenant and --translate llmspell:TENANT", "Whose records are to be removed cannot be told.");
  return { paths, tenants: tenants.map((tenant) => tenantBehind(tenant, transforms)) };
}

/** Whether a record's key in the target is the one that it has in the source, but for the spelling of UUIDs. */
function keysStay(options: ImportOptions, transforms: readonly Transform[], invalidUuid: InvalidUuidPolicy): boolean {
  return (
    transforms.length === 0 &&
    invalidUuid !== "derive" &&
    options.idMap === undefined &&
    options.translate === undefined
  );
}

/** The tenant that one tenant's records have when they come to the sink. */
function tenantBehind(tenant: string, transforms: readonly Transform[]): string {
  return transforms.reduce((name, { tenantAfter }) => tenantAfter?.(name) ?? name, tenant);
}

function refuseSameStore(from: StoreLocation, to: StoreLocation): void {
  if (sameStore(from, to))
    throw new StorageError("E_USAGE", "source and target are the same store", {
      hint: "A copy goes to another file, database or server.",
    });
}

/** E_USAGE where PostgreSQL is to keep ids that are no UUIDs. */
function invalidUuidPolicy({ invalidUuid }: TransferOptions, target: StoreLocation | undefined): InvalidUuidPolicy {
  if (target?.type !== "postgres" && target?.type !== "pglite") return invalidUuid ?? "keep";
  if (invalidUuid !== "keep") return invalidUuid ?? "error";
  throw new StorageError("E_USAGE", "PostgreSQL cannot keep ids that are no UUIDs", {
    hint: "--invalid-uuid derive makes UUIDs of them, and --id-map FILE keeps what brings them back.",
  });
}

async function sourceFor(
  from: ExportOptions["from"] | ImportOptions["from"],
  target: StoreLocation | undefined,
  options: TransferOptions & Pick<ImportOptions, "sourceMode" | "sourceCheck" | "verifyManifest" | "times">,
  config: () => Config,
): Promise<Source> {
  if (isSource(from)) return from;
  const location = locate(from, config);
  const { sourceMode, sourceCheck, verifyManifest, times } = options;
  const invalidUuid = invalidUuidPolicy(options, target);
  const shared = common(options, location, config);
  return createSource(location, { ...shared, invalidUuid, sourceMode, sourceCheck, verifyManifest, times });
}

function isSource(value: object | string): value is Source {
  return typeof value === "object" && "open" in value && "estimate" in value;
}

function isSink(value: object | string): value is Sink {
  return typeof value === "object" && "finish" in value && "abort" in value;
}

/** The configuration is read when something depends on it, and once. */
function lazyConfig(given: Config | undefined): () => Config {
  let config = given;
  return () => (config ??= loadConfig());
}

function locate(store: string | StoreLocation | Readable | Writable, config: () => Config): StoreLocation {
  if (typeof store === "string") return parseStore(store, config);
  return "type" in store ? store : { type: "stream", stream: store };
}

function common(options: TransferOptions, location: StoreLocation, config: () => Config): SourceOptions {
  const { catalog, signal } = options;
  const configured = location.type === "postgres" ? config().postgresql.connectionTimeoutSeconds : undefined;
  return { catalog, signal, connectionTimeoutSeconds: options.connectionTimeoutSeconds ?? configured };
}

/** The paths that `include` and `exclude` leave. E_USAGE for a section that no record kind has. */
export function selectPaths(
  catalog: Catalog,
  include: readonly string[] = [],
  exclude: readonly string[] = [],
): ReadonlySet<string> {
  const matches = (path: string, section: string): boolean => path === section || path.startsWith(`${section}.`);
  const paths = catalog.kinds.map(({ path }) => path);
  for (const section of [...include, ...exclude]) {
    if (!paths.some((path) => matches(path, section))) {
      throw new StorageError("E_USAGE", `unknown section: ${section}`, {
        hint: `The sections are ${paths.join(", ")}.`,
      });
    }
  }
  return new Set(
    paths.filter(
      (path) =>
        (include.length === 0 || include.some((section) => matches(path, section))) &&
        !exclude.some((section) => matches(path, section)),
    ),
  );
}

async function transfer(
  source: Source,
  sink: Sink,
  options: Omit<TransferOptions, "transforms"> & {
    readonly transforms: readonly Transform[];
    readonly prune?: { readonly keysStay: boolean } | undefined;
  },
  dryRun: boolean,
): Promise<TransferResult> {
  const catalog = options.catalog ?? standardCatalog;
  const { tenants, onStart, limit } = options;
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) {
    throw new StorageError("E_USAGE", "the limit is no positive integer");
  }
  if (tenants?.length === 0 || tenants?.includes("") === true) {
    throw new StorageError("E_USAGE", "the tenant is empty", {
      hint: "Without --tenant (tenants) all tenants' records are taken.",
    });
  }
  const paths = selectPaths(catalog, options.include, options.exclude);
  const selection: Selection = tenants === undefined ? { paths } : { paths, tenants };
  const started = performance.now();
  const policy = options.invalidUuid ?? "keep";
  const idSink = createIdSink(sink, {
    policy,
    count: () => source.countInvalidUuids?.(selection),
    idMap: options.idMap === undefined ? undefined : await openIdMap(options.idMap, policy !== "keep"),
    dryRun,
  });
  const { prune, ...rest } = options;
  const { header, report, read, rejected, cascaded, leftOut } = await runPipeline({
    ...rest,
    ...(prune === undefined ? {} : { prune }),
    source: onStart === undefined ? source : announced(source, selection, limit, onStart),
    sink: idSink,
    selection,
    ...(sink.inCatalogOrder === true ? { transforms: await inCatalogOrder(options.transforms, catalog) } : {}),
  });
  const kinds: KindResult[] = [];
  const totals: { -readonly [Name in keyof TransferTotals]: TransferTotals[Name] } = {
    ...(prune === undefined ? {} : { pruned: 0 }),
    read: 0,
    inserted: 0,
    updated: 0,
    skipped: 0,
    dropped: 0,
    rejected: 0,
    cascaded: 0,
  };
  for (const { path, label } of catalog.kinds) {
    const { inserted = 0, updated = 0, skipped = 0, dropped = 0, pruned = 0 } = report.counts.get(path) ?? {};
    const counts = {
      read: read.get(path) ?? 0,
      inserted,
      updated,
      skipped,
      dropped,
      rejected: rejected.get(path) ?? 0,
      cascaded: cascaded.get(path) ?? 0,
      ...(prune === undefined ? {} : { pruned }),
    };
    if (Object.values(counts).every((count) => count === 0)) continue;
    kinds.push({ path, label, ...counts });
    for (const name of Object.keys(totals) as (keyof TransferTotals)[])
      totals[name] = (totals[name] ?? 0) + (counts[name] ?? 0);
  }
  return {
    source: source.name,
    target: sink.name,
    header,
    kinds,
    totals,
    ...(report.bytes === undefined ? {} : { bytes: report.bytes }),
    notes: report.notes,
    leftOut,
    dryRun,
    seconds: (performance.now() - started) / 1000,
  };
}

/** Transforms that give records of other sections than they got need a last stage that puts sections in order. */
async function inCatalogOrder(transforms: readonly Transform[], catalog: Catalog): Promise<readonly Transform[]> {
  if (transforms.every(({ emits }) => emits === undefined)) return transforms;
  const { createSectionOrder } = await import("./transforms/section-order.js");
  return [...transforms, createSectionOrder(transforms, catalog)];
}

/** The source, telling `onStart` when it is open. */
function announced(
  source: Source,
  selection: Selection,
  limit: number | undefined,
  onStart: NonNullable<TransferOptions["onStart"]>,
): Source {
  return {
    name: source.name,
    rereadable: source.rereadable ?? true,
    async open(context, selected) {
      const header = await source.open(context, selected);
      const estimate = await source.estimate(selection);
      onStart(
        header,
        estimate && new Map([...estimate].map(([path, count]) => [path, Math.min(count, limit ?? count)])),
      );
      return header;
    },
    estimate: (wanted) => source.estimate(wanted),
    ...(source.partial === undefined ? {} : { partial: () => source.partial?.() }),
    read: (wanted, context) => source.read(wanted, context),
    close: () => source.close(),
  };
}
