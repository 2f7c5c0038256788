/** What a load is held back for, and how far a target's standbys may be behind it. */
import { formatBytes } from "../../byte-size.js";
import { StorageError } from "../../errors.js";

/** How long ago a standby had all that the target has, or what of the target's log it has not replayed. */
export type LagBound = { readonly seconds: number } | { readonly bytes: number };

/** `10 s`, `64.0 MB`. */
export function describeLagBound(bound: LagBound): string {
  return "seconds" in bound ? `${bound.seconds} s` : formatBytes(bound.bytes);
}

/** E_USAGE for what is no bound. */
export function requireLagBound(bound: LagBound): void {
  const value = "seconds" in bound ? bound.seconds : bound.bytes;
  if (!(Number.isFinite(value) && value > 0))
    throw new StorageError("E_USAGE", "the most lag is a positive number of seconds or bytes");
}

/** What a load is held back for. */
export interface HoldReasons {
  /** Before anything is written; throws where it cannot be told. Gives a line for the user. */
  open(): Promise<string | undefined>;
  /** Why the load has to pause now; undefined: it may go on. */
  reason(): Promise<string | undefined>;
  /** What harms others and no pause would help: a line, once. */
  warning(): Promise<string | undefined>;
  /** After an error of those: begins anew. */
  reopen(): Promise<void>;
  close(): Promise<void>;
}
