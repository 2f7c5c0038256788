/**
 * Runs source -> transforms -> sink. Knows the contracts only.
 * Over 300 lines: one run, from its beginning to its end.
 */
import type { Catalog } from "./catalog/index.js";
import { StorageError, toStorageError } from "./errors.js";
import { ByteRate } from "./records/byte-rate.js";
import type { RecordBatch } from "./records/record-batch.js";
import type { Activity, Rejection, RunContext, Selection } from "./records/run-context.js";
import { ValueBytes } from "./records/value-bytes.js";
import type { Sink, SinkReport } from "./sinks/sink.js";
import type { Source, StoreHeader } from "./sources/source.js";
import { warnOfMissingTenants } from "./transforms/effect.js";
import type { Limit, Read } from "./transforms/limit.js";
import type { RecordThreads } from "./transforms/record-threads.js";
import type { Cascade } from "./transforms/referential/cascade.js";
import { RejectedKeys } from "./transforms/referential/rejected-keys.js";
import type { SparedKeys } from "./transforms/referential/spared-keys.js";
import type { Transform } from "./transforms/transform.js";
import { Drops, partialBecause, requireTold, requireWhole, silentNote, tellDrops } from "./transforms/wholeness.js";

export interface Progress extends Activity {
  /** The kind that is being read, or was last; empty before the first. */
  readonly path: string;
  /** Which of the run's kinds it is, from 1, and how many these are. */
  readonly section?: { readonly number: number; readonly of: number };
  /** Records read so far, all kinds and this kind. */
  readonly records: number;
  readonly pathRecords: number;
  /** Bytes of values read so far. */
  readonly bytes: number;
}

export interface PipelineOptions {
  readonly source: Source;
  readonly sink: Sink;
  readonly selection: Selection;
  /** Those of the source's catalog, where they depend on one, are made by a function, once the source is open. */
  readonly transforms?: readonly Transform[] | ((catalog: Catalog) => Promise<readonly Transform[]>);
  /** What belongs to the records that a transform drops (ForeignKey.onDrop) goes with them. Default true. */
  readonly cascade?: boolean;
  /** At most so many records of each kind, before the transforms; parents that kept children refer to come first. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
  /** No more bytes of records in a second than that, from 1 on: as they are read, and as several threads give them. E_USAGE */
  readonly bytesPerSecond?: number | undefined;
  /** Called after each batch, and whenever the run goes on to something else or waits. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called for each rejected record; throw (or reject) to stop the run. Default: stop at the first. */
  readonly onReject?: (rejection: Rejection) => void | Promise<void>;
  readonly onWarning?: (message: string) => void;
  /** What a source leaves out without being asked to (RunContext.leftOut) ends the run: E_LEFT_OUT. Default false: warnings. */
  readonly strict?: boolean;
  /**
   * The sink prunes: the source has to be whole (Source.partial), and no step may drop records, else E_USAGE. `keysStay`: a
   * record's key in the target is the one that it has in the source.
   */
  readonly prune?: { readonly keysStay: boolean };
  /** Reads, changes and prints the records in several threads, where sink and steps allow it. */
  readonly threads?: RecordThreads | undefined;
  /** Of a source that gives none with its header. E_USAGE where nobody does. */
  readonly catalog?: Catalog;
}

export interface PipelineResult {
  readonly header: StoreHeader;
  readonly report: SinkReport;
  /** Records that the source gave, before any transform, by path. */
  readonly met: ReadonlyMap<string, number>;
  /** Records that reached the sink, by path. */
  readonly read: ReadonlyMap<string, number>;
  /** Bytes of their values, by path. */
  readonly valueBytes: ReadonlyMap<string, number>;
  /** Rejected records, by path. */
  readonly rejected: ReadonlyMap<string, number>;
  /** Records that went with others which a transform dropped, by path. */
  readonly cascaded: ReadonlyMap<string, number>;
  /** What the source holds and the run did not take, a line each. */
  readonly leftOut: readonly string[];
}

