/**
 * `--jobs`: threads that each read parts of one snapshot, put them through the steps, and print them; this one plans the parts,
 * and puts the text together in the document's order.
 */
import { availableParallelism } from "node:os";
import type { RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext, StepEffect } from "../records/run-context.js";
import type { PartedSource } from "../sources/source.js";
import type { AnyLocation, SourceOptions } from "../stores/index.js";
import { warnOfMissing } from "../transforms/effect.js";
import type { RecordThreads, ThreadedRun } from "../transforms/record-threads.js";
import { recipeOf, type TransformRecipe } from "../transforms/spec.js";
import { isFull, withJobs } from "./full-server.js";
import type { FromThread } from "./messages.js";
import { type GivenPart, OrderedParts } from "./ordered-parts.js";
import { receiveBatch, SentContent } from "./sent-batch.js";
import { receiveError } from "./sent-error.js";
import { sharingOf } from "./sharing.js";
import { SLOT_BYTES } from "./slots.js";
import { ThreadHandle, threadsCanRun } from "./thread-handle.js";

export interface RecordThreadsOptions {
  /** How many threads read; from 2 on. */
  readonly jobs: number;
  /** Somebody asked for this number: where it has no effect at all, a warning says so. */
  readonly isAsked: boolean;
  readonly location: AnyLocation;
  /** As the run's own source was made with, with the configuration in it. */
  readonly source: SourceOptions;
  /** The form of embeddings in the document. */
  readonly vectors: "base64" | "json";
  /** One line for `--verbose`. */
  readonly onInfo?: ((message: string) => void) | undefined;
}

type Text = { kind: RecordKind; bytes: Buffer; records: number; continues: boolean; valueBytes: number };

export function createRecordThreads(options: RecordThreadsOptions): RecordThreads {
  const { location, jobs } = options;
  const { catalog: _catalog, signal: _signal, ...source } = options.source;
  const createThread = (): ThreadHandle => new ThreadHandle({ location, source });
  let threads: ThreadHandle[] = [];
  /** Those that were started ahead, and have nothing to do yet. */
  let spare: ThreadHandle[] = [];
  const closeSpare = async (): Promise<void> => {
    await Promise.all(spare.splice(0).map((thread) => thread.close()));
  };
  return {
    prepare(takesText) {
      // More than run at once come when they are needed.
      const length = threadsCanRun() ? Math.min(readersOf(jobs, takesText), availableParallelism()) : 0;
      spare = Array.from({ length }, createThread);
    },
    async start(run) {
      const { onInfo = () => {} } = options;
      const { inParts } = run.source;
      const sharing = sharingOf(run);
      if (sharing.type === "none" || inParts === undefined) {
        const why = sharing.type === "none" ? sharing.why : "the source cannot be read in parts";
        if (options.isAsked) run.context.warn(`--jobs (jobs) has no effect: ${why}`);
        else onInfo(`One job: ${why}`);
        await closeSpare();
        return undefined;
      }
      const hasSteps = sharing.type === "steps";
      if (!hasSteps && sharing.why !== undefined) onInfo(`One job for the steps: ${sharing.why}`);
      const coordinator = new Coordinator(options, run, inParts, hasSteps, () => spare.shift() ?? createThread());
      threads = coordinator.threads;
      await closeSpare();
      await coordinator.open();
      if (!hasSteps) return { read: coordinator.batches() };
      return run.takesText ? { texts: coordinator.texts() } : { batches: coordinator.batches() };
    },
    async close() {
      await Promise.all([closeSpare(), ...threads.map((thread) => thread.close())]);
    },
  };
}

/** How many threads read. A database is written by this thread, which is one of the jobs. */
function readersOf(jobs: number, takesText: boolean): number {
  return Math.max(1, jobs - (takesText ? 0 : 1));
}

class Coordinator {
  readonly threads: ThreadHandle[];
  private readonly parts: OrderedParts;
  /** What came of the parts of the kind at hand. */
  private readonly tally = { path: "", records: 0, sum: 0, squares: 0 };

