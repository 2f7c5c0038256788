/** What of a run its threads do: reading alone, or the steps, too. */
import { catalog as llmspellCatalog } from "../llmspell/catalog/index.js";
import type { ThreadedRun } from "../transforms/record-threads.js";
import { recipeOf } from "../transforms/spec.js";
import { threadsCanRun } from "./thread-handle.js";

export type Sharing =
  /** One thread does it all, and why. */
  | { readonly type: "none"; readonly why: string }
  /** Threads read, and this one puts the records through the steps; where steps are the reason, which. */
  | { readonly type: "reading"; readonly why: string | undefined }
  | { readonly type: "steps" };

export function sharingOf(run: ThreadedRun): Sharing {
  const { source, takesText } = run;
  const { inParts } = source;
  const why = run.whole ?? unread(run);
  if (why !== undefined) return { type: "none", why };
  if (inParts === undefined) return { type: "none", why: source.wholeBecause ?? "the source cannot be read in parts" };
  const isSingle = inParts.single !== undefined;
  const order = stepsHereBecause(run, isSingle);
  // Of a single part, whoever reads it has enough to do: here the records are printed.
  if (isSingle && takesText) return { type: "reading", why: undefined };
  if (order === undefined) return { type: "steps" };
  // To print what threads have read takes as long as to read it: one thread does both, without a list of rows.
  return takesText ? { type: "none", why: order } : { type: "reading", why: order };
}

function unread({ catalog }: ThreadedRun): string | undefined {
  if (!threadsCanRun()) return "no threads can be started here";
  return catalog === llmspellCatalog ? undefined : "the record kinds are a program's own";
}

/** Why the steps get all records in one thread, which is this one. */
function stepsHereBecause(
  { inOrder, catalog, transforms, leavesOrphans }: ThreadedRun,
  isSingle: boolean,
): string | undefined {
  if (inOrder !== undefined) return inOrder;
  if (
    leavesOrphans &&
    catalog.kinds.some(({ path, foreignKeys }) => foreignKeys.some(({ references }) => references === path))
  )
    return "records of a kind refer to others of it";
  for (const transform of transforms) {
    const { name, emits } = transform;
    if (emits !== undefined) return `the step "${name}" gives records of other sections than it gets`;
    // The thread that reads a single part has all of them in order.
    if (transform.inOrder !== undefined && !isSingle)
      return `the step "${name}" needs all records in order: ${transform.inOrder}`;
    if (recipeOf(transform) === undefined) return `the step "${name}" is a program's own`;
  }
  return undefined;
}
