/** Whether two stores hold the same records, and what is wrong in either: `llmspell storage verify`. */
import { type ImportOptions, importStore, selectPaths, type TransferOptions } from "./api.js";
import { BatchStream } from "./batch-stream.js";
import { type Config, loadConfig } from "./config.js";
import { StorageError, toStorageError } from "./errors.js";
import { catalog as standardCatalog } from "./llmspell/catalog/index.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { Progress } from "./pipeline.js";
import type { RecordBatch } from "./records/record-batch.js";
import type { Source, StoreHeader } from "./sources/source.js";
import { findingsOf } from "./store-findings.js";
import { parseStore, type StoreLocation, sameStore, storeName } from "./stores.js";
import { createTransforms } from "./transforms/spec.js";
import type { Transform } from "./transforms/transform.js";
import { joinRecords, OrderError, type Side } from "./verify/record-join.js";
import { type Finding, References } from "./verify/references.js";
import { type Difference, randomSeed, type SectionVerification, Verification } from "./verify/verification.js";

/** What applies to A, the original; sections and tenants are chosen in both. */
export type VerifyOptions = Omit<
  TransferOptions,
  "limit" | "onReject" | "onStart" | "onProgress" | "strict" | "digests"
> &
  Pick<ImportOptions, "verifyManifest" | "times" | "sourceMode" | "sourceCheck"> & {
    /** The original: a STORE (docs/command-line.md), its location, a stream of a document, or a source. */
    readonly a: ImportOptions["from"];
    /** The copy. */
    readonly b: ImportOptions["from"];
    /** Identical is asked for, and no finding in either store. Default false: equal by meaning, and no finding that A lacks. */
    readonly strict?: boolean;
    /** Compare only so many records of each section, chosen by the seed. */
    readonly sample?: number;
    /** Default: a new one, which the result has. */
    readonly seed?: string;
    /** Differences have the values that differ. Default false. */
    readonly showValues?: boolean;
    /** Called at the end with every difference, as NDJSON in chunks; a chunk is valid until the call ends. */
    readonly onDifferences?: (chunk: Buffer) => void | Promise<void>;
    /** Called once, when both are open. `estimate`: records per path of both together, where that can be told cheaply. */
    readonly onStart?: (estimate: ReadonlyMap<string, number> | undefined) => void;
    /** Called after each batch, of both stores together. */
    readonly onProgress?: (progress: Progress) => void;
  };

/** Findings of a store that the comparison of records does not show. */
export interface StoreFinding extends Finding {
  readonly store: "a" | "b";
  /** Whether it makes the stores unequal: B has it and A has less of it, or `strict`. */
  readonly counts: boolean;
}

export interface VerifyResult {
  /** Names for messages; never with a password. */
  readonly a: string;
  readonly b: string;
  readonly headers: Readonly<Record<Side, StoreHeader>>;
  /** Every record is there on both sides and identical (canonical bytes). */
  readonly identical: boolean;
  /** What was asked for holds: equal by meaning (`strict`: identical), all readable, and no finding that counts. */
  readonly equal: boolean;
  /** In the catalog's order, those that have records in either store. */
  readonly sections: readonly SectionVerification[];
  readonly findings: readonly StoreFinding[];
  /** What the stores hold outside of records that are read: nothing is said of it. */
  readonly leftOut: Readonly<Record<Side, readonly string[]>>;
  readonly sample?: { readonly size: number; readonly seed: string };
  readonly seconds: number;
}

/**
 * Compares two stores, record by record in constant memory, and changes nothing. That they differ is a result, not an error.
 * Throws StorageError (docs/errors.md).
 */
export async function verifyStores(options: VerifyOptions): Promise<VerifyResult> {
  refuseUnknownOptions("verifyStores", options);
  const started = performance.now();
  let config = options.config;
  const lazyConfig = (): Config => (config ??= loadConfig());
  const stores: Stores = { a: located(options.a, lazyConfig), b: located(options.b, lazyConfig) };
  refuseSame(stores);
  const size = sampleSize(options);
  const sample = size === undefined ? undefined : { size, seed: options.seed ?? randomSeed() };
  const transforms = await createTransforms(options.transforms ?? [], options);
  const run: Run = { options: { ...options, transforms }, stores, sample, config: lazyConfig };
  try {
    return await verifyOnce(run, transforms.length === 0, started);
  } catch (error) {
    if (!(error instanceof OrderError)) throw error;
    // A store that is not in its own order: nothing of it is relied on.
    return verifyOnce(run, false, started);
  }
}

