import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";

/** A stage between source and sink. Batches in, batches out; it may drop, change or add records. */
export interface Transform {
  /** For messages. */
  readonly name: string;
  apply(batches: AsyncIterable<RecordBatch>, context: RunContext): AsyncIterable<RecordBatch>;
}
