/**
 * What export, import and migrate share: options, progress, rejects, the exit status.
 * Over 300 lines: flags, and what every command that moves records does around its run.
 */
import type { TransferOptions } from "../api/options.js";
import type { TransferResult } from "../api/results.js";
import { selectPaths } from "../api/run.js";
import { formatBytes } from "../byte-size.js";
import { type Config, type ConfigFlags, loadConfig } from "../config/index.js";
import type { TransferCommand } from "../config/transforms.js";
import { EXIT, StorageError } from "../errors.js";
import { expandPath } from "../folders.js";
import { catalog } from "../llmspell/catalog/index.js";
import type { Rejection } from "../records/run-context.js";
import { type StoreLocation, storeName } from "../stores/index.js";
import { createTransforms, describeStep, type TransformSpec } from "../transforms/spec.js";
import type { Transform } from "../transforms/transform.js";
import { reportError } from "./shown/error-report.js";
import { createOutput, type Output } from "./shown/output.js";
import { createProgressDisplay, formatCount } from "./shown/progress.js";
import { resultObject, statisticsLines } from "./shown/statistics.js";

/** Flags of every command. */
export interface CommonFlags {
  readonly config?: string;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly json?: boolean;
  readonly logFormat?: "text" | "json";
  readonly progress?: boolean;
}

/** Flags that choose the store of a command. */
export interface StoreFlags {
  readonly backend?: string;
  readonly database?: string;
}

/** Flags of every command that moves records. */
export interface TransferFlags extends CommonFlags {
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly tenant?: readonly string[];
  readonly tenantsFrom?: string;
  readonly limit?: number;
  readonly cascade?: boolean;
  readonly onError?: "stop" | "skip";
  readonly rejects?: string;
  readonly report?: string;
  readonly plan?: boolean;
  readonly exact?: boolean;
  readonly measure?: boolean;
  readonly invalidUuid?: "keep" | "error" | "derive";
  readonly idMap?: string;
  readonly digests?: boolean;
  readonly strict?: boolean;
  readonly sourceMode?: "auto" | "copy" | "cursor";
  readonly sourceCheck?: "count" | "none";
  readonly asOwner?: boolean;
  readonly order?: "key" | "table";
  readonly orderBy?: "auto" | "index" | "sort";
  /** Each of these holds all steps of the command line, in its order. */
  readonly mapTenant?: readonly TransformSpec[];
  readonly jq?: readonly TransformSpec[];
  readonly mask?: readonly TransformSpec[];
  readonly maskOptional?: readonly TransformSpec[];
  readonly plugin?: readonly TransformSpec[];
  readonly pluginTimeout?: number;
  readonly jqTimeout?: number;
  readonly lockTimeout?: number;
  /** Bytes per second. */
  readonly rate?: number;
}

/** A store that the configuration resolved. */
export interface ResolvedStore {
  /** Without a password. */
  readonly name: string;
  readonly because: string;
}

/** Says which stores the configuration resolved, and what of it was not understood. */
export function announceResolved(
  stores: readonly ResolvedStore[],
  { flags, output, config }: { readonly flags: CommonFlags; readonly output: Output; readonly config: Config },
): void {
  if (stores.length > 0) for (const warning of config.warnings) output.warn(warning);
  if (flags.json) return;
  for (const { name, because } of stores) output.info(`Store: ${name} (${because})`);
}

/** None where the command line names the store itself. */
export function resolvedStore(location: StoreLocation, because: string | undefined): ResolvedStore[] {
  return because === undefined ? [] : [{ name: storeName(location), because }];
}

export interface TransferRun {
  readonly flags: TransferFlags;
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly config: Config;
  readonly command: TransferCommand;
  /** The stores that the configuration resolved, and what says where they are. */
  readonly resolved: readonly ResolvedStore[];
  /** The form of embeddings in the output. */
  readonly vectors?: "base64" | "json" | undefined;
  /** Nothing but the document goes to standard output. */
  readonly documentOnStdout?: boolean;
  /** Files and folders that the rejects must not overwrite. */
  readonly files: readonly string[];
  /** What a report says of the run besides what every run has. */
  readonly settings?: Readonly<Record<string, string | undefined>>;
  /** What the command says first. */
  readonly lines: readonly string[];
  /** Names of the stores, for a report. */
  readonly from: string;
  readonly to: string;
}

const DONE = { export: "Exported", import: "Imported", migrate: "Migrated", rewrite: "Rewritten" } as const;

/** The steps of the command line, in its order: whichever of their options is there holds all of them. */
export function givenSteps(flags: TransferFlags): readonly TransformSpec[] {
  return flags.mapTenant ?? flags.jq ?? flags.mask ?? flags.maskOptional ?? flags.plugin ?? [];
}

