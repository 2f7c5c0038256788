/** Brings a database's schema up to date, and says what it has. */
export type { Migration, MigrationReport, MigrationState } from "./migration.js";
export { listPostgresMigrations, type MigratePostgresOptions, migratePostgres } from "./postgres-migrator.js";
export {
  listSqliteMigrations,
  type MigrateSqliteOptions,
  makeSqliteFolder,
  migrateSqlite,
  requireSqliteName,
} from "./sqlite-migrator.js";
