/** Databases that are not in UTF-8: what they cannot hold is found record by record, and said beforehand. */
import type { PostgresConnection } from "./connection.js";

/** The encoding of a database that does not look at its text. */
export const UNKNOWN_ENCODING = "SQL_ASCII";

/** As pg_settings has it, e.g. "UTF8". */
export async function readServerEncoding(connection: PostgresConnection): Promise<string> {
  const { rows } = await connection.query<{ encoding: string }>(
    "SELECT current_setting('server_encoding') AS encoding",
  );
  return (rows[0] as { encoding: string }).encoding;
}

/** What is not as in UTF-8, for a database that is to take records; undefined for UTF-8. */
export function encodingCaveat(encoding: string): string | undefined {
  if (encoding === "UTF8") return undefined;
  if (encoding === UNKNOWN_ENCODING)
    return "the database's encoding is SQL_ASCII: it checks no text, which may so become other than UTF-8, and refuses JSON escapes beyond ASCII (E_ENCODING)";
  return `the database's encoding is ${encoding}, which cannot hold every character: a record with another one is refused (E_ENCODING)`;
}
