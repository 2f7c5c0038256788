/** What is said of rows that a prune leaves where they are. */
import type { RecordKind } from "../catalog/index.js";

export function emptyNote({ path }: RecordKind): string {
  return `${path}: the source has no records of it, so none of the target's was pruned; --allow-empty prunes them all`;
}

export function unclearNote({ path }: RecordKind): string {
  return `${path}: nothing was pruned, for records were rejected whose rows in the target cannot be told`;
}

export function referredNote({ path, noun }: RecordKind, count: number): string {
  const them =
    count === 1
      ? `1 ${noun} that the source does not have was`
      : `${count} ${noun}s that the source does not have were`;
  return `${path}: ${them} not pruned, for records that stay refer to ${count === 1 ? "it" : "them"}`;
}
