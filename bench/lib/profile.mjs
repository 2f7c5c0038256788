// Where the time of one run goes: functions by V8's sampling profiler, statements by the server's log.
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { measure } from "./measure.mjs";

const SHOWN = 14;

/** Runs a command of node's under its profiler: rows of [function, milliseconds of its own, share of the run]. */
export async function profileFunctions(bench, [node, ...args]) {
  const folder = mkdtempSync(bench.path("profile-"));
  try {
    await measure([node, "--cpu-prof", "--cpu-prof-dir", folder, "--cpu-prof-interval", "500", ...args], {
      cwd: bench.folder,
      stdout: bench.path("profile.out"),
    });
    const [file] = readdirSync(folder);
    return largest(ownTimes(JSON.parse(readFileSync(join(folder, file), "utf8"))));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Milliseconds by function, without those that it calls. `(idle)`: the main thread waits; `(program)`: native code. */
function ownTimes({ nodes, samples, timeDeltas }) {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const times = new Map();
  for (const [at, id] of samples.entries()) {
    const name = names.get(id);
    times.set(name, (times.get(name) ?? 0) + timeDeltas[at] / 1000);
  }
  return times;
}

function nameOf({ functionName, url }) {
  const module = url
    .replace(/^node:(internal\/)?/, "node:")
    .split("/")
    .slice(-2)
    .join("/");
  return module === "" ? functionName || "(anonymous)" : `${functionName || "(anonymous)"} ${module}`;
}

/** Runs `work` and tells what the server did meanwhile: rows of [statement, milliseconds, share]. */
export async function profileStatements(server, work) {
  const log = openSync(await server.log(), "r");
  try {
    await server.set({ log_min_duration_statement: "0", log_parameter_max_length: "0" });
    const from = fstatSync(log).size;
    await work();
    await server.reset(["log_min_duration_statement", "log_parameter_max_length"]);
    const bytes = Buffer.alloc(fstatSync(log).size - from);
    readSync(log, bytes, 0, bytes.length, from);
    const times = new Map();
    for (const [, duration, statement] of bytes
      .toString("utf8")
      .matchAll(/duration: ([\d.]+) ms {2}(?:statement|parse|bind|execute)[^:]*:\s+(.*)/g)) {
      const name = shortened(statement);
      times.set(name, (times.get(name) ?? 0) + Number(duration));
    }
    return largest(times);
  } finally {
    closeSync(log);
  }
}

/** Statements that differ in numbers and values only are one. */
function shortened(statement) {
  const text = statement.replace("RELEASE SAVEPOINT attempt; SAVEPOINT attempt; ", "").replaceAll(/\d{2,}/g, "N");
  return text.replaceAll('"', "").replaceAll("|", "/").replaceAll(/\s+/g, " ").slice(0, 72).trim();
}

function largest(times) {
  const total = [...times.values()].reduce((sum, time) => sum + time, 0);
  const sorted = [...times].sort(([, a], [, b]) => b - a);
  const rows = sorted.slice(0, SHOWN);
  const rest = sorted.slice(SHOWN).reduce((sum, [, time]) => sum + time, 0);
  return [...rows, ["all others", rest], ["together", total]].map(([name, time]) => [
    name,
    time.toFixed(0),
    `${((100 * time) / total).toFixed(1)} %`,
  ]);
}
