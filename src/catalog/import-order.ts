/** Parents before children; kinds whose foreign keys go round in a cycle stand together. */
import type { RecordKind } from "./types.js";

/**
 * The strongly connected components of the foreign keys, each after those that it refers to (R. Tarjan, "Depth-first search
 * and linear graph algorithms", 1972). Throws for a key that refers to no kind, and for one with `onDrop` within a cycle.
 */
export function orderByForeignKeys(
  kinds: readonly RecordKind[],
  byPath: ReadonlyMap<string, RecordKind>,
): readonly (readonly RecordKind[])[] {
  const groups: (readonly RecordKind[])[] = [];
  const numbers = new Map<RecordKind, number>();
  const stack: RecordKind[] = [];
  const grouped = new Set<RecordKind>();
  /** Gives the lowest number that the kind's group has. */
  const visit = (kind: RecordKind): number => {
    const number = numbers.size;
    let lowest = number;
    numbers.set(kind, number);
    stack.push(kind);
    for (const { references } of kind.foreignKeys) {
      const parent = byPath.get(references);
      if (parent === undefined) throw new Error(`${kind.path} refers to ${references}, which is no record kind`);
      if (!numbers.has(parent)) lowest = Math.min(lowest, visit(parent));
      else if (!grouped.has(parent)) lowest = Math.min(lowest, numbers.get(parent) as number);
    }
    if (lowest < number) return lowest;
    const group = stack.splice(stack.indexOf(kind));
    // As they stand in the catalog, whatever way they were found.
    group.sort((one, other) => kinds.indexOf(one) - kinds.indexOf(other));
    for (const each of group) grouped.add(each);
    groups.push(group);
    return lowest;
  };
  for (const kind of kinds) if (!numbers.has(kind)) visit(kind);
  for (const group of groups) refuseDropsWithin(group);
  return groups;
}

function refuseDropsWithin(group: readonly RecordKind[]): void {
  for (const { path, foreignKeys } of group)
    for (const { references, onDrop } of foreignKeys)
      if (onDrop !== undefined && group.some((parent) => parent.path === references))
        throw new Error(`the foreign key of ${path} to ${references} is within a cycle, and has onDrop`);
}