/** So many different warnings are told; of the others only how many. */
const WARNINGS = 1000;

/** All or nothing: on any error the sink is aborted, and a StorageError is thrown. Closes source and sink. */
export async function runPipeline(options: PipelineOptions): Promise<PipelineResult> {
  const { source, sink, selection, onProgress } = options;
  const signal = options.signal ?? new AbortController().signal;
  const rejected = new Map<string, number>();
  /** Known when the source is open. */
  const parents = new Set<string>();
  const rejectedKeys = new RejectedKeys(parents);
  const aheadKeys = new RejectedKeys(parents);
  const warned = new Set<string>();
  const leftOut = new Set<string>();
  const notes = new Set<string>();
  const met = new Map<string, number>();
  let spared: SparedKeys | undefined;
  let untold = 0;
  // A sink may reject a record of one batch while the source rejects one of the next: whoever is told hears one at a time.
  let lastRejection: Promise<void> = Promise.resolve();
  const tell = async (rejection: Rejection): Promise<void> => {
    const { kind, error } = rejection;
    if (options.onReject === undefined) throw withWayOn(error);
    await options.onReject(rejection);
    rejected.set(kind.path, (rejected.get(kind.path) ?? 0) + 1);
    await rejectedKeys.add(kind.path, `${error.context.key}`);
    if (rejection.spares !== true) await spared?.add(kind, `${error.context.key}`);
  };
  const done = { path: "", records: 0, pathRecords: 0, bytes: 0 };
  let sections: readonly string[] = [];
  const tellProgress = (activity: Activity): void => {
    if (onProgress === undefined) return;
    const number = sections.indexOf(done.path) + 1;
    onProgress({ ...activity, ...done, ...(number === 0 ? {} : { section: { number, of: sections.length } }) });
  };
  let indexesToBuild = 0;
  const context: RunContext = {
    signal,
    activity(activity) {
      indexesToBuild = activity.indexesToBuild ?? indexesToBuild;
      tellProgress(activity);
    },
    reject(rejection) {
      lastRejection = lastRejection.then(() => tell(rejection));
      return lastRejection;
    },
    isRejected: (path, key) => rejectedKeys.has(path, key),
    warn(message) {
      if (warned.has(message)) return;
      if (warned.size === WARNINGS) {
        untold++;
        return;
      }
      warned.add(message);
      options.onWarning?.(message);
    },
    note: (message) => void notes.add(message),
    leftOut(message) {
      leftOut.add(message);
      context.warn(message);
    },
  };
  const requireComplete = (): void => {
    if (options.strict === true && leftOut.size > 0) throw leftOutError([...leftOut]);
  };
  const ahead = lookingAhead(context, options.onReject !== undefined, aheadKeys);
  const hasRejected = (path: string): boolean => rejectedKeys.hasAny(path) || aheadKeys.hasAny(path);
  const leavesOrphans = options.onReject !== undefined && sink.checksReferences !== true;
  let cascade: Cascade | undefined;
  let limit: Limit | undefined;
  try {
    const rate = options.bytesPerSecond === undefined ? undefined : new ByteRate(options.bytesPerSecond, signal);
    signal.throwIfAborted();
    tellProgress({ phase: "connecting" });
    options.threads?.prepare(sink.writeText !== undefined);
    const { catalog = requireCatalog(options.catalog), ...header } = await source.open(context, selection);
    sections = catalog.kinds.map(({ path }) => path).filter((path) => selection.paths.has(path));
    for (const path of catalog.parents) parents.add(path);
    const given = await transformsFor(options.transforms ?? [], catalog);
    const orphans = { catalog, hasRejected };
    const drops = new Drops();
    const watched = given.map((transform) => drops.watched(transform));
    const care = leavesOrphans ? await import("./transforms/referential/rejected-parents.js") : undefined;
    const transforms = care ? watched.map((transform) => care.withoutOrphans(transform, orphans)) : watched;
    if (options.prune !== undefined) {
      const { SparedKeys } = await import("./transforms/referential/spared-keys.js");
      spared = new SparedKeys(catalog, options.prune.keysStay);
      requireWhole(source);
      requireTold(given, selection.paths);
      Object.assign(context, { spared });
    }
    await sink.open({ ...header, catalog }, behindSteps(context, given));
    tellProgress({ phase: "planning" });
    let read: Read = (wanted, during) => {
      const batches = source.read(wanted, during);
      return rate?.limited(batches) ?? batches;
    };
    if (options.limit !== undefined) {
      const { Limit } = await import("./transforms/limit.js");
      limit = new Limit(catalog, selection, options.limit);
      if (limit.looksAhead) requireRereadable(source);
      await limit.learn(read, ahead);
      read = limit.limited(read);
    }
    if ((options.cascade ?? true) && transforms.length > 0) {
      const { planCascade } = await import("./transforms/referential/cascade.js");
      cascade = planCascade({ catalog, transforms, paths: selection.paths });
    }
    if (cascade !== undefined) {
      requireRereadable(source);
      await cascade.learn((paths) => read({ ...selection, paths, peek: true }, ahead), ahead);
    }
    const written = new Map<string, number>();
    const valueBytes = new ValueBytes();
    const took = (path: string, records: number, bytes: number): void => {
      done.path = path;
      done.records += records;
      done.bytes += bytes;
      done.pathRecords = (written.get(path) ?? 0) + records;
      written.set(path, done.pathRecords);
      tellProgress({ phase: "rows", ...(indexesToBuild === 0 ? {} : { indexesToBuild }) });
    };
    const threaded = await options.threads?.start({
      ...{ source, selection, catalog, transforms: given, context, met, drops, valueBytes, leavesOrphans },
      skips: options.onReject !== undefined,
      takesText: sink.writeText !== undefined,
      whole: options.limit === undefined ? undefined : "a limit counts the records as they come",
      inOrder: cascade === undefined ? undefined : "a step may drop records that others belong to",
    });
    for await (const text of threaded?.texts ?? []) {
      signal.throwIfAborted();
      requireComplete();
      await rate?.take(text.valueBytes);
      await sink.writeText?.(text);
      took(text.kind.path, text.records, text.valueBytes);
    }
    const inOneThread = (): AsyncIterable<RecordBatch> => {
      const ahead = threaded?.read && (rate?.limited(threaded.read) ?? threaded.read);
      let batches: AsyncIterable<RecordBatch> = ahead ?? read(selection, context);
      if (selection.tenants !== undefined) batches = warnOfMissingTenants(batches, selection.tenants, context);
      batches = counted(batches, met);
      if (cascade !== undefined) batches = cascade.apply(batches, context);
      else for (const transform of transforms) batches = transform.apply(batches, context);
      return care?.rejectOrphans(batches, orphans, context) ?? batches;
    };
    const fromThreads = threaded?.batches && (rate?.limited(threaded.batches) ?? threaded.batches);
    const batches = fromThreads ?? (threaded?.texts === undefined ? inOneThread() : []);
    for await (const batch of batches) {
      signal.throwIfAborted();
      requireComplete();
      await sink.write(valueBytes.counted(batch));
      took(batch.kind.path, batch.rows, batch.byteLength);
    }
    signal.throwIfAborted();
    requireComplete();
    tellProgress({ phase: "checking" });
    const cascaded = cascade?.removed ?? new Map<string, number>();
    if (spared !== undefined) requireWhole(source, drops.count);
    const silent = sink.inCatalogOrder === true && drops.count === 0 ? silentNote(given, selection.paths) : undefined;
    if (silent !== undefined) notes.add(silent);
    const { notes: told, ...report } = await sink.finish({
      order: source.order?.(),
      partial: partialBecause(options, catalog, {
        dropped: drops.count > 0 || !tellDrops(given, selection.paths),
        rejected: rejected.size > 0,
      }),
    });
    if (rate?.note !== undefined) notes.add(rate.note);
    if (untold > 0) options.onWarning?.(`and ${untold} more warnings`);
    return {
      header,
      report: { ...report, notes: [...told, ...notes] },
      met,
      read: written,
      valueBytes: valueBytes.byPath,
      rejected,
      cascaded,
      leftOut: [...leftOut],
    };
  } catch (error) {
    throw signal.aborted ? interruption(signal, error) : toStorageError(error);
  } finally {
    await sink.abort();
    await options.threads?.close();
    await source.close();
    await cascade?.close();
    await limit?.close();
    await rejectedKeys.close();
    await aheadKeys.close();
    await spared?.close();
  }
}

