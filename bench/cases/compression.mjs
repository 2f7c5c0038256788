// Compression inside the export, beside a pipe into a compressor.
import { rmSync } from "node:fs";
import { expectData } from "../lib/digest.mjs";
import { available } from "../lib/machine.mjs";
import { llmspell } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Compression";

/** gzip takes a minute for the standard set. */
const FACTOR = 0.25;

export async function run(bench, report) {
  const set = bench.dataSet("standard", FACTOR);
  const database = await set.sqlite();
  const digest = await set.digest();
  const contender = (name, suffix, work) => {
    const output = bench.path(`out.json.${suffix}`);
    return { name, output, ...work(output), check: () => expectData(output, digest), clean: () => rmSync(output) };
  };
  const ours = (name, suffix) =>
    contender(name, suffix, (output) => ({
      command: llmspell("storage", "export", "--database", database, "--output", output),
    }));
  const piped = (program, suffix) => {
    const words = llmspell("storage", "export", "--database", database, "--output", "-");
    const line = words.map((word) => `'${word}'`).join(" ");
    return contender(`--output - to ${program}`, suffix, (output) => ({ sh: `${line} | ${program} > '${output}'` }));
  };
  const results = await interleave(bench, [
    ours("--output x.json.gz", "gz"),
    piped("gzip", "gz"),
    ...(available("pigz") ? [piped("pigz", "gz")] : []),
    ours("--output x.json.zst", "zst"),
    ...(available("zstd") ? [piped("zstd -q -T0", "zst")] : []),
  ]);
  report.contenders(
    `A quarter of the standard set, from SQLite (CPU and memory of a pipe: all, and the largest, of its processes)`,
    results,
  );
  report.ratio("SQLite -> .gz", "gzip after a pipe", results, "--output x.json.gz", "--output - to gzip", 2);
  report.ratio("SQLite -> .gz", "pigz after a pipe", results, "--output x.json.gz", "--output - to pigz");
  report.ratio("SQLite -> .zst", "zstd -T0 after a pipe", results, "--output x.json.zst", "--output - to zstd -q -T0");
}
