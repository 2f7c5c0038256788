/**
 * At most so many records of each kind, as the source gives them: the first ones, and of parents first of all those to which
 * the children that are kept refer, so that a small copy has no orphans that the source has not. (A kind that is both parent
 * and child is looked at as a child only: the parents of its wanted records are not asked for.)
 */
import { type Catalog, type Field, fieldIndex, type RecordKind } from "../catalog/index.js";
import { codecOf } from "../codecs/index.js";
import { StorageError } from "../errors.js";
import { BatchEditor } from "../records/batch-editor.js";
import { createKeyDigest, type KeyDigest } from "../records/key-digest.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext, Selection, WantedRecords } from "../records/run-context.js";
import { KeyCollector, type KeySet } from "./key-set.js";

export type Read = (selection: Selection, context: RunContext) => AsyncIterable<RecordBatch>;

/** More keys than these are not named to the source. */
const KEYS_NAMED = 10000;

/** The parents of one kind that kept children refer to, by one set of fields. */
interface Wanted {
  readonly parent: RecordKind;
  readonly fields: readonly string[];
  readonly key: KeyDigest;
  readonly collector: KeyCollector;
  keys: KeySet | undefined;
  /** By their digests; undefined when they cannot be named. */
  named: Map<string, readonly string[]> | undefined;
}

export class Limit {
  private readonly links: {
    readonly child: RecordKind;
    readonly fields: readonly string[];
    readonly wanted: Wanted;
  }[] = [];
  private readonly wanted: Wanted[] = [];
  private readonly seen = new Map<string, number>();

  constructor(
    catalog: Catalog,
    private readonly selection: Selection,
    private readonly limit: number,
    keysInMemory?: number,
  ) {
    for (const child of catalog.kinds) {
      for (const { fields, references, referencedFields } of child.foreignKeys) {
        const parent = catalog.byPath.get(references);
        const { paths } = selection;
        if (parent === undefined || parent === child || !paths.has(child.path) || !paths.has(references)) continue;
        const wanted = this.wantedOf(parent, referencedFields, keysInMemory);
        this.links.push({ child, fields, wanted });
      }
    }
  }

  private wantedOf(parent: RecordKind, fields: readonly string[], keysInMemory?: number): Wanted {
    const same = (one: Wanted): boolean => one.parent === parent && one.fields.join() === fields.join();
    const found = this.wanted.find(same);
    if (found !== undefined) return found;
    const key = createKeyDigest(parent, fields);
    const wanted = {
      parent,
      fields,
      key,
      collector: new KeyCollector(keysInMemory),
      keys: undefined,
      named: new Map(),
    };
    this.wanted.push(wanted);
    return wanted;
  }

  /** Whether the source is read ahead. */
  get looksAhead(): boolean {
    return this.links.length > 0;
  }

  /** Reads the children ahead, and learns which parents they need. */
  async learn(read: Read, context: RunContext): Promise<void> {
    if (!this.looksAhead) return;
    const children = new Set(this.links.map(({ child }) => child.path));
    const selection: Selection = { ...this.selection, paths: children, limit: this.limit, peek: true };
    const ahead = this.first(read(selection, context), selection);
    const digests = new Map(this.links.map((link) => [link, createKeyDigest(link.child, link.fields)]));
    for await (const batch of ahead) {
      context.signal.throwIfAborted();
      this.seen.set(batch.kind.path, (this.seen.get(batch.kind.path) ?? 0) + batch.rows);
      for (const [link, digest] of digests) {
        if (link.child !== batch.kind) continue;
        for (let row = 0; row < batch.rows; row++) want(link, batch, row, digest(batch, row));
        await link.wanted.collector.settle();
      }
      await batch.large?.discard();
    }
    for (const wanted of this.wanted) wanted.keys = await wanted.collector.finish();
  }

  /** Reads with the limit kept, now that `learn` is done. */
  limited(read: Read): Read {
    const wanted = new Map<string, WantedRecords>();
    // By two sets of fields the source could not be asked.
    for (const { parent, fields, named } of this.wanted)
      wanted.set(parent.path, { fields, keys: wanted.has(parent.path) ? undefined : named && [...named.values()] });
    const extra = wanted.size === 0 ? {} : { wanted };
    return (selection, context) => this.first(read({ ...selection, limit: this.limit, ...extra }, context), selection);
  }

  async close(): Promise<void> {
    for (const { collector, keys } of this.wanted) {
      await collector.close();
      await keys?.close();
    }
  }

  private async *first(batches: AsyncIterable<RecordBatch>, { paths }: Selection): AsyncGenerator<RecordBatch> {
    const editor = new BatchEditor();
    /** Of each kind, how many more records may come that nobody refers to. */
    const left = new Map<string, number>();
    const given = new Map<string, number>();
    for await (const batch of batches) {
      const { path } = batch.kind;
      const wanted = this.wanted.filter(({ parent, keys }) => parent === batch.kind && keys !== undefined);
      let others = left.get(path);
      if (others === undefined)
        others = Math.max(
          0,
          wanted.reduce((sum, { keys }) => sum - (keys as KeySet).size, this.limit),
        );
      editor.begin(batch);
      for (let row = 0; row < batch.rows; row++) {
        if (wanted.some(({ key, keys }) => isIn(keys, key(batch, row)))) continue;
        if (others > 0) others--;
        else editor.drop(row);
      }
      left.set(path, others);
      const kept = editor.finish();
      given.set(path, (given.get(path) ?? 0) + (kept?.rows ?? 0));
      if (kept === undefined) await batch.large?.discard();
      else yield kept;
    }
    for (const [path, before] of this.seen) {
      const now = given.get(path) ?? 0;
      // Of a kind that is a parent, too, those that are wanted come besides.
      const isWanted = this.wanted.some(({ parent }) => parent.path === path);
      if (!paths.has(path) || isWanted || now === before) continue;
      throw new StorageError("E_IO", `the source gave ${before} records, and ${now} when it was read again`, {
        section: path,
        hint: "Was it changed meanwhile?",
      });
    }
  }
}

function isIn(keys: KeySet | undefined, key: Buffer | undefined): boolean {
  return keys !== undefined && key !== undefined && keys.has(key);
}

function want(
  { child, fields, wanted }: { child: RecordKind; fields: readonly string[]; wanted: Wanted },
  batch: RecordBatch,
  row: number,
  key: Buffer | undefined,
): void {
  if (key === undefined) return;
  wanted.collector.add(key);
  if (wanted.named === undefined) return;
  const digest = key.toString("latin1");
  if (wanted.named.has(digest)) return;
  const texts = fields.map((name) =>
    textOf(child.fields[fieldIndex(child, name)] as Field, batch, row, fieldIndex(child, name)),
  );
  // U+0000 has no place in a statement.
  const canBeNamed =
    wanted.named.size < KEYS_NAMED && texts.every((text) => text !== undefined && !text.includes("\0"));
  if (canBeNamed) wanted.named.set(digest, texts as string[]);
  else wanted.named = undefined;
}

function textOf(field: Field, batch: RecordBatch, row: number, index: number): string | undefined {
  const value = batch.value(row, index);
  return codecOf(field).toName?.(value, 0, value.length);
}
