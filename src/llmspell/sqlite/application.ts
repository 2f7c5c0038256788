/** What llmspell's SQLite database has besides its record kinds. */
import type { SqliteApplication } from "../../backends/sqlite/application.js";
import { readSqliteVersions } from "../schema/sqlite/migrations-table.js";

export const llmspellSqlite: SqliteApplication = {
  name: "llmspell",
  readVersions: readSqliteVersions,
  otherTables: new Set(["_migrations", "_storage_migrations"]),
  absenceHint: "Name the file that llmspell writes, or run `llmspell database migrate --backend sqlite` for a new one.",
};
