/** `llmspell storage plan`, and `--plan` of export, import and migrate: what the run would do. */
import {
  type PlannedSection,
  type PlannedSpace,
  planTransfer,
  type TransferPlan,
} from "../api/planning/plan-transfer.js";
import { formatBytes } from "../byte-size.js";
import type { Config } from "../config/index.js";
import type { TransferCommand } from "../config/transforms.js";
import { EXIT, StorageError } from "../errors.js";
import {
  type AnyLocation,
  chooseStore,
  configuredBecause,
  databaseOf,
  documentLocation,
  parseStore,
} from "../stores/index.js";
import type { StoreLocation } from "../stores/location.js";
import type { ExportFlags } from "./export.js";
import { type LoadFlags, loadOptions } from "./import.js";
import { orderOptions } from "./order-options.js";
import { errorLines, reportError } from "./shown/error-report.js";
import { createProgressDisplay, formatCount } from "./shown/progress.js";
import {
  announcedConfig,
  announceResolved,
  loadTransforms,
  outputFor,
  resolvedStore,
  type StoreFlags,
  selectedOptions,
} from "./transfer.js";

export interface PlanFlags
  extends LoadFlags,
    StoreFlags,
    Partial<Pick<ExportFlags, "output" | "compress" | "force" | "partSize" | "allowEmpty" | "keep" | "vectors">> {
  readonly from?: string;
  readonly to?: string;
  readonly input?: string;
}

/** Gives the exit status: that of the run, as far as it can be told. */
export async function runPlan(flags: PlanFlags, signal: AbortSignal, planned?: TransferCommand): Promise<number> {
  refuse(flags, ["report", "rejects", "dryRun"], "a plan writes nothing, and commits nothing");
  refuse(
    flags,
    ["prune", "requireEmpty", "keep", "digests", "tenantsFrom", "rate", "maxLag"],
    "a plan does not foretell it: --dry-run does",
  );
  refuse(
    flags,
    ["jobs", "verifyParts", "indexJobs", "queue", "workerTimeout"],
    "a plan is one of a single transaction",
  );
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  const from = endOf(flags, config, "source");
  const to = endOf(flags, config, "target");
  if (databaseOf(to.location) === undefined)
    refuse(flags, ["onConflict", "onOrphan", "vectorsAs", "deferIndexes", "translate"], "the target is a document");
  else refuse(flags, ["compress", "force", "partSize", "allowEmpty", "vectors"], "the target is no document");
  const command = planned ?? (databaseOf(to.location) === undefined ? "export" : from.document ? "import" : "migrate");
  const transforms = await loadTransforms({ flags, output, config, command, vectors: config.vectors });
  const resolved = [...resolvedStore(from.location, from.because), ...resolvedStore(to.location, to.because)];
  announceResolved(resolved, { flags, output, config });
  const { compress, force, partSize, allowEmpty, sourceMode, sourceCheck, asOwner, exact, measure } = flags;
  const {
    dryRun: _dryRun,
    prune: _prune,
    requireEmpty: _requireEmpty,
    jobs: _jobs,
    verifyParts: _verifyParts,
    indexJobs: _indexJobs,
    resume: _resume,
    maxLag: _maxLag,
    ...load
  } = loadOptions(flags);
  const { vectors } = config;
  const progress = await createProgressDisplay(output, flags);
  const plan = await planTransfer({
    ...selectedOptions(flags),
    ...load,
    signal,
    transforms,
    config,
    from: from.location,
    to: to.location,
    ...(compress === undefined ? {} : { compress }),
    ...(force === undefined ? {} : { force }),
    ...(partSize === undefined ? {} : { partBytes: partSize }),
    ...(allowEmpty === undefined ? {} : { allowEmpty }),
    ...(vectors === undefined ? {} : { vectors }),
    ...(sourceMode === undefined ? {} : { sourceMode }),
    ...(sourceCheck === undefined ? {} : { sourceCheck }),
    ...(asOwner === undefined ? {} : { asOwner }),
    ...orderOptions(flags),
    ...(exact === undefined ? {} : { exact }),
    ...(measure === undefined ? {} : { measure }),
    ...(flags.onError === "skip" ? { onReject: () => {} } : {}),
    onStart: (_header, estimate) => progress.start(estimate),
    onProgress: (one) => progress.update(one),
    onWarning: (message) => output.warn(message),
  }).finally(() => progress.stop());
  for (const line of planLines(plan)) output.line(line);
  const { refusals, refused, ...rest } = plan;
  output.result({
    ...rest,
    refusals: refusals.map(reportError),
    ...(refused === undefined ? {} : { error: reportError(refused) }),
  });
  if (refused === undefined) return EXIT.done;
  output.error(refused, true);
  return refused.exitStatus;
}

