/** `--require-empty`: what a target has that should have nothing. */
import { StorageError } from "../../errors.js";

/** E_NOT_EMPTY where a section has records. `counts`: by path. */
export function requireEmpty(counts: ReadonlyMap<string, number | bigint>): void {
  const filled = [...counts].filter(([, count]) => count > 0);
  const [first] = filled;
  if (first === undefined) return;
  throw new StorageError("E_NOT_EMPTY", "the target has records already", {
    section: first[0],
    detail: filled.map(([path, count]) => `${path} ${count}`).join(", "),
    hint: "Is it the right database? Without --require-empty (requireEmpty: false) records are merged into it.",
  });
}
