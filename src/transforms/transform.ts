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
   * Called once per pass (cascading may make one before the real one): all state belongs to the call. A record that it
   * drops on purpose is told to `context.dropped`, one that cannot go on to `context.reject`.
   */
  apply(batches: AsyncIterable<RecordBatch>, context: RunContext): AsyncIterable<RecordBatch>;
}
