/** What ties the records of two kinds together where one of them is dropped (cascade.ts). */
import type { Catalog, ForeignKey, RecordKind } from "../../catalog/index.js";
import { createKeyDigest, type KeyDigest } from "../../records/key-digest.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { KeyCollector, type KeySet } from "../key-set.js";
import type { Transform } from "../transform.js";

export interface LinkOptions {
  readonly catalog: Catalog;
  /** The selected kinds. */
  readonly paths: ReadonlySet<string>;
  /** Keys that each set holds in memory while it is learnt. Default 131072. */
  readonly keysInMemory?: number | undefined;
}

/** A foreign key on whose account a stage's drops take other records with them. */
export interface Link {
  /** The kind whose records tell in the first pass. */
  readonly learntFrom: RecordKind;
  /** The kind whose records go, and the digest by which they are known. */
  readonly victim: RecordKind;
  readonly victimKey: KeyDigest;
  /** The digest by which the first kind names them. */
  readonly key: KeyDigest;
  /** "release": not while a record that stays names it as well. */
  readonly unlessKept: boolean;
  readonly dropped: KeyCollector;
  readonly kept: KeyCollector;
  /** What `victimKey` of those that go is; once it is known. */
  doomed: KeySet | undefined;
}

/** The foreign keys that count at a stage, parents first. */
export function linksOf({ mayDrop }: Transform, { catalog, paths, keysInMemory }: LinkOptions): Link[] {
  const droppable = new Set([...paths].filter((path) => mayDrop?.(path) ?? true));
  const links: Link[] = [];
  for (const kind of catalog.importOrder) {
    if (!paths.has(kind.path)) continue;
    // First what takes this kind's records away, for then they can be dropped.
    const inOrder = [...kind.foreignKeys].sort((one) => (one.onDrop === "cascade" ? -1 : 1));
    for (const foreignKey of inOrder) {
      const parent = catalog.byPath.get(foreignKey.references);
      if (foreignKey.onDrop === undefined || parent === undefined || !paths.has(parent.path)) continue;
      const cascades = foreignKey.onDrop === "cascade";
      if (!droppable.has(cascades ? parent.path : kind.path)) continue;
      if (cascades) droppable.add(kind.path);
      links.push(createLink(kind, parent, foreignKey, keysInMemory));
    }
  }
  return links;
}

function createLink(child: RecordKind, parent: RecordKind, foreignKey: ForeignKey, keysInMemory?: number): Link {
  const childKey = createKeyDigest(child, foreignKey.fields);
  const parentKey = createKeyDigest(parent, foreignKey.referencedFields);
  const releases = foreignKey.onDrop === "release";
  return {
    learntFrom: releases ? child : parent,
    victim: releases ? parent : child,
    key: releases ? childKey : parentKey,
    victimKey: releases ? parentKey : childKey,
    unlessKept: releases,
    dropped: new KeyCollector(keysInMemory),
    kept: new KeyCollector(keysInMemory),
    doomed: undefined,
  };
}

export function isDoomed(link: Link, batch: RecordBatch, row: number): boolean {
  const key = link.victimKey(batch, row);
  return key !== undefined && link.doomed?.has(key) === true;
}

/** What the records of the batch name that were not dropped. */
export function keepOthers(link: Link, batch: RecordBatch, dropped: Uint8Array): void {
  for (let row = 0; row < batch.rows; row++) {
    const key = dropped[row] === 1 ? undefined : link.key(batch, row);
    if (key !== undefined) link.kept.add(key);
  }
}
