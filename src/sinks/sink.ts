import type { Catalog, RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { RunContext } from "../records/run-context.js";
import type { StoreHeader, StoreVersions } from "../sources/source.js";

/** What became of one kind's records. */
export interface SinkCounts {
  readonly inserted: number;
  readonly updated: number;
  /** Left as they were in the target (`--on-conflict skip`). */
  readonly skipped: number;
  /** Orphans left out (`--on-orphan drop`). */
  readonly dropped: number;
  /** Rows of the target that the source does not have any more, removed (`--prune`). */
  readonly pruned?: number;
}

/** What a run left out, for a sink that tells it on: why, a word each ("sections", "tenants", "limit", "dropped", "rejected", "source"). */
export interface RunFacts {
  readonly partial: readonly string[];
  /** Of the source's records, where it says so (Source.order). */
  readonly order?: "table" | undefined;
}

export interface SinkReport {
  /** By path; kinds without records may be missing. */
  readonly counts: ReadonlyMap<string, SinkCounts>;
  /** Of those updated, by path: records whose values the target had already. Undefined where the sink cannot tell. */
  readonly unchanged?: ReadonlyMap<string, number>;
  /** Undefined where the target is no database. */
  readonly target?: StoreVersions;
  /** Bytes written, for a document (before compression). */
  readonly bytes?: number;
  /** Lines for the user, e.g. how many reference counts were raised. */
  readonly notes: readonly string[];
}

/** Records as the document has them, `,\n` between two, in pieces that are cut anywhere. */
export interface RecordText {
  readonly kind: RecordKind;
  /** Valid until `writeText` has resolved. */
  readonly bytes: Buffer;
  /** Records that end in it. */
  readonly records: number;
  /** It goes on where the piece before it ended; else a record begins, and the separator before it is the sink's to write. */
  readonly continues: boolean;
}

/** The kinds that a sink writes: those that it was made for, else those that come. */
export function sinkCatalog(given: Catalog | undefined, { catalog }: StoreHeader): Catalog {
  const found = given ?? catalog;
  if (found !== undefined) return found;
  throw new StorageError("E_USAGE", "neither the source nor the sink names a catalog", {
    hint: "A source's `open` gives it with its header; runPipeline and sinks take it as an option.",
  });
}

/** A store to write to. One use: open, write…, then finish or abort. All or nothing. */
export interface Sink {
  /** For messages; never holds a password. */
  readonly name: string;
  /** Takes kinds in the catalog's order only, each at one go (a document). */
  readonly inCatalogOrder?: boolean;
  /** It finds records whose parents are missing itself; else children of rejected records are rejected before they come. */
  readonly checksReferences?: boolean;
  /** Connects, checks the schema, begins the transaction. The header's catalog says of which kinds records will come. */
  open(header: StoreHeader, context: RunContext): Promise<void>;
  /** Takes one batch; the caller waits (back-pressure). Kinds may come in any order and interleaved, unless the sink is a document. */
  write(batch: RecordBatch): Promise<void>;
  /** A document: takes records that were made its text elsewhere. Not mixed with `write`. */
  writeText?(text: RecordText): Promise<void>;
  /** Checks what needs all records (foreign keys, merges) and commits. After a throw the caller calls abort. */
  finish(run?: RunFacts): Promise<SinkReport>;
  /** Undoes everything and releases all; idempotent; never throws. Also called after finish (then only releases). */
  abort(): Promise<void>;
}
