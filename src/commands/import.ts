/** `llmspell storage import` */
import { importStore } from "../api/transfer.js";
import { jobsOf } from "../parallel/jobs.js";
import type { LagBound } from "../records/loads/lag-bound.js";
import { redactUnknown } from "../redaction.js";
import {
  type AnyLocation,
  backendOf,
  chooseStore,
  databaseOf,
  documentLocation,
  filesOf,
  storeName,
} from "../stores/index.js";
import type { Output } from "./shown/output.js";
import {
  announcedConfig,
  outputFor,
  resolvedStore,
  runTransfer,
  type StoreFlags,
  type TransferFlags,
} from "./transfer.js";

export interface LoadFlags extends TransferFlags {
  readonly onConflict?: "update" | "skip" | "error";
  readonly onOrphan?: "error" | "drop";
  readonly vectorsAs?: "blob" | "vec0";
  readonly deferIndexes?: "auto" | "always" | "never";
  readonly translate?: string;
  readonly jobs?: number | "auto";
  readonly verifyParts?: boolean;
  readonly indexJobs?: number;
  readonly maxLag?: LagBound;
  /** Of `storage migrate` and `resume`. */
  readonly queue?: string;
  readonly workerTimeout?: number;
  /** Of `storage resume`. */
  readonly resume?: boolean;
  readonly dryRun?: boolean;
  readonly prune?: boolean;
  readonly allowEmpty?: boolean;
  readonly requireEmpty?: boolean;
  readonly verifyManifest?: boolean;
  readonly times?: "us" | "s";
}

export interface ImportFlags extends LoadFlags, StoreFlags {
  readonly input: string;
}

/** The load options that were given; `vectorsAs` is in the configuration. */
export function loadOptions(
  flags: LoadFlags,
): Omit<LoadFlags, keyof TransferFlags | "vectorsAs" | "queue" | "workerTimeout"> {
  const { onConflict, onOrphan, deferIndexes, translate, dryRun, verifyManifest, times } = flags;
  const { prune, allowEmpty, requireEmpty, jobs, verifyParts, indexJobs, resume, maxLag } = flags;
  return {
    ...(onConflict === undefined ? {} : { onConflict }),
    ...(onOrphan === undefined ? {} : { onOrphan }),
    ...(deferIndexes === undefined ? {} : { deferIndexes }),
    ...(translate === undefined ? {} : { translate }),
    ...(jobs === undefined ? {} : { jobs }),
    ...(verifyParts === undefined ? {} : { verifyParts }),
    ...(indexJobs === undefined ? {} : { indexJobs }),
    ...(resume === undefined ? {} : { resume }),
    ...(maxLag === undefined ? {} : { maxLag }),
    ...(dryRun === undefined ? {} : { dryRun }),
    ...(prune === undefined ? {} : { prune }),
    ...(allowEmpty === undefined ? {} : { allowEmpty }),
    ...(requireEmpty === undefined ? {} : { requireEmpty }),
    ...(verifyManifest === undefined ? {} : { verifyManifest }),
    ...(times === undefined ? {} : { times }),
  };
}

/** What a report says of a load. */
export function loadSettings(flags: LoadFlags): Readonly<Record<string, string | undefined>> {
  const { onConflict, onOrphan, translate, jobs, queue, prune, allowEmpty, deferIndexes, verifyManifest } = flags;
  return {
    "Records that are there": onConflict,
    Orphans: onOrphan,
    Translate: translate,
    "Indexes are built at the end": deferIndexes,
    "What the source does not have": prune ? `removed${allowEmpty ? ", of empty sections, too" : ""}` : undefined,
    "The document's manifest": verifyManifest === false ? "not looked at" : undefined,
    Jobs: jobs === undefined ? undefined : `${jobsOf(jobs)}`,
    Workers: queue === undefined ? undefined : "load the parts",
  };
}

/** What --verbose shows. */
export function infoOptions(flags: LoadFlags, output: Output): { onInfo?: (message: string) => void } {
  return flags.verbose ? { onInfo: (message: string) => output.info(message) } : {};
}

/** Said first of a load that is no single transaction. */
export function runAnnouncement({ jobs, resume, queue }: LoadFlags, to: AnyLocation): string[] {
  const count = jobsOf(jobs);
  const isRun = queue !== undefined || (count > 1 && databaseOf(to)?.runs !== undefined);
  if (resume !== true && !isRun) return [];
  const begun = queue === undefined ? `A run with ${count} jobs` : "A run whose parts workers load";
  const what = resume === true ? "Resuming the unfinished run" : `${begun}, not one transaction`;
  return [
    `${what}: others see its records as they come; if it ends early, \`llmspell storage resume\` goes on with it and \`llmspell storage undo\` takes it back`,
  ];
}

/** Gives the exit status. */
export async function runImport(flags: ImportFlags, signal: AbortSignal): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  const { location: to, because } = chooseStore(flags, config);
  const from = documentLocation(flags.input);
  const fromStdin = flags.input === "-";
  const lines = [
    ...runAnnouncement(flags, to),
    `Importing data into ${backendOf(to).word} backend from ${fromStdin ? "standard input" : redactUnknown(flags.input)}...`,
    fromStdin ? "Reading JSON from standard input..." : "Reading JSON file...",
  ];
  const files = filesOf([from, to]);
  const resolved = resolvedStore(to, because);
  const named = { from: fromStdin ? "standard input" : storeName(from), to: storeName(to) };
  return runTransfer(
    {
      flags,
      output,
      signal,
      config,
      resolved,
      command: "import",
      files,
      lines,
      settings: loadSettings(flags),
      ...named,
    },
    (options) => importStore({ ...options, ...loadOptions(flags), ...infoOptions(flags, output), config, from, to }),
  );
}
