/** What the two sides of a source in a thread of its own say to each other (source-thread.ts, source-worker.ts). */
import { type ErrorCode, type ErrorContext, StorageError } from "../../errors.js";
import type { RingMemory } from "../../records/batch-ring.js";
import type { Activity, Selection } from "../../records/run-context.js";
import type { StoreHeader } from "../../sources/source.js";
import type { AnyLocation, SourceOptions } from "../../stores/index.js";

/** What the thread is made with. */
export interface SourceOrder {
  readonly location: AnyLocation;
  readonly options: Omit<SourceOptions, "catalog" | "signal">;
  readonly memory: RingMemory;
  /** One int32, of ABORTED and LEFT: what is read is wanted no more. Seen where no message would be. */
  readonly stop: SharedArrayBuffer;
}

export const LEFT = 1;
export const ABORTED = 2;

/** What a slot of the ring holds. */
export const BATCH = 0;
/** A chunk of the LargeValue of the batch before, and that it has ended. */
export const CHUNK = 1;
export const CHUNKS_END = 2;
/** Of a batch that is larger than a slot: its numbers as JSON, and then its bytes, piece by piece. */
export const LONG_BATCH = 3;
export const PIECE = 4;

/** The numbers of a batch that is larger than a slot. `bytes` of the values, and of all that follows. */
export interface LongBatch {
  readonly rows: number;
  readonly bytes: number;
  readonly largeField: number | undefined;
  readonly hasAssumed: boolean;
  readonly kind: number;
}

export type Question = { readonly id: number } & (
  | { readonly type: "open"; readonly selection: Selection | undefined }
  | { readonly type: "estimate" | "countInvalidUuids" | "read"; readonly selection: Selection }
  | { readonly type: "close" }
);

/** From whoever reads. */
export type Order =
  | Question
  | { readonly type: "abort"; readonly reason: ToldError }
  | { readonly type: "rejected"; readonly rejection: number; readonly error?: ToldError };

/** What came of a question. */
export interface Reply {
  readonly type: "reply";
  readonly id: number;
  readonly value?: unknown;
  readonly error?: ToldError;
  readonly method?: string | undefined;
  readonly partial?: string | undefined;
}

/** What the source is, before anything is asked of it. */
export interface Described {
  readonly type: "described";
  readonly name: string;
  readonly rereadable: boolean | undefined;
  readonly tellsPartial: boolean;
  readonly countsInvalidUuids: boolean;
}

export type Told =
  | Described
  | { readonly type: "refused"; readonly error: ToldError }
  | Reply
  | { readonly type: "activity"; readonly activity: Activity }
  | { readonly type: "warn" | "note" | "leftOut"; readonly message: string }
  | { readonly type: "reject"; readonly rejection: number; readonly path: string; readonly error: ToldError };

export type OpenedHeader = Omit<StoreHeader, "catalog">;

/** A StorageError's class does not cross, nor do the properties of what is behind it. */
export interface ToldError {
  readonly code: ErrorCode | undefined;
  readonly message: string;
  readonly context: ErrorContext;
  readonly stack: string | undefined;
  readonly cause: { readonly name: string; readonly message: string; readonly stack: string | undefined } | undefined;
}

export function toldError(error: unknown): ToldError {
  const { code, context } = error instanceof StorageError ? error : { code: undefined, context: {} };
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error));
  return {
    code,
    message,
    context: { ...context },
    stack,
    cause: cause instanceof Error ? { name: cause.name, message: cause.message, stack: cause.stack } : undefined,
  };
}

export function heardError({ code, message, context, stack, cause }: ToldError): Error {
  const behind = cause === undefined ? undefined : Object.assign(new Error(cause.message), cause);
  const error =
    code === undefined
      ? new Error(message, behind === undefined ? undefined : { cause: behind })
      : new StorageError(code, message, context, behind);
  if (stack !== undefined) error.stack = stack;
  return error;
}
