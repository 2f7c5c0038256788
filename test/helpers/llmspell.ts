/** Runs the built `llmspell` as a user does: its own process, a folder and a home of its own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inject } from "vitest";
import { TEMPLATE_FOLDER } from "./global-setup.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const cli = join(root, "dist/cli.js");

export interface Outcome {
  /** The exit status; null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Buffer;
}

/** A folder to run `llmspell` in. `using` removes it. */
export interface Workspace extends Disposable {
  readonly folder: string;
  /** A path in the folder. */
  path(name: string): string;
  /** Runs `llmspell` with the arguments. */
  run(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Runs it and expects status 0. */
  must(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Starts it; the caller waits or kills. */
  start(args: readonly string[], options?: RunOptions): ChildProcess;
  /** Starts a bash script in a process group of its own, `words` its parameters; the caller waits or kills. */
  startBash(script: string, env?: Readonly<Record<string, string>>, ...words: string[]): ChildProcess;
  /** Runs a bash script with `llmspell` on its PATH, and expects status 0 of every command. */
  bash(script: string, options?: RunOptions): Promise<Outcome>;
}

let built = false;

function buildOnce(): void {
  if (built) return;
  const build = spawnSync(process.execPath, [join(root, "scripts/build.mjs"), "--if-stale"], { encoding: "utf8" });
  if (build.status !== 0) throw new Error(`the build failed:\n${build.stdout}${build.stderr}`);
  built = true;
}

/** The module of the library as it is built; threads are there only. */
export function builtLibrary(): string {
  buildOnce();
  return new URL("../../dist/index.js", import.meta.url).href;
}

/** For the environment of a workspace: commands set their allocator up as for a user (src/allocator.ts), which takes a start more. */
export const WITH_ALLOCATOR = { MALLOC_ARENA_MAX: undefined, NODE_COMPILE_CACHE: undefined };

/** Builds dist/ where it is missing or older than the sources, and makes an empty workspace. */
export function createWorkspace(env: Readonly<Record<string, string | undefined>> = {}): Workspace {
  buildOnce();
  const folder = mkdtempSync(join(tmpdir(), "llmspell-workspace-"));
  mkdirSync(join(folder, "bin"));
  writeFileSync(join(folder, "bin/llmspell"), `#!/bin/sh\nexec "${process.execPath}" "${cli}" "$@"\n`);
  chmodSync(join(folder, "bin/llmspell"), 0o755);
  // Nothing of the machine's own configuration may reach the tool.
  const environment = {
    PATH: `${join(folder, "bin")}:${process.env["PATH"] ?? ""}`,
    HOME: folder,
    TMPDIR: process.env["TMPDIR"] ?? tmpdir(),
    LANG: "C.UTF-8",
    MALLOC_ARENA_MAX: "1",
    // What Node compiled once in this run of the tests.
    NODE_COMPILE_CACHE: join(tmpdir(), TEMPLATE_FOLDER + inject("run"), "compiled"),
    ...env,
  };

  const launch = (command: string, args: readonly string[], options: RunOptions, detached = false): ChildProcess =>
    spawn(command, args, {
      detached,
      cwd: folder,
      env: { ...environment, ...options.env },
      stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
  const start = (args: readonly string[], options: RunOptions = {}): ChildProcess =>
    launch(process.execPath, [cli, ...args], options);
  const run = (args: readonly string[], options: RunOptions = {}): Promise<Outcome> =>
    outcomeOf(start(args, options), options.stdin);
  const succeed = async (what: string, outcome: Promise<Outcome>): Promise<Outcome> => {
    const { status, stdout, stderr } = await outcome;
    if (status !== 0)
      throw new Error(`${what} ended with status ${status}:\n${stdout.slice(-4000)}${stderr.slice(-4000)}`);
    return { status, stdout, stderr };
  };
  return {
    folder,
    path: (name) => join(folder, name),
    run,
    must: (args, options) => succeed(`llmspell ${args.join(" ")}`, run(args, options)),
    start,
    startBash: (script, env = {}, ...words) => launch("bash", ["-c", script, "bash", ...words], { env }, true),
    bash: (script, options = {}) =>
      succeed("the script", outcomeOf(launch("bash", ["-euo", "pipefail", "-c", script], options), options.stdin)),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }),
  };
}

/** What a command said on standard error, without the times before the lines of its log. */
export function withoutTimes(stderr: string): string {
  return stderr.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /gm, "");
}

/** Waits for the process, giving it all of `stdin`; without that, an input that is open stays so. */
export async function outcomeOf(child: ChildProcess, stdin?: string | Buffer): Promise<Outcome> {
  const output = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  // A process that stops early closes its input; that is its outcome's business, not an error of the test.
  child.stdin?.on("error", () => {});
  if (stdin !== undefined) child.stdin?.end(stdin);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  return { status, ...output };
}
