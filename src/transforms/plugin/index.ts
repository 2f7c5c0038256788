import type { Catalog } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import type { Transform } from "../transform.js";
import type { TransformDefinition } from "./definition.js";

export interface PluginSettings {
  readonly catalog: Catalog;
  readonly directory: string;
  readonly timeoutSeconds: number;
}

export function createPlugin(
  _module: string | TransformDefinition,
  _options: unknown,
  _settings: PluginSettings,
): Promise<Transform> {
  throw new StorageError("E_USAGE", "--plugin is not built yet");
}
