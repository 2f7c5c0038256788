/** Brings a database's schema up to date, and says what it has. */
export type { SchemaComparison, SchemaDifference } from "./comparison.js";
export type { Migration, MigrationReport, MigrationState } from "./migration.js";
export {
  listPostgresMigrations,
  type MigratePostgresOptions,
  migratePostgres,
  readPostgresSchema,
} from "./postgres/migrator.js";
export { compareSqliteSchema, type SqliteComparison } from "./sqlite/comparison.js";
export {
  isSqlitePending,
  listSqliteMigrations,
  type MigrateSqliteOptions,
  makeSqliteFolder,
  migrateSqlite,
  openNewSqliteSchema,
  planSqliteMigration,
  readSqliteSchema,
  requireSqliteName,
  type SqliteSchemaState,
} from "./sqlite/migrator.js";
