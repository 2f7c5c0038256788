import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";

/** A stage between source and sink. Batches in, batches out; it may drop, change or add records. */
export interface Transform {
  /** For messages. */
  readonly name: string;
  /**
   * Whether it may drop records of the kind at `path`; absent = it may. Cascading makes a first pass over sessions and
   * artifacts only when some of them can be dropped.
   */
  readonly mayDrop?: (path: string) => boolean;
  /**
   * It tells `context.dropped` of each record that it drops; absent = perhaps not of all. A run that prunes takes only steps
   * that say so, or that say with `mayDrop` that they drop none.
   */
  readonly tellsDrops?: boolean;
  /** Whether it may change the field (or, undefined, any) of records of the kind at `path`, for messages; absent = it may. */
  readonly mayChange?: (path: string, field: string | undefined) => boolean;
  /** Why all records must come through one call of `apply`; absent: parts of them may go through calls of several threads. */
  readonly inOrder?: string;
  /** The tenant that a tenant's records belong to behind this stage, where that can be told beforehand. */
  readonly tenantAfter?: (tenant: string) => string;
  /** The sections of records that it gives for those of other sections (`from`), or (`atEnd`) after all of them. */
  readonly emits?: {
    readonly from: ReadonlySet<string>;
    readonly to: ReadonlySet<string>;
    readonly atEnd: boolean;
  };
  /**
   * Called once per pass (cascading may make one before the real one): all state belongs to the call. A record that it
   * drops on purpose is told to `context.dropped`, one that cannot go on to `context.reject`.
   */
  apply(batches: AsyncIterable<RecordBatch>, context: RunContext): AsyncIterable<RecordBatch>;
}
