/** The driver as the package's users see it: they would have to install its own types. */

/** A row by its columns' names. */
// biome-ignore lint/suspicious/noExplicitAny: a statement's columns are known where it is written
export type PostgresRow = Record<string, any>;

export interface PostgresResult<Row extends PostgresRow = PostgresRow> {
  readonly rows: Row[];
  readonly rowCount: number | null;
  /** The statement's tag, e.g. "SELECT". */
  readonly command: string;
}

/** A `Client` of pg. */
export interface PostgresClient {
  /** Sends what speaks the protocol itself (pg's Submittable). */
  query<Statement extends { submit(connection: never): void }>(statement: Statement): Statement;
  escapeLiteral(text: string): string;
  on(event: "notice", listener: (notice: PostgresNotice) => void): unknown;
  removeListener(event: "notice", listener: (notice: PostgresNotice) => void): unknown;
}

export interface PostgresNotice {
  readonly severity?: string | undefined;
  readonly message?: string | undefined;
}
