/** Brings a database's schema up to date, and says what it has. */
export type { SchemaComparison, SchemaDifference } from "./comparison.js";
export type { Migration, MigrationReport, MigrationState } from "./migration.js";
export {
  listPostgresMigrations,
  type MigratePostgresOptions,
  migratePostgres,
  readPostgresSchema,
} from "./postgres-migrator.js";
export { listSqliteMigrations, type MigrateSqliteOptions, migrateSqlite } from "./sqlite-migrator.js";
