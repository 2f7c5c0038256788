/** What a plan takes and gives. */
import type { StorageError } from "../../errors.js";
import type { LoadWay } from "../../records/loads/load-plan.js";
import type { ExportOptions, ImportOptions } from "../options.js";
import type { Obstacle } from "../store-info.js";

/** Options of runs that a plan does not foretell. */
type Unplanned =
  | "dryRun"
  | "prune"
  | "requireEmpty"
  | "keep"
  | "digests"
  | "jobs"
  | "verifyParts"
  | "indexJobs"
  | "resume"
  | "queue"
  | "maxLag"
  | "bytesPerSecond";

export interface PlanOptions
  extends Omit<ImportOptions, "to" | "from" | Unplanned>,
    Omit<ExportOptions, "to" | "from" | Unplanned> {
  /** A STORE (docs/command-line.md), or its location. */
  readonly from: ExportOptions["from"] | ImportOptions["from"];
  /** A database, which an import or a migration would fill, or a document. No sink of your own. */
  readonly to: ExportOptions["to"] | ImportOptions["to"];
  /** A full pass of the source, whose records are held against the target's. Default false: estimates. */
  readonly exact?: boolean;
  /**
   * Times are of this machine: some of the records are written to temporary tables, or to a temporary file beside the target, which
   * go away again. The one thing that a plan writes. For databases; of a document with `exact` only. Default false.
   */
  readonly measure?: boolean;
}

/** What was measured. */
export interface MeasuredRates {
  /** That the run would take, indexes included. */
  readonly seconds: number;
  /** Of the sample, and what it was written to. */
  readonly records: number;
  readonly bytes: number;
  readonly into: string;
  /** Seconds that the measuring took. */
  readonly took: number;
}

/** What would become of one kind's records; undefined: unknown, or not without `exact`. */
export interface PlannedSection extends Omit<LoadWay, "into" | "refusal"> {
  readonly path: string;
  /** The statistics line that counts it, e.g. "Vectors". */
  readonly label: string;
  /** Records that would come to the target. */
  readonly records: number | undefined;
  /** Bytes of their values. */
  readonly bytes: number | undefined;
  /** `records` and `bytes` are. */
  readonly estimated: boolean;
  /** Records of the target before the run. */
  readonly there: number | undefined;
  readonly thereEstimated: boolean;
  readonly new: number | undefined;
  /** The target has all of their values. */
  readonly same: number | undefined;
  readonly changed: number | undefined;
  /** Records of the target that no record of the run meets. */
  readonly onlyThere: number | undefined;
  readonly refused: number | undefined;
  /** Orphans that would be left out. */
  readonly dropped: number | undefined;
  /** Undefined: the target is a document. */
  readonly into: LoadWay["into"] | undefined;
}

/** Room on a file system. Bytes; undefined: unknown. */
export interface PlannedSpace {
  readonly wanted: number | undefined;
  readonly estimated: boolean;
  readonly free: number | undefined;
}

export interface TransferPlan {
  /** Names for messages; never with a password. */
  readonly source: string;
  readonly target: string;
  readonly exact: boolean;
  /** How the source is read, e.g. "COPY"; undefined where there is one way only. */
  readonly reading: string | undefined;
  /** In the catalog's order, those that have records here or there, or of which that is unknown. */
  readonly sections: readonly PlannedSection[];
  /** Records that the source could not give or the target would refuse, with `exact`. */
  readonly obstacles: readonly Obstacle[];
  /** Why the run would not begin or not end, what it meets first at the head. */
  readonly refusals: readonly StorageError[];
  /** What the run would end with; undefined: it would go. */
  readonly refused: StorageError | undefined;
  /** Statements, each a right that the target's role lacks. */
  readonly grants: readonly string[];
  readonly migrations: readonly string[];
  readonly notes: readonly string[];
  /** What the source holds and the run would leave out, a line each (`exact`). */
  readonly leftOut: readonly string[];
  readonly targetSpace: PlannedSpace;
  readonly temporarySpace: PlannedSpace;
  /** From the shipped rates (bench/RESULTS.md), which are of one machine; undefined where the size is unknown. */
  readonly seconds: { readonly least: number; readonly most: number } | undefined;
  /** With `measure`, where it could be done (`notes` say why not): `seconds` are by it. */
  readonly measured: MeasuredRates | undefined;
}
