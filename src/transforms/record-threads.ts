/** The contract of runs that read, change and print their records in several threads (src/parallel). */
import type { Catalog } from "../catalog/index.js";
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
  /** Rejected records are left out, and children of theirs with them; else the first one ends the run. */
  readonly skips: boolean;
  readonly met: Map<string, number>;
  readonly drops: Drops;
  readonly valueBytes: ValueBytes;
  /** What of the run needs all records in one thread; undefined: nothing that the run itself knows of. */
  readonly inOrder: string | undefined;
}

export interface RecordThreads {
  /** The records as the document's text, in its order; undefined: they must come from one thread, which was said. */
  start(run: ThreadedRun): Promise<AsyncIterable<RecordText & { readonly valueBytes: number }> | undefined>;
  /** Ends all threads; to be called before the source is closed. Idempotent; never throws. */
  close(): Promise<void>;
}
