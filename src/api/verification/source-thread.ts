/**
 * A source in a thread of its own, as any other to whoever reads it: the next batches are read while the last ones are looked at.
 * Batches come in memory that both threads see (batch-ring.ts), so that what is on its way is bounded; everything else, by messages.
 */
import { existsSync } from "node:fs";
import { setImmediate as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { StorageError } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import { createRingMemory, RingReader } from "../../records/batch-ring.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { RunContext, Selection } from "../../records/run-context.js";
import type { Source, StoreHeader } from "../../sources/source.js";
import type { AnyLocation, SourceOptions } from "../../stores/index.js";
import { RingBatches } from "./ring-batches.js";
import {
  ABORTED,
  type Described,
  heardError,
  LEFT,
  type OpenedHeader,
  type Order,
  type Question,
  type Reply,
  type SourceOrder,
  type Told,
  toldError,
} from "./source-protocol.js";

/** Under a test runner there is no compiled file beside this one. */
const FILE = new URL("./source-worker.js", import.meta.url);
/** Of the thread's heap, MB: what is young dies young. */
const HEAP = { maxYoungGenerationSizeMb: 3 };
/** The thread that reads hears signals, timers and messages so often. Milliseconds. */
const PAUSE_MILLISECONDS = 20;

/** Whether threads can be had: the program is compiled. */
export function hasSourceThreads(): boolean {
  return existsSync(fileURLToPath(FILE));
}

/** As createSource of a store of ours, of llmspell's catalog. A rejected record's text does not come with its rejection. */
export async function createThreadedSource(
  location: AnyLocation,
  options: Omit<SourceOptions, "catalog" | "signal">,
): Promise<Source> {
  const thread = new SourceThread(location, options);
  try {
    return threadedSource(thread, await thread.described());
  } catch (error) {
    await thread.end();
    throw error;
  }
}

/** What may be asked without its number. */
type Asked = Question extends infer One ? (One extends Question ? Omit<One, "id"> : never) : never;

class SourceThread {
  private readonly ring: RingReader;
  private readonly batches: RingBatches;
  method: string | undefined;
  partial: string | undefined;
  private readonly worker: Worker;
  private readonly stop = new Int32Array(new SharedArrayBuffer(4));
  private readonly replies = new Map<number, (reply: Reply) => void>();
  private readonly ended: Promise<void>;
  private asked = 0;
  private description: Described | undefined;
  private failure: Error | undefined;
  private context: RunContext | undefined;
  /** What the reader's own context threw: it ends the reading. */
  private refusal: unknown;
  private wake: () => void = () => {};
  /** What came of the reading: no more slots will be filled. */
  private reading: Reply | undefined;

  constructor(location: AnyLocation, options: Omit<SourceOptions, "catalog" | "signal">) {
    const memory = createRingMemory();
    this.ring = new RingReader(memory);
    this.batches = new RingBatches(this.ring, () => this.hasMore());
    const order: SourceOrder = { location, options, memory, stop: this.stop.buffer as SharedArrayBuffer };
    this.worker = new Worker(FILE, { workerData: order, resourceLimits: HEAP, execArgv: [] });
    this.worker.on("message", (told: Told) => this.hear(told));
    this.worker.on("error", (error) => this.fail(error));
    this.ended = new Promise((resolve) => {
      this.worker.once("exit", () => {
        this.fail(new Error("it ended"));
        resolve();
      });
    });
  }

  async described(): Promise<Described> {
    while (this.description === undefined) await this.change();
    return this.description;
  }

  /** Rejects with what the thread's source, or the reader's context, threw. */
  async ask(question: Asked): Promise<unknown> {
    const id = ++this.asked;
    let reply: Reply | undefined;
    this.replies.set(id, (one) => {
      reply = one;
    });
    this.post({ ...question, id } as Question);
    while (reply === undefined) await this.change();
    return this.valueOf(reply);
  }

  private valueOf({ value, error }: Reply): unknown {
    if (error === undefined) return value;
    const { refusal } = this;
    this.refusal = undefined;
    throw refusal ?? heardError(error);
  }

  use(context: RunContext): void {
    if (this.context?.signal !== context.signal) {
      this.context?.signal.removeEventListener("abort", this.abort);
      context.signal.addEventListener("abort", this.abort);
    }
    this.context = context;
    if (context.signal.aborted) this.abort();
  }

  private readonly abort = (): void => {
    Atomics.store(this.stop, 0, ABORTED);
    this.post({ type: "abort", reason: toldError(this.context?.signal.reason) });
  };

  /** The records of a selection, until the reader leaves. */
  async *read(selection: Selection): AsyncGenerator<RecordBatch> {
    const { ring } = this;
    const id = ++this.asked;
    this.reading = undefined;
    this.replies.set(id, (reply) => {
      this.reading = reply;
    });
    this.post({ type: "read", selection, id });
    let paused = performance.now();
    try {
      while (await this.hasMore()) {
        yield* this.batches.next();
        if (performance.now() - paused < PAUSE_MILLISECONDS) continue;
        await pause();
        paused = performance.now();
      }
    } finally {
      Atomics.compareExchange(this.stop, 0, 0, LEFT);
      // What is on its way has no reader, and what the thread waits for is room.
      do while (ring.hasNext) ring.release();
      while (await this.hasMore().catch(() => false));
      Atomics.compareExchange(this.stop, 0, LEFT, 0);
    }
  }

  /** Waits for the next slot; false at the end. Rejects with what the thread's source, or the reader's context, threw. */
  private async hasMore(): Promise<boolean> {
    while (!this.ring.hasNext) {
      if (this.reading !== undefined) {
        // What was filled before the reply.
        if (this.ring.hasNext) break;
        this.valueOf(this.reading);
        return false;
      }
      await this.change(this.ring.arrival());
    }
    return true;
  }

  /** Closes the source, and waits for the thread's end. */
  async close(): Promise<void> {
    this.context?.signal.removeEventListener("abort", this.abort);
    await this.ask({ type: "close" }).catch(() => {});
    await this.end();
  }

  async end(): Promise<void> {
    if (this.failure !== undefined) await this.worker.terminate();
    this.worker.ref();
    await this.ended;
  }

  private post(order: Order): void {
    this.worker.postMessage(order);
  }

  private hear(told: Told): void {
    const { context } = this;
    switch (told.type) {
      case "described":
        this.description = told;
        break;
      case "refused":
        this.fail(heardError(told.error));
        break;
      case "reply":
        this.method = told.method;
        this.partial = told.partial;
        this.replies.get(told.id)?.(told);
        this.replies.delete(told.id);
        break;
      case "reject":
        void this.reject(told);
        break;
      case "activity":
        context?.activity?.(told.activity);
        break;
      default:
        context?.[told.type]?.(told.message);
    }
    this.wake();
  }

  private async reject({ rejection, path, error }: Told & { readonly type: "reject" }): Promise<void> {
    try {
      const kind = catalog.byPath.get(path);
      if (kind === undefined) throw new Error(`${path} is not in the catalog`);
      await this.context?.reject({ kind, error: heardError(error) as StorageError });
      this.post({ type: "rejected", rejection });
    } catch (refusal) {
      this.refusal ??= refusal;
      this.post({ type: "rejected", rejection, error: toldError(refusal) });
    }
  }

  private fail(error: Error): void {
    this.failure ??=
      error instanceof StorageError
        ? error
        : new StorageError("E_UNEXPECTED", "the thread that reads a store broke down", {}, error);
    this.wake();
  }

  /** Until `event`, or something that the thread says. */
  private async change(event?: Promise<void>): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      event?.then(resolve);
    });
    if (this.failure !== undefined) throw this.failure;
  }
}

function threadedSource(thread: SourceThread, described: Described): Source {
  const { name, rereadable, tellsPartial, countsInvalidUuids } = described;
  const ask = (question: Asked): Promise<unknown> => thread.ask(question);
  return {
    name,
    get method() {
      return thread.method;
    },
    ...(rereadable === undefined ? {} : { rereadable }),
    async open(context, selection): Promise<StoreHeader> {
      thread.use(context);
      return { ...((await ask({ type: "open", selection })) as OpenedHeader), catalog };
    },
    estimate: (selection) => ask({ type: "estimate", selection }) as Promise<ReadonlyMap<string, number> | undefined>,
    ...(countsInvalidUuids
      ? {
          countInvalidUuids: (selection: Selection) =>
            ask({ type: "countInvalidUuids", selection }) as Promise<ReadonlyMap<string, number>>,
        }
      : {}),
    read(selection, context) {
      thread.use(context);
      return thread.read(selection);
    },
    ...(tellsPartial ? { partial: () => thread.partial } : {}),
    close: () => thread.close(),
  };
}
