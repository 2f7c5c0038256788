/**
 * Referential care around the stages: what belongs to a record that a stage drops goes with it, as ForeignKey.onDrop says.
 *
 * A first pass through the same stages learns what each of them drops. In the real pass the children of those records, and
 * the parents to which only such records referred, are taken out before they come to that stage: there the keys are still
 * the same, whatever stages before or behind it make of them.
 *
 * Over 300 lines: both passes, which must agree in what they drop.
 */
import type { RecordKind } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import { BatchEditor } from "../../records/batch-editor.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { recordKey } from "../../records/record-key.js";
import type { RunContext } from "../../records/run-context.js";
import type { Transform } from "../transform.js";
import { isDoomed, keepOthers, type Link, type LinkOptions, linksOf } from "./cascade-link.js";

export interface CascadeOptions extends LinkOptions {
  readonly transforms: readonly Transform[];
}

type Batches = AsyncIterable<RecordBatch>;

/** Undefined when no stage can drop anything that something else hangs on. */
export function planCascade(options: CascadeOptions): Cascade | undefined {
  const stages = options.transforms.map((transform) => new Stage(transform, linksOf(transform, options)));
  return stages.some(({ links }) => links.length > 0) ? new Cascade(options, stages) : undefined;
}

export class Cascade {
  /** Records taken out, by path. */
  readonly removed = new Map<string, number>();
  /** The kinds of the first pass: those of which a stage makes records of the others, then parents first. */
  private readonly kinds: readonly RecordKind[];
  /** What the first pass read, by path. */
  private readonly seen = new Map<string, number>();

  constructor(
    { catalog, paths }: CascadeOptions,
    private readonly stages: readonly Stage[],
  ) {
    const learntFrom = new Set(stages.flatMap(({ links }) => links.map((link) => link.learntFrom.path)));
    const needed = new Set<string>();
    // From the last stage on: what one gives, those behind it may drop.
    for (const { links, emits } of [...stages].reverse()) {
      if (emits !== undefined && [...emits.to].some((path) => needed.has(path)))
        for (const path of emits.from) if (paths.has(path)) needed.add(path);
      for (const link of links) needed.add(link.learntFrom.path);
    }
    const kinds = catalog.importOrder.filter(({ path }) => needed.has(path));
    this.kinds = [
      ...kinds.filter(({ path }) => !learntFrom.has(path)),
      ...kinds.filter(({ path }) => learntFrom.has(path)),
    ];
  }

  /** The first pass. `read` gives the records of some kinds, and may be called again. */
  async learn(read: (paths: ReadonlySet<string>) => Batches, context: RunContext): Promise<void> {
    const paths = this.kinds.map(({ path }) => path);
    await this.pass(read(new Set(paths)), context);
    if (this.stages.some(({ isLate }) => isLate)) {
      // Children came before their parents: once more, kind by kind.
      for (const stage of this.stages) await stage.reset();
      this.seen.clear();
      for (const path of paths) await this.pass(read(new Set([path])), context);
    }
    for (const stage of this.stages) await stage.conclude();
  }

  /** The real pass: the records of all kinds through all stages. */
  apply(batches: Batches, context: RunContext): Batches {
    let through: Batches = this.sameAgain(batches);
    for (const stage of this.stages) through = stage.apply(through, context, this.removed);
    return through;
  }

  async close(): Promise<void> {
    for (const stage of this.stages) await stage.reset();
  }

  private async pass(batches: Batches, context: RunContext): Promise<void> {
    let through: Batches = count(batches, this.seen);
    for (const stage of this.stages) through = stage.watch(through, context);
    for await (const batch of through) {
      context.signal.throwIfAborted();
      await batch.large?.discard();
    }
  }

  /** A source that gives other records when it is read again would make orphans. */
  private async *sameAgain(batches: Batches): AsyncGenerator<RecordBatch> {
    const again = new Map<string, number>();
    yield* count(batches, again);
    for (const { path } of this.kinds) {
      const [before = 0, now = 0] = [this.seen.get(path), again.get(path)];
      if (before === now) continue;
      throw new StorageError("E_IO", `the source gave ${before} records, and ${now} when it was read again`, {
        section: path,
        hint: "Was it changed meanwhile? A source that can be read only once needs --no-cascade.",
      });
    }
  }
}

async function* count(batches: Batches, counts: Map<string, number>): AsyncGenerator<RecordBatch> {
  for await (const batch of batches) {
    const { path } = batch.kind;
    counts.set(path, (counts.get(path) ?? 0) + batch.rows);
    yield batch;
  }
}

/** The batch that a transform has at hand, and which of its rows it has told to be dropped. */
interface GivenBatch {
  batch: RecordBatch | undefined;
  dropped: Uint8Array;
}

class Stage {
  /** A record was dropped after its children had come. */
  isLate = false;
  private readonly editor = new BatchEditor();
  /** How many records of each kind the transform dropped in the first pass. */
  private readonly drops = new Map<RecordKind, number>();

  constructor(
    private readonly transform: Transform,
    readonly links: readonly Link[],
  ) {}

  get emits(): Transform["emits"] {
    return this.transform.emits;
  }

