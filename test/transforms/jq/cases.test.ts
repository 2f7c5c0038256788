import { describe, expect, it } from "vitest";
import { COMPILED, INPUTS, LEFT_TO_JQ } from "./cases.js";
import { runCompiled, runReal } from "./engines.js";

describe("compiled programs against jq itself, on cases of its manual", () => {
  it("has at least 300 cases", () => {
    expect(new Set(COMPILED).size).toBeGreaterThanOrEqual(300);
  });

  it.each(COMPILED)("%s", async (program) => {
    const compiled = runCompiled(program, INPUTS);
    const real = (await runReal(program, INPUTS)) ?? [];
    expect(compiled, "compiled").toBeDefined();
    expect(compiled?.map((outcome, at) => (outcome === "undecided" ? real[at] : outcome))).toEqual(real);
    // Most must be decided, or there is nothing to compare.
    expect(compiled?.filter((outcome) => outcome === "undecided").length).toBeLessThan(INPUTS.length / 2);
  });

  it.each(LEFT_TO_JQ)("leaves to jq: %s", async (program) => {
    expect(runCompiled(program, INPUTS)).toBeUndefined();
    expect(await runReal(program, INPUTS)).toHaveLength(INPUTS.length);
  });
});
