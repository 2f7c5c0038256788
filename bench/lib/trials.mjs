// Contenders run by turns, A B C A B C …, so that whatever slows the machine for a while slows all of them.
import { statSync } from "node:fs";
import { cli, measure, root } from "./measure.mjs";

/**
 * A contender:
 * - `name`; `command` (words), or `sh`: a line for sh
 * - `prepare(trial)`, `clean(trial)`: before and after each trial, not timed
 * - `check()`: after the first trial; throws when the work was not done
 * - `output`: a file whose size is taken; `stdout`: the file that takes its standard output
 * - `most`: fewer trials than the others, for the very slow ones
 * - `mayFail`: a peer that may not manage the work at all: it then has no result
 * Returns `Map name -> { seconds, cpu, megabytes (peak RSS), bytes, trials }`: medians.
 */
export async function interleave(bench, all) {
  const contenders = bench.against === undefined ? all : besideTheOther(all, bench.against);
  const runs = new Map(contenders.map(({ name }) => [name, []]));
  const sizes = new Map();
  const failures = new Set();
  for (let trial = 0; trial < bench.trials; trial++) {
    for (const contender of contenders) {
      const { name, command, sh, output, stdout, env, most = Number.POSITIVE_INFINITY } = contender;
      if (trial >= most || failures.has(name)) continue;
      await contender.prepare?.(trial);
      let result;
      try {
        result = await measure(command ?? ["sh", "-c", sh], { cwd: bench.folder, env, stdout });
      } catch (error) {
        if (contender.mayFail !== true) throw error;
        failures.add(name);
        bench.log(`${name}: failed`);
        await contender.clean?.(trial);
        continue;
      }
      runs.get(name).push(result);
      if (trial === 0) {
        const file = output ?? stdout;
        if (file !== undefined) sizes.set(name, statSync(file).size);
        await contender.check?.();
      }
      await contender.clean?.(trial);
      bench.log(`${name}: ${result.seconds.toFixed(2)} s, ${result.megabytes.toFixed(0)} MB`);
    }
  }
  const medians = new Map(
    [...runs]
      .filter(([name]) => !failures.has(name))
      .map(([name, results]) => {
        const of = (field) => median(results.map((result) => result[field]));
        return [
          name,
          {
            seconds: of("seconds"),
            cpu: of("cpu"),
            megabytes: of("megabytes"),
            bytes: sizes.get(name),
            trials: results.length,
          },
        ];
      }),
  );
  for (const { name, twin } of contenders)
    if (medians.has(twin)) bench.compare(name, medians.get(name), medians.get(twin));
  return medians;
}

/** Ours alone, each followed by the same command of the checkout `folder`, which may not have it yet. */
function besideTheOther(contenders, folder) {
  const elsewhere = (word) => word.replaceAll(root, `${folder}/`);
  return contenders
    .filter(({ name, command = [], sh = "" }) => command.includes(cli) || sh.includes(cli) || name === "llmspell")
    .flatMap((ours) => {
      const twin = `${ours.name}, ${folder}`;
      const moved = { command: ours.command?.map(elsewhere), sh: ours.sh && elsewhere(ours.sh) };
      const shared = { ...ours, most: undefined };
      return [
        { ...shared, twin },
        { ...shared, ...moved, name: twin, mayFail: true },
      ];
    });
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
