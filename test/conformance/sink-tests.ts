/** What every sink must do, and what every sink into a database must do. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { fieldIndex } from "../../src/catalog/index.js";
import { runPipeline } from "../../src/index.js";
import type { RecordBatch } from "../../src/records/record-batch.js";
import type { Rejection } from "../../src/records/run-context.js";
import type { Source } from "../../src/sources/source.js";
import { contentOf, expectSameRecords, failureOf, load } from "./expectations.js";
import { createMemorySource, everything, type MemoryRecord } from "./memory-store.js";
import { registerPruneTests } from "./prune-tests.js";
import { sampleMemoryRecords } from "./sample-memory.js";
import type { StoreFactory, TestStore } from "./store.js";

const MIB = 1048576;

function field(record: MemoryRecord, name: string): Buffer {
  return record.values[fieldIndex(record.kind, name)] as Buffer;
}

function changed(record: MemoryRecord, name: string, value: Buffer): MemoryRecord {
  return { ...record, values: record.values.with(fieldIndex(record.kind, name), value) };
}

function ofKind(records: readonly MemoryRecord[], path: string): MemoryRecord[] {
  return records.filter((record) => record.kind.path === path);
}

/** Gives `records`, then fails as a broken source would. */
function breakingSource(records: readonly MemoryRecord[]): Source {
  const source = createMemorySource(records, { batchSize: 10 });
  return {
    ...source,
    async *read(selection, context): AsyncGenerator<RecordBatch> {
      yield* source.read(selection, context);
      throw new Error("the source broke");
    },
  };
}

/** Numbers of inserted, updated and skipped records, all kinds together. */
function totals(counts: ReadonlyMap<string, { inserted: number; updated: number; skipped: number; dropped: number }>): {
  inserted: number;
  updated: number;
  skipped: number;
  dropped: number;
} {
  const total = { inserted: 0, updated: 0, skipped: 0, dropped: 0 };
  for (const each of counts.values())
    for (const name of ["inserted", "updated", "skipped", "dropped"] as const) total[name] += each[name];
  return total;
}

export function registerSinkTests(factory: StoreFactory): void {
  describe(`sink: ${factory.name}`, { timeout: 180_000 }, () => {
    let store: TestStore;
    const records = sampleMemoryRecords({ records: 25, contentSizes: [0, 5, MIB - 1, MIB, MIB + 1] });
    const others = sampleMemoryRecords({ records: 10, seed: "others", contentSizes: [MIB, 3] });

    beforeAll(async () => {
      store = await factory.open();
    });

    beforeEach(() => store.clear());

    afterAll(() => store.close());

    it("takes every record of every kind, and counts them", async () => {
      const { report } = await load(store, records);
      const counts = Object.fromEntries([...report.counts].map(([path, { inserted }]) => [path, inserted]));
      const expected: Record<string, number> = {};
      for (const { kind } of records) expected[kind.path] = (expected[kind.path] ?? 0) + 1;
      expect(counts).toEqual(expected);
      expectSameRecords(await contentOf(store), records);
    });

    it("takes batches of one record, and of all", async () => {
      await load(store, records, { limits: { batchSize: 1 } });
      expectSameRecords(await contentOf(store), records);
      await store.clear();
      await load(store, records, { limits: { batchSize: 100000, batchBytes: 1e9 } });
      expectSameRecords(await contentOf(store), records);
    });

    it("leaves nothing of a run that broke", async () => {
      if (factory.database) await load(store, others);
      const run = runPipeline({ source: breakingSource(records), sink: store.sink(), selection: everything() });
      expect((await failureOf(run)).message).toBe("the source broke");
      if (factory.database) expectSameRecords(await contentOf(store), others);
      else expect((await failureOf(contentOf(store))).code).toBe("E_INPUT_NOT_FOUND");
      await load(store, others);
      expectSameRecords(await contentOf(store), others);
    });

    it("leaves nothing of a run that was aborted by its signal", async () => {
      if (factory.database) await load(store, others);
      const controller = new AbortController();
      const run = runPipeline({
        source: createMemorySource(records, { batchSize: 5 }),
        sink: store.sink(),
        selection: everything(),
        signal: controller.signal,
        onProgress: ({ records: soFar }) => {
          if (soFar > 100) controller.abort();
        },
      });
      expect((await failureOf(run)).code).toBe("E_INTERRUPTED");
      if (factory.database) expectSameRecords(await contentOf(store), others);
      else expect((await failureOf(contentOf(store))).code).toBe("E_INPUT_NOT_FOUND");
    });

    it("can be aborted twice, and without having been opened", async () => {
      const sink = store.sink();
      await sink.abort();
      await sink.abort();
      await load(store, others);
      expectSameRecords(await contentOf(store), others);
    });

    if (factory.database) {
      registerDatabaseSinkTests(() => store, records, others);
      if (factory.prunes) registerPruneTests(() => store, records, others);
    }
  });
}

