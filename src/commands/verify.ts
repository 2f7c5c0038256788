/** `llmspell storage verify`: whether two stores hold the same. */

import { type VerifyResult, verifyStores } from "../api/verification/verify-stores.js";
import { EXIT, StorageError } from "../errors.js";
import { expandPath } from "../folders.js";
import { catalog } from "../llmspell/catalog/index.js";
import { comparisonReport } from "../reports/report.js";
import { configuredBecause, filesOf, parseStore, type StoreLocation, storeName } from "../stores/index.js";
import { createTransforms } from "../transforms/spec.js";
import { openLinesFile } from "./files/lines-file.js";
import { RunReport } from "./files/run-report.js";
import type { LoadFlags } from "./import.js";
import { orderOptions } from "./order-options.js";
import { differenceError, resultLines, resultObject } from "./shown/comparison-lines.js";
import { reportError } from "./shown/error-report.js";
import { createProgressDisplay } from "./shown/progress.js";
import {
  announcedConfig,
  announceResolved,
  announceUnapplied,
  givenSteps,
  outputFor,
  resolvedStore,
  selectedTenants,
  type TransferFlags,
  warnOfTenantsFrom,
} from "./transfer.js";

export interface VerifyFlags
  extends Omit<TransferFlags, "limit" | "onError" | "rejects">,
    Pick<LoadFlags, "times" | "verifyManifest"> {
  readonly sample?: number;
  readonly seed?: string;
  readonly search?: number;
  readonly showValues?: boolean;
  readonly differences?: string;
  readonly jobs?: 1 | 2;
}

/** Gives the exit status. */
export async function runVerify(flags: VerifyFlags, signal: AbortSignal, a: string, b: string): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  const stores = { a: parseStore(a, () => config), b: parseStore(b, () => config) };
  const resolved = [
    ...resolvedStore(stores.a, configuredBecause(a, config)),
    ...resolvedStore(stores.b, configuredBecause(b, config)),
  ];
  if (flags.seed !== undefined && flags.sample === undefined && flags.search === undefined)
    throw new StorageError("E_USAGE", "--seed needs --sample N or --search N");
  output.line(`A: ${nameOf(stores.a)}`);
  output.line(`B: ${nameOf(stores.b)}`);
  announceResolved(resolved, { flags, output, config });
  announceUnapplied({ output, config });
  const transforms = await createTransforms(givenSteps(flags), {
    catalog,
    pluginTimeoutSeconds: config.pluginTimeoutSeconds,
    jqTimeoutSeconds: config.jqTimeoutSeconds,
    onInfo: flags.verbose ? (message) => output.info(message) : undefined,
  });
  const tenants = await selectedTenants(flags);
  const idMap = flags.idMap === undefined ? [] : [expandPath(flags.idMap)];
  const files = [...filesOf([stores.a, stores.b]), ...idMap];
  const warnings: string[] = [...config.announcements];
  const report = await RunReport.open(flags.report, {
    command: "verify",
    from: nameOf(stores.a),
    to: nameOf(stores.b),
    settings: {
      Include: flags.include?.join(", "),
      Exclude: flags.exclude?.join(", "),
      Tenants: flags.tenant?.join(", "),
      "Tenants from": flags.tenantsFrom,
      Transforms: transforms.length === 0 ? undefined : transforms.map(({ name }) => name).join("; "),
      Strict: flags.strict ? "yes" : undefined,
      Sample: flags.sample?.toString(),
      Searches: flags.search?.toString(),
    },
    files:
      flags.differences === undefined || flags.differences === "-" ? files : [...files, expandPath(flags.differences)],
    warnings,
  });
  const differences =
    flags.differences === undefined
      ? undefined
      : await openLinesFile(
          flags.differences,
          { flag: "--differences", noun: "differences", begins: '{"section":' },
          { files, signal, stdout: flags.quiet && !flags.json ? "nothing" : "result" },
        ).catch(async (error) => {
          await report?.failed(error);
          throw error;
        });
  await warnOfTenantsFrom(flags, output, warnings);
  const progress = await createProgressDisplay(output, flags);
  const { include, exclude, cascade, invalidUuid, strict, sample, seed, search, showValues } = flags;
  const { verifyManifest, times, sourceMode, sourceCheck, asOwner } = flags;
  let result: VerifyResult;
  try {
    result = await verifyStores({
      ...stores,
      signal,
      config,
      transforms,
      ...(include === undefined ? {} : { include }),
      ...(exclude === undefined ? {} : { exclude }),
      ...(tenants === undefined ? {} : { tenants }),
      ...(cascade === undefined ? {} : { cascade }),
      ...(invalidUuid === undefined ? {} : { invalidUuid }),
      ...(flags.idMap === undefined ? {} : { idMap: flags.idMap }),
      ...(strict === undefined ? {} : { strict }),
      ...(sample === undefined ? {} : { sample }),
      ...(seed === undefined ? {} : { seed }),
      ...(search === undefined ? {} : { search }),
      ...(showValues === undefined ? {} : { showValues }),
      ...(verifyManifest === undefined ? {} : { verifyManifest }),
      ...(times === undefined ? {} : { times }),
      ...(sourceMode === undefined ? {} : { sourceMode }),
      ...(sourceCheck === undefined ? {} : { sourceCheck }),
      ...(asOwner === undefined ? {} : { asOwner }),
      ...orderOptions(flags),
      ...(flags.lockTimeout === undefined ? {} : { lockTimeoutSeconds: flags.lockTimeout }),
      ...(flags.jobs === undefined ? {} : { jobs: flags.jobs }),
      ...(differences === undefined ? {} : { onDifferences: (chunk) => differences.write(chunk) }),
      onStart(estimate) {
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
    });
    await differences?.close();
  } catch (failure) {
    await differences?.close().catch(() => undefined);
    await report?.failed(failure);
    throw failure;
  } finally {
    progress.stop();
  }
  for (const line of resultLines(result, flags)) output.line(line);
  const error = result.equal ? undefined : differenceError(result, flags);
  output.result({
    ...resultObject(result),
    ...(resolved.length === 0 ? {} : { stores: resolved }),
    warnings,
    ...(error === undefined ? {} : { error: reportError(error) }),
  });
  const notReported = await report?.write((facts) => comparisonReport(facts, result, error && reportError(error)));
  if (notReported !== undefined) output.error(notReported, true);
  if (error === undefined) return EXIT.done;
  output.error(error, true);
  return error.exitStatus;
}

function nameOf(store: StoreLocation): string {
  return store.type === "document" && store.path === "-" ? "standard input" : storeName(store);
}