  constructor(
    private readonly options: RecordThreadsOptions,
    private readonly run: ThreadedRun,
    private readonly inParts: PartedSource,
    /** The threads put the records through the steps; else whoever gets them does. */
    private readonly hasSteps: boolean,
    createThread: () => ThreadHandle,
  ) {
    const { location, vectors } = options;
    const { catalog: _catalog, signal: _signal, ...source } = options.source;
    const { selection, context, skips, takesText, transforms, catalog } = run;
    const leavesOrphans = hasSteps && run.leavesOrphans;
    const recipes = hasSteps ? transforms.map((transform) => recipeOf(transform) as TransformRecipe) : [];
    const paths = [...selection.paths];
    const { tenants } = selection;
    const form = takesText && hasSteps ? vectors : "batches";
    const jobs = inParts.single === undefined ? readersOf(options.jobs, takesText) : 1;
    const task = { location, source, recipes, paths, tenants, form, skips, leavesOrphans } as const;
    const heard = {
      warn: (message: string) => context.warn(message),
      note: (message: string) => context.note?.(message),
    };
    this.threads = Array.from({ length: jobs }, createThread);
    for (const thread of this.threads) thread.begin(task, heard, () => this.parts.changed());
    this.parts = new OrderedParts({ threads: this.threads, catalog, leavesOrphans, signal: context.signal });
  }

  /** Of one snapshot with the run's source. */
  async open(): Promise<void> {
    const { threads, inParts, run } = this;
    const { context } = run;
    context.signal.addEventListener("abort", () => this.abort(), { once: true });
    await inParts.share(async (snapshot) => {
      // All have ended when this does, the one that failed included.
      const opened = await Promise.allSettled(threads.map((thread) => thread.open(snapshot)));
      const errors = opened.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
      const other = errors.find((error) => !isFull(error));
      if (other !== undefined) throw other;
      if (errors.length === threads.length) throw withJobs(errors[0], threads.length);
      if (errors.length > 0) await this.goWithout(threads.filter((_thread, at) => opened[at]?.status === "rejected"));
    }, context);
  }

  /** The server has no connection left for these: the others do the work. */
  private async goWithout(refused: readonly ThreadHandle[]): Promise<void> {
    const { threads, run } = this;
    const all = threads.length;
    threads.splice(0, all, ...threads.filter((thread) => !refused.includes(thread)));
    await Promise.all(refused.map((thread) => thread.close()));
    run.context.warn(`the server has connections left for ${threads.length} of the ${all} jobs`);
  }

  private abort(): void {
    for (const thread of this.threads) thread.abort(this.run.context.signal.reason);
    this.parts.changed();
  }

  texts(): AsyncGenerator<Text> {
    return this.ordered((given) => this.textsOf(given));
  }

  batches(): AsyncGenerator<RecordBatch> {
    const memory = new ArrayBuffer(SLOT_BYTES);
    return this.ordered((given) => this.batchesOf(given, memory));
  }

  /** What is made of each part, in the parts' order. */
  private async *ordered<Item>(itemsOf: (given: GivenPart) => AsyncGenerator<Item>): AsyncGenerator<Item> {
    const { inParts, run, parts, options, tally } = this;
    const { selection, context } = run;
    const planning = parts.giveAll(inParts.plan(selection, context, this.threads.length));
    const requireAll = async (): Promise<void> => {
      if (tally.path !== "") await inParts.requireAll?.(tally.path, tally, selection);
    };
    try {
      for (let given = await parts.next(); given !== undefined; given = await parts.next()) {
        const { path } = given.part;
        if (path !== tally.path) {
          await requireAll();
          Object.assign(tally, { path, records: 0, sum: 0, squares: 0 });
        }
        yield* itemsOf(given);
        parts.took(given);
      }
      await requireAll();
      await this.end();
      if (inParts.single !== undefined) options.onInfo?.(`One job reads: ${inParts.single}`);
      for (const line of inParts.whole) options.onInfo?.(`One job for ${line}`);
    } finally {
      parts.close();
      await planning;
    }
  }

  private async *textsOf({ part, thread }: GivenPart): AsyncGenerator<Text> {
    const kind = this.kindOf(part.path);
    let continues = false;
    for await (const message of this.messagesOf(thread)) {
      if (message.type !== "text") throw unexpected(message);
      const { slot, records, valueBytes } = message;
      this.run.valueBytes.add(kind.path, valueBytes);
      yield { kind, bytes: thread.bytesOf(message), records, continues, valueBytes };
      continues = true;
      thread.giveBack(slot);
    }
  }

