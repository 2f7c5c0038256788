/** The library's entry points: whole exports and imports, without console output. */
import type { Readable, Writable } from "node:stream";
import { type Config, loadConfig } from "../config/index.js";
import { StorageError } from "../errors.js";
import { catalog as llmspellCatalog } from "../llmspell/catalog/index.js";
import { createTranslatingSink, parseTranslation } from "../llmspell/translate.js";
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
  type StoreLocation,
  sameStore,
  streamLocation,
} from "../stores/index.js";
import { createTransforms } from "../transforms/spec.js";
import type { Transform } from "../transforms/transform.js";
import type { TransferDigester } from "../verify/digesting-sink.js";
import { PRODUCER } from "../version.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { ExportOptions, ImportOptions, TransferOptions } from "./options.js";
import type { TransferResult } from "./results.js";
import { transfer } from "./run.js";

/**
 * Writes a store's records as an export document. Nothing is left under the document's name unless the whole run succeeded.
 * Throws StorageError (docs/errors.md).
 */
export async function exportStore(options: ExportOptions): Promise<TransferResult> {
  refuseUnknownOptions("exportStore", options);
  const { compress, force, allowEmpty, vectors } = options;
  const transforms = await transformsOf(options);
  const { from, to, config, list } = findStores(options);
  const source = await sourceFor(from, isSink(to) ? undefined : to, options, { config, list });
  const digester = await digesterFor(options);
  if (isSink(to)) return transfer(source, digester?.sink(to) ?? to, { ...options, transforms, digester }, false);
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
      allowEmpty,
      vectors,
      digestOf: digester && ((path) => digester.digestOf(path)),
      producer: PRODUCER,
    },
    { config, list },
  );
  const invalidUuid = invalidUuidPolicy(options, to, list);
  return transfer(source, digester?.sink(sink) ?? sink, { ...options, invalidUuid, transforms, digester }, false);
}

/**
 * Loads a document, or another store's records, into a store: one transaction, all or nothing.
 * Throws StorageError (docs/errors.md).
 */
export async function importStore(options: ImportOptions): Promise<TransferResult> {
  refuseUnknownOptions("importStore", options);
  const { dryRun = false, onConflict, onOrphan, vectorsAs, deferIndexes } = options;
  const transforms = await transformsOf(options);
  const { from, to, config, list } = findStores(options);
  const source = await sourceFor(from, isSink(to) ? undefined : to, options, { config, list });
  const digester = await digesterFor(options);
  if (isSink(to)) return transfer(source, digester?.sink(to) ?? to, { ...options, transforms, digester }, dryRun);
  const database = databaseOf(to, list);
  if (database === undefined) {
    throw new StorageError("E_USAGE", "the target is no database", {
      hint: "`llmspell storage export` (exportStore) writes documents: --database names what it reads, --output the document.",
    });
  }
  if (!isSource(from)) refuseSameStore(from, to, list);
  const stores = isSource(from) ? [to] : [from, to];
  for (const warning of accessWarnings(stores, list)) options.onWarning?.(warning);
  const tenant = options.tenants?.length === 1 ? tenantBehind(options.tenants[0] as string, transforms) : undefined;
  const sink = await createSink(
    to,
    { ...shared(options), onConflict, onOrphan, vectorsAs, deferIndexes, dryRun, tenant, producer: PRODUCER },
    { config, list },
  );
  const translate = options.translate === undefined ? undefined : parseTranslation(options.translate);
  const translating = createTranslatingSink(digester?.sink(sink) ?? sink, { target: database.spelling, translate });
  return transfer(
    source,
    translating,
    { ...options, invalidUuid: invalidUuidPolicy(options, to, list), transforms, digester },
    dryRun,
  );
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

interface Found {
  readonly from: Source | AnyLocation;
  readonly to: Sink | AnyLocation;
  readonly config: Config | undefined;
  readonly list: readonly Backend[];
}

/**
 * The stores of a run. The configuration is read first and once, where a store depends on it: a run that does not need it
 * works whatever is in the folder's files.
 */
function findStores(options: ExportOptions | ImportOptions): Found {
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

/** The tenant that one tenant's records have when they come to the sink. */
function tenantBehind(tenant: string, transforms: readonly Transform[]): string {
  return transforms.reduce((name, { tenantAfter }) => tenantAfter?.(name) ?? name, tenant);
}

function refuseSameStore(from: AnyLocation, to: AnyLocation, list: readonly Backend[]): void {
  if (sameStore(from, to, list))
    throw new StorageError("E_USAGE", "source and target are the same store", {
      hint: "A copy goes to another file, database or server.",
    });
}

/** E_USAGE where a target that holds UUIDs only (PostgreSQL) is to keep other ids. */
function invalidUuidPolicy(
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

async function sourceFor(
  from: Source | AnyLocation,
  target: AnyLocation | undefined,
  options: TransferOptions & Pick<ImportOptions, "sourceMode" | "sourceCheck" | "asOwner" | "verifyManifest" | "times">,
  { config, list }: Pick<Found, "config" | "list">,
): Promise<Source> {
  if (isSource(from)) return from;
  const { sourceMode, sourceCheck, asOwner, verifyManifest, times } = options;
  const invalidUuid = invalidUuidPolicy(options, target, list);
  return createSource(
    from,
    { ...shared(options), invalidUuid, sourceMode, sourceCheck, asOwner, verifyManifest, times },
    { config, list },
  );
}

function transformsOf(options: TransferOptions): Promise<readonly Transform[]> {
  return createTransforms(options.transforms ?? [], { ...options, catalog: options.catalog ?? llmspellCatalog });
}

/** What sources and sinks take alike. */
function shared({ catalog = llmspellCatalog, signal, connectionTimeoutSeconds, lockTimeoutSeconds }: TransferOptions) {
  return { catalog, signal, connectionTimeoutSeconds, lockTimeoutSeconds };
}

function isPart<Part extends Source | Sink>(value: object | Part): value is Part {
  return isSource(value) || isSink(value);
}

function isSource(value: object | string): value is Source {
  return typeof value === "object" && "open" in value && "estimate" in value;
}

function isSink(value: object | string): value is Sink {
  return typeof value === "object" && "finish" in value && "abort" in value;
}
