/** The order in which a run's sections are best read: indexes are built while other sections come, so those that take long come first. */
import type { Catalog } from "../../catalog/index.js";
import type { Selection } from "../../records/run-context.js";
import type { Source } from "../../sources/source.js";

/** How much longer than others an index of vectors takes, about. */
const VECTOR_WEIGHT = 100;

/** Sections with the most records first. Undefined where the source does not know how many they have. */
export async function firstSections(
  source: Source,
  selection: Selection,
  catalog: Catalog,
): Promise<readonly string[] | undefined> {
  const records = await source.estimate(selection);
  if (records === undefined) return undefined;
  const weightOf = (path: string): number => {
    const isVector = catalog.byPath.get(path)?.fields.some(({ dimension }) => dimension !== undefined) === true;
    return (records.get(path) ?? 0) * (isVector ? VECTOR_WEIGHT : 1);
  };
  const paths = catalog.kinds.map(({ path }) => path).filter((path) => selection.paths.has(path));
  return paths.toSorted((one, other) => weightOf(other) - weightOf(one));
}
