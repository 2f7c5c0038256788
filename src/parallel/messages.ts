/** What the coordinator and its threads say to each other: plain data. What the threads print is in memory that both see. */
import type { Part, PartTally } from "../records/parts.js";
import type { StepEffect } from "../records/run-context.js";
import type { PartFacts } from "../sources/source.js";
import type { AnyLocation, SourceOptions } from "../stores/index.js";
import type { TransformRecipe } from "../transforms/spec.js";
import type { SentError } from "./sent-error.js";

/** What a thread reads; known before anything is open. */
export interface ThreadOrigin {
  readonly location: AnyLocation;
  /** With the configuration in it; without what no other thread can have. */
  readonly source: Omit<SourceOptions, "catalog" | "signal">;
}

/** Of a thread, as long as it lives. */
export interface ThreadTask extends ThreadOrigin {
  readonly recipes: readonly TransformRecipe[];
  readonly paths: readonly string[];
  readonly tenants: readonly string[] | undefined;
  /** What comes of the records: the document's text, with embeddings in that form, or batches. */
  readonly form: "base64" | "json" | "batches";
  /** Rejected records are left out, else the first one ends the run. */
  readonly skips: boolean;
  /** Children of rejected records are rejected. */
  readonly leavesOrphans: boolean;
  /** The memory of its slots, one behind the other: a slot belongs to the thread until it says what is in it, and again when it is given back. */
  readonly memory: SharedArrayBuffer;
}

/** Before and behind all others. */
export type Frame = { readonly type: "begin"; readonly task: ThreadTask } | { readonly type: "close" };

export type ToThread =
  /** Close the source that is open, if there is one, and open another, of this snapshot. */
  | { readonly type: "open"; readonly snapshot: object }
  | { readonly type: "part"; readonly part: Part }
  | { readonly type: "slot"; readonly slot: number }
  /** Keys of parents that were rejected: of all of them before the first part of their children. */
  | { readonly type: "rejected"; readonly path: string; readonly keys: readonly string[] }
  /** No more parts will come. */
  | { readonly type: "end" }
  | { readonly type: "abort" };

/** In the order of the records, but `opened`, `warn`, `note` and `brokeDown`. */
export type FromThread =
  | { readonly type: "opened" }
  | {
      readonly type: "text";
      readonly slot: number;
      readonly bytes: number;
      readonly records: number;
      readonly valueBytes: number;
    }
  /** Starts, lengths and bytes of a batch, one behind the other, in a slot or in memory of their own. */
  | {
      readonly type: "batch";
      /** Of its kind. */
      readonly path: string;
      readonly slot: number | undefined;
      readonly own: ArrayBuffer | undefined;
      readonly rows: number;
      readonly bytes: number;
      /** The field whose content follows, in `content` messages up to `contentEnd`. */
      readonly content: number | undefined;
      readonly assumed: Uint8Array | undefined;
    }
  | { readonly type: "content"; readonly slot: number; readonly bytes: number }
  | { readonly type: "contentEnd" }
  /** A record that cannot go on; its text, where there is one, follows in `record` messages up to `recordEnd`. */
  | { readonly type: "reject"; readonly path: string; readonly error: SentError; readonly hasRecord: boolean }
  | { readonly type: "record"; readonly slot: number; readonly bytes: number }
  | { readonly type: "recordEnd" }
  | {
      readonly type: "partEnd";
      /** Records that came of the source, by path. */
      readonly met: ReadonlyMap<string, number>;
      readonly tally: PartTally | undefined;
      readonly facts: PartFacts;
    }
  /** All parts are done, and the steps have ended. */
  | {
      readonly type: "ended";
      readonly effects: readonly StepEffect[];
      /** Records that the steps dropped. */
      readonly dropped: number;
      readonly unmet: readonly string[];
    }
  | { readonly type: "warn"; readonly message: string }
  | { readonly type: "note"; readonly message: string }
  /** What its work ended with. */
  | { readonly type: "failure"; readonly error: SentError }
  /** What nobody handled: at any time. */
  | { readonly type: "brokeDown"; readonly error: SentError };
