// Rewriting on the way (--jq) and of a document (`rewrite`), beside the same export without it and beside jq on the document.
import { rmSync, statSync } from "node:fs";
import { available } from "../lib/machine.mjs";
import { cli, llmspell, must } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Rewriting with jq expressions";

/** The migration guide's own expressions. */
const EXPRESSION = [
  '.data.sessions[].tenant_id = "new-tenant"',
  ".data.sessions = [.data.sessions[] | select(.created_at > 1640000000)]",
  '.data.vector_embeddings."1536"[].metadata.migrated = true',
].join(" | ");
/** jq sorts what it compares in memory. */
const COMPARED_BYTES = 50e6;
/** jq 1.6 takes the square of the records' number for such assignments: it is ended, and the ratio is then a lower bound. */
const JQ_SECONDS = 300;
const JQ = "jq on the document";
const REWRITE = "llmspell rewrite --jq";

export async function run(bench, report) {
  const help = must([process.execPath, cli, "storage", "export", "--help"]);
  if (!help.includes("--jq")) {
    report.say("Skipped: `storage export` has no `--jq` in this version.");
    return;
  }
  const set = bench.dataSet("rewrite");
  const database = await set.sqlite();
  const [plain, ours, rewritten, theirs] = ["plain.json", "ours.json", "rewritten.json", "theirs.json"].map((name) =>
    bench.path(name),
  );
  const shared = ["storage", "export", "--database", database, "--output"];
  const rewriting = ["--jq", EXPRESSION, ...(help.includes("--no-cascade") ? ["--no-cascade"] : [])];
  const contenders = [
    { name: "llmspell export", command: llmspell(...shared, plain), output: plain },
    { name: "llmspell export --jq", command: llmspell(...shared, ours, ...rewriting), output: ours },
    {
      name: REWRITE,
      command: llmspell("storage", "rewrite", "--input", plain, "--output", rewritten, ...rewriting),
      output: rewritten,
    },
  ];
  if (available("jq"))
    contenders.push({
      name: JQ,
      command: ["timeout", String(JQ_SECONDS), "jq", EXPRESSION, plain],
      stdout: theirs,
      most: 3,
      mayFail: true,
      check() {
        if (statSync(ours).size > COMPARED_BYTES) return;
        const wanted = sorted(theirs);
        if (sorted(ours) !== wanted) throw new Error("--jq and jq do not agree");
        if (sorted(rewritten) !== wanted) throw new Error("rewrite and jq do not agree");
      },
      clean: () => rmSync(theirs, { force: true }),
    });
  const results = await interleave(bench, contenders);
  report.contenders(`\`${EXPRESSION}\`, from an SQLite database`, results);
  report.ratio("SQLite -> document with --jq", "without --jq", results, "llmspell export --jq", "llmspell export", 0.8);
  for (const [path, name, megabytes] of [
    ["SQLite -> document with --jq", "llmspell export --jq", 200],
    ["rewrite of a document with --jq", REWRITE, 150],
  ]) {
    if (results.has(JQ)) report.ratio(path, JQ, results, name, JQ, 5);
    else if (available("jq")) {
      const least = JQ_SECONDS / results.get(name).seconds;
      report.add(path, JQ, ">= 5", `more than ${least.toFixed(0)} (jq was ended after ${JQ_SECONDS} s)`, least >= 5);
    }
    report.rss(path, results, name, megabytes);
  }
  for (const file of [plain, ours, rewritten]) rmSync(file);
}

const sorted = (path) => must(["jq", "-cS", ".data", path]);
