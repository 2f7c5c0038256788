/**
 * Named pipes, opened without waiting for the other end: a thread that waits in open(2) or read(2) cannot be called off, and
 * would outlive even process.exit.
 */
import { constants, fstatSync, openSync } from "node:fs";
import { stat } from "node:fs/promises";
import { Socket } from "node:net";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

const RETRY_MILLISECONDS = 50;

/** Whether the path leads to a FIFO, or to a pipe of the shell's. */
export async function isFifo(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFIFO(),
    () => false,
  );
}

/** A stream whose first bytes come when there is a writer. */
export function openFifoForReading(path: string): Socket {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return new Socket({ fd, readable: true, writable: false });
}

/**
 * Standard output for much data. Where it is a pipe, process.stdout writes synchronously: a reader that stops would stop this
 * process as well, signals and all. Linux lets the pipe be opened once more, and that other end not wait.
 */
export function openStdout(): Writable {
  try {
    if (fstatSync(1).isFIFO()) {
      const fd = openSync("/proc/self/fd/1", constants.O_WRONLY | constants.O_NONBLOCK);
      return new Socket({ fd, readable: false, writable: true });
    }
  } catch {
    // No /proc, another user's pipe, or a reader that is gone, which process.stdout reports.
  }
  return process.stdout;
}

/** Waits for a reader. Rejects with the signal's reason. */
export async function openFifoForWriting(path: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    signal.throwIfAborted();
    try {
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      return new Socket({ fd, readable: false, writable: true });
    } catch (error) {
      // Nobody reads yet.
      if ((error as NodeJS.ErrnoException).code !== "ENXIO") throw error;
    }
    await sleep(RETRY_MILLISECONDS);
  }
}
