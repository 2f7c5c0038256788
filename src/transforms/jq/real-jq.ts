/** jq itself, as WebAssembly, in a worker thread. */
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { StorageError } from "../../errors.js";

/** What jq made of one record. */
export interface RealResult {
  /** The record as jq prints it when nothing is done to it. */
  readonly identity: string;
  readonly outputs: readonly string[];
  /** What the program failed with, after its outputs: JSON. */
  readonly error?: string;
}

interface Answer {
  readonly stdout?: string;
  readonly exitCode?: number;
  readonly stderr?: string;
}

// As text: under a test runner there is no compiled file beside this one.
const WORKER = `
const { parentPort, workerData } = require("node:worker_threads");
const loading = require(workerData);
parentPort.on("message", async ({ input, filter }) => {
  const jq = await loading;
  try {
    parentPort.postMessage({ stdout: jq.raw(input, filter, ["-c"]) ?? "" });
  } catch (error) {
    if (typeof error.exitCode !== "number") throw error;
    parentPort.postMessage({ exitCode: error.exitCode, stderr: error.message });
  }
});
`;
/** How the line of a failure begins; outputs stand in brackets. */
const FAILED = '{"e":';
/** jq's exit status for a program that it does not understand. */
const COMPILE_ERROR = 3;

/** The program that prints of each record: itself, its outputs, how it failed, and an end. */
export function framedProgram(program: string, now: number): string {
  // A comment may end the program.
  return `def now: ${now}; ., (try ((${program}\n) | [.]) catch {e: .}), 0`;
}

export class RealJq {
  private worker: Worker | undefined;
  private readonly filter: string;

  /** `now`: seconds since the epoch, what the program's `now` gives. */
  constructor(program: string, now: number) {
    this.filter = framedProgram(program, now);
  }

  /** jq's message when it does not understand the program. */
  async compileError(): Promise<string | undefined> {
    const { exitCode, stderr = "" } = await this.ask("", undefined);
    if (exitCode === undefined) return undefined;
    if (exitCode !== COMPILE_ERROR) throw new StorageError("E_UNEXPECTED", `jq ended with status ${exitCode}`);
    const line = stderr.split("\n").find((one) => one.startsWith("jq: error: "));
    return line?.slice("jq: error: ".length).replace(/ at <top-level>, line \d+:$/, "") ?? "jq does not compile it";
  }

  /**
   * The results of records (JSON texts without line breaks), in their order; undefined for one that jq itself breaks at.
   */
  async run(records: readonly string[], signal?: AbortSignal): Promise<(RealResult | undefined)[]> {
    if (records.length === 0) return [];
    let answer: Answer;
    try {
      answer = await this.ask(records.join("\n"), signal);
    } catch (error) {
      if (signal?.aborted === true) throw error;
      this.close();
      answer = { exitCode: -1 };
    }
    const results = answer.stdout === undefined ? undefined : parseAnswer(answer.stdout);
    if (results?.length === records.length) return results;
    // Out of memory, nested too deeply, …: the record that it was is found by halving.
    if (records.length === 1) return [undefined];
    const middle = records.length >> 1;
    const first = await this.run(records.slice(0, middle), signal);
    return [...first, ...(await this.run(records.slice(middle), signal))];
  }

  close(): void {
    void this.worker?.terminate();
    this.worker = undefined;
  }

  private ask(input: string, signal: AbortSignal | undefined): Promise<Answer> {
    this.worker ??= startWorker();
    const { worker } = this;
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        worker.off("message", onMessage).off("error", onError).off("exit", onExit);
        worker.unref();
        signal?.removeEventListener("abort", onAbort);
        settle();
      };
      const onMessage = (answer: Answer): void => finish(() => resolve(answer));
      const onError = (error: unknown): void => finish(() => reject(error));
      const onExit = (): void => finish(() => reject(new Error("jq's thread ended")));
      const onAbort = (): void => {
        this.close();
        finish(() => reject(signal?.reason));
      };
      if (signal?.aborted === true) {
        onAbort();
        return;
      }
      signal?.addEventListener("abort", onAbort);
      worker.ref();
      worker.on("message", onMessage).on("error", onError).on("exit", onExit);
      worker.postMessage({ input, filter: this.filter });
    });
  }
}

function startWorker(): Worker {
  const module = createRequire(import.meta.url).resolve("jq-web");
  // What jq says on stderr is not for the user; it comes back as an error.
  return new Worker(WORKER, { eval: true, workerData: module, stdout: true, stderr: true });
}

/** What a framed program printed. */
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
