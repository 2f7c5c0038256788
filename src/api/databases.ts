/** The library's entry points that act on a database as a whole. */
import { type Config, loadConfig } from "../config/index.js";
import { StorageError } from "../errors.js";
import type { MigrationReport } from "../llmspell/schema/migration.js";
import type { OwnMigrateOption } from "../stores/backend.js";
import {
  accessWarnings,
  type Backend,
  backends,
  databaseOf,
  dependsOnConfig,
  parseStore,
  type StoreLocation,
  sessionOptions,
} from "../stores/index.js";
import { refuseUnknownOptions, requireStore } from "./option-names.js";

export interface MigrateDatabaseOptions {
  /** Aborting rolls back what is under way: E_INTERRUPTED, or `signal.reason` where that is a StorageError. */
  readonly signal?: AbortSignal;
  readonly onWarning?: (message: string) => void;
  /** SQLite: give vectors rowids that leave llmspell's next ones room. Default false. */
  readonly repairRowids?: boolean;
  /** PostgreSQL: how long to wait for the server. Seconds; default 30, or as configured. */
  readonly connectionTimeoutSeconds?: number;
  /** What the stores `sqlite` and `postgres` mean. Default: the environment and config.toml. */
  readonly config?: Config;
  /** The backends that STOREs are looked for among. Default: the package's own (`backends`). */
  readonly backends?: readonly Backend[];
}

/** How the command line calls what only some backends take. */
const FLAGS: Readonly<Record<OwnMigrateOption, string>> = { repairRowids: "--repair-rowids" };

/**
 * Makes or completes a database's schema, as `llmspell database migrate` does; an SQLite file or the folder of an embedded
 * PostgreSQL is made where there is none. `store` is a STORE (docs/command-line.md), or its location. Throws StorageError.
 */
export async function migrateDatabase(
  store: string | StoreLocation,
  options: MigrateDatabaseOptions = {},
): Promise<MigrationReport> {
  refuseUnknownOptions("migrateDatabase", options);
  requireStore("migrateDatabase", store);
  const { signal, onWarning, repairRowids, backends: list = backends } = options;
  const config = options.config ?? (dependsOnConfig(store, "source", options, list) ? loadConfig() : undefined);
  const location = typeof store === "string" ? parseStore(store, () => config as Config, list) : store;
  const database = databaseOf(location, list);
  if (database === undefined)
    throw new StorageError("E_USAGE", "a document has no schema", { hint: "Name a database." });
  for (const name of Object.keys(FLAGS) as OwnMigrateOption[]) {
    if (!options[name] || database.migrateOptions?.includes(name)) continue;
    const titles = list.filter((each) => each.database?.migrateOptions?.includes(name));
    throw new StorageError(
      "E_USAGE",
      `${FLAGS[name]} is for ${titles.map((each) => each.database?.title).join(" and ")} databases`,
    );
  }
  const access = accessWarnings([location], list);
  const session = sessionOptions(location, options, config, list);
  const report = await database.migrate(location, { ...session, signal, repairRowids });
  const warnings = [...access, ...report.warnings];
  for (const warning of warnings) onWarning?.(warning);
  return { ...report, warnings };
}
