/** What the coordinator and the workers of a run have to do alike with its records, and how a worker knows that it does. */
import { hash } from "node:crypto";
import { StorageError } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import type { InvalidUuidPolicy } from "../../sinks/ids.js";
import { createTransforms, recipeOf } from "../../transforms/spec.js";
import type { Transform } from "../../transforms/transform.js";

/** In the ledger, as JSON: plain values, no program. */
export interface SaidAlike {
  readonly tenants?: readonly string[] | undefined;
  readonly invalidUuid?: InvalidUuidPolicy | undefined;
  readonly translate?: string | undefined;
  readonly sourceMode?: "auto" | "copy" | "cursor" | undefined;
  readonly sourceCheck?: "count" | "none" | undefined;
  /** Of the steps, which each worker has of its own. */
  readonly steps: string;
  /** What jq's `now` is. */
  readonly now: number;
}

/**
 * What tells two lists of steps apart, masks' keys included; of no use without the run's token.
 * @throws {StorageError} E_USAGE for steps that a worker cannot have
 */
export function digestOfSteps(transforms: readonly Transform[], token: string): string {
  const steps = transforms.map((transform) => {
    const recipe = recipeOf(transform);
    if (transform.emits !== undefined) throw refused(transform, "it gives records of other sections than it gets");
    if (transform.inOrder !== undefined)
      throw refused(transform, `it needs all records in order: ${transform.inOrder}`);
    if (recipe === undefined || recipe.spec.type === "plugin")
      throw refused(transform, "a plugin is a program, which no other machine is known to have");
    const { spec, settings } = recipe;
    const variable = spec.type === "mask" ? /=(?:hash|email)(?::(\w+))?$/.exec(spec.rule) : null;
    const { environment = process.env } = settings;
    return [spec, variable && (environment[variable[1] ?? "LLMSPELL_MASK_KEY"] ?? "")];
  });
  return hash("sha256", JSON.stringify([token, steps]));
}

function refused({ name }: Transform, why: string): StorageError {
  return new StorageError("E_USAGE", `the step "${name}" does not go with --queue: ${why}`, {
    hint: "Migrate without --queue.",
  });
}

/** The steps as the run's coordinator means them. E_USAGE where the worker has others. */
export async function stepsAlike(
  transforms: readonly Transform[],
  token: string,
  said: SaidAlike,
): Promise<Transform[]> {
  if (digestOfSteps(transforms, token) !== said.steps)
    throw new StorageError("E_USAGE", "the worker's transforms (or the keys of its masks) are not those of the run", {
      hint: "Start the worker with the same --map-tenant, --jq and --mask, in the same order, with the same [transforms] and the same keys.",
    });
  const steps: Transform[] = [];
  for (const transform of transforms) {
    const recipe = recipeOf(transform);
    if (recipe === undefined) continue;
    steps.push(...(await createTransforms([recipe.spec], { ...recipe.settings, now: said.now, catalog })));
  }
  return steps;
}

/** What the ledger says; undefined for what no coordinator writes. */
export function readSaid(text: string): SaidAlike | undefined {
  let found: Record<string, unknown>;
  try {
    found = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  if (typeof found !== "object" || found === null) return undefined;
  const { tenants, invalidUuid, translate, sourceMode, sourceCheck, steps, now } = found;
  const isOneOf = (value: unknown, names: readonly string[]): boolean =>
    value === undefined || names.includes(value as string);
  const isValid =
    typeof steps === "string" &&
    typeof now === "number" &&
    (tenants === undefined || (Array.isArray(tenants) && tenants.every((one) => typeof one === "string"))) &&
    (translate === undefined || typeof translate === "string") &&
    isOneOf(invalidUuid, ["error", "derive"]) &&
    isOneOf(sourceMode, ["auto", "copy", "cursor"]) &&
    isOneOf(sourceCheck, ["count", "none"]);
  return isValid ? (found as unknown as SaidAlike) : undefined;
}
