/** `--jq` (docs/jq.md). */
import { StorageError } from "../../errors.js";
import type { Transform } from "../transform.js";

export interface JqOptions {
  /** The form in which an expression sees embeddings. */
  readonly vectors: "base64" | "json";
  /** One line for `--verbose`. */
  readonly onInfo?: ((message: string) => void) | undefined;
}

export function createJqTransform(_expression: string, _options: JqOptions): Promise<Transform> {
  throw new StorageError("E_USAGE", "--jq is not built yet");
}