type Stores = Readonly<Record<Side, StoreLocation | Source>>;

interface Run {
  readonly options: Omit<VerifyOptions, "transforms"> & { readonly transforms: readonly Transform[] };
  readonly stores: Stores;
  readonly sample: { readonly size: number; readonly seed: string } | undefined;
  readonly config: () => Config;
}

async function verifyOnce(run: Run, keepsKeys: boolean, started: number): Promise<VerifyResult> {
  const { options, stores, sample } = run;
  const { catalog = standardCatalog, strict = false, transforms } = options;
  const leaving = new AbortController();
  const signal = AbortSignal.any([leaving.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const verification = new Verification({
    catalog,
    showValues: options.showValues ?? false,
    tellsMeaning: strict,
    keepsAll: options.onDifferences !== undefined,
  });
  const paths = new Set([...selectPaths(catalog, options.include, options.exclude), ...emitted(transforms)]);
  if (paths.size === 0) throw new StorageError("E_USAGE", "no section is left to compare");
  const references = { a: new References(catalog, paths), b: new References(catalog, paths) };
  const progress = new TwoSided(options);
  const readings = {
    a: new Reading("a", run, { signal, verification, progress, paths }),
    b: new Reading("b", run, { signal, verification, progress, paths }),
  };
  try {
    await joinRecords(
      {
        catalog,
        signal,
        batches: { a: readings.a.batches(), b: readings.b.batches() },
        ordered: { a: isOrdered(stores, "a") && keepsKeys, b: isOrdered(stores, "b") },
        sample,
        onBatch: (side, batch) => references[side].see(batch),
      },
      verification,
    );
    const recordFindings = { a: await references.a.findings(), b: await references.b.findings() };
    const findings = {
      a: [...recordFindings.a, ...(await ownFindings(run, "a"))],
      b: [...recordFindings.b, ...(await ownFindings(run, "b"))],
    };
    const sections = verification.sections();
    const judged = judge(findings, strict);
    const identical = sections.every((section) => isSame(section) && section.byMeaning === 0);
    const isEqual = strict ? identical : sections.every(isSame);
    const result: VerifyResult = {
      a: readings.a.name,
      b: readings.b.name,
      headers: { a: readings.a.header as StoreHeader, b: readings.b.header as StoreHeader },
      identical,
      equal: isEqual && judged.every(({ counts }) => !counts),
      sections,
      findings: judged,
      leftOut: { a: readings.a.leftOut, b: readings.b.leftOut },
      ...(sample === undefined ? {} : { sample }),
      seconds: (performance.now() - started) / 1000,
    };
    if (options.onDifferences !== undefined)
      for await (const chunk of verification.differences()) await options.onDifferences(chunk);
    return result;
  } catch (error) {
    if (error instanceof OrderError) throw error;
    if (options.signal?.aborted) throw interruption(options.signal);
    // What ended a run says more than that its reader was left.
    throw readings.a.failure ?? readings.b.failure ?? toStorageError(error);
  } finally {
    leaving.abort();
    await Promise.allSettled([readings.a.end(), readings.b.end()]);
    await verification.close();
    await references.a.close();
    await references.b.close();
  }
}

interface ReadingContext {
  readonly signal: AbortSignal;
  readonly verification: Verification;
  readonly progress: TwoSided;
  readonly paths: ReadonlySet<string>;
}

/** A store's records as an import gets them. */
class Reading {
  header: StoreHeader | undefined;
  failure: StorageError | undefined;
  leftOut: readonly string[] = [];
  readonly name: string;
  private readonly stream: BatchStream;
  private run: Promise<void> | undefined;

  constructor(
    private readonly side: Side,
    private readonly verify: Run,
    private readonly context: ReadingContext,
  ) {
    const store = verify.stores[side];
    this.name = "open" in store ? store.name : storeName(store);
    this.stream = new BatchStream(this.name, true);
  }

  async *batches(): AsyncGenerator<RecordBatch, void, undefined> {
    this.run = importStore(this.importOptions()).then(
      ({ leftOut, header }) => {
        this.leftOut = leftOut;
        this.header = header;
        this.stream.end();
      },
      (error: unknown) => {
        this.failure = toStorageError(error);
        this.stream.end();
      },
    );
    for (let batch = await this.stream.next(); batch !== undefined; batch = await this.stream.next()) yield batch;
    await this.run;
    if (this.failure !== undefined) throw this.failure;
  }

  async end(): Promise<void> {
    this.stream.end();
    await this.run;
  }

  private importOptions(): ImportOptions {
    const { side, context } = this;
    const { options, stores } = this.verify;
    const { signal, verification, progress } = context;
    const { catalog, tenants, verifyManifest, times, sourceMode, sourceCheck, connectionTimeoutSeconds } = options;
    const shared: ImportOptions = {
      from: stores[side],
      to: this.stream,
      signal,
      onStart: (_header, estimate) => progress.start(estimate),
      onProgress: (one) => progress.update(side, one),
      onReject: (rejection) => verification.reject(side, rejection),
      onWarning: (message) => options.onWarning?.(`${side.toUpperCase()}: ${message}`),
      ...(catalog === undefined ? {} : { catalog }),
      ...(connectionTimeoutSeconds === undefined ? {} : { connectionTimeoutSeconds }),
      ...(options.config === undefined ? {} : { config: options.config }),
      ...(verifyManifest === undefined ? {} : { verifyManifest }),
      ...(sourceMode === undefined ? {} : { sourceMode }),
      ...(sourceCheck === undefined ? {} : { sourceCheck }),
    };
    if (side === "b") {
      const mapped = tenants === undefined ? undefined : tenantsBehind(tenants, options.transforms);
      return { ...shared, include: [...context.paths], ...(mapped === undefined ? {} : { tenants: mapped }) };
    }
    const { include, exclude, transforms, pluginTimeoutSeconds, jqTimeoutSeconds, cascade, idMap } = options;
    const invalidUuid = options.invalidUuid ?? asImported(stores.b, options.strict);
    return {
      ...shared,
      transforms,
      ...(times === undefined ? {} : { times }),
      ...(include === undefined ? {} : { include }),
      ...(exclude === undefined ? {} : { exclude }),
      ...(tenants === undefined ? {} : { tenants }),
      ...(pluginTimeoutSeconds === undefined ? {} : { pluginTimeoutSeconds }),
      ...(jqTimeoutSeconds === undefined ? {} : { jqTimeoutSeconds }),
      ...(cascade === undefined ? {} : { cascade }),
      ...(idMap === undefined ? {} : { idMap }),
      ...(invalidUuid === undefined ? {} : { invalidUuid }),
    };
  }
}

/** PostgreSQL spells every UUID as usual, and an import into it does so too. `strict` asks for A as it is. */
function asImported(b: StoreLocation | Source, strict: boolean | undefined): "error" | undefined {
  const isPostgres = "type" in b && (b.type === "postgres" || b.type === "pglite");
  return isPostgres && strict !== true ? "error" : undefined;
}

/** The tenants' names behind the transforms; undefined where that cannot be told, and B is then read whole. */
function tenantsBehind(tenants: readonly string[], transforms: readonly Transform[]): string[] | undefined {
  const isUnknown = ({ tenantAfter, mayChange }: Transform): boolean =>
    tenantAfter === undefined &&
    standardCatalog.kinds.some(({ path }) => mayChange === undefined || mayChange(path, "tenant_id"));
  if (transforms.some(isUnknown)) return undefined;
  return tenants.map((tenant) => transforms.reduce((name, { tenantAfter }) => tenantAfter?.(name) ?? name, tenant));
}

function emitted(transforms: readonly Transform[]): string[] {
  return transforms.flatMap(({ emits }) => [...(emits?.to ?? [])]);
}

/** Whether a store gives its records in the order of their keys, and could be read again if it did not. */
function isOrdered(stores: Stores, side: Side): boolean {
  const isDatabase = (store: StoreLocation | Source): boolean =>
    "type" in store && (store.type === "postgres" || store.type === "pglite" || store.type === "sqlite");
  const isRereadable = (store: StoreLocation | Source): boolean =>
    isDatabase(store) || ("type" in store && store.type === "document" && store.path !== "-");
  return isDatabase(stores[side]) && isRereadable(stores.a) && isRereadable(stores.b);
}

function isSame(section: SectionVerification): boolean {
  const { onlyInA, onlyInB, different, unreadableInA, unreadableInB } = section;
  return onlyInA + onlyInB + different + unreadableInA + unreadableInB === 0;
}

/** What B has and A has not, or has less of, counts; everything does where strictness is asked for. */
function judge(findings: Readonly<Record<Side, readonly Finding[]>>, strict: boolean): StoreFinding[] {
  const inA = new Map(findings.a.map(({ check, object, count }) => [`${check} ${object}`, count]));
  return [
    ...findings.a.map((finding) => ({ ...finding, store: "a" as const, counts: strict })),
    ...findings.b.map((finding) => ({
      ...finding,
      store: "b" as const,
      counts: strict || finding.count > (inA.get(`${finding.check} ${finding.object}`) ?? 0),
    })),
  ];
}

async function ownFindings({ options, stores, config }: Run, side: Side): Promise<Finding[]> {
  const store = stores[side];
  // A tenant's or a section's copy lacks what the whole has.
  if ("open" in store) return [];
  const { signal, connectionTimeoutSeconds } = options;
  return findingsOf(store, {
    signal,
    connectionTimeoutSeconds:
      connectionTimeoutSeconds ??
      (store.type === "postgres" ? config().postgresql.connectionTimeoutSeconds : undefined),
  });
}

function located(store: ImportOptions["from"], config: () => Config): StoreLocation | Source {
  if (typeof store === "string") return parseStore(store, config);
  if ("open" in store && "estimate" in store) return store;
  return "type" in store ? store : { type: "stream", stream: store };
}

function refuseSame({ a, b }: Stores): void {
  if ("open" in a || "open" in b) return;
  const isStdin = (store: StoreLocation): boolean => store.type === "document" && store.path === "-";
  if (isStdin(a) && isStdin(b)) throw new StorageError("E_USAGE", "both stores are standard input");
  if (sameStore(a, b))
    throw new StorageError("E_USAGE", "A and B are the same store", {
      hint: "Name the original and its copy.",
    });
}

function interruption({ reason }: AbortSignal): StorageError {
  if (reason instanceof StorageError) return reason;
  return new StorageError("E_INTERRUPTED", "the run was interrupted", {}, reason);
}

function sampleSize({ sample }: VerifyOptions): number | undefined {
  if (sample === undefined || (Number.isSafeInteger(sample) && sample > 0)) return sample;
  throw new StorageError("E_USAGE", "the sample is no positive integer");
}

/** The progress of both readings as one. */
class TwoSided {
  private readonly last: Partial<Record<Side, Progress>> = {};
  private readonly estimates: (ReadonlyMap<string, number> | undefined)[] = [];

  constructor(private readonly options: Pick<VerifyOptions, "onStart" | "onProgress">) {}

  start(estimate: ReadonlyMap<string, number> | undefined): void {
    this.estimates.push(estimate);
    if (this.estimates.length !== 2) return;
    const sums = new Map<string, number>();
    for (const each of this.estimates)
      for (const [path, count] of each ?? []) sums.set(path, (sums.get(path) ?? 0) + count);
    this.options.onStart?.(this.estimates.includes(undefined) ? undefined : sums);
  }

  update(side: Side, progress: Progress): void {
    this.last[side] = progress;
    const { a, b } = this.last;
    this.options.onProgress?.({
      path: progress.path,
      records: (a?.records ?? 0) + (b?.records ?? 0),
      pathRecords: progress.pathRecords,
      bytes: (a?.bytes ?? 0) + (b?.bytes ?? 0),
    });
  }
}

export type { Difference, Finding, SectionVerification };
