/** Sets of keys, in memory and in a temporary file. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { KeyCollector, type KeySet } from "../../src/transforms/key-set.js";

const key = (text: string): Buffer => createHash("sha256").update(text).digest().subarray(0, 16);

async function setOf(keys: Iterable<Buffer>, keysInMemory: number): Promise<KeySet> {
  const collector = new KeyCollector(keysInMemory);
  for (const one of keys) {
    collector.add(one);
    await collector.settle();
  }
  return collector.finish();
}

const numbers = (from: number, to: number): Buffer[] => Array.from({ length: to - from }, (_, i) => key(`${from + i}`));

describe.each([
  ["in memory", 1_000_000],
  ["in a file, in runs of 100", 100],
  ["in a file, in runs of 1", 1],
  ["in memory, after runs of 1000 in a file", 1000],
])("a set of keys %s", (_name, keysInMemory) => {
  it("holds the keys that were added, once each, and no others", async () => {
    const set = await setOf([...numbers(0, 3000), ...numbers(1000, 2000)], keysInMemory);
    expect(set.size).toBe(3000);
    expect(numbers(0, 3000).filter((one) => !set.has(one))).toEqual([]);
    expect(numbers(3000, 6000).filter((one) => set.has(one))).toEqual([]);
    await set.close();
  });

  it("tells keys apart that begin alike, whatever their order", async () => {
    const alike = Array.from({ length: 600 }, (_, i) => {
      const one = Buffer.alloc(16, 0x55);
      one.writeUInt32BE((i * 7919) % 600, 12);
      return one;
    });
    const set = await setOf(alike.slice(0, 500), keysInMemory);
    expect(set.size).toBe(500);
    expect(alike.map((one) => set.has(one))).toEqual(alike.map((_, i) => i < 500));
    await set.close();
  });

  it("can be taken from another", async () => {
    const [all, some] = [await setOf(numbers(0, 2000), keysInMemory), await setOf(numbers(500, 5000), keysInMemory)];
    const rest = await all.without(some);
    expect(rest.size).toBe(500);
    expect(numbers(0, 5000).map((one) => rest.has(one))).toEqual(Array.from({ length: 5000 }, (_, i) => i < 500));
    for (const set of [all, some, rest]) await set.close();
  });

  it("may be empty", async () => {
    const [empty, few, many] = [
      await setOf([], keysInMemory),
      await setOf(numbers(0, 10), keysInMemory),
      await setOf(numbers(0, 300), keysInMemory),
    ];
    expect([empty.size, empty.has(key("1"))]).toEqual([0, false]);
    const [none, all] = [await empty.without(few), await many.without(empty)];
    expect([none.size, all.size]).toEqual([0, 300]);
    for (const set of [empty, few, many, none, all]) await set.close();
  });
});
