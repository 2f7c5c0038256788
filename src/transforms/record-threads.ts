/** The contract of runs that read, change and print their records in several threads (src/parallel). */
import type { Catalog } from "../catalog/index.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext, Selection } from "../records/run-context.js";
import type { ValueBytes } from "../records/value-bytes.js";
import type { RecordText } from "../sinks/sink.js";
import type { Source } from "../sources/source.js";
import type { Transform } from "./transform.js";
import type { Drops } from "./wholeness.js";

/** What a run hands over. What comes of its records is counted where the run counts itself. */
export interface ThreadedRun {
  /** Open. */
  readonly source: Source;
  readonly selection: Selection;
  readonly catalog: Catalog;
  readonly transforms: readonly Transform[];
  readonly context: RunContext;
  /** Rejected records are left out; else the first one ends the run. */
  readonly skips: boolean;
  /** Children of rejected records are rejected, too: the sink does not find them. */
  readonly leavesOrphans: boolean;
  /** The sink takes the document's text. */
  readonly takesText: boolean;
  readonly met: Map<string, number>;
  readonly drops: Drops;
  readonly valueBytes: ValueBytes;
  /** What of the run needs all records in one thread; undefined: nothing that the run itself knows of. */
  readonly whole: string | undefined;
  /** Why one thread puts all of them through the steps; undefined: nothing that the run itself knows of. */
  readonly inOrder: string | undefined;
}

/** The records in the order of one thread, behind the steps: as text where the sink takes it, else in batches. Or before them. */
export interface ThreadedRecords {
  readonly read?: AsyncIterable<RecordBatch>;
  readonly texts?: AsyncIterable<RecordText & { readonly valueBytes: number }>;
  readonly batches?: AsyncIterable<RecordBatch>;
}

export interface RecordThreads {
  /** Starts them, so that they load while the store is opened. `takesText`: as of the run to come. */
  prepare(takesText: boolean): void;
  /** Undefined: the records must come from one thread, which was said. */
  start(run: ThreadedRun): Promise<ThreadedRecords | undefined>;
  /** Ends all threads; to be called before the source is closed. Idempotent; never throws. */
  close(): Promise<void>;
}
