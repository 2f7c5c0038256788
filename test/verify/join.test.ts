/** Whatever the order of either side: each record is told once, with the one of its key or alone. */
import { afterAll, expect, it } from "vitest";
import type { RecordKind } from "../../src/catalog/index.js";
import { codecs } from "../../src/codecs/index.js";
import { BatchBuilder, importStore, type RecordBatch, recordKey } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { KeyOrder } from "../../src/verify/comparison/key-order.js";
import { joinRecords, OrderError } from "../../src/verify/comparison/record-join.js";
import { temporaryFolder, verified } from "./changes.js";
import { keyText, makeSections, recordOf, type Sections, type Tokens, writeDocument } from "./records.js";

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());

const SEED = Number(process.env["VERIFY_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

/** mulberry32 */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

it(`arbitrary orders, removed, added and changed records (VERIFY_SEED=${SEED})`, async () => {
  const random = generator(SEED);
  const shuffled = <T>(items: readonly T[]): T[] => {
    const all = [...items];
    for (let i = all.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [all[i], all[j]] = [all[j] as T, all[i] as T];
    }
    return all;
  };
  const sections = new Map([...makeSections(() => 12)].filter(([path]) => !/3072|1536|artifacts|sessions/.test(path)));
  for (let round = 0; round < 25; round++) {
    const [a, b]: [Sections, Sections] = [new Map(), new Map()];
    const expected: string[] = [];
    for (const [path, records] of shuffled([...sections])) {
      const kind = catalog.byPath.get(path) as RecordKind;
      const [left, right]: [Tokens[], Tokens[]] = [[], []];
      for (const record of records) {
        const what = random();
        const line = (difference: string, field = ""): number =>
          expected.push(`${path} | ${keyText(kind, record)} | ${difference} | ${field}`);
        if (what < 0.1) {
          left.push(record);
          line("onlyInA");
        } else if (what < 0.2) {
          right.push(record);
          line("onlyInB");
        } else {
          left.push(record);
          const field = kind.fields.find(({ type }) => type === "json")?.name;
          if (what < 0.3 && field !== undefined) {
            right.push({ ...record, [field]: '"other"' });
            line("different", field);
          } else right.push(record);
        }
      }
      a.set(path, random() < 0.5 ? left : shuffled(left));
      b.set(path, random() < 0.5 ? right : shuffled(right));
    }
    writeDocument(folder.file("a.json"), random() < 0.5 ? a : new Map(shuffled([...a])));
    writeDocument(folder.file("b.json"), new Map(shuffled([...b])));
    const stores = [{ a: folder.file("a.json"), b: folder.file("b.json") }];
    if (round % 5 === 0) {
      // A database goes by its own order, and the other side's records are alone as soon as it has passed them.
      const [left, right] = [folder.file(`a${round}.db`), folder.file(`b${round}.db`)];
      await importStore({ from: folder.file("a.json"), to: left });
      await importStore({ from: folder.file("b.json"), to: right });
      stores.push({ a: left, b: right }, { a: folder.file("a.json"), b: right }, { a: left, b: folder.file("b.json") });
    }
    for (const options of stores) expect((await verified(options)).lines).toEqual([...expected].sort());
  }
});

it("a side that is not in the order it is said to be in is found out before anything wrong is told for good", async () => {
  const kind = catalog.byPath.get("kv_store") as RecordKind;
  const batches = async function* (numbers: readonly number[]): AsyncGenerator<RecordBatch> {
    for (const n of numbers) {
      const builder = new BatchBuilder(kind);
      builder.begin();
      for (const [index, field] of kind.fields.entries()) {
        const token = Buffer.from(`${recordOf(kind, n)[field.name]}`);
        const start = builder.arena.length;
        codecs[field.type].fromToken(field, token, 0, token.length, builder.arena, { legacy: false });
        builder.set(index, start);
      }
      builder.commit();
      yield builder.take();
    }
  };
  const join = async (a: readonly number[], b: readonly number[], ordered: boolean): Promise<string[]> => {
    const told: string[] = [];
    const signal = new AbortController().signal;
    const target = {
      pair: (one: RecordBatch, row: number): void => void told.push(`both ${recordKey(one, row)}`),
      alone: (side: string, _kind: RecordKind, key: Buffer, order: KeyOrder): void =>
        void told.push(`${side} ${order.describe(key)}`),
    };
    const sides = { a: batches(a), b: batches(b) };
    await joinRecords({ catalog, signal, batches: sides, ordered: { a: ordered, b: ordered } }, target);
    return told.sort();
  };
  const name = (n: number): string => keyText(kind, recordOf(kind, n));
  const expected = [`a ${name(1)}`, `both ${name(3)}`, `both ${name(5)}`];
  expect(await join([1, 3, 5], [3, 5], true)).toEqual(expected);
  expect(await join([1, 3, 5], [5, 3], false)).toEqual(expected);
  await expect(join([1, 3, 5], [5, 3], true)).rejects.toThrow(OrderError);
});
