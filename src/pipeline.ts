/** Runs source -> transforms -> sink. Knows the contracts only. */
import { type Catalog, catalog as standardCatalog } from "./catalog/index.js";
import { StorageError, toStorageError } from "./errors.js";
import type { RecordBatch } from "./records/record-batch.js";
import type { Rejection, RunContext, Selection } from "./records/run-context.js";
import type { Sink, SinkReport } from "./sinks/sink.js";
import type { Source, StoreHeader } from "./sources/source.js";
import { type Cascade, planCascade } from "./transforms/cascade.js";
import { Limit, type Read } from "./transforms/limit.js";
import { RejectedKeys } from "./transforms/rejected-keys.js";
import { rejectOrphans, withoutOrphans } from "./transforms/rejected-parents.js";
import { SparedKeys } from "./transforms/spared-keys.js";
import { warnOfMissingTenants } from "./transforms/tenants-seen.js";
import type { Transform } from "./transforms/transform.js";

export interface Progress {
  /** The kind that is being read. */
  readonly path: string;
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
  readonly transforms?: readonly Transform[];
  /** What belongs to the records that a transform drops (ForeignKey.onDrop) goes with them. Default true. */
  readonly cascade?: boolean;
  /** At most so many records of each kind, before the transforms; parents that kept children refer to come first. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
  /** Called after each batch. */
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
  /** Tells which kinds are parents: their rejected keys are remembered. Default: llmspell's. */
  readonly catalog?: Catalog;
}

export interface PipelineResult {
  readonly header: StoreHeader;
  readonly report: SinkReport;
  /** Records that reached the sink, by path. */
  readonly read: ReadonlyMap<string, number>;
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
  const { source, sink, selection, onProgress, catalog = standardCatalog } = options;
  const signal = options.signal ?? new AbortController().signal;
  const rejected = new Map<string, number>();
  const rejectedKeys = new RejectedKeys(catalog.parents);
  const aheadKeys = new RejectedKeys(catalog.parents);
  const spared = options.prune === undefined ? undefined : new SparedKeys(catalog, options.prune.keysStay);
  const warned = new Set<string>();
  const leftOut = new Set<string>();
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
  const context: RunContext = {
    signal,
    reject(rejection) {
      lastRejection = lastRejection.then(() => tell(rejection));
      return lastRejection;
    },
    isRejected: (path, key) => rejectedKeys.has(path, key),
    ...(spared === undefined ? {} : { spared }),
    warn(message) {
      if (warned.has(message)) return;
      if (warned.size === WARNINGS) {
        untold++;
        return;
      }
      warned.add(message);
      options.onWarning?.(message);
    },
    leftOut(message) {
      leftOut.add(message);
      context.warn(message);
    },
  };
  const requireComplete = (): void => {
    if (options.strict === true && leftOut.size > 0) throw leftOutError([...leftOut]);
  };
  const ahead = lookingAhead(context, options.onReject !== undefined, aheadKeys);
  const orphans = {
    catalog,
    hasRejected: (path: string) => rejectedKeys.hasAny(path) || aheadKeys.hasAny(path),
  };
  const leavesOrphans = options.onReject !== undefined && sink.checksReferences !== true;
  const given = options.transforms ?? [];
  const transforms = leavesOrphans ? given.map((transform) => withoutOrphans(transform, orphans)) : given;
  let cascade: Cascade | undefined;
  let limit: Limit | undefined;
  try {
    signal.throwIfAborted();
    const header = await source.open(context, selection);
    if (spared !== undefined) requireWhole(source);
    await sink.open(header, behindSteps(context, given));
    let read: Read = (wanted, during) => source.read(wanted, during);
    if (options.limit !== undefined) {
      limit = new Limit(catalog, selection, options.limit);
      if (limit.looksAhead) requireRereadable(source);
      await limit.learn(read, ahead);
      read = limit.limited(read);
    }
    if (options.cascade ?? true) cascade = planCascade({ catalog, transforms, paths: selection.paths });
    if (cascade !== undefined) {
      requireRereadable(source);
      await cascade.learn((paths) => read({ ...selection, paths, peek: true }, ahead), ahead);
    }
    const drops = new Drops();
    let batches: AsyncIterable<RecordBatch> = drops.before(read(selection, context));
    if (selection.tenants !== undefined) batches = warnOfMissingTenants(batches, selection.tenants, context);
    const counting = drops.counting(context);
    if (cascade !== undefined) batches = cascade.apply(batches, counting);
    else for (const transform of transforms) batches = transform.apply(batches, counting);
    batches = drops.behind(batches);
    if (leavesOrphans) batches = rejectOrphans(batches, orphans, context);
    const written = new Map<string, number>();
    let records = 0;
    let bytes = 0;
    for await (const batch of batches) {
      signal.throwIfAborted();
      requireComplete();
      await sink.write(batch);
      records += batch.rows;
      bytes += batch.byteLength;
      const pathRecords = (written.get(batch.kind.path) ?? 0) + batch.rows;
      written.set(batch.kind.path, pathRecords);
      onProgress?.({ path: batch.kind.path, records, pathRecords, bytes });
    }
    signal.throwIfAborted();
    requireComplete();
    const cascaded = cascade?.removed ?? new Map<string, number>();
    if (spared !== undefined) requireWhole(source, drops.count);
    const report = await sink.finish({ partial: partialBecause(options, catalog, drops.count, rejected.size) });
    if (untold > 0) options.onWarning?.(`and ${untold} more warnings`);
    return { header, report, read: written, rejected, cascaded, leftOut: [...leftOut] };
  } catch (error) {
    throw signal.aborted ? interruption(signal, error) : toStorageError(error);
  } finally {
    await sink.abort();
    await source.close();
    await cascade?.close();
    await limit?.close();
    await rejectedKeys.close();
    await aheadKeys.close();
    await spared?.close();
  }
}