  private async *batchesOf({ thread }: GivenPart, memory: ArrayBuffer): AsyncGenerator<RecordBatch> {
    for await (const message of this.messagesOf(thread)) {
      if (message.type !== "batch") throw unexpected(message);
      const content = message.content === undefined ? undefined : new SentContent(message.content, thread);
      yield receiveBatch(this.kindOf(message.path), message, thread, content, memory);
      await content?.discard();
    }
  }

  private kindOf(path: string): RecordKind {
    const kind = this.run.catalog.byPath.get(path);
    if (kind === undefined) throw new Error(`a thread gave records of ${path}`);
    return kind;
  }

  /** Of one part, but for what is counted here, and rejected. */
  private async *messagesOf(thread: ThreadHandle): AsyncGenerator<FromThread> {
    const { run, tally, inParts } = this;
    for (;;) {
      const message = await thread.next();
      if (message.type === "partEnd") {
        // Whoever puts them through the steps counts them, too.
        if (this.hasSteps)
          for (const [path, records] of message.met) run.met.set(path, (run.met.get(path) ?? 0) + records);
        inParts.came?.(message.facts);
        const { records = 0, sum = 0, squares = 0 } = message.tally ?? {};
        tally.records += records;
        tally.sum = (tally.sum + sum) | 0;
        tally.squares = (tally.squares + squares) | 0;
        return;
      }
      if (message.type === "reject") await this.reject(thread, this.kindOf(message.path), message);
      else yield message;
    }
  }

  private async reject(
    thread: ThreadHandle,
    kind: RecordKind,
    { error, hasRecord }: { readonly error: Parameters<typeof receiveError>[0]; readonly hasRecord: boolean },
  ): Promise<void> {
    const { context, catalog } = this.run;
    const leavesOrphans = this.hasSteps && this.run.leavesOrphans;
    const record = hasRecord ? recordOf(thread) : undefined;
    const received = receiveError(error);
    await context.reject({ kind, error: received, ...(record === undefined ? {} : { record }) });
    // Who is told of the rejection need not have taken the record.
    for await (const _ of record ?? []);
    if (!leavesOrphans || !catalog.parents.has(kind.path)) return;
    const keys = [`${received.context.key}`];
    for (const each of this.threads) each.tell({ type: "rejected", path: kind.path, keys });
  }

  /** What the steps have to say when all records have gone through them: of all threads together. */
  private async end(): Promise<void> {
    const { threads, run } = this;
    const { context, drops, transforms, selection } = run;
    for (const thread of threads) thread.tell({ type: "end" });
    const sums: StepEffect[] = [];
    let unmet: readonly string[] = selection.tenants ?? [];
    for (const thread of threads) {
      const message = await thread.next();
      if (message.type !== "ended") throw unexpected(message);
      drops.add(message.dropped);
      for (const [i, { records, hits, passed }] of message.effects.entries()) {
        const sum = sums[i] ?? { records: 0, hits: 0, passed: 0 };
        sums[i] = { records: sum.records + records, hits: sum.hits + hits, passed: sum.passed + passed };
      }
      const missing = new Set(message.unmet);
      unmet = unmet.filter((tenant) => missing.has(tenant));
    }
    for (const thread of threads) thread.check();
    if (!this.hasSteps) return;
    for (const tenant of unmet) warnOfMissing(tenant, context);
    // A pass without records, whose steps find their counts: plugins have none.
    const settling: RunContext = { ...context, effect: () => sums.shift() ?? { records: 0, hits: 0, passed: 0 } };
    let batches: AsyncIterable<RecordBatch> = nothing();
    for (const transform of transforms)
      if (recipeOf(transform)?.spec.type !== "plugin") batches = transform.apply(batches, settling);
    for await (const _ of batches) throw new StorageError("E_UNEXPECTED", "a step gave records that it never got");
  }
}

function unexpected({ type }: FromThread): Error {
  return new Error(`a thread said ${type} where something else was expected`);
}

async function* nothing(): AsyncGenerator<RecordBatch> {}

/** The text of a rejected record. */
async function* recordOf(thread: ThreadHandle): AsyncGenerator<Uint8Array> {
  for (;;) {
    const message = await thread.next();
    if (message.type === "recordEnd") return;
    if (message.type !== "record") throw unexpected(message);
    yield thread.bytesOf(message);
    thread.giveBack(message.slot);
  }
}
