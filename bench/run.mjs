// Runs the benches: node bench/run.mjs [NAME…] [--trials N] [--scale F] [--smoke] [--against FOLDER]
//
// Without a name: all but the soak and the workers, five trials each; the figures go to the terminal and to bench/RESULTS.md. --scale makes
// the data sets smaller or larger, --smoke takes the smallest of all for every case, to see that each still runs; neither keeps
// its figures. --against runs our own commands alone, by turns with those of another checkout (built, with its node_modules), and
// tells how much slower or faster they are. A target that is missed is told, and is no failure.
import { existsSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { must } from "./lib/measure.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const NOT_BY_DEFAULT = ["soak", "workers"];
const SMOKE_SCALE = 0.001;

function usage(message) {
  console.error(
    `${message}\nusage: npm run bench -- [NAME…] [--trials N] [--scale F] [--smoke] [--against FOLDER]\ncases: ${all.join(", ")}`,
  );
  process.exit(2);
}

function commandLine() {
  const options = {
    trials: { type: "string" },
    scale: { type: "string" },
    smoke: { type: "boolean", default: false },
    against: { type: "string" },
  };
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const { smoke } = values;
    const trials = Number(values.trials ?? (smoke ? 1 : 5));
    const scale = Number(values.scale ?? (smoke ? SMOKE_SCALE : 1));
    if (!(Number.isInteger(trials) && trials >= 1)) usage("--trials takes a number from 1 on");
    if (!(scale > 0)) usage("--scale takes a factor above 0");
    const against = values.against && resolve(values.against);
    if (against && !existsSync(join(against, "dist/cli.js"))) usage(`${against} has no dist/cli.js`);
    return { smoke, trials, scale, against, names: positionals };
  } catch (error) {
    return usage(error.message);
  }
}

const all = readdirSync(join(here, "cases"))
  .filter((name) => name.endsWith(".mjs"))
  .map((name) => name.slice(0, -4))
  .sort();
const { names, ...options } = commandLine();
const unknown = names.filter((name) => !all.includes(name));
if (unknown.length > 0) usage(`no such case: ${unknown.join(", ")}`);
const chosen = names.length > 0 ? names : all.filter((name) => options.smoke || !NOT_BY_DEFAULT.includes(name));

must([process.execPath, join(here, "../scripts/build.mjs"), "--if-stale"], { stdio: ["ignore", "inherit", "inherit"] });

const { Bench } = await import("./lib/bench.mjs");
const { circumstances, installPeers, peerVersions } = await import("./lib/machine.mjs");
const { Report, TARGET_HEADINGS, table } = await import("./lib/report.mjs");
const { writeSections } = await import("./lib/results.mjs");

installPeers(options.smoke);
const bench = new Bench(options);
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => bench.close().then(() => process.exit(130)));
const failed = [];
const targets = [];
const started = performance.now();
try {
  for (const name of chosen) {
    const began = performance.now();
    console.log(`\n# ${name}`);
    const { title, run } = await import(`./cases/${name}.mjs`);
    const report = new Report(title);
    bench.case = name;
    try {
      await run(bench, report);
    } catch (error) {
      console.error(error);
      failed.push(name);
      continue;
    }
    if (!options.smoke && options.against === undefined) console.log(`\n${report.text()}`);
    console.log(`(${name}: ${((performance.now() - began) / 1000).toFixed(0)} s)`);
    targets.push(...report.targets);
    if (bench.keep) {
      const server = bench.started === undefined ? "" : `\n\nServer: ${await (await bench.server()).describe()}.`;
      const circumstance = `${circumstances()}; ${peerVersions().join(", ")}.${server}`;
      writeSections({ [name]: `${report.text()}\n\n${circumstance}` });
    }
  }
} finally {
  await bench.close();
}
if (options.against !== undefined)
  console.log(`\n${table(["command", "wall s", "CPU s", "peak RSS MB", "trials"], bench.comparisons)}`);
else if (!options.smoke) console.log(`\n${table(TARGET_HEADINGS, targets)}`);
for (const name of failed) console.error(`failed: ${name}`);
console.log(
  `${chosen.length - failed.length} of ${chosen.length} cases ran in ${((performance.now() - started) / 60_000).toFixed(1)} minutes`,
);
process.exitCode = failed.length === 0 ? 0 : 1;
