/** The coordinator's side of a thread: what it is given, and what came of it, in order. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { StorageError } from "../errors.js";
import type { Part } from "../records/parts.js";
import type { Frame, FromThread, ThreadOrigin, ThreadTask, ToThread } from "./messages.js";
import { receiveError } from "./sent-error.js";
import { SLOT_BYTES, SLOTS, slotsOf } from "./slots.js";

const FILE = new URL("./thread.js", import.meta.url);
/** A thread that does not end by then is cut off. Milliseconds. */
const PATIENCE = 5000;

/** Of a thread: what it says out of order. */
export interface Heard {
  warn(message: string): void;
  note(message: string): void;
}

/** False under a test runner, where there is no compiled file beside this one. */
export function threadsCanRun(): boolean {
  return existsSync(fileURLToPath(FILE));
}

export class ThreadHandle {
  /** Parts that it was given and has not ended. */
  parts = 0;
  private readonly worker: Worker;
  private readonly slots: readonly Buffer[];
  private readonly inbox: FromThread[] = [];
  private failure: unknown;
  private hasExited = false;
  private readonly exited: Promise<void>;
  private wake: () => void = () => {};
  private onOpened: ((error?: unknown) => void) | undefined;

  private readonly memory = new SharedArrayBuffer(SLOTS * SLOT_BYTES);
  private heard: Heard | undefined;
  private partEnded: () => void = () => {};

  /** Starts the thread, which loads what it needs. */
  constructor(origin: ThreadOrigin) {
    this.slots = slotsOf(this.memory);
    // Not the debugger's port of this process, nor its loaders.
    this.worker = new Worker(FILE, { workerData: origin, execArgv: [] });
    this.worker.on("message", (message: FromThread) => this.receive(message));
    this.worker.on("error", (error) => this.fail(brokenDown(error)));
    this.exited = new Promise((resolve) => {
      this.worker.on("exit", () => {
        this.hasExited = true;
        this.fail(brokenDown(new Error("it ended")));
        resolve();
      });
    });
  }

  /** Before all else. `partEnded`: whenever it can take another part. */
  begin(task: Omit<ThreadTask, "memory">, heard: Heard, partEnded: () => void): void {
    this.heard = heard;
    this.partEnded = partEnded;
    this.post({ type: "begin", task: { ...task, memory: this.memory } });
  }

  /** Opens its source, again where it is open. What it throws. */
  async open(snapshot: object): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.onOpened = (error) => (error === undefined ? resolve() : reject(error));
      if (this.failure !== undefined) reject(this.failure);
      else this.post({ type: "open", snapshot });
    });
    this.onOpened = undefined;
  }

  give(part: Part): void {
    this.parts++;
    this.post({ type: "part", part });
  }

  tell(message: ToThread & { readonly type: "rejected" | "end" }): void {
    this.post(message);
  }

  /** What the thread has put into a slot. */
  bytesOf({ slot, bytes }: { readonly slot: number; readonly bytes: number }): Buffer {
    return (this.slots[slot] as Buffer).subarray(0, bytes);
  }

  giveBack(slot: number): void {
    this.post({ type: "slot", slot });
  }

  /** The next thing that came of its parts. Throws what ended the thread, when all before that was taken. */
  async next(): Promise<FromThread> {
    for (;;) {
      const message = this.inbox.shift();
      if (message?.type === "failure") throw receiveError(message.error);
      if (message !== undefined) return message;
      if (this.failure !== undefined) throw this.failure;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Throws what ended the thread, if anything has. */
  check(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  /** Whoever waits for the thread gets the reason. */
  abort(reason: unknown): void {
    this.fail(reason);
    this.post({ type: "abort" });
  }

  /** Never throws. */
  async close(): Promise<void> {
    this.failure ??= new Error("the thread was closed");
    // One that was never begun has nothing open.
    if (this.heard === undefined) await this.worker.terminate();
    else this.post({ type: "close" });
    const patience = setTimeout(() => void this.worker.terminate(), PATIENCE);
    await this.exited;
    clearTimeout(patience);
  }

  private post(message: ToThread | Frame): void {
    if (!this.hasExited) this.worker.postMessage(message);
  }

  private receive(message: FromThread): void {
    const { onOpened, heard } = this;
    if (message.type === "warn") heard?.warn(message.message);
    else if (message.type === "note") heard?.note(message.message);
    else if (message.type === "brokeDown") this.fail(receiveError(message.error));
    else if (onOpened !== undefined && message.type === "opened") onOpened();
    else if (onOpened !== undefined && message.type === "failure") onOpened(receiveError(message.error));
    else this.keep(message);
  }

  private keep(message: FromThread): void {
    if (message.type === "partEnd") {
      this.parts--;
      this.partEnded();
    }
    this.inbox.push(message);
    this.wake();
  }

  private fail(reason: unknown): void {
    this.failure ??= reason;
    this.onOpened?.(this.failure);
    this.wake();
    this.partEnded();
  }
}

function brokenDown(error: unknown): StorageError {
  return new StorageError(
    "E_UNEXPECTED",
    "a thread that reads records broke down",
    { hint: "One job (--jobs 1) does without threads." },
    error,
  );
}
