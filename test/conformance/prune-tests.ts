/** What every sink into a database must do of rows that the source does not have any more, and of a target that should be empty. */
import { expect, it } from "vitest";
import { fieldIndex, type RecordKind } from "../../src/catalog/index.js";
import { catalog, runPipeline } from "../../src/index.js";
import type { Rejection } from "../../src/records/run-context.js";
import { contentOf, expectSameRecords, failureOf, load } from "./expectations.js";
import { createMemorySource, type MemoryRecord } from "./memory-store.js";
import type { TestStore } from "./store.js";

const paths = new Set(catalog.byPath.keys());
const everything = { paths, allowEmpty: false };

function field(record: MemoryRecord, name: string): Buffer {
  return record.values[fieldIndex(record.kind, name)] as Buffer;
}

function changed(record: MemoryRecord, name: string, value: Buffer): MemoryRecord {
  return { ...record, values: record.values.with(fieldIndex(record.kind, name), value) };
}

function ofKind(records: readonly MemoryRecord[], path: string): MemoryRecord[] {
  return records.filter((record) => record.kind.path === path);
}

function withoutKinds(records: readonly MemoryRecord[], ...gone: string[]): MemoryRecord[] {
  return records.filter((record) => !gone.includes(record.kind.path));
}

/** Records in the catalog's order, and in the order of their keys. */
function sorted(...lists: (readonly MemoryRecord[])[]): MemoryRecord[] {
  const keyOf = (record: MemoryRecord): Buffer => {
    const parts = record.kind.key.map((name) => {
      const value = Buffer.from(field(record, name));
      const { type } = record.kind.fields[fieldIndex(record.kind, name)] as RecordKind["fields"][number];
      // Signed, big-endian.
      if (type === "timestamp") value[0] = (value[0] as number) ^ 0x80;
      return Buffer.concat([value, Buffer.from([0])]);
    });
    return Buffer.concat(parts);
  };
  const rank = (record: MemoryRecord): number => catalog.kinds.indexOf(record.kind);
  return lists.flat().sort((a, b) => rank(a) - rank(b) || keyOf(a).compare(keyOf(b)));
}

/** A session's artifacts, and a content's, as a parent's counter has them. */
function countOf(record: MemoryRecord, name: string): number {
  return field(record, name).readInt32BE();
}

