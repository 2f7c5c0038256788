/** `llmspell storage worker`: loads parts of runs that others coordinate, until it is ended. */
import { work } from "../api/queue/work.js";
import { EXIT } from "../errors.js";
import { announcedConfig, loadTransforms, outputFor, type TransferFlags } from "./transfer.js";

export interface WorkerFlags extends TransferFlags {
  readonly queue: string;
  readonly jobs?: number;
}

/** Gives the exit status: a worker that is told to end has done what it was to do. */
export async function runWorker(flags: WorkerFlags, signal: AbortSignal): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  const transforms = await loadTransforms({ flags, output, config, command: "migrate" });
  await work({
    queue: flags.queue,
    config,
    transforms,
    signal,
    ...(flags.jobs === undefined ? {} : { jobs: flags.jobs }),
    lockTimeoutSeconds: flags.lockTimeout,
    bytesPerSecond: flags.rate,
    onEvent({ event, line, run, part, section }) {
      const where = run === undefined ? "" : `run ${run}, part ${part}: `;
      if (event === "failed" || event === "given back" || event === "warned")
        output.warn(`${where}${event === "given back" ? "given back: " : ""}${line}`);
      else
        output.line(
          event === "ready" ? line : `${where}${event}${section === undefined ? `: ${line}` : ` (${section})`}`,
        );
      output.result({
        event,
        line,
        ...(run === undefined ? {} : { run, part }),
        ...(section === undefined ? {} : { section }),
      });
    },
  });
  return EXIT.done;
}
