/**
 * What a store's records say of each other: artifacts whose session or content is not there, and counters (how many artifacts
 * a content has) that count otherwise. Found from the records as they come, in any order: the values that foreign keys refer
 * to, and by which records are referred to, are sorted in a temporary file where they are many.
 */
import { type Catalog, type ForeignKey, fieldIndex, type RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { EntrySorter } from "../../document/files/entry-sorter.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { recordKey } from "../../records/record-key.js";
import { KeyOrder } from "./key-order.js";

/** Something that is wrong in one store. */
export interface Finding {
  readonly check: "orphans" | "counters" | "large-objects" | "partitions" | "schema";
  /** What it is about, the same in every store, e.g. `artifacts.artifacts -> sessions`. */
  readonly object: string;
  readonly count: number;
  /** One line for people. */
  readonly message: string;
}

/** What is sorted in memory, of each reference and each store until the end. Bytes. */
const RUN_BYTES = 524288;

const PARENT = 0;
const CHILD = 1;

interface Reference {
  readonly child: RecordKind;
  readonly parent: RecordKind;
  readonly key: ForeignKey;
  readonly childOrder: KeyOrder;
  readonly parentOrder: KeyOrder;
  /** Index of the counter in the parent's fields; -1: there is none. */
  readonly counter: number;
  readonly entries: EntrySorter;
}

export class References {
  private readonly references: readonly Reference[];
  private readonly entry = new ByteWriter(512);
  /** Paths of kinds of which records could not be read. */
  private readonly incomplete = new Set<string>();

  /** `paths`: the kinds that are read; of a key whose kinds are not both there nothing can be said. */
  constructor(catalog: Catalog, paths: ReadonlySet<string>) {
    this.references = catalog.kinds.flatMap((child) =>
      child.foreignKeys.flatMap((key) => {
        const parent = catalog.byPath.get(key.references) as RecordKind;
        if (!paths.has(child.path) || !paths.has(parent.path)) return [];
        return [
          {
            child,
            parent,
            key,
            childOrder: new KeyOrder(child, key.fields),
            parentOrder: new KeyOrder(parent, key.referencedFields),
            counter: key.counter === undefined ? -1 : fieldIndex(parent, key.counter),
            entries: new EntrySorter(RUN_BYTES),
          },
        ];
      }),
    );
  }

  /** E_DISK_FULL, E_IO. */
  async see(batch: RecordBatch): Promise<void> {
    for (const reference of this.references) {
      if (reference.parent === batch.kind) this.addParents(reference, batch);
      if (reference.child === batch.kind) this.addChildren(reference, batch);
      if (reference.entries.full) await reference.entries.settle();
    }
  }

  /** A record of the kind cannot be read: who lacks one of that kind, or how many there are, cannot be told. */
  miss({ path }: RecordKind): void {
    this.incomplete.add(path);
  }

  async findings(): Promise<Finding[]> {
    const findings: Finding[] = [];
    for (const reference of this.references) findings.push(...(await findingsOf(reference, this.incomplete)));
    return findings;
  }

  /** Idempotent; never throws. */
  async close(): Promise<void> {
    for (const { entries } of this.references) await entries.close();
  }

  /** The values, PARENT, and the counter. */
  private addParents({ parentOrder, counter, entries }: Reference, batch: RecordBatch): void {
    const { entry } = this;
    for (let row = 0; row < batch.rows; row++) {
      entry.length = 0;
      if (!parentOrder.write(batch, row, entry)) continue;
      entry.byte(PARENT);
      if (counter !== -1) {
        const value = batch.value(row, counter);
        entry.copy(value, 0, value.length);
      }
      entries.add(entry.view());
    }
  }

  /** The values, CHILD, and the child's key for messages. */
  private addChildren({ childOrder, entries }: Reference, batch: RecordBatch): void {
    const { entry } = this;
    for (let row = 0; row < batch.rows; row++) {
      entry.length = 0;
      if (!childOrder.write(batch, row, entry)) continue;
      entry.byte(CHILD);
      entry.utf8(recordKey(batch, row));
      entries.add(entry.view());
    }
  }
}

async function findingsOf(reference: Reference, incomplete: ReadonlySet<string>): Promise<Finding[]> {
  const { child, parent, key, counter, entries } = reference;
  const orphans = { count: 0, first: "" };
  const miscounted = { count: 0, first: "" };
  let group = { values: Buffer.alloc(0), parents: 0, counted: 0, children: 0 };
  const finish = (): void => {
    if (group.parents === 0 || counter === -1 || group.counted === group.children) return;
    miscounted.count++;
    if (miscounted.count > 1) return;
    const which = reference.parentOrder.describe(group.values);
    miscounted.first = `${which} says ${group.counted}, and has ${group.children}`;
  };
  for await (const entry of entries.sorted()) {
    const end = reference.childOrder.endOf(entry);
    const values = entry.subarray(0, end);
    if (!values.equals(group.values)) {
      finish();
      group = { values: Buffer.from(values), parents: 0, counted: 0, children: 0 };
    }
    if (entry[end] === PARENT) {
      group.parents++;
      if (counter !== -1) group.counted = entry.readInt32BE(end + 1);
      continue;
    }
    group.children++;
    if (group.parents > 0) continue;
    orphans.count++;
    if (orphans.count === 1) orphans.first = entry.toString("utf8", end + 1);
  }
  finish();
  const findings: Finding[] = [];
  const object = `${child.path} -> ${parent.path}`;
  if (orphans.count > 0 && !incomplete.has(parent.path))
    findings.push({
      check: "orphans",
      object,
      count: orphans.count,
      message: `${counted(orphans.count, child)} without ${parent.noun}, first: ${orphans.first}`,
    });
  if (miscounted.count > 0 && !incomplete.has(child.path))
    findings.push({
      check: "counters",
      object: `${parent.path}.${key.counter}`,
      count: miscounted.count,
      message: `${key.counter} of ${counted(miscounted.count, parent)} is not the number of their ${child.noun}s, first: ${miscounted.first}`,
    });
  return findings;
}

function counted(count: number, { noun }: RecordKind): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
