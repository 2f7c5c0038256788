// SQLite -> document, beside sqlite3's .dump: the standard set, and what users have.
import { rmSync } from "node:fs";
import { expectData } from "../lib/digest.mjs";
import { available } from "../lib/machine.mjs";
import { llmspell } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "SQLite -> document";

const SETS = [
  { name: "standard", heading: "The standard set", path: "SQLite -> document", target: 1.5 },
  {
    name: "mixed",
    heading: "`mixed`: llmspell's own tables, Unicode in every text, JSON of several shapes",
    path: "SQLite -> document, mixed",
    target: 0.45,
  },
];

export async function run(bench, report) {
  for (const { name, heading, path, target } of SETS) {
    const set = bench.dataSet(name);
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
    report.contenders(heading, results);
    report.ratio(path, "sqlite3 .dump", results, "llmspell", "sqlite3 .dump", target);
    report.rss(path, results, "llmspell");
  }
}
