import type { Catalog } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import type { Transform } from "../transform.js";

export interface MaskSettings {
  readonly catalog: Catalog;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export function createMask(_rule: string, _settings: MaskSettings): Transform {
  throw new StorageError("E_USAGE", "--mask is not built yet");
}
