#!/usr/bin/env node
/** The `llmspell` binary: versions, signals, and the only place that ends the process. */
import { setFlagsFromString } from "node:v8";
import { settleAllocator } from "./allocator.js";
import { EXIT, StorageError, toStorageError } from "./errors.js";
import { calledName, commandWords, foreignCommand, handOver } from "./llmspell/program/handover.js";
import { leftBehind } from "./transforms/plugin/process-guard.js";

/** The oldest Node that has what we use (zstd in node:zlib). */
const NEEDED_NODE = [22, 15] as const;

/** How long a run may take to roll back after an error that nobody handled. */
const END_MILLISECONDS = 10000;

async function main(): Promise<number> {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  // Before anything else is loaded: an addon that does not fit ends the process without a word.
  if (major < NEEDED_NODE[0] || (major === NEEDED_NODE[0] && minor < NEEDED_NODE[1])) {
    process.stderr.write(
      `Error: llmspell-storage needs Node ${NEEDED_NODE.join(".")} or newer; this is ${process.versions.node} [E_USAGE]\n` +
        "Hint: Install a current Node from https://nodejs.org, or put it first on the PATH.\n",
    );
    return EXIT.usage;
  }
  const argv = process.argv.slice(2);
  if (argv.length === 1 && /^(-V|--version)$/.test(argv[0] as string)) {
    const { VERSION } = await import("./version.js");
    process.stdout.write(`llmspell-storage ${VERSION}\n`);
    return EXIT.done;
  }
  const foreign = foreignCommand(argv, process.argv[1] ?? "");
  if (foreign !== undefined) {
    try {
      return await handOver(argv, foreign);
    } catch (error) {
      const { reportFailure } = await import("./commands/syntax/command-line.js");
      await reportFailure(toStorageError(error), argv);
      return toStorageError(error).exitStatus;
    }
  }
  settleAllocator(commandWords(argv));
  // Garbage here is young (rows, chunks): its space must not grow with the length of the run (bench/RESULTS.md).
  setFlagsFromString("--min-semi-space-size=2");
  setFlagsFromString("--semi-space-growth-factor=1");
  const controller = new AbortController();
  const interrupt = (name: NodeJS.Signals, error: StorageError): void => {
    // The first signal rolls back; whoever sends a second one does not want to wait for it, nor for a thread that hangs
    // in a system call, as process.exit would: the kernel sees to it, with the same status for a shell.
    if (controller.signal.aborted) {
      process.emit("exit", error.exitStatus);
      process.removeAllListeners(name);
      process.kill(process.pid, name);
    }
    controller.abort(error);
  };
  process.on("SIGINT", () => interrupt("SIGINT", new StorageError("E_INTERRUPTED", "interrupted")));
  for (const name of ["SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => interrupt(name, new StorageError("E_TERMINATED", "terminated")));
  }
  const { commonFlagsOf, onlyPrints, reportFailure, runCommandLine } = await import(
    "./commands/syntax/command-line.js"
  );
  /** What nobody handled; it may come when the command was done. */
  let uncaught: StorageError | undefined;
  const onUncaught = (error: unknown): void => {
    const failure = leftBehind(error);
    uncaught ??= failure;
    controller.abort(failure);
    // Whatever waits for what will not come now does not keep the process.
    setTimeout(() => reportFailure(failure, argv).finally(() => process.exit(failure.exitStatus)), END_MILLISECONDS);
  };
  process.on("uncaughtException", onUncaught);
  process.on("unhandledRejection", onUncaught);
  let outputError: StorageError | undefined;
  const holdsDocument = commonFlagsOf(argv).output === "-";
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    outputError ??= stdoutError(error, holdsDocument);
    // Text that nobody reads does not undo what a command does.
    if (holdsDocument || onlyPrints(argv)) controller.abort(outputError);
  });
  process.stderr.on("error", () => {});
  const status = await runCommandLine(argv, controller.signal, calledName(process.argv[1] ?? ""));
  await Promise.all([written(process.stdout), written(process.stderr)]);
  const isDone = status === EXIT.done || status === EXIT.rejected;
  if (status === EXIT.done && uncaught !== undefined) {
    await reportFailure(uncaught, argv);
    return uncaught.exitStatus;
  }
  // An error was reported already.
  if (outputError === undefined || !isDone) return status;
  if (!holdsDocument && !onlyPrints(argv)) {
    // The status says what became of the data.
    await reportFailure(behindDone(outputError), argv);
    return status;
  }
  // A document or an answer that nobody got is no success.
  await reportFailure(outputError, argv);
  return status === EXIT.done ? outputError.exitStatus : status;
}

function behindDone({ code, message, cause }: StorageError): StorageError {
  return new StorageError(code, message, { hint: "The command itself is done; only what it prints is lost." }, cause);
}

function stdoutError(error: NodeJS.ErrnoException, holdsDocument: boolean): StorageError {
  switch (error.code) {
    case "EPIPE":
      return new StorageError("E_CLOSED_PIPE", "the reader of the output went away");
    case "ENOSPC":
    case "EDQUOT": {
      const what = holdsDocument ? "export file" : "standard output";
      return new StorageError("E_DISK_FULL", `Ran out of disk space writing ${what}`, {}, error);
    }
    default:
      return new StorageError("E_IO", "standard output cannot be written", {}, error);
  }
}

/** Everything written so far has been handed over, or has failed. */
async function written(stream: NodeJS.WriteStream): Promise<void> {
  if (!stream.destroyed) await new Promise<void>((done) => stream.write("", () => done()));
  // The error event comes after the callback.
  await new Promise(setImmediate);
}

process.exit(await main());