function registerDatabaseSinkTests(
  current: () => TestStore,
  records: readonly MemoryRecord[],
  others: readonly MemoryRecord[],
): void {
  it("takes kinds in any order, interleaved", async () => {
    const store = current();
    await load(store, [...records].reverse(), { limits: { batchSize: 3 } });
    expectSameRecords(await contentOf(store), records);
    await store.clear();
    const kinds = [...new Set(records.map((record) => record.kind))];
    const byKind = kinds.map((kind) => records.filter((record) => record.kind === kind));
    const interleaved = byKind[0]?.flatMap((_, i) => byKind.map((each) => each[i] as MemoryRecord)) ?? [];
    await load(store, interleaved);
    expectSameRecords(await contentOf(store), records);
  });

  it("changes nothing when the same records come again, and reports them as updated", async () => {
    const store = current();
    await load(store, records);
    const { report } = await load(store, records);
    expect(totals(report.counts)).toEqual({ inserted: 0, updated: records.length, skipped: 0, dropped: 0 });
    expectSameRecords(await contentOf(store), records);
  });

  it("replaces whole records, and adds those that are new", async () => {
    const store = current();
    const half = records.filter((_, i) => i % 2 === 0 || records[i]?.kind.path !== "artifacts.artifacts");
    await load(store, half);
    const { report } = await load(store, [...records, ...others]);
    expect(totals(report.counts)).toEqual({
      inserted: records.length - half.length + others.length,
      updated: half.length,
      skipped: 0,
      dropped: 0,
    });
    const content = await contentOf(store);
    expect(content).toHaveLength(records.length + others.length);
  });

  it("leaves existing records alone with skip, and counts them", async () => {
    const store = current();
    await load(store, records);
    const edited = records.map((record) =>
      record.kind.path === "sessions" ? changed(record, "status", Buffer.from("archived")) : record,
    );
    const { report } = await load(store, [...edited, ...others], { onConflict: "skip" });
    expect(totals(report.counts)).toEqual({
      inserted: others.length,
      updated: 0,
      skipped: records.length,
      dropped: 0,
    });
    const tenants = new Set(
      ofKind(records, "sessions").map((record) => String(field(record, "session_id").toString("hex"))),
    );
    const kept = ofKind(await contentOf(store), "sessions").filter((record) =>
      tenants.has(field(record, "session_id").toString("hex")),
    );
    expectSameRecords(kept, ofKind(records, "sessions"));
  });

  it("stops at an existing record with error, naming it", async () => {
    const store = current();
    await load(store, others);
    const error = await failureOf(load(store, [...records, ...others.slice(-1)], { onConflict: "error" }));
    expect(error.code).toBe("E_CONFLICT");
    expect(error.context.section).toBe("hook_history");
    expectSameRecords(await contentOf(store), others);
  });

  it("does everything but the commit in a dry run", async () => {
    const store = current();
    await load(store, others);
    const { report } = await load(store, [...records, ...others], { dryRun: true });
    expect(totals(report.counts)).toEqual({
      inserted: records.length,
      updated: others.length,
      skipped: 0,
      dropped: 0,
    });
    expectSameRecords(await contentOf(store), others);
    const broken = ofKind(records, "artifacts.artifacts");
    expect((await failureOf(load(store, broken, { dryRun: true }))).code).toBe("E_ORPHAN");
  });

  it.each(["sessions", "artifacts.content"])(
    "refuses artifacts without their %s, and drops them on request",
    async (parent) => {
      const store = current();
      const orphaned = records.filter((record) => record.kind.path !== parent);
      const artifacts = ofKind(records, "artifacts.artifacts");
      const error = await failureOf(load(store, orphaned));
      expect(error.code).toBe("E_ORPHAN");
      expect(error.context.section).toBe("artifacts.artifacts");
      expect(error.context.key).toMatch(/^tenant_id=.*, artifact_id=/);
      expect(JSON.stringify([error.message, error.context.detail])).toContain(String(artifacts.length));
      expect(await contentOf(store)).toEqual([]);
      const { report } = await load(store, orphaned, { onOrphan: "drop" });
      expect(report.counts.get("artifacts.artifacts")).toMatchObject({ inserted: 0, dropped: artifacts.length });
      expectSameRecords(
        await contentOf(store),
        orphaned.filter((record) => record.kind.path !== "artifacts.artifacts"),
      );
    },
  );

  it("rejects a child with its parent, and goes on with the others", async () => {
    const store = current();
    const victim = ofKind(records, "sessions").find((session) =>
      ofKind(records, "artifacts.artifacts").some((each) =>
        field(each, "session_id").equals(field(session, "session_id")),
      ),
    ) as MemoryRecord;
    const children = ofKind(records, "artifacts.artifacts").filter((each) =>
      field(each, "session_id").equals(field(victim, "session_id")),
    );
    const bad = records.map((record) =>
      record === victim ? changed(record, "status", Buffer.from("no such status")) : record,
    );
    const rejections: Rejection[] = [];
    await load(store, bad, { rejections });
    expect(rejections.map(({ kind, error }) => [kind.path, error.code])).toEqual([
      ["sessions", "E_CHECK"],
      ...children.map(() => ["artifacts.artifacts", "E_PARENT_REJECTED"]),
    ]);
    expectSameRecords(
      await contentOf(store),
      records.filter((record) => record !== victim && !children.includes(record)),
    );
  });

  it("refuses two records of one run that meet on a key, naming both, in an empty target and in a filled one", async () => {
    const store = current();
    const [first, second] = ofKind(records, "kv_store") as [MemoryRecord, MemoryRecord];
    const meeting = changed(changed(second, "key", field(first, "key")), "tenant_id", field(first, "tenant_id"));
    for (const existing of [[], others]) {
      await store.clear();
      await load(store, existing);
      const error = await failureOf(load(store, [first, meeting]));
      expect(error.code).toBe("E_KEY_CONFLICT");
      const told = JSON.stringify([error.message, error.context]);
      for (const record of [first, meeting]) expect(told).toContain(uuidText(record, "kv_id"));
      expectSameRecords(await contentOf(store), existing);
    }
  });

  it("names section, key and field of a value that its target cannot hold", async () => {
    const store = current();
    const tooLate = records.map((record) => (record.kind.path === "hook_history" ? withoutDuration(record) : record));
    const error = await failureOf(load(store, tooLate));
    expect(error.context).toMatchObject({ section: "hook_history", field: "duration_ms" });
    expect(error.context.key).toMatch(/^execution_id=[0-9a-f-]{36}$/);
    expect(await contentOf(store)).toEqual([]);
  });
}

/** A NULL where none may be. */
function withoutDuration(record: MemoryRecord): MemoryRecord {
  return { ...record, values: record.values.with(fieldIndex(record.kind, "duration_ms"), null) };
}

function uuidText(record: MemoryRecord, name: string): string {
  return field(record, name)
    .toString("hex")
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
