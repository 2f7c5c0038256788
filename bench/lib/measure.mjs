// One trial is one fresh process, measured from outside.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
const gnuTime = "/usr/bin/time";

function installGnuTime() {
  const script = fileURLToPath(new URL("../../scripts/install-test-tools.sh", import.meta.url));
  const { status } = spawnSync("sh", [script, "time"], { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`the benches need GNU time at ${gnuTime}`);
}

/** Runs `llmspell` under GNU time: `{ seconds, rssMegabytes }` (10^6 bytes, the peak of its resident set). */
export function measureLlmspell(args, options = {}) {
  return measure([process.execPath, cli, ...args], options);
}

/** Runs a command under GNU time. Throws with its last words when it fails. */
export function measure(command, { env = {}, cwd } = {}) {
  if (!existsSync(gnuTime)) installGnuTime();
  const result = spawnSync(gnuTime, ["-v", ...command], {
    cwd,
    env: { PATH: process.env.PATH, HOME: cwd, LANG: "C.UTF-8", ...env },
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.error) throw result.error;
  if (result.status !== 0)
    throw new Error(`${command.join(" ")} failed (${result.status}):\n${result.stderr.slice(-3000)}`);
  const kibibytes = Number(/Maximum resident set size \(kbytes\): (\d+)/.exec(result.stderr)?.[1]);
  const clock = /Elapsed \(wall clock\) time .*: ([\d:.]+)$/m.exec(result.stderr)?.[1] ?? "";
  const seconds = clock.split(":").reduce((total, part) => total * 60 + Number(part), 0);
  return { seconds, rssMegabytes: (kibibytes * 1024) / 1e6 };
}

/** The machine and the date, for RESULTS.md. */
export function circumstances() {
  const date = new Date().toISOString().slice(0, 10);
  const [cpu] = cpus();
  return `${date}, Node ${process.version}, ${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB RAM`;
}

/** A Markdown table; numbers are right-aligned by their column's heading ending in a unit. */
export function table(headings, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(headings), line(headings.map(() => "---")), ...rows.map(line)].join("\n");
}
