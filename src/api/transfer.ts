/**
 * The library's entry points: whole exports and imports, without console output.
 * Over 300 lines: exports and imports find their stores, sources and sinks alike.
 */
import type { Readable, Writable } from "node:stream";
import { type Config, loadConfig } from "../config/index.js";
import { StorageError } from "../errors.js";
import { catalog as llmspellCatalog } from "../llmspell/catalog/index.js";
import { createTranslatingSink, parseTranslation } from "../llmspell/translate.js";
import { type JobsOptions, threadsFor } from "../parallel/jobs.js";
import { requireLagBound } from "../records/loads/lag-bound.js";
import type { InvalidUuidPolicy } from "../sinks/ids.js";
import type { Sink } from "../sinks/sink.js";
import type { Source } from "../sources/source.js";
import {
  type AnyLocation,
  accessWarnings,
  type Backend,
  backends,
  createSink,
  createSource,
  databaseOf,
  dependsOnConfig,
  parseStore,
  type SourceOptions,
  type StoreLocation,
  sameStore,
  sessionOptions,
  sourceOptions,
  streamLocation,
} from "../stores/index.js";
import type { RecordThreads } from "../transforms/record-threads.js";
import { createTransforms } from "../transforms/spec.js";
import type { Transform } from "../transforms/transform.js";
import type { TransferDigester } from "../verify/digesting-sink.js";
import { PRODUCER } from "../version.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { ExportOptions, ImportOptions, TransferOptions } from "./options.js";
import type { TransferResult } from "./results.js";
import type { Retention } from "./retention.js";
import { transfer } from "./run.js";
import { isRun } from "./runs/is-run.js";
import { keysStay, targetScope, tenantBehind } from "./target-scope.js";

/**
 * Writes a store's records as an export document. Nothing is left under the document's name unless the whole run succeeded.
 * Throws StorageError (docs/errors.md).
 */
export async function exportStore(options: ExportOptions): Promise<TransferResult> {
  refuseUnknownOptions("exportStore", options);
  return writeDocument(options);
}

/** `again`: what other threads can make the source with that `from` is. */
export async function writeDocument(options: ExportOptions, again?: SourceOrigin): Promise<TransferResult> {
  const { compress, force, partBytes, allowEmpty, vectors } = options;
  const transforms = await transformsOf(options);
  const { from, to: named, config, list } = findStores(options);
  const source = await sourceFor(from, isSink(named) ? undefined : named, options, { config, list });
  const digester = await digesterFor(options);
  if (isSink(named)) {
    if (options.keep !== undefined)
      throw new StorageError("E_USAGE", "keep is for files: the output is a sink of your own");
    if (partBytes !== undefined)
      throw new StorageError("E_USAGE", "partBytes is for directories: the output is a sink of your own");
    const threads = await threadsOf(from, undefined, options, { config, list }, again);
    return transfer(source, digester?.sink(named) ?? named, { ...options, transforms, digester, threads }, false);
  }
  const retention =
    options.keep === undefined
      ? undefined
      : (await import("./retention.js")).planRetention(named, options.keep, new Date());
  const to: AnyLocation = retention === undefined ? named : retention.location;
  if (!isSource(from)) {
    refuseSameStore(from, to, list);
    // A document that is there is replaced by one for its owner only.
    for (const warning of accessWarnings([from], list)) options.onWarning?.(warning);
  }
  if (databaseOf(to, list) !== undefined) {
    throw new StorageError("E_USAGE", "an export writes a document", {
      hint: "`llmspell storage migrate` (importStore) copies from database to database.",
    });
  }
  const sink = await createSink(
    to,
    {
      ...shared(options),
      compress,
      force,
      partBytes,
      allowEmpty,
      vectors,
      digestOf: digester && ((path) => digester.digestOf(path)),
      producer: PRODUCER,
    },
    { config, list },
  );
  const invalidUuid = invalidUuidPolicy(options, to, list);
  const threads = await threadsOf(from, to, options, { config, list }, again);
  const run = { ...options, invalidUuid, transforms, digester, threads };
  const result = await transfer(source, digester?.sink(sink) ?? sink, run, false);
  return retention === undefined ? result : withoutOlder(retention, result, options);
}

/** What a source was made with. */
export interface SourceOrigin {
  readonly location: AnyLocation;
  readonly options: SourceOptions;
}

