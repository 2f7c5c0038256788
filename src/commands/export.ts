/** `llmspell storage export` */
import { exportStore } from "../api.js";
import { loadConfig } from "../config.js";
import { redactUnknown } from "../redaction.js";
import { chooseStore, documentLocation } from "../stores.js";
import { outputFor, runTransfer, type StoreFlags, type TransferFlags } from "./transfer.js";

export interface ExportFlags extends TransferFlags, StoreFlags {
  readonly output: string;
  readonly compress?: "auto" | "gzip" | "zstd" | "none";
  readonly force?: boolean;
  readonly vectors?: "base64" | "json";
}

/** Gives the exit status. */
export async function runExport(flags: ExportFlags, signal: AbortSignal): Promise<number> {
  const toStdout = flags.output === "-";
  const output = outputFor(flags, toStdout);
  const config = loadConfig();
  const { location: from } = chooseStore(flags, config);
  const to = documentLocation(flags.output);
  const { compress, force, sourceMode } = flags;
  const vectors = flags.vectors ?? config.transforms?.vectors;
  output.line(
    `Exporting data from ${from.type === "sqlite" ? "sqlite" : "postgres"} backend to ${toStdout ? "standard output" : redactUnknown(flags.output)}...`,
  );
  const files = from.type === "sqlite" ? [from.path] : [];
  if (to.type === "document" && !toStdout) files.push(to.path);
  // A progress bar would stand in the middle of the document.
  const onTerminal = toStdout && process.stdout.isTTY;
  const shown = onTerminal ? { ...flags, progress: false } : flags;
  return runTransfer({ flags: shown, output, signal, config, command: "export", vectors, files }, (options) =>
    exportStore({
      ...options,
      config,
      from,
      to,
      ...(compress === undefined ? {} : { compress }),
      ...(force === undefined ? {} : { force }),
      ...(vectors === undefined ? {} : { vectors }),
      ...(sourceMode === undefined ? {} : { sourceMode }),
    }),
  );
}
