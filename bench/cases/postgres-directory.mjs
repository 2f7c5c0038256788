// PostgreSQL -> directory, compressed, with two threads, beside pg_dump's directory format with its own compression.
import { rmSync } from "node:fs";
import { llmspell, must } from "../lib/measure.mjs";
import { pgDump } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "PostgreSQL -> directory, --jobs 2";

/** 150 for one job, and 60 for each further. */
const MOST_MEGABYTES = 210;
const LEAST = 2;
/** The peer compresses for minutes. */
const MOST_TRIALS = 3;

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const url = server.url(await set.postgres());
  const [folder, dump] = [bench.path("out.dir"), bench.path("dump.dir")];
  const remove = (path) => rmSync(path, { recursive: true, force: true });
  const ours = (jobs) => ({
    name: `llmspell .zst --jobs ${jobs}`,
    command: llmspell(
      "storage",
      "export",
      "--database",
      url,
      "--output",
      `${folder}/`,
      "--compress",
      "zstd",
      "--jobs",
      `${jobs}`,
    ),
    check: () => must(llmspell("storage", "verify", url, `${folder}/`)),
    clean: () => remove(folder),
  });
  const results = await interleave(bench, [
    ours(1),
    ours(2),
    {
      name: "pg_dump -Fd -j2",
      command: [...pgDump(url, { format: "d", file: dump }), "-j2"],
      clean: () => remove(dump),
      most: MOST_TRIALS,
    },
  ]);
  report.contenders("Everything", results);
  const path = "PostgreSQL -> directory, .zst, --jobs 2";
  report.ratio(path, "pg_dump -Fd -j2", results, "llmspell .zst --jobs 2", "pg_dump -Fd -j2", LEAST);
  report.ratio(path, "one job", results, "llmspell .zst --jobs 2", "llmspell .zst --jobs 1", 1.5);
  report.rss(path, results, "llmspell .zst --jobs 2", MOST_MEGABYTES);
}
