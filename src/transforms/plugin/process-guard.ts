/** What a plugin does to the process that it runs in, instead of to its records. */
import { AsyncLocalStorage } from "node:async_hooks";
import { StorageError, toStorageError } from "../../errors.js";

const current = new AsyncLocalStorage<ProcessGuard>();
const plugins = new Set<string>();

/** An error that nobody handles: a plugin's, where one was run in this thread. */
export function leftBehind(error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  if (plugins.size === 0) return toStorageError(error);
  const message = error instanceof Error ? error.message : String(error);
  const whose = [...plugins].join(" or ");
  return new StorageError("E_PLUGIN", `the plugin ${whose} left an error behind: ${message}`, {}, error);
}

/**
 * `process.exit` and `process.abort` end the run that `plugin` belongs to, not the process, when `run`'s work calls them, or
 * anything that it started, however late. Whoever else calls them gets what he wants.
 */
export class ProcessGuard {
  private failure: StorageError | undefined;
  private readonly controller = new AbortController();

  /** `quietStdout`: what it prints goes to stderr, because stdout may hold the document or a result. */
  constructor(
    readonly plugin: string,
    readonly quietStdout: boolean,
  ) {
    install();
    plugins.add(plugin);
  }

  /** The plugin is known by another name now. */
  forget(): void {
    plugins.delete(this.plugin);
  }

  /** Aborted with the error when the plugin ends the run. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  run<Result>(work: () => Result): Result {
    const status = process.exitCode;
    try {
      return current.run(this, work);
    } finally {
      if (process.exitCode !== status) {
        process.exitCode = status;
        this.fail("set process.exitCode");
      }
    }
  }

  /** After `run`'s work was cut off, which left it in the plugin's context. */
  leave(): void {
    current.enterWith(undefined as never);
  }

  /** Throws the error when the plugin ended the run. */
  check(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  fail(what: string): StorageError {
    this.failure ??= new StorageError("E_PLUGIN", `the plugin ${this.plugin} ${what}`, {
      hint: "A plugin throws an error to reject its record or to end the run; the process is not its own.",
    });
    this.controller.abort(this.failure);
    return this.failure;
  }
}

let isInstalled = false;

/** For good: what a plugin left behind may call them when its run is over, and before the process ended by itself. */
function install(): void {
  if (isInstalled) return;
  isInstalled = true;
  const { exit, abort } = process;
  const { write } = process.stdout;
  process.exit = (code) => {
    const guard = current.getStore();
    if (guard === undefined) return exit.call(process, code);
    throw guard.fail(`called process.exit(${code ?? ""})`);
  };
  process.abort = () => {
    const guard = current.getStore();
    if (guard === undefined) return abort.call(process);
    throw guard.fail("called process.abort()");
  };
  const redirected = (...args: unknown[]): boolean => {
    if (current.getStore()?.quietStdout === true) return Reflect.apply(process.stderr.write, process.stderr, args);
    return Reflect.apply(write, process.stdout, args);
  };
  process.stdout.write = redirected;
}
