/**
 * Keys that occur twice, and references that lead nowhere, in bounded memory: digests are collected, and a last pass names the
 * records, where there are any to name. Primary keys that come in ascending order, as they do in our own documents, occur
 * once: only where one does not are they collected, in a pass more.
 */
import { type Catalog, type Field, type ForeignKey, fieldIndex, type RecordKind } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import { createKeyDigest, type KeyDigest } from "../../records/key-digest.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { describeKey } from "../../records/record-key.js";
import { KeyCollector, type KeySet } from "../../transforms/key-set.js";
import { AscendingKeys } from "./ascending-keys.js";

/** A set holds so many keys in memory while it is collected (512 KiB), for there are some thirty. */
const KEYS_IN_MEMORY = 32768;
/** Of so many keys that occur twice it is remembered which record had them first. */
const NAMED = 1000;

interface UniqueKey {
  readonly fields: readonly string[];
  readonly digest: KeyDigest;
  readonly repeated: KeyCollector;
  readonly keys: KeyCollector;
  /** Of the primary key; undefined from where one was not greater than the one before. Others come in any order. */
  order: AscendingKeys | "any" | undefined;
  /** When all is collected. */
  twice: KeySet | undefined;
  /** A bit for each of `twice`: a record had it. */
  met: Uint8Array;
  readonly firsts: Map<number, string>;
}

interface Reference {
  readonly key: ForeignKey;
  readonly parent: RecordKind;
  readonly digest: KeyDigest;
  readonly wanted: KeyCollector;
  /** The keys that the parents have. */
  readonly from: ParentKeys;
  missing: KeySet | undefined;
}

/** Of the records of a kind: what references to it look for, however many there are. */
interface ParentKeys {
  readonly fields: readonly string[];
  readonly digest: KeyDigest;
  readonly keys: KeyCollector;
  found: KeySet | undefined;
}

export class Keys {
  private readonly unique = new Map<RecordKind, readonly UniqueKey[]>();
  private readonly references = new Map<RecordKind, readonly Reference[]>();
  private readonly targets = new Map<RecordKind, ParentKeys[]>();

  constructor(private readonly catalog: Catalog) {
    for (const kind of catalog.kinds) {
      this.unique.set(
        kind,
        [kind.key, ...kind.uniqueKeys].map((fields) => createUniqueKey(kind, fields)),
      );
      this.references.set(
        kind,
        kind.foreignKeys.flatMap((key) => this.createReference(kind, key) ?? []),
      );
    }
  }

  private createReference(kind: RecordKind, key: ForeignKey): Reference | undefined {
    const parent = this.catalog.byPath.get(key.references);
    if (parent === undefined) return undefined;
    const digest = createKeyDigest(kind, key.fields);
    const from = this.parentKeys(parent, key.referencedFields);
    return { key, parent, digest, wanted: new KeyCollector(KEYS_IN_MEMORY), from, missing: undefined };
  }

  private parentKeys(parent: RecordKind, fields: readonly string[]): ParentKeys {
    const targets = this.targets.get(parent) ?? [];
    let target = targets.find((other) => other.fields.join() === fields.join());
    if (target === undefined) {
      const keys = new KeyCollector(KEYS_IN_MEMORY);
      target = { fields, digest: createKeyDigest(parent, fields), keys, found: undefined };
      this.targets.set(parent, [...targets, target]);
    }
    return target;
  }

  /** First pass: a record that nothing else is wrong with. After a batch comes `settle`. */
  add(batch: RecordBatch, row: number): void {
    const { kind } = batch;
    for (const one of this.unique.get(kind) ?? []) {
      if (one.order === "any") addKey(one.keys, one.digest(batch, row));
      else if (one.order?.follows(batch, row) === false) one.order = undefined;
    }
    for (const { digest, keys } of this.targets.get(kind) ?? []) addKey(keys, digest(batch, row));
    for (const { digest, wanted } of this.references.get(kind) ?? []) addKey(wanted, digest(batch, row));
  }

  async settle(batch: RecordBatch): Promise<void> {
    const { kind } = batch;
    for (const { order, keys, repeated } of this.unique.get(kind) ?? []) {
      if (order instanceof AscendingKeys) order.keep(batch);
      await keys.settle();
      await repeated.settle();
    }
    for (const { keys } of this.targets.get(kind) ?? []) await keys.settle();
    for (const { wanted } of this.references.get(kind) ?? []) await wanted.settle();
  }

  /** After the first pass: the kinds whose keys did not come in order. */
  get unordered(): ReadonlySet<string> {
    return new Set(
      [...this.unique].filter(([, all]) => all.some(({ order }) => order === undefined)).map(([{ path }]) => path),
    );
  }

  /** Second pass, over the kinds that are not in order. After a batch comes `settleKeys`. */
  addKeys(batch: RecordBatch, row: number): void {
    for (const { digest, keys, order } of this.unique.get(batch.kind) ?? [])
      if (order === undefined) addKey(keys, digest(batch, row));
  }

