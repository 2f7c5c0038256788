// One trial is one fresh process, measured from outside by GNU time.
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const cli = join(root, "dist/cli.js");
const gnuTime = "/usr/bin/time";
/**
 * GNU time leaves its report open in what it starts, and others their pipes; with a descriptor that is handed over the tool does
 * not start itself anew with its allocator's settings (src/allocator.ts), which is not how people run it.
 */
const CLOSED = [
  "bash",
  "-c",
  'for ((fd = 3; fd < 255; fd++)); do [ -e /proc/$$/fd/$fd ] && exec {fd}>&-; done; exec "$@"',
  "bash",
];

/** The command line of `llmspell`. */
export function llmspell(...args) {
  return [process.execPath, cli, ...args, "--quiet"];
}

/**
 * Runs a command under GNU time: `{ seconds, cpu, megabytes }`: wall clock, user and system time of the process and its
 * children, and the peak resident set of the largest of them in 10^6 bytes. Its stdout goes to the file `stdout`.
 * Throws with its last words when it fails. `onStart(pid)` is told the process that is measured.
 */
export async function measure(command, { env = {}, cwd = tmpdir(), stdout, onStart } = {}) {
  if (!existsSync(gnuTime)) throw new Error(`the benches need GNU time at ${gnuTime}`);
  const report = join(cwd, `time-${process.pid}.txt`);
  const output = stdout === undefined ? "ignore" : openSync(stdout, "w");
  const child = spawn(gnuTime, ["-f", "%e %U %S %M", "-o", report, ...CLOSED, ...command], {
    cwd,
    env: { PATH: process.env.PATH, HOME: cwd, LANG: "C.UTF-8", ...env },
    stdio: ["ignore", output, "pipe"],
  });
  if (output !== "ignore") closeSync(output);
  let words = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    words = (words + text).slice(-3000);
  });
  child.once("spawn", () => onStart?.(childOf(child.pid)));
  const status = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(code ?? signal));
  });
  if (status !== 0) throw new Error(`${command.join(" ").slice(0, 500)} failed (${status}):\n${words}`);
  const [seconds, user, system, kibibytes] = readFileSync(report, "utf8").trim().split("\n").at(-1).split(" ");
  rmSync(report);
  return {
    seconds: Number(seconds),
    cpu: Number(user) + Number(system),
    megabytes: (Number(kibibytes) * 1024) / 1e6,
  };
}

/** Runs a command that is part of the set-up. Throws with its last words when it fails; returns its stdout. */
export function must(command, { env = {}, ...options } = {}) {
  const [program, ...args] = command;
  const result = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: 256 * 1048576,
    ...options,
    env: { ...process.env, ...env },
  });
  if (result.error) throw result.error;
  if (result.status !== 0)
    throw new Error(`${command.join(" ").slice(0, 500)} failed (${result.status}):\n${result.stderr?.slice(-3000)}`);
  return result.stdout;
}

/** GNU time has one child. It is there a moment after time itself is. */
function childOf(pid) {
  for (let attempt = 0; attempt < 1000; attempt++) {
    try {
      const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
      if (child > 0) return child;
    } catch {
      return undefined;
    }
  }
  return undefined;
}
