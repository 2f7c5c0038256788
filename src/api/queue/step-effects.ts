/** What steps say when all records have gone through them: of the parts of all workers together. */
import { StorageError } from "../../errors.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { RunContext, StepEffect } from "../../records/run-context.js";
import { recipeOf } from "../../transforms/spec.js";
import type { Transform } from "../../transforms/transform.js";

/** The steps for one part: what they meet is counted, and none has the last word of what it met of the run. */
export function partSteps(steps: readonly Transform[]): {
  readonly transforms: readonly Transform[];
  readonly effects: readonly StepEffect[];
} {
  const effects = steps.map((): StepEffect => ({ records: 0, hits: 0, passed: 0 }));
  const transforms = steps.map((step, at): Transform => {
    const counted = (context: RunContext): RunContext => ({
      ...context,
      ahead: true,
      effect: () => effects[at] as StepEffect,
    });
    // All else is the step's own.
    return Object.assign(Object.create(step) as Transform, {
      apply: (batches: AsyncIterable<RecordBatch>, context: RunContext) => step.apply(batches, counted(context)),
    });
  });
  return { transforms, effects };
}

/** E_NO_EFFECT, warnings and notes of steps that met nothing in any part. @param sums in the order of the steps */
export async function settleSteps(
  steps: readonly Transform[],
  sums: readonly StepEffect[],
  context: RunContext,
): Promise<void> {
  for (const [at, step] of steps.entries()) {
    // Plugins have no counts.
    if (recipeOf(step)?.spec.type === "plugin") continue;
    const settling: RunContext = { ...context, effect: () => sums[at] ?? { records: 0, hits: 0, passed: 0 } };
    for await (const _ of step.apply(nothing(), settling))
      throw new StorageError("E_UNEXPECTED", "a step gave records that it never got");
  }
}

async function* nothing(): AsyncGenerator<RecordBatch> {}
