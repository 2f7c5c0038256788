/** `--plugin MODULE`: a stage that a module of the user's makes. */
import type { Catalog } from "../../catalog/index.js";
import type { Transform } from "../transform.js";
import type { TransformDefinition } from "./definition.js";
import { loadDefinition, parseOptions, pathsOf } from "./load.js";
import { PluginRun } from "./plugin-run.js";
import { ProcessGuard } from "./process-guard.js";

export interface PluginSettings {
  readonly catalog: Catalog;
  /** What a path is relative to, and whose packages a name means. */
  readonly directory: string | undefined;
  /** How long one call may take. */
  readonly timeoutSeconds: number;
}

/** E_PLUGIN_LOAD. While it runs: E_PLUGIN, E_PLUGIN_TIMEOUT. */
export async function createPlugin(
  module: string | TransformDefinition,
  given: unknown,
  settings: PluginSettings,
): Promise<Transform> {
  const { catalog, directory, timeoutSeconds } = settings;
  const definition = await loadDefinition(module, directory);
  const options = parseOptions(definition, given);
  const sections = pathsOf(definition, definition.sections, catalog);
  const emitted = pathsOf(definition, definition.emits ?? [], catalog);
  return {
    name: `plugin ${definition.name}`,
    mayDrop: (path) => definition.drops !== false && sections.has(path),
    tellsDrops: true,
    mayChange: (path) => sections.has(path) || emitted.has(path),
    ...(definition.parallel === true ? {} : { inOrder: "it does not say that it may run in parallel" }),
    ...(emitted.size === 0 ? {} : { emits: { from: sections, to: emitted, atEnd: definition.flush !== undefined } }),
    async *apply(batches, context) {
      const guard = new ProcessGuard(definition.name, typeof module === "string");
      const run = new PluginRun({ definition, options, emitted, catalog, timeoutSeconds, context, guard });
      await run.setup();
      for await (const batch of batches) {
        if (sections.has(batch.kind.path)) yield* run.process(batch);
        else yield batch;
      }
      yield* run.flush();
    },
  };
}
