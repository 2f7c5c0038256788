// verify: two databases beside their exports, and two documents beside `diff` of what jq sorts.
import { copyFileSync, rmSync } from "node:fs";
import { DataSet } from "../data/data-set.mjs";
import { oneLargeArtifact } from "../data/sizes.mjs";
import { available } from "../lib/machine.mjs";
import { llmspell, must } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "verify";

/** Of the slower export. */
const DATABASES = 1.3;
/** jq holds a document whole, several times its size: two of these at once still fit. */
const DOCUMENTS = 0.1;
const JQ = "diff <(jq -S .data a) <(jq -S .data b)";
const ONE_CORE = "llmspell verify, on one core";

export async function run(bench, report) {
  await databases(bench, report);
  await documents(bench, report);
  await largeArtifact(bench, report);
}

const verify = (a, b) => llmspell("storage", "verify", a, b);

/** The URL of the set's database. Its partitions are cut as llmspell does, which verify looks at. */
async function sound(bench, set) {
  const url = (await bench.server()).url(await set.postgres());
  must(llmspell("database", "migrate", "--database", url));
  return url;
}

async function databases(bench, report) {
  const set = bench.dataSet("standard");
  const [sqlite, postgres] = [await set.sqlite(), await sound(bench, set)];
  const output = bench.path("out.json");
  const exported = (name, database) => ({
    name,
    command: llmspell("storage", "export", "--database", database, "--output", output),
    output,
    clean: () => rmSync(output),
  });
  const exports = ["export from SQLite", "export from PostgreSQL"];
  const results = await interleave(bench, [
    { name: "llmspell verify", command: verify(sqlite, postgres) },
    // As many threads as there are cores.
    ...(available("taskset") ? [{ name: ONE_CORE, command: ["taskset", "-c", "0", ...verify(sqlite, postgres)] }] : []),
    exported(exports[0], sqlite),
    exported(exports[1], postgres),
  ]);
  report.contenders("The standard set, SQLite and PostgreSQL", results);
  const slower = Math.max(...exports.map((name) => results.get(name).seconds));
  const path = "verify, SQLite and PostgreSQL";
  const times = results.get("llmspell verify").seconds / slower;
  report.atMost(path, "the slower export", times, DATABASES, "times", 2);
  if (results.has(ONE_CORE)) {
    const ofOne = (results.get(ONE_CORE).seconds / slower).toFixed(2);
    report.add(`${path}, on one core`, "the slower export", "none", `${ofOne} times`);
  }
  report.rss(path, results, "llmspell verify");
}

async function documents(bench, report) {
  const set = bench.dataSet("standard", DOCUMENTS);
  const server = await bench.server();
  const [a, b] = [await set.document(), bench.path("b.json")];
  must(llmspell("storage", "export", "--database", server.url(await set.postgres()), "--output", b));
  const contenders = [{ name: "llmspell verify", command: verify(a, b) }];
  if (available("jq"))
    contenders.push({
      name: JQ,
      command: ["bash", "-c", `diff <(jq -S .data "$1") <(jq -S .data "$2")`, "bash", a, b],
      most: 3,
      mayFail: true,
    });
  const results = await interleave(bench, contenders);
  report.contenders(`Two documents, ${DOCUMENTS} of the standard set`, results);
  report.ratio("verify, two documents", JQ, results, "llmspell verify", JQ, 5);
  report.rss("verify, two documents", results, "llmspell verify");
  rmSync(b);
}

async function largeArtifact(bench, report) {
  const set = new DataSet(
    bench,
    "verify_large_artifact",
    oneLargeArtifact(bench.smoke ? bench.scale / 5 : bench.scale),
  );
  const [sqlite, document] = [await set.sqlite(), await set.document()];
  const postgres = await sound(bench, set);
  const copy = bench.path("copy.json");
  copyFileSync(document, copy);
  const pairs = {
    "SQLite and PostgreSQL": [sqlite, postgres],
    "document and PostgreSQL": [document, postgres],
    "document and document": [document, copy],
  };
  const results = await interleave(
    bench,
    Object.entries(pairs).map(([name, [a, b]]) => ({ name, command: verify(a, b) })),
  );
  report.contenders("An artifact of 100 MiB", results);
  for (const name of Object.keys(pairs)) report.rss(`verify, 100 MiB artifact: ${name}`, results, name);
}