/** The stages of config.toml that are for the command, and then those of the command line. */
export async function loadTransforms({
  flags,
  output,
  config,
  command,
  vectors,
}: Pick<TransferRun, "flags" | "output" | "config" | "command" | "vectors">): Promise<Transform[]> {
  const configured = config.transforms;
  const fromFile = configured?.on.includes(command) ? configured.steps : [];
  if (fromFile.length > 0 && !config.announcements.some((line) => line.includes(configured?.file ?? "")))
    output.info(`Transforms from ${configured?.file}: ${fromFile.map(describeStep).join("; ")}`);
  return createTransforms([...fromFile, ...givenSteps(flags)], {
    catalog,
    vectors,
    pluginTimeoutSeconds: config.pluginTimeoutSeconds,
    jqTimeoutSeconds: config.jqTimeoutSeconds,
    onInfo: flags.verbose ? (message) => output.info(message) : undefined,
  });
}

/** Of a command that moves nothing: what runs by itself where records are moved does not run here, and nobody is to think so. */
export function announceUnapplied({ output, config }: Pick<TransferRun, "output" | "config">): void {
  const { transforms } = config;
  if (transforms === undefined || transforms.steps.length === 0) return;
  output.info(
    `Not applied: the transforms of ${transforms.file}, which are for ${transforms.on.join(", ")}: ${transforms.steps.map(describeStep).join("; ")}`,
  );
}

/** The options of every run and plan that were given. */
export function selectedOptions(flags: TransferFlags): TransferOptions {
  return {
    ...(flags.include === undefined ? {} : { include: flags.include }),
    ...(flags.exclude === undefined ? {} : { exclude: flags.exclude }),
    ...(flags.tenant === undefined ? {} : { tenants: flags.tenant }),
    ...(flags.limit === undefined ? {} : { limit: flags.limit }),
    ...(flags.cascade === undefined ? {} : { cascade: flags.cascade }),
    ...(flags.invalidUuid === undefined ? {} : { invalidUuid: flags.invalidUuid }),
    ...(flags.strict === undefined ? {} : { strict: flags.strict }),
    ...(flags.idMap === undefined ? {} : { idMap: flags.idMap }),
    ...(flags.lockTimeout === undefined ? {} : { lockTimeoutSeconds: flags.lockTimeout }),
  };
}

/** Runs a transfer with progress and rejects, and says what came of it. Gives the exit status. */
export async function runTransfer(
  run: TransferRun,
  transfer: (options: TransferOptions) => Promise<TransferResult>,
): Promise<number> {
  const { flags, output, signal, files } = run;
  const { onError = "stop", rejects: rejectsPath } = flags;
  if (rejectsPath !== undefined && onError !== "skip") {
    throw new StorageError("E_USAGE", "--rejects needs --on-error skip");
  }
  const idMap = flags.idMap === undefined ? [] : [expandPath(flags.idMap)];
  if (files.some((file) => idMap.includes(file)))
    throw new StorageError("E_USAGE", "--id-map names a file that the run reads or writes besides");
  const tenants = await selectedTenants(flags);
  // What is wrong with them is told before the rejects file is emptied.
  selectPaths(catalog, flags.include, flags.exclude);
  const transforms = await loadTransforms(run);
  const warnings: string[] = [...run.config.announcements];
  const rejectsFile = rejectsPath === undefined || rejectsPath === "-" ? [] : [expandPath(rejectsPath)];
  const reported = {
    ...run,
    settings: settingsOf(run, transforms),
    files: [...files, ...idMap, ...rejectsFile],
    warnings,
  };
  const report =
    flags.report === undefined
      ? undefined
      : await (await import("./files/run-report.js")).RunReport.open(flags.report, reported);
  const progress = await createProgressDisplay(output, flags);
  const stdout = run.documentOnStdout ? "document" : flags.quiet && !flags.json ? "nothing" : "result";
  // Before what may wait for somebody: a FIFO's reader.
  for (const line of run.lines) output.line(line);
  announceResolved(run.resolved, run);
  const rejects =
    rejectsPath === undefined
      ? undefined
      : await (await import("./files/rejects.js"))
          .openRejectsFile(rejectsPath, { files: [...files, ...idMap], signal, stdout })
          .catch(async (error) => {
            await report?.failed(error);
            throw error;
          });
  let first: Rejection | undefined;
  await warnOfTenantsFrom(flags, output, warnings);
  let result: TransferResult;
  let notClosed: StorageError | undefined;
  try {
    result = await transfer({
      signal,
      transforms,
      ...selectedOptions(flags),
      ...(tenants === undefined ? {} : { tenants }),
      ...(flags.digests === undefined ? {} : { digests: flags.digests }),
      ...(flags.rate === undefined ? {} : { bytesPerSecond: flags.rate }),
      onStart(_header, estimate) {
        report?.log.opened();
        progress.start(estimate);
      },
      onProgress(one) {
        report?.log.note(one);
        progress.update(one);
      },
      onWarning(message) {
        warnings.push(message);
        output.warn(message);
      },
      ...(onError === "stop"
        ? {}
        : {
            onReject: async (rejection) => {
              first ??= rejection;
              await rejects?.write(rejection);
            },
          }),
    });
  } catch (failure) {
    await report?.failed(failure);
    throw failure;
  } finally {
    progress.stop();
    // What it throws comes after the commit, or behind an error that counts more.
    notClosed = await rejects?.close().then(
      () => undefined,
      (error: StorageError) => error,
    );
  }
  for (const line of statisticsLines(DONE[run.command], result)) output.line(line);
  const { rejected } = result.totals;
  const error = rejected === 0 ? undefined : rejectedError(rejected, first, rejectsPath);
  const stores = run.resolved.length === 0 ? {} : { stores: run.resolved };
  output.result({
    ...resultObject(result),
    ...stores,
    warnings,
    ...(error === undefined ? {} : { error: reportError(error) }),
  });
  const notReported = await report?.done(result, error);
  if (notReported !== undefined) output.error(notReported, true);
  if (error === undefined) return EXIT.done;
  if (notClosed !== undefined) output.error(notClosed, true);
  output.error(error, true);
  return error.exitStatus;
}

