/** The library's entry points for runs that are there: which, and undoing the one that is not finished. */
import { type Config, loadConfig } from "../../config/index.js";
import { StorageError } from "../../errors.js";
import { catalog as llmspellCatalog } from "../../llmspell/catalog/index.js";
import type { AnyLocation, KnownRun, RunParts, UndoneRun } from "../../stores/backend.js";
import {
  type Backend,
  backends,
  databaseOf,
  dependsOnConfig,
  parseStore,
  type StoreLocation,
  sessionOptions,
} from "../../stores/index.js";
import { refuseUnknownOptions } from "../option-names.js";

export interface RunsOptions {
  readonly signal?: AbortSignal;
  /** How long to wait for the server. Seconds; default 30, or as configured. */
  readonly connectionTimeoutSeconds?: number;
  /** What the store `postgres` means. Default: the environment and config.toml. */
  readonly config?: Config;
  /** The backends that STOREs are looked for among. Default: the package's own (`backends`). */
  readonly backends?: readonly Backend[];
}

export interface UndoRunOptions extends RunsOptions {
  /** One line for each step that is done. */
  readonly onStep?: (line: string) => void;
  /** How long a lock of others is waited for. Seconds; default: as the server is configured. */
  readonly lockTimeoutSeconds?: number;
}

/** The runs that a database knows, the newest first. E_USAGE for a store that keeps none, E_NOT_MIGRATED, E_PERMISSION. */
export async function listRuns(store: string | StoreLocation, options: RunsOptions = {}): Promise<readonly KnownRun[]> {
  refuseUnknownOptions("listRuns", options);
  const { location, runs, session } = find(store, options);
  return runs.list(location, { ...session, catalog: llmspellCatalog });
}

/**
 * Takes back what the unfinished run has loaded; rows that others have added or changed stay, and are named. May be
 * interrupted, and called again. E_USAGE where there is no such run, E_RUN_UNFINISHED where its rows cannot be told any more.
 */
export async function undoRun(store: string | StoreLocation, options: UndoRunOptions = {}): Promise<UndoneRun> {
  refuseUnknownOptions("undoRun", options);
  const { location, runs, session } = find(store, options);
  const { onStep, lockTimeoutSeconds } = options;
  return runs.undo(location, {
    ...session,
    lockTimeoutSeconds,
    catalog: llmspellCatalog,
    ...(onStep === undefined ? {} : { onStep }),
  });
}

function find(store: string | StoreLocation, options: RunsOptions) {
  const list = options.backends ?? backends;
  const config = options.config ?? (dependsOnConfig(store, "source", options, list) ? loadConfig() : undefined);
  const location: AnyLocation = typeof store === "string" ? parseStore(store, () => config as Config, list) : store;
  const database = databaseOf(location, list);
  if (database?.runs === undefined)
    throw new StorageError("E_USAGE", `${database?.title ?? "a document"} has no runs`, {
      hint: "Runs are loads of a PostgreSQL server over several connections (--jobs).",
    });
  const runs: RunParts<AnyLocation> = database.runs;
  return { location, runs, session: sessionOptions(location, options, config, list) };
}
