/** What is wrong in either store, and which of it makes them unequal. */
import { catalog as standardCatalog } from "../../llmspell/catalog/index.js";
import { backendOf, databaseOf, sessionOptions } from "../../stores/index.js";
import type { Side } from "../../verify/comparison/record-join.js";
import type { Finding } from "../../verify/comparison/references.js";
import { isSource, type Run } from "./verify-reading.js";

/** Findings of a store that the comparison of records does not show. */
export interface StoreFinding extends Finding {
  readonly store: "a" | "b";
  /** Whether it makes the stores unequal: B has it and A has less of it, or `strict`. */
  readonly counts: boolean;
}

/** What B has and A has not, or has less of, counts; everything does where strictness is asked for. */
export function judge(findings: Readonly<Record<Side, readonly Finding[]>>, strict: boolean): StoreFinding[] {
  const inA = new Map(findings.a.map(({ check, object, count }) => [`${check} ${object}`, count]));
  return [
    ...findings.a.map((finding) => ({ ...finding, store: "a" as const, counts: strict })),
    ...findings.b.map((finding) => ({
      ...finding,
      store: "b" as const,
      counts: strict || finding.count > (inA.get(`${finding.check} ${finding.object}`) ?? 0),
    })),
  ];
}

/** Whether two servers' databases are one, where that can be told: one server has many names. */
export async function areOne({ options, stores: { a, b }, config, list }: Run): Promise<boolean> {
  if (isSource(a) || isSource(b) || a.type !== b.type) return false;
  const { identity } = databaseOf(a, list) ?? {};
  if (identity === undefined || [a, b].some((store) => backendOf(store, list).locations.fileOf?.(store) !== undefined))
    return false;
  const [one, other] = await Promise.all(
    [a, b].map((store) => identity(store, sessionOptions(store, options, config, list)).catch(() => undefined)),
  );
  return one !== undefined && one === other;
}

/** What is wrong in a database besides its records. */
export async function ownFindings({ options, stores, config, list }: Run, side: Side): Promise<readonly Finding[]> {
  const store = stores[side];
  const database = isSource(store) ? undefined : databaseOf(store, list);
  if (isSource(store) || database?.findings === undefined) return [];
  const { catalog = standardCatalog } = options;
  return database.findings(store, { ...sessionOptions(store, options, config, list), catalog });
}
