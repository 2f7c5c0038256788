/** jq itself, as WebAssembly, in a worker thread that ends when a record takes too long or too much. */
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { StorageError } from "../../../errors.js";
import {
  type Answer,
  MEMORY_BYTES,
  OUTPUT_BYTES,
  OUTPUT_COUNT,
  type Question,
  WORKER,
  type WorkerData,
} from "./real-jq-worker.js";

/** What jq made of one record. */
export interface RealResult {
  /** The record as jq prints it when nothing is done to it. */
  readonly identity: string;
  readonly outputs: readonly string[];
  /** What the program failed with, after its outputs: JSON. */
  readonly error?: string;
}

/** Why there is no result for a record: a limit, or jq itself broke (the record is nested too deeply, …). */
export type RealFailure = "time" | "memory" | "output" | "broken";

/** How the line of a failure begins; outputs stand in brackets. */
const FAILED = '{"e":';
/** jq's exit status for a program that it does not understand. */
const COMPILE_ERROR = 3;
/** What loading jq may take: nothing there is for a program to decide. */
const START_SECONDS = 60;
/** The least that compiling the program, which computes its constants ("x" * 1e9), and reading a record may take. */
const COMPILE_SECONDS = 10;
/** The same before the run; twice the least for a record behind it, it is below half a minute. */
export const FIRST_COMPILE_SECONDS = 8;
/** A thread whose memory grew beyond this serves for no more records. */
const KEPT_BYTES = 256 * 2 ** 20;

/** The program that prints of each record: itself, its outputs, how it failed, and an end. */
export function framedProgram(program: string, now: number): string {
  // A comment may end the program.
  return `def now: ${now}; ., (try ((${program}\n) | [.]) catch {e: .}), 0`;
}

const TIME_HINT =
  'jq computes what does not depend on the record ("x" * 1e9) when it compiles the expression; --jq-timeout gives it more time.';

export class RealJq {
  private worker: Worker | undefined;
  private readonly filter: string;
  /** Of the thread that runs, as WorkerData has it. */
  private progress: Int32Array = new Int32Array();
  /** How often, one behind the other, the thread was ended before it had begun with its first record. */
  private lateStarts = 0;

  /**
   * `now`: seconds since the epoch, what the program's `now` gives. `seconds`: what it may take for one record.
   * `compileSeconds`: the least that compiling it, and reading a record, may take.
   */
  constructor(
    program: string,
    now: number,
    private readonly seconds: number,
    private readonly compileSeconds = Math.max(seconds, COMPILE_SECONDS),
  ) {
    this.filter = framedProgram(program, now);
  }

  /** jq's message when it does not understand the program. E_JQ_LIMIT where it does not come to an end with it. */
  async compileError(): Promise<string | undefined> {
    const answer = await this.ask([], undefined);
    if ("done" in answer) throw notCompiled(`did not come to an end within ${this.compileSeconds} seconds`, TIME_HINT);
    if (answer.failure === "memory") throw notCompiled(`needs more than ${MEMORY_BYTES / 2 ** 30} GiB of memory`);
    if (answer.failure !== undefined && answer.exitCode !== COMPILE_ERROR) return "jq does not come to an end with it";
    if (answer.failure === undefined) return undefined;
    const line = answer.stderr?.split("\n").find((one) => one.startsWith("jq: error: "));
    return line?.slice("jq: error: ".length).replace(/ at <top-level>, line \d+:$/, "") ?? "jq does not compile it";
  }

  /** The results of records (JSON texts without line breaks), in their order. */
  async run(records: readonly string[], signal?: AbortSignal): Promise<(RealResult | RealFailure)[]> {
    const results: (RealResult | RealFailure)[] = [];
    while (results.length < records.length) {
      const rest = records.slice(results.length);
      const answer = await this.ask(rest, signal);
      if ("done" in answer) {
        this.lateStarts = answer.begun || answer.done > 0 ? 0 : this.lateStarts + 1;
        // Once it may have been a large record; then it is the program's constants, for each record anew.
        if (this.lateStarts > 1) return [...results, ...rest.map((): RealFailure => "time")];
        // The thread took along what it had: the records before the slow one, none of which is, are run again.
        results.push(...(await this.run(rest.slice(0, answer.done), signal)), "time");
        continue;
      }
      const found = parseAnswer(answer.stdout);
      if (found.length > 0) this.lateStarts = 0;
      if (answer.failure === undefined && found.length !== rest.length) {
        results.push(...(await this.runEach(rest, signal)));
        continue;
      }
      results.push(...found);
      if (answer.failure === undefined) continue;
      this.close();
      // What is printed for many records may be too much without any of them being at fault.
      if (answer.failure !== "output" || found.length === 0) results.push(answer.failure);
    }
    return results;
  }

