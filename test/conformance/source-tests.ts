/** What every source must do. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fieldIndex } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { RecordBatch } from "../../src/records/record-batch.js";
import type { RunContext } from "../../src/records/run-context.js";
import { contentOf, expectSameRecords, lines, load, read } from "./expectations.js";
import { everything, type MemoryRecord, recordsOf } from "./memory-store.js";
import { sampleMemoryRecords } from "./sample-memory.js";
import type { StoreFactory, TestStore } from "./store.js";

function createContext(): RunContext {
  return {
    signal: new AbortController().signal,
    reject: async ({ error }) => {
      throw error;
    },
    isRejected: () => false,
    leftOut: () => {},
    warn: () => {},
  };
}

function byteLengthOf(record: MemoryRecord): number {
  return record.values.reduce((sum, value) => sum + (value?.length ?? 0), 0);
}

export function registerSourceTests(factory: StoreFactory): void {
  describe(`source: ${factory.name}`, { timeout: 180_000 }, () => {
    let store: TestStore;
    const records = sampleMemoryRecords({ records: 40 });

    beforeAll(async () => {
      store = await factory.open();
      await load(store, records);
    });

    afterAll(() => store.close());

    it("gives every record exactly, kinds in the catalog's order, each by its key", async () => {
      expectSameRecords(await contentOf(store), records);
    });

    it("names its backend and its migrations, V1 first", async () => {
      const source = store.source();
      try {
        const header = await source.open(createContext());
        expect(["sqlite", "postgresql"]).toContain(header.backend);
        expect(header.migrations[0]).toBe("V1");
      } finally {
        await source.close();
      }
    });

    it.each([1, 7])("never gives more than batchSize %i records at once, and never none", async (batchSize) => {
      const source = store.source({ batchSize });
      const sizes = new Set<number>();
      const given: MemoryRecord[] = [];
      try {
        const context = createContext();
        await source.open(context);
        for await (const batch of source.read(everything(), context)) {
          sizes.add(batch.rows);
          given.push(...(await recordsOf(batch)));
        }
      } finally {
        await source.close();
      }
      expect(Math.max(...sizes)).toBe(batchSize);
      expect(Math.min(...sizes)).toBeGreaterThan(0);
      expectSameRecords(given, records);
    });

    it("closes a batch once it holds batchBytes, and gives a large value a batch of its own", async () => {
      const source = store.source({ batchBytes: 3000 });
      let large = 0;
      try {
        const context = createContext();
        await source.open(context);
        for await (const batch of source.read(everything(), context)) {
          if (batch.large !== undefined) {
            large++;
            expect(batch.rows).toBe(1);
          }
          const batchRecords = await recordsOf(batch);
          const withoutLast = batchRecords.slice(0, -1).reduce((sum, record) => sum + byteLengthOf(record), 0);
          expect(withoutLast).toBeLessThan(3000);
        }
      } finally {
        await source.close();
      }
      // 1 MiB, 1 MiB + 1, 3 MiB + 17: one byte less is no large value.
      expect(large).toBe(3);
    });

    it("goes on when a large value is discarded unread", async () => {
      const source = store.source();
      let rows = 0;
      try {
        const context = createContext();
        await source.open(context);
        for await (const batch of source.read(everything(), context)) {
          await batch.large?.discard();
          rows += batch.rows;
        }
      } finally {
        await source.close();
      }
      expect(rows).toBe(records.length);
    });

    it("gives large values in chunks of at most 1 MiB", async () => {
      const source = store.source();
      const lengths: number[] = [];
      try {
        const context = createContext();
        await source.open(context);
        for await (const batch of source.read({ paths: new Set(["artifacts.content"]) }, context)) {
          if (batch.large !== undefined) for await (const chunk of batch.large.chunks()) lengths.push(chunk.length);
        }
      } finally {
        await source.close();
      }
      expect(Math.max(...lengths)).toBeLessThanOrEqual(1048576);
      expect(lengths.reduce((sum, length) => sum + length)).toBe(5 * 1048576 + 18);
    });

    it("gives only the kinds that are selected", async () => {
      const paths = new Set(["sessions", "vector_embeddings.768"]);
      const given = await read(store.source(), { paths });
      expectSameRecords(
        given,
        records.filter((record) => paths.has(record.kind.path)),
      );
    });

    it("gives only the tenants that are selected, by their exact name", async () => {
      const tenants = ["O'Brien & Söhne", "租户 😀", "tenant", "TENANT-A"];
      const given = await read(store.source(), { ...everything(), tenants });
      const tenantOf = ({ kind, values }: MemoryRecord): string =>
        String(values[fieldIndex(kind, "tenant_id")]?.toString("utf8"));
      expectSameRecords(
        given,
        records.filter((record) => tenants.includes(tenantOf(record))),
      );
    });

    it("can be left in the middle, and read again by another", async () => {
      for (let stopAfter = 1; stopAfter <= 4; stopAfter++) {
        const source = store.source({ batchSize: 16 });
        const context = createContext();
        await source.open(context);
        let batches = 0;
        for await (const _ of source.read(everything(), context)) if (++batches === stopAfter) break;
        await source.close();
      }
      expect(lines(await contentOf(store))).toEqual(lines(records));
    });

    it("can be closed twice, and without having been opened", async () => {
      const source = store.source();
      await source.close();
      await source.close();
      const opened = store.source();
      await opened.open(createContext());
      await opened.close();
      await opened.close();
    });

    it("estimates for known kinds only, or not at all", async () => {
      const source = store.source();
      try {
        await source.open(createContext());
        const estimate = await source.estimate(everything());
        for (const [path, count] of estimate ?? []) {
          expect(catalog.byPath.has(path)).toBe(true);
          expect(count).toBeGreaterThanOrEqual(0);
        }
      } finally {
        await source.close();
      }
    });

    it("gives nothing from an empty store", async () => {
      const empty = await factory.open();
      try {
        if (!factory.database) await load(empty, []);
        const batches: RecordBatch[] = [];
        const source = empty.source();
        const context = createContext();
        await source.open(context);
        for await (const batch of source.read(everything(), context)) batches.push(batch);
        await source.close();
        expect(batches).toEqual([]);
      } finally {
        await empty.close();
      }
    });
  });
}
