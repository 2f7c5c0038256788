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

const WITHOUT_QUEUE = "Migrate without --queue (--jobs N uses several connections of this machine).";

/** What does not go with workers, besides what does not go with any run, and why (docs/scale.md has the table). */
const REFUSED: readonly (readonly [
  option: string,
  isGiven: (options: ImportOptions) => boolean,
  why: string,
  hint?: string,
])[] = [
  [
    "--as-owner (asOwner)",
    ({ asOwner }) => asOwner === true,
    "the session that has unlocked the tables is the one that reads",
  ],
  ["--order table (order)", ({ order }) => order === "table", "parts are ranges of keys"],
  [
    "--rate (bytesPerSecond)",
    (options) => options.bytesPerSecond !== undefined,
    "the records do not come by the coordinator",
    "Each worker has a --rate of its own.",
  ],
  ["--max-lag (maxLag)", ({ maxLag }) => maxLag !== undefined, "workers begin their parts by themselves"],
];

/** E_USAGE for what other machines cannot have. */
export function requireShared(
  { from, to, list, transforms, queue, config }: Coordinating,
  options: ImportOptions,
): void {
  const source = "open" in from ? undefined : databaseOf(from as AnyLocation, list);
  if (source?.runs?.coordinate === undefined) throw notShared("the source");
  if (databaseOf(to, list)?.runs?.coordinate === undefined) throw notShared("the target");
  for (const [option, isGiven, why, hint = WITHOUT_QUEUE] of REFUSED)
    if (isGiven(options)) throw new StorageError("E_USAGE", `${option} does not go with --queue: ${why}`, { hint });
  if (options.catalog !== undefined || options.backends !== undefined)
    throw new StorageError("E_USAGE", "a catalog or backends of a program's own do not go with a queue", {
      hint: "Load with several connections of this process (jobs).",
    });
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