/** E_USAGE for options that would have no effect. */
function refuse(flags: PlanFlags, names: readonly (keyof PlanFlags)[], because: string): void {
  const given = names.filter((name) => flags[name] !== undefined);
  if (given.length === 0) return;
  const options = given.map((name) => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`);
  throw new StorageError("E_USAGE", `${options.join(", ")} would have no effect: ${because}`);
}

interface End {
  readonly location: StoreLocation;
  readonly because: string | undefined;
  readonly document: boolean;
}

/** `--from`, `--input` or, where the other end is a document, the configured store; the target alike. */
function endOf(flags: PlanFlags, config: Config, end: "source" | "target"): End {
  const [store, document] = end === "source" ? [flags.from, flags.input] : [flags.to, flags.output];
  const [storeName, documentName] = end === "source" ? ["--from", "--input"] : ["--to", "--output"];
  if (store !== undefined && document !== undefined)
    throw new StorageError("E_USAGE", `name the ${end} once: ${storeName} or ${documentName}`);
  if (document !== undefined) return { location: documentLocation(document), because: undefined, document: true };
  if (store !== undefined) {
    const location: AnyLocation = parseStore(store, () => config);
    return {
      location: location as StoreLocation,
      because: configuredBecause(store, config),
      document: databaseOf(location) === undefined,
    };
  }
  const other = end === "source" ? (flags.to ?? flags.output) : (flags.from ?? flags.input);
  if (other === undefined)
    throw new StorageError("E_USAGE", "a plan needs two stores", {
      hint: "--from STORE or --input FILE, and --to STORE or --output FILE; one that is left out is --backend's or --database's.",
    });
  return { ...chooseStore(flags, config), document: false };
}

const known = (count: number | undefined, estimated = false): string =>
  count === undefined ? "unknown" : `${estimated ? "about " : ""}${formatCount(count)}`;

function planLines(plan: TransferPlan): string[] {
  const { source, target, exact, reading, sections, seconds, measured } = plan;
  return [
    `From ${source}${reading === undefined ? "" : `, read by ${reading}`}`,
    `To ${target}`,
    exact
      ? "Counted: every record was read."
      : "Estimated: --exact reads every record, and says what would be refused.",
    ...plan.migrations.map((migration) => `Migration to be applied: ${migration}`),
    ...sections.flatMap(sectionLines),
    `Space wanted for the target: ${spaceText(plan.targetSpace)}`,
    `Space wanted for temporary files: ${spaceText(plan.temporarySpace)}`,
    ...(measured === undefined
      ? []
      : [
          `Measured: ${formatCount(measured.records)} records, ${formatBytes(measured.bytes)}, written to ${measured.into} in ${measured.took.toFixed(1)} s, and removed`,
        ]),
    seconds === undefined
      ? "Time: unknown"
      : measured !== undefined
        ? `Time: ${seconds.least.toFixed(1)} to ${seconds.most.toFixed(1)} s, by what was measured, with the indexes`
        : `Time: ${seconds.least.toFixed(1)} to ${seconds.most.toFixed(1)} s, at the rates of docs/performance.md, without indexes that are built at the end`,
    ...plan.grants.map((grant) => `Right that is missing: ${grant};`),
    ...plan.notes.map((note) => `Note: ${note}`),
    ...plan.leftOut.map((line) => `Left out: ${line}`),
    ...plan.obstacles.map(
      ({ code, section, field, firstKey, count }) =>
        `Refused: ${formatCount(count)} in ${section}${field === undefined ? "" : `, field ${field}`} [${code}], first: ${firstKey ?? "no key"}`,
    ),
    ...(plan.refused === undefined
      ? ["It would go."]
      : [
          "It would not go:",
          ...plan.refusals.flatMap((error) => errorLines(reportError(error)).map((line) => `  ${line}`)),
        ]),
  ];
}

function sectionLines(section: PlannedSection): string[] {
  const { path, records, bytes, estimated, into, rebuilds, silences, locks } = section;
  const size = bytes === undefined ? "" : `, ${estimated ? "about " : ""}${formatBytes(bytes)}`;
  const lines = [`  ${path}: ${known(records, estimated)} records${size}`];
  if (into === undefined && section.there === undefined) return lines;
  const there = [
    `there ${known(section.there, section.thereEstimated)}`,
    `new ${known(section.new)}`,
    `same ${known(section.same)}`,
    `changed ${known(section.changed)}`,
    `only there ${known(section.onlyThere)}`,
    ...(section.refused ? [`refused ${known(section.refused)}`] : []),
    ...(section.dropped ? [`left out as orphans ${known(section.dropped)}`] : []),
  ];
  lines.push(`    ${there.join(", ")}`);
  if (into !== undefined) lines.push(`    ${WAYS[into]}`);
  if (rebuilds.length > 0) lines.push(`    indexes dropped, and built at the end: ${rebuilds.join(", ")}`);
  if (silences.length > 0) lines.push(`    triggers that do not fire: ${silences.join(", ")}`);
  for (const lock of locks) lines.push(`    lock: ${lock}`);
  return lines;
}

const WAYS = {
  direct: "straight into the empty table",
  merge: "merged with what is there",
  unknown: "straight into the table or merged: it cannot be seen whether it is empty",
} as const;

function spaceText({ wanted, estimated, free }: PlannedSpace): string {
  const size = wanted === undefined ? "unknown" : `${estimated ? "about " : ""}${formatBytes(wanted)}`;
  return `${size}, free: ${free === undefined ? "unknown" : formatBytes(free)}`;
}
