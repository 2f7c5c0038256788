/** Digests as a command shows them. */
import type { SectionDigest } from "../../verify/digest.js";
import type { TransferDigests } from "../../verify/digesting-sink.js";
import { formatCount } from "./progress.js";

/** A line per section, and one of all. */
export function digestLines({ sections, total }: TransferDigests): string[] {
  const records = sections.reduce((sum, section) => sum + section.records, 0);
  const rows = [...sections, { path: "total", records, ...total }].map(
    ({ path, records, digest = "none" }: Partial<SectionDigest> & { path: string; records: number }) =>
      [path, formatCount(records), digest] as const,
  );
  const width = (column: 0 | 1): number => Math.max(...rows.map((row) => row[column].length));
  return rows.map(([path, count, digest]) => `${path.padEnd(width(0))}  ${count.padStart(width(1))}  ${digest}`);
}

/** Of the result of `--json`. */
export function digestsObject({ sections, total }: TransferDigests): object {
  return {
    sections: Object.fromEntries(sections.map(({ path, ...section }) => [path, section])),
    ...(total === undefined ? {} : { total }),
  };
}
