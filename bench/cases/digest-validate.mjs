// digest and validate of a document, beside reading it, which `storage info` does.
import { DataSet } from "../data/data-set.mjs";
import { oneLargeArtifact } from "../data/sizes.mjs";
import { llmspell } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "digest and validate";

const READING = "storage info";
/** Of reading. */
const MOST = 1.2;
const COMMANDS = {
  digest: ["digest"],
  validate: ["validate"],
  "validate --for postgres": ["validate", "--for", "postgres"],
};

export async function run(bench, report) {
  const document = await bench.dataSet("standard").document();
  const results = await interleave(bench, [
    { name: READING, command: llmspell("storage", "info", document) },
    ...contenders(document),
  ]);
  report.contenders("The standard set's document", results);
  const reading = results.get(READING);
  for (const name of Object.keys(COMMANDS)) {
    const { seconds, cpu } = results.get(name);
    const times = seconds / reading.seconds;
    const measured = `${times.toFixed(2)} times; CPU ${(cpu / reading.cpu).toFixed(2)}`;
    report.add(`${name} of a document`, READING, `<= ${MOST} times`, measured, times <= MOST);
    report.rss(`${name} of a document`, results, name);
  }

  const large = oneLargeArtifact(bench.smoke ? bench.scale / 5 : bench.scale);
  const artifact = await new DataSet(bench, "digest_large_artifact", large).document();
  const ofArtifact = await interleave(bench, contenders(artifact));
  report.contenders("An artifact of 100 MiB", ofArtifact);
  for (const name of Object.keys(COMMANDS)) report.rss(`${name}, 100 MiB artifact`, ofArtifact, name);
}

function contenders(document) {
  return Object.entries(COMMANDS).map(([name, args]) => ({ name, command: llmspell("storage", ...args, document) }));
}
