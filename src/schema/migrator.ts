/** Brings a database's schema up to date, and says what it has. */
export type { Migration, MigrationReport, MigrationState } from "./migration.js";
export {
  brokenLines,
  listPostgresMigrations,
  type MigratePostgresOptions,
  migratePostgres,
  readPostgresSchema,
} from "./postgres-migrator.js";
export { listSqliteMigrations, type MigrateSqliteOptions, migrateSqlite } from "./sqlite-migrator.js";