  close(): void {
    void this.worker?.terminate();
    this.worker = undefined;
  }

  /** For a program that reads the records behind its own. */
  private async runEach(
    records: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<(RealResult | RealFailure)[]> {
    if (records.length === 1) return ["broken"];
    const results: (RealResult | RealFailure)[] = [];
    for (const record of records) results.push(...(await this.run([record], signal)));
    return results;
  }

  /** `done`: the thread was ended, because it was too long at the record behind so many; `begun`: at work on it. */
  private ask(
    records: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<Answer | { readonly done: number; readonly begun: boolean }> {
    if (this.worker === undefined) {
      this.progress = new Int32Array(new SharedArrayBuffer(8));
      this.worker = startWorker(this.progress);
    }
    const { worker, progress } = this;
    progress[0] = 0;
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        worker.off("message", onMessage).off("error", onBroken).off("exit", onBroken);
        worker.unref();
        clearInterval(timer);
        signal?.removeEventListener("abort", onAbort);
        settle();
      };
      const onMessage = (answer: Answer): void => {
        if (answer.memoryBytes > KEPT_BYTES) this.close();
        finish(() => resolve(answer));
      };
      const onBroken = (): void => {
        this.close();
        finish(() => resolve({ stdout: "", failure: "broken", memoryBytes: 0 }));
      };
      const onAbort = (): void => {
        this.close();
        finish(() => reject(signal?.reason));
      };
      const timer = this.watch(progress, (at) => {
        this.close();
        finish(() => resolve({ done: Math.min(at >> 1, Math.max(0, records.length - 1)), begun: at % 2 === 1 }));
      });
      if (signal?.aborted === true) {
        onAbort();
        return;
      }
      signal?.addEventListener("abort", onAbort);
      worker.ref();
      worker.on("message", onMessage).on("error", onBroken).on("exit", onBroken);
      const question: Question = { input: records.join("\n"), filter: this.filter };
      worker.postMessage(question);
    });
  }

  /** Calls `onTimeout` when the thread stands at one place for too long. */
  private watch(progress: Int32Array, onTimeout: (at: number) => void): NodeJS.Timeout {
    let seen = 0;
    let since = performance.now();
    let isLoaded = Atomics.load(progress, 1) === 1;
    const look = (): void => {
      const at = Atomics.load(progress, 0);
      const now = performance.now();
      if (at !== seen) {
        seen = at;
        since = now;
      }
      // What was waited for until then was jq itself.
      if (!isLoaded && Atomics.load(progress, 1) === 1) {
        isLoaded = true;
        since = now;
      }
      const inRecord = at % 2 === 1;
      const least = inRecord ? 0 : isLoaded ? this.compileSeconds : START_SECONDS;
      const seconds = Math.max(this.seconds, least);
      if (now - since > seconds * 1000) onTimeout(at);
    };
    return setInterval(look, Math.min(500, Math.max(10, this.seconds * 250)));
  }
}

function notCompiled(how: string, hint?: string): StorageError {
  return new StorageError("E_JQ_LIMIT", `jq: compiling the expression ${how}`, hint === undefined ? {} : { hint });
}

function startWorker(progress: Int32Array): Worker {
  const workerData: WorkerData = {
    module: createRequire(import.meta.url).resolve("jq-web"),
    progress,
    limits: { memoryBytes: MEMORY_BYTES, outputBytes: OUTPUT_BYTES, outputCount: OUTPUT_COUNT },
  };
  // What jq says on stderr is not for the user; it comes back as an error.
  return new Worker(WORKER, { eval: true, workerData, stdout: true, stderr: true });
}

/** What a framed program printed: the records that it came to an end with. */
export function parseAnswer(stdout: string): RealResult[] {
  const results: RealResult[] = [];
  let identity: string | undefined;
  let outputs: string[] = [];
  let error: string | undefined;
  for (const line of stdout.split("\n")) {
    if (line === "") continue;
    if (identity === undefined) identity = line;
    else if (line === "0") {
      results.push({ identity, outputs, ...(error === undefined ? {} : { error }) });
      identity = undefined;
      outputs = [];
      error = undefined;
    } else if (line.startsWith(FAILED)) error = line.slice(FAILED.length, -1);
    else outputs.push(line.slice(1, -1));
  }
  return results;
}
