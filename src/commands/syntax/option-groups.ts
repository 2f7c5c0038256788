/** Under which heading an option stands in `--help`, in its command's manual page, and in which order. */
import type { Option } from "commander";

/** Long names by heading. An option that stands nowhere comes last, under "Options". */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  Stores: [
    "--output",
    "--input",
    "--from",
    "--to",
    "--backend",
    "--database",
    "--compress",
    "--part-size",
    "--force",
    "--allow-empty",
    "--vectors",
    "--queue",
  ],
  Selection: ["--include", "--exclude", "--tenant", "--tenants-from", "--limit", "--tenants"],
  Transforms: [
    "--map-tenant",
    "--jq",
    "--mask",
    "--mask-optional",
    "--plugin",
    "--jq-timeout",
    "--plugin-timeout",
    "--cascade",
    "--no-cascade",
    "--translate",
  ],
  "Records that cannot go on": ["--on-error", "--rejects", "--invalid-uuid", "--id-map", "--on-orphan"],
  Reading: [
    "--strict",
    "--source-mode",
    "--source-check",
    "--as-owner",
    "--order",
    "--order-by",
    "--times",
    "--no-verify-manifest",
    "--lock-timeout",
    "--rate",
    "--jobs",
  ],
  Writing: [
    "--on-conflict",
    "--jobs",
    "--verify-parts",
    "--index-jobs",
    "--max-lag",
    "--worker-timeout",
    "--dry-run",
    "--plan",
    "--exact",
    "--measure",
    "--prune",
    "--require-empty",
    "--keep",
    "--vectors-as",
    "--defer-indexes",
    "--repair-rowids",
  ],
  Comparing: ["--jobs", "--for", "--sample", "--search", "--seed", "--differences", "--show-values", "--findings"],
  Output: ["--watch", "--report", "--digests", "--json", "--quiet", "--verbose", "--log-format", "--no-progress"],
};
const OTHERS = "Options";

const PLACES = new Map(
  Object.entries(GROUPS)
    .flatMap(([heading, names]) => names.map((name) => [name, heading] as const))
    .map(([name, heading], place) => [name, { heading, place }] as const),
);

/** The options in the order of the groups, each with its heading. */
export function inGroups(options: readonly Option[]): Option[] {
  const placeOf = ({ long }: Option): number => PLACES.get(long ?? "")?.place ?? PLACES.size;
  return options
    .toSorted((one, other) => placeOf(one) - placeOf(other))
    .map((option) => option.helpGroup(`${PLACES.get(option.long ?? "")?.heading ?? OTHERS}:`));
}