/** For `jobs`. */
function threadsOf(
  from: Source | AnyLocation,
  to: AnyLocation | undefined,
  options: SourceSettings & JobsOptions,
  found: Pick<Found, "config" | "list">,
  again?: SourceOrigin,
): Promise<RecordThreads | undefined> {
  if (again !== undefined) return threadsFor(again.location, again.options, options);
  if (isSource(from)) return threadsFor(undefined, shared(options), options);
  return threadsFor(from, sourceOptionsFor(from, to, options, found), options);
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
 * Loads a document, or another store's records, into a store: one transaction, all or nothing, unless `jobs` makes a run of it.
 * Throws StorageError (docs/errors.md).
 */
export async function importStore(options: ImportOptions): Promise<TransferResult> {
  refuseUnknownOptions("importStore", options);
  const { dryRun = false, onConflict, onOrphan, vectorsAs, deferIndexes } = options;
  const transforms = await transformsOf(options);
  const { from, to, config, list } = findStores(options);
  const source = await sourceFor(from, isSink(to) ? undefined : to, options, { config, list });
  const digester = await digesterFor(options);
  if (isSink(to)) {
    const { prune, requireEmpty, allowEmpty: _allowEmpty, maxLag, ...rest } = options;
    if (maxLag !== undefined) throw new StorageError("E_USAGE", "maxLag is not for a sink of your own");
    if (isRun(options)) throw new StorageError("E_USAGE", "resume is not for a sink of your own");
    if (prune || requireEmpty)
      throw new StorageError("E_USAGE", "prune and requireEmpty are options of your sink's own");
    const threads = await threadsOf(from, undefined, options, { config, list });
    return transfer(source, digester?.sink(to) ?? to, { ...rest, transforms, digester, threads }, dryRun);
  }
  const database = databaseOf(to, list);
  if (database === undefined) {
    throw new StorageError("E_USAGE", "the target is no database", {
      hint: "`llmspell storage export` (exportStore) writes documents: --database names what it reads, --output the document.",
    });
  }
  if (!isSource(from)) refuseSameStore(from, to, list);
  const stores = isSource(from) ? [to] : [from, to];
  for (const warning of accessWarnings(stores, list)) options.onWarning?.(warning);
  if ((options.prune || options.requireEmpty) && database.prunes !== true)
    throw new StorageError("E_USAGE", `${database.title} takes neither --prune nor --require-empty`);
  const scope = targetScope(options, transforms, options.catalog ?? llmspellCatalog);
  const translate = options.translate === undefined ? undefined : parseTranslation(options.translate);
  const invalidUuid = invalidUuidPolicy(options, to, list);
  const pausing = await pausingFor(to, options, { config, list });
  const before = (sink: Sink): Sink =>
    createTranslatingSink(pausing.sink(sink), { target: database.spelling, translate });
  const { onSession } = pausing;
  if (options.queue !== undefined) {
    const { coordinateRun } = await import("./queue/coordinate.js");
    return coordinateRun(options, { queue: options.queue, source, from, to, config, list, transforms, invalidUuid });
  }
  if (isRun(options, to, list)) {
    const { loadRun } = await import("./runs/load-run.js");
    const isDocument = !isSource(from) && databaseOf(from, list) === undefined;
    return loadRun(options, {
      source,
      to,
      config,
      list,
      isDocument,
      transforms,
      invalidUuid,
      digester,
      onSession,
      before,
    });
  }
  const tenant = options.tenants?.length === 1 ? tenantBehind(options.tenants[0] as string, transforms) : undefined;
  const sink = await createSink(
    to,
    {
      ...shared(options),
      onSession,
      onConflict,
      onOrphan,
      vectorsAs,
      deferIndexes,
      dryRun,
      tenant,
      prune: options.prune ? { ...scope, allowEmpty: options.allowEmpty ?? false } : undefined,
      requireEmpty: options.requireEmpty ? scope : undefined,
      producer: PRODUCER,
    },
    { config, list },
  );
  const translating = before(digester?.sink(sink) ?? sink);
  const prune = options.prune ? { keysStay: keysStay(options, transforms, invalidUuid) } : undefined;
  const threads = await threadsOf(from, to, options, { config, list });
  return transfer(source, translating, { ...options, invalidUuid, transforms, digester, prune, threads }, dryRun);
}

/** For `maxLag`. */
async function pausingFor(
  to: AnyLocation,
  options: ImportOptions,
  { config, list }: Pick<Found, "config" | "list">,
): Promise<{ readonly onSession: ((pid: number) => void) | undefined; sink(sink: Sink): Sink }> {
  const { maxLag } = options;
  if (maxLag === undefined) return { onSession: undefined, sink: (sink) => sink };
  requireLagBound(maxLag);
  const database = databaseOf(to, list);
  if (database?.pausing === undefined)
    throw new StorageError("E_USAGE", `--max-lag (maxLag) is not for ${database?.title ?? "the target"}`, {
      hint: "A PostgreSQL server has standbys; --rate (bytesPerSecond) goes with every target.",
    });
  const sessions = new Set<number>();
  const session = sessionOptions(to, options, config, list);
  const sink = await database.pausing(to, {
    ...session,
    bound: maxLag,
    sessions,
    releasesLocks: isRun(options, to, list),
  });
  return { onSession: (pid) => void sessions.add(pid), sink };
}

/** For `digests`. */
async function digesterFor({
  digests,
  catalog = llmspellCatalog,
}: TransferOptions): Promise<TransferDigester | undefined> {
  if (digests !== true) return undefined;
  const { TransferDigester } = await import("../verify/digesting-sink.js");
  return new TransferDigester(catalog);
}

export interface Found {
  readonly from: Source | AnyLocation;
  readonly to: Sink | AnyLocation;
  readonly config: Config | undefined;
  readonly list: readonly Backend[];
}

/**
 * The stores of a run. The configuration is read first and once, where a store depends on it: a run that does not need it
 * works whatever is in the folder's files.
 */
export function findStores(options: ExportOptions | ImportOptions): Found {
  const list = options.backends ?? backends;
  const from = located(options.from);
  const to = located(options.to);
  const depends =
    (!isSource(from) && dependsOnConfig(from, "source", options, list)) ||
    (!isSink(to) && dependsOnConfig(to, "sink", options, list));
  const config = options.config ?? (depends ? loadConfig() : undefined);
  const parse = (text: string): AnyLocation => parseStore(text, () => config as Config, list);
  return {
    from: typeof from === "string" ? parse(from) : from,
    to: typeof to === "string" ? parse(to) : to,
    config,
    list,
  };
}

/** A program's stream is a store like any other. */
function located<Part extends Source | Sink>(
  store: string | StoreLocation | Readable | Writable | Part,
): string | StoreLocation | Part {
  if (typeof store === "string" || isPart(store)) return store;
  return "type" in store ? store : streamLocation(store);
}

export function refuseSameStore(from: AnyLocation, to: AnyLocation, list: readonly Backend[]): void {
  if (sameStore(from, to, list))
    throw new StorageError("E_USAGE", "source and target are the same store", {
      hint: "A copy goes to another file, database or server.",
    });
}

/** E_USAGE where a target that holds UUIDs only (PostgreSQL) is to keep other ids. */
export function invalidUuidPolicy(
  { invalidUuid }: TransferOptions,
  target: AnyLocation | undefined,
  list: readonly Backend[],
): InvalidUuidPolicy {
  const database = target && databaseOf(target, list);
  if (database?.ids !== "uuid") return invalidUuid ?? "keep";
  if (invalidUuid !== "keep") return invalidUuid ?? "error";
  throw new StorageError("E_USAGE", `${database.title} cannot keep ids that are no UUIDs`, {
    hint: "--invalid-uuid derive makes UUIDs of them, and --id-map FILE keeps what brings them back.",
  });
}

export async function sourceFor(
  from: Source | AnyLocation,
  target: AnyLocation | undefined,
  options: SourceSettings,
  { config, list }: Pick<Found, "config" | "list">,
): Promise<Source> {
  if (isSource(from)) return from;
  return createSource(from, sourceOptionsFor(from, target, options, { config, list }), { list });
}

type SourceSettings = TransferOptions &
  Pick<ImportOptions, "sourceMode" | "sourceCheck" | "asOwner" | "order" | "orderBy" | "verifyManifest" | "times">;

/** What the store's source is made with. */
function sourceOptionsFor(
  from: AnyLocation,
  target: AnyLocation | undefined,
  options: SourceSettings,
  { config, list }: Pick<Found, "config" | "list">,
): SourceOptions {
  const { sourceMode, sourceCheck, asOwner, order, orderBy, verifyManifest, times } = options;
  const invalidUuid = invalidUuidPolicy(options, target, list);
  const given = {
    ...shared(options),
    invalidUuid,
    sourceMode,
    sourceCheck,
    asOwner,
    order,
    orderBy,
    verifyManifest,
    times,
    checkDigests: options.digests,
  };
  return sourceOptions(from, given, { config, list });
}

export function transformsOf(options: TransferOptions): Promise<readonly Transform[]> {
  return createTransforms(options.transforms ?? [], { ...options, catalog: options.catalog ?? llmspellCatalog });
}

/** What sources and sinks take alike. */
export function shared({
  catalog = llmspellCatalog,
  signal,
  connectionTimeoutSeconds,
  lockTimeoutSeconds,
}: TransferOptions) {
  return { catalog, signal, connectionTimeoutSeconds, lockTimeoutSeconds };
}

function isPart<Part extends Source | Sink>(value: object | Part): value is Part {
  return isSource(value) || isSink(value);
}

export function isSource(value: object | string): value is Source {
  return typeof value === "object" && "open" in value && "estimate" in value;
}

export function isSink(value: object | string): value is Sink {
  return typeof value === "object" && "finish" in value && "abort" in value;
}
