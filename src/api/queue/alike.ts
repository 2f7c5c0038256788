/** What the coordinator and the workers of a run have to do alike with its records, and how a worker knows that it does. */
import { hash } from "node:crypto";
import { StorageError } from "../../errors.js";
import { workingFolder } from "../../folders.js";
import { catalog } from "../../llmspell/catalog/index.js";
import type { InvalidUuidPolicy } from "../../sinks/ids.js";
import { digestOfModule } from "../../transforms/plugin/module-digest.js";
import { createTransforms, recipeOf, type TransformRecipe } from "../../transforms/spec.js";
import type { Transform } from "../../transforms/transform.js";
import { VERSION } from "../../version.js";

/** In the ledger, as JSON: plain values, no program. */
export interface SaidAlike {
  readonly tenants?: readonly string[] | undefined;
  readonly invalidUuid?: InvalidUuidPolicy | undefined;
  readonly translate?: string | undefined;
  readonly sourceMode?: "auto" | "copy" | "cursor" | undefined;
  readonly sourceCheck?: "count" | "none" | undefined;
  /** Each part is read back before it is committed. */
  readonly verifyParts?: boolean | undefined;
  /** A digest of what the records mean is told of each part. */
  readonly digests?: boolean | undefined;
  /** Sections in whose tables others have rows by now, which stay as they are. */
  readonly amongOthers?: readonly string[] | undefined;
  /** Of the steps, which each worker has of its own. */
  readonly steps: string;
  /** What jq's `now` is. */
  readonly now: number;
  /** Of the coordinator's program: another one may cut and load parts otherwise. */
  readonly version: string;
}

/** Of plugins' files, as they were when the process began to use them. */
const modules = new WeakMap<Transform, string>();

/**
 * What tells two lists of steps apart, masks' keys and plugins' files included; of no use without the run's token.
 * @throws {StorageError} E_USAGE for steps that a worker cannot have
 */
export function digestOfSteps(transforms: readonly Transform[], token: string): string {
  const steps = transforms.map((transform) => {
    const recipe = recipeOf(transform);
    if (transform.emits !== undefined) throw refused(transform, "it gives records of other sections than it gets");
    if (transform.inOrder !== undefined)
      throw refused(transform, `it needs all records in order: ${transform.inOrder}`);
    if (recipe === undefined)
      throw refused(transform, "a program's own step is in no module, which another machine could have");
    const { spec, settings } = recipe;
    if (spec.type === "plugin") return [{ type: spec.type, options: spec.options }, moduleOf(transform, recipe)];
    const variable = spec.type === "mask" ? /=(?:hash|email)(?::(\w+))?$/.exec(spec.rule) : null;
    const { environment = process.env } = settings;
    return [spec, variable && (environment[variable[1] ?? "LLMSPELL_MASK_KEY"] ?? "")];
  });
  return hash("sha256", JSON.stringify([token, steps]));
}

function moduleOf(transform: Transform, { spec, settings }: TransformRecipe): string {
  const known = modules.get(transform);
  if (known !== undefined || spec.type !== "plugin" || typeof spec.module !== "string") return known ?? "";
  const found = digestOfModule(spec.module, spec.directory ?? settings.directory ?? workingFolder());
  modules.set(transform, found);
  return found;
}

function refused({ name }: Transform, why: string): StorageError {
  return new StorageError("E_USAGE", `the step "${name}" does not go with --queue: ${why}`, {
    hint: "Migrate without --queue (--jobs N uses several connections of this machine).",
  });
}

/** The steps as the run's coordinator means them. E_USAGE where the worker has others, or is of another version. */
export async function stepsAlike(
  transforms: readonly Transform[],
  token: string,
  said: SaidAlike,
): Promise<Transform[]> {
  if (said.version !== VERSION)
    throw new StorageError(
      "E_USAGE",
      `the run's coordinator is llmspell-storage ${said.version}, and this is ${VERSION}`,
      {
        hint: "Install the same version for all workers and their coordinator.",
      },
    );
  if (digestOfSteps(transforms, token) !== said.steps)
    throw new StorageError(
      "E_USAGE",
      "the worker's transforms (or the keys of its masks, or the files of its plugins) are not those of the run",
      {
        hint: "Start the worker with the same --map-tenant, --jq, --mask and --plugin, in the same order, with the same [transforms], keys and plugins' files.",
      },
    );
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
  const isList = (value: unknown): boolean =>
    value === undefined || (Array.isArray(value) && value.every((one) => typeof one === "string"));
  const isFlag = (value: unknown): boolean => value === undefined || typeof value === "boolean";
  const isOneOf = (value: unknown, names: readonly string[]): boolean =>
    value === undefined || names.includes(value as string);
  const isValid =
    typeof steps === "string" &&
    typeof now === "number" &&
    typeof found["version"] === "string" &&
    isList(tenants) &&
    isList(found["amongOthers"]) &&
    (translate === undefined || typeof translate === "string") &&
    isFlag(found["verifyParts"]) &&
    isFlag(found["digests"]) &&
    isOneOf(invalidUuid, ["error", "derive"]) &&
    isOneOf(sourceMode, ["auto", "copy", "cursor"]) &&
    isOneOf(sourceCheck, ["count", "none"]);
  return isValid ? (found as unknown as SaidAlike) : undefined;
}

/** The snapshot that the ledger names; its name is looked at where it is taken. E_RUN_UNFINISHED */
export function readSnapshot(text: string): object {
  try {
    const { id, systemIdentifier } = JSON.parse(text) as Record<string, unknown>;
    if (typeof id === "string")
      return { id, systemIdentifier: typeof systemIdentifier === "string" ? systemIdentifier : undefined };
  } catch {
    // None.
  }
  throw new StorageError("E_RUN_UNFINISHED", "what the ledger says of the run's snapshot is none");
}