/** Nobody knows whether the file names them all. */
export async function warnOfTenantsFrom(
  { tenantsFrom }: Pick<TransferFlags, "tenantsFrom">,
  output: Output,
  warnings: string[],
): Promise<void> {
  if (tenantsFrom === undefined) return;
  const { UNPROVEN } = await import("./files/tenants-file.js");
  warnings.push(UNPROVEN);
  output.warn(UNPROVEN);
}

/** Those of --tenant and of --tenants-from. */
export async function selectedTenants({
  tenant,
  tenantsFrom,
  asOwner,
}: Pick<TransferFlags, "tenant" | "tenantsFrom" | "asOwner">): Promise<readonly string[] | undefined> {
  if (tenantsFrom === undefined) return tenant;
  if (asOwner === true)
    throw new StorageError("E_USAGE", "--as-owner finds the tenants itself: --tenants-from is not for it", {
      hint: "Leave one of them out; --tenant ID takes some tenants of those that the owner finds.",
    });
  const { readTenantsFile } = await import("./files/tenants-file.js");
  return [...(tenant ?? []), ...(await readTenantsFile(expandPath(tenantsFrom)))];
}

/** What the run was to do, as a report shows it. */
function settingsOf(
  { flags, settings }: TransferRun,
  transforms: readonly Transform[],
): Record<string, string | undefined> {
  const list = (values: readonly string[] | undefined): string | undefined => values?.join(", ");
  return {
    Include: list(flags.include),
    Exclude: list(flags.exclude),
    Tenants: list(flags.tenant),
    "Tenants from": flags.tenantsFrom,
    Limit: flags.limit === undefined ? undefined : `${flags.limit} records of each section`,
    Rate: flags.rate === undefined ? undefined : `at most ${formatBytes(flags.rate)} a second`,
    Transforms: transforms.length === 0 ? undefined : transforms.map(({ name }) => name).join("; "),
    Cascade: flags.cascade === false ? "no" : undefined,
    "Bad records": flags.onError === "skip" ? "skipped" : undefined,
    "Ids that are no UUIDs": flags.invalidUuid,
    "Id map": flags.idMap,
    "What would be left out": flags.strict ? "is an error" : undefined,
    ...settings,
  };
}

function rejectedError(count: number, first: Rejection | undefined, rejectsPath: string | undefined): StorageError {
  const what = count === 1 ? "1 record was rejected" : `${formatCount(count)} records were rejected`;
  const { section, key, field } = first?.error.context ?? {};
  return new StorageError("E_REJECTED", what, {
    ...(section === undefined ? {} : { section }),
    ...(key === undefined ? {} : { key }),
    ...(field === undefined ? {} : { field }),
    ...(first === undefined ? {} : { detail: `${first.error.message} [${first.error.code}]` }),
    hint:
      rejectsPath === undefined
        ? "With --rejects FILE each of them is written with its reason."
        : `They are in ${rejectsPath}, one per line, with their reasons.`,
  });
}

export function outputFor(flags: CommonFlags, documentOnStdout = false): Output {
  return createOutput({ ...flags, documentOnStdout });
}

/** The configuration, resolved once, before anything else is; what it brings that nobody named is said. */
export function announcedConfig(flags: ConfigFlags, output: Output): Config {
  const config = loadConfig({ flags });
  for (const line of config.announcements) output.notice(line);
  return config;
}
