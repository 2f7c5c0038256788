// Our document reader alone (records scanned, parsed and checked, into nothing) beside two streaming JSON parsers.
import { readFileSync, rmSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { llmspell, must } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Scanner and per-record parse";

const worker = (name) => fileURLToPath(new URL(`../workers/${name}.mjs`, import.meta.url));

/** Documents of one depth each, since JSONStream takes one pattern: [name, sections, tables, depth of a record]. */
const DOCUMENTS = [
  ["text and json", ["kv_store", "sessions", "event_log"], ["kv_store", "sessions", "event_log"], 3],
  ["vectors", ["vector_embeddings.768"], ["vector_embeddings_768"], 4],
];

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const database = await set.sqlite();
  const [document, counted] = [bench.path("part.json"), bench.path("count.txt")];
  for (const [name, sections, tables, depth] of DOCUMENTS) {
    const include = sections.flatMap((section) => ["--include", section]);
    must(llmspell("storage", "export", "--database", database, "--output", document, ...include));
    const wanted = tables.reduce((total, table) => total + set.rows(table), 0);
    const reader = (label, file) => ({
      name: label,
      command: [process.execPath, worker(file), document, String(depth)],
      stdout: counted,
      check() {
        const records = Number(readFileSync(counted, "utf8"));
        if (records !== wanted) throw new Error(`${label} read ${records} records of ${wanted}`);
      },
    });
    const results = await interleave(bench, [
      reader("llmspell", "read-llmspell"),
      reader("stream-json", "read-stream-json"),
      reader("JSONStream", "read-jsonstream"),
    ]);
    for (const result of results.values()) result.bytes = undefined;
    const megabytes = statSync(document).size / 1e6;
    report.contenders(`${name} (${sections.join(", ")}): ${megabytes.toFixed(0)} MB, ${wanted} records`, results);
    report.say(`llmspell: ${(megabytes / results.get("llmspell").seconds).toFixed(0)} MB/s.`);
    report.ratio(`reading a document, ${name}`, "stream-json", results, "llmspell", "stream-json", 6);
    report.ratio(`reading a document, ${name}`, "JSONStream", results, "llmspell", "JSONStream", 2);
    rmSync(document);
  }
}
