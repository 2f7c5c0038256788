/** A thread that digests batches while the next ones are read. */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { Answer, Question } from "./digest-worker.js";
import type { SumState } from "./record-digest.js";

/** Under a test runner there is no compiled file beside this one: then all is done in the one thread. */
const FILE = new URL("./digest-worker.js", import.meta.url);
/** Batches on their way to the thread, or back. */
const SLOTS = 4;
/** A batch that is larger is not copied. Bytes. */
const SLOT_BYTES = 1048576;
/** Of the thread's heap, MB. */
const HEAP = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 128 };

export class DigestThread {
  /** It has begun. One that breaks down before is done without. */
  private isReady = false;
  private failure: StorageError | undefined;
  private readonly free: ArrayBuffer[] = [];
  private given = 0;
  private readonly known = new Set<string>();
  /** Wakes whoever waits: something came back, or the thread failed. */
  private wake: () => void = () => {};
  private sum: ReadonlyMap<string, SumState> | undefined;

  private constructor(private readonly worker: Worker) {
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
      return new DigestThread(new Worker(FILE, { resourceLimits: HEAP, execArgv: [] }));
    } catch {
      return undefined;
    }
  }

  /** Not before it has begun: until then there is time to do it here. */
  takes(batch: RecordBatch): boolean {
    return this.isReady && batch.bytes.length + 8 * batch.rows * batch.width + 8 <= SLOT_BYTES;
  }

  /** The batch is copied before this waits. The content of a LargeValue was added before. */
  add(batch: RecordBatch): Promise<void> {
    this.post(batch, this.slot());
    return this.haveSlot();
  }

  /** What addContent gets from here on is the content of the next batch. */
  beginContent(): void {
    this.worker.postMessage({ type: "begin" } satisfies Question);
  }

  /** At most 1 MiB, which is copied before this waits. */
  addContent(chunk: Buffer): Promise<void> {
    const slot = this.slot();
    new Uint8Array(slot, 0, chunk.length).set(chunk);
    this.worker.postMessage({ type: "content", bytes: chunk.length, slot } satisfies Question, [slot]);
    return this.haveSlot();
  }

  private slot(): ArrayBuffer {
    const slot = this.free.pop();
    if (slot !== undefined) return slot;
    if (++this.given > SLOTS) throw new Error("no slot is free");
    return new ArrayBuffer(SLOT_BYTES);
  }

  /** Waits until there is one for whatever comes next. */
  private async haveSlot(): Promise<void> {
    while (this.free.length === 0 && this.given === SLOTS) await this.change();
  }

  /** What came of all that was added since it was asked last, by path. */
  async sums(): Promise<ReadonlyMap<string, SumState>> {
    if (!this.isReady) return new Map();
    this.sum = undefined;
    this.worker.postMessage({ type: "sums" } satisfies Question);
    while (this.sum === undefined) await this.change();
    return this.sum;
  }

  async close(): Promise<void> {
    this.worker.removeAllListeners();
    this.worker.on("error", () => {});
    await this.worker.terminate();
  }

  private post({ kind, rows, bytes, starts, lengths, width }: RecordBatch, slot: ArrayBuffer): void {
    const values = rows * width;
    new Uint32Array(slot, 0, values).set(starts.subarray(0, values));
    new Int32Array(slot, 4 * values, values).set(lengths.subarray(0, values));
    new Uint8Array(slot, 8 * values, bytes.length).set(bytes);
    const isKnown = this.known.has(kind.path);
    this.known.add(kind.path);
    const question: Question = { type: "batch", path: kind.path, rows, bytes: bytes.length, slot };
    this.worker.postMessage(isKnown ? question : { ...question, kind }, [slot]);
  }

  private receive(answer: Answer): void {
    if (answer.type === "ready") this.isReady = true;
    else if (answer.type === "slot") this.free.push(answer.slot);
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

  private async change(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    // What is waited for keeps the process alive.
    this.worker.ref();
    await new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    this.worker.unref();
    if (this.failure !== undefined) throw this.failure;
  }
}
