/** In which turn a run with workers is planned, and how large its parts are (docs/scale.md). */
import fc from "fast-check";
import { expect, it } from "vitest";
import { PartSizes, type PlannedKind } from "../../src/backends/postgres/reading/parts/part-sizes.js";
import { catalog } from "../../src/llmspell/catalog/index.js";

const PART = 1000;
const SEED = Number(process.env["PROPERTY_SEED"] ?? Date.now() % 2 ** 31);
const hasLarge = ({ kind }: PlannedKind): boolean => kind.postgres.largeObject !== undefined;

/** The plan's parts, in order: their kinds, and bytes as far as these can be told. */
function planned(kinds: readonly PlannedKind[]): { path: string; bytes: number }[] {
  const sizes = new PartSizes(kinds, PART);
  const parts: { path: string; bytes: number }[] = [];
  for (const each of sizes.inTurn()) {
    const { kind, isWhole, bytes } = each;
    if (isWhole) parts.push({ path: kind.path, bytes });
    else {
      for (let done = 0; done < bytes; ) {
        const part = sizes.next(kind);
        parts.push({ path: kind.path, bytes: part });
        done += part;
      }
      sizes.end(each);
    }
  }
  return parts;
}

const kindsArbitrary = fc
  .tuple(
    ...catalog.kinds.map(() => fc.oneof(fc.integer({ min: 0, max: PART }), fc.integer({ min: PART, max: 50 * PART }))),
  )
  .map((all) =>
    all.map((bytes, at): PlannedKind => {
      const kind = catalog.kinds[at] as PlannedKind["kind"];
      return { kind, bytes, isWhole: kind.postgres.largeObject === undefined && bytes <= PART };
    }),
  );

it(`parts get smaller towards the end, and are never larger than they may be, nor dust (seed ${SEED})`, () => {
  fc.assert(
    fc.property(kindsArbitrary, (kinds) => {
      const parts = planned(kinds);
      const cut = new Set(kinds.filter((each) => !each.isWhole && !hasLarge(each)).map(({ kind }) => kind.path));
      const sizes = parts.filter(({ path }) => cut.has(path)).map(({ bytes }) => bytes);
      for (const bytes of sizes) {
        expect(bytes).toBeLessThanOrEqual(PART);
        expect(bytes).toBeGreaterThanOrEqual(PART / 4);
      }
      expect(sizes).toEqual(sizes.toSorted((one, other) => other - one));
      if (sizes.length > 0) expect(sizes.at(-1)).toBe(PART / 4);
      // What is one part and larger than the last ones does not come at the end.
      const last = parts.findLastIndex(({ path }) => cut.has(path));
      for (const { bytes } of parts.slice(last + 1)) if (last >= 0) expect(bytes).toBeLessThanOrEqual(PART / 4);
    }),
    { seed: SEED },
  );
});

it("large contents come first, then the largest kind, the smallest last", () => {
  const bytes: Readonly<Record<string, number>> = { event_log: 40, kv_store: 20, sessions: 0.8, hook_history: 0.1 };
  const kinds = catalog.kinds
    .filter((kind) => kind.path in bytes || kind.postgres.largeObject !== undefined)
    .map((kind): PlannedKind => {
      const size = (bytes[kind.path] ?? 0.05) * PART;
      return { kind, bytes: size, isWhole: kind.postgres.largeObject === undefined && size <= PART };
    });
  const turns = new PartSizes(kinds, PART).inTurn().map(({ kind }) => kind.path);
  expect(turns).toEqual(["artifacts.content", "event_log", "sessions", "kv_store", "hook_history"]);
});
