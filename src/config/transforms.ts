/** `[transforms]` of config.toml: stages that run before those of the command line. */
import { dirname } from "node:path";
import type * as zod from "zod";
import { StorageError } from "../errors.js";
import { parseMapTenant, type TransformSpec } from "../transforms/spec.js";

/** The commands that move records. */
export type TransferCommand = "export" | "import" | "migrate" | "rewrite";

export interface ConfiguredTransforms {
  /** The file that they are from. */
  readonly file: string;
  /** The commands that `steps` apply to. */
  readonly on: readonly TransferCommand[];
  readonly steps: readonly TransformSpec[];
  readonly vectors?: "base64" | "json" | undefined;
  readonly pluginTimeoutSeconds?: number | undefined;
  readonly jqTimeoutSeconds?: number | undefined;
}

/** The table's schema. `z`: zod, which is loaded only where there is a file. */
export function transformsSchema(z: typeof zod.z) {
  const text = z.string().min(1);
  // Strict, unlike the rest of the file: a mask under a misspelt key would let out what it is to hide.
  const step = z.union(
    [
      z.strictObject({ map_tenant: text }),
      z.strictObject({ jq: text }),
      z.strictObject({ mask: text }),
      z.strictObject({ mask_optional: text }),
      z.strictObject({ plugin: text, options: z.record(z.string(), z.unknown()).optional() }),
    ],
    { error: "is none of { map_tenant }, { jq }, { mask }, { mask_optional }, { plugin, options }, with a text each" },
  );
  return z.strictObject({
    on: z
      .array(z.enum(["export", "import", "migrate", "rewrite"]))
      .min(1)
      .optional(),
    steps: z.array(step).optional(),
    vectors: z.enum(["base64", "json"]).optional(),
    // A timer's range in milliseconds is 2^31 - 1.
    plugin_timeout_seconds: z.number().positive().max(2_147_483).optional(),
    jq_timeout_seconds: z.number().positive().max(2_147_483).optional(),
  });
}

/** E_CONFIG for a table that can only be meant as `[transforms]`: left aside, it would let out what its masks are to hide. */
export function refuseMisspeltTransforms(file: string, document: Readonly<Record<string, unknown>>): void {
  const { storage, ...others } = document;
  const meant = [
    ...Object.keys(others).filter((key) => key !== "transforms"),
    ...Object.keys(storage ?? {}).map((key) => `storage.${key}`),
  ].find((path) => /^(storage\.)?transf/i.test(path));
  if (meant === undefined) return;
  throw new StorageError("E_CONFIG", `${file} is not valid`, {
    detail: `${meant}: is no table of this file`,
    hint: "Steps stand in [transforms], at the top level.",
  });
}

type TransformsTable = zod.z.infer<ReturnType<typeof transformsSchema>>;
type Step = NonNullable<TransformsTable["steps"]>[number];

/** E_CONFIG for steps that do not say which commands they are for, and for a step that is not understood. */
export function readTransforms(file: string, table: TransformsTable): ConfiguredTransforms {
  const { on, steps = [], vectors } = table;
  const { plugin_timeout_seconds: pluginTimeoutSeconds, jq_timeout_seconds: jqTimeoutSeconds } = table;
  if (on === undefined && steps.length > 0) {
    throw new StorageError("E_CONFIG", `${file} is not valid`, {
      detail: "transforms.on: says which commands the steps are for, and is missing",
      hint: 'For instance: on = ["export"].',
    });
  }
  return {
    file,
    on: on ?? [],
    steps: steps.map((one, at) => specOf(file, one, at)),
    vectors,
    pluginTimeoutSeconds,
    jqTimeoutSeconds,
  };
}

function specOf(file: string, one: Step, at: number): TransformSpec {
  if ("jq" in one) return { type: "jq", expression: one.jq };
  if ("mask_optional" in one) return { type: "mask", rule: one.mask_optional, optional: true };
  if ("mask" in one) return { type: "mask", rule: one.mask };
  if ("plugin" in one) {
    const { plugin: module, options } = one;
    return { type: "plugin", module, directory: dirname(file), ...(options === undefined ? {} : { options }) };
  }
  try {
    return parseMapTenant(one.map_tenant);
  } catch {
    throw new StorageError("E_CONFIG", `${file} is not valid`, {
      detail: `transforms.steps.${at}.map_tenant: takes OLD=NEW`,
    });
  }
}
