/** A snapshot that a session of another thread reads, too: exported by its owner, whose transaction must last as long. */
import { StorageError } from "../../../../errors.js";
import type { PostgresConnection } from "../../session/connection.js";
import { postgresCause } from "../../session/errors.js";

/** Plain data. */
export interface SharedSnapshot {
  /** As pg_export_snapshot gives it. */
  readonly id: string;
  /** Of the cluster; undefined where the role may not ask. */
  readonly systemIdentifier: string | undefined;
}

/** There is no such snapshot (servers before 17, and from then on), or the transaction that it is of has ended. */
const GONE: ReadonlySet<string> = new Set(["22023", "42704", "55000"]);

/** In a transaction that has begun to read; it must not be a subtransaction. */
export async function shareSnapshot(connection: PostgresConnection): Promise<SharedSnapshot> {
  const { rows } = await connection.query<{ id: string }>("SELECT pg_export_snapshot() AS id");
  return { id: (rows[0] as { id: string }).id, systemIdentifier: await systemIdentifier(connection) };
}

/**
 * Before the transaction's first query. E_CONNECT where the connection leads to another server than the snapshot's (a load
 * balancer), E_CONNECTION_LOST where its owner has ended.
 */
export async function takeSnapshot(
  connection: PostgresConnection,
  { id, systemIdentifier: owner }: SharedSnapshot,
): Promise<void> {
  if (!/^[0-9A-F-]+$/i.test(id)) throw new StorageError("E_UNEXPECTED", "a snapshot's name is no such name");
  await connection.query(`SET TRANSACTION SNAPSHOT '${id}'`).catch((error: unknown) => {
    if (!GONE.has(postgresCause(error)?.sqlState ?? "")) throw error;
    throw new StorageError("E_CONNECTION_LOST", "the session whose snapshot is to be read has ended", {}, error);
  });
  const own = owner === undefined ? undefined : await systemIdentifier(connection);
  if (own === owner) return;
  throw new StorageError("E_CONNECT", "two connections to the same URL lead to different servers", {
    hint: "Name the server itself, not what chooses among several; or go without --jobs.",
  });
}

async function systemIdentifier(connection: PostgresConnection): Promise<string | undefined> {
  const { rows } = await connection.query<{ id: string | null }>(
    `SELECT CASE WHEN has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
       THEN (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) END AS id`,
  );
  return rows[0]?.id ?? undefined;
}
