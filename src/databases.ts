/** The library's entry points that act on a database as a whole. */
import { type Config, loadConfig } from "./config.js";
import { StorageError } from "./errors.js";
import type { MigrationReport } from "./llmspell/schema/migration.js";
import { refuseUnknownOptions } from "./option-names.js";
import { accessWarnings, parseStore, postgresConnector, type StoreLocation } from "./stores.js";

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
}

/**
 * Makes or completes a database's schema, as `llmspell database migrate` does; an SQLite file or the folder of an embedded
 * PostgreSQL is made where there is none. `store` is a STORE (docs/command-line.md), or its location. Throws StorageError.
 */
export async function migrateDatabase(
  store: string | StoreLocation,
  options: MigrateDatabaseOptions = {},
): Promise<MigrationReport> {
  refuseUnknownOptions("migrateDatabase", options);
  const { signal, onWarning, repairRowids } = options;
  const location = typeof store === "string" ? parseStore(store, () => options.config ?? loadConfig()) : store;
  if (location.type === "document" || location.type === "stream") {
    throw new StorageError("E_USAGE", "a document has no schema", { hint: "Name a database." });
  }
  if (repairRowids && location.type !== "sqlite")
    throw new StorageError("E_USAGE", "--repair-rowids is for SQLite databases");
  const access = accessWarnings(location);
  const { migratePostgres, migrateSqlite } = await import("./llmspell/schema/migrator.js");
  const migrate = async (): Promise<MigrationReport> => {
    if (location.type === "sqlite")
      return migrateSqlite(location.path, { ...(signal === undefined ? {} : { signal }), repairRowids });
    const config = location.type === "postgres" ? (options.config ?? loadConfig()) : undefined;
    const connectionTimeoutSeconds = options.connectionTimeoutSeconds ?? config?.postgresql.connectionTimeoutSeconds;
    const connection = await (await postgresConnector(location, { connectionTimeoutSeconds, signal, create: true }))();
    try {
      return await migratePostgres(connection);
    } finally {
      await connection.close();
    }
  };
  const report = await migrate();
  const warnings = [...access, ...report.warnings];
  for (const warning of warnings) onWarning?.(warning);
  return { ...report, warnings };
}
