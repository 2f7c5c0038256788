// How long `llmspell` takes to be there: against a Node that does nothing.
import { spawnSync } from "node:child_process";
import { cli } from "../lib/measure.mjs";
import { median } from "../lib/trials.mjs";

const LEAST_PAIRS = 20;

export const title = "Start-up";

function milliseconds(args) {
  const started = performance.now();
  const { status } = spawnSync(process.execPath, args, { stdio: "ignore" });
  if (status !== 0) throw new Error(`node ${args.join(" ")} ended with status ${status}`);
  return performance.now() - started;
}

export async function run(bench, report) {
  const pairs = bench.smoke ? 2 : Math.max(LEAST_PAIRS, bench.trials);
  const [ours, bare] = [[], []];
  for (let pair = 0; pair < pairs; pair++) {
    ours.push(milliseconds([cli, "--version"]));
    bare.push(milliseconds(["-e", "0"]));
  }
  const [mine, theirs] = [median(ours), median(bare)];
  report.say(
    `Medians of ${pairs} pairs: \`llmspell --version\` ${mine.toFixed(0)} ms, \`node -e 0\` ${theirs.toFixed(0)} ms.`,
  );
  report.atMost("llmspell --version", "node -e 0", mine - theirs, 60, "ms more");
}
