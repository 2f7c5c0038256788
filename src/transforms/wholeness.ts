/** Whether a run brings all the records that its source's store has: what prunes, and a document that others prune by, must know. */
import type { Catalog } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext, Selection } from "../records/run-context.js";
import type { Source } from "../sources/source.js";
import type { Transform } from "./transform.js";

type Batches = AsyncIterable<RecordBatch>;

/** Whether the steps give fewer records than they get, rejected ones aside: each is counted by itself, for another may add some. */
export class Drops {
  private told = 0;
  private readonly stages: StageCount[] = [];

  /** What the steps of another thread dropped: in a run of several. */
  add(count: number): void {
    this.told += count;
  }

  get count(): number {
    return this.told + this.stages.reduce((sum, stage) => sum + stage.missing(), 0);
  }

  /** The step, with what it takes, gives and tells counted. Looks ahead are none of it, but where a run has no other pass (`always`). */
  watched(transform: Transform, always = false): Transform {
    const { name, mayDrop, mayChange, tenantAfter, emits, tellsDrops } = transform;
    const apply = (batches: Batches, context: RunContext): Batches =>
      context.ahead === true && !always ? transform.apply(batches, context) : this.counted(transform, batches, context);
    return {
      name,
      // They may be methods of the transform's own.
      ...(mayDrop === undefined ? {} : { mayDrop: (path) => mayDrop.call(transform, path) }),
      ...(mayChange === undefined ? {} : { mayChange: (path, field) => mayChange.call(transform, path, field) }),
      ...(tenantAfter === undefined ? {} : { tenantAfter: (tenant) => tenantAfter.call(transform, tenant) }),
      ...(emits === undefined ? {} : { emits }),
      ...(tellsDrops === undefined ? {} : { tellsDrops }),
      apply,
    };
  }

  private counted(transform: Transform, batches: Batches, context: RunContext): Batches {
    // Records of a step that emits change their section.
    const stage = new StageCount(transform.emits === undefined);
    this.stages.push(stage);
    const watching: RunContext = {
      ...context,
      dropped: (batch, row) => {
        this.told++;
        stage.told(batch.kind.path);
        context.dropped?.(batch, row);
      },
      reject: (rejection) => {
        stage.told(rejection.kind.path);
        return context.reject(rejection);
      },
    };
    return stage.behind(transform.apply(stage.before(batches), watching));
  }
}

/** What one step took, gave and told, of each section where records keep theirs. */
class StageCount {
  private readonly balance = new Map<string, number>();
  private tookAll = false;

  constructor(private readonly bySection: boolean) {}

  missing(): number {
    const missing = [...this.balance.values()].reduce((sum, left) => sum + Math.max(left, 0), 0);
    return Math.max(missing, this.tookAll ? 0 : 1);
  }

  told(path: string): void {
    this.add(path, -1);
  }

  async *before(batches: Batches): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      this.add(batch.kind.path, batch.rows);
      yield batch;
    }
    this.tookAll = true;
  }

  async *behind(batches: Batches): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      this.add(batch.kind.path, -batch.rows);
      yield batch;
    }
  }

  private add(path: string, rows: number): void {
    const key = this.bySection ? path : "";
    this.balance.set(key, (this.balance.get(key) ?? 0) + rows);
  }
}

/**
 * The steps that may drop a record unsaid: one that drops a record and makes another cannot be told from one that changes it.
 * Steps tell (`tellsDrops`), or say of all sections that they drop none (`mayDrop`).
 */
function silentSteps(transforms: readonly Transform[], paths: ReadonlySet<string>): readonly Transform[] {
  return transforms.filter(
    (transform) => transform.tellsDrops !== true && [...paths].some((path) => transform.mayDrop?.(path) ?? true),
  );
}

/** Whether it can be told of the steps of a run that they drop nothing. */
export function tellDrops(transforms: readonly Transform[], paths: ReadonlySet<string>): boolean {
  return silentSteps(transforms, paths).length === 0;
}

/** For the user: why a document of which no record is known to be missing says that it is a part. */
export function silentNote(transforms: readonly Transform[], paths: ReadonlySet<string>): string | undefined {
  const [silent] = silentSteps(transforms, paths);
  if (silent === undefined) return undefined;
  return `The document says that it may be a part, which nothing is pruned by: the step ${silent.name} does not say whether it drops records (mayDrop, tellsDrops)`;
}

/** In a run that prunes, a record that a step drops unsaid would be removed from the target. E_USAGE, before anything is read. */
export function requireTold(transforms: readonly Transform[], paths: ReadonlySet<string>): void {
  const [silent] = silentSteps(transforms, paths);
  if (silent === undefined) return;
  throw new StorageError(
    "E_USAGE",
    `the step ${silent.name} does not say whether it drops records, which --prune needs to know`,
    {
      hint: "A Transform says that it drops none (mayDrop: () => false), or that it tells each one to context.dropped (tellsDrops: true).",
    },
  );
}

/** Why the run's records are not all that there are. */
export function partialBecause(
  { source, selection, limit }: { readonly source: Source; readonly selection: Selection; readonly limit?: number },
  catalog: Catalog,
  { dropped, rejected }: { readonly dropped: boolean; readonly rejected: boolean },
): string[] {
  const reasons: [word: string, holds: boolean][] = [
    ["source", source.partial?.() !== undefined],
    ["sections", catalog.kinds.some(({ path }) => !selection.paths.has(path))],
    ["tenants", selection.tenants !== undefined],
    ["limit", limit !== undefined],
    ["dropped", dropped],
    ["rejected", rejected],
  ];
  return reasons.flatMap(([word, holds]) => (holds ? [word] : []));
}

/** What the run does not bring may be missing for other reasons than that it is no more. E_USAGE. */
export function requireWhole(source: Source, dropped = 0): void {
  const why = source.partial === undefined ? "the source does not say whether it is whole" : source.partial();
  if (why !== undefined)
    throw new StorageError("E_USAGE", "--prune needs a source that has all records", {
      detail: why,
      hint: "It takes a database, or a document that `llmspell storage export` of version 0.2 or newer wrote without a selection and that nobody changed.",
    });
  if (dropped > 0)
    throw new StorageError(
      "E_USAGE",
      `the steps drop records, ${dropped} or more: with --prune they would be removed from the target`,
      {
        hint: "Go without the step that drops records, or without --prune.",
      },
    );
}
