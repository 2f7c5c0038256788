// Memory must not grow with the data: SQLite -> document -> PostgreSQL -> document -> SQLite with 200 MB, with 10 GB and with an
// artifact of 100 MiB, the memory of each run sampled every second, and the `data` of all documents the same to the byte.
import { mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { DataSet } from "../data/data-set.mjs";
import { oneLargeArtifact, sizes } from "../data/sizes.mjs";
import { dataDigest, expectData } from "../lib/digest.mjs";
import { llmspell } from "../lib/measure.mjs";
import { table } from "../lib/report.mjs";
import { measureRss } from "../lib/rss.mjs";
import { rssPlot } from "../lib/svg.mjs";

export const title = "Memory over a whole migration, up to 10 GB (soak)";

const BOUND = 150;
/** SQLite's driver binds and gives a BLOB whole. */
const LARGE_ARTIFACT_IN_SQLITE = 300;
const FLAT = 1.15;
const DISK_GIGABYTES = 45;
const RUNS = ["export from SQLite", "import into PostgreSQL", "export from PostgreSQL", "import into SQLite"];
const plots = fileURLToPath(new URL("../results/", import.meta.url));

export async function run(bench, report) {
  const wanted = DISK_GIGABYTES * bench.scale;
  const { bavail, bsize } = statfsSync(bench.folder);
  const free = (bavail * bsize) / 1e9;
  bench.log(`wants about ${wanted.toFixed(0)} GB of disk in ${bench.folder} (free: ${free.toFixed(0)} GB)`);
  if (free < wanted) throw new Error("there is not that much disk; --scale makes it smaller");

  const scale = bench.smoke ? bench.scale / 5 : bench.scale;
  const sets = [
    { name: "200 MB", sizes: sizes("large", 0.02 * scale) },
    { name: "10 GB", sizes: sizes("large", scale) },
    { name: "100 MiB artifact", sizes: oneLargeArtifact(scale), large: true },
  ];
  const rows = [];
  const peaks = new Map();
  const images = [];
  for (const { name, sizes: rowsAndSizes, large = false } of sets) {
    for (const result of await migrate(bench, name, rowsAndSizes)) {
      const bound = large && result.what.includes("SQLite") ? LARGE_ARTIFACT_IN_SQLITE : BOUND;
      peaks.set(`${name}: ${result.what}`, result.megabytes);
      rows.push([
        name,
        result.what,
        result.size.toFixed(0),
        result.seconds.toFixed(1),
        (result.size / result.seconds).toFixed(0),
        result.cpu.toFixed(1),
        result.megabytes.toFixed(0),
      ]);
      bench.log(rows.at(-1).join("\t"));
      report.atMost(`${name}: ${result.what}`, "peak RSS", result.megabytes, bound, "MB");
      const plot = rssPlot(`${name}: ${result.what}`, result.samples, bound);
      if (!bench.keep) continue;
      const file = `rss-${`${name} ${result.what}`.toLowerCase().replaceAll(" ", "-")}.svg`;
      mkdirSync(plots, { recursive: true });
      writeFileSync(plots + file, plot);
      images.push(`![${name}: ${result.what}](results/${file})`);
    }
  }
  for (const what of RUNS) {
    const growth = peaks.get(`10 GB: ${what}`) / peaks.get(`200 MB: ${what}`);
    report.atMost(`10 GB: ${what}`, "peak RSS at 200 MB", growth, FLAT, "times", 2);
  }
  report.say(table(["data", "run", "document MB", "wall s", "MB/s", "CPU s", "peak RSS MB"], rows));
  report.say(
    "The `data` of all three documents of each migration (from SQLite, from PostgreSQL, from the new SQLite file) had the same SHA-256.",
  );
  if (images.length > 0) report.say(images.join("\n"));
}

/** The four runs of one migration, each intermediate deleted as soon as it has served. */
async function migrate(bench, name, rowsAndSizes) {
  const set = new DataSet(bench, `soak_${name.replaceAll(" ", "_").toLowerCase()}`, rowsAndSizes);
  const server = await bench.server();
  const results = [];
  const step = async (what, document, ...args) => {
    const measured = await measureRss(llmspell("storage", ...args), {
      cwd: bench.folder,
      interval: bench.smoke ? 20 : 1000,
    });
    results.push({ what, size: statSync(document).size / 1e6, ...measured });
  };
  const [first, second, third, database] = ["1.json", "2.json", "3.json", "new.db"].map((file) => bench.path(file));
  const from = await set.sqlite();
  await server.create(set.name, await bench.emptyPostgres());
  const url = server.url(set.name);
  const [fromSqlite, intoPostgres, fromPostgres, intoSqlite] = RUNS;

  await step(fromSqlite, first, "export", "--database", from, "--output", first);
  rmSync(from);
  const digest = await dataDigest(first);
  await step(intoPostgres, first, "import", "--database", url, "--input", first);
  rmSync(first);
  await step(fromPostgres, second, "export", "--database", url, "--output", second);
  await server.drop(set.name);
  await expectData(second, digest);
  await step(intoSqlite, second, "import", "--database", database, "--input", second);
  rmSync(second);
  await step("export again", third, "export", "--database", database, "--output", third);
  await expectData(third, digest);
  rmSync(third);
  for (const suffix of ["", "-wal", "-shm"]) rmSync(database + suffix, { force: true });
  return results.slice(0, -1);
}
