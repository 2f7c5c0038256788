/** What must hold between any two stores. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runPipeline } from "../../src/index.js";
import { contentOf, expectSameRecords, load } from "./expectations.js";
import { everything } from "./memory-store.js";
import { sampleMemoryRecords } from "./sample-memory.js";
import type { StoreFactory, TestStore } from "./store.js";

/** Moves everything from one store to another. */
export async function move(from: TestStore, to: TestStore): Promise<void> {
  await runPipeline({ source: from.source(), sink: to.sink(), selection: everything() });
}

export function registerRoundTripTests(first: StoreFactory, second: StoreFactory): void {
  describe(`round trip: ${first.name} -> ${second.name} -> ${first.name}`, { timeout: 180_000 }, () => {
    const stores: TestStore[] = [];
    beforeAll(async () => {
      for (const factory of [first, second, first]) stores.push(await factory.open());
    });

    afterAll(async () => {
      for (const store of stores) await store.close();
    });

    it("gives back every record of every kind, to the byte", async () => {
      const [a, b, c] = stores as [TestStore, TestStore, TestStore];
      const records = sampleMemoryRecords({ records: 60, seed: `${first.name}-${second.name}` });
      await load(a, records);
      await move(a, b);
      await move(b, c);
      const content = await contentOf(c);
      expect(content).toHaveLength(records.length);
      expectSameRecords(content, records);
    });
  });
}
