// Our document writer alone, from memory to /dev/null, beside JSON.stringify of the same records.
import { readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { llmspell, must } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Writer alone";

const worker = fileURLToPath(new URL("../workers/write-records.mjs", import.meta.url));
const SECTIONS = ["event_log", "vector_embeddings.768"];

export async function run(bench, report) {
  const database = await bench.dataSet("standard").sqlite();
  const [document, sized] = [bench.path("part.json"), bench.path("size.txt")];
  const times = bench.smoke ? 2 : Math.max(50, Math.round(2000 * bench.scale));
  for (const section of SECTIONS) {
    must(llmspell("storage", "export", "--database", database, "--output", document, "--include", section));
    const contender = (name, how) => ({
      name,
      command: [process.execPath, worker, document, how, String(times)],
      stdout: sized,
    });
    const results = await interleave(bench, [
      contender("llmspell", "llmspell"),
      contender("JSON.stringify", "stringify"),
    ]);
    const megabytes = (Number(readFileSync(sized, "utf8")) * times) / 1e6;
    for (const result of results.values()) result.bytes = undefined;
    report.contenders(`${section}: one batch of records, ${times} times, ${megabytes.toFixed(0)} MB`, results);
    report.ratio(`writing a document, ${section}`, "JSON.stringify", results, "llmspell", "JSON.stringify");
    rmSync(document);
  }
}