  /** The first pass: learns what is dropped here. */
  watch(batches: Batches, context: RunContext): Batches {
    if (this.links.length === 0) return this.transform.apply(batches, context);
    const given: GivenBatch = { batch: undefined, dropped: new Uint8Array(0) };
    const dropped = (batch: RecordBatch, row: number): void => {
      for (const link of this.links) {
        if (link.learntFrom !== batch.kind) continue;
        const key = link.key(batch, row);
        if (key === undefined) continue;
        if (link.doomed !== undefined) this.isLate = true;
        link.dropped.add(key);
      }
      if (batch === given.batch) given.dropped[row] = 1;
    };
    const told = (batch: RecordBatch, row: number): void => {
      this.drops.set(batch.kind, (this.drops.get(batch.kind) ?? 0) + 1);
      dropped(batch, row);
    };
    return this.transform.apply(this.feed(batches, given, dropped), { ...context, dropped: told });
  }

  private async *feed(
    batches: Batches,
    given: GivenBatch,
    dropped: (batch: RecordBatch, row: number) => void,
  ): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      const kept = await this.withoutDoomed(batch, dropped);
      given.batch = kept;
      if (given.dropped.length < batch.rows) given.dropped = new Uint8Array(batch.rows);
      given.dropped.fill(0);
      if (kept === undefined) await batch.large?.discard();
      // The transform has told of all that it drops when it asks for the next batch.
      else yield kept;
      for (const link of this.links) {
        if (link.learntFrom !== batch.kind) continue;
        if (kept !== undefined && link.unlessKept) keepOthers(link, kept, given.dropped);
        await link.dropped.settle();
        await link.kept.settle();
      }
    }
  }

  /** The real pass. */
  apply(batches: Batches, context: RunContext, removed: Map<string, number>): Batches {
    if (this.links.length === 0) return this.transform.apply(batches, context);
    const drops = new Map<RecordKind, number>();
    const dropped = (batch: RecordBatch, row: number): void => {
      drops.set(batch.kind, (drops.get(batch.kind) ?? 0) + 1);
      for (const link of this.links) {
        if (link.learntFrom !== batch.kind || link.unlessKept) continue;
        const key = link.key(batch, row);
        if (key === undefined || link.doomed?.has(key)) continue;
        throw this.undecided(batch.kind, recordKey(batch, row));
      }
    };
    const through = this.transform.apply(this.remove(batches, removed), { ...context, dropped });
    return this.sameDrops(through, drops);
  }

  /** What went with a record that is kept this time would be lost. */
  private async *sameDrops(batches: Batches, drops: ReadonlyMap<RecordKind, number>): AsyncGenerator<RecordBatch> {
    yield* batches;
    // Released parents were still there in the first pass.
    const released = this.links.flatMap((link) => (link.unlessKept ? [link.victim] : []));
    for (const { learntFrom: kind } of this.links)
      if (!released.includes(kind) && this.drops.get(kind) !== drops.get(kind)) throw this.undecided(kind);
  }

  private undecided({ path: section }: RecordKind, key?: string): StorageError {
    return new StorageError("E_UNEXPECTED", `${this.transform.name} drops other records when it sees them again`, {
      section,
      ...(key === undefined ? {} : { key }),
      hint: "A stage sees sessions and artifacts twice and must decide alike; or use --no-cascade.",
    });
  }

  private async *remove(batches: Batches, removed: Map<string, number>): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      const { path } = batch.kind;
      const kept = await this.withoutDoomed(batch, () => removed.set(path, (removed.get(path) ?? 0) + 1));
      if (kept === undefined) await batch.large?.discard();
      else yield kept;
    }
  }

  /** The batch without the records that go with others. */
  private async withoutDoomed(
    batch: RecordBatch,
    onRemoved: (batch: RecordBatch, row: number) => void,
  ): Promise<RecordBatch | undefined> {
    const links = this.links.filter(({ victim }) => victim === batch.kind);
    for (const link of links) if (!link.unlessKept) link.doomed ??= await link.dropped.finish();
    const doomed = links.filter((link) => (link.doomed?.size ?? 0) > 0);
    if (doomed.length === 0) return batch;
    this.editor.begin(batch);
    for (let row = 0; row < batch.rows; row++) {
      if (!doomed.some((link) => isDoomed(link, batch, row))) continue;
      onRemoved(batch, row);
      this.editor.drop(row);
    }
    return this.editor.finish();
  }

  /** After the first pass. */
  async conclude(): Promise<void> {
    for (const link of this.links) {
      if (link.doomed !== undefined) continue;
      const dropped = await link.dropped.finish();
      if (!link.unlessKept) {
        link.doomed = dropped;
        continue;
      }
      const kept = await link.kept.finish();
      try {
        link.doomed = await dropped.without(kept);
      } finally {
        await dropped.close();
        await kept.close();
      }
    }
  }

  async reset(): Promise<void> {
    this.isLate = false;
    this.drops.clear();
    for (const link of this.links) {
      await link.dropped.close();
      await link.kept.close();
      await link.doomed?.close();
      link.doomed = undefined;
    }
  }
}
