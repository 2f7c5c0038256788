/**
 * Puts the sections back into the catalog's order, which a document needs, behind transforms that give records of other
 * sections than they got. What can come too early is kept in temporary files until its turn; nothing is held in memory.
 */
import type { Catalog, RecordKind } from "../catalog/index.js";
import type { RecordBatch } from "../records/record-batch.js";
import { BatchSpool } from "./batch-spool.js";
import type { Transform } from "./transform.js";

/** `transforms`: those before it, on records that come in the catalog's order. */
export function createSectionOrder(transforms: readonly Transform[], catalog: Catalog): Transform {
  const { first, last } = heldRange(transforms, catalog);
  return {
    name: "section order",
    mayDrop: () => false,
    async *apply(batches) {
      const held = new Map<RecordKind, BatchSpool>();
      try {
        for await (const batch of batches) {
          const place = catalog.kinds.indexOf(batch.kind);
          if (place >= first && place <= last) {
            const spool = held.get(batch.kind) ?? (await BatchSpool.create(batch.kind));
            held.set(batch.kind, spool);
            await spool.append(batch);
            continue;
          }
          if (place > last) yield* release(held, catalog);
          yield batch;
        }
        yield* release(held, catalog);
      } finally {
        for (const spool of held.values()) await spool.close();
      }
    },
  };
}

/** For a source whose sections come in the `order`; undefined where that is the catalog's. */
export function orderedSections(order: readonly string[], catalog: Catalog): Transform | undefined {
  const places = order.map((path) => catalog.kinds.findIndex((kind) => kind.path === path));
  /** Of each section: the last place in the order where one comes that belongs before it. */
  const waitsFor = new Map(
    order.map((path, at) => [
      path,
      places.findLastIndex((place, later) => later > at && place < (places[at] as number)),
    ]),
  );
  if ([...waitsFor.values()].every((at) => at < 0)) return undefined;
  return {
    name: "section order",
    mayDrop: () => false,
    async *apply(batches) {
      const held = new Map<RecordKind, BatchSpool>();
      try {
        for await (const batch of batches) {
          const { kind } = batch;
          // What was held for sections that have come by now.
          yield* release(held, catalog, (path) => (waitsFor.get(path) ?? -1) < order.indexOf(kind.path));
          if ((waitsFor.get(kind.path) ?? -1) < 0) {
            yield batch;
            continue;
          }
          const spool = held.get(kind) ?? (await BatchSpool.create(kind));
          held.set(kind, spool);
          await spool.append(batch);
        }
        yield* release(held, catalog);
      } finally {
        for (const spool of held.values()) await spool.close();
      }
    },
  };
}

async function* release(
  held: Map<RecordKind, BatchSpool>,
  catalog: Catalog,
  isDue: (path: string) => boolean = () => true,
): AsyncGenerator<RecordBatch, void, undefined> {
  for (const kind of catalog.kinds) {
    const spool = held.get(kind);
    if (spool === undefined || !isDue(kind.path)) continue;
    yield* spool.read();
    await spool.close();
    held.delete(kind);
  }
}

/** From the first section that is given records to the last one whose records, or whose givers', are still to come. */
function heldRange(transforms: readonly Transform[], catalog: Catalog): { first: number; last: number } {
  const places = (paths: ReadonlySet<string>): number[] =>
    catalog.kinds.flatMap(({ path }, place) => (paths.has(path) ? [place] : []));
  const emitting = transforms.flatMap(({ emits }) => (emits === undefined ? [] : [emits]));
  const targets = emitting.flatMap(({ to }) => places(to));
  const sources = emitting.flatMap(({ from }) => places(from));
  const atEnd = emitting.some((one) => one.atEnd);
  return {
    first: Math.min(...targets),
    last: atEnd ? catalog.kinds.length : Math.max(...targets, ...sources),
  };
}
