/** Whether a run brings all the records that its source's store has: what prunes, and a document that others prune by, must know. */
import type { Catalog } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext, Selection } from "../records/run-context.js";
import type { Source } from "../sources/source.js";

/** Records. */
export interface DropCounts {
  readonly taken: number;
  readonly given: number;
  readonly rejected: number;
  readonly told: number;
}

/** Whether the steps give fewer records than they get, rejected ones aside. */
export class Drops {
  private taken = 0;
  private given = 0;
  private rejected = 0;
  private told = 0;
  private tookAll = false;

  /** What the steps of another thread took and gave: in a run of several. */
  addAll({ taken, given, rejected, told }: DropCounts): void {
    this.taken += taken;
    this.given += given;
    this.rejected += rejected;
    this.told += told;
    this.tookAll = true;
  }

  /** So far. */
  get counts(): DropCounts {
    return { taken: this.taken, given: this.given, rejected: this.rejected, told: this.told };
  }

  get count(): number {
    return Math.max(this.told, this.taken - this.given - this.rejected, this.tookAll ? 0 : 1);
  }

  /** The steps' context. */
  counting(context: RunContext): RunContext {
    return {
      ...context,
      dropped: () => void this.told++,
      reject: (rejection) => {
        this.rejected++;
        return context.reject(rejection);
      },
    };
  }

  async *before(batches: AsyncIterable<RecordBatch>): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      this.taken += batch.rows;
      yield batch;
    }
    this.tookAll = true;
  }

  async *behind(batches: AsyncIterable<RecordBatch>): AsyncGenerator<RecordBatch> {
    for await (const batch of batches) {
      this.given += batch.rows;
      yield batch;
    }
  }
}

/** Why the run's records are not all that there are. */
export function partialBecause(
  { source, selection, limit }: { readonly source: Source; readonly selection: Selection; readonly limit?: number },
  catalog: Catalog,
  dropped: number,
  rejectedKinds: number,
): string[] {
  const reasons: [word: string, holds: boolean][] = [
    ["source", source.partial?.() !== undefined],
    ["sections", catalog.kinds.some(({ path }) => !selection.paths.has(path))],
    ["tenants", selection.tenants !== undefined],
    ["limit", limit !== undefined],
    ["dropped", dropped > 0],
    ["rejected", rejectedKinds > 0],
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
