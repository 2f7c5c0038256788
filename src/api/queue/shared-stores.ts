/** What a run needs whose parts other machines load: looked at before anything is opened. */
import { STORE_NAME } from "../../config/index.js";
import { StorageError } from "../../errors.js";
import { catalog } from "../../llmspell/catalog/index.js";
import type { AnyLocation } from "../../stores/backend.js";
import { databaseOf } from "../../stores/index.js";
import { planCascade } from "../../transforms/referential/cascade.js";
import type { ImportOptions } from "../options.js";
import { selectPaths } from "../run.js";
import { digestOfSteps } from "./alike.js";
import type { Coordinating } from "./coordinate.js";

/** What of a run workers do not do: an option must not be taken and left undone. */
const REFUSED: readonly (readonly [option: string, given: (options: ImportOptions) => boolean, why: string])[] = [
  ["--digests", ({ digests }) => digests === true, "no process meets all records"],
  ["--order table", ({ order }) => order === "table", "one session reads with it"],
  ["--as-owner", ({ asOwner }) => asOwner === true, "one session reads with it"],
  ["--verify-parts", ({ verifyParts }) => verifyParts === true, "workers do not read back what they load"],
  [
    "--index-jobs",
    ({ indexJobs }) => indexJobs !== undefined,
    "--jobs says how many indexes the coordinator builds at a time",
  ],
  ["--rate", ({ bytesPerSecond }) => bytesPerSecond !== undefined, "no process meets all records"],
  ["--max-lag", ({ maxLag }) => maxLag !== undefined, "no process has all sessions"],
];

/** E_USAGE for what other machines cannot have. */
export function requireShared(
  { from, to, list, transforms, queue, config }: Coordinating,
  options: ImportOptions,
): void {
  const source = "open" in from ? undefined : databaseOf(from as AnyLocation, list);
  if (source?.runs?.coordinate === undefined) throw notShared("the source");
  if (databaseOf(to, list)?.runs?.coordinate === undefined) throw notShared("the target");
  for (const [option, given, why] of REFUSED)
    if (given(options)) throw new StorageError("E_USAGE", `${option} does not go with --queue: ${why}`);
  if (options.catalog !== undefined || options.backends !== undefined)
    throw new StorageError("E_USAGE", "a catalog or backends of a program's own do not go with a queue");
  for (const [option, name] of [
    ["--from", queue.from],
    ["--to", queue.to],
  ] as const)
    if (!STORE_NAME.test(name) || !Object.hasOwn(config?.stores ?? {}, name))
      throw new StorageError(
        "E_USAGE",
        `with --queue, ${option} is a name of the configuration: workers know the stores by these`,
        {
          hint: `[stores.NAME] of config.toml, here and on each worker, says url = "postgresql://…", or url_env = "VARIABLE".`,
        },
      );
  digestOfSteps(transforms, "");
  const paths = selectPaths(catalog, options.include, options.exclude);
  if ((options.cascade ?? true) && planCascade({ catalog, transforms, paths }) !== undefined)
    throw new StorageError(
      "E_USAGE",
      "steps that may drop sessions or artifacts do not go with --queue: what belongs to these is found in all records",
      {
        hint: "Migrate without --queue, or with --no-cascade.",
      },
    );
}

export function notShared(what: string): StorageError {
  return new StorageError(
    "E_USAGE",
    `--queue is for two PostgreSQL servers, and ${what} is none: other machines cannot read a file of this one`,
    {
      hint: "Migrate without --queue (--jobs N uses several connections of this machine).",
    },
  );
}
