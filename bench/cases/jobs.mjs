// Databases -> document with several threads, beside one and beside the databases' own programs.
import { rmSync } from "node:fs";
import { expectData } from "../lib/digest.mjs";
import { available } from "../lib/machine.mjs";
import { llmspell } from "../lib/measure.mjs";
import { pgDump } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Several threads";

/** More threads than the machine has cores show what they cost, not what they give. */
const JOBS = [1, 2];
/** Of one job, and for each further one. */
const [MEGABYTES, FURTHER] = [150, 60];

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const digest = await set.digest();
  const output = bench.path("out.json");
  const ours = (database) =>
    JOBS.map((jobs) => ({
      name: `--jobs ${jobs}`,
      command: llmspell("storage", "export", "--database", database, "--output", output, "--jobs", `${jobs}`),
      output,
      check: () => expectData(output, digest),
      clean: () => rmSync(output),
    }));
  const told = (path, peer, results, target) => {
    report.contenders(path, results);
    report.ratio(path, peer, results, "--jobs 2", peer, target);
    report.ratio(path, "one job", results, "--jobs 2", "--jobs 1", 1.5);
    report.rss(path, results, "--jobs 2", MEGABYTES + FURTHER);
  };

  const database = await set.sqlite();
  const dump = bench.path("out.sql");
  const fromSqlite = ours(database);
  if (available("sqlite3"))
    fromSqlite.push({
      name: "sqlite3 .dump",
      command: ["sqlite3", database, ".dump"],
      stdout: dump,
      clean: () => rmSync(dump),
    });
  told("SQLite -> document, --jobs 2", "sqlite3 .dump", await interleave(bench, fromSqlite), 1);

  const server = await bench.server();
  const url = server.url(await set.postgres());
  const fromPostgres = [
    ...ours(url),
    { name: "pg_dump -Fp", command: pgDump(url, { format: "p", file: dump }), output: dump, clean: () => rmSync(dump) },
  ];
  told("PostgreSQL -> document, --jobs 2", "pg_dump -Fp", await interleave(bench, fromPostgres));
}
