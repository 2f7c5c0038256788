/** A thread that digests batches while the next ones are read. */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { serialize } from "node:v8";
import { Worker } from "node:worker_threads";
import type { RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import { createRingMemory, piecesOf, RingWriter } from "../records/batch-ring.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { Answer } from "./digest-worker.js";
import type { SumState } from "./record-digest.js";

/** Under a test runner there is no compiled file beside this one: then all is done in the one thread. */
const FILE = new URL("./digest-worker.js", import.meta.url);
/** Of the thread's heap, MB. */
const HEAP = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 128 };
const NOTHING = Buffer.alloc(0);

/** What a slot holds. */
export const BATCH = 0;
/** A LargeValue's content follows, and then its batch. */
export const BEGIN = 1;
export const CONTENT = 2;
/** The next kind: the first is number 0. */
export const KIND = 3;
/** Sums are asked for. */
export const SUMS = 4;

export class DigestThread {
  /** It has begun. One that breaks down before is done without. */
  private isReady = false;
  private failure: StorageError | undefined;
  private readonly kinds = new Map<RecordKind, number>();
  /** Wakes whoever waits: something came back, or the thread failed. */
  private wake: () => void = () => {};
  private sum: ReadonlyMap<string, SumState> | undefined;

  private constructor(
    private readonly worker: Worker,
    private readonly ring: RingWriter,
  ) {
    worker.on("message", (answer: Answer) => this.receive(answer));
    worker.on("error", (error) => this.fail(error));
    worker.on("exit", () => this.fail());
    // A run that ends early must not wait for it.
    worker.unref();
  }

  /** Undefined where a thread would be of no use, or cannot be had. */
  static start(): DigestThread | undefined {
    if (availableParallelism() === 1 || !existsSync(fileURLToPath(FILE))) return undefined;
    try {
      const memory = createRingMemory();
      const worker = new Worker(FILE, { resourceLimits: HEAP, execArgv: [], workerData: memory });
      return new DigestThread(worker, new RingWriter(memory));
    } catch {
      return undefined;
    }
  }

  /** Not before it has begun: until then there is time to do it here. */
  takes(batch: RecordBatch): boolean {
    return this.isReady && this.ring.takes(batch);
  }

  /** The batch is copied when this has resolved. The content of a LargeValue was added before. */
  async add(batch: RecordBatch): Promise<void> {
    let kind = this.kinds.get(batch.kind);
    if (kind === undefined) {
      kind = this.kinds.size;
      this.kinds.set(batch.kind, kind);
      await this.room();
      this.ring.put(KIND, serialize(batch.kind));
    }
    await this.room();
    this.ring.putBatch(BATCH, kind, batch);
  }

  /** What addContent gets from here on is the content of the next batch. */
  async beginContent(): Promise<void> {
    await this.room();
    this.ring.put(BEGIN, NOTHING);
  }

  /** At most 1 MiB, which is copied when this has resolved. */
  async addContent(chunk: Buffer): Promise<void> {
    for (const piece of piecesOf(chunk)) {
      await this.room();
      this.ring.put(CONTENT, piece);
    }
  }

  /** Waits until there is room for whatever comes next. */
  private async room(): Promise<void> {
    while (!this.ring.hasRoom) await this.change(this.ring.room());
    if (this.failure !== undefined) throw this.failure;
  }

  /** What came of all that was added since it was asked last, by path. */
  async sums(): Promise<ReadonlyMap<string, SumState>> {
    if (!this.isReady) return new Map();
    this.sum = undefined;
    await this.room();
    this.ring.put(SUMS, NOTHING);
    while (this.sum === undefined) await this.change();
    return this.sum;
  }

  async close(): Promise<void> {
    this.worker.removeAllListeners();
    this.worker.on("error", () => {});
    await this.worker.terminate();
  }

  private receive(answer: Answer): void {
    if (answer.type === "ready") this.isReady = true;
    else if (answer.type === "sums") this.sum = answer.sums;
    else this.fail(new StorageError(answer.code, answer.message));
    this.wake();
  }

  private fail(error: unknown = new Error("it ended")): void {
    this.failure ??=
      error instanceof StorageError
        ? error
        : new StorageError("E_UNEXPECTED", "the thread that makes digests broke down", {}, error);
    this.wake();
  }

  /** Until `event`, or something that the thread says. */
  private async change(event?: Promise<void>): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    // What is waited for keeps the process alive.
    this.worker.ref();
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      event?.then(resolve);
    });
    this.worker.unref();
    if (this.failure !== undefined) throw this.failure;
  }
}
