/** The two readings of a comparison: each store's records as an import gets them, A's behind its transforms. */

import type { Config } from "../../config/index.js";
import { type StorageError, toStorageError } from "../../errors.js";
import { catalog as standardCatalog } from "../../llmspell/catalog/index.js";
import type { Progress } from "../../pipeline.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { Rejection } from "../../records/run-context.js";
import type { Source, StoreHeader } from "../../sources/source.js";
import {
  type AnyLocation,
  type Backend,
  databaseOf,
  hasOwner,
  isPipe,
  type StoreLocation,
  sessionOptions,
  storeName,
} from "../../stores/index.js";
import type { Transform } from "../../transforms/transform.js";
import type { Side } from "../../verify/comparison/record-join.js";
import { BatchStream } from "../batch-stream.js";
import type { ImportOptions, TransferOptions } from "../options.js";
import type { TransferResult } from "../results.js";
import { importStore } from "../transfer.js";
import { createThreadedSource } from "./source-thread.js";

/** What applies to A, the original; sections and tenants are chosen in both. */
export type VerifyOptions = Omit<
  TransferOptions,
  "limit" | "onReject" | "onStart" | "onProgress" | "strict" | "digests" | "bytesPerSecond"
> &
  Pick<ImportOptions, "verifyManifest" | "times" | "sourceMode" | "sourceCheck" | "asOwner" | "orderBy"> & {
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
    /**
     * How many embeddings of each dimension, chosen by the seed, are searched for: their nearest ones have to be the same in
     * both stores, and the answers of indexes are held against them. Neither store may be a stream.
     */
    readonly search?: number;
    /**
     * 2: each store is read in a thread of its own (streams and embedded databases are not); 1: none is. Default: 2 where there
     * are as many cores, and the store is a file of at least 32 MiB, or a server's, and the other is one of both.
     */
    readonly jobs?: 1 | 2;
    /** Differences have the values that differ. Default false. */
    readonly showValues?: boolean;
    /** Called at the end with every difference, as NDJSON in chunks; a chunk is valid until the call ends. */
    readonly onDifferences?: (chunk: Buffer) => void | Promise<void>;
    /** Called once, when both are open. `estimate`: records per path of both together, where that can be told cheaply. */
    readonly onStart?: (estimate: ReadonlyMap<string, number> | undefined) => void;
    /** Called after each batch, of both stores together. */
    readonly onProgress?: (progress: Progress) => void;
  };

export type Stores = Readonly<Record<Side, AnyLocation | Source>>;

export interface Run {
  /** Which of them are read in a thread of their own. */
  readonly threads: Readonly<Record<Side, boolean>>;
  readonly options: Omit<VerifyOptions, "transforms"> & { readonly transforms: readonly Transform[] };
  readonly stores: Stores;
  readonly sample: { readonly size: number; readonly seed: string } | undefined;
  readonly config: Config | undefined;
  readonly list: readonly Backend[];
}

export interface ReadingContext {
  readonly signal: AbortSignal;
  /** Told of records that cannot be read. */
  readonly reject: (side: Side, rejection: Rejection) => void | Promise<void>;
  readonly progress: TwoSided | undefined;
  readonly paths: ReadonlySet<string>;
}

/** A store's records as an import gets them. */
export class Reading {
  header: StoreHeader | undefined;
  failure: StorageError | undefined;
  leftOut: readonly string[] = [];
  notes: readonly string[] = [];
  readonly name: string;
  private readonly stream: BatchStream;
  private run: Promise<void> | undefined;

  constructor(
    private readonly side: Side,
    private readonly verify: Run,
    private readonly context: ReadingContext,
  ) {
    const store = verify.stores[side];
    this.name = isSource(store) ? store.name : storeName(store, verify.list);
    this.stream = new BatchStream(this.name, true);
  }