async function* counted(batches: AsyncIterable<RecordBatch>, met: Map<string, number>): AsyncGenerator<RecordBatch> {
  for await (const batch of batches) {
    const { path } = batch.kind;
    met.set(path, (met.get(path) ?? 0) + batch.rows);
    yield batch;
  }
}

function requireCatalog(catalog: Catalog | undefined): Catalog {
  if (catalog !== undefined) return catalog;
  throw new StorageError("E_USAGE", "the source names no catalog", {
    hint: "Its `open` gives one with the header, or runPipeline gets it as an option.",
  });
}

async function transformsFor(
  transforms: NonNullable<PipelineOptions["transforms"]>,
  catalog: Catalog,
): Promise<readonly Transform[]> {
  return typeof transforms === "function" ? transforms(catalog) : transforms;
}

const WAY_ON = "--on-error skip --rejects FILE (onReject) leaves such records out, writes them to FILE, and goes on.";

/** A record's error that ends the run; its own hint counts more. */
function withWayOn(error: StorageError): StorageError {
  error.context.hint ??= WAY_ON;
  return error;
}

/** The sink's context: what it rejects may have been spoiled by a step. */
function behindSteps(context: RunContext, transforms: readonly Transform[]): RunContext {
  if (transforms.length === 0) return context;
  return {
    ...context,
    reject(rejection) {
      const { kind, error } = rejection;
      const steps = transforms.filter(({ mayChange }) => mayChange?.(kind.path, error.context.field) ?? true);
      if (steps.length > 0) error.context.steps = steps.map(({ name }) => name);
      return context.reject(rejection);
    },
  };
}

