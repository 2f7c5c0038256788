/**
 * The command `llmspell` is llmspell's own, too: what is not ours is handed to the next program of that name on the PATH, which
 * takes this process's place.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, closeSync, constants, openSync, readFileSync, readSync, realpathSync, statSync } from "node:fs";
import { basename, delimiter, dirname, join, resolve } from "node:path";
import { inheritedDescriptors } from "../../descriptors.js";
import { StorageError } from "../../errors.js";

/** The first words of our own command lines. */
export const OWN_COMMANDS: ReadonlySet<string> = new Set(["storage", "database", "explain", "completion", "help"]);
/** Options before the command that take a value, llmspell's and ours. */
const VALUED = /^(-c|--config|-p|--profile|--trace|--output)$/;
/** Set for the program that takes over: who handed over, and which words. */
const GUARD = "LLMSPELL_STORAGE_HANDED_OVER";

/** The command line from the command on, without llmspell's own options before it. */
export function commandWords(argv: readonly string[]): readonly string[] {
  let at = 0;
  while (at < argv.length && argv[at]?.startsWith("-")) at += VALUED.test(argv[at] as string) ? 2 : 1;
  return argv.slice(at);
}

/** Which of its names the program was called by. */
export function calledName(calledAs: string): "llmspell" | "llmspell-storage" {
  return /^llmspell-storage(\.\w+)?$/.test(basename(calledAs)) ? "llmspell-storage" : "llmspell";
}

/** The word that makes the command line llmspell's; undefined: it is ours, or `llmspell-storage` was called by its name. */
export function foreignCommand(argv: readonly string[], calledAs: string): string | undefined {
  if (calledName(calledAs) === "llmspell-storage") return undefined;
  const [word] = commandWords(argv);
  return word === undefined || OWN_COMMANDS.has(word) ? undefined : word;
}

/**
 * Runs the command line with llmspell itself. Gives its exit status where it cannot take the process's place.
 * @throws {StorageError} E_USAGE where there is no other llmspell
 */
export async function handOver(argv: readonly string[], command: string): Promise<number> {
  const words = createHash("sha256").update(argv.join("\0")).digest("hex").slice(0, 16);
  const [handedBy, handedWords] = process.env[GUARD]?.split(":") ?? [];
  // A wrapper may lead back here. Whatever llmspell itself calls later has other words, or another parent.
  const isLoop = handedWords === words && [process.pid, process.ppid].includes(Number(handedBy));
  const program = isLoop ? undefined : nextLlmspell(process.env["PATH"] ?? "");
  if (program === undefined) {
    throw new StorageError("E_USAGE", `the command ${command} belongs to llmspell itself, which is not on the PATH`, {
      hint: "This is llmspell-storage, with the commands storage and database. Install llmspell, or put its folder on the PATH; see docs/llmspell.md.",
    });
  }
  const env = { ...process.env, [GUARD]: `${process.pid}:${words}` };
  const inherited = inheritedDescriptors();
  if (process.execve !== undefined && process.platform !== "win32" && inherited?.length === 0)
    process.execve(program, [program, ...argv], env);
  return runBeside(program, argv, env, inherited ?? []);
}

/** The first program of the name on the PATH that is not of a package of ours. */
function nextLlmspell(path: string): string | undefined {
  const extensions = process.platform === "win32" ? (process.env["PATHEXT"] ?? ".EXE;.CMD;.BAT").split(";") : [""];
  for (const folder of path.split(delimiter)) {
    for (const extension of extensions) {
      const file = resolve(folder || ".", `llmspell${extension}`);
      if (isProgram(file) && !isOurs(file)) return file;
    }
  }
  return undefined;
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** Whether it is of any copy of this package: by the package around it, or as a shim that names it (npm's on Windows, pnpm's). */
function isOurs(file: string): boolean {
  const real = realpathSync(file);
  for (let folder = dirname(real); ; folder = dirname(folder)) {
    const name = packageName(join(folder, "package.json"));
    if (name !== undefined) return name === "llmspell-storage" || namesUs(real);
    if (dirname(folder) === folder) return namesUs(real);
  }
}

function packageName(file: string): string | undefined {
  try {
    const { name } = JSON.parse(readFileSync(file, "utf8")) as { name?: unknown };
    return typeof name === "string" ? name : "";
  } catch {
    return undefined;
  }
}

/** Shims are short scripts. */
const SHIM_BYTES = 4096;

function namesUs(file: string): boolean {
  if (statSync(file).size > SHIM_BYTES) return false;
  const descriptor = openSync(file, "r");
  try {
    const text = Buffer.alloc(SHIM_BYTES);
    return text.toString("latin1", 0, readSync(descriptor, text)).includes("llmspell-storage");
  } finally {
    closeSync(descriptor);
  }
}

/** Where a process cannot be replaced, or would lose descriptors: the program as a child that has ours, its signals and status passed on. */
async function runBeside(
  program: string,
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  descriptors: readonly number[],
): Promise<number> {
  const handed = Array.from({ length: Math.max(2, ...descriptors) + 1 }, (_, fd) =>
    fd < 3 || descriptors.includes(fd) ? fd : ("ignore" as const),
  );
  // Only a shell runs npm's and other batch files.
  const shell = /\.(cmd|bat)$/i.test(program);
  const child = spawn(shell ? `"${program}"` : program, shell ? argv.map((word) => `"${word}"`) : argv, {
    stdio: handed,
    env,
    shell,
  });
  // From a terminal they reach the child as well; it ends, and so do we.
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => child.kill(name));
  return new Promise((ended, failed) => {
    child.once("error", (error) =>
      failed(new StorageError("E_USAGE", `llmspell itself cannot be started: ${program}`, {}, error)),
    );
    child.once("close", (status, signal) => {
      if (signal !== null) {
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
      }
      ended(status ?? 1);
    });
  });
}
