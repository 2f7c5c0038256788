/** The stages that a command line, config.toml or a program asks for, in order, and the transforms they stand for. */
import type { Catalog } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import { workingFolder } from "../folders.js";
import type { TransformDefinition } from "./plugin/definition.js";
import type { Transform } from "./transform.js";

export type TransformSpec =
  | { readonly type: "map-tenant"; readonly from: string; readonly to: string }
  | { readonly type: "jq"; readonly expression: string }
  /** `rule`: SECTION.PATH=METHOD (docs/transforms.md). */
  | {
      readonly type: "mask";
      readonly rule: string;
      /** The path may be absent from all records of the section. Default false: that is E_NO_EFFECT. */
      readonly optional?: boolean;
    }
  | {
      readonly type: "plugin";
      /** A path, a package's name, or what defineTransform gives. */
      readonly module: string | TransformDefinition;
      /** As the plugin documents them. */
      readonly options?: unknown;
      /** What a path is relative to and whose packages a name means. Default: the working directory. */
      readonly directory?: string;
    };

export interface TransformSettings {
  readonly catalog: Catalog;
  /** The form of embeddings in the output, which an expression sees. Default "base64". */
  readonly vectors?: "base64" | "json" | undefined;
  /** Seconds that a plugin may take for one record or batch. Default 30. */
  readonly pluginTimeoutSeconds?: number | undefined;
  /** Seconds that an expression may take for one record. Default 30. */
  readonly jqTimeoutSeconds?: number | undefined;
  /** Where masks find their keys. Default: process.env. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** Default: the working directory. */
  readonly directory?: string | undefined;
  /** One line for `--verbose`. */
  readonly onInfo?: ((message: string) => void) | undefined;
  /** What jq's `now` is, in seconds since 1970. Default: the time at which the step is made. */
  readonly now?: number | undefined;
}

/** What makes a transform again in another thread: plain data. */
export interface TransformRecipe {
  readonly spec: TransformSpec;
  readonly settings: Omit<TransformSettings, "catalog" | "onInfo">;
}

const recipes = new WeakMap<Transform, TransformRecipe>();

/** What makes the same transform again; undefined for a program's own. */
export function recipeOf(transform: Transform): TransformRecipe | undefined {
  return recipes.get(transform);
}

export const DEFAULT_PLUGIN_TIMEOUT_SECONDS = 30;
export const DEFAULT_JQ_TIMEOUT_SECONDS = 30;

/**
 * The transforms of a list, in its order; those of the list that are transforms already stay as they are. Whatever is wrong
 * with them is found here, before any store is opened: E_USAGE, E_CONFIG, E_JQ_SYNTAX, E_JQ_UNSUPPORTED, E_PLUGIN_LOAD.
 */
export async function createTransforms(
  steps: readonly (Transform | TransformSpec)[],
  settings: TransformSettings,
): Promise<Transform[]> {
  const transforms: Transform[] = [];
  for (const step of steps) transforms.push("apply" in step ? step : await createOne(step, settings));
  return transforms;
}

async function createOne(spec: TransformSpec, settings: TransformSettings): Promise<Transform> {
  const now = settings.now ?? Date.now() / 1000;
  const transform = await createTransform(spec, { ...settings, now });
  const { vectors, pluginTimeoutSeconds, jqTimeoutSeconds, environment, directory } = settings;
  const again = { vectors, pluginTimeoutSeconds, jqTimeoutSeconds, environment, directory, now };
  if (spec.type !== "plugin" || typeof spec.module === "string") recipes.set(transform, { spec, settings: again });
  return transform;
}

/** Of each type of step, what it may say, and what of that is a text. */
const STEP_OPTIONS: Readonly<Record<TransformSpec["type"], { texts: readonly string[]; others: readonly string[] }>> = {
  "map-tenant": { texts: ["from", "to"], others: [] },
  jq: { texts: ["expression"], others: [] },
  mask: { texts: ["rule"], others: ["optional"] },
  plugin: { texts: [], others: ["module", "options", "directory"] },
};