/** The context of a look ahead: what is to be said is said when the records come again. */
function lookingAhead(context: RunContext, goesOn: boolean, keys: RejectedKeys): RunContext {
  return {
    signal: context.signal,
    async reject({ kind, error }) {
      if (!goesOn) throw withWayOn(error);
      await keys.add(kind.path, `${error.context.key}`);
    },
    isRejected: (path, key) => keys.has(path, key),
    warn: () => {},
    leftOut: () => {},
    ahead: true,
  };
}

/** The first of these lines are named in the error; warnings name them all. */
const NAMED_LINES = 3;

/** E_LEFT_OUT for the lines of RunContext.leftOut. */
export function leftOutError(lines: readonly string[]): StorageError {
  const more = lines.length > NAMED_LINES ? `; and ${lines.length - NAMED_LINES} more` : "";
  return new StorageError("E_LEFT_OUT", "the source holds what the run would leave out", {
    detail: lines.slice(0, NAMED_LINES).join("; ") + more,
    hint: "Without --strict (strict: false) the run goes on without it, and warns.",
  });
}

function requireRereadable(source: Source): void {
  if (source.rereadable ?? true) return;
  throw new StorageError("E_USAGE", "the source can be read only once, which cascades and limits are not enough for", {
    hint: "Go without a limit, and with --no-cascade (cascade: false).",
  });
}

/** The StorageError that an aborted signal stands for; `signal.reason` may be one already. */
function interruption(signal: AbortSignal, error: unknown): StorageError {
  const reason =
    signal.reason instanceof StorageError
      ? signal.reason
      : new StorageError("E_INTERRUPTED", "the run was interrupted", {}, signal.reason);
  if (!(error instanceof StorageError) || error.context.outcomeUnknown === undefined) return reason;
  const message = `${reason.message} while the server was committing: the target may have all of the records, or none`;
  return new StorageError(reason.code, message, error.context);
}
