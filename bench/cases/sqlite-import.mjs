// Document -> a new SQLite file with its schema and indexes, beside sqlite3 reading a dump.
import { rmSync } from "node:fs";
import { expectData } from "../lib/digest.mjs";
import { available } from "../lib/machine.mjs";
import { llmspell, must } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Document -> SQLite";

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const document = await set.document();
  const digest = await set.digest();
  const [database, dump, again] = [bench.path("new.db"), bench.path("dump.sql"), bench.path("again.json")];
  const shared = {
    output: database,
    async check() {
      must(llmspell("storage", "export", "--database", database, "--output", again));
      await expectData(again, digest);
      rmSync(again);
    },
    clean: () => {
      for (const suffix of ["", "-wal", "-shm"]) rmSync(database + suffix, { force: true });
    },
  };
  const contenders = [
    {
      ...shared,
      name: "llmspell",
      command: llmspell("storage", "import", "--database", database, "--input", document),
    },
  ];
  if (available("sqlite3")) {
    must(["sh", "-c", `sqlite3 '${await set.sqlite()}' .dump > '${dump}'`]);
    contenders.push({ ...shared, name: "sqlite3 .read", command: ["sqlite3", database, `.read ${dump}`] });
  }
  const results = await interleave(bench, contenders);
  report.contenders("The standard set", results);
  report.ratio("document -> SQLite", "sqlite3 .read", results, "llmspell", "sqlite3 .read", 1.2);
  report.rss("document -> SQLite", results, "llmspell");
  rmSync(dump, { force: true });
}
