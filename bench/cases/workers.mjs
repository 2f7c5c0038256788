// PostgreSQL -> PostgreSQL with 1, 2, 4 and 8 workers, every connection through a network that is the bound: how far workers scale
// where this machine is not what limits them.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { DataSet } from "../data/data-set.mjs";
import { sizes } from "../data/sizes.mjs";
import { cli, llmspell } from "../lib/measure.mjs";
import { speedPlot } from "../lib/svg.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Several workers, each connection limited";

const WORKERS = [1, 2, 4, 8];
const LEAST = 7;
/** Of the standard set; a part of some seconds for each worker, many for all. */
const FACTOR = 0.06;
const MEGABYTES_PER_SECOND = 0.25;
const PART_BYTES = 1_000_000;
/** Several minutes for one worker, whose time the network sets. */
const MOST_TRIALS = 1;
const proxy = fileURLToPath(new URL("../workers/slow-network.mjs", import.meta.url));
const plot = fileURLToPath(new URL("../results/workers.svg", import.meta.url));

export async function run(bench, report) {
  // The largest artifact is one part, and no bound of its own.
  const set = new DataSet(bench, "workers", {
    ...sizes("standard", FACTOR * bench.scale),
    content: { from: 1024, to: 1_500_000 },
  });
  const server = await bench.server();
  const from = await set.postgres();
  const empty = await bench.emptyPostgres();
  const [target, queue] = ["workers_target", "workers_queue"];
  const started = new Set();
  const start = (words, env = {}) => {
    const child = spawn(process.execPath, words, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "ignore"],
    });
    started.add(child);
    return child;
  };
  const end = async (children) => {
    for (const child of children) {
      started.delete(child);
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGTERM");
      await once(child, "exit");
    }
  };

  const { hostname, port } = new URL(server.url(from));
  const rate = bench.smoke ? 50e6 : MEGABYTES_PER_SECOND * 1e6;
  const network = start([proxy, hostname, port, String(rate)]);
  const [near] = await once(createInterface(network.stdout), "line");
  const through = (name) => Object.assign(new URL(server.url(name)), { port: near }).href;
  const config = bench.path("workers.toml");
  writeFileSync(config, `[stores.old]\nurl = "${through(from)}"\n[stores.new]\nurl = "${through(target)}"\n`);
  const env = { LLMSPELL_CONFIG: config, LLMSPELL_STORAGE_PART_BYTES: String(PART_BYTES) };

  let workers = [];
  const contender = (count) => ({
    name: `${count} worker${count === 1 ? "" : "s"}`,
    most: MOST_TRIALS,
    env,
    command: llmspell("storage", "migrate", "--from", "old", "--to", "new", "--queue", through(queue)),
    async prepare() {
      await server.create(target, empty);
      await server.create(queue);
      workers = Array.from({ length: count }, () =>
        start([cli, "storage", "worker", "--queue", through(queue), "--json"], env),
      );
      // Its first line says that it waits for parts.
      for (const { stdout } of workers) {
        await once(stdout, "data");
        stdout.resume();
      }
    },
    check: () => set.expectIn(target),
    clean: () => end(workers),
  });
  try {
    const counts = bench.smoke ? [2] : WORKERS;
    const results = await interleave(bench, counts.map(contender));
    const figures = counts.map((count) => ({ count, seconds: results.get(contender(count).name)?.seconds }));
    const limit = `${rate / 1e6} MB/s in either direction of each connection, parts of ${PART_BYTES / 1e6} MB`;
    report.contenders(`${limit}; CPU and memory are the coordinator's`, results);
    const path = "PostgreSQL -> PostgreSQL, 1 -> 8 workers, limited connections";
    report.ratio(path, "1 worker", results, "8 workers", "1 worker", LEAST);
    if (!bench.keep) return;
    mkdirSync(fileURLToPath(new URL("../results/", import.meta.url)), { recursive: true });
    writeFileSync(plot, speedPlot(`1 to 8 workers, ${limit}`, figures));
    report.say("![workers](results/workers.svg)");
  } finally {
    await end([...started]);
    await server.drop(target);
    await server.drop(queue);
  }
}
