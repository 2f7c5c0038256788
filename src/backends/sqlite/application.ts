/**
 * What an application's SQLite database has besides the columns of its record kinds, where a source must heed it. Of a database
 * that was only looked at, nothing is known.
 */

/** What it needs of a database: the driver's own type is not for those who use the library. */
export interface SqliteQueryable {
  prepare(sql: string): { raw(): { all(): unknown[] } };
}

export interface SqliteApplication {
  /** The application's name, for messages. */
  readonly name: string;
  /** Its schema's versions, ascending, for a document's header. */
  readVersions?(database: SqliteQueryable): string[];
  /** Tables that are no kind's, and of which nothing is said. */
  readonly otherTables?: ReadonlySet<string>;
  /** What to do about a database that has none of its tables. */
  readonly absenceHint?: string;
}
