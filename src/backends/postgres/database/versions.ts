/** What a database is run by, for results and reports. */
import type { PostgresConnection } from "../session/connection.js";

/** By name: PostgreSQL and, where it is installed, pgvector. To be called in a transaction. */
export async function readVersions(connection: PostgresConnection): Promise<Readonly<Record<string, string>>> {
  const { rows } = await connection.query<{ server: string; vector: string | null }>(
    `SELECT pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS server,
            (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector') AS vector`,
  );
  const { server = "unknown", vector = null } = rows[0] ?? {};
  return { PostgreSQL: server, ...(vector === null ? {} : { pgvector: vector }) };
}
