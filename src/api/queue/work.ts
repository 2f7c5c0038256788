/** A worker: takes parts of runs from the queue, reads them from their source and loads them into their target. */
import { hostname } from "node:os";
import type { Config } from "../../config/index.js";
import { ByteRate } from "../../records/byte-rate.js";
import type { Transform } from "../../transforms/transform.js";
import { digestOfSteps } from "./alike.js";
import { openQueue } from "./open-queue.js";

export interface WorkerOptions {
  /** postgresql://… of the queue. */
  readonly queue: string;
  /** Parts at a time. Default 1. */
  readonly jobs?: number;
  /** Has the stores that jobs name. */
  readonly config: Config;
  readonly transforms: readonly Transform[];
  readonly lockTimeoutSeconds?: number | undefined;
  /** Of all its parts together, as they are read. */
  readonly bytesPerSecond?: number | undefined;
  /** Ends the worker: parts at hand are given back. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: WorkerEvent) => void;
}

/** What a worker has done, or could not do. */
export interface WorkerEvent {
  readonly event: "ready" | "loaded" | "compared" | "dropped" | "given back" | "failed" | "warned";
  readonly line: string;
  readonly run?: number;
  readonly part?: number;
  readonly section?: string;
}

/** Works until the signal is aborted. @throws {StorageError} where the queue cannot be had; E_USAGE where its steps are not a run's */
export async function work(options: WorkerOptions): Promise<void> {
  const { jobs = 1, config, signal, onEvent } = options;
  // What no run has is told at once; and plugins' files are those that were loaded a moment ago.
  digestOfSteps(options.transforms, "");
  const failures: unknown[] = [];
  const ending = new AbortController();
  const stop = (): void => ending.abort(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  const queue = await openQueue({ url: options.queue }, "worker", {
    config,
    signal: ending.signal,
    onWarning: (line) => onEvent({ event: "failed", line }),
  });
  onEvent({ event: "ready", line: `Waiting for parts, ${jobs} at a time` });
  const { bytesPerSecond } = options;
  const rate = bytesPerSecond === undefined ? undefined : new ByteRate(bytesPerSecond, ending.signal);
  const loop = async (number: number): Promise<void> => {
    const { Hand } = await import("./hand.js");
    const name = `${hostname()}:${process.pid}${jobs > 1 ? `/${number}` : ""}`;
    const hand = new Hand(options, queue, ending.signal, name, rate);
    try {
      await hand.work();
    } catch (error) {
      failures.push(error);
      ending.abort(error);
    } finally {
      await hand.rest();
    }
  };
  try {
    if (signal.aborted) stop();
    await Promise.all(Array.from({ length: jobs }, (_, at) => loop(at + 1)));
  } finally {
    signal.removeEventListener("abort", stop);
    await queue.close();
  }
  if (failures.length > 0) throw failures[0];
}