export function registerPruneTests(
  current: () => TestStore,
  records: readonly MemoryRecord[],
  others: readonly MemoryRecord[],
): void {
  it("removes what the source does not have any more, of every kind, and counts it", async () => {
    const store = current();
    await load(store, [...records, ...others]);
    const dry = await load(store, records, { prune: everything, dryRun: true });
    expect(await contentOf(store)).toHaveLength(records.length + others.length);
    const { report } = await load(store, records, { prune: everything });
    const expected: Record<string, number> = {};
    for (const { kind } of others) expected[kind.path] = (expected[kind.path] ?? 0) + 1;
    for (const { counts } of [dry.report, report])
      expect(Object.fromEntries([...counts].map(([path, { pruned }]) => [path, pruned]))).toEqual(expected);
    expectSameRecords(await contentOf(store), records);
    // Nothing is left to do.
    const again = await load(store, records, { prune: everything });
    expect([...again.report.counts.values()].every(({ pruned = 0 }) => pruned === 0)).toBe(true);
    expectSameRecords(await contentOf(store), records);
  });

  it("leaves a section alone that comes without records, unless it is told otherwise", async () => {
    const store = current();
    await load(store, records);
    const less = withoutKinds(records, "kv_store", "event_log", "vector_embeddings.384");
    const { report } = await load(store, less, { prune: everything });
    expectSameRecords(await contentOf(store), records);
    expect(report.notes.filter((note) => note.includes("--allow-empty")).map((note) => note.split(":")[0])).toEqual(
      expect.arrayContaining(["kv_store", "event_log", "vector_embeddings.384"]),
    );
    const emptied = await load(store, less, { prune: { paths, allowEmpty: true } });
    expect(emptied.report.counts.get("kv_store")).toMatchObject({ pruned: ofKind(records, "kv_store").length });
    expectSameRecords(await contentOf(store), less);
  });

  it("removes all of a target whose source is empty only when it is told so", async () => {
    const store = current();
    await load(store, records);
    await load(store, [], { prune: everything });
    expectSameRecords(await contentOf(store), records);
    await load(store, [], { prune: { paths, allowEmpty: true } });
    expect(await contentOf(store)).toEqual([]);
  });

  it("removes records of the selected sections and tenants only", async () => {
    const store = current();
    await load(store, [...records, ...others]);
    const tenant = field(ofKind(others, "kv_store")[0] as MemoryRecord, "tenant_id");
    const scope = { paths: new Set(["kv_store"]), tenants: [tenant.toString("utf8")], allowEmpty: false };
    await load(store, ofKind(records, "kv_store"), { prune: scope });
    const gone = ofKind(others, "kv_store").filter((record) => field(record, "tenant_id").equals(tenant));
    expect(gone.length).toBeGreaterThan(0);
    expectSameRecords(
      await contentOf(store),
      sorted(
        records,
        others.filter((record) => !gone.includes(record)),
      ),
    );
  });

  it("keeps parents of records that stay, and says how many", async () => {
    const store = current();
    await load(store, [...records, ...others]);
    const { report } = await load(store, records, {
      prune: { paths: new Set(["sessions", "artifacts.content"]), allowEmpty: false },
    });
    const artifacts = ofKind(others, "artifacts.artifacts");
    const kept = others.filter((record) => {
      if (record.kind.path === "sessions")
        return artifacts.some(
          (each) =>
            field(each, "session_id").equals(field(record, "session_id")) &&
            field(each, "tenant_id").equals(field(record, "tenant_id")),
        );
      if (record.kind.path !== "artifacts.content") return true;
      return artifacts.some(
        (each) =>
          field(each, "content_hash").equals(field(record, "content_hash")) &&
          field(each, "tenant_id").equals(field(record, "tenant_id")),
      );
    });
    expectSameRecords(await contentOf(store), sorted(records, kept));
    const count = ofKind(kept, "sessions").length;
    expect(report.notes.join("\n")).toContain(`sessions: ${count} record`);
  });

  it("leaves counters of parents that say how many children there are", async () => {
    const store = current();
    await load(store, records);
    const [artifact] = ofKind(records, "artifacts.artifacts") as [MemoryRecord];
    const isParent = (record: MemoryRecord, name: string): boolean =>
      field(record, "tenant_id").equals(field(artifact, "tenant_id")) &&
      field(record, name).equals(field(artifact, name));
    // A child that only the target has: of a parent that the run brings, and then of one that it does not.
    const extra = changed(
      changed(
        changed(artifact, "artifact_id", Buffer.from("extra")),
        "sequence",
        Buffer.from("7fffffffffffff00", "hex"),
      ),
      "name",
      Buffer.from("extra"),
    );
    for (const run of [records, withoutKinds(records, "sessions", "artifacts.content")]) {
      await load(store, [extra]);
      const counted = await contentOf(store);
      const session = ofKind(counted, "sessions").find((each) => isParent(each, "session_id")) as MemoryRecord;
      const before = ofKind(records, "sessions").find((each) => isParent(each, "session_id")) as MemoryRecord;
      expect(countOf(session, "artifact_count")).toBe(countOf(before, "artifact_count") + 1);
      const { report } = await load(store, run, { prune: everything });
      expect(report.counts.get("artifacts.artifacts")).toMatchObject({ pruned: 1 });
      expectSameRecords(await contentOf(store), records);
    }
  });

  it("never removes what records that were rejected, skipped or orphaned have the keys of", async () => {
    const store = current();
    await load(store, [...records, ...others]);
    const [session] = ofKind(records, "sessions") as [MemoryRecord];
    const [hook] = ofKind(records, "hook_history") as [MemoryRecord];
    const bad = records.map((record) => {
      if (record === session) return changed(record, "status", Buffer.from("no such status"));
      return record === hook
        ? { ...hook, values: hook.values.with(fieldIndex(hook.kind, "duration_ms"), null) }
        : record;
    });
    const rejections: Rejection[] = [];
    await load(store, bad, { prune: everything, rejections });
    expect(rejections.length).toBeGreaterThan(1);
    expectSameRecords(await contentOf(store), records);
    await load(store, others);
    await load(store, records, { prune: everything, onConflict: "skip" });
    expectSameRecords(await contentOf(store), records);
    await load(store, others);
    // Their sessions are nowhere: they are left out, and what the target has of them stays with its parents.
    const strange = records.map((record) =>
      record.kind.path === "artifacts.artifacts" ? changed(record, "session_id", Buffer.alloc(16, 7)) : record,
    );
    await load(store, strange, { prune: everything, onOrphan: "drop" });
    // Sessions of a source that counts other artifacts than it has are none to compare.
    const isCompared = ({ kind }: MemoryRecord): boolean =>
      kind.path !== "sessions" && kind.path !== "artifacts.content";
    expectSameRecords((await contentOf(store)).filter(isCompared), records.filter(isCompared));
  });

  it("keeps all of a section whose rejected records could be any of its rows", async () => {
    const store = current();
    await load(store, [...records, ...others]);
    const [state] = ofKind(records, "kv_store") as [MemoryRecord];
    const source = createMemorySource(records.filter((record) => record !== state));
    const rejecting = {
      ...source,
      async *read(selection: Parameters<typeof source.read>[0], context: Parameters<typeof source.read>[1]) {
        const { StorageError } = await import("../../src/errors.js");
        const error = new StorageError("E_FIELD_TYPE", "bad", { section: "kv_store", key: "kv_id=?" });
        await context.reject({ kind: state.kind, error });
        yield* source.read(selection, context);
      },
    };
    const { report } = await runPipeline({
      source: rejecting,
      sink: store.sink({ prune: everything }),
      selection: { paths },
      prune: { keysStay: true },
      onReject: () => {},
    });
    expectSameRecords(await contentOf(store), sorted(records, ofKind(others, "kv_store")));
    expect(report.notes.join("\n")).toContain("kv_store: nothing was pruned");
  });

  it("removes nothing of a run that breaks", async () => {
    const store = current();
    await load(store, [...records, ...others]);
    const orphan = changed(
      ofKind(records, "artifacts.artifacts")[0] as MemoryRecord,
      "session_id",
      Buffer.alloc(16, 7),
    );
    const broken = [...withoutKinds(records, "artifacts.artifacts"), orphan];
    expect((await failureOf(load(store, broken, { prune: everything }))).code).toBe("E_ORPHAN");
    expectSameRecords(await contentOf(store), sorted(records, others));
  });

  it("is refused for a source that is not whole, and for steps that drop records", async () => {
    const store = current();
    await load(store, [...records, ...others]);
    const run = (source: ReturnType<typeof createMemorySource>, drops = false) =>
      runPipeline({
        source,
        sink: store.sink({ prune: everything }),
        selection: { paths },
        prune: { keysStay: true },
        ...(drops ? { transforms: [{ name: "none", mayDrop: () => false, async *apply() {} }] } : {}),
      });
    const source = createMemorySource(records);
    const { partial: _partial, ...silent } = source;
    for (const one of [silent, { ...source, partial: () => "it is a part" }])
      expect((await failureOf(run(one))).code).toBe("E_USAGE");
    const error = await failureOf(run(source, true));
    expect([error.code, error.message]).toEqual(["E_USAGE", expect.stringContaining("the steps drop records")]);
    expectSameRecords(await contentOf(store), sorted(records, others));
  });

  it("requires an empty target where that is asked for", async () => {
    const store = current();
    await load(store, records, { requireEmpty: { paths } });
    const error = await failureOf(load(store, others, { requireEmpty: { paths } }));
    expect(error.code).toBe("E_NOT_EMPTY");
    expect(error.context.detail).toContain(`kv_store ${ofKind(records, "kv_store").length}`);
    expectSameRecords(await contentOf(store), records);
    const nobody = { paths: new Set(["kv_store"]), tenants: ["nobody"] };
    await load(store, ofKind(others, "kv_store"), { requireEmpty: nobody });
  });
}
