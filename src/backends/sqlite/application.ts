/**
 * What an application's SQLite database has besides the columns of its record kinds, where a source must heed it. Of a database
 * that was only looked at, nothing is known.
 */
import type { Database } from "./open.js";

export interface SqliteApplication {
  /** The application's name, for messages. */
  readonly name: string;
  /** Its schema's versions, ascending, for a document's header. */
  readVersions?(database: Database): string[];
  /** Tables that are no kind's, and of which nothing is said. */
  readonly otherTables?: ReadonlySet<string>;
  /** What to do about a database that has none of its tables. */
  readonly absenceHint?: string;
}
