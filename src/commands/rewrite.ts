/** `llmspell storage rewrite`: from document to document. */
import { rewriteDocument } from "../api/document-rewriting.js";
import { StorageError } from "../errors.js";
import { expandPath } from "../folders.js";
import { redactUnknown } from "../redaction.js";
import { documentLocation, filesOf } from "../stores/index.js";
import type { ExportFlags } from "./export.js";
import { isStandardOutput, isStandardOutputClosed } from "./shown/standard-streams.js";
import { announcedConfig, outputFor, runTransfer } from "./transfer.js";

export interface RewriteFlags extends Omit<ExportFlags, "backend" | "database"> {
  readonly input: string;
  readonly verifyManifest?: boolean;
  readonly times?: "us" | "s";
}

/** Gives the exit status. */
export async function runRewrite(flags: RewriteFlags, signal: AbortSignal): Promise<number> {
  // By any of its names: nothing but the document may go there.
  const toStdout = flags.output === "-" || isStandardOutput(expandPath(flags.output));
  if (toStdout && isStandardOutputClosed()) {
    throw new StorageError("E_USAGE", "standard output is closed", { hint: "Give --output a file's name." });
  }
  const output = outputFor(flags, toStdout);
  const config = announcedConfig(flags, output);
  const from = documentLocation(flags.input);
  const to = documentLocation(toStdout ? "-" : flags.output);
  const { compress, force, partSize, allowEmpty, jobs, verifyManifest, times } = flags;
  const vectors = flags.vectors ?? config.transforms?.vectors;
  const source = flags.input === "-" ? "standard input" : redactUnknown(flags.input);
  const target = toStdout ? "standard output" : redactUnknown(flags.output);
  const files = filesOf([from, to]);
  // A progress bar would stand in the middle of the document.
  const shown = toStdout && process.stdout.isTTY ? { ...flags, progress: false } : flags;
  return runTransfer(
    {
      flags: shown,
      output,
      signal,
      config,
      resolved: [],
      command: "rewrite",
      vectors,
      files,
      documentOnStdout: toStdout,
      from: source,
      to: target,
      lines: [`Rewriting ${source} to ${target}...`],
    },
    ({ strict: _strict, ...options }) =>
      rewriteDocument({
        ...options,
        config,
        from,
        to,
        ...(jobs === undefined ? {} : { jobs }),
        ...(flags.verbose ? { onInfo: (message: string) => output.info(message) } : {}),
        ...(compress === undefined ? {} : { compress }),
        ...(force === undefined ? {} : { force }),
        ...(partSize === undefined ? {} : { partBytes: partSize }),
        ...(allowEmpty === undefined ? {} : { allowEmpty }),
        ...(vectors === undefined ? {} : { vectors }),
        ...(verifyManifest === undefined ? {} : { verifyManifest }),
        ...(times === undefined ? {} : { times }),
      }),
  );
}
