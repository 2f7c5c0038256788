/** How a stage says that a record cannot go on. */
import { recordChunks } from "../document/writing/record-writer.js";
import type { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";

/**
 * Rejects a row as it came in; `error` has section, key and the stage's name. Throws it when the run stops at the first bad
 * record; otherwise the caller goes on without the row (and discards its LargeValue, which may have been read or not).
 */
export function rejectRow(context: RunContext, batch: RecordBatch, row: number, error: StorageError): Promise<void> {
  return context.reject({ kind: batch.kind, error, record: recordChunks(batch, row) });
}
