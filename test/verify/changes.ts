/** One document, the databases that it was imported to, and what verify finds of changes that are made there by hand. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RecordKind } from "../../src/catalog/index.js";
import { type Difference, type VerifyOptions, type VerifyResult, verifyStores } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { builtLibrary } from "../helpers/llmspell.js";
import { VALUE_CASES, type ValueCase } from "./cases.js";
import { type Backend, keyText, makeSections, type Sections, type Tokens, updateOf } from "./records.js";

/** Records of each kind besides those of the cases: removed, and never touched. */
const OTHERS = 3;

export interface Change extends ValueCase {
  readonly kind: RecordKind;
  readonly record: Tokens;
}

/** The records before the changes, and the record that each case changes: one of its own. */
export function prepare(): {
  sections: Sections;
  changes: readonly Change[];
  others: ReadonlyMap<string, readonly Tokens[]>;
} {
  const counts = new Map<string, number>();
  for (const { section } of VALUE_CASES) counts.set(section, (counts.get(section) ?? 0) + 1);
  // Artifacts refer to the sessions and the contents of their number.
  const most = Math.max(...counts.values()) + OTHERS + 1;
  const sections = makeSections((path) => (path.startsWith("vector") ? (counts.get(path) ?? 0) + OTHERS + 1 : most));
  const next = new Map<string, number>();
  const changes = VALUE_CASES.map((each) => {
    const kind = catalog.byPath.get(each.section) as RecordKind;
    // The first is the large object.
    const n = (next.get(each.section) ?? 0) + 1;
    next.set(each.section, n);
    const record = sections.get(each.section)?.[n] as Tokens;
    record[each.field] = each.before;
    return { ...each, kind, record };
  });
  const others = new Map([...sections].map(([path, records]) => [path, records.slice(-OTHERS)]));
  return { sections, changes, others };
}

/** The statements that make the changes in a database. */
export function statements(changes: readonly Change[], backend: Backend): string[] {
  return changes.map(({ kind, record, field, after }) => updateOf(kind, record, field, after, backend));
}

/** The same changes in the records themselves. */
export function changed(sections: Sections, changes: readonly Change[]): Sections {
  return new Map(
    [...sections].map(([path, records]) => [
      path,
      records.map((record) => {
        const change = changes.find((each) => each.record === record);
        return change === undefined ? record : { ...record, [change.field]: change.after };
      }),
    ]),
  );
}

/** What verify says of the changes: section, key and fields of each. */
export function expected(changes: readonly Change[], backend?: Backend): string[] {
  return changes
    .map(({ kind, record, field, sqliteFields }) => {
      const fields = backend === "sqlite" ? (sqliteFields ?? [field]) : [field];
      return `${kind.path} | ${keyText(kind, record)} | different | ${fields.join()}`;
    })
    .sort();
}

export interface Verified {
  readonly result: VerifyResult;
  readonly differences: readonly Difference[];
  /** `section | key | difference | fields`, sorted. */
  readonly lines: readonly string[];
}

export async function verified(options: VerifyOptions): Promise<Verified> {
  const chunks: Buffer[] = [];
  const jobs = process.env["VERIFY_JOBS"] === "2" ? 2 : undefined;
  // Threads are there in what is built only.
  const verify: typeof verifyStores = jobs === undefined ? verifyStores : (await import(builtLibrary())).verifyStores;
  const result = await verify({
    ...options,
    ...(jobs === undefined ? {} : { jobs }),
    onDifferences: (chunk) => {
      chunks.push(Buffer.from(chunk));
    },
  });
  const text = Buffer.concat(chunks).toString("utf8");
  const differences = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Difference);
  const lines = differences
    .map(({ section, key, difference, fields = [] }) => `${section} | ${key} | ${difference} | ${fields.join()}`)
    .sort();
  return { result, differences, lines };
}

export interface Folder extends Disposable {
  readonly path: string;
  file(name: string): string;
}

export function temporaryFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), "verify-"));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** One record of each kind, but of those that others refer to, whose children would be orphans. */
export function removals(others: ReadonlyMap<string, readonly Tokens[]>) {
  const removable = catalog.kinds.filter(({ path }) => !catalog.parents.has(path));
  const lastOf = (kind: RecordKind): Tokens => others.get(kind.path)?.at(-1) as Tokens;
  const removed = (side: "A" | "B"): string[] =>
    removable.map((kind) => `${kind.path} | ${keyText(kind, lastOf(kind))} | onlyIn${side} | `).sort();
  return { removable, lastOf, removed };
}
