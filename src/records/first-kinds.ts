/** The items in the order that a selection wishes (Selection.first): those that it does not name come behind, as they are. */
export function firstKinds<Item>(
  items: readonly Item[],
  first: readonly string[] | undefined,
  pathOf: (item: Item) => string | undefined,
): readonly Item[] {
  if (first === undefined) return items;
  const places = new Map(first.map((path, at) => [path, at]));
  const placeOf = (item: Item): number => places.get(pathOf(item) ?? "") ?? first.length;
  return items.toSorted((one, other) => placeOf(one) - placeOf(other));
}
