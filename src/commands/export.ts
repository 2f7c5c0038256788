/** `llmspell storage export` */
import { exportStore } from "../api/transfer.js";
import { StorageError } from "../errors.js";
import { expandPath } from "../folders.js";
import { redactUnknown } from "../redaction.js";
import { backendOf, chooseStore, documentLocation, filesOf, storeName } from "../stores/index.js";
import { orderOptions } from "./order-options.js";
import { isStandardOutput, isStandardOutputClosed } from "./shown/standard-streams.js";
import {
  announcedConfig,
  outputFor,
  resolvedStore,
  runTransfer,
  type StoreFlags,
  type TransferFlags,
} from "./transfer.js";

export interface ExportFlags extends TransferFlags, StoreFlags {
  readonly output: string;
  readonly compress?: "auto" | "gzip" | "zstd" | "none";
  readonly force?: boolean;
  readonly partSize?: number;
  readonly allowEmpty?: boolean;
  readonly keep?: number;
  readonly vectors?: "base64" | "json";
  readonly jobs?: number | "auto";
}

/** Gives the exit status. */
export async function runExport(flags: ExportFlags, signal: AbortSignal): Promise<number> {
  // By any of its names: nothing but the document may go there.
  const toStdout = flags.output === "-" || isStandardOutput(expandPath(flags.output));
  if (toStdout && isStandardOutputClosed()) {
    throw new StorageError("E_USAGE", "standard output is closed", { hint: "Give --output a file's name." });
  }
  const output = outputFor(flags, toStdout);
  const config = announcedConfig(flags, output);
  const { location: from, because } = chooseStore(flags, config);
  const to = documentLocation(toStdout ? "-" : flags.output);
  const { compress, force, partSize, allowEmpty, keep, jobs, sourceMode, sourceCheck, asOwner } = flags;
  const { vectors } = config;
  const lines = [
    `Exporting data from ${backendOf(from).word} backend to ${toStdout ? "standard output" : redactUnknown(flags.output)}...`,
  ];
  const files = filesOf([from, to]);
  // A progress bar would stand in the middle of the document.
  const onTerminal = toStdout && process.stdout.isTTY;
  const shown = onTerminal ? { ...flags, progress: false } : flags;
  const resolved = resolvedStore(from, because);
  const named = { from: storeName(from), to: toStdout ? "standard output" : storeName(to) };
  return runTransfer(
    {
      flags: shown,
      output,
      signal,
      config,
      resolved,
      command: "export",
      vectors,
      files,
      documentOnStdout: toStdout,
      ...named,
      lines,
    },
    (options) =>
      exportStore({
        ...options,
        config,
        from,
        to,
        ...(compress === undefined ? {} : { compress }),
        ...(force === undefined ? {} : { force }),
        ...(partSize === undefined ? {} : { partBytes: partSize }),
        ...(allowEmpty === undefined ? {} : { allowEmpty }),
        ...(keep === undefined ? {} : { keep }),
        ...(vectors === undefined ? {} : { vectors }),
        ...(jobs === undefined ? {} : { jobs }),
        ...(flags.verbose ? { onInfo: (message: string) => output.info(message) } : {}),
        ...(sourceMode === undefined ? {} : { sourceMode }),
        ...(sourceCheck === undefined ? {} : { sourceCheck }),
        ...(asOwner === undefined ? {} : { asOwner }),
        ...orderOptions(flags),
      }),
  );
}
