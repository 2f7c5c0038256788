/** `llmspell storage migrate`: from database to database, with no file between. */
import { importStore } from "../api/transfer.js";
import { StorageError } from "../errors.js";
import { configuredBecause, filesOf, parseStore, storeName } from "../stores/index.js";
import { infoOptions, type LoadFlags, loadOptions, loadSettings, runAnnouncement } from "./import.js";
import { orderOptions } from "./order-options.js";
import { announcedConfig, outputFor, resolvedStore, runTransfer } from "./transfer.js";

export interface MigrateFlags extends LoadFlags {
  readonly from: string;
  readonly to: string;
}

/** Gives the exit status. */
export async function runMigrate(flags: MigrateFlags, signal: AbortSignal): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  const from = parseStore(flags.from, () => config);
  const to = parseStore(flags.to, () => config);
  const { sourceMode, sourceCheck, asOwner, queue, workerTimeout } = flags;
  if (queue === undefined && workerTimeout !== undefined)
    throw new StorageError("E_USAGE", "--worker-timeout needs --queue");
  const lines = [...runAnnouncement(flags, to), `Migrating data from ${storeName(from)} to ${storeName(to)}...`];
  const files = filesOf([from, to]);
  const named = { from: storeName(from), to: storeName(to) };
  const resolved = [
    ...resolvedStore(from, configuredBecause(flags.from, config)),
    ...resolvedStore(to, configuredBecause(flags.to, config)),
  ];
  return runTransfer(
    {
      flags,
      output,
      signal,
      config,
      resolved,
      command: "migrate",
      files,
      lines,
      settings: loadSettings(flags),
      ...named,
    },
    (options) =>
      importStore({
        ...options,
        ...loadOptions(flags),
        ...infoOptions(flags, output),
        config,
        from,
        to,
        ...(sourceMode === undefined ? {} : { sourceMode }),
        ...(sourceCheck === undefined ? {} : { sourceCheck }),
        ...(asOwner === undefined ? {} : { asOwner }),
        ...orderOptions(flags),
        ...(queue === undefined
          ? {}
          : { queue: { url: queue, from: flags.from, to: flags.to, workerTimeoutSeconds: workerTimeout } }),
      }),
  );
}
