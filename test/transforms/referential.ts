/** Stages that drop and rename, and what is left of records by the rules, worked out on the records themselves. */
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import { createCatalog, fieldIndex } from "../../src/catalog/index.js";
import { createDocumentSink, runPipeline } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { BatchEditor } from "../../src/records/batch-editor.js";
import { describeKey, recordKey } from "../../src/records/record-key.js";
import type { Transform } from "../../src/transforms/transform.js";
import { createMemorySource, everything, type MemoryRecord } from "../conformance/memory-store.js";

export const SESSIONS = "sessions";
export const CONTENT = "artifacts.content";
export const ARTIFACTS = "artifacts.artifacts";

export function text(record: MemoryRecord, ...names: string[]): string {
  return names.map((name) => record.values[fieldIndex(record.kind, name)]?.toString("hex")).join(" ");
}

export const sessionOf = (record: MemoryRecord): string => text(record, "tenant_id", "session_id");
export const contentOf = (record: MemoryRecord): string => text(record, "tenant_id", "content_hash");

/** Drops the records of `path` whose key, as messages give it, is chosen. */
export function dropper(path: string, chosen: (key: string) => boolean, name = `drop ${path}`): Transform {
  return {
    name,
    mayDrop: (other) => other === path,
    async *apply(batches, context) {
      const editor = new BatchEditor();
      for await (const batch of batches) {
        editor.begin(batch);
        for (let row = 0; row < batch.rows; row++) {
          if (batch.kind.path !== path || !chosen(recordKey(batch, row))) continue;
          context.dropped?.(batch, row);
          editor.drop(row);
        }
        const kept = editor.finish();
        if (kept === undefined) await batch.large?.discard();
        else yield kept;
      }
    },
  };
}

/** Puts a text before every tenant_id, and drops nothing. */
export function renamer(prefix: string): Transform {
  return {
    name: "rename",
    mayDrop: () => false,
    async *apply(batches) {
      const editor = new BatchEditor();
      for await (const batch of batches) {
        const field = fieldIndex(batch.kind, "tenant_id");
        editor.begin(batch);
        for (let row = 0; row < batch.rows; row++) {
          const start = editor.arena.length;
          editor.arena.utf8(prefix + batch.value(row, field).toString("utf8"));
          editor.set(row, field, start);
        }
        const renamed = editor.finish();
        if (renamed !== undefined) yield renamed;
      }
    },
  };
}

/** What is left when these records are dropped: no artifact of a dropped session, no content that only dropped artifacts had. */
export function afterDropping(
  records: readonly MemoryRecord[],
  isDropped: (record: MemoryRecord) => boolean,
): { left: MemoryRecord[]; cascaded: Map<string, number> } {
  const of = (path: string): MemoryRecord[] => records.filter(({ kind }) => kind.path === path);
  const gone = new Set(of(SESSIONS).filter(isDropped).map(sessionOf));
  const dropped = of(ARTIFACTS).filter((record) => isDropped(record) || gone.has(sessionOf(record)));
  const kept = new Set(
    of(ARTIFACTS)
      .filter((record) => !dropped.includes(record))
      .map(contentOf),
  );
  const released = new Set(dropped.map(contentOf).filter((content) => !kept.has(content)));
  const cascaded = new Map<string, number>();
  const left = records.filter((record) => {
    const { path } = record.kind;
    if (isDropped(record)) return false;
    const goes =
      (path === ARTIFACTS && dropped.includes(record)) || (path === CONTENT && released.has(contentOf(record)));
    if (goes) cascaded.set(path, (cascaded.get(path) ?? 0) + 1);
    return !goes;
  });
  return { left, cascaded };
}

/** The first `limit` of each kind; of sessions and contents those of the artifacts first. */
export function firstOf(records: readonly MemoryRecord[], limit: number): MemoryRecord[] {
  const artifacts = records.filter(({ kind }) => kind.path === ARTIFACTS).slice(0, limit);
  const wanted = new Map([
    [SESSIONS, new Set(artifacts.map(sessionOf))],
    [CONTENT, new Set(artifacts.map(contentOf))],
  ]);
  const others = new Map<string, number>();
  return records.filter((record) => {
    const { path } = record.kind;
    const keys = wanted.get(path);
    if (keys?.has(path === SESSIONS ? sessionOf(record) : contentOf(record))) return true;
    const count = (others.get(path) ?? 0) + 1;
    others.set(path, count);
    return count <= limit - (keys?.size ?? 0);
  });
}

/** The record's key as messages give it, or one field of it. */
export function memoryKey(record: MemoryRecord, field?: string): string {
  const kind = field === undefined ? record.kind : { ...record.kind, key: [field] };
  return describeKey(kind, (index) => record.values[index] ?? undefined);
}

/** With contents that no artifact has, one of them before all others. */
export function withSpareContent(records: readonly MemoryRecord[]): MemoryRecord[] {
  const spares = new Map([
    [0, "0".repeat(64)],
    [1, "f".repeat(64)],
  ]);
  return records.flatMap((record, at) => {
    const before = records[at - 1]?.kind !== record.kind;
    const after = records[at + 1]?.kind !== record.kind;
    if (record.kind.path !== CONTENT || !(before || after)) return [record];
    const values = [...record.values];
    values[fieldIndex(record.kind, "content_hash")] = Buffer.from(spares.get(before ? 0 : 1) as string);
    const spare = { kind: record.kind, values };
    return before ? [spare, record] : [record, spare];
  });
}

/** A document of the records; `backwards`: its sections in the opposite of the catalog's order. */
export async function writeDocumentOf(records: readonly MemoryRecord[], backwards: boolean): Promise<Buffer> {
  const order = backwards ? createCatalog([...catalog.kinds].reverse()) : catalog;
  const stream = new PassThrough();
  const written = buffer(stream);
  await runPipeline({
    source: createMemorySource(order.kinds.flatMap((kind) => records.filter((record) => record.kind === kind))),
    sink: createDocumentSink({ output: { stream }, catalog: order, producer: "test/1" }),
    selection: everything(),
  });
  return written;
}
