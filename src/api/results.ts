/** What exports and imports give. */
import type { StoreHeader } from "../sources/source.js";
import type { TransferDigests } from "../verify/digesting-sink.js";

/** What became of one kind's records. */
export interface KindResult {
  readonly path: string;
  /** The statistics line that counts it, e.g. "Vectors". */
  readonly label: string;
  /** Records that reached the sink. */
  readonly read: number;
  readonly inserted: number;
  readonly updated: number;
  /** Of those updated: the target had all of their values already. */
  readonly unchanged: number;
  /** Left as they were in the target. */
  readonly skipped: number;
  /** Orphans left out. */
  readonly dropped: number;
  readonly rejected: number;
  /** Left out because what they belong to, or all that referred to them, was dropped by a transform. */
  readonly cascaded: number;
  /** Bytes of the values of those that reached the sink. */
  readonly valueBytes: number;
}

export type TransferTotals = Omit<KindResult, "path" | "label">;

export interface TransferResult {
  /** Names for messages; never with a password. */
  readonly source: string;
  readonly target: string;
  readonly header: StoreHeader;
  /** In the catalog's order; kinds of which no record came are left out. */
  readonly kinds: readonly KindResult[];
  readonly totals: TransferTotals;
  /** Bytes of the document written, before compression. */
  readonly bytes?: number;
  /** Lines for the user, e.g. how many reference counts were raised. */
  readonly notes: readonly string[];
  /** What the source holds and the run left out without being asked to, a line each. */
  readonly leftOut: readonly string[];
  /** With `digests`. */
  readonly digests?: TransferDigests;
  readonly dryRun: boolean;
  /** UTC, ISO 8601. */
  readonly started: string;
  readonly ended: string;
  readonly seconds: number;
  readonly versions: TransferVersions;
}

/** What took part in the run. */
export interface TransferVersions {
  /** This tool, and the Node.js that runs it. */
  readonly tool: Readonly<Record<string, string>>;
  /** Of databases, e.g. `{ PostgreSQL: "15.4", pgvector: "0.8.0" }`. */
  readonly source?: Readonly<Record<string, string>>;
  readonly target?: Readonly<Record<string, string>>;
  /** The target's schema; the source's is in `header`. */
  readonly targetMigrations?: readonly string[];
}