  async settleKeys(kind: RecordKind): Promise<void> {
    for (const { keys, repeated } of this.unique.get(kind) ?? []) {
      await keys.settle();
      await repeated.settle();
    }
  }

  /** When all is collected: the kinds whose records have to be seen once more. `whole`: every parent has come. */
  async conclude(whole: boolean): Promise<ReadonlySet<string>> {
    const again = new Set<string>();
    for (const [kind, uniqueKeys] of this.unique) {
      for (const one of uniqueKeys) {
        await (await one.keys.finish()).close();
        one.twice = await one.repeated.finish();
        one.met = new Uint8Array(Math.ceil(one.twice.size / 8));
        if (one.twice.size > 0) again.add(kind.path);
      }
    }
    for (const [kind, references] of whole ? this.references : []) {
      for (const one of references) {
        one.from.found ??= await one.from.keys.finish();
        const wanted = await one.wanted.finish();
        one.missing = await wanted.without(one.from.found).finally(() => wanted.close());
        if (one.missing.size > 0) again.add(kind.path);
      }
    }
    for (const targets of this.targets.values()) for (const { found } of targets) await found?.close();
    return again;
  }

  /** Last pass: the key that an earlier record had. */
  conflict(batch: RecordBatch, row: number, key: string): StorageError | undefined {
    const places: [UniqueKey, number][] = [];
    for (const one of this.unique.get(batch.kind) ?? []) {
      if (one.twice === undefined || one.twice.size === 0) continue;
      const digest = one.digest(batch, row);
      const place = digest === undefined ? -1 : one.twice.indexOf(digest);
      if (place === -1) continue;
      if (((one.met[place >> 3] as number) & (1 << (place & 7))) !== 0) return conflictError(one, place);
      places.push([one, place]);
    }
    // A record that is refused takes no other key.
    for (const [one, place] of places) {
      one.met[place >> 3] = (one.met[place >> 3] as number) | (1 << (place & 7));
      if (one.firsts.size < NAMED) one.firsts.set(place, key);
    }
    return undefined;
  }

  /** Last pass: a record that refers to one that is not there. */
  orphan(
    batch: RecordBatch,
    row: number,
    isRejected: (path: string, key: string) => boolean,
  ): StorageError | undefined {
    const { kind } = batch;
    const missing = (this.references.get(kind) ?? []).filter(({ missing: keys, digest }) => {
      const key = keys === undefined || keys.size === 0 ? undefined : digest(batch, row);
      return key !== undefined && keys?.has(key) === true;
    });
    const [first] = missing;
    if (first === undefined) return undefined;
    const field = first.key.fields.at(-1) as string;
    const ofRejected = missing.find(({ key, parent }) => isRejected(parent.path, parentKey(key, parent, batch, row)));
    if (ofRejected !== undefined)
      return new StorageError(
        "E_PARENT_REJECTED",
        `the ${ofRejected.parent.noun} that the ${kind.noun} belongs to has findings`,
        { field: ofRejected.key.fields.at(-1) as string },
      );
    return new StorageError("E_ORPHAN", `the ${kind.noun} refers to a ${first.parent.noun} that is not there`, {
      field,
      hint: "--on-orphan drop leaves such records out.",
    });
  }

  async close(): Promise<void> {
    for (const uniqueKeys of this.unique.values())
      for (const { keys, repeated, twice } of uniqueKeys)
        await Promise.all([keys.close(), repeated.close(), twice?.close()]);
    for (const references of this.references.values())
      for (const { wanted, from, missing } of references)
        await Promise.all([wanted.close(), from.keys.close(), from.found?.close(), missing?.close()]);
  }
}

function createUniqueKey(kind: RecordKind, fields: readonly string[]): UniqueKey {
  const repeated = new KeyCollector(KEYS_IN_MEMORY);
  return {
    fields,
    digest: createKeyDigest(kind, fields),
    repeated,
    keys: new KeyCollector(KEYS_IN_MEMORY, repeated),
    order: fields === kind.key ? new AscendingKeys(kind, fields) : "any",
    twice: undefined,
    met: new Uint8Array(0),
    firsts: new Map(),
  };
}

function addKey(keys: KeyCollector, digest: Buffer | undefined): void {
  if (digest !== undefined) keys.add(digest);
}

function conflictError({ fields, firsts }: UniqueKey, place: number): StorageError {
  const first = firsts.get(place);
  return new StorageError("E_KEY_CONFLICT", `two records of the document have the same (${fields.join(", ")})`, {
    ...(first === undefined ? {} : { detail: `the other record is ${first}` }),
  });
}

function parentKey(key: ForeignKey, parent: RecordKind, batch: RecordBatch, row: number): string {
  return describeKey(parent, (field) => {
    const at = key.referencedFields.indexOf((parent.fields[field] as Field).name);
    return at === -1 ? undefined : batch.value(row, fieldIndex(batch.kind, key.fields[at] as string));
  });
}
