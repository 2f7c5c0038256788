/** PROPERTY_SEED repeats a run, JQ_PROGRAMS sets the number of programs (each meets three inputs). */
import fc from "fast-check";
import { expect, it } from "vitest";
import { scaled } from "../../helpers/scale.js";
import { runCompiled, runReal } from "./engines.js";
import { inputs, programs } from "./generated.js";

const seed = Number(process.env["PROPERTY_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const numRuns = Number(process.env["JQ_PROGRAMS"] ?? scaled(800, 10000));

it("agrees with jq on arbitrary programs and inputs", async () => {
  let compared = 0;
  let undecided = 0;
  let failed = 0;
  let crashed = 0;
  await fc.assert(
    fc.asyncProperty(programs, inputs, async (program, documents) => {
      const compiled = runCompiled(program, documents);
      expect(compiled, "compiled").toBeDefined();
      const real = await runReal(program, documents);
      if (real === undefined) {
        crashed++;
        return;
      }
      const decided = compiled?.map((outcome, at) => {
        compared++;
        if (outcome !== "undecided") return outcome;
        undecided++;
        return real[at];
      });
      failed += real.filter((outcome) => outcome.failed).length;
      expect(decided).toEqual(real);
    }),
    { seed, numRuns, interruptAfterTimeLimit: 240000, markInterruptAsFailure: true },
  );
  console.log(
    `jq: seed ${seed}, ${numRuns} programs, ${compared} results equal, ${failed} of them errors; ${undecided} left to jq, which crashed at ${crashed}`,
  );
  expect(undecided).toBeLessThan(compared / 5);
  expect(crashed).toBeLessThan(numRuns / 100);
}, 300000);