/** A program's steps are not checked by a compiler everywhere: one that is misspelt must not be left out. E_USAGE. */
function refuseUnknownStep(spec: TransformSpec): void {
  const known = Object.hasOwn(STEP_OPTIONS, spec.type) ? STEP_OPTIONS[spec.type] : undefined;
  if (known === undefined)
    throw new StorageError("E_USAGE", `there is no step of the type ${JSON.stringify(spec.type)}`, {
      hint: `The types are ${Object.keys(STEP_OPTIONS).join(", ")}.`,
    });
  const names = [...known.texts, ...known.others];
  const unknown = Object.entries(spec).filter(
    ([name, value]) => name !== "type" && value !== undefined && !names.includes(name),
  );
  if (unknown.length > 0)
    throw new StorageError("E_USAGE", `a ${spec.type} step has no ${unknown.map(([name]) => name).join(", ")}`, {
      hint: `It has ${names.join(", ")}.`,
    });
  const missing = known.texts.filter((name) => typeof (spec as Record<string, unknown>)[name] !== "string");
  if (missing.length > 0)
    throw new StorageError("E_USAGE", `a ${spec.type} step needs a text as its ${missing.join(" and its ")}`);
}

async function createTransform(spec: TransformSpec, settings: TransformSettings): Promise<Transform> {
  refuseUnknownStep(spec);
  const { catalog, environment = process.env, directory = workingFolder() } = settings;
  switch (spec.type) {
    case "map-tenant": {
      const { createMapTenant } = await import("./map-tenant.js");
      return createMapTenant(spec.from, spec.to, catalog);
    }
    case "jq": {
      const { createJqTransform } = await import("./jq/index.js");
      const { vectors = "base64", onInfo, now } = settings;
      const { jqTimeoutSeconds: timeoutSeconds = DEFAULT_JQ_TIMEOUT_SECONDS } = settings;
      return createJqTransform(spec.expression, { catalog, vectors, onInfo, timeoutSeconds, now });
    }
    case "mask": {
      const { createMask } = await import("./mask/index.js");
      return createMask(spec.rule, { catalog, environment, optional: spec.optional === true });
    }
    case "plugin": {
      const { createPlugin } = await import("./plugin/index.js");
      return createPlugin(spec.module, spec.options, {
        catalog,
        directory: spec.directory ?? directory,
        timeoutSeconds: settings.pluginTimeoutSeconds ?? DEFAULT_PLUGIN_TIMEOUT_SECONDS,
      });
    }
  }
}

/** `OLD=NEW`. E_USAGE. */
export function parseMapTenant(text: string): TransformSpec {
  const at = text.indexOf("=");
  if (at > 0 && at < text.length - 1) return { type: "map-tenant", from: text.slice(0, at), to: text.slice(at + 1) };
  throw new StorageError("E_USAGE", "--map-tenant takes OLD=NEW", {
    hint: "For instance --map-tenant acme=acme-staging.",
  });
}

/** `MODULE` or `MODULE:{…}`, whose options are a JSON object. E_USAGE. */
export function parsePlugin(text: string): TransformSpec {
  const at = text.indexOf(":{");
  if (at === -1) return { type: "plugin", module: text };
  try {
    return { type: "plugin", module: text.slice(0, at), options: JSON.parse(text.slice(at + 1)) };
  } catch {
    throw new StorageError("E_USAGE", `--plugin ${text.slice(0, at)}: the options are not valid JSON`, {
      hint: `They are an object behind the module: --plugin './tidy.mjs:{"days":30}'.`,
    });
  }
}

/** One line that names a step; a plugin's options, which may hold anything, are not shown. */
export function describeStep(spec: TransformSpec): string {
  switch (spec.type) {
    case "map-tenant":
      return `map-tenant ${spec.from}=${spec.to}`;
    case "jq":
      return `jq ${spec.expression}`;
    case "mask":
      return `${spec.optional ? "mask-optional" : "mask"} ${spec.rule}`;
    case "plugin":
      return `plugin ${typeof spec.module === "string" ? spec.module : spec.module.name}`;
  }
}
