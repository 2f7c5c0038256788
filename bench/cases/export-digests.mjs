// What `--digests` costs an export, from either database.
import { rmSync } from "node:fs";
import { llmspell } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "export --digests";

/** Of the export without. */
const MOST = 1.15;

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const output = bench.path("out.json");
  for (const [store, database] of [
    ["SQLite", await set.sqlite()],
    ["PostgreSQL", server.url(await set.postgres())],
  ]) {
    const exported = (name, ...options) => ({
      name,
      command: llmspell("storage", "export", "--database", database, "--output", output, ...options),
      output,
      clean: () => rmSync(output),
    });
    const results = await interleave(bench, [exported("export"), exported("export --digests", "--digests")]);
    report.contenders(`The standard set, from ${store}`, results);
    const times = results.get("export --digests").seconds / results.get("export").seconds;
    report.atMost(`${store} -> document with --digests`, "without", times, MOST, "times", 2);
    report.rss(`${store} -> document with --digests`, results, "export --digests");
  }
}
