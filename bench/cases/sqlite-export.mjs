// SQLite -> document, beside sqlite3's .dump.
import { rmSync } from "node:fs";
import { expectData } from "../lib/digest.mjs";
import { available } from "../lib/machine.mjs";
import { llmspell } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "SQLite -> document";

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const database = await set.sqlite();
  const digest = await set.digest();
  const [output, dump] = [bench.path("out.json"), bench.path("out.sql")];
  const contenders = [
    {
      name: "llmspell",
      command: llmspell("storage", "export", "--database", database, "--output", output),
      output,
      check: () => expectData(output, digest),
      clean: () => rmSync(output),
    },
  ];
  if (available("sqlite3"))
    contenders.push({
      name: "sqlite3 .dump",
      command: ["sqlite3", database, ".dump"],
      stdout: dump,
      clean: () => rmSync(dump),
    });
  const results = await interleave(bench, contenders);
  report.contenders("The standard set", results);
  report.ratio("SQLite -> document", "sqlite3 .dump", results, "llmspell", "sqlite3 .dump", 1.5);
  report.rss("SQLite -> document", results, "llmspell");
}
