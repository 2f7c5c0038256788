/** What is said of rows that a prune leaves where they are. */
import type { RecordKind } from "../../catalog/index.js";

export function emptyNote({ path }: RecordKind): string {
  return `${path}: the source has no records of it, so none of the target's was pruned; --allow-empty prunes them all`;
}

export function unclearNote({ path }: RecordKind): string {
  return `${path}: nothing was pruned, for records were rejected whose rows in the target cannot be told`;
}

export function referredNote({ path }: RecordKind, count: number): string {
  const [those, them] = count === 1 ? ["record", "it"] : ["records", "them"];
  return `${path}: ${count} ${those} that the source does not have stayed, for others that stay refer to ${them}`;
}
