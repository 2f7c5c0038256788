/** The order in which a run's sections are best read: indexes are built while other sections come, so those that take long come first. */
import type { Catalog } from "../../catalog/index.js";
import type { Selection } from "../../records/run-context.js";
import type { Source } from "../../sources/source.js";

/** Of all: a section with less is no work worth mentioning. */
const LEAST_SHARE = 0.1;
/** How much longer than others an index of vectors takes, about. */
const VECTOR_WEIGHT = 100;

/**
 * Sections with the most records first; before them the smallest that is a tenth of all, so that there is an index to build while
 * the largest comes. Undefined where the source does not know how many they have.
 */
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
  const all = paths.reduce((sum, path) => sum + weightOf(path), 0);
  const largest = paths.toSorted((one, other) => weightOf(other) - weightOf(one));
  const beginning = largest
    .filter((path) => weightOf(path) >= all * LEAST_SHARE)
    .toSorted((one, other) => weightOf(one) - weightOf(other))
    .slice(0, 1);
  return [...beginning, ...largest.filter((path) => !beginning.includes(path))];
}
