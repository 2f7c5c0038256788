/** `llmspell storage digest`: what a store's records mean, in a line per section that can be compared. */

import { digestStore } from "../api/store-digest.js";
import { EXIT, StorageError } from "../errors.js";
import { chooseStore, configuredBecause, parseStore } from "../stores/index.js";
import { orderOptions } from "./order-options.js";
import { digestLines, digestsObject } from "./shown/digest-lines.js";
import { createProgressDisplay } from "./shown/progress.js";
import {
  announcedConfig,
  announceResolved,
  announceUnapplied,
  givenSteps,
  outputFor,
  resolvedStore,
  type StoreFlags,
  selectedTenants,
  type TransferFlags,
  warnOfTenantsFrom,
} from "./transfer.js";

export interface DigestFlags extends TransferFlags, StoreFlags {
  readonly verifyManifest?: boolean;
  readonly times?: "us" | "s";
}

/** A digest without the record would be that of another store. */
const WAY_ON =
  "`llmspell storage info` lists such records; an export with --on-error skip --rejects FILE leaves them out.";

/** Gives the exit status. */
export async function runDigest(flags: DigestFlags, signal: AbortSignal, store?: string): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  if (store !== undefined && (flags.backend !== undefined || flags.database !== undefined)) {
    throw new StorageError("E_USAGE", "name the store once: STORE, --backend or --database");
  }
  const { location, because } =
    store === undefined
      ? chooseStore(flags, config)
      : { location: parseStore(store, () => config), because: configuredBecause(store, config) };
  announceResolved(resolvedStore(location, because), { flags, output, config });
  announceUnapplied({ output, config });
  const tenants = await selectedTenants(flags);
  const warnings: string[] = [];
  await warnOfTenantsFrom(flags, output, warnings);
  const progress = await createProgressDisplay(output, flags);
  const { include, exclude, cascade, invalidUuid, idMap, strict } = flags;
  const { sourceMode, sourceCheck, asOwner, verifyManifest, times } = flags;
  const { sections, total, ...found } = await digestStore(location, {
    config,
    signal,
    transforms: givenSteps(flags),
    ...(config.jqTimeoutSeconds === undefined ? {} : { jqTimeoutSeconds: config.jqTimeoutSeconds }),
    ...(config.pluginTimeoutSeconds === undefined ? {} : { pluginTimeoutSeconds: config.pluginTimeoutSeconds }),
    ...(include === undefined ? {} : { include }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(tenants === undefined ? {} : { tenants }),
    ...(cascade === undefined ? {} : { cascade }),
    ...(invalidUuid === undefined ? {} : { invalidUuid }),
    ...(idMap === undefined ? {} : { idMap }),
    ...(strict === undefined ? {} : { strict }),
    ...(sourceMode === undefined ? {} : { sourceMode }),
    ...(sourceCheck === undefined ? {} : { sourceCheck }),
    ...(asOwner === undefined ? {} : { asOwner }),
    ...orderOptions(flags),
    ...(verifyManifest === undefined ? {} : { verifyManifest }),
    ...(times === undefined ? {} : { times }),
    ...(flags.lockTimeout === undefined ? {} : { lockTimeoutSeconds: flags.lockTimeout }),
    onReject({ error }) {
      error.context.hint ??= WAY_ON;
      throw error;
    },
    onStart: (_header, estimate) => progress.start(estimate),
    onProgress: (one) => progress.update(one),
    onWarning(message) {
      warnings.push(message);
      output.warn(message);
    },
  }).finally(() => progress.stop());
  // Not among the lines, which are compared with others'.
  for (const note of found.notes) output.info(note);
  for (const line of digestLines({ sections, total })) output.line(line);
  output.result({
    store: found.store,
    sourceBackend: found.backend,
    ...digestsObject({ sections, total }),
    warnings,
    leftOut: found.leftOut,
    notes: found.notes,
    seconds: Math.round(found.seconds * 1000) / 1000,
  });
  return EXIT.done;
}