  async *batches(): AsyncGenerator<RecordBatch, void, undefined> {
    this.run = this.read().then(
      ({ leftOut, notes, header, versions: { source } }) => {
        this.leftOut = leftOut;
        this.notes = notes;
        this.header = source === undefined ? header : { ...header, versions: source };
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

  private async read(): Promise<TransferResult> {
    const options = this.importOptions();
    const { stores, config, list } = this.verify;
    const store = stores[this.side];
    if (isSource(store) || !this.verify.threads[this.side]) return importStore(options);
    const { sourceMode, sourceCheck, asOwner, verifyManifest, times, invalidUuid, lockTimeoutSeconds } = options;
    const { connectionTimeoutSeconds } = sessionOptions(store, options, config, list);
    const from = await createThreadedSource(store, {
      sourceMode,
      sourceCheck,
      asOwner,
      verifyManifest,
      times,
      invalidUuid: invalidUuid ?? "keep",
      lockTimeoutSeconds,
      connectionTimeoutSeconds,
    });
    return importStore({ ...options, from });
  }

  private importOptions(): ImportOptions {
    const { side, context } = this;
    const { options, stores, config, list } = this.verify;
    const { signal, reject, progress } = context;
    const { catalog, tenants, verifyManifest, times, sourceMode, sourceCheck, asOwner, connectionTimeoutSeconds } =
      options;
    const shared: ImportOptions = {
      from: stores[side] as StoreLocation | Source,
      to: this.stream,
      signal,
      onStart: (_header, estimate) => progress?.start(estimate),
      onProgress: (one) => progress?.update(side, one),
      onReject: (rejection) => reject(side, rejection),
      onWarning: (message) => options.onWarning?.(`${side.toUpperCase()}: ${message}`),
      ...(catalog === undefined ? {} : { catalog }),
      ...(connectionTimeoutSeconds === undefined ? {} : { connectionTimeoutSeconds }),
      ...(config === undefined ? {} : { config }),
      backends: list,
      ...(options.lockTimeoutSeconds === undefined ? {} : { lockTimeoutSeconds: options.lockTimeoutSeconds }),
      ...(verifyManifest === undefined ? {} : { verifyManifest }),
      ...(sourceMode === undefined ? {} : { sourceMode }),
      ...(sourceCheck === undefined ? {} : { sourceCheck }),
      ...(options.orderBy === undefined ? {} : { orderBy: options.orderBy }),
      // Of two stores one may be of another kind.
      ...(asOwner === undefined || isSource(stores[side]) || !hasOwner(stores[side], list) ? {} : { asOwner }),
    };
    if (side === "b") {
      const mapped = tenants === undefined ? undefined : tenantsBehind(tenants, options.transforms);
      // Not `include`, for of what is asked for and not there A tells.
      const exclude = (catalog ?? standardCatalog).kinds
        .map(({ path }) => path)
        .filter((path) => !context.paths.has(path));
      return { ...shared, exclude, ...(mapped === undefined ? {} : { tenants: mapped }) };
    }
    const { include, exclude, transforms, pluginTimeoutSeconds, jqTimeoutSeconds, cascade, idMap } = options;
    const invalidUuid = options.invalidUuid ?? asImported(this.verify);
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

export function isSource(store: string | object): store is Source {
  return typeof store === "object" && "open" in store && "estimate" in store;
}

/** Not a stream, nor standard input, nor a FIFO. */
export function isRereadable(store: AnyLocation | Source): boolean {
  if (isSource(store) || store.type === "stream") return false;
  if (store.type !== "document") return true;
  const { path } = store as StoreLocation & { readonly path: string };
  return path !== "-" && !isPipe(path);
}

/** A store of UUIDs spells every one as usual, and an import into it does so too. `strict` asks for A as it is. */
function asImported({ options, stores: { b }, list }: Run): "error" | undefined {
  if (isSource(b) || options.strict === true) return undefined;
  return databaseOf(b, list)?.ids === "uuid" ? "error" : undefined;
}

/** The tenants' names behind the transforms; undefined where that cannot be told, and B is then read whole. */
export function tenantsBehind(tenants: readonly string[], transforms: readonly Transform[]): string[] | undefined {
  const isUnknown = ({ tenantAfter, mayChange }: Transform): boolean =>
    tenantAfter === undefined &&
    standardCatalog.kinds.some(({ path }) => mayChange === undefined || mayChange(path, "tenant_id"));
  if (transforms.some(isUnknown)) return undefined;
  return tenants.map((tenant) => transforms.reduce((name, { tenantAfter }) => tenantAfter?.(name) ?? name, tenant));
}

/** The progress of both readings as one. */
export class TwoSided {
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
    // A store that is read to its end waits for the other: nothing is checked or merged.
    if (progress.phase !== "checking") this.show(progress);
  }

  /** What both have come to. */
  tell(phase: "comparing" | "searching"): void {
    const { a, b } = this.last;
    const last = b ?? a;
    if (last !== undefined) this.show({ path: last.path, pathRecords: last.pathRecords, records: 0, bytes: 0, phase });
  }

  private show(progress: Progress): void {
    const { a, b } = this.last;
    this.options.onProgress?.({
      ...progress,
      records: (a?.records ?? 0) + (b?.records ?? 0),
      bytes: (a?.bytes ?? 0) + (b?.bytes ?? 0),
    });
  }
}