/** Whether the steps give fewer records than they get, rejected ones aside. */
class Drops {
  private taken = 0;
  private given = 0;
  private rejected = 0;
  private told = 0;
  private tookAll = false;

  get count(): number {
    return Math.max(this.told, this.taken - this.given - this.rejected, this.tookAll ? 0 : 1);
  }

  /** The steps' context. */
  counting(context: RunContext): RunContext {
    return {
      ...context,
      dropped: () => void this.told++,
      reject: (rejection) => {
        this.rejected++;
        return context.reject(rejection);
      },
    };
  }

  async *before(batches: AsyncIterable<RecordBatch>): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      this.taken += batch.rows;
      yield batch;
    }
    this.tookAll = true;
  }

  async *behind(batches: AsyncIterable<RecordBatch>): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      this.given += batch.rows;
      yield batch;
    }
  }
}

/** Why the run's records are not all that there are. */
function partialBecause(
  { source, selection, limit }: PipelineOptions,
  catalog: Catalog,
  dropped: number,
  rejectedKinds: number,
): string[] {
  const reasons: [word: string, holds: boolean][] = [
    ["source", source.partial?.() !== undefined],
    ["sections", catalog.kinds.some(({ path }) => !selection.paths.has(path))],
    ["tenants", selection.tenants !== undefined],
    ["limit", limit !== undefined],
    ["dropped", dropped > 0],
    ["rejected", rejectedKinds > 0],
  ];
  return reasons.flatMap(([word, holds]) => (holds ? [word] : []));
}

/** What the run does not bring may be missing for other reasons than that it is no more. E_USAGE. */
function requireWhole(source: Source, dropped = 0): void {
  const why = source.partial === undefined ? "the source does not say whether it is whole" : source.partial();
  if (why !== undefined)
    throw new StorageError("E_USAGE", "--prune needs a source that has all records", {
      detail: why,
      hint: "It takes a database, or a document that `llmspell storage export` of version 0.2 or newer wrote without a selection and that nobody changed.",
    });
  if (dropped > 0)
    throw new StorageError(
      "E_USAGE",
      `the steps drop records, ${dropped} or more: with --prune they would be removed from the target`,
      {
        hint: "Go without the step that drops records, or without --prune.",
      },
    );
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
