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
  if (isSink(to)) return transfer(source, to, { ...options, transforms }, false);
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
    { ...shared(options), compress, force, allowEmpty, vectors, producer: PRODUCER },
    { config, list },
  );
  return transfer(source, sink, { ...options, invalidUuid: invalidUuidPolicy(options, to, list), transforms }, false);
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
  if (isSink(to)) return transfer(source, to, { ...options, transforms }, dryRun);
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
  const translating = createTranslatingSink(sink, { target: database.spelling, translate });
  return transfer(
    source,
    translating,
    { ...options, invalidUuid: invalidUuidPolicy(options, to, list), transforms },
    dryRun,
  );
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

/** The tenant that one tenant's records have when they come to the sink. */
export function tenantBehind(tenant: string, transforms: readonly Transform[]): string {
  return transforms.reduce((name, { tenantAfter }) => tenantAfter?.(name) ?? name, tenant);
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
  options: TransferOptions & Pick<ImportOptions, "sourceMode" | "sourceCheck" | "verifyManifest" | "times">,
  { config, list }: Pick<Found, "config" | "list">,
): Promise<Source> {
  if (isSource(from)) return from;
  const { sourceMode, sourceCheck, verifyManifest, times } = options;
  const invalidUuid = invalidUuidPolicy(options, target, list);
  return createSource(
    from,
    { ...shared(options), invalidUuid, sourceMode, sourceCheck, verifyManifest, times },
    { config, list },
  );
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
