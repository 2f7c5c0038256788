/** What one run of a pipeline shares with its source, transforms and sink. */
import type { RecordKind } from "../catalog/index.js";
import type { StorageError } from "../errors.js";
import type { RecordBatch } from "./record-batch.js";

/** A record that cannot go on. */
export interface Rejection {
  readonly kind: RecordKind;
  /** With section, key and field in its context. */
  readonly error: StorageError;
  /** The record as JSON text in the document's form, as far as it could be read; chunks, once. */
  readonly record?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface RunContext {
  readonly signal: AbortSignal;
  /**
   * Called for each record that cannot go on. Throws (rejects with) the rejection's error when the run is to stop at the
   * first one (`--on-error stop`, the default); otherwise counts it, writes it to the rejects file, and the caller goes on
   * with the next record.
   */
  reject(rejection: Rejection): Promise<void>;
  /** Whether a record of the kind was rejected in this run, by its key as `describeKey` gives it (kept for parent kinds). */
  isRejected(path: string, key: string): boolean;
  /**
   * A transform calls it for each record that it drops on purpose, as the record came in, before it asks for the next
   * batch. Not for rejected records.
   */
  dropped?(batch: RecordBatch, row: number): void;
  /** One line for the user, on stderr; the same line is shown once. */
  warn(message: string): void;
}

/** Which records a source gives. */
export interface Selection {
  /** Paths of record kinds. */
  readonly paths: ReadonlySet<string>;
  /** Only these tenants' records; undefined = all. */
  readonly tenants?: readonly string[];
}
